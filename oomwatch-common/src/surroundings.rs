//! What was around an incident, beside what [`crate::capture`] has of its own processes and cgroups: who else could
//! have been killed, who used the memory, what came before. All of it may be missing.
//!
//! The agent reads it live, `oomwatch explain` takes it from the kernel's log. Text that a process or the maker of a
//! cgroup chose is escaped in it already ([`crate::escape`]), so that it can be kept beside a recorded incident.

mod of_log;

use serde::{Deserialize, Serialize};

use crate::{
    escape::escape,
    ids::{Tgid, Tid},
    kernel_log::TaskRow,
    proc_text::Meminfo,
    report::{CandidatesFrom, Consumer, Gap, Kubernetes, NodeShares, Repeats, SlabCache, Zone},
    units::Bytes,
};

/// Everything of this kind. [`Default`]: nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Surroundings {
    /// Who could have been killed.
    pub tasks: Option<Tasks>,
    /// Who used the memory of the node, or of all pods; the largest first.
    pub consumers: Vec<Consumer>,
    /// How the node's memory was shared between pods and host.
    pub node_shares: Option<NodeShares>,
    /// Earlier kills of the same container.
    pub repeats: Option<Repeats>,
    /// The largest slab caches, the largest first.
    pub slab: Vec<SlabCache>,
    /// The node's memory zones.
    pub zones: Vec<Zone>,
    /// The node's memory, where it is from the kernel's log and not from `/proc/meminfo`.
    pub node_memory: Option<Meminfo>,
    /// What of all this was tried and not read.
    pub gaps: Vec<Gap>,
}

/// The processes of the OOM domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// Who says so.
    pub from: CandidatesFrom,
    /// How many there were; more than `rows` where not all were read.
    pub count: u64,
    /// How many of the node's processes were not looked at, so that nobody knows which of them belong here: `count` has
    /// none of them.
    #[serde(default)]
    pub undecided: u64,
    /// Those that were read.
    pub rows: Vec<Task>,
}

/// A process of the OOM domain. `None`: not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Process id.
    pub tgid: Option<u32>,
    /// Thread id, where the source names the thread that has the address space.
    pub tid: Option<u32>,
    /// Name, escaped.
    pub comm: Option<String>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Resident memory of all kinds.
    pub rss: Option<Bytes>,
    /// Swapped out.
    pub swap: Option<Bytes>,
    /// Page tables.
    pub pgtables: Option<Bytes>,
    /// Address space.
    pub total_vm: Option<Bytes>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Path of its memory cgroup, escaped.
    pub cgroup: Option<String>,
    /// Its pod and container: names are enough.
    pub kubernetes: Option<Kubernetes>,
}

impl Tasks {
    /// The table that the kernel's log has. `None` where it has none.
    pub fn from_log(rows: &[TaskRow]) -> Option<Self> {
        let count = u64::try_from(rows.len()).ok().filter(|count| *count > 0)?;
        let rows = rows.iter().map(Task::from).collect();
        Some(Self { from: CandidatesFrom::KernelLog, count, undecided: 0, rows })
    }
}

impl From<&TaskRow> for Task {
    fn from(row: &TaskRow) -> Self {
        Self {
            tgid: row.tgid.map(|Tgid(tgid)| tgid),
            tid: row.tid.map(|Tid(tid)| tid),
            comm: row.comm.as_ref().map(|comm| escape(comm.as_bytes())),
            uid: row.uid,
            rss: row.rss,
            swap: row.swap,
            pgtables: row.pgtables,
            total_vm: row.total_vm,
            oom_score_adj: row.oom_score_adj,
            cgroup: None,
            kubernetes: None,
        }
    }
}
