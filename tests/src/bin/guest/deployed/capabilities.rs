//! What is lost without each capability, as the DaemonSet's comments say it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    deadline::{PATIENCE, wait_for},
    lines::{Lines, Next},
};

use super::{
    Granted, World,
    kills::{EXE, Reporting},
};

/// How a capability is missed.
enum Loss {
    /// The agent does not start: exit code 77, and its name in the log.
    Start,
    /// The log says this at start.
    Said(&'static str),
    /// Reports have a gap of this name.
    Gap(&'static str),
}

/// A capability of the manifest that is not here fails.
const LOSSES: [(&str, Loss); 6] = [
    ("BPF", Loss::Start),
    ("PERFMON", Loss::Start),
    ("SYS_PTRACE", Loss::Gap(EXE)),
    ("SYSLOG", Loss::Said("RSS will be approximate")),
    ("SYS_NICE", Loss::Said("give CAP_SYS_NICE")),
    ("IPC_LOCK", Loss::Said("give CAP_IPC_LOCK")),
];

/// What the log must not say when nothing is missing.
pub(super) fn phrases() -> impl Iterator<Item = &'static str> {
    LOSSES.iter().filter_map(|(_, loss)| match loss {
        Loss::Said(phrase) => Some(*phrase),
        Loss::Start | Loss::Gap(_) => None,
    })
}

/// The agent with all the capabilities of the manifest but one.
pub(super) fn without(world: &World, dropped: &str) -> Result<()> {
    let loss = LOSSES.iter().find(|(name, _)| *name == dropped);
    let (_, loss) = loss.context("the manifest grants it, and nothing here knows what for")?;
    if matches!(loss, Loss::Start) {
        return refuses(world, dropped);
    }
    let mut reporting = Reporting::start(world, Granted::But(dropped))?;
    if let Loss::Gap(what) = loss {
        let victim = world.pods.first().context("no pod")?;
        let report = reporting.kill(world, victim, &victim.cgroup_of_systemd())?;
        ensure!(
            report.gaps == [*what] && report.reasons == ["denied"],
            "expected the gap {what:?} alone: {}",
            report.line
        );
    }
    let log = reporting.stop()?;
    for phrase in phrases() {
        let expected = matches!(loss, Loss::Said(said) if *said == phrase);
        ensure!(log.contains(phrase) == expected, "{phrase:?}: {log}");
    }
    Ok(())
}

fn refuses(world: &World, dropped: &str) -> Result<()> {
    let mut command = world.agent(Granted::But(dropped))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run ctr")?;
    let lines = Lines::of(child.stderr.take().context("ctr has no stderr")?);
    let status = wait_for("the agent to exit", PATIENCE, || Ok(child.try_wait()?));
    if status.is_err() {
        child.kill()?;
    }
    let mut log = String::new();
    while let Next::Line(line) = lines.next(PATIENCE) {
        log.push_str(&line);
        log.push('\n');
    }
    let status = status.with_context(|| log.clone())?;
    ensure!(status.code() == Some(77), "expected exit code 77, not {status}: {log}");
    ensure!(log.contains(&format!("CAP_{dropped}")), "the log does not name CAP_{dropped}: {log}");
    Ok(())
}
