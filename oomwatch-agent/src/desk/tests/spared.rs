//! Where lines are all that is wanted, nothing is read for one that is out.

use std::mem::offset_of;

use oomwatch_common::record as wire;

use super::*;
use crate::{claims::Claims, cpus::Shares, foreteller::foretelling, job::ENDS_SOON_NS};

/// Where nobody wants more than lines, with the claims of a teller that the test is.
fn bench(name: &str, lines_are_all: bool) -> (Bench, Arc<Claims>) {
    let mut bench = Bench::new(name, 1, u64::MAX, |_| {});
    let (foreteller, _, claims) = foretelling(8, Shares::of_this_process().unwrap()).unwrap();
    bench.desk.foreteller = Some(foreteller);
    bench.desk.lines_are_all = lines_are_all;
    (bench, claims)
}

/// Feeds all records, the teller taking the line after so many of them; whether an incident came of it.
fn feed(bench: &mut Bench, claims: &Claims, taken_after: usize) -> bool {
    let records = bench.recording.records.clone();
    let number = peek(&records[0]).unwrap().incident;
    for (place, raw) in records.iter().enumerate() {
        bench.desk.take(raw, NOW);
        if place == taken_after {
            assert!(claims.by_teller(number));
        }
    }
    bench.feed_nothing(0);
    bench.captured().is_some()
}

#[test]
fn nothing_is_read_for_a_line_that_is_out() {
    for taken_after in 0..3 {
        let (mut bench, claims) = bench("container_limit", true);
        assert!(!feed(&mut bench, &claims, taken_after), "{taken_after}");
        assert!(bench.desk.jobs.is_empty() && bench.desk.done.told == 1, "it is counted");
        assert_eq!(bench.losses.get(Stage::Queue), 0, "and not lost");
    }
}

#[test]
fn reads_end_where_the_line_comes_out_meanwhile() {
    let (mut bench, claims) = bench("container_limit", true);
    for raw in &bench.recording.records.clone() {
        bench.desk.take(raw, NOW);
    }
    assert!(bench.desk.read_one(NOW) && bench.desk.read_one(NOW) && bench.desk.has_more(NOW));
    assert!(claims.by_teller(peek(&bench.recording.records[0]).unwrap().incident));
    assert!(!bench.desk.read_one(NOW) && !bench.desk.has_more(NOW));
    bench.desk.settle(false, NOW);
    assert!(bench.captured().is_none() && bench.desk.jobs.is_empty());
}

#[test]
fn what_the_teller_does_not_print_is_captured_whole() {
    let (mut bench, _) = bench("container_limit", true);
    bench.feed(0);
    let sources = bench.sources();
    assert!(sources.iter().all(|source| source.outcome == Outcome::Read), "{sources:?}");
}

#[test]
fn where_reports_are_wanted_a_line_spares_nothing() {
    let (mut bench, claims) = bench("container_limit", false);
    assert!(feed(&mut bench, &claims, 0));
}

#[test]
fn the_end_of_a_kill_whose_line_is_out_wakes_nobody_unless_it_is_late() {
    let (mut bench, claims) = bench("container_limit", true);
    let records = bench.recording.records.clone();
    let number = peek(&records[0]).unwrap().incident;
    bench.desk.take(&records[0], NOW);
    assert_eq!(bench.desk.unawaited(NOW), None, "somebody may have to read the victim");
    assert!(claims.by_teller(number) && !bench.desk.read_one(NOW));
    assert_eq!(bench.desk.unawaited(NOW), Some(number));
    let late = bench.desk.looks_at(NOW).unwrap();
    assert_eq!(late.0, NOW.0 + ENDS_SOON_NS);
    assert_eq!(bench.desk.unawaited(late), Some(0));
    assert!(bench.desk.looks_at(late).unwrap() > late, "its time is over only then");
    for raw in &records[1..] {
        bench.desk.take(raw, late);
    }
    bench.desk.settle(false, late);
    assert!(bench.desk.jobs.is_empty() && bench.desk.unawaited(late).is_none());
}

#[test]
fn a_line_that_is_sure_to_come_out_is_not_waited_for_where_nobody_is_asked_for_names() {
    for (names_are_known, is_spared) in [(true, true), (false, false)] {
        let (mut bench, _claims) = bench("container_limit", true);
        bench.desk.names_are_known = names_are_known;
        let records = bench.recording.records.clone();
        bench.desk.take(&records[0], NOW);
        let number = peek(&records[0]).unwrap().incident;
        assert_eq!(bench.desk.unawaited(NOW), is_spared.then_some(number), "{names_are_known}");
        for raw in &records[1..] {
            bench.desk.take(raw, NOW);
        }
        bench.feed_nothing(0);
        assert_eq!(bench.captured().is_none(), is_spared, "{names_are_known}");
    }
}

#[test]
fn a_line_that_no_teller_has_a_place_for_is_waited_for() {
    let (mut bench, _claims) = bench("container_limit", true);
    bench.desk.names_are_known = true;
    let records = bench.recording.records.clone();
    // No teller takes any of them.
    let mut untold = 0;
    for _ in 0..40 {
        bench.desk.take(&records[0], NOW);
        untold += u64::from(bench.desk.jobs.back().is_some_and(|job| !job.is_spared()));
        bench.desk.jobs.clear();
    }
    assert!(untold > 0 && untold < 40, "{untold}");
}

/// An end that nobody waits for, of a kill that the begin says all of, has no record.
#[test]
fn an_end_without_a_record_is_told_by_the_next_begin_or_by_the_probe_when_it_is_late() {
    let late = BoottimeNs(NOW.0 + ENDS_SOON_NS);
    for told_by_the_next in [true, false] {
        let (mut bench, claims) = bench("container_limit", true);
        let begin = bench.recording.records[0].clone();
        let number = peek(&begin).unwrap().incident;
        bench.desk.take(&begin, NOW);
        assert!(claims.by_teller(number) && !bench.desk.read_one(NOW));
        assert!(!bench.desk.lacks_an_untold_end(false, NOW), "it may still come");
        assert!(bench.desk.lacks_an_untold_end(true, NOW) && bench.desk.lacks_an_untold_end(false, late));
        let next = next_after(&begin, number);
        if told_by_the_next {
            bench.desk.take(&next, NOW);
        } else {
            bench.desk.has_ended(number + 1, late);
            assert_eq!(bench.desk.jobs.len(), 1, "it was another one");
            bench.desk.has_ended(number, late);
        }
        bench.desk.settle(false, late);
        assert_eq!(bench.desk.done.told, 1, "it is counted");
        let sent = if told_by_the_next { 2 } else { 1 };
        assert_eq!(bench.desk.done.records, sent, "what was not sent is not missed by the self-audit");
        let open: Vec<_> = bench.desk.jobs.iter().map(|job| job.outline().number()).collect();
        let expected: &[u64] = if told_by_the_next { &[number + 1] } else { &[] };
        assert_eq!(open, expected);
    }
}

/// The begin of another kill, which tells the end of that one.
fn next_after(begin: &[u8], number: u64) -> Vec<u8> {
    let mut next = begin.to_vec();
    let mut write = |at: usize, bytes: &[u8]| next[at..at + bytes.len()].copy_from_slice(bytes);
    write(offset_of!(wire::Header, incident), &(number + 1).to_ne_bytes());
    let untold_end = offset_of!(wire::Begin, oom) + offset_of!(wire::OomControl, untold_end);
    write(untold_end, &u32::try_from(number).unwrap().to_ne_bytes());
    next
}
