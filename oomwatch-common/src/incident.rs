//! An incident as the kernel told it: one invocation of `oom_kill_process`, its domain, trigger and victims.
//!
//! Only what the probe read, or the kernel's log has. `/proc`, cgroup files and pods come later and are kept apart
//! ([`crate::capture`]).

use crate::{
    ids::{CgroupId, CgroupPath, Comm, Tgid, Tid},
    memcg_text::MemcgStat,
    units::{BoottimeNs, Bytes, Limit},
};

/// How the kernel is watched (DESIGN: the levels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeLevel {
    /// kprobes on the OOM killer itself: whole incidents, before SIGKILL.
    Kprobe,
    /// Tracepoint `oom/mark_victim` alone: victims, after SIGKILL.
    Tracepoint,
    /// The kernel's log: what it prints, after SIGKILL.
    Kmsg,
}

impl ProbeLevel {
    /// As options, reports and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Kmsg => "kmsg",
        }
    }
}

/// One invocation of the OOM killer that killed at least one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Counted by the probe from 1 since it was loaded.
    pub number: u64,
    /// When the hook ran.
    pub at: BoottimeNs,
    /// Which hook.
    pub level: ProbeLevel,
    /// The domain. `None` at level tracepoint, or where its record was lost.
    pub oom: Option<Oom>,
    /// The task whose allocation invoked the OOM killer.
    pub trigger: Option<Process>,
    /// Every process that was sent SIGKILL, in the kernel's order, each once.
    pub victims: Vec<Process>,
    /// The cgroup whose limit was hit. `None` for a node-wide OOM, and where it is not known (see `oom`).
    pub limit_owner: Option<Memcg>,
    /// What the kernel side could not tell.
    pub gaps: Vec<Gap>,
}

/// `struct oom_control`, and the message of the call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Oom {
    /// What confined the allocation.
    pub constraint: Option<Constraint>,
    /// `gfp_t` flags of the allocation that failed.
    pub gfp_mask: Option<u32>,
    /// The names of those flags: which bit is which differs from kernel to kernel. Since 4.6 the kernel logs them; no
    /// probe reads them.
    pub gfp_flags: Option<String>,
    /// 2^order pages were asked for; -1: sysrq-f.
    pub order: Option<i32>,
    /// Size of the OOM domain with swap. **Never the victim's size.**
    pub totalpages: Option<crate::units::Pages>,
    /// The chosen process's badness, in pages; 0 with `oom_kill_allocating_task`.
    pub chosen_points: Option<i64>,
    /// `Out of memory`, `Memory cgroup out of memory`, …
    pub message: Option<String>,
    /// `memory.oom.group` made the kernel kill a whole cgroup.
    pub group: bool,
}

/// `enum oom_constraint` (include/linux/oom.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// The whole node.
    None,
    /// The memory nodes of the trigger's cpuset.
    Cpuset,
    /// The memory nodes of a memory policy.
    MemoryPolicy,
    /// A memory cgroup's limit.
    Memcg,
    /// A kernel newer than this table.
    Unknown(u32),
}

/// A process, victim or trigger, as it stood when the hook ran. `None`: not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Process id.
    pub tgid: Option<Tgid>,
    /// The thread that the kernel names in its log: the one that still had the address space.
    pub tid: Option<Tid>,
    /// Name of that thread.
    pub comm: Option<Comm>,
    /// Name of the process's first thread.
    pub leader_comm: Option<Comm>,
    /// Real user id, initial user namespace.
    pub uid: Option<u32>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Process id inside its own pid namespace.
    pub pid_in_namespace: Option<u32>,
    /// The real parent.
    pub parent_tgid: Option<Tgid>,
    /// Name of the real parent.
    pub parent_comm: Option<Comm>,
    /// Start of the process, `CLOCK_BOOTTIME`.
    pub started: Option<BoottimeNs>,
    /// Memory. `None` where no thread had the address space any more.
    pub memory: Option<ProcessMemory>,
    /// Its memory cgroup.
    pub memcg: Option<Memcg>,
    /// Another process that has the same address space: the kernel kills it as well, and neither marks, counts nor
    /// logs it (`__oom_kill_process`, mm/oom_kill.c).
    pub shares_memory_with: Option<Tgid>,
    /// A kernel thread.
    pub kthread: bool,
}

/// What a process had mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Address space reserved, used or not. Never to be held against a limit.
    pub total_vm: Option<Bytes>,
    /// Anonymous memory.
    pub rss_anon: Option<Bytes>,
    /// Mapped files.
    pub rss_file: Option<Bytes>,
    /// Shared memory and tmpfs.
    pub rss_shmem: Option<Bytes>,
    /// Swapped out.
    pub swap: Option<Bytes>,
    /// Page tables.
    pub pgtables: Option<Bytes>,
    /// Highest RSS so far, where the kernel noted it.
    pub hiwater_rss: Option<Bytes>,
    /// RSS was summed over all CPUs, so it is not the approximation that the kernel's log prints.
    pub exact: bool,
}

/// A memory cgroup as it stood when the hook ran. `None`: not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memcg {
    /// From the root of the memory hierarchy, never relative to a cgroup namespace.
    pub path: CgroupPath,
    /// `Some(true)` on cgroup v2, `Some(false)` on v1.
    pub v2: Option<bool>,
    /// kernfs id.
    pub id: Option<CgroupId>,
    /// Usage.
    pub usage: Option<Bytes>,
    /// `memory.max`; `memory.limit_in_bytes` on v1.
    pub limit: Option<Limit>,
    /// Highest usage so far.
    pub peak: Option<Bytes>,
    /// Swap on v2, memory+swap on v1.
    pub swap_usage: Option<Bytes>,
    /// `memory.swap.max`; `memory.memsw.limit_in_bytes` on v1.
    pub swap_limit: Option<Limit>,
    /// `memory.oom.group` of this cgroup itself.
    pub oom_group: bool,
    /// Usage and limit of this cgroup and those above it, leaf first; empty where not read.
    pub levels: Vec<MemcgLevel>,
    /// `memory.stat` of that moment: only the kernel's log has it.
    pub stat: Option<MemcgStat>,
    /// How often its limit was met since it was made, as the kernel's log has it.
    pub failcnt: Option<u64>,
}

/// One level of a cgroup's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemcgLevel {
    /// Usage.
    pub usage: Option<Bytes>,
    /// Limit.
    pub limit: Option<Limit>,
}

/// Something that the report does not have, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The field or source, as the report or the kernel spells it.
    pub what: String,
    /// One of a few reasons, for people.
    pub why: String,
}

impl Gap {
    /// A gap.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}
