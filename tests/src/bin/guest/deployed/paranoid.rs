//! Debian's own level of kernel.perf_event_paranoid, at which only CAP_SYS_ADMIN may attach kprobes.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{Granted, World, kills::Reporting};

const SETTING: &str = "/proc/sys/kernel/perf_event_paranoid";

/// At Debian's default the agent takes other hooks, which tell as much, and says why. The setting is left at 2, Linux's
/// own, at which the cases that follow have kprobes.
pub(super) fn costs_nothing(world: &World) -> Result<()> {
    let level = fs::read_to_string(SETTING).with_context(|| format!("cannot read {SETTING}"))?;
    ensure!(level.trim() == "3", "{SETTING} of Debian's kernels is 3, not {level}");
    let reporting = Reporting::start(world, Granted::All);
    fs::write(SETTING, "2").with_context(|| format!("cannot write {SETTING}"))?;
    let reporting = reporting?;
    let level = reporting.agent.level.clone();
    let log = reporting.stop()?;
    ensure!(level == "kprobe", "expected level kprobe, not {level}: {log}");
    ensure!(log.contains("kernel.perf_event_paranoid is 3"), "the log does not say why: {log}");
    Ok(())
}
