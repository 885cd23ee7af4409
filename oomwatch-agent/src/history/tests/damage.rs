//! Whatever is done to the files: what is whole is there, the rest is moved aside, and writing goes on.

use std::fs;

use oomwatch_common::journal_line::FIRST_LINE;

use super::*;

fn segment() -> Vec<u8> {
    format!("{FIRST_LINE}{}{}{}", line(1), line(2), line(3)).into_bytes()
}

/// Opens, checks what is there, writes on, and opens again: nothing is left to mend.
fn is_mended(dir: &Path, whole: &[u32], why: &str) {
    let (mut store, removed) = open(dir);
    assert_eq!(store.stats().incidents, whole.len() as u64, "{why}");
    assert_eq!(ids(dir), named(whole.iter().copied()), "{why}");
    append(&mut store, 9, &removed);
    let expected = named(whole.iter().copied().chain([9]));
    assert_eq!(ids(dir), expected, "{why}");
    drop(store);
    let (again, removed) = open(dir);
    assert_eq!(removed.summary(), "none", "{why}");
    assert_eq!((ids(dir), again.stats().incidents), (expected, whole.len() as u64 + 1), "{why}");
}

#[test]
fn killed_at_any_byte_the_journal_has_all_that_was_whole_and_goes_on() {
    let segment = segment();
    let mut end = FIRST_LINE.len();
    let ends = [1, 2, 3].map(|number| {
        end += line(number).len();
        end
    });
    for cut in 0..=segment.len() {
        let dir = journal_of(&segment[..cut]);
        let whole: Vec<u32> =
            (1..).zip(ends).filter(|(_, end)| *end <= cut).map(|(number, _)| number).collect();
        is_mended(dir.path(), &whole, &format!("cut at {cut}"));
        let kept = ends.iter().rev().find(|end| **end <= cut).copied().unwrap_or(FIRST_LINE.len());
        assert_eq!(quarantined(dir.path()), segment.get(kept..cut).unwrap_or_default(), "cut at {cut}");
    }
}

#[test]
fn a_damaged_byte_costs_the_incident_that_it_hits() {
    let segment = segment();
    let all = [1, 2, 3].map(|number| line(number).len());
    for at in 0..segment.len() {
        let mut damaged = segment.clone();
        damaged[at] = match at % 3 {
            0 => damaged[at] ^ 1,
            1 if damaged[at] != b'\n' => b'\n',
            _ => 0,
        };
        let mut begin = FIRST_LINE.len();
        let mut whole = Vec::new();
        for (number, length) in (1..).zip(all) {
            // A line end that is none any more costs the line behind it, too.
            if !(begin - 1..begin + length).contains(&at) {
                whole.push(number);
            }
            begin += length;
        }
        let dir = journal_of(&damaged);
        is_mended(dir.path(), &whole, &format!("byte {at} is {}", damaged[at]));
        assert!(quarantined(dir.path()).contains(&damaged[at]), "byte {at}");
    }
}

#[test]
fn what_was_never_a_journal_is_moved_aside() {
    for garbage in [&b"\x00\xff\n\n\nabc"[..], b"hello\n", &[0; 5000], b"oomwatch-journal two\n", b"\n"] {
        let dir = journal_of(garbage);
        is_mended(dir.path(), &[], &format!("{garbage:?}"));
        assert_eq!(quarantined(dir.path()), garbage);
    }
}

#[test]
fn an_empty_file_is_an_empty_journal() {
    let dir = journal_of(b"");
    is_mended(dir.path(), &[], "empty");
    assert_eq!(quarantined(dir.path()), b"");
}

#[test]
fn a_segment_of_another_version_is_left_alone() {
    let of_another = b"oomwatch-journal 2\nwhat we cannot know\n";
    let dir = journal_of(of_another);
    is_mended(dir.path(), &[], "version 2");
    assert_eq!(fs::read(segment_path(dir.path(), 7)).unwrap(), of_another);
    assert_eq!(open(dir.path()).0.stats().segments, 2);
}

#[test]
fn what_is_no_segment_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(segment_path(dir.path(), 1)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", segment_path(dir.path(), 2)).unwrap();
    fs::write(dir.path().join("incidents-3.log"), line(1)).unwrap();
    fs::write(dir.path().join("notes"), "mine").unwrap();
    let large = fs::File::create(segment_path(dir.path(), 4)).unwrap();
    large.set_len(17 << 20).unwrap();
    is_mended(dir.path(), &[], "others' files");
    assert_eq!(large.metadata().unwrap().len(), 17 << 20);
    assert_eq!(fs::read(dir.path().join("notes")).unwrap(), b"mine");
}

#[test]
fn positions_in_a_segment_that_was_rewritten_lose_nothing_that_comes_after() {
    let mut damaged = segment();
    damaged[FIRST_LINE.len() + 20] ^= 1;
    let dir = journal_of(&damaged);
    let mut query = Query { filter: Filter::default(), order: Order::OldestFirst, limit: 100, cursor: None };
    let page = Reader::new(dir.path()).page(&query).unwrap();
    assert_eq!(page.reports.len(), 2);
    let (mut store, removed) = open(dir.path());
    append(&mut store, 4, &removed);
    query.cursor = page.next;
    let page = Reader::new(dir.path()).page(&query).unwrap();
    assert_eq!(page.reports, [report(4)]);
}

#[test]
fn a_mending_that_was_interrupted_is_done_again() {
    let mut damaged = segment();
    damaged[FIRST_LINE.len() + 20] ^= 1;
    let dir = journal_of(&damaged);
    fs::write(dir.path().join("mending"), "half of").unwrap();
    is_mended(dir.path(), &[2, 3], "interrupted");
    assert!(!dir.path().join("mending").exists());
}

#[test]
fn the_quarantine_is_bounded_and_the_newest_damage_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    for (number, byte) in (1..).zip(b"abc") {
        fs::write(segment_path(dir.path(), number), vec![*byte; 3 << 20]).unwrap();
    }
    drop(open(dir.path()));
    let kept = quarantined(dir.path());
    assert_eq!((kept.len(), kept[0]), (3 << 20, b'c'));
    fs::write(segment_path(dir.path(), 4), vec![b'd'; 5 << 20]).unwrap();
    drop(open(dir.path()));
    let kept = quarantined(dir.path());
    assert_eq!((kept.len(), kept[0]), (4 << 20, b'd'));
}

#[test]
fn a_file_that_somebody_cuts_while_it_is_written_is_left_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, removed) = open(dir.path());
    append(&mut store, 1, &removed);
    append(&mut store, 2, &removed);
    let path = segment_path(dir.path(), numbers(dir.path(), "incidents-", ".log").unwrap()[0]);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    append(&mut store, 3, &removed);
    assert_eq!(ids(dir.path()), named([1, 3]));
    drop(store);
    is_mended(dir.path(), &[1, 3], "cut");
}
