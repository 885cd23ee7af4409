//! The report, schema 1: what is published of an incident, and nothing else. docs/report-schema.md has every field.
//!
//! A value that was not read is absent, and named in `gaps`; it is never 0 or empty. Text that a process chose for
//! itself is escaped ([`crate::escape`]) here, once, so that no output can forget it. Readers of old and new reports
//! are lenient: fields that they do not know are passed over.

mod again;
mod build;
mod candidates;
mod cgroup;
mod composition;
mod gaps;
mod host;
mod kubernetes;
mod logged;
mod node;
mod process;
mod read;
mod size;
mod unread;

use serde::{Deserialize, Serialize};

pub use build::Context;
pub use candidates::{Candidate, Candidates, CandidatesFrom, badness};
pub use cgroup::{Cgroup, FiguresFrom, Level};
pub use composition::{Composition, node_parts, node_total};
pub use host::{Host, HostKind};
pub use kubernetes::{ContainerKind, Kubernetes, MemoryVolume, NamesFrom, Workload};
pub use logged::LogPlace;
pub use node::{Consumer, NodeShares, Repeats, SlabCache, Zone};
pub use process::{Parent, Rss, StatusFrom, Trigger, Victim};
pub(crate) use process::{memory_cgroup, subject};
pub use size::{push_size, size};

use crate::{
    diagnose::{Cause, Finding},
    proc_text::{Load, Meminfo, Pressure, Vmstat},
    scope::Scope,
    units::Bytes,
};

/// Raised when a field changes its meaning or goes; new fields do not raise it.
pub const SCHEMA: u32 = 1;

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`]
    pub schema: u32,
    /// `BOOT_ID-NANOSECONDS` of the hook since boot: the same for as long as the incident is known. Of a log that does
    /// not tell the boot, `log-HASH-NANOSECONDS`: the same for the same log.
    pub id: String,
    /// When the hook ran: RFC 3339, UTC, microseconds. Empty, and not in JSON: the log does not say so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// `/proc/sys/kernel/random/boot_id`. Empty, and not in JSON: the log does not say so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// Name of the node. Empty, and not in JSON: the log does not say so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Where in a log it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPlace>,
    /// How the kernel was watched.
    pub probe: Probe,
    /// Where the incident was learnt of.
    pub source: Source,
    /// What hit its limit.
    pub scope: Scope,
    /// Cause of the first finding.
    pub cause: Cause,
    /// The domain of the allocation that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom: Option<Oom>,
    /// Who asked for the page that was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Who was killed, in the kernel's order.
    pub victims: Vec<Victim>,
    /// The cgroup whose limit was hit. Absent for a node-wide OOM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_owner: Option<Cgroup>,
    /// The first victim's own cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// The first victim's pod and container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// What the first victim belonged to outside of all pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Who could have been killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// Who used the memory, the largest first; where more than one pod's limit was hit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<Consumer>,
    /// How the node's memory was shared between pods and host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_shares: Option<NodeShares>,
    /// Earlier kills of the same container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<Repeats>,
    /// `/proc/meminfo`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_memory: Option<Meminfo>,
    /// `node_memory` is what the kernel's log says of the moment of the kill. Absent otherwise.
    #[serde(default, skip_serializing_if = "cgroup::is_false")]
    pub node_memory_from_log: bool,
    /// The largest slab caches, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slab: Vec<SlabCache>,
    /// The node's memory zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Zone>,
    /// `/proc/vmstat`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmstat: Option<Vmstat>,
    /// `/proc/loadavg`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// `/proc/pressure/memory`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// Why, the headline first.
    pub findings: Vec<Finding>,
    /// What this report does not have.
    pub gaps: Vec<Gap>,
    /// How long it took. All 0, and not in JSON: it is from a log.
    #[serde(default, skip_serializing_if = "Latency::is_unknown")]
    pub latency: Latency,
}

/// How the kernel was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// `kprobe`, `tracepoint`
    pub level: String,
}

/// Where the incident was learnt of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// From the probe, as it happened.
    Live,
    /// From the kernel log, afterwards: it happened while the agent was down, or was lost on the way.
    Backfill,
    /// From a log or report that was given.
    Log,
}

/// `struct oom_control` and the kernel's message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oom {
    /// `none`, `cpuset`, `memory_policy`, `memcg`, or `unknown_N` on a kernel newer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// Flags of the allocation, hexadecimal as in the kernel's log: `0xcc0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gfp_mask: Option<String>,
    /// Their names, where they were read from the kernel's log: `GFP_KERNEL|__GFP_ZERO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gfp_flags: Option<String>,
    /// 2^order pages were asked for; -1: sysrq-f.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i32>,
    /// Size of the domain in pages, swap included. Never the victim's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totalpages: Option<u64>,
    /// The same in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totalpages_bytes: Option<Bytes>,
    /// `Out of memory`, `Memory cgroup out of memory`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// `memory.oom.group` made the kernel kill a whole cgroup.
    pub group: bool,
    /// The chosen process's badness in pages: RSS, swap and page tables, shifted by its `oom_score_adj`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<i64>,
}

/// Something that the report does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// A field (`limit_owner`, `victims[0].uid`), or a file and whose it is (`victims[0]/status`,
    /// `cgroup/memory.peak`, `node/vmstat`).
    pub what: String,
    /// Begins with the outcome where a file was tried: `gone`, `denied`, `unsupported`, `timed out`, `malformed`,
    /// `withheld`, `cut`.
    pub why: String,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From the hook to the capture thread's start on it.
    pub hook_to_capture_us: u64,
    /// From the hook to the last file read.
    pub hook_to_read_us: u64,
    /// From the hook to this report.
    pub hook_to_report_us: u64,
}

impl Latency {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

impl Report {
    /// One line of JSON, without a line end.
    ///
    /// # Errors
    /// None that the fields of a report can cause.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
