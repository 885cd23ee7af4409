//! Pages: complete, without doubles, and still so while incidents come and go.

use std::fs;

use super::*;
use crate::history::{Cursor, Page, reader, ring::Ring};

fn query(order: Order, limit: usize, cursor: Option<Cursor>) -> Query {
    Query { filter: Filter::default(), order, limit, cursor }
}

/// Three segments of two incidents each, then two in memory.
fn eight() -> (TempDir, Ring) {
    let dir = tempfile::tempdir().unwrap();
    for number in [1, 3, 5] {
        let text = format!("oomwatch-journal 1\n{}{}", line(number), line(number + 1));
        fs::write(segment_path(dir.path(), number.into()), text).unwrap();
    }
    let ring = Ring::new(Timestamp::now());
    ring.push(&report(7));
    ring.push(&report(8));
    (dir, ring)
}

fn page(dir: &TempDir, ring: &Ring, query: &Query) -> Page {
    reader::page(Some(&Reader::new(dir.path())), &ring.all(), query).unwrap()
}

fn ids_of(page: &Page) -> Vec<String> {
    page.reports.iter().map(|report| id(report)).collect()
}

#[test]
fn pages_of_any_size_hold_everything_once() {
    let (dir, ring) = eight();
    for limit in 0..10 {
        for (order, expected) in
            [(Order::NewestFirst, named((1..=8).rev())), (Order::OldestFirst, named(1..=8))]
        {
            let (mut all, mut cursor) = (Vec::new(), None);
            loop {
                let page = page(&dir, &ring, &query(order, limit, cursor));
                assert!(page.reports.len() <= limit.max(1));
                all.extend(ids_of(&page));
                cursor = page.next;
                if page.reports.is_empty() || cursor.is_none() {
                    break;
                }
            }
            assert_eq!(all, expected, "{order:?}, {limit} a page");
        }
    }
}

#[test]
fn pages_hold_only_what_fits_and_go_on_past_the_rest() {
    let (dir, ring) = eight();
    let filter = Filter { pod: Some("web-1".into()), ..Filter::default() };
    let first = page(&dir, &ring, &Query { filter: filter.clone(), ..query(Order::NewestFirst, 2, None) });
    assert_eq!(ids_of(&first), named([7, 5]));
    let second = page(&dir, &ring, &Query { filter, ..query(Order::NewestFirst, 9, first.next) });
    assert_eq!((ids_of(&second), second.next), (named([3, 1]), None));
}

#[test]
fn turning_pages_back_is_not_disturbed_by_what_comes_and_goes() {
    let (dir, ring) = eight();
    let first = page(&dir, &ring, &query(Order::NewestFirst, 3, None));
    assert_eq!(ids_of(&first), named([8, 7, 6]));
    ring.push(&report(20));
    let mut text = fs::read_to_string(segment_path(dir.path(), 5)).unwrap();
    text += &line(21);
    fs::write(segment_path(dir.path(), 5), text).unwrap();
    fs::write(segment_path(dir.path(), 9), format!("oomwatch-journal 1\n{}", line(22))).unwrap();
    fs::remove_file(segment_path(dir.path(), 1)).unwrap();
    let second = page(&dir, &ring, &query(Order::NewestFirst, 9, first.next));
    assert_eq!((ids_of(&second), second.next), (named([5, 4, 3]), None));
}

#[test]
fn what_comes_on_disk_while_the_first_page_ends_in_memory_is_not_in_the_second() {
    let (dir, ring) = eight();
    let first = page(&dir, &ring, &query(Order::NewestFirst, 1, None));
    let mut text = fs::read_to_string(segment_path(dir.path(), 5)).unwrap();
    text += &line(21);
    fs::write(segment_path(dir.path(), 5), text).unwrap();
    let second = page(&dir, &ring, &query(Order::NewestFirst, 9, first.next));
    assert_eq!(ids_of(&second), named((1..=7).rev()));
}

#[test]
fn who_follows_sees_what_comes_once_on_disk_and_in_memory() {
    let (dir, ring) = eight();
    let seen = page(&dir, &ring, &query(Order::OldestFirst, 100, None));
    assert_eq!(seen.reports.len(), 8);
    let nothing = page(&dir, &ring, &query(Order::OldestFirst, 100, seen.next));
    assert_eq!((nothing.reports.len(), nothing.next), (0, seen.next));
    // Half of a line is not there yet.
    let before = fs::read_to_string(segment_path(dir.path(), 5)).unwrap();
    let come = line(9);
    fs::write(segment_path(dir.path(), 5), format!("{before}{}", &come[..come.len() - 1])).unwrap();
    let nothing = page(&dir, &ring, &query(Order::OldestFirst, 100, nothing.next));
    assert_eq!(nothing.reports.len(), 0);
    fs::write(segment_path(dir.path(), 5), format!("{before}{come}")).unwrap();
    ring.push(&report(10));
    fs::write(segment_path(dir.path(), 11), format!("oomwatch-journal 1\n{}", line(11))).unwrap();
    let come = page(&dir, &ring, &query(Order::OldestFirst, 100, nothing.next));
    assert_eq!(ids_of(&come), named([9, 11, 10]));
    let nothing = page(&dir, &ring, &query(Order::OldestFirst, 100, come.next));
    assert_eq!(nothing.reports.len(), 0);
}

#[test]
fn who_was_away_goes_on_with_the_oldest_that_is_left() {
    let (dir, ring) = eight();
    let first = page(&dir, &ring, &query(Order::OldestFirst, 1, None));
    fs::remove_file(segment_path(dir.path(), 1)).unwrap();
    fs::remove_file(segment_path(dir.path(), 3)).unwrap();
    let rest = page(&dir, &ring, &query(Order::OldestFirst, 100, first.next));
    assert_eq!(ids_of(&rest), named(5..=8));
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let padding = "x".repeat(256 << 10);
    for number in 1..=6 {
        let report = report(number).replace("\"scope\"", &format!("\"padding\":\"{padding}\",\"scope\""));
        let text = format!("oomwatch-journal 1\n{}", journal_line::line("1", &report));
        fs::write(segment_path(dir.path(), number.into()), text).unwrap();
    }
    let ring = Ring::new(Timestamp::now());
    let first = page(&dir, &ring, &query(Order::NewestFirst, 100, None));
    let second = page(&dir, &ring, &query(Order::NewestFirst, 100, first.next));
    assert_eq!((ids_of(&first), ids_of(&second)), (named([6, 5, 4, 3]), named([2, 1])));
}
