//! Bytes from the ring buffer → typed values. What is all ones on the wire becomes `None` here, and only here.

use std::fmt;

use crate::{
    ids::{CgroupId, CgroupPath, Comm, Tgid, Tid},
    incident::{Constraint, Memcg, MemcgLevel, Oom, Process, ProcessMemory},
    peek::{Fixed, Parts, parts, path_bytes},
    record as wire,
    units::{BoottimeNs, Bytes, Limit, PageSize, Pages},
};

/// A record, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which call of `oom_kill_process`, or which mark at level tracepoint; 0: none.
    pub incident: u64,
    /// When the hook ran.
    pub at: BoottimeNs,
    /// What it tells.
    pub body: Body,
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `oom_kill_process` was entered.
    Begin(Box<Begin>),
    /// `__oom_kill_process` was entered for this process.
    Victim(Box<Process>),
    /// This process was sent SIGKILL.
    Killed {
        /// Process id, unless the kernel passes a bare tid that no victim had.
        tgid: Option<Tgid>,
        /// Thread id that the kernel marked.
        tid: Option<Tid>,
    },
    /// `oom_kill_process` returned.
    End {
        /// How many were killed.
        killed: u32,
        /// How many were found already exiting.
        already_exiting: u32,
    },
    /// Level tracepoint: a process was marked.
    Marked(Box<Marked>),
    /// The agent's own task.
    Proof(Box<Process>),
}

/// The entry of `oom_kill_process`.
#[derive(Clone, Debug, PartialEq)]
pub struct Begin {
    /// The domain.
    pub oom: Oom,
    /// Who asked.
    pub trigger: Process,
    /// Who is to die.
    pub chosen: Process,
    /// Whose limit was hit.
    pub limit_owner: Option<Memcg>,
}

