//! How the kubelet answered, counted by a closed set of outcomes.

use crate::tally::{self, Tally};

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

impl tally::Outcome for Outcome {
    const ALL: &'static [Self] = &[
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

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
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
pub type Outcomes = Tally<Outcome>;
