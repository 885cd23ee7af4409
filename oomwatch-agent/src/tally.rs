//! Counts by a closed set of outcomes.

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

/// More than any set of outcomes has.
const MOST: usize = 16;

/// One of a closed set, by which something is counted.
pub trait Outcome: Copy + 'static {
    /// All of them, in the order of their places.
    const ALL: &'static [Self];

    /// Its place in [`Self::ALL`].
    fn place(self) -> usize;

    /// `timed_out`
    fn name(self) -> &'static str;
}

/// Counts that any thread may add to.
#[derive(Debug)]
pub struct Tally<O> {
    counts: [AtomicU64; MOST],
    of: PhantomData<fn(O)>,
}

impl<O> Default for Tally<O> {
    fn default() -> Self {
        Self { counts: Default::default(), of: PhantomData }
    }
}

impl<O: Outcome> Tally<O> {
    /// Adds one.
    pub fn count(&self, outcome: O) {
        self.add(outcome, 1);
    }

    /// Adds so many.
    pub fn add(&self, outcome: O, number: u64) {
        if let Some(count) = self.counts.get(outcome.place()) {
            count.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// How many so far.
    pub fn get(&self, outcome: O) -> u64 {
        self.counts.get(outcome.place()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// `answered 12, timed_out 1`, without those that never were.
    pub fn summary(&self) -> String {
        let seen = O::ALL.iter().filter(|outcome| self.get(**outcome) > 0);
        let seen: Vec<String> =
            seen.map(|outcome| format!("{} {}", outcome.name(), self.get(*outcome))).collect();
        if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Removed, WriteOutcome},
        kubernetes::{events, outcomes},
        losses::Stage,
        progress::Lost,
    };

    fn places<O: Outcome>() {
        assert!(O::ALL.len() <= MOST);
        for (index, outcome) in O::ALL.iter().enumerate() {
            assert_eq!(outcome.place(), index, "{}", outcome.name());
        }
    }

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        places::<Stage>();
        places::<Lost>();
        places::<outcomes::Outcome>();
        places::<events::Outcome>();
        places::<WriteOutcome>();
        places::<Removed>();
    }

    #[test]
    fn what_never_was_is_not_told() {
        let tally = Tally::default();
        assert_eq!(tally.summary(), "none");
        tally.count(Stage::Queue);
        tally.add(Stage::Queue, 2);
        assert_eq!((tally.summary().as_str(), tally.get(Stage::Output)), ("queue 3", 0));
    }
}
