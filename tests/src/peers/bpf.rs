//! What BPF programs cost, by the kernel's own statistics.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Programs that are loaded, by id, each with the nanoseconds that it has run.
pub(super) type RunTimes = BTreeMap<u64, u64>;

#[derive(Deserialize)]
struct Program {
    id: u64,
    #[serde(default)]
    run_time_ns: u64,
}

/// Has the kernel measure from now on, until it is told otherwise. It costs some time on each run.
///
/// # Errors
/// Not root, or a kernel before 5.1.
pub(super) fn measure(on: bool) -> Result<()> {
    fs::write("/proc/sys/kernel/bpf_stats_enabled", if on { "1" } else { "0" })
        .context("cannot have BPF programs measured")
}

/// Of all programs.
///
/// # Errors
/// There is no bpftool.
pub(super) fn run_times() -> Result<RunTimes> {
    let output = Command::new("bpftool").args(["-j", "prog", "show"]).output();
    let output = output.context("cannot run bpftool")?;
    ensure!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    let programs: Vec<Program> =
        serde_json::from_slice(&output.stdout).context("cannot read what bpftool says")?;
    Ok(programs.into_iter().map(|program| (program.id, program.run_time_ns)).collect())
}

/// Nanoseconds that the programs have run that are in `after` and were not in `before`.
pub(super) fn of_new(before: &RunTimes, after: &RunTimes) -> u64 {
    after.iter().filter(|(id, _)| !before.contains_key(id)).map(|(_, time)| time).sum()
}