/// A mark at level tracepoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// The current task.
    pub trigger: Process,
    /// The marked process.
    pub victim: Process,
    /// `memory.oom.group` holds for the victim, so that marks of the same trigger belong together.
    pub group: bool,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than its kind asks for.
    TooShort {
        /// Bytes there are.
        len: usize,
    },
    /// The record says another length than it has.
    WrongSize {
        /// What it says.
        says: u16,
        /// What it has.
        len: usize,
    },
    /// Of a probe of another build.
    WrongVersion(u16),
    /// No such kind.
    UnknownKind(u16),
    /// A path lies outside the record.
    BadPath,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { len } => write!(f, "record of {len} bytes is too short for its kind"),
            Self::WrongSize { says, len } => write!(f, "record says {says} bytes and has {len}"),
            Self::WrongVersion(version) => write!(f, "record of wire version {version}"),
            Self::UnknownKind(kind) => write!(f, "record of unknown kind {kind}"),
            Self::BadPath => write!(f, "a cgroup path lies outside its record"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes one record.
///
/// # Errors
/// [`DecodeError`]; nothing of a record that is wrong anywhere is used.
pub fn decode(bytes: &[u8], page_size: PageSize) -> Result<Record, DecodeError> {
    let Parts { header, fixed, tail } = parts(bytes)?;
    let context = Context { page_size };
    let body = match fixed {
        Fixed::Begin(record) => context.begin(&record, tail)?,
        Fixed::Victim(record) => {
            Body::Victim(Box::new(context.process(&record.task, context.memcg(&record.memcg, &[], tail)?)))
        }
        Fixed::Killed(record) => {
            Body::Killed { tgid: read_u32(record.tgid).map(Tgid), tid: read_u32(record.tid).map(Tid) }
        }
        Fixed::End(record) => Body::End { killed: record.killed, already_exiting: record.already_exiting },
        Fixed::Marked(record) => context.marked(&record, tail)?,
        Fixed::Proof(record) => {
            Body::Proof(Box::new(context.process(&record.task, context.memcg(&record.memcg, &[], tail)?)))
        }
    };
    Ok(Record { incident: header.incident, at: BoottimeNs(header.boottime_ns), body })
}

/// What it takes to decode a record's parts.
pub(crate) struct Context {
    /// Of the kernel that wrote it.
    pub(crate) page_size: PageSize,
}

impl Context {
    fn begin(&self, record: &wire::Begin, tail: &[u8]) -> Result<Body, DecodeError> {
        let chosen_memcg = self.memcg(&record.chosen_memcg, &record.chosen_levels, tail)?;
        let oom = Oom {
            constraint: read_u32(record.oom.constraint).map(constraint),
            gfp_mask: read_u32(record.oom.gfp_mask),
            gfp_flags: None,
            order: (record.oom.order != wire::UNREAD_I32).then_some(record.oom.order),
            totalpages: read_u64(record.oom.totalpages).map(Pages),
            chosen_points: (record.oom.chosen_points != wire::UNREAD_I64).then_some(record.oom.chosen_points),
            message: message(&record.oom.message),
            group: is_group(&record.chosen_memcg),
        };
        Ok(Body::Begin(Box::new(Begin {
            oom,
            trigger: self.process(&record.trigger, self.memcg(&record.trigger_memcg, &[], tail)?),
            chosen: self.process(&record.chosen, chosen_memcg),
            limit_owner: self.memcg(&record.limit_owner, &[], tail)?,
        })))
    }

    fn marked(&self, record: &wire::Marked, tail: &[u8]) -> Result<Body, DecodeError> {
        let memcg = self.memcg(&record.memcg, &record.levels, tail)?;
        Ok(Body::Marked(Box::new(Marked {
            trigger: self.process(&record.trigger, self.memcg(&record.trigger_memcg, &[], tail)?),
            victim: self.process(&record.task, memcg),
            group: is_group(&record.memcg),
        })))
    }

    pub(crate) fn process(&self, task: &wire::Task, memcg: Option<Memcg>) -> Process {
        let memory = (task.flags & wire::TASK_HAS_MM != 0).then(|| ProcessMemory {
            total_vm: self.pages(task.total_vm),
            rss_anon: self.pages(task.rss_anon),
            rss_file: self.pages(task.rss_file),
            rss_shmem: self.pages(task.rss_shmem),
            swap: self.pages(task.swapents),
            pgtables: read_u64(task.pgtables_bytes).map(Bytes),
            hiwater_rss: self.peak(task),
            exact: task.flags & wire::TASK_RSS_EXACT != 0,
        });
        Process {
            tgid: read_u32(task.tgid).map(Tgid),
            tid: read_u32(task.tid).map(Tid),
            comm: comm(task.comm),
            leader_comm: comm(task.leader_comm),
            uid: read_u32(task.uid),
            oom_score_adj: (task.oom_score_adj != wire::UNREAD_I16).then_some(task.oom_score_adj),
            pid_in_namespace: read_u32(task.pid_in_namespace),
            parent_tgid: read_u32(task.parent_tgid).map(Tgid),
            parent_comm: comm(task.parent_comm),
            started: read_u64(task.start_boottime_ns).map(BoottimeNs),
            memory,
            memcg,
            shares_memory_with: (task.shares_mm_with != 0).then_some(Tgid(task.shares_mm_with)),
            kthread: task.flags & wire::TASK_KTHREAD != 0,
        }
    }

    pub(crate) fn memcg(
        &self,
        memcg: &wire::Memcg,
        levels: &[wire::MemcgLevel],
        tail: &[u8],
    ) -> Result<Option<Memcg>, DecodeError> {
        let Some(path) = path_bytes(memcg, tail)? else { return Ok(None) };
        // The root of the path is the last level, and its depth is one more than the components'.
        let known_levels = levels.iter().take((memcg.depth as usize).saturating_add(1));
        Ok(Some(Memcg {
            path: path_of(path, memcg.flags & wire::MEMCG_TRUNCATED != 0),
            v2: read_u32(memcg.hierarchy_id).map(|id| id == 0),
            id: read_u64(memcg.cgroup_id).map(CgroupId),
            usage: self.pages(memcg.usage),
            limit: self.limit(memcg.max),
            peak: self.pages(memcg.watermark),
            swap_usage: self.pages(memcg.swap_usage),
            swap_limit: self.limit(memcg.swap_max),
            oom_group: memcg.flags & wire::MEMCG_OOM_GROUP != 0,
            levels: known_levels
                .map(|level| MemcgLevel { usage: self.pages(level.usage), limit: self.limit(level.max) })
                .collect(),
            stat: None,
            failcnt: None,
        }))
    }

    fn pages(&self, value: u64) -> Option<Bytes> {
        read_u64(value).map(|pages| self.page_size.bytes(Pages(pages)))
    }

    /// As `get_mm_hiwater_rss` has it (include/linux/mm.h): the field is only raised when memory is unmapped, and stays
    /// 0 till then.
    fn peak(&self, task: &wire::Task) -> Option<Bytes> {
        let parts = [task.rss_anon, task.rss_file, task.rss_shmem].map(|part| self.pages(part));
        let present = parts.into_iter().try_fold(0_u64, |sum, part| Some(sum.saturating_add(part?.0)))?;
        Some(self.pages(task.hiwater_rss)?.max(Bytes(present)))
    }

    fn limit(&self, value: u64) -> Option<Limit> {
        let pages = Pages(read_u64(value)?);
        let limited = pages < self.page_size.unlimited();
        Some(if limited { Limit::Bytes(self.page_size.bytes(pages)) } else { Limit::Unlimited })
    }
}

/// `memory.oom.group` is a thing of cgroup v2 only (`mem_cgroup_get_oom_group`, mm/memcontrol.c).
pub(crate) fn is_group(memcg: &wire::Memcg) -> bool {
    memcg.flags & wire::MEMCG_OOM_GROUP_EFFECTIVE != 0 && memcg.hierarchy_id == 0
}

/// Components come leaf first, each ended by NUL.
fn path_of(path: &[u8], truncated: bool) -> CgroupPath {
    let mut components: Vec<Vec<u8>> =
        path.split(|&byte| byte == 0).filter(|component| !component.is_empty()).map(<[u8]>::to_vec).collect();
    components.reverse();
    CgroupPath { components, truncated }
}

fn message(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|&byte| byte == 0).next()?;
    (text.len() < bytes.len()).then(|| String::from_utf8_lossy(text).into_owned())
}

pub(crate) fn comm(bytes: [u8; wire::COMM_LEN]) -> Option<Comm> {
    (bytes != wire::UNREAD_COMM).then(|| Comm::new(&bytes))
}

pub(crate) fn constraint(value: u32) -> Constraint {
    match value {
        0 => Constraint::None,
        1 => Constraint::Cpuset,
        2 => Constraint::MemoryPolicy,
        3 => Constraint::Memcg,
        unknown => Constraint::Unknown(unknown),
    }
}

pub(crate) fn read_u64(value: u64) -> Option<u64> {
    (value != wire::UNREAD_U64).then_some(value)
}

pub(crate) fn read_u32(value: u32) -> Option<u32> {
    (value != wire::UNREAD_U32).then_some(value)
}

#[cfg(test)]
pub(crate) mod tests;
