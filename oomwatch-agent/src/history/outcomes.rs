//! What becomes of an incident that is to be kept, as closed sets.

use crate::tally::Outcome;

/// What became of an incident that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is in the journal.
    Written,
    /// It could not be written, and is in memory.
    Failed,
    /// Too many were waiting for a slow disk; it is in memory.
    QueueFull,
    /// No journal was asked for; it is in memory.
    Memory,
}

impl Outcome for WriteOutcome {
    const ALL: &'static [Self] = &[Self::Written, Self::Failed, Self::QueueFull, Self::Memory];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Failed => "failed",
            Self::QueueFull => "queue_full",
            Self::Memory => "memory",
        }
    }
}

/// Why incidents left the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Older than they may be.
    Age,
    /// The oldest, where there would have been more than there may be.
    Size,
    /// Damaged lines, moved aside.
    Quarantined,
    /// The oldest, to make room on a full disk.
    DiskFull,
}

impl Outcome for Removed {
    const ALL: &'static [Self] = &[Self::Age, Self::Size, Self::Quarantined, Self::DiskFull];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::Quarantined => "quarantined",
            Self::DiskFull => "disk_full",
        }
    }
}
