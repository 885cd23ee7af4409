//! Size and age.

use std::fs;

use super::*;
use crate::history::store::LONGEST_LINE;

fn on_disk(dir: &Path) -> u64 {
    let segments = numbers(dir, "incidents-", ".log").unwrap();
    segments.iter().map(|number| fs::metadata(segment_path(dir, *number)).unwrap().len()).sum()
}

#[test]
fn the_journal_is_never_larger_than_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let removed = Tally::default();
    let bounds = Bounds { bytes: 1 << 20, ..LARGE };
    let mut store = Store::open(dir.path(), bounds, &removed).unwrap();
    let padding = "x".repeat(9000);
    for number in 0..400_u32 {
        let report = report(number).replace("\"scope\"", &format!("\"padding\":\"{padding}\",\"scope\""));
        store.append(&journal_line::line("1", &report), day(), day(), &removed).unwrap();
        assert!(on_disk(dir.path()) <= bounds.bytes, "after {number}");
        assert_eq!(store.stats().bytes, on_disk(dir.path()));
    }
    let left = ids(dir.path());
    let gone = 400 - u32::try_from(left.len()).unwrap();
    assert_eq!(left, named(gone..400));
    assert_eq!(removed.get(Removed::Size), u64::from(gone));
    // No more than a segment was given up for the last one.
    assert!(on_disk(dir.path()) > bounds.bytes - 2 * (256 << 10), "{}", on_disk(dir.path()));
    drop(store);
    let smaller = Bounds { bytes: 512 << 10, ..LARGE };
    let mut store = Store::open(dir.path(), smaller, &removed).unwrap();
    store.keep_bounds(0, day(), &removed).unwrap();
    assert!(on_disk(dir.path()) <= smaller.bytes);
    assert_eq!(ids(dir.path()).last(), left.last());
}

#[test]
fn what_is_too_old_leaves_with_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, removed) = open(dir.path());
    append(&mut store, 1, &removed);
    let soon = day() + 23.hours();
    store.keep_bounds(0, soon, &removed).unwrap();
    assert_eq!(ids(dir.path()), named([1]));
    drop(store);
    // Known from the incident itself, not from the file's date, and also of the segment that is written on.
    let (mut store, _) = open(dir.path());
    let late = day() + 25.hours();
    store.keep_bounds(0, late, &removed).unwrap();
    assert_eq!((ids(dir.path()).len(), removed.summary()), (0, "age 1".to_owned()));
    assert!(numbers(dir.path(), "incidents-", ".log").unwrap().is_empty());
    store.append(&line(2), late, late, &removed).unwrap();
    assert_eq!(ids(dir.path()), named([2]));
}

#[test]
fn an_incident_that_is_too_large_is_refused_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, removed) = open(dir.path());
    append(&mut store, 1, &removed);
    let large = "x".repeat(usize::try_from(LONGEST_LINE).unwrap());
    assert!(store.append(&large, day(), day(), &removed).is_err());
    append(&mut store, 2, &removed);
    assert_eq!((ids(dir.path()), removed.summary()), (named([1, 2]), "none".to_owned()));
}

#[test]
fn a_clock_that_was_set_back_does_not_mix_up_the_order() {
    let dir = journal_of(b"");
    fs::write(segment_path(dir.path(), u64::MAX - 5), format!("oomwatch-journal 1\n{}", line(1))).unwrap();
    let bounds = Bounds { bytes: 1 << 20, ..LARGE };
    let removed = Tally::default();
    let mut store = Store::open(dir.path(), bounds, &removed).unwrap();
    let padding = "x".repeat(200 << 10);
    for number in [2, 3] {
        let report = report(number).replace("\"scope\"", &format!("\"padding\":\"{padding}\",\"scope\""));
        store.append(&journal_line::line("1", &report), day(), day(), &removed).unwrap();
    }
    assert_eq!(ids(dir.path()), named([1, 2, 3]));
    assert_eq!(numbers(dir.path(), "incidents-", ".log").unwrap(), [u64::MAX - 5, u64::MAX - 4]);
}
