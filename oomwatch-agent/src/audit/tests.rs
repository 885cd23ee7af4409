//! The books over counts as they come.

use super::*;

/// Seconds, then what is counted by the kernel, seen, killed and told.
type Entry = (u64, u64, u64, u64, u64);

/// In all: kills that were not seen, processes that were not read, times that the probe was found blind.
type Found = (u64, u64, u64);

fn counts((seconds, kernel, seen, killed, told): Entry) -> Counts {
    Counts { at: BoottimeNs(seconds * 1_000_000_000), kernel, seen, killed, told }
}

fn missing(entries: &[Entry]) -> Found {
    let mut books = Books::new(counts((0, 1000, 0, 0, 0)));
    entries.iter().filter_map(|entry| books.enter(counts(*entry))).fold((0, 0, 0), |sum, missing| {
        (sum.0 + missing.unseen, sum.1 + missing.unread, sum.2 + u64::from(missing.blind))
    })
}

#[test]
fn what_the_kernel_counts_and_nobody_tells_is_missing_once() {
    let table: &[(&str, &[Entry], Found)] = &[
        ("nothing happens", &[(5, 1000, 0, 0, 0), (10, 1000, 0, 0, 0)], (0, 0, 0)),
        ("all is seen and told", &[(5, 1003, 3, 3, 3), (10, 1003, 3, 3, 3)], (0, 0, 0)),
        ("a group of three, the first counted twice", &[(5, 1004, 4, 3, 3), (10, 1004, 4, 3, 3)], (0, 0, 0)),
        ("the probe is gone", &[(5, 1002, 0, 0, 0), (10, 1002, 0, 0, 0), (15, 1002, 0, 0, 0)], (2, 0, 1)),
        ("one of three was missed", &[(5, 1003, 2, 2, 2), (10, 1003, 2, 2, 2)], (1, 0, 0)),
        ("the kernel has counted, the probe not yet", &[(5, 1001, 0, 0, 0), (10, 1001, 1, 1, 1)], (0, 0, 0)),
        ("again and again", &[(5, 1001, 0, 0, 0), (10, 1002, 1, 1, 1), (15, 1003, 2, 2, 2)], (0, 0, 0)),
        ("two records of five were lost", &[(5, 1005, 5, 5, 3), (10, 1005, 5, 5, 3)], (0, 2, 0)),
        (
            "one missed while others come and go",
            &[(5, 1002, 1, 1, 1), (10, 1003, 2, 2, 2), (15, 1004, 3, 3, 3), (20, 1004, 3, 3, 3)],
            (1, 0, 0),
        ),
        (
            "blind, seen, blind",
            &[
                (5, 1001, 0, 0, 0),
                (10, 1001, 0, 0, 0),
                (15, 1002, 1, 1, 1),
                (20, 1003, 1, 1, 1),
                (25, 1003, 1, 1, 1),
            ],
            (2, 0, 2),
        ),
    ];
    for (what, entries, expected) in table {
        assert_eq!(missing(entries), *expected, "{what}");
    }
}

#[test]
fn what_the_probe_has_more_does_not_hide_what_is_lost_later() {
    // A victim that had its address space at the hook, and none an instant later.
    let entries = [(5, 1003, 4, 3, 3), (10, 1003, 4, 3, 3), (15, 1004, 4, 3, 3), (20, 1004, 4, 3, 3)];
    assert_eq!(missing(&entries), (1, 0, 1));
}

#[test]
fn a_look_right_after_another_changes_nothing() {
    let mut books = Books::new(counts((0, 1000, 0, 0, 0)));
    assert_eq!(books.enter(counts((1, 1001, 0, 0, 0))), None);
    let soon = Counts { at: BoottimeNs(1_100_000_000), ..counts((1, 1001, 0, 0, 0)) };
    assert_eq!(books.enter(soon), None, "the kill may still be on its way to the probe");
    assert_eq!(books.enter(counts((2, 1001, 0, 0, 0))).map(|missing| missing.unseen), Some(1));
}

#[test]
fn nothing_is_left_to_look_for_when_two_counts_are_the_same() {
    let mut books = Books::new(counts((0, 1000, 0, 0, 0)));
    let settles = |books: &mut Books, entry: Entry, since: u64| {
        books.enter(counts(entry));
        books.is_settled(BoottimeNs(since * 1_000_000_000))
    };
    assert!(settles(&mut books, (5, 1000, 0, 0, 0), 5), "nothing was killed");
    assert!(!settles(&mut books, (5, 1000, 0, 0, 0), 6), "that was before");
    assert!(!settles(&mut books, (8, 1001, 1, 1, 1), 7), "a kill may still be under way");
    assert!(settles(&mut books, (9, 1001, 1, 1, 1), 7));
    assert!(!settles(&mut books, (12, 1002, 1, 1, 1), 11), "not seen, or not yet");
    assert!(settles(&mut books, (13, 1002, 1, 1, 1), 11), "it has been counted as lost");
}
