//! What was lost, by stage: nothing is dropped without being counted here.

use crate::tally::{Outcome, Tally};

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
    /// Level kmsg: records that the kernel overwrote before they were read, counted once for each time.
    KernelLog,
}

/// Counts by stage.
pub type Losses = Tally<Stage>;

impl Outcome for Stage {
    const ALL: &'static [Self] = &[Self::Malformed, Self::Queue, Self::Output, Self::KernelLog];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Queue => "queue",
            Self::Output => "output",
            Self::KernelLog => "kernel_log",
        }
    }
}
