//! Whose line is out already, and who is kept on its CPU, is read when the kernel is done with it.

use oomwatch_common::record as wire;
use rustix::thread::CpuSet;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::*;
use crate::{
    claims::Claims,
    cpus::Shares,
    foreteller::{Foretold, Told, foretelling},
    job::ENDS_SOON_NS,
};

/// CPUs: the recordings say 0, the one of the kill.
const HERE: Option<u16> = Some(0);
const ELSEWHERE: Option<u16> = Some(1);

/// With a teller, and a victim that is held if it asked itself.
fn bench(name: &str) -> (Bench, Arc<Told>) {
    let (bench, told, _) = bench_with_claims(name);
    (bench, told)
}

fn bench_with_claims(name: &str) -> (Bench, Arc<Told>, Arc<Claims>) {
    let mut bench = Bench::new(name, 1, u64::MAX, |_| {});
    let (foreteller, told, claims) = foretelling(8, Shares::of_this_process().unwrap()).unwrap();
    bench.desk.foreteller = Some(foreteller);
    let mut cpus = CpuSet::new();
    cpus.set(0);
    bench.desk.victims_are_held(Arc::new(Shares::of(&cpus)));
    (bench, told, claims)
}

/// Of a victim without other threads nothing comes between the begin and the end.
fn without_victim(recording: &Recording) -> Vec<Vec<u8>> {
    let is_other = |raw: &&Vec<u8>| !matches!(peek(raw).unwrap().tells, Tells::Victim(..) | Tells::Killed(_));
    recording.records.iter().filter(is_other).cloned().collect()
}

#[test]
fn a_held_victim_is_read_when_the_kernel_is_done_with_it() {
    let (mut bench, told) = bench("container_limit");
    let records = without_victim(&bench.recording);
    let (end, before) = records.split_last().unwrap();
    for raw in before {
        bench.desk.take(raw, NOW);
    }
    assert!(matches!(told.next(), Some(Foretold::Begun { .. })), "its line is out");
    let then = |waited| BoottimeNs(NOW.0 + waited);
    assert!(!bench.desk.read_urgent(NOW, HERE) && !bench.desk.read_one(NOW) && bench.desk.rest_can_wait());
    assert!(!bench.desk.has_more(NOW) && !bench.desk.owes_a_victim(), "it is in the kernel still");
    assert_eq!(bench.desk.looks_at(NOW), Some(then(ENDS_SOON_NS)));
    assert!(!bench.desk.is_late(then(LATE_NS)) && bench.desk.is_late(then(LATE_NS + 1)));
    bench.desk.take(end, NOW);
    assert!(bench.desk.owes_a_victim(), "anchors hold on");
    assert!(
        !bench.desk.read_urgent(NOW, ELSEWHERE) && !bench.desk.read_one(NOW),
        "that would take a CPU more"
    );
    assert!(
        !bench.desk.has_more(NOW) && bench.desk.looks_at(NOW) == Some(then(ENDS_SOON_NS)),
        "as a precaution"
    );
    assert!(bench.desk.read_urgent(NOW, HERE) && !bench.desk.read_urgent(NOW, HERE));
    assert!(!bench.desk.owes_a_victim());
    bench.feed_nothing(0);
    let sources = bench.sources();
    assert_eq!(sources.first().map(|source| source.file), Some("status"));
    assert!(!bench.desk.is_late(then(LATE_NS + 1)), "nothing is left");
    assert!(sources.iter().all(|source| source.outcome == Outcome::Read), "its cgroup's too: {sources:?}");
}

/// As where there are more incidents at once than places: the oldest is told with what it has.
#[test]
fn a_held_victim_that_is_never_read_is_a_gap() {
    let (mut bench, _told) = bench("container_limit");
    for raw in without_victim(&bench.recording) {
        bench.desk.take(&raw, NOW);
    }
    bench.desk.settle(true, NOW);
    assert_eq!(outcomes(&bench.sources(), "status"), [Outcome::TimedOut]);
}

/// As where others have CPUs to themselves, which the agent may not use (the kubelet's static CPU manager).
#[test]
fn a_victim_on_a_cpu_without_an_anchor_is_read_at_once() {
    let (mut bench, told) = bench("container_limit");
    let cpu = std::mem::offset_of!(wire::Header, cpu);
    for raw in &mut bench.recording.records {
        raw[cpu..cpu + 2].copy_from_slice(&7_u16.to_ne_bytes());
    }
    let begin = bench.recording.records[0].clone();
    bench.desk.take(&begin, NOW);
    assert!(matches!(told.next(), Some(Foretold::Begun { .. })));
    fs::remove_dir_all(victims_folder(bench.folder.path())).unwrap();
    for raw in &without_victim(&bench.recording)[1..] {
        bench.desk.take(raw, NOW);
    }
    bench.feed_nothing(0);
    assert_eq!(outcomes(&bench.sources(), "status"), [Outcome::Read]);
}

