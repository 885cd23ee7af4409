//! What comes is shown once, whatever becomes of the files.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use oomwatch_tests::deadline::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{
    follower::Follower,
    shared::{command, golden, id, keep, open, path},
};

#[test]
fn following_a_journal_misses_nothing_while_segments_come_and_go_and_the_agent_is_started_again() -> Result<()>
{
    let dir = tempfile::tempdir()?;
    let history = open(dir.path())?;
    let numbered = |number: u32| -> Result<Value> {
        let mut report = golden()?.remove(0);
        report["id"] = json!(format!("b-{number}"));
        report["padding"] = json!("x".repeat(20_000));
        Ok(report)
    };
    keep(&history, [numbered(0)?, numbered(1)?, numbered(2)?])?;
    let journal = path(dir.path())?;
    let mut follower = Follower::start(&["--journal", journal, "-f", "--limit", "2", "--output", "json"])?;
    ensure!([id(&follower.next()?)?, id(&follower.next()?)?] == ["b-1", "b-2"]);
    let mut history = Some(history);
    // 3 MB through a journal of 1 MiB: every segment is left, and the first are dropped.
    for first in (3..150).step_by(21) {
        drop(history.take());
        let reports: Result<Vec<Value>> = (first..first + 21).map(numbered).collect();
        keep(history.insert(open(dir.path())?), reports?)?;
        for number in first..first + 21 {
            ensure!(id(&follower.next()?)? == format!("b-{number}"), "b-{number} is not what came next");
        }
    }
    follower.interrupt()
}

#[test]
fn following_begins_with_headings_and_tells_the_time_of_day() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let history = open(dir.path())?;
    let mut follower = Follower::start(&["--journal", path(dir.path())?, "--follow"])?;
    ensure!(follower.said()?.ends_with("; waiting for the next"));
    ensure!(follower.next()?.starts_with("TIME                 POD"));
    let report = golden()?.remove(1);
    let time = report["time"].as_str().and_then(|time| time.get(..19)).context("no time")?.replace('T', " ");
    keep(&history, [report])?;
    let row = follower.next()?;
    ensure!(row.starts_with(&format!("{time}  root cgroup")), "{row}");
    follower.interrupt()
}

#[test]
fn following_ends_when_nobody_reads_it_any_more() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let _history = open(dir.path())?;
    let mut child = command(&["--journal", path(dir.path())?, "-f", "--output", "json"])?
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    drop(child.stdout.take());
    let status = wait_for("the command to end", PATIENCE, || Ok(child.try_wait()?))?;
    ensure!(status.success(), "{status}");
    Ok(())
}
