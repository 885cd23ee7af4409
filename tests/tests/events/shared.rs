//! The command, journals to read, and the incidents in them.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use oomwatch_agent::{
    config::{BacklogChoice, JournalOptions},
    history::{History, Kept},
};
use oomwatch_tests::{
    deadline::{PATIENCE, wait_for},
    here::binary,
};
use serde_json::{Value, json};

/// The command without the environment of whoever runs the tests.
pub(super) fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OOMWATCH_")) {
        command.env_remove(name);
    }
    command.env("TZ", "UTC").arg("events").args(arguments).stdin(Stdio::null());
    Ok(command)
}

pub(super) fn run(arguments: &[&str]) -> Result<Output> {
    Ok(command(arguments)?.output()?)
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn path(dir: &Path) -> Result<&str> {
    dir.to_str().context("a path is not UTF-8")
}

/// The reports of the golden files, with a time of now: the oldest first.
pub(super) fn golden() -> Result<Vec<Value>> {
    let names = ["pod-group-kill", "node-wide", "system-service", "hostile-names"];
    let reports = (0..).zip(names).map(|(number, name)| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.json"));
        let mut report: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        report["time"] = json!((Timestamp::now() - SignedDuration::from_mins(90 - number)).to_string());
        report["id"] = json!(format!("b-{number}"));
        Ok(report)
    });
    reports.collect()
}

pub(super) fn ids(lines: &str) -> Result<Vec<String>> {
    lines.lines().map(id).collect()
}

pub(super) fn id(line: &str) -> Result<String> {
    let report: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
    Ok(report["id"].as_str().context("a report has no id")?.to_owned())
}

pub(super) fn named(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("b-{number}")).collect()
}

/// A journal of at most 1 MiB.
pub(super) fn open(dir: &Path) -> Result<History> {
    open_of(dir, 1)
}

pub(super) fn open_of(dir: &Path, journal_max_mib: u32) -> Result<History> {
    let journal_max_age = SignedDuration::from_hours(24);
    let options = JournalOptions {
        journal: Some(dir.to_owned()),
        journal_max_mib,
        journal_max_age,
        backlog: BacklogChoice::Off,
    };
    // The thread of one that was dropped lets go of its lock a moment later.
    wait_for("the journal's lock", PATIENCE, || Ok(History::open(&options).ok()))
}

pub(super) fn keep(history: &History, reports: impl IntoIterator<Item = Value>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for report in reports {
        runtime.block_on(history.keep(Kept { report: report.to_string(), counts: "{}".to_owned() }));
    }
    Ok(())
}
