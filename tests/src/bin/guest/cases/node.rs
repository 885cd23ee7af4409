//! No limit but the machine's own.

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
};

use super::{processes::PROTECTED, stand};

pub(super) fn exhausted(bench: &mut Bench) -> Result<()> {
    let mut others = Vec::new();
    for comm in ["comm=bystander", "comm=passer-by", "comm=onlooker"] {
        let mut other = bench.unlimited_hog(&[comm, PROTECTED, "anon=8", "stop"])?;
        other.go_to_stop()?;
        others.push(other);
    }
    let mut hog = bench.unlimited_hog(&["comm=node-hog", "anon=64", "stop", "anon=8192"])?;
    let standing = stand(&mut hog)?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (report, logged, kernel_count) = bench.observe_one(&[hog.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let victim = report.victims.first().context("no victim")?;
    with_status(&mut differences, victim, &standing.status, Since::Grew, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.that("the node's memory must be reported", report.has_node_memory);
    for other in &mut others {
        differences.that("a bystander died", other.alive()?);
    }
    differences.finish().with_context(|| report.line.clone())
}
