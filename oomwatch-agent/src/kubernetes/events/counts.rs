//! How telling went, counted by a closed set of outcomes. A kill counts once for each object that it is told to.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a kill came to be told, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By an Event of its own.
    Created,
    /// In the series of an Event that was there.
    Folded,
    /// It had been told already.
    AlreadyTold,
    /// The API server does not permit it.
    Denied,
    /// The API server does not take it: the object or its namespace is gone, or it finds fault with it.
    Rejected,
    /// The API server could not be reached, or did not answer, however often it was tried.
    Failed,
    /// The queue was full, or there were too many objects.
    Dropped,
    /// Its pod's name is not known.
    Nameless,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Folded,
        Self::AlreadyTold,
        Self::Denied,
        Self::Rejected,
        Self::Failed,
        Self::Dropped,
        Self::Nameless,
    ];

    /// `already_told`
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Folded => "folded",
            Self::AlreadyTold => "already_told",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::Nameless => "nameless",
        }
    }
}

/// Counts by outcome.
#[derive(Debug, Default)]
pub struct Counts {
    counts: [AtomicU64; Outcome::ALL.len()],
}

impl Counts {
    /// Adds so many.
    pub fn count(&self, outcome: Outcome, kills: u64) {
        if let Some(count) = self.counts.get(outcome as usize) {
            count.fetch_add(kills, Ordering::Relaxed);
        }
    }

    /// How many so far.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.counts.get(outcome as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// `created 12, folded 40`, without those that never were.
    pub fn summary(&self) -> String {
        let seen = Outcome::ALL.into_iter().filter(|outcome| self.get(*outcome) > 0);
        let seen: Vec<String> =
            seen.map(|outcome| format!("{} {}", outcome.name(), self.get(outcome))).collect();
        if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
    }
}
