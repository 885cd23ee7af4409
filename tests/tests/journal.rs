//! The journal against what only a kernel can do to it: SIGKILL at any moment, a disk that is full, a file system that
//! is read-only. File systems are the tests' own.

#![cfg(test)]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio, id},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use oomwatch_agent::{
    config::{BacklogChoice, JournalOptions},
    history::{History, Kept, Order, Query, Removed, WriteOutcome},
};
use oomwatch_common::{journal_line, query::Filter};
use oomwatch_tests::{
    deadline::{PATIENCE, wait_for},
    here::is_root,
    lines::{Lines, Next},
};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const JOURNAL: &str = "OOMWATCH_TEST_JOURNAL";
const FIRST: &str = "OOMWATCH_TEST_FIRST";
/// The size of an ordinary report.
const REPORT_BYTES: usize = 6000;
const KILLS: u32 = 50;

fn options(dir: &Path, max_mib: u32) -> JournalOptions {
    let journal_max_age = SignedDuration::from_hours(24);
    JournalOptions {
        journal: Some(dir.to_owned()),
        journal_max_mib: max_mib,
        journal_max_age,
        backlog: BacklogChoice::Off,
    }
}

fn kept(number: u64) -> Kept {
    let (time, padding) = (Timestamp::now(), "x".repeat(REPORT_BYTES));
    let report = format!(
        r#"{{"id":"b-{number}","time":"{time}","scope":"node","cause":"unknown","padding":"{padding}"}}"#
    );
    Kept { report, counts: number.to_string() }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Ids, the newest first.
fn ids(history: &History) -> Result<Vec<String>> {
    let mut query = Query { filter: Filter::default(), order: Order::NewestFirst, limit: 1000, cursor: None };
    let mut ids = Vec::new();
    loop {
        let page = history.page(&query)?;
        for report in &page.reports {
            let report: serde_json::Value = serde_json::from_str(report)?;
            ids.push(report["id"].as_str().context("a report has no id")?.to_owned());
        }
        query.cursor = page.next;
        if query.cursor.is_none() {
            return Ok(ids);
        }
    }
}

/// Everything in the segments is whole, up to the last byte.
fn is_whole(dir: &Path) -> Result<()> {
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let survey = journal_line::survey(&fs::read(&path)?);
            ensure!(survey.damaged.is_empty(), "{}: {survey:?}", path.display());
        }
    }
    Ok(())
}

/// A tmpfs of the test's own, gone when dropped.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(kib: u32) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let size = std::ffi::CString::new(format!("size={kib}k"))?;
        mount("oomwatch-test", dir.path(), "tmpfs", MountFlags::empty(), Some(size.as_c_str()))?;
        Ok(Self(dir))
    }

    fn read_only(&self, yes: bool) -> Result<()> {
        let flags = if yes { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_remount(self.0.path(), flags, "").context("remounting")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What is in the way goes when the machine does.
        unmount(self.0.path(), UnmountFlags::DETACH).unwrap_or_default();
    }
}

