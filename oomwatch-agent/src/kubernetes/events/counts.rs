//! How telling went, counted by a closed set of outcomes. A kill counts once for each object that it is told to.

use crate::tally::{self, Tally};

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

impl tally::Outcome for Outcome {
    const ALL: &'static [Self] = &[
        Self::Created,
        Self::Folded,
        Self::AlreadyTold,
        Self::Denied,
        Self::Rejected,
        Self::Failed,
        Self::Dropped,
        Self::Nameless,
    ];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
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
pub type Counts = Tally<Outcome>;
