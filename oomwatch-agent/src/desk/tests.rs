//! The desk over a recorded incident: its records, and its files in a tree that is changed as the world may change.

use std::{
    fs,
    path::{Path, PathBuf},
};

use oomwatch_common::{capture::SourceRead, units::PageSize};
use tempfile::TempDir;

use super::*;
use crate::{
    marks::MARK_COMES_WITHIN_NS,
    pool::FOR_FILES,
    queue::{Receiver, queue},
    record::{self, Recording},
    unpack::Captured,
};

mod held;
mod lost;
mod spared;

const NOW: BoottimeNs = BoottimeNs(7_000_000_000);

/// A copy of a recording that a test may change.
fn recorded(name: &str) -> (TempDir, Recording) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/replay").join(name);
    let folder = TempDir::new().unwrap();
    copy(&from, folder.path());
    let recording = record::read(folder.path()).unwrap().pop().unwrap();
    (folder, recording)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), &to).unwrap();
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

struct Bench {
    desk: Desk,
    incidents: Receiver<Caught>,
    pool: Arc<Pool>,
    losses: Arc<Losses>,
    recording: Recording,
    folder: TempDir,
}

impl Bench {
    /// What a tracepoint's mark is held against: kills that the kernel had counted before.
    fn counted(mut self, kills: u64) -> Self {
        self.desk.marks = Marks::new(Some(kills));
        self
    }

    fn new(name: &str, places: usize, deadline_ns: u64, change: impl FnOnce(&Path)) -> Self {
        let (folder, recording) = recorded(name);
        change(folder.path());
        let (sender, incidents) = queue(places).unwrap();
        let losses = Arc::new(Losses::default());
        let settings = Settings {
            roots: Roots::new(&folder.path().join("proc"), &folder.path().join("cgroup")),
            deadline_ns,
            kernel_kills: None,
        };
        let pool = Pool::new(places);
        let desk = Desk::new(&settings, Arc::clone(&losses), sender, Arc::clone(&pool));
        Self { desk, incidents, pool, losses, recording, folder }
    }

    /// Feeds the records, reads as long as there is something to read, `later` on the clock, and settles.
    fn feed(&mut self, later: u64) {
        for raw in &self.recording.records {
            self.desk.take(raw, NOW);
        }
        self.desk.read_one(NOW);
        self.feed_nothing(later);
    }

    fn feed_nothing(&mut self, later: u64) {
        let later = BoottimeNs(NOW.0 + later);
        while self.desk.read_one(later) {}
        self.desk.settle(false, later);
    }

    fn captured(&mut self) -> Option<Captured> {
        Captured::new(self.incidents.try_recv()?, PageSize::default())
    }

    fn sources(&mut self) -> Vec<SourceRead> {
        self.captured().unwrap().capture.sources
    }
}

fn outcomes(sources: &[SourceRead], file: &str) -> Vec<Outcome> {
    sources.iter().filter(|source| source.file == file).map(|source| source.outcome).collect()
}

fn victims_folder(root: &Path) -> PathBuf {
    let numbered = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u32>().is_ok();
    fs::read_dir(root.join("proc")).unwrap().map(|entry| entry.unwrap().path()).find(numbered).unwrap()
}

#[test]
fn everything_is_read_and_the_victim_first() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |_| {});
    bench.feed(0);
    let sources = bench.sources();
    let order: Vec<&str> = sources.iter().map(|source| source.file).collect();
    assert_eq!(order.first(), Some(&"status"));
    assert!(
        order.iter().position(|file| *file == "memory.stat")
            < order.iter().position(|file| *file == "meminfo")
    );
    let unread: Vec<_> = sources.iter().filter(|source| source.outcome != Outcome::Read).collect();
    assert!(unread.is_empty(), "{unread:?}");
}

#[test]
fn every_member_of_a_group_is_read_once() {
    let mut bench = Bench::new("group_kill", 1, u64::MAX, |_| {});
    bench.feed(0);
    assert_eq!(outcomes(&bench.sources(), "status"), [Outcome::Read; 3]);
}

#[test]
fn after_the_deadline_the_rest_is_timed_out_and_the_victim_is_not() {
    let mut bench = Bench::new("container_limit", 1, 1000, |_| {});
    bench.feed(1001);
    let sources = bench.sources();
    assert_eq!(outcomes(&sources, "status"), [Outcome::Read]);
    assert_eq!(outcomes(&sources, "meminfo"), [Outcome::TimedOut]);
    assert_eq!(outcomes(&sources, "memory.stat"), [Outcome::TimedOut]);
}

