//! Victims and trigger in a report.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Kubernetes, build::Context, cgroup::is_false};
use crate::{
    escape::escape,
    ids::{CgroupPath, Comm, Tgid, Tid},
    incident::{Process, ProcessMemory},
    proc_text::Status,
    snapshot::{ProcessFiles, Snapshot},
    units::Bytes,
};

/// A process that was sent SIGKILL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Victim {
    /// Process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tgid: Option<u32>,
    /// Thread id of the thread that the kernel names in its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// Name of that thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Name of the process's first thread, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_comm: Option<String>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<Vec<String>>,
    /// Program file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Real user id, initial user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// -1000 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i64>,
    /// `/proc/PID/oom_score`: 0 to 2000, the higher the sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score: Option<u64>,
    /// Resident memory when the hook ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss: Option<Rss>,
    /// Swapped out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_bytes: Option<Bytes>,
    /// Page tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pgtables_bytes: Option<Bytes>,
    /// Address space, used or not: never to be held against a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_vm_bytes: Option<Bytes>,
    /// Highest RSS so far, where the kernel noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hiwater_rss_bytes: Option<Bytes>,
    /// RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Process id inside its own pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_in_namespace: Option<u32>,
    /// The real parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Process id of another process with the same memory, which the kernel killed with it and told nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_memory_with: Option<u32>,
    /// Path of its memory cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// `/proc/PID/status`, read while it lived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Where what is known of the process is from.
    pub status_from: StatusFrom,
}

/// Resident memory by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rss {
    /// Anonymous memory: heap, stacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_bytes: Option<Bytes>,
    /// Mapped files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<Bytes>,
    /// Shared memory and tmpfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shmem_bytes: Option<Bytes>,
    /// Summed over all CPUs; else what the kernel's own log prints, which may be off.
    pub exact: bool,
}

impl Rss {
    /// All that is known of it together.
    pub fn total(&self) -> Bytes {
        let parts = [self.anon_bytes, self.file_bytes, self.shmem_bytes];
        Bytes(parts.into_iter().flatten().fold(0, |sum, Bytes(part)| sum.saturating_add(part)))
    }
}

/// Where what is known of a process is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusFrom {
    /// From the probe and from `/proc`.
    Proc,
    /// From the probe alone: `/proc` could not be read in time.
    #[default]
    Kernel,
}

/// A parent process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Process id.
    pub tgid: u32,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
}

/// The task whose allocation invoked the OOM killer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tgid: Option<u32>,
    /// Thread id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// Name of the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Name of the process's first thread, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_comm: Option<String>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<Vec<String>>,
    /// Real user id, initial user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// -1000 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i64>,
    /// Path of its memory cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its pod and container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// A kernel thread: it has no command line. Absent otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub kernel_thread: bool,
}

impl Victim {
    pub(super) fn new(process: &Process, snapshot: &Snapshot, context: &Context) -> Self {
        let none = ProcessFiles::default();
        let files = subject(process).and_then(|tgid| snapshot.process(tgid)).unwrap_or(&none);
        let memory = process.memory.unwrap_or_default();
        Self {
            cmdline: files.cmdline.clone(),
            exe: files.exe.clone(),
            oom_score_adj: process.oom_score_adj.map(i64::from).or(files.oom_score_adj),
            oom_score: files.oom_score,
            swap_bytes: memory.swap,
            pgtables_bytes: memory.pgtables,
            total_vm_bytes: memory.total_vm,
            hiwater_rss_bytes: memory.hiwater_rss,
            started_at: process.started.and_then(|at| context.time(at)).map(rfc3339),
            pid_in_namespace: process.pid_in_namespace,
            parent: process
                .parent_tgid
                .map(|Tgid(tgid)| Parent { tgid, comm: text(process.parent_comm.as_ref()) }),
            shares_memory_with: process.shares_memory_with.map(|Tgid(tgid)| tgid),
            status: files.status.clone(),
            status_from: if files.status.is_some() { StatusFrom::Proc } else { StatusFrom::Kernel },
            ..Self::of_line(process, memory_cgroup(process, snapshot))
        }
    }

    /// As far as a line shows it.
    pub(super) fn of_line(process: &Process, cgroup: Option<&CgroupPath>) -> Self {
        Self {
            tgid: process.tgid.map(|Tgid(tgid)| tgid),
            tid: process.tid.map(|Tid(tid)| tid),
            comm: text(process.comm.as_ref()),
            leader_comm: leader_comm(process),
            uid: process.uid,
            rss: process.memory.and_then(rss),
            cgroup: cgroup.map(path_text),
            ..Self::default()
        }
    }
}

impl Trigger {
    pub(super) fn new(process: &Process, snapshot: &Snapshot, kubernetes: Option<Kubernetes>) -> Self {
        let none = ProcessFiles::default();
        let files = subject(process).and_then(|tgid| snapshot.process(tgid)).unwrap_or(&none);
        Self {
            leader_comm: leader_comm(process),
            cmdline: files.cmdline.clone(),
            uid: process.uid,
            oom_score_adj: process.oom_score_adj.map(i64::from).or(files.oom_score_adj),
            cgroup: memory_cgroup(process, snapshot).map(path_text),
            kubernetes,
            ..Self::of_line(process)
        }
    }

    /// As far as a line shows it.
    pub(super) fn of_line(process: &Process) -> Self {
        Self {
            tgid: process.tgid.map(|Tgid(tgid)| tgid),
            tid: process.tid.map(|Tid(tid)| tid),
            comm: text(process.comm.as_ref()),
            kernel_thread: process.kthread,
            ..Self::default()
        }
    }
}

/// Under which id the capture thread reads a process: its thread id, where no other is known.
pub(crate) fn subject(process: &Process) -> Option<Tgid> {
    process.tgid.or(process.tid.map(|Tid(tid)| Tgid(tid)))
}

/// RFC 3339 with microseconds.
pub(super) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn rss(memory: ProcessMemory) -> Option<Rss> {
    let rss = Rss {
        anon_bytes: memory.rss_anon,
        file_bytes: memory.rss_file,
        shmem_bytes: memory.rss_shmem,
        exact: memory.exact,
    };
    (rss.anon_bytes.is_some() || rss.file_bytes.is_some() || rss.shmem_bytes.is_some()).then_some(rss)
}

fn text(comm: Option<&Comm>) -> Option<String> {
    comm.map(|comm| escape(comm.as_bytes()))
}

fn leader_comm(process: &Process) -> Option<String> {
    text(process.leader_comm.as_ref().filter(|leader| process.comm.as_ref() != Some(leader)))
}

/// Its memory cgroup: the probe's, which is from the real root, before that of `/proc`.
pub(crate) fn memory_cgroup<'a>(process: &'a Process, snapshot: &'a Snapshot) -> Option<&'a CgroupPath> {
    let from_proc = || snapshot.process(subject(process)?)?.cgroup.as_ref().map(|(path, _)| path);
    process.memcg.as_ref().map(|memcg| &memcg.path).or_else(from_proc)
}

fn path_text(path: &CgroupPath) -> String {
    escape(&path.to_bytes())
}
