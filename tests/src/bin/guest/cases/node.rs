//! No limit but the machine's own.

use std::fs;

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
    hog::Hog,
    report::Report,
};

use super::{
    Standing,
    processes::{PROTECTED, second_thread},
    stand,
};

const ALLOCATING: &str = "/proc/sys/vm/oom_kill_allocating_task";

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

/// Where whoever allocates is killed, and not whoever is the worst.
pub(super) fn allocating_process(bench: &mut Bench) -> Result<()> {
    let mut hog = bench.unlimited_hog(&["adj=-500", "anon=16", "stop", "anon=8192"])?;
    let standing = stand(&mut hog)?;
    let pid = hog.pid;
    allocating(bench, &mut hog, &standing, pid)
}

/// It is the thread that is chosen then, but the first one that the kernel kills and marks (`find_lock_task_mm`,
/// `mm/oom_kill.c`).
pub(super) fn allocating_thread(bench: &mut Bench) -> Result<()> {
    let steps = ["adj=-500", "comm=first", "thread=second", "anon=16", "stop", "anon=8192"];
    let mut hog = bench.unlimited_hog(&steps)?;
    let standing = stand(&mut hog)?;
    let tid = second_thread(&hog)?;
    allocating(bench, &mut hog, &standing, tid)
}

fn allocating(bench: &mut Bench, hog: &mut Hog, standing: &Standing, trigger: u32) -> Result<()> {
    // The one that is killed where that is not set.
    let mut worse = bench.unlimited_hog(&["adj=1000", "comm=worse", "anon=8", "stop"])?;
    worse.go_to_stop()?;
    bench.begin()?;
    // While the hog ends, whoever asks for a page is killed too, and the agent asks for some: only -1000 spares it
    // (`out_of_memory`, mm/oom_kill.c).
    let agent = format!("/proc/{}/oom_score_adj", bench.agent.id());
    let before = fs::read(&agent).context("cannot read the agent's oom_score_adj")?;
    fs::write(&agent, "-1000").context("cannot set the agent's oom_score_adj")?;
    fs::write(ALLOCATING, "1").context("cannot set vm.oom_kill_allocating_task")?;
    let killed = hog.go().and_then(|()| hog.wait_for_kill());
    fs::write(ALLOCATING, "0").context("cannot set vm.oom_kill_allocating_task back")?;
    fs::write(&agent, before).context("cannot set the agent's oom_score_adj back")?;
    killed?;
    let (mut differences, report) = compared(bench, standing, Since::Grew)?;
    differences.equal("trigger.tid", report.trigger.as_ref().and_then(|trigger| trigger.tid), trigger);
    differences.equal("victim tid", report.victims.first().and_then(|victim| victim.tid), hog.pid);
    differences.that("the worse process died", worse.alive()?);
    differences.finish()
}

/// Nothing is short of memory, and nobody's allocation is it: a kernel thread kills.
pub(super) fn sysrq(bench: &mut Bench) -> Result<()> {
    let mut hog = bench.unlimited_hog(&["adj=1000", "anon=16", "stop"])?;
    let standing = stand(&mut hog)?;
    bench.begin()?;
    fs::write("/proc/sysrq-trigger", "f").context("cannot ask for a kill by sysrq-f")?;
    hog.wait_for_kill()?;
    let (differences, _) = compared(bench, &standing, Since::Waited)?;
    differences.finish()
}

/// The one incident of a process that stood before.
fn compared(bench: &mut Bench, standing: &Standing, since: Since) -> Result<(Differences, Report)> {
    let (report, logged, kernel_count) = bench.observe_one(&[standing.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let victim = report.victims.first().context("no victim")?;
    with_status(&mut differences, victim, &standing.status, since, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    if report.oom.order == Some(-1) {
        differences.equal("cause", report.cause.as_deref(), "sysrq");
    } else if report.level.as_deref() == Some("kprobe") {
        differences.equal("cause", report.cause.as_deref(), "node_exhausted");
    }
    Ok((differences, report))
}