#[test]
fn a_victim_that_took_long_to_read_costs_the_rest_no_time() {
    let mut bench = Bench::new("container_limit", 1, 1000, |_| {});
    for raw in &bench.recording.records {
        bench.desk.take(raw, NOW);
    }
    bench.feed_nothing(5000);
    let sources = bench.sources();
    assert_eq!(outcomes(&sources, "meminfo"), [Outcome::Read]);
}

#[test]
fn a_number_that_another_process_has_by_now_is_gone() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |root| {
        let stat = victims_folder(root).join("stat");
        let text = fs::read_to_string(&stat).unwrap();
        let (name, rest) = text.rsplit_once(") ").unwrap();
        let mut fields: Vec<&str> = rest.split(' ').collect();
        fields[19] = "99999999";
        fs::write(&stat, format!("{name}) {}", fields.join(" "))).unwrap();
    });
    bench.feed(0);
    let captured = bench.captured().unwrap();
    for file in ["status", "stat", "cmdline", "exe", "cgroup"] {
        assert_eq!(outcomes(&captured.capture.sources, file), [Outcome::Gone], "{file}");
    }
    assert_eq!(captured.incident.victims.len(), 1, "what the probe read of the victim stays");
}

#[test]
fn a_process_and_a_cgroup_that_are_gone_leave_the_incident() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |root| {
        fs::remove_dir_all(victims_folder(root)).unwrap();
        fs::remove_dir_all(root.join("cgroup/kubepods.slice")).unwrap();
    });
    bench.feed(0);
    let sources = bench.sources();
    assert_eq!(outcomes(&sources, "status"), [Outcome::Gone]);
    assert_eq!(outcomes(&sources, "memory.stat"), [Outcome::Gone]);
    assert_eq!(outcomes(&sources, "meminfo"), [Outcome::Read]);
}

#[test]
fn a_file_that_this_kernel_does_not_have_is_unsupported() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |root| {
        fs::remove_file(root.join("proc/pressure/memory")).unwrap();
    });
    bench.feed(0);
    assert_eq!(outcomes(&bench.sources(), "pressure/memory"), [Outcome::Unsupported]);
}

#[test]
fn what_finds_the_queue_full_is_counted() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |_| {});
    for _ in 0..3 {
        bench.feed(0);
    }
    assert_eq!(bench.losses.get(Stage::Queue), 2);
    let progress = &bench.desk.progress;
    assert_eq!(progress.lost.get(Lost::Queue), 2, "two incidents of one process each");
    let records = 3 * bench.recording.records.len() as u64;
    assert_eq!(progress.done(), Some(Done { records, open: 0, told: 3, groups: 0 }));
    assert!(bench.captured().is_some() && bench.captured().is_none());
}

#[test]
fn what_is_no_record_is_counted() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |_| {});
    for garbage in [&b""[..], &[0xff; 7], &[0; 900]] {
        bench.desk.take(garbage, NOW);
    }
    assert_eq!(bench.losses.get(Stage::Malformed), 3);
    bench.feed(0);
    let records = 3 + bench.recording.records.len() as u64;
    assert_eq!(bench.desk.progress.done(), Some(Done { records, open: 0, told: 1, groups: 0 }));
}

#[test]
fn an_incident_whose_end_never_comes_is_reported_after_its_time() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |_| {});
    bench.recording.records.pop();
    bench.feed(0);
    assert!(bench.captured().is_none(), "its end may still come");
    let at = bench.desk.looks_at(NOW).unwrap();
    bench.desk.settle(false, at);
    let captured = bench.captured().unwrap();
    assert_eq!(captured.incident.gaps.len(), 1, "{:?}", captured.incident.gaps);
}

/// The end tells the kill of a process that dies alone. Where it does not come, the probe's own note does.
#[test]
fn a_kill_without_a_record_of_its_own_is_an_incident_without_its_end_too() {
    for (invocation, expected) in [(0, false), (1, true), (2, false)] {
        let mut bench = Bench::new("container_limit", 1, u64::MAX, |_| {});
        bench.recording.records.truncate(1);
        let number = peek(&bench.recording.records[0]).unwrap().incident;
        bench.feed(0);
        assert!(!bench.desk.lacks_an_end(false, NOW), "it may still come");
        let at = bench.desk.looks_at(NOW).unwrap();
        assert!(bench.desk.lacks_an_end(false, at));
        bench.desk.was_killed(number + invocation - 1, at);
        bench.desk.settle(false, at);
        let captured = bench.captured();
        assert_eq!(captured.is_some(), expected, "{invocation}");
        assert_eq!(bench.desk.done.told, u64::from(expected), "and counted once");
        assert_eq!(bench.desk.done.records, 1, "of those that the probe sent");
        assert!(captured.is_none_or(|captured| captured.incident.gaps.len() == 1));
    }
}

