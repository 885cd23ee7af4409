//! What a report says of those around its incident.

use anyhow::{Context, Result};
use serde::{Deserialize, de::IgnoredAny};

/// `candidates`, `consumers`, `node_shares` and `zones` of one line.
#[derive(Debug, Deserialize)]
pub struct Around {
    /// `candidates`
    #[serde(default)]
    pub candidates: Candidates,
    /// `consumers`
    #[serde(default)]
    pub consumers: Vec<Consumer>,
    /// `node_shares`
    #[serde(default)]
    pub node_shares: Shares,
    /// `zones`
    #[serde(default)]
    pub zones: Vec<IgnoredAny>,
}

/// Who could have been killed.
#[derive(Debug, Default, Deserialize)]
pub struct Candidates {
    /// How many there were.
    pub count: Option<u64>,
    /// By badness, from 1.
    pub victims_place: Option<u64>,
    /// The first of them by badness, and the victims.
    pub processes: Vec<Candidate>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct Candidate {
    tgid: Option<u32>,
    /// Bytes.
    #[serde(rename = "rss_bytes")]
    pub rss: Option<u64>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// Pages.
    #[serde(rename = "badness_pages")]
    pub badness: Option<i64>,
    /// It was killed.
    #[serde(default)]
    pub is_victim: bool,
    /// Path.
    pub cgroup: Option<String>,
}

/// One of `consumers`.
#[derive(Debug, Deserialize)]
pub struct Consumer {
    cgroup: String,
    usage_bytes: Option<u64>,
}

/// `node_shares`
#[derive(Debug, Default, Deserialize)]
pub struct Shares {
    /// Bytes.
    #[serde(rename = "pods_usage_bytes")]
    pub pods: Option<u64>,
    /// Bytes.
    #[serde(rename = "host_usage_bytes")]
    pub host: Option<u64>,
}

impl Around {
    /// Of a report's JSON.
    ///
    /// # Errors
    /// It is no report.
    pub fn of(line: &str) -> Result<Self> {
        serde_json::from_str(line).context("no report")
    }

    /// The processes in their order.
    pub fn order(&self) -> Vec<u32> {
        self.candidates.processes.iter().filter_map(|candidate| candidate.tgid).collect()
    }

    /// What is said of one.
    pub fn candidate(&self, pid: u32) -> Option<&Candidate> {
        self.candidates.processes.iter().find(|candidate| candidate.tgid == Some(pid))
    }

    /// What a cgroup used.
    pub fn used_by(&self, cgroup: &str) -> Option<u64> {
        self.consumers.iter().find(|consumer| consumer.cgroup == cgroup)?.usage_bytes
    }
}
