//! The history as the agent uses it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::*;
use crate::{
    config::{BacklogChoice, JournalOptions},
    history::{
        CLOSED_WITHIN, History, Journal, KEPT_WITHIN, Kept, MOST_WAITING, WriteOutcome, writer::Shared,
    },
    refusal::{Kind, Refusal},
};

fn options(journal: Option<PathBuf>) -> JournalOptions {
    JournalOptions {
        journal,
        journal_max_mib: 1,
        journal_max_age: SignedDuration::from_hours(24 * 365 * 1000),
        backlog: BacklogChoice::Off,
    }
}

fn kept(number: u32) -> Kept {
    Kept { report: report(number), counts: format!("{{\"n\":{number}}}") }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The thread of a history that was dropped lets go of its lock a moment later.
fn open_again(options: &JournalOptions) -> History {
    let begun = Instant::now();
    loop {
        match History::open(options) {
            Ok(history) => return history,
            Err(refusal) if begun.elapsed() > Duration::from_mins(1) => panic!("{refusal}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

fn all(history: &History) -> Vec<String> {
    let query = Query { filter: Filter::default(), order: Order::NewestFirst, limit: 100, cursor: None };
    history.page(&query).unwrap().reports.iter().map(|report| id(report)).collect()
}

#[test]
fn a_restart_finds_what_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Some(dir.path().join("new")));
    let history = History::open(&options).unwrap();
    run(async {
        history.keep(kept(1)).await;
        history.keep(kept(2)).await;
        history.close().await;
    });
    assert_eq!(history.outcomes().summary(), "written 2");
    assert_eq!(all(&history), named([2, 1]));
    drop(history);

    let history = open_again(&options);
    let mut counts = Vec::new();
    history.each_counts(|json| counts.push(json.to_owned()));
    assert_eq!(counts, [r#"{"n":1}"#, r#"{"n":2}"#]);
    let stats = history.stats().unwrap();
    assert_eq!((stats.incidents, stats.segments, stats.writable), (2, 1, true));
    assert_eq!(history.find("b-1").unwrap(), Some(report(1)));
    assert_eq!(history.find("b-").unwrap(), None);
    run(history.keep(kept(3)));
    assert_eq!(all(&history), named([3, 2, 1]));
    assert_eq!(history.stats().unwrap().incidents, 3);
}

#[test]
fn command_lines_are_for_the_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("of/its/own");
    let history = History::open(&options(Some(dir.clone()))).unwrap();
    run(history.keep(kept(1)));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.clone()), 0o700);
    for file in fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(file.unwrap().path()), 0o600);
    }
}

#[test]
fn without_a_journal_the_newest_are_in_memory() {
    let history = History::open(&options(None)).unwrap();
    run(async {
        history.keep(kept(1)).await;
        history.keep(kept(2)).await;
        history.close().await;
    });
    assert_eq!((all(&history), history.outcomes().summary()), (named([2, 1]), "memory 2".to_owned()));
    assert_eq!(history.find("b-2").unwrap(), Some(report(2)));
    assert_eq!(history.stats(), None);
}

#[test]
fn a_second_agent_refuses_the_directory_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Some(dir.path().to_owned()));
    let _first = History::open(&options).unwrap();
    let Refusal { kind, text } = History::open(&options).unwrap_err();
    assert_eq!(kind, Kind::Failed);
    let who = format!("another oomwatch (pid {})", std::process::id());
    assert!(text.contains(&who) && text.contains("--journal") && !text.contains('\n'), "{text}");
}

#[test]
fn what_is_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let refusal = History::open(&options(Some(path))).unwrap_err();
        assert!(refusal.kind == Kind::Usage && refusal.text.contains("not a directory"), "{refusal}");
    }
    assert_eq!(fs::read(file).unwrap(), b"mine");
}

#[test]
fn a_journal_that_is_removed_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let history = History::open(&options(Some(journal.clone()))).unwrap();
    run(history.keep(kept(1)));
    fs::remove_dir_all(&journal).unwrap();
    run(history.keep(kept(2)));
    assert_eq!((all(&history), history.outcomes().summary()), (named([2]), "written 2".to_owned()));
    fs::remove_dir_all(&journal).unwrap();
    fs::write(&journal, "in the way").unwrap();
    run(history.keep(kept(3)));
    assert_eq!(history.outcomes().summary(), "written 2, failed 1");
    assert!(!history.stats().unwrap().writable);
}

#[test]
fn a_disk_that_hangs_is_waited_for_once_and_what_has_no_place_in_the_queue_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Arc::new(Shared::new());
    // Nobody takes what is handed over.
    let (jobs, _stuck) = mpsc::sync_channel(MOST_WAITING);
    let history = History {
        shared: Arc::clone(&shared),
        journal: Some(Journal { reader: Reader::new(dir.path()), jobs }),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // A clock that only waiting moves.
        let begun = tokio::time::Instant::now();
        for number in 0..u32::try_from(MOST_WAITING).unwrap() + 3 {
            history.keep(kept(number)).await;
        }
        assert!(begun.elapsed() < 2 * KEPT_WITHIN, "{:?}", begun.elapsed());
        history.close().await;
        assert!(begun.elapsed() < 2 * KEPT_WITHIN + CLOSED_WITHIN, "{:?}", begun.elapsed());
    });
    assert_eq!(history.outcomes().get(WriteOutcome::QueueFull), 3);
    assert_eq!(all(&history), named((256..259).rev()));
}

#[test]
fn an_incident_that_no_journal_takes_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(&options(Some(dir.path().to_owned()))).unwrap();
    let large = Kept { report: format!("\"{}\"", "x".repeat(1 << 20)), counts: "1".into() };
    run(async {
        history.keep(large).await;
        history.keep(kept(1)).await;
        // A disk that is busy may take longer than whoever keeps waits.
        history.close().await;
    });
    assert_eq!((history.outcomes().summary(), all(&history)), ("written 1, failed 1".to_owned(), named([1])));
}
