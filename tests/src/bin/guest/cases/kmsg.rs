//! Level kmsg: reports made of the kernel's log, against the tests' own reading of it.

use anyhow::{Context as _, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, is_logged},
};

const CONTAINER: &str = "/kubepods.slice/kubepods-pod7d1f0b7e_21c5_4b39_93b4_5c1be2a90d12.slice/\
                         cri-containerd-6f1c0a52b7d94e38a1c5f0e7d2b94836c5a1e0f7d3b2948c6a5e1f0d7b3c2a95.scope";

pub(super) fn container(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg(CONTAINER, 48)?;
    let mut hog = bench.hog(&memcg, &["anon=256"])?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let pids = [hog.pid];
    let mut differences = compared(bench, &pids, "container")?;
    differences.equal("oom_kill of the cgroup", Some(1), memcg.oom_kills()?);
    differences.finish()
}

pub(super) fn node(bench: &mut Bench) -> Result<()> {
    let mut hog = bench.unlimited_hog(&["comm=node-hog", "anon=8192"])?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let pids = [hog.pid];
    compared(bench, &pids, "node")?.finish()
}

pub(super) fn group(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg(CONTAINER, 48)?;
    memcg.kill_as_group()?;
    let mut waiting = Vec::new();
    for steps in [&["comm=first", "anon=4", "stop"][..], &["comm=second", "anon=6", "stop"]] {
        let mut hog = bench.hog(&memcg, steps)?;
        hog.go_to_stop()?;
        waiting.push(hog);
    }
    let mut grower = bench.hog(&memcg, &["anon=256"])?;
    bench.begin()?;
    grower.go()?;
    grower.wait_for_kill()?;
    let pids: Vec<u32> = waiting.iter().chain([&grower]).map(|hog| hog.pid).collect();
    for hog in &mut waiting {
        hog.wait_for_kill()?;
    }
    compared(bench, &pids, "container")?.finish()
}

fn compared(bench: &mut Bench, pids: &[u32], scope: &'static str) -> Result<Differences> {
    let (report, logged, kernel_count) = bench.observe_one(pids)?;
    let mut differences = Differences::default();
    is_logged(&mut differences, &report, &logged);
    differences.equal("scope", report.scope.as_deref(), scope);
    differences.equal("oom_kill of /proc/vmstat", Some(logged.killed.len() as u64), kernel_count);
    differences.that("the node's memory must be reported", report.has_node_memory);
    report.victims.first().context("no victim")?;
    Ok(differences)
}
