//! There is swap, and it is full when the OOM killer comes.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
    machine::Machine,
};

use super::{Standing, one_kill, stand};
use crate::suite::SWAP_DISK;

/// The machine swaps to its disk; no longer when this is dropped.
struct Swap;

impl Swap {
    fn on(bench: &mut Bench) -> Result<Self> {
        run(Command::new("mkswap").arg(SWAP_DISK))?;
        run(Command::new("swapon").arg(SWAP_DISK))?;
        let swap = Self;
        bench.machine = Machine::this()?;
        ensure!(bench.machine.swap > 0, "the kernel counts no swap");
        Ok(swap)
    }

    fn off(self, bench: &mut Bench) -> Result<()> {
        drop(self);
        bench.machine = Machine::this()?;
        ensure!(bench.machine.swap == 0, "swap is still on");
        Ok(())
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // Seen by whoever looks at the machine next.
        run(Command::new("swapoff").arg(SWAP_DISK)).ok();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A cgroup whose memory is limited and whose swap is not: the whole disk is filled first.
pub(super) fn disk(bench: &mut Bench) -> Result<()> {
    let swap = Swap::on(bench)?;
    let memcg = bench.hierarchy.create("/swaps")?;
    memcg.limit_memory_alone("/swaps", 32 << 20)?;
    let mut hog = bench.hog(&memcg, &["anon=8", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    let totalpages = seen.report.oom.totalpages_bytes;
    seen.differences.equal(
        "oom.totalpages_bytes (limit and swap)",
        totalpages,
        (32 << 20) + bench.machine.swap,
    );
    swapped(&mut seen.differences, seen.process.swap, bench.machine.swap);
    swap.off(bench)?;
    seen.finish()
}

/// A cgroup whose swap is limited as well, and full before the disk is.
pub(super) fn limit(bench: &mut Bench) -> Result<()> {
    const SWAP: u64 = 12 << 20;
    let swap = Swap::on(bench)?;
    let memcg = bench.hierarchy.create("/swaps")?;
    memcg.limit_with_swap("/swaps", 32 << 20, SWAP)?;
    let mut hog = bench.hog(&memcg, &["anon=8", "stop", "anon=256"])?;
    let standing = stand(&mut hog)?;
    let mut seen = one_kill(bench, &memcg, &mut hog, &standing, Since::Grew)?;
    let totalpages = seen.report.oom.totalpages_bytes;
    seen.differences.equal("oom.totalpages_bytes (limit and swap limit)", totalpages, (32 << 20) + SWAP);
    swapped(&mut seen.differences, seen.process.swap, SWAP);
    swap.off(bench)?;
    seen.finish()
}

pub(super) fn node(bench: &mut Bench) -> Result<()> {
    let swap = Swap::on(bench)?;
    let mut hog = bench.unlimited_hog(&["adj=500", "anon=64", "stop", "anon=8192"])?;
    let Standing { status, .. } = stand(&mut hog)?;
    bench.begin()?;
    hog.go()?;
    hog.wait_for_kill()?;
    let (report, logged, kernel_count) = bench.observe_one(&[hog.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let victim = report.victims.first().context("no victim")?;
    with_status(&mut differences, victim, &status, Since::Grew, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    swapped(&mut differences, victim.swap, bench.machine.swap);
    swap.off(bench)?;
    differences.finish().with_context(|| report.line)
}

/// The victim had nearly all of the swap; the rest is what the kernel keeps ready for each CPU (mm/swap_slots.c), and
/// of other processes.
fn swapped(differences: &mut Differences, ours: Option<u64>, full: u64) {
    let nearly = ours.is_some_and(|ours| ours <= full && ours >= full / 2);
    differences.that(&format!("swap_bytes is {ours:?}, and the swap that was full has {full}"), nearly);
}
