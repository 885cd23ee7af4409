//! Processes that share their memory and are no threads of one another (`CLONE_VM`, `vfork`). The kernel kills all of
//! them, and counts, logs and marks one: `__oom_kill_process`, `mm/oom_kill.c`.

use std::fs;

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::Since,
    deadline::{PATIENCE, wait_for},
    hog::Hog,
    status::Status,
};

use super::{Standing, one_kill, one_kill_by, stand};

/// Both have the same badness, and of such the kernel takes the last (`oom_evaluate_task`, `mm/oom_kill.c`).
pub(super) fn clone_vm(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/sharing", 48)?;
    let mut hog = bench.hog(&memcg, &["share", "anon=16", "stop", "anon=256"])?;
    hog.go_to_stop()?;
    let sharer = sharer(&hog)?;
    let standing = Standing { status: Status::of_process(sharer)?, pid: sharer };
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    seen.differences.equal("shares_memory_with", seen.process.shares_memory_with, hog.pid);
    hog.wait_for_kill()?;
    seen.finish()
}

/// The child allocates, but a process that another one waits for is never chosen (`in_vfork`,
/// include/linux/sched/mm.h).
pub(super) fn vfork(bench: &mut Bench) -> Result<()> {
    let memcg = bench.memcg("/vfork", 48)?;
    let mut hog = bench.hog(&memcg, &["anon=8", "vfork", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let child = sharer(&hog)?;
    let mut seen = one_kill_by(bench, &memcg, (&mut hog, child), &standing, Since::Grew)?;
    seen.differences.equal("shares_memory_with", seen.process.shares_memory_with, child);
    wait_for("the child to die", PATIENCE, || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        Ok((stat.is_empty() || stat.contains(") Z ")).then_some(()))
    })?;
    seen.finish()
}

fn sharer(hog: &Hog) -> Result<u32> {
    hog.sharer.context("the hog named nobody that shares its memory")
}
