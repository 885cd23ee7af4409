//! What BPF programs cost, by the kernel's own statistics.

use std::{collections::BTreeMap, fs, io::ErrorKind, time::Duration};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramError, loaded_programs};

/// Programs that are loaded, by id, each with how long it has run.
pub(super) type RunTimes = BTreeMap<u32, Duration>;

/// Has the kernel measure from now on, until it is told otherwise. It costs some time on each run.
///
/// # Errors
/// Not root, or a kernel before 5.1.
pub(super) fn measure(on: bool) -> Result<()> {
    fs::write("/proc/sys/kernel/bpf_stats_enabled", if on { "1" } else { "0" })
        .context("cannot have BPF programs measured")
}

/// Of all programs. One that goes away meanwhile is left out.
///
/// # Errors
/// Not root.
pub(super) fn run_times() -> Result<RunTimes> {
    let mut times = RunTimes::new();
    for program in loaded_programs() {
        match program {
            Ok(program) => {
                times.insert(program.id(), program.run_time());
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error).context("cannot read what BPF programs have run"),
        }
    }
    Ok(times)
}

fn is_gone(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.kind() == ErrorKind::NotFound)
}

/// Nanoseconds that the programs have run that are in `after` and were not in `before`.
pub(super) fn of_new(before: &RunTimes, after: &RunTimes) -> u64 {
    let new = after.iter().filter(|(id, _)| !before.contains_key(id)).map(|(_, time)| *time);
    u64::try_from(new.sum::<Duration>().as_nanos()).unwrap_or(u64::MAX)
}
