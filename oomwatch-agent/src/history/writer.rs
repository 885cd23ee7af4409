//! The thread that writes the journal. A disk that hangs holds up this thread and nothing else.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use oomwatch_common::journal_line;
use tokio::sync::oneshot;

use super::{
    Kept, Stats,
    lock::NotOurs,
    outcomes::{Removed, WriteOutcome},
    ring::Ring,
    store::{Bounds, Store, time_of},
};
use crate::{sys::OutOfReserve, tally::Tally};

/// What is written is on the disk after so long at most, unless the disk is slower.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether something is too old.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// How often a directory that could not be written is tried again.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Job {
    /// Write this, and say when it was tried.
    Keep(Kept, oneshot::Sender<()>),
    /// Have on the disk what was written, and say so.
    Sync(oneshot::Sender<()>),
}

/// What the thread and those who hand over to it both see.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is not on disk.
    pub(super) ring: Ring,
    pub(super) outcomes: Tally<WriteOutcome>,
    pub(super) removed: Tally<Removed>,
    pub(super) stats: Mutex<Stats>,
    /// Incidents that were handed over and not tried yet,
    pub(super) waiting: AtomicUsize,
    /// and their bytes.
    pub(super) waiting_bytes: AtomicUsize,
    /// Somebody waited in vain, and some are still waiting.
    pub(super) behind: AtomicBool,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            ring: Ring::new(Timestamp::now()),
            outcomes: Tally::default(),
            removed: Tally::default(),
            stats: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            behind: AtomicBool::new(false),
        }
    }

    /// An incident is on its way.
    pub(super) fn handed_over(&self, bytes: usize) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It was tried, or never went.
    pub(super) fn taken(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.behind.store(false, Ordering::Relaxed);
        }
    }

    /// The incident stays in memory.
    pub(super) fn keep_in_memory(&self, why: WriteOutcome, report: &str) {
        self.outcomes.count(why);
        self.ring.push(report);
    }

    fn set_stats(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What the thread has.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    bounds: Bounds,
    shared: Arc<Shared>,
    /// `None`: the directory cannot be written, or could not the last time.
    store: Option<Store>,
    tried: Instant,
    synced: Instant,
    looked: Instant,
    /// The last write came to nothing, and that was said.
    failing: bool,
}

impl Writer {
    pub(super) fn new(dir: PathBuf, bounds: Bounds, shared: Arc<Shared>, store: Option<Store>) -> Self {
        let (now, failing) = (Instant::now(), store.is_none());
        let mut writer = Self { dir, bounds, shared, store, tried: now, synced: now, looked: now, failing };
        writer.look();
        writer
    }

    /// Until nobody can ask for anything any more.
    pub(super) fn write_all(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match jobs.recv_timeout(self.until_next()) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match job {
                Some(Job::Keep(incident, done)) => {
                    self.keep(&incident);
                    self.shared.taken(incident.report.len() + incident.counts.len());
                    // Whoever waited may have given up.
                    done.send(()).unwrap_or_default();
                }
                Some(Job::Sync(done)) => {
                    self.sync();
                    done.send(()).unwrap_or_default();
                }
                None => {}
            }
            if self.is_dirty() && self.synced.elapsed() >= SYNC_EVERY {
                self.sync();
            }
            if self.looked.elapsed() >= LOOK_EVERY {
                self.look();
            }
        }
        self.sync();
    }

    fn until_next(&self) -> Duration {
        let look = LOOK_EVERY.saturating_sub(self.looked.elapsed());
        if self.is_dirty() { look.min(SYNC_EVERY.saturating_sub(self.synced.elapsed())) } else { look }
    }

    fn is_dirty(&self) -> bool {
        self.store.as_ref().is_some_and(Store::is_dirty)
    }

    fn keep(&mut self, incident: &Kept) {
        let _reserve = OutOfReserve::begin();
        match self.write(incident) {
            Ok(()) => {
                self.shared.outcomes.count(WriteOutcome::Written);
                if self.failing {
                    self.failing = false;
                    tracing::info!(dir = %self.dir.display(), "the journal is written again");
                }
            }
            Err(error) => {
                self.shared.keep_in_memory(WriteOutcome::Failed, &incident.report);
                if !self.failing {
                    self.failing = true;
                    tracing::warn!(%error, "the journal cannot be written; incidents are kept in memory until it can");
                }
            }
        }
        self.tell_stats();
    }

    fn write(&mut self, incident: &Kept) -> io::Result<()> {
        let line = journal_line::line(&incident.counts, &incident.report);
        let now = Timestamp::now();
        let time = time_of(&incident.report).unwrap_or(now);
        let removed = &self.shared.removed;
        if let Some(store) = &mut self.store {
            match store.append(&line, time, now, removed) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::warn!(dir = %self.dir.display(), "the journal was removed: a new one is begun");
                    self.store = None;
                }
                written => return written,
            }
        } else if self.tried.elapsed() < TRY_EVERY {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.tried = Instant::now();
        let store = Store::open(&self.dir, self.bounds, removed).map_err(not_ours)?;
        self.store.insert(store).append(&line, time, now, removed)
    }

    fn sync(&mut self) {
        self.synced = Instant::now();
        if let Some(Err(error)) = self.store.as_mut().map(Store::sync) {
            tracing::warn!(%error, "the journal may not be on the disk");
        }
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        let removed = &self.shared.removed;
        if let Some(Err(error)) =
            self.store.as_mut().map(|store| store.keep_bounds(0, Timestamp::now(), removed))
        {
            tracing::warn!(%error, "the oldest part of the journal cannot be removed");
        }
        self.tell_stats();
    }

    fn tell_stats(&self) {
        let stats = self.store.as_ref().map(Store::stats);
        self.shared.set_stats(|told| {
            *told = Stats { writable: stats.is_some() && !self.failing, ..stats.unwrap_or(*told) };
        });
    }
}

fn not_ours(why: NotOurs) -> io::Error {
    match why {
        NotOurs::Taken(_) => io::Error::new(io::ErrorKind::ResourceBusy, "another oomwatch writes it"),
        NotOurs::NotADirectory => io::ErrorKind::NotADirectory.into(),
        NotOurs::NotWritable(error) => error,
    }
}
