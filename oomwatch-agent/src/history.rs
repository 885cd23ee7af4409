//! What happened before: incidents on disk, where a journal is asked for, else the newest in memory.
//!
//! The journal is a plain append log of its own, docs/journal.md. An embedded store (redb, SQLite) would bring pages,
//! a write-ahead log and pauses to compact for what is one list, written at one end and dropped at the other. Of a log
//! with one line an incident everything is plain: `cut` and `jq` read it on a node where nothing else works, damage
//! costs the lines that it hits, appending is what every file system does safely, and dropping the oldest is removing a
//! file. All that it needs beside the standard library is a checksum.
//!
//! Capture and reports never wait for a disk: a thread of its own writes, and whoever hands an incident over waits for
//! a fifth of a second at most, once.

mod lock;
mod mend;
mod outcomes;
mod query;
mod reader;
mod ring;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{self, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use self::{
    lock::NotOurs,
    reader::is_of_id,
    store::{Bounds, Store},
    writer::{Job, Shared, Writer},
};
pub use self::{
    outcomes::{Removed, WriteOutcome},
    query::{Cursor, Order, Page, Query},
    reader::Reader,
};
use crate::{config::JournalOptions, refusal::Refusal, tally::Tally};

/// How long an incident is waited for.
const KEPT_WITHIN: Duration = Duration::from_millis(200);
/// How long the end waits for the disk.
const CLOSED_WITHIN: Duration = Duration::from_millis(500);
/// Incidents that may wait for the disk,
const MOST_WAITING: usize = 256;
/// and bytes of them.
const MOST_WAITING_BYTES: usize = 8 << 20;

/// An incident to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The report's JSON, one line.
    pub report: String,
    /// JSON of what it adds to the counts, for [`History::each_counts`].
    pub counts: String,
}

/// How much there is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Files.
    pub segments: u64,
    /// Whole incidents.
    pub incidents: u64,
    /// The last attempt to write came to something, or none was made yet.
    pub writable: bool,
}

/// What happened before.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    reader: Reader,
    /// To the thread that writes; it ends when this goes.
    jobs: SyncSender<Job>,
}

impl History {
    /// Opens the journal, mends it where it is damaged, and starts the thread that writes it.
    ///
    /// # Errors
    /// Another agent has the directory, or it is none. One that cannot be written is no error: what is there is read,
    /// and what comes is kept in memory until it can.
    pub fn open(options: &JournalOptions) -> Result<Self, Refusal> {
        let shared = Arc::new(Shared::new());
        let Some(dir) = &options.journal else { return Ok(Self { shared, journal: None }) };
        let bounds = Bounds { bytes: u64::from(options.journal_max_mib) << 20, age: options.journal_max_age };
        let reader = Reader::new(dir);
        let store = open_store(dir, bounds, &shared, &reader)?;
        let writer = Writer::new(dir.clone(), bounds, Arc::clone(&shared), store);
        let (jobs, queue) = mpsc::sync_channel(MOST_WAITING);
        thread::Builder::new()
            .name("oomwatch-journal".to_owned())
            .spawn(move || writer.write_all(&queue))
            .map_err(|error| Refusal::failed(format!("starting the journal's thread: {error}")))?;
        Ok(Self { shared, journal: Some(Journal { reader, jobs }) })
    }