/// Anchors end with the capture thread, which reads what they would have.
#[test]
fn a_victim_that_is_held_when_the_agent_stops_is_read() {
    for are_missing in [0, 1] {
        let (mut bench, _told) = bench("container_limit");
        let records = without_victim(&bench.recording);
        for raw in &records[..records.len() - are_missing] {
            bench.desk.take(raw, NOW);
        }
        assert!(!bench.desk.read_one(NOW), "it is its anchor's");
        bench.desk.victims_are_let_go();
        while bench.desk.read_one(NOW) {}
        assert_eq!(bench.desk.lacks_an_end(true, NOW), are_missing == 1);
        bench.desk.was_killed(peek(&records[0]).unwrap().incident, NOW);
        bench.desk.settle(true, NOW);
        assert_eq!(outcomes(&bench.sources(), "status"), [Outcome::Read], "without {are_missing}");
    }
}

/// As where a slow console prints the kernel's report.
#[test]
fn a_held_victim_whose_end_is_late_is_read_by_who_has_time() {
    let (mut bench, _told) = bench("container_limit");
    bench.desk.take(&bench.recording.records[0].clone(), NOW);
    let late = BoottimeNs(NOW.0 + ENDS_SOON_NS);
    assert!(!bench.desk.has_more(BoottimeNs(late.0 - 1)) && bench.desk.has_more(late));
    assert!(!bench.desk.read_urgent(late, HERE) && bench.desk.read_one(late), "the capture thread");
    let records = without_victim(&bench.recording);
    for raw in &records[1..] {
        bench.desk.take(raw, late);
    }
    assert!(!bench.desk.read_urgent(late, HERE), "once is enough");
    bench.feed_nothing(ENDS_SOON_NS);
    assert_eq!(outcomes(&bench.sources(), "status"), [Outcome::Read]);
}

#[test]
fn whose_record_comes_again_may_have_threads_elsewhere() {
    let (mut bench, _told) = bench("container_limit");
    let records = bench.recording.records.clone();
    assert!(records.len() > without_victim(&bench.recording).len());
    bench.desk.take(&records[0], NOW);
    bench.desk.take(&records[1], NOW);
    assert!(!bench.desk.read_urgent(NOW, HERE), "it was read at once");
    for raw in &records[2..] {
        bench.desk.take(raw, NOW);
    }
    bench.feed_nothing(0);
    assert_eq!(outcomes(&bench.sources(), "status"), [Outcome::Read]);
}

#[test]
fn a_node_without_memory_cannot_wait() {
    for name in ["node_wide", "group_kill"] {
        let (mut bench, told) = bench(name);
        let first = bench.recording.records[0].clone();
        bench.desk.take(&first, NOW);
        assert!(told.next().is_none(), "{name}: there is no line yet");
        assert!(!bench.desk.rest_can_wait(), "{name}");
    }
}

/// A mark of another incident, with what its cgroup had counted; `None`: that could not be read.
fn mark(raw: &[u8], incident: u64, cgroup_counted: Option<u64>) -> Vec<u8> {
    let (mut record, tail) = wire::Marked::read_from_prefix(raw).unwrap();
    (record.header.incident, record.oom_kills) = (incident, cgroup_counted.unwrap_or(wire::UNREAD_U64));
    [record.as_bytes(), tail].concat()
}

#[test]
fn at_level_tracepoint_a_line_is_foretold_when_the_count_says_that_it_is_a_kill() {
    for (counted, is_told) in [(0, true), (u64::MAX, false)] {
        for cgroup_counted in [None, Some(0)] {
            let (bench, told) = bench("tracepoint_v1");
            let mut bench = bench.counted(counted);
            let first = mark(&bench.recording.records[0], 1, cgroup_counted);
            bench.desk.take(&first, NOW);
            assert!(told.next().is_none(), "nothing has been read yet");
            assert!(bench.desk.owes_a_victim(), "anchors hold on");
            assert!(bench.desk.read_urgent(NOW, ELSEWHERE), "the count");
            assert_eq!(told.next().is_some(), is_told, "{counted}: before the victim is read");
            assert!(!bench.desk.read_urgent(NOW, ELSEWHERE), "that would take a CPU more");
            assert!(!bench.desk.has_more(NOW));
            while bench.desk.read_urgent(NOW, HERE) {}
            assert!(!bench.desk.owes_a_victim() && !bench.desk.is_late(NOW));
            bench.feed_nothing(0);
            assert_eq!(bench.desk.jobs.len(), 0);
            let captured = bench.captured();
            assert_eq!(captured.is_some(), is_told);
            if let Some(captured) = captured {
                let sources = captured.capture.sources;
                assert_eq!(outcomes(&sources, "status"), [Outcome::Read]);
                assert!(sources.iter().any(|source| source.file.starts_with("memory.")), "{sources:?}");
            }
        }
    }
}