/// `oom_kill` of the recorded vmstat.
const COUNTED_AFTER: u64 = 19_500;

#[test]
fn a_mark_that_the_kernel_counted_as_a_kill_is_an_incident() {
    let mut bench = Bench::new("tracepoint_v1", 1, u64::MAX, |_| {}).counted(COUNTED_AFTER - 1);
    bench.feed(0);
    let captured = bench.captured().unwrap();
    assert_eq!((captured.incident.victims.len(), captured.incident.gaps.len()), (1, 0));
}

#[test]
fn a_mark_of_a_task_that_exited_on_its_own_is_none() {
    let mut bench = Bench::new("tracepoint_v1", 1, u64::MAX, |_| {}).counted(COUNTED_AFTER);
    bench.feed(0);
    assert!(bench.captured().is_none(), "the kernel counted no kill");
    assert_eq!(bench.losses.get(Stage::Queue), 0);
}

/// Two CPUs kill; the count is read when both have counted and one has marked.
#[test]
fn a_kill_that_was_counted_and_not_marked_yet_is_an_incident_when_its_mark_comes() {
    for (later, expected) in [(MARK_COMES_WITHIN_NS, true), (MARK_COMES_WITHIN_NS + 1, false)] {
        let mut bench = Bench::new("tracepoint_v1", 2, u64::MAX, |_| {}).counted(COUNTED_AFTER - 2);
        bench.feed(0);
        assert!(bench.captured().is_some());
        let at = BoottimeNs(NOW.0 + later);
        for raw in &bench.recording.records {
            bench.desk.take(raw, at);
        }
        bench.feed_nothing(later);
        assert_eq!(bench.captured().is_some(), expected, "{later} ns later");
    }
}

#[test]
fn a_mark_that_cannot_be_held_against_a_count_is_reported_with_a_gap() {
    let mut bench = Bench::new("tracepoint_v1", 1, u64::MAX, |root| {
        fs::write(root.join("proc/vmstat"), "nr_free_pages 1\n").unwrap();
    });
    bench.feed(0);
    assert_eq!(bench.captured().unwrap().incident.gaps.len(), 1);
}

#[test]
fn arguments_that_may_be_swapped_out_are_withheld_on_an_exhausted_node() {
    let swap = |root: &Path| {
        let status = victims_folder(root).join("status");
        let text = fs::read_to_string(&status).unwrap();
        fs::write(&status, text.replace("VmSwap:\t       0 kB", "VmSwap:\t       8 kB")).unwrap();
    };
    let mut bench = Bench::new("node_wide", 1, u64::MAX, swap);
    bench.feed(0);
    assert_eq!(outcomes(&bench.sources(), "cmdline"), [Outcome::Withheld]);
    // In a cgroup at its own limit the reader finds the page that it asks for.
    let mut bench = Bench::new("container_limit", 1, u64::MAX, swap);
    bench.feed(0);
    assert_eq!(outcomes(&bench.sources(), "cmdline"), [Outcome::Read]);
}

#[test]
fn without_memory_for_files_the_incident_goes_without_them() {
    let mut bench = Bench::new("container_limit", 3, u64::MAX, |_| {});
    let all = hold_all_but(&bench.pool, 3);
    bench.feed(0);
    drop(all);
    let captured = bench.captured().unwrap();
    assert_eq!((captured.incident.victims.len(), captured.incident.gaps.len()), (1, 0));
    let sources = captured.capture.sources;
    assert!(sources.iter().any(|source| source.outcome == Outcome::NoRoom), "{sources:?}");
    // What its first block has room for is there: what dies first.
    assert_eq!(outcomes(&sources, "status"), [Outcome::Read]);
    assert_eq!(bench.pool.free(), 3 + FOR_FILES);
}

#[test]
fn what_finds_no_memory_at_all_is_counted_and_nothing_else_suffers() {
    let mut bench = Bench::new("group_kill", 3, u64::MAX, |_| {});
    let all = hold_all_but(&bench.pool, 0);
    bench.feed(0);
    assert!(bench.captured().is_none());
    assert_eq!(bench.losses.get(Stage::Queue), 1);
    assert_eq!(bench.desk.progress.lost.get(Lost::Queue), 3, "its processes");
    drop(all);
    bench.feed(0);
    assert_eq!(bench.captured().unwrap().incident.victims.len(), 3);
}

/// Takes blocks as long as there are more than so many.
fn hold_all_but(pool: &Arc<Pool>, free: usize) -> Vec<Parcel> {
    std::iter::from_fn(|| (pool.free() > free).then(|| Parcel::new(pool)).flatten()).collect()
}
