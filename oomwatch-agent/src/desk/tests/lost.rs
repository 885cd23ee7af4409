//! Records for which there is no memory.

use oomwatch_common::record as wire;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::*;

#[test]
fn records_that_find_no_memory_are_counted_and_a_gap() {
    let mut bench = Bench::new("group_kill", 3, u64::MAX, |_| {});
    // Whatever it has room for at first, files and the records of a group of hundreds are more.
    let all = hold_all_but(&bench.pool, 1);
    let records = bench.recording.records.clone();
    let (ends, others) = records.split_last().unwrap();
    for raw in others {
        bench.desk.take(raw, NOW);
    }
    let killed = others.iter().find(|raw| peek(raw).unwrap().tells_a_kill()).unwrap();
    let padded: Vec<Vec<u8>> = vec![killed.clone(); 200];
    for raw in &padded {
        bench.desk.take(raw, NOW);
    }
    bench.desk.take(ends, NOW);
    while bench.desk.read_one(NOW) {}
    bench.desk.settle(false, NOW);
    drop(all);
    let gaps = bench.captured().unwrap().incident.gaps;
    assert!(gaps.contains(&oomwatch_common::parcel::lost_records()), "{gaps:?}");
    assert!(bench.desk.progress.lost.get(Lost::Queue) > 0);
}

#[test]
fn records_without_memory_of_an_incident_that_finds_the_queue_full_are_counted_once() {
    let mut bench = Bench::new("group_kill", 1, u64::MAX, |_| {});
    bench.feed(0);
    let all = hold_all_but(&bench.pool, 1);
    let killed = bench.recording.records.iter();
    let killed = killed.filter(|raw| peek(raw).unwrap().tells_a_kill()).count() as u64;
    let padding =
        bench.recording.records.iter().find(|raw| peek(raw).unwrap().tells_a_kill()).unwrap().clone();
    bench.desk.take(&bench.recording.records[0].clone(), NOW);
    for _ in 0..200 {
        bench.desk.take(&padding, NOW);
    }
    for raw in bench.recording.records.iter().skip(1) {
        bench.desk.take(raw, NOW);
    }
    while bench.desk.read_one(NOW) {}
    bench.desk.settle(false, NOW);
    drop(all);
    assert_eq!(bench.losses.get(Stage::Queue), 1);
    assert_eq!(
        bench.desk.progress.lost.get(Lost::Queue),
        killed,
        "its processes, however often they are named"
    );
}

/// The end tells the kill of a process that dies alone.
#[test]
fn an_end_that_finds_no_memory_is_a_lost_kill_where_it_alone_tells_it() {
    let mut bench = Bench::new("container_limit", 1, u64::MAX, |_| {});
    let all = hold_all_but(&bench.pool, 1);
    let records = bench.recording.records.clone();
    let (begin, end) = (records.first().unwrap(), records.last().unwrap());
    bench.desk.take(begin, NOW);
    let (mut nothing, _) = wire::End::read_from_prefix(end).unwrap();
    nothing.killed = 0;
    for _ in 0..2000 {
        bench.desk.take(nothing.as_bytes(), NOW);
    }
    bench.desk.take(end, NOW);
    bench.feed_nothing(0);
    drop(all);
    assert_eq!(bench.desk.progress.lost.get(Lost::Queue), 1);
}
