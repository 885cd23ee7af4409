//! How far the capture thread has come, for whoever holds that against the kernel's counts.
//!
//! The thread writes it before it sleeps and never waits for a reader.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::tally::{Outcome, Tally};

/// Why a process that was killed is in no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The kernel counted the kill, and the probe did not see it.
    Unseen,
    /// The probe saw it, and the record was lost: the ring buffer was full, or it could not be decoded.
    Record,
    /// Its incident found the queue to the reporter full.
    Queue,
    /// Its report could not be written.
    Output,
}

impl Outcome for Lost {
    const ALL: &'static [Self] = &[Self::Unseen, Self::Record, Self::Queue, Self::Output];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::Record => "record",
            Self::Queue => "queue",
            Self::Output => "output",
        }
    }
}

/// What the capture thread has done by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Records that were taken out of the ring buffer.
    pub records: u64,
    /// Incidents that are still open.
    pub open: u64,
    /// Processes whose kill was told by a record.
    pub told: u64,
    /// Incidents in which a group was killed: the kernel may count one more than there are processes in it.
    pub groups: u64,
}

/// The thread's own account of itself, and what has been lost in processes.
#[derive(Debug, Default)]
pub struct Progress {
    /// Odd while the rest is being written.
    version: AtomicU64,
    records: AtomicU64,
    open: AtomicU64,
    told: AtomicU64,
    groups: AtomicU64,
    /// Processes that were killed and are in no report, by why.
    pub lost: Tally<Lost>,
}

impl Progress {
    /// By the capture thread alone.
    pub fn publish(&self, done: Done) {
        self.version.fetch_add(1, SeqCst);
        self.records.store(done.records, SeqCst);
        self.open.store(done.open, SeqCst);
        self.told.store(done.told, SeqCst);
        self.groups.store(done.groups, SeqCst);
        self.version.fetch_add(1, SeqCst);
    }

    /// What was last published; `None` where that is being written just now.
    pub fn done(&self) -> Option<Done> {
        let version = self.version.load(SeqCst);
        let done = Done {
            records: self.records.load(SeqCst),
            open: self.open.load(SeqCst),
            told: self.told.load(SeqCst),
            groups: self.groups.load(SeqCst),
        };
        (version.is_multiple_of(2) && self.version.load(SeqCst) == version).then_some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_written_is_not_read() {
        let progress = Progress::default();
        let done = Done { records: 4, open: 1, told: 2, groups: 0 };
        progress.publish(done);
        assert_eq!(progress.done(), Some(done));
        progress.version.fetch_add(1, SeqCst);
        assert_eq!(progress.done(), None);
    }
}
