//! The capture thread allocates nothing, and gives nothing back to the allocator, from the first record of an incident
//! to its place in the queue: it works while a node has no memory left. Every allocation of the thread is counted here.

#![expect(clippy::unwrap_used, reason = "a test, which clippy takes for one only where #[test] stands")]

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use allocation_counter::measure;
use oomwatch_agent::{
    cpus::Shares,
    desk::{Desk, Settings},
    foreteller::{Told, foretelling},
    job::Caught,
    losses::{Losses, Stage},
    pool::{Parcel, Pool},
    queue::{Receiver, queue},
    record,
    sources::Roots,
    unpack::Captured,
};
use oomwatch_common::{
    capture::{Outcome, Subject},
    ids::Tgid,
    record::{self as wire, RecordKind},
    units::{BoottimeNs, PageSize},
};
use zerocopy::IntoBytes as _;

const RECORDINGS: [&str; 4] = ["container_limit", "group_kill", "node_wide", "tracepoint_v1"];
const PLACES: usize = 8;
const DEADLINE_NS: u64 = 1000;
const NOW: BoottimeNs = BoottimeNs(7_000_000_000);
const TOO_LATE: BoottimeNs = BoottimeNs(NOW.0 + 2 * DEADLINE_NS);

/// A desk with all that it needs, over the files of a node.
struct Node {
    desk: Desk,
    caught: Receiver<Caught>,
    losses: Arc<Losses>,
    pool: Arc<Pool>,
    told: Arc<Told>,
}

impl Node {
    fn new(proc: &Path, cgroup: &Path) -> Self {
        let (sender, caught) = queue(PLACES).unwrap();
        let (losses, pool) = (Arc::new(Losses::default()), Pool::new(PLACES));
        // Not known: marks are taken for kills.
        let settings =
            Settings { roots: Roots::new(proc, cgroup), deadline_ns: DEADLINE_NS, kernel_kills: None };
        let (foreteller, told, _) = foretelling(PLACES, Shares::of_this_process().unwrap()).unwrap();
        let mut desk = Desk::new(&settings, Arc::clone(&losses), sender, Arc::clone(&pool))
            .foretelling(Some(foreteller));
        desk.victims_are_held(Arc::new(Shares::of_this_process().unwrap()));
        Self { desk, caught, losses, pool, told }
    }

    /// What the capture thread does with these records, counted; `now` is when it comes to the second read.
    fn feed(&mut self, records: &[Vec<u8>], now: BoottimeNs) {
        while self.told.next().is_some() {}
        let counted = measure(|| {
            for record in records {
                self.desk.take(record, NOW);
                self.desk.settle(false, NOW);
            }
            while self.desk.read_urgent(NOW, Some(0)) {}
            self.desk.read_one(NOW);
            while self.desk.read_one(now) {}
            self.desk.settle(true, now);
        });
        assert_eq!((counted.count_total, counted.count_current), (0, 0), "{counted:?}");
    }

    fn captured(&mut self) -> Option<Captured> {
        Captured::new(self.caught.try_recv()?, PageSize::default())
    }
}

fn recorded(name: &str) -> (Node, Vec<Vec<u8>>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/replay").join(name);
    let recording = record::read(&dir).unwrap().pop().unwrap();
    (Node::new(&dir.join("proc"), &dir.join("cgroup")), recording.records)
}

#[test]
fn an_incident_of_each_kind_from_its_begin_to_its_end() {
    for name in RECORDINGS {
        let (mut node, records) = recorded(name);
        // The very first already: nothing is put off until it is needed.
        node.feed(&records, NOW);
        let captured = node.captured().unwrap();
        let read = captured.capture.sources.iter().filter(|source| source.outcome == Outcome::Read).count();
        assert!(!captured.incident.victims.is_empty() && read > 10, "{name}: {read} files");
        node.feed(&records, TOO_LATE);
        let timed_out =
            |captured: Captured| captured.capture.sources.iter().any(|s| s.outcome == Outcome::TimedOut);
        assert!(timed_out(node.captured().unwrap()), "{name}");
    }
}

#[test]
fn a_storm_of_thousands_and_a_queue_that_nobody_empties() {
    for name in RECORDINGS {
        let (mut node, records) = recorded(name);
        for _ in 0..500 {
            node.feed(&records, NOW);
            assert!(node.captured().is_some());
        }
        for _ in 0..500 {
            node.feed(&records, NOW);
        }
        assert_eq!(node.losses.get(Stage::Queue), 500 - PLACES as u64);
    }
}

