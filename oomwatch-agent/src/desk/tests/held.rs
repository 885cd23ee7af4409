//! Whose line is out already, and who is kept on its CPU, is read when the kernel is done with it.

use super::*;
use crate::{
    cpus::Shares,
    foreteller::{Foretold, Told, foretelling},
};

/// With a teller, and a victim that is held if it asked itself.
fn bench(name: &str) -> (Bench, Arc<Told>) {
    let mut bench = Bench::new(name, 1, u64::MAX, |_| {});
    let (foreteller, told, _) = foretelling(8, Shares::of_this_process().unwrap()).unwrap();
    bench.desk.foreteller = Some(foreteller);
    bench.desk.victims_are_held();
    (bench, told)
}

/// Of a victim without other threads nothing comes between the begin and the kill.
fn without_victim(recording: &Recording) -> Vec<Vec<u8>> {
    let is_other =
        |raw: &&Vec<u8>| !matches!(peek(raw).unwrap().tells, oomwatch_common::peek::Tells::Victim(..));
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
    assert!(!bench.desk.read_urgent(NOW) && bench.desk.has_more() && bench.desk.rest_can_wait());
    assert!(!bench.desk.owes_a_victim(), "it is in the kernel still");
    let then = |waited| BoottimeNs(NOW.0 + waited);
    assert!(!bench.desk.is_late(then(LATE_NS)) && bench.desk.is_late(then(LATE_NS + 1)));
    bench.desk.take(end, NOW);
    assert!(bench.desk.owes_a_victim(), "anchors hold on");
    assert!(bench.desk.read_urgent(NOW) && !bench.desk.read_urgent(NOW));
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

#[test]
fn who_has_time_reads_it_before() {
    let (mut bench, _told) = bench("container_limit");
    bench.desk.take(&bench.recording.records[0].clone(), NOW);
    assert!(bench.desk.read_one(NOW), "the capture thread");
    let records = without_victim(&bench.recording);
    for raw in &records[1..] {
        bench.desk.take(raw, NOW);
    }
    assert!(!bench.desk.read_urgent(NOW), "once is enough");
    bench.feed_nothing(0);
    assert_eq!(outcomes(&bench.sources(), "status"), [Outcome::Read]);
}

#[test]
fn whose_record_comes_again_may_have_threads_elsewhere() {
    let (mut bench, _told) = bench("container_limit");
    let records = bench.recording.records.clone();
    assert!(records.len() > without_victim(&bench.recording).len());
    bench.desk.take(&records[0], NOW);
    bench.desk.take(&records[1], NOW);
    assert!(!bench.desk.read_urgent(NOW), "it was read at once");
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

#[test]
fn at_level_tracepoint_a_line_is_foretold_when_the_count_says_that_it_is_a_kill() {
    for (counted, is_told) in [(0, true), (u64::MAX, false)] {
        let (bench, told) = bench("tracepoint_v1");
        let mut bench = bench.counted(counted);
        let first = bench.recording.records[0].clone();
        bench.desk.take(&first, NOW);
        assert!(told.next().is_none(), "nothing has been read yet");
        while bench.desk.read_urgent(NOW) {}
        assert_eq!(told.next().is_some(), is_told, "{counted}");
    }
}
