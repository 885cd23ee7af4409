//! How the kubelet answered, counted by a closed set of outcomes.

use std::sync::atomic::{AtomicU64, Ordering};

/// How one request to the kubelet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a list of pods.
    Answered,
    /// Nobody listens there, or the connection broke.
    Unreachable,
    /// It did not end in time.
    TimedOut,
    /// Its certificate is not to be trusted.
    Certificate,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// Any other status.
    OtherStatus,
    /// 200, with something else than a list of pods.
    Malformed,
    /// The token could not be read.
    NoToken,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::Unreachable,
        Self::TimedOut,
        Self::Certificate,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::OtherStatus,
        Self::Malformed,
        Self::NoToken,
    ];

    /// `timed_out`
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Certificate => "certificate",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::OtherStatus => "other_status",
            Self::Malformed => "malformed",
            Self::NoToken => "no_token",
        }
    }
}

/// Counts by outcome.
#[derive(Debug, Default)]
pub struct Outcomes {
    counts: [AtomicU64; Outcome::ALL.len()],
}

impl Outcomes {
    /// Adds one.
    pub fn count(&self, outcome: Outcome) {
        if let Some(count) = self.counts.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many so far.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.counts.get(outcome as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// `answered 12, timed_out 1`, without those that never were.
    pub fn summary(&self) -> String {
        let seen = Outcome::ALL.into_iter().filter(|outcome| self.get(*outcome) > 0);
        let seen: Vec<String> =
            seen.map(|outcome| format!("{} {}", outcome.name(), self.get(outcome))).collect();
        if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
    }
}