/// Records of many invocations, none of which comes to its end: more than may be open at once.
#[test]
fn more_incidents_at_once_than_there_are_places_for() {
    let (mut node, records) = recorded("container_limit");
    let begin = records.first().unwrap();
    let number = std::mem::offset_of!(wire::Header, incident);
    let many: Vec<Vec<u8>> = (1..=200_u64)
        .map(|incident| {
            let mut begin = begin.clone();
            begin.get_mut(number..number + 8).unwrap().copy_from_slice(&incident.to_ne_bytes());
            begin
        })
        .collect();
    node.feed(&many, NOW);
    assert!(node.captured().is_none(), "nothing was killed");
}

#[test]
fn without_any_memory_left_in_the_pool_and_with_little() {
    for name in RECORDINGS {
        for left in [0, 1, 2, PLACES, PLACES + 1] {
            let (mut node, records) = recorded(name);
            let held: Vec<Parcel> =
                std::iter::from_fn(|| (node.pool.free() > left).then(|| Parcel::new(&node.pool)).flatten())
                    .collect();
            for _ in 0..3 * PLACES {
                node.feed(&records, NOW);
            }
            drop(held);
        }
    }
}

#[test]
fn what_is_no_record() {
    let (mut node, _) = recorded("container_limit");
    let garbage = [vec![], vec![0xff; 7], vec![0; 900], vec![0xff; 20_000]];
    node.feed(&garbage, NOW);
    assert_eq!(node.losses.get(Stage::Malformed), garbage.len() as u64);
}

#[test]
fn a_live_process_and_its_cgroup() {
    let (hierarchy_id, path) = own_cgroup();
    let mut tail: Vec<u8> = Vec::new();
    for component in path.components().rev().filter_map(|component| match component {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    }) {
        tail.extend([component.as_encoded_bytes(), &[0]].concat());
    }
    let memcg = wire::Memcg {
        cgroup_id: 7,
        hierarchy_id,
        path_len: u32::try_from(tail.len()).unwrap(),
        depth: 1,
        flags: wire::MEMCG_KNOWN,
        ..wire::UNREAD_MEMCG
    };
    let task = wire::Task { tgid: process::id(), tid: process::id(), ..wire::UNREAD_TASK };
    let mark = wire::Marked {
        header: wire::Header {
            version: wire::WIRE_VERSION,
            kind: RecordKind::Marked as u16,
            size: u16::try_from(size_of::<wire::Marked>() + tail.len()).unwrap(),
            cpu: 0,
            incident: 1,
            boottime_ns: NOW.0,
        },
        trigger: wire::Task { tgid: 1, tid: 1, ..wire::UNREAD_TASK },
        task,
        trigger_memcg: wire::UNREAD_MEMCG,
        memcg,
        levels: [wire::MemcgLevel { usage: wire::UNREAD_U64, max: wire::UNREAD_U64 }; wire::MEMCG_LEVELS],
        oom_kills: wire::UNREAD_U64,
    };
    let records = [[mark.as_bytes(), &tail].concat()];
    let mut node = Node::new(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
    for _ in 0..3 {
        node.feed(&records, NOW);
        let captured = node.captured().unwrap();
        let of = |subject, file| captured.capture.source(subject, file).map(|source| source.outcome);
        let own = Subject::Process(Tgid(process::id()));
        for file in ["status", "stat", "cmdline", "exe", "cgroup"] {
            assert_eq!(of(own, file), Some(Outcome::Read), "{file}");
        }
        assert_eq!(of(Subject::Node, "vmstat"), Some(Outcome::Read));
        let cgroup: Vec<_> = captured
            .capture
            .sources
            .iter()
            .filter(|source| matches!(source.subject, Subject::Cgroup(_)))
            .collect();
        assert!(
            cgroup.is_empty() || cgroup.iter().any(|source| source.outcome == Outcome::Read),
            "{cgroup:?}"
        );
    }
}

/// The test's own memory cgroup: 0 and its path on v2, another number on v1.
fn own_cgroup() -> (u32, PathBuf) {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let of = |controllers: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (known, path) = rest.split_once(':')?;
            known.split(',').any(|known| known == controllers).then(|| PathBuf::from(path))
        })
    };
    of("memory").map_or_else(|| (0, of("").unwrap()), |path| (5, path))
}
