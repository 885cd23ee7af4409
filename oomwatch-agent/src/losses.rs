//! What was lost, by stage: nothing is dropped without being counted here.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where something can be lost on its way from the ring buffer to an output. What the ring buffer itself had no room
/// for, the probe counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A record that could not be decoded.
    Malformed,
    /// An incident that found the queue to the reporter full.
    Queue,
    /// A report that could not be written.
    Output,
}

/// Counts by stage.
#[derive(Debug, Default)]
pub struct Losses {
    counts: [AtomicU64; 3],
}

impl Losses {
    /// Adds one.
    pub fn count(&self, stage: Stage) {
        if let Some(count) = self.counts.get(stage as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many so far.
    pub fn get(&self, stage: Stage) -> u64 {
        self.counts.get(stage as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
