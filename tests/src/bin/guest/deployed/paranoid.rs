//! Debian's own level of kernel.perf_event_paranoid, at which the capabilities of the base are not enough for kprobes.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{Granted, World, kills::Reporting};

const SETTING: &str = "/proc/sys/kernel/perf_event_paranoid";

/// At Debian's default the agent says why it reports victims only, and overlays/perf-paranoid is the way out; setting
/// it to 2 is the other, and is left so for the cases that follow.
pub(super) fn is_explained(world: &World) -> Result<()> {
    let level = fs::read_to_string(SETTING).with_context(|| format!("cannot read {SETTING}"))?;
    ensure!(level.trim() == "3", "{SETTING} of Debian's kernels is 3, not {level}");
    let base = started(world, Granted::All);
    let overlay = started(world, Granted::And("SYS_ADMIN"));
    fs::write(SETTING, "2").with_context(|| format!("cannot write {SETTING}"))?;
    let (level, log) = base?;
    ensure!(level == "tracepoint", "expected level tracepoint, not {level}: {log}");
    ensure!(log.contains("kernel.perf_event_paranoid is 3"), "the log does not say why: {log}");
    let (level, log) = overlay?;
    ensure!(level == "kprobe", "with SYS_ADMIN, expected level kprobe, not {level}: {log}");
    Ok(())
}

/// Level and log.
fn started(world: &World, granted: Granted<'_>) -> Result<(String, String)> {
    let reporting = Reporting::start(world, granted)?;
    Ok((reporting.agent.level.clone(), reporting.stop()?))
}