#[test]
fn killed_at_any_moment_the_journal_has_every_incident_that_was_acknowledged() -> Result<()> {
    if let Some(dir) = env::var_os(JOURNAL) {
        return keep_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir()?;
    let mut acknowledged = BTreeSet::new();
    let mut first: u64 = 0;
    for round in 0..KILLS {
        let mut child = Command::new(env::current_exe()?)
            .args(["--exact", "killed_at_any_moment_the_journal_has_every_incident_that_was_acknowledged"])
            .args(["--nocapture"])
            .env(JOURNAL, dir.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = Lines::of(child.stderr.take().context("the child has no stderr")?);
        let Next::Line(line) = lines.next(PATIENCE) else {
            anyhow::bail!("round {round}: the child is silent")
        };
        // A moment that nothing in the child knows of.
        let nanoseconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos();
        thread::sleep(Duration::from_micros(u64::from(nanoseconds / 7 % 15_000)));
        child.kill()?;
        child.wait()?;
        acknowledged.insert(line);
        while let Next::Line(line) = lines.next(PATIENCE) {
            acknowledged.insert(line);
        }
        let last = acknowledged.iter().filter_map(|line| line.parse::<u64>().ok()).max();
        // One may be written that was not acknowledged any more.
        first = last.context("nothing was acknowledged")? + 10;
    }
    let history = History::open(&options(dir.path(), 1024))?;
    is_whole(dir.path())?;
    let found: BTreeSet<String> = ids(&history)?.into_iter().collect();
    for number in &acknowledged {
        ensure!(found.contains(&format!("b-{number}")), "{number} was acknowledged, and is lost");
    }
    // What was written and could not be acknowledged any more: one a round at most.
    ensure!(found.len() <= acknowledged.len() + KILLS as usize, "{} of {}", found.len(), acknowledged.len());
    Ok(())
}

/// The child: says the number of each incident that is kept, on stderr, which nobody else writes.
fn keep_for_ever(dir: &Path) -> Result<()> {
    let history = History::open(&options(dir, 1024))?;
    let first: u64 = env::var(FIRST)?.parse()?;
    runtime()?.block_on(async {
        for number in first.. {
            history.keep(kept(number)).await;
            // A disk that is busy with other tests may take longer than keeping waits.
            while history.outcomes().get(WriteOutcome::Written) <= number - first {
                ensure!(history.outcomes().get(WriteOutcome::Failed) == 0, "{number} was not kept");
                thread::yield_now();
            }
            writeln!(io::stderr(), "{number}")?;
        }
        Ok(())
    })
}

#[test]
fn a_disk_that_the_journal_fills_keeps_the_newest() -> Result<()> {
    if !is_root("mounts a file system")? {
        return Ok(());
    }
    let disk = Tmpfs::new(600)?;
    let dir = disk.0.path().join("journal");
    let history = History::open(&options(&dir, 1))?;
    runtime()?.block_on(async {
        for number in 0..300 {
            history.keep(kept(number)).await;
        }
    });
    ensure!(history.outcomes().summary() == "written 300", "{}", history.outcomes().summary());
    let left = ids(&history)?;
    let expected: Vec<String> = (0..300).rev().map(|number| format!("b-{number}")).take(left.len()).collect();
    ensure!(left == expected && left.len() > 40, "{left:?}");
    let removed = history.removed().get(Removed::DiskFull);
    ensure!(removed == 300 - left.len() as u64, "{removed} removed, {} left", left.len());
    is_whole(&dir)
}

#[test]
fn a_disk_that_others_fill_costs_nothing_and_is_written_again_when_there_is_room() -> Result<()> {
    if !is_root("mounts a file system")? {
        return Ok(());
    }
    let disk = Tmpfs::new(600)?;
    let (dir, ballast) = (disk.0.path().join("journal"), disk.0.path().join("ballast"));
    let history = History::open(&options(&dir, 1))?;
    let runtime = runtime()?;
    runtime.block_on(history.keep(kept(1)));
    // All but two pages: less than an incident needs, so that writing it begins and is cut short.
    let mut file = fs::File::create(&ballast)?;
    while file.write(&[0; 4096]).is_ok() {}
    file.set_len(file.metadata()?.len().saturating_sub(2 * 4096))?;
    runtime.block_on(async {
        history.keep(kept(2)).await;
        history.keep(kept(3)).await;
        history.keep(kept(4)).await;
    });
    let summary = history.outcomes().summary();
    ensure!(history.outcomes().get(WriteOutcome::Failed) >= 2, "{summary}");
    ensure!(ids(&history)?.len() == 4 && !history.stats().is_some_and(|stats| stats.writable), "{summary}");
    is_whole(&dir)?;
    fs::remove_file(&ballast)?;
    drop(file);
    runtime.block_on(history.keep(kept(5)));
    ensure!(
        history.stats().is_some_and(|stats| stats.writable) && history.removed().summary() == "none",
        "{}",
        history.removed().summary()
    );
    is_whole(&dir)?;
    drop(history);
    let history = wait_for("the lock", PATIENCE, || Ok(History::open(&options(&dir, 1)).ok()))?;
    let left = ids(&history)?;
    ensure!(
        left.first().is_some_and(|id| id == "b-5") && left.last().is_some_and(|id| id == "b-1"),
        "{left:?}"
    );
    Ok(())
}

#[test]
fn a_read_only_journal_is_read_and_written_again_when_it_can_be() -> Result<()> {
    if !is_root("mounts a file system")? {
        return Ok(());
    }
    let disk = Tmpfs::new(4096)?;
    let dir = disk.0.path().join("journal");
    let runtime = runtime()?;
    let history = History::open(&options(&dir, 1))?;
    runtime.block_on(history.keep(kept(1)));
    drop(history);
    // Its thread closes the file a moment later.
    wait_for("the journal to be closed", PATIENCE, || Ok(disk.read_only(true).ok()))?;

    let history = History::open(&options(&dir, 1))?;
    runtime.block_on(history.keep(kept(2)));
    ensure!(ids(&history)? == ["b-2", "b-1"], "{:?}", ids(&history)?);
    let stats = history.stats().context("no journal")?;
    ensure!(!stats.writable && stats.incidents == 1, "{stats:?}");
    ensure!(history.outcomes().summary() == "failed 1", "{}", history.outcomes().summary());

    disk.read_only(false)?;
    wait_for("the journal to be written again", PATIENCE, || {
        runtime.block_on(history.keep(kept(3)));
        Ok((history.outcomes().get(WriteOutcome::Written) > 0).then_some(()))
    })?;
    ensure!(
        history.stats().is_some_and(|stats| stats.writable && stats.incidents == 2),
        "{:?}",
        history.stats()
    );
    is_whole(&dir)
}

#[test]
fn a_read_only_file_system_without_a_journal_is_memory() -> Result<()> {
    if !is_root("mounts a file system")? {
        return Ok(());
    }
    let disk = Tmpfs::new(64)?;
    disk.read_only(true)?;
    let history = History::open(&options(&disk.0.path().join(format!("journal-{}", id())), 1))?;
    runtime()?.block_on(history.keep(kept(1)));
    ensure!(
        ids(&history)? == ["b-1"] && !history.stats().is_some_and(|stats| stats.writable),
        "{:?}",
        history.stats()
    );
    Ok(())
}
