//! How serving goes, as closed sets.

use std::sync::{Arc, OnceLock, Weak};

use super::connections::Connections;
use crate::tally::{Outcome, Tally};

/// How serving goes.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests, by how they were answered.
    pub replied: Tally<Replied>,
    /// Connections that did not end well, by why.
    pub closed: Tally<Closed>,
    connections: OnceLock<Weak<Connections>>,
}

impl Counts {
    pub(super) fn watch(&self, connections: &Arc<Connections>) {
        if self.connections.set(Arc::downgrade(connections)).is_err() {
            tracing::debug!("connections were counted before");
        }
    }

    /// How many connections there are; `None` where nothing is served.
    pub fn connections(&self) -> Option<usize> {
        Some(self.connections.get()?.upgrade()?.number())
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replied {
    /// 200
    Ok,
    /// A request that is not understood, or not allowed: 4xx.
    BadRequest,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 503: not ready, or not well.
    Unavailable,
    /// 500
    Failed,
}

impl Outcome for Replied {
    const ALL: &'static [Self] =
        &[Self::Ok, Self::BadRequest, Self::Forbidden, Self::NotFound, Self::Unavailable, Self::Failed];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::BadRequest => "bad_request",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// Why a connection was closed, where its client did not do it well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its place was needed for another.
    Evicted,
    /// It was too slow to ask, or to read.
    TimedOut,
    /// It did not speak HTTP.
    Malformed,
    /// It broke.
    Broken,
}

impl Outcome for Closed {
    const ALL: &'static [Self] = &[Self::Evicted, Self::TimedOut, Self::Malformed, Self::Broken];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::TimedOut => "timed_out",
            Self::Malformed => "malformed",
            Self::Broken => "broken",
        }
    }
}
