//! The agent outlives the OOM: the node runs out of memory again and again, without swap, and goes on being reported.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    bench::{Bench, Observed},
    compare::Differences,
    hog::Hog,
    status::Status,
};

use super::limits::Mounted;
use crate::suite::say;

const ROUNDS: usize = 20;
/// Processes that press at once: while one is being reported, the next takes its memory.
const AT_ONCE: usize = 2;
/// From this round on the agent has what it needs.
const SETTLED: usize = 3;
/// What its memory may differ by from then on: the reports of a round are longer or shorter.
const GROWTH: u64 = 512 << 10;
/// From the hook to the report, on an emulated machine whose CPUs are shared with who presses. Measured: 0.2 s.
const REPORTED_WITHIN_US: u64 = 2_000_000;
/// What is left free by whoever fills the node.
const LEFT_FREE: u64 = 32 << 20;
const FILLERS: u64 = 8;

/// Memory is full of processes, each too small to be chosen.
pub(super) fn processes(bench: &mut Bench) -> Result<()> {
    let mib = (available()?.saturating_sub(LEFT_FREE) / FILLERS) >> 20;
    let fill = format!("anon={mib}");
    let mut fillers = Vec::new();
    for _ in 0..FILLERS {
        let mut filler = bench.unlimited_hog(&["adj=-500", &fill, "stop"])?;
        filler.go_to_stop()?;
        fillers.push(filler);
    }
    again_and_again(bench)?;
    for filler in &mut fillers {
        ensure!(filler.alive()?, "pid {} died for another", filler.pid);
    }
    Ok(())
}

/// Memory is full of files of a tmpfs, which are nobody's to give back.
pub(super) fn tmpfs(bench: &mut Bench) -> Result<()> {
    let mounted = Mounted::with("tmpfs", "/tmp/oomwatch-full", Some(c"size=100%"))?;
    let mib = available()?.saturating_sub(LEFT_FREE) >> 20;
    let fill = format!("write={}/full:{mib}", mounted.0);
    let mut filler = bench.unlimited_hog(&["adj=-500", &fill, "stop"])?;
    filler.go_to_stop()?;
    again_and_again(bench)
}

fn again_and_again(bench: &mut Bench) -> Result<()> {
    let agent = bench.agent.id();
    ensure!(bench.machine.swap == 0, "there is to be no swap here");
    let mut differences = Differences::default();
    let adj = fs::read_to_string(Path::new("/proc").join(agent.to_string()).join("oom_score_adj"))?;
    differences.equal("the agent's own oom_score_adj", Some(adj.trim().to_owned()), "-999".to_owned());
    let (mut settled, mut slowest) = ((0, 0), 0);
    for round in 1..=ROUNDS {
        bench.begin_within_rate_limit()?;
        let mut hogs =
            (0..AT_ONCE).map(|_| bench.unlimited_hog(&["anon=8192"])).collect::<Result<Vec<Hog>>>()?;
        for hog in &mut hogs {
            hog.go()?;
        }
        for hog in &mut hogs {
            hog.wait_for_kill()?;
        }
        let mut pids: Vec<u32> = hogs.iter().map(|hog| hog.pid).collect();
        let Observed { reports, logged, kernel_count } = bench.observe(&pids)?;
        let mut reported: Vec<u32> =
            reports.iter().flat_map(|report| &report.victims).filter_map(|victim| victim.tgid).collect();
        let mut in_the_log: Vec<u32> =
            logged.iter().flat_map(|incident| incident.victims()).map(|killed| killed.tid).collect();
        for pids in [&mut pids, &mut reported, &mut in_the_log] {
            pids.sort_unstable();
        }
        differences.equal("victims", Some(reported), pids.clone());
        differences.equal("victims in the kernel's log", Some(in_the_log), pids);
        differences.equal("oom_kill of /proc/vmstat", Some(AT_ONCE as u64), kernel_count);
        let latencies = reports.iter().filter_map(|report| report.hook_to_report_us);
        slowest = latencies.max().context("no latency")?.max(slowest);
        let memory = memory(agent)?;
        if round == SETTLED {
            settled = memory;
        }
        if round == ROUNDS {
            say(&format!(
                "({} kills, reported within {} ms, VmRSS {} KiB and at most {} KiB) ",
                ROUNDS * AT_ONCE,
                slowest / 1000,
                memory.0 >> 10,
                memory.1 >> 10
            ))?;
            differences.that("the agent's VmRSS grew", memory.0 <= settled.0 + GROWTH);
            differences.that("the agent's VmHWM grew", memory.1 <= settled.1 + GROWTH);
        }
    }
    differences.that("a report was late", slowest <= REPORTED_WITHIN_US);
    differences.finish()
}

/// `VmRSS` and `VmHWM` of a process, bytes.
fn memory(pid: u32) -> Result<(u64, u64)> {
    let status = Status::of_process(pid)?;
    status.bytes("VmRSS").zip(status.bytes("VmHWM")).context("the agent has no memory")
}

/// Bytes that can be taken before the kernel must kill.
fn available() -> Result<u64> {
    let meminfo = Status::parse(&fs::read_to_string("/proc/meminfo")?);
    meminfo.bytes("MemAvailable").context("/proc/meminfo has no MemAvailable")
}
