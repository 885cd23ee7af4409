//! The journal in directories of its own. What needs a file system of its own is in tests/tests/journal.rs.

mod bounds;
mod damage;
mod keeping;
mod paging;

use std::{fs, path::Path};

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use oomwatch_common::{journal_line, query::Filter};
use tempfile::TempDir;

use super::{
    Order, Query, Reader, Removed,
    reader::{numbers, segment_path},
    store::{Bounds, Store},
};
use crate::tally::Tally;

const LARGE: Bounds = Bounds { bytes: 64 << 20, age: SignedDuration::from_hours(24) };

/// A day on which all of it happened.
fn day() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn report(number: u32) -> String {
    let time = day() + i64::from(number).seconds();
    format!(
        r#"{{"id":"b-{number}","time":"{time}","scope":"container","cause":"container_limit",
           "kubernetes":{{"namespace":"shop","pod":"web-{}"}}}}"#,
        number % 2
    )
    .replace("\n           ", "")
}

fn line(number: u32) -> String {
    journal_line::line(&number.to_string(), &report(number))
}

fn open(dir: &Path) -> (Store, Tally<Removed>) {
    let removed = Tally::default();
    (Store::open(dir, LARGE, &removed).unwrap(), removed)
}

fn append(store: &mut Store, number: u32, removed: &Tally<Removed>) {
    let time = day() + i64::from(number).seconds();
    store.append(&line(number), time, time, removed).unwrap();
}

/// Ids of what a reader finds, the oldest first.
fn ids(dir: &Path) -> Vec<String> {
    let query =
        Query { filter: Filter::default(), order: Order::OldestFirst, limit: usize::MAX, cursor: None };
    let page = Reader::new(dir).page(&query).unwrap();
    page.reports.iter().map(|report| id(report)).collect()
}

fn id(report: &str) -> String {
    serde_json::from_str::<serde_json::Value>(report).unwrap()["id"].as_str().unwrap().to_owned()
}

fn named(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("b-{number}")).collect()
}

/// A directory with one segment, number 7, of these bytes.
fn journal_of(bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(segment_path(dir.path(), 7), bytes).unwrap();
    dir
}

/// What is in the quarantine.
fn quarantined(dir: &Path) -> Vec<u8> {
    let files = numbers(dir, "quarantine-", ".bin").unwrap();
    let paths = files.iter().map(|number| dir.join(format!("quarantine-{number:020}.bin")));
    paths.flat_map(|path| fs::read(path).unwrap()).collect()
}