    /// Keeps one incident, and waits until it is written: 200 ms at most, and not at all while the disk is behind.
    /// Written means that it outlives this process, however it ends; it outlives the machine a second later.
    pub async fn keep(&self, incident: Kept) {
        let Some(journal) = &self.journal else {
            return self.shared.keep_in_memory(WriteOutcome::Memory, &incident.report);
        };
        let bytes = incident.report.len() + incident.counts.len();
        if self.shared.waiting_bytes.load(Ordering::Relaxed) > MOST_WAITING_BYTES {
            return self.shared.keep_in_memory(WriteOutcome::QueueFull, &incident.report);
        }
        let (done, tried) = oneshot::channel();
        self.shared.handed_over(bytes);
        match journal.jobs.try_send(Job::Keep(incident, done)) {
            Ok(()) => {}
            Err(refused) => {
                self.shared.taken(bytes);
                let (job, why) = match refused {
                    TrySendError::Full(job) => (job, WriteOutcome::QueueFull),
                    TrySendError::Disconnected(job) => (job, WriteOutcome::Failed),
                };
                if let Job::Keep(incident, _) = job {
                    self.shared.keep_in_memory(why, &incident.report);
                }
                return;
            }
        }
        if !self.shared.behind.load(Ordering::Relaxed) && timeout(KEPT_WITHIN, tried).await.is_err() {
            self.shared.behind.store(true, Ordering::Relaxed);
            tracing::warn!("the journal's disk is slow: incidents wait for it in memory");
        }
    }

    /// The incidents that fit; what is not on disk counts as newer than what is. Blocking.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn page(&self, query: &Query) -> io::Result<Page> {
        reader::page(self.reader(), &self.shared.ring.all(), query)
    }

    /// The JSON of one report. Blocking.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn find(&self, id: &str) -> io::Result<Option<String>> {
        let in_memory = self.shared.ring.all().into_iter().find(|(_, report)| is_of_id(report, id));
        match (in_memory, self.reader()) {
            (Some((_, report)), _) => Ok(Some(report.as_ref().to_owned())),
            (None, Some(reader)) => reader.find(id),
            (None, None) => Ok(None),
        }
    }

    /// What each incident on disk added to the counts, the oldest first. Blocking; for the start.
    pub fn each_counts(&self, mut take: impl FnMut(&str)) {
        if let Some(reader) = self.reader() {
            reader.each(&mut |entry| take(entry.counts));
        }
    }

    /// How much there is on disk; `None` without a journal.
    pub fn stats(&self) -> Option<Stats> {
        self.journal.as_ref()?;
        Some(*self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What became of the incidents that were to be kept.
    pub fn outcomes(&self) -> &Tally<WriteOutcome> {
        &self.shared.outcomes
    }

    /// What left the journal: incidents; of what was damaged, lines.
    pub fn removed(&self) -> &Tally<Removed> {
        &self.shared.removed
    }

    /// Writes what waits, and has it on the disk; for the end. Half a second at most.
    pub async fn close(&self) {
        let Some(journal) = &self.journal else { return };
        let (done, synced) = oneshot::channel();
        let asked = journal.jobs.try_send(Job::Sync(done));
        if asked.is_err() || timeout(CLOSED_WITHIN, synced).await.is_err() {
            let waiting = self.shared.waiting.load(Ordering::Relaxed);
            tracing::warn!(waiting, "the journal's disk was too slow for the last incidents");
        }
    }

    fn reader(&self) -> Option<&Reader> {
        self.journal.as_ref().map(|journal| &journal.reader)
    }
}

/// `None` for a directory that cannot be written now.
fn open_store(
    dir: &Path,
    bounds: Bounds,
    shared: &Shared,
    reader: &Reader,
) -> Result<Option<Store>, Refusal> {
    match Store::open(dir, bounds, &shared.removed) {
        Ok(store) => Ok(Some(store)),
        Err(NotOurs::Taken(pid)) => {
            let who = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            let dir = dir.display();
            Err(Refusal::failed(format!(
                "{dir}: another oomwatch{who} keeps its journal here: give --journal another"
            )))
        }
        Err(NotOurs::NotADirectory) => {
            Err(Refusal::usage(format!("{}: not a directory: give --journal one", dir.display())))
        }
        Err(NotOurs::NotWritable(error)) => {
            tracing::warn!(%error, "the journal cannot be written; incidents are kept in memory until it can");
            *shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = reader.stats();
            Ok(None)
        }
    }
}