#[test]
fn at_level_tracepoint_a_kill_that_its_cgroup_has_counted_is_foretold_at_once_and_proved_later() {
    for (counted, is_kill) in [(0, true), (u64::MAX, false)] {
        for lines_are_all in [false, true] {
            let (mut bench, told, claims) = bench_with_claims("tracepoint_v1");
            bench = bench.counted(counted);
            bench.desk.lines_are_all = lines_are_all;
            let first = mark(&bench.recording.records[0], 1, Some(1));
            bench.desk.take(&first, NOW);
            assert!(matches!(told.next(), Some(Foretold::Begun { .. })), "before anything is read");
            assert!(claims.by_teller(1));
            assert!(!bench.desk.read_urgent(NOW, ELSEWHERE), "its reader comes first");
            while bench.desk.read_urgent(NOW, HERE) {}
            bench.desk.settle(false, NOW);
            assert_eq!(bench.desk.jobs.len(), 1, "the count is still to be read");
            assert!(bench.desk.has_more(NOW));
            bench.feed_nothing(0);
            assert_eq!(bench.desk.jobs.len(), 0);
            assert_eq!(matches!(told.next(), Some(Foretold::NotKilled { .. })), !is_kill, "{lines_are_all}");
            assert_eq!(bench.captured().is_some(), is_kill && !lines_are_all);
        }
    }
}

#[test]
fn a_count_that_cannot_be_read_in_time_keeps_no_incident_open() {
    let (mut bench, told, claims) = bench_with_claims("tracepoint_v1");
    (bench.desk.deadline_ns, bench.desk.lines_are_all) = (0, true);
    bench.desk.take(&mark(&bench.recording.records[0].clone(), 1, Some(1)), NOW);
    assert!(told.next().is_some() && claims.by_teller(1));
    bench.feed_nothing(0);
    bench.feed_nothing(1);
    assert_eq!(bench.desk.jobs.len(), 0);
    assert!(told.next().is_none(), "nothing says that it was none");
}

/// The node's count is read for the second mark, when the first one's kill is in it already.
#[test]
fn a_kill_that_waits_for_its_proof_is_not_taken_for_that_of_a_later_mark() {
    let (bench, told, claims) = bench_with_claims("tracepoint_v1");
    let mut bench = bench.counted(COUNTED_AFTER - 1);
    let raw = bench.recording.records[0].clone();
    for incident in [1, 2] {
        bench.desk.take(&mark(&raw, incident, Some(1)), NOW);
    }
    assert!(matches!(told.next(), Some(Foretold::Begun { incident: 1, .. })) && claims.by_teller(1));
    assert!(told.next().is_none(), "what the cgroup has counted was that one");
    while bench.desk.read_urgent(NOW, HERE) {}
    bench.feed_nothing(0);
    assert!(told.next().is_none(), "nothing is foretold, and nothing taken back");
    assert!(bench.captured().is_some() && bench.captured().is_none());
}

#[test]
fn what_a_cgroup_had_counted_is_remembered() {
    let (mut bench, _) = bench("tracepoint_v1");
    let raw = bench.recording.records[0].clone();
    let mut is_counted = |cgroup: u64, kills: Option<u64>| {
        let (mut record, tail) =
            wire::Marked::read_from_prefix(&mark(&raw, 1, kills)).map(|(r, t)| (r, t.to_vec())).unwrap();
        record.memcg.cgroup_id = cgroup;
        let raw = [record.as_bytes(), &tail].concat();
        bench.desk.marks.is_counted(&peek(&raw).unwrap())
    };
    let seen =
        [(7, None), (7, Some(0)), (7, Some(1)), (7, Some(1)), (7, Some(3)), (8, Some(5)), (8, Some(5))];
    let counted = seen.map(|(cgroup, kills)| is_counted(cgroup, kills));
    assert_eq!(counted, [false, false, true, false, true, true, false]);
    // As many cgroups as are remembered.
    assert!((100..164).all(|cgroup| is_counted(cgroup, Some(1))));
    assert!((100..164).all(|cgroup| !is_counted(cgroup, Some(1))));
    assert!(is_counted(7, Some(3)), "it was forgotten");
}
