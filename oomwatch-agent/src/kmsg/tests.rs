//! The reader over a pipe in the device's place, which gives records as they come, and the backlog over a journal.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use oomwatch_common::{kernel_log::KernelLog, report::Source, units::PageSize};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::runtime::Builder;

use super::{Backlog, FromLog, Kmsg, Next, logged::slept};
use crate::{
    config::{BacklogChoice, JournalOptions},
    history::{History, Kept},
};

const GROUP: &str = include_str!("../../../tests/fixtures/kmsg/6.1.0-56-cloud-amd64-v2group.kmsg");
const BOOT: &str = "boot-a";
const HANGS: Duration = Duration::from_mins(1);

fn lines() -> KernelLog {
    KernelLog::new(PageSize::default(), false)
}

/// A reader, and what it reads from.
fn pipe() -> (Kmsg, File) {
    let (reads, writes) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    (Kmsg::from(File::from(reads)), File::from(writes))
}

#[test]
fn records_are_read_whole_in_whatever_pieces_they_come() {
    for piece in [1, 7, 1000, 65_536] {
        let (mut log, mut writes) = pipe();
        let mut lines = lines();
        let mut found = Vec::new();
        for bytes in GROUP.as_bytes().chunks(piece) {
            writes.write_all(bytes).unwrap();
            log.drain(|next| match next {
                Next::Record(record) => found.extend(lines.record(&record)),
                Next::Overrun => panic!("a pipe overruns nothing"),
            })
            .unwrap();
        }
        found.extend(lines.finish());
        assert_eq!(found.iter().map(|logged| logged.kills).collect::<Vec<_>>(), [4], "in pieces of {piece}");
    }
}

fn backlog(log: &str) -> Backlog {
    let (mut reader, mut writes) = pipe();
    let mut lines = lines();
    writes.write_all(log.as_bytes()).unwrap();
    Backlog::read(&mut reader, &mut lines).unwrap()
}

fn history(dir: &Path) -> History {
    History::open(&JournalOptions {
        journal: Some(dir.to_owned()),
        journal_max_mib: 1,
        journal_max_age: SignedDuration::from_hours(1),
        backlog: BacklogChoice::On,
    })
    .unwrap()
}

fn tids(found: &[FromLog]) -> Vec<u32> {
    found.iter().map(|found| found.captured.incident.victims[0].tid.unwrap().0).collect()
}

fn kill(sequence: u32, tid: u32, seconds: u64) -> String {
    format!(
        "3,{sequence},{},-;Out of memory: Killed process {tid} (x) total-vm:4kB, anon-rss:3kB, file-rss:2kB, \
         shmem-rss:1kB, UID:0 pgtables:4kB oom_score_adj:0\n",
        seconds * 1_000_000
    )
}

#[test]
fn what_was_logged_while_the_agent_did_not_run_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let history = history(dir.path());
    let first = kill(1, 11, 100) + &kill(2, 12, 200);
    let found = backlog(&first).unreported(dir.path(), BOOT, &history);
    assert_eq!(tids(&found), [11, 12]);
    assert!(found.iter().all(|found| found.source == Source::Backfill));
    assert!(found.iter().all(|found| found.captured.incident.gaps.iter().any(|gap| gap.what == "time")));
    assert_eq!(tids(&backlog(&first).unreported(dir.path(), BOOT, &history)), Vec::<u32>::new());
    let more = first + &kill(3, 13, 300);
    assert_eq!(tids(&backlog(&more).unreported(dir.path(), BOOT, &history)), [13]);
    // After a reboot the kernel counts anew.
    assert_eq!(tids(&backlog(&kill(1, 11, 100)).unreported(dir.path(), "boot-b", &history)), [11]);
}

/// As a container reads it that was not given the device.
#[test]
fn what_syslog_2_gives_is_told_once_and_users_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let history = history(dir.path());
    let told = |priority: u32, tid: u32, seconds: u64| {
        format!(
            "<{priority}>[{seconds:>5}.000000] Out of memory: Killed process {tid} (x) total-vm:4kB, anon-rss:3kB, \
             file-rss:2kB, shmem-rss:1kB, UID:0 pgtables:4kB oom_score_adj:0\n"
        )
    };
    let unreported = |text: &str, boot: &str| {
        tids(&Backlog::of_text(text.as_bytes(), &mut lines()).unreported(dir.path(), boot, &history))
    };
    let first = told(3, 11, 100) + &told(11, 66, 150) + &told(3, 12, 200) + "<6>[  201.000000] after it\n";
    assert_eq!(unreported(&first, BOOT), [11, 12]);
    assert_eq!(unreported(&first, BOOT), [0; 0]);
    // The ring has lost its beginning.
    let more = first + &told(3, 13, 300);
    let (_, rest) = more.split_at(9);
    assert_eq!(unreported(rest, BOOT), [13]);
    assert_eq!(unreported(rest, "boot-b"), [12, 13], "after a reboot the clock begins anew");
}

/// The probe told of it, and the agent was killed before anything else was noted.
#[test]
fn what_the_journal_has_is_not_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let history = history(dir.path());
    let report = |boot: &str, seconds: u64, tid: u32| {
        // This machine may have slept, which the log's clock does not count.
        let at = seconds * 1_000_000_000 + slept();
        let now = Timestamp::now();
        let head = format!(r#""id":"{boot}-{at}","time":"{now}","scope":"node","cause":"unknown""#);
        format!(r#"{{{head},"victims":[{{"tid":{tid}}}]}}"#)
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // The same; of another boot; the same number long before.
    for report in [report(BOOT, 102, 11), report("boot-0", 200, 12), report(BOOT, 100, 13)] {
        runtime.block_on(history.keep(Kept { report, counts: "{}".to_owned() }));
    }
    let written = || history.stats().unwrap().incidents;
    let begun = Instant::now();
    while written() < 3 && begun.elapsed() < HANGS {
        thread::sleep(Duration::from_millis(5));
    }
    let log = kill(1, 11, 100) + &kill(2, 12, 200) + &kill(3, 13, 300);
    assert_eq!(tids(&backlog(&log).unreported(dir.path(), BOOT, &history)), [12, 13]);
}
