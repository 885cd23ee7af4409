//! A record, looked at where it lies: who, which cgroups, which invocation. Nothing is allocated.
//!
//! That is all the capture thread needs to know while a victim dies; [`crate::decode`] takes the same record apart
//! later. What is a record for the one is a record for the other.

use zerocopy::FromBytes as _;

use crate::{
    decode::{self, DecodeError, is_group, read_u32, read_u64},
    ids::{CgroupId, Tgid, Tid},
    incident::Constraint,
    record::{self as wire, RecordKind},
    units::BoottimeNs,
};

/// A record's two parts.
pub(crate) struct Parts<'a> {
    pub(crate) header: wire::Header,
    pub(crate) fixed: Fixed,
    pub(crate) tail: &'a [u8],
}

/// The structure that a record begins with.
pub(crate) enum Fixed {
    Begin(wire::Begin),
    Victim(wire::Victim),
    Killed(wire::Killed),
    End(wire::End),
    Marked(wire::Marked),
    Proof(wire::Proof),
}

/// Takes a record's parts, by its header.
pub(crate) fn parts(bytes: &[u8]) -> Result<Parts<'_>, DecodeError> {
    let too_short = DecodeError::TooShort { len: bytes.len() };
    let (header, _) = wire::Header::read_from_prefix(bytes).map_err(|_| too_short)?;
    if header.version != wire::WIRE_VERSION {
        return Err(DecodeError::WrongVersion(header.version));
    }
    // The ring buffer rounds a record up to 8 bytes; the header has the true length.
    let bytes = bytes
        .get(..usize::from(header.size))
        .ok_or(DecodeError::WrongSize { says: header.size, len: bytes.len() })?;
    macro_rules! read {
        ($kind:ident) => {{
            let (record, tail) = wire::$kind::read_from_prefix(bytes).map_err(|_| too_short)?;
            (Fixed::$kind(record), tail)
        }};
    }
    let (fixed, tail) = match header.kind {
        kind if kind == RecordKind::Begin as u16 => {
            let (mut record, tail) = wire::Begin::read_from_prefix(bytes).map_err(|_| too_short)?;
            tell_what_is_the_same(&mut record);
            (Fixed::Begin(record), tail)
        }
        kind if kind == RecordKind::Victim as u16 => read!(Victim),
        kind if kind == RecordKind::Killed as u16 => read!(Killed),
        kind if kind == RecordKind::End as u16 => read!(End),
        kind if kind == RecordKind::Marked as u16 => read!(Marked),
        kind if kind == RecordKind::Proof as u16 => read!(Proof),
        unknown => return Err(DecodeError::UnknownKind(unknown)),
    };
    Ok(Parts { header, fixed, tail })
}

/// Mostly a process asks at its own cgroup's limit, and dies for it: then the probe says so, and does not say it all
/// three times.
fn tell_what_is_the_same(record: &mut wire::Begin) {
    if record.trigger.flags & wire::TASK_AS_CHOSEN != 0 {
        // Whose memory it shares is looked for of the chosen one alone.
        record.trigger = wire::Task { shares_mm_with: 0, ..record.chosen };
    }
    for memcg in [&mut record.trigger_memcg, &mut record.limit_owner] {
        if memcg.flags & wire::MEMCG_AS_CHOSEN != 0 {
            *memcg = record.chosen_memcg;
        }
    }
}

/// A record's essentials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peek<'a> {
    /// Which call of `oom_kill_process`, or which mark at level tracepoint; 0: none.
    pub incident: u64,
    /// When the hook ran.
    pub at: BoottimeNs,
    /// On which CPU.
    pub cpu: u16,
    /// What it tells.
    pub tells: Tells<'a>,
}

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tells<'a> {
    /// `oom_kill_process` was entered.
    Begin {
        /// Who asked.
        trigger: Identity,
        /// Who is to die.
        chosen: Identity,
        /// Where the chosen one lives.
        cgroup: Option<CgroupView<'a>>,
        /// Whose limit was hit.
        limit_owner: Option<CgroupView<'a>>,
        /// All of the chosen one's cgroup is to die with it.
        group: bool,
        /// It had not begun to exit, so that the kernel will not pass it over.
        whole: bool,
        /// It is a cgroup's limit, and more than half of what is charged there is the chosen one's anonymous memory.
        fills_limit: bool,
        /// An invocation before this one has ended, and killed its chosen process alone.
        ended: Option<u64>,
    },
    /// `__oom_kill_process` was entered for this process.
    Victim(Identity, Option<CgroupView<'a>>),
    /// This process was sent SIGKILL.
    Killed(Identity),
    /// `oom_kill_process` returned.
    End {
        /// How many were killed.
        killed: u32,
    },
    /// Level tracepoint: a process was marked.
    Marked {
        /// The current task.
        trigger: Identity,
        /// The marked process.
        victim: Identity,
        /// Where it lives; `None` where the kernel passes a bare pid.
        cgroup: Option<CgroupView<'a>>,
        /// `memory.oom.group` holds for it.
        group: bool,
        /// How many processes of that cgroup the kernel has counted as killed by now.
        oom_kills: Option<u64>,
    },
    /// The agent's own task.
    Proof(Identity, Option<CgroupView<'a>>),
}

/// Which process. `None`: not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id.
    pub tgid: Option<Tgid>,
    /// The thread that still had the address space.
    pub tid: Option<Tid>,
    /// Start of the process.
    pub started: Option<BoottimeNs>,
    /// A kernel thread.
    pub kthread: bool,
}

impl Identity {
    /// The number that its files below `/proc` go by: its own, or that of the one thread that is known of it.
    pub fn number(&self) -> Option<Tgid> {
        self.tgid.or(self.tid.map(|Tid(tid)| Tgid(tid)))
    }

    /// The same process: the number alone may have been given to another one since.
    pub fn is_same(&self, other: &Self) -> bool {
        if self.tgid.is_none() {
            return self.tid.is_some() && self.tid == other.tid;
        }
        self.tgid == other.tgid && self.started == other.started
    }
}

/// A memory cgroup, as far as it takes to find its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupView<'a> {
    /// kernfs id.
    pub id: Option<CgroupId>,
    /// `Some(true)` on cgroup v2, `Some(false)` on v1.
    pub v2: Option<bool>,
    /// The upper end of the path is missing.
    pub truncated: bool,
    path: &'a [u8],
}

impl<'a> CgroupView<'a> {
    /// Names from the root of the hierarchy down, the root's own left out. None of them has a NUL.
    pub fn components(&self) -> impl Iterator<Item = &'a [u8]> {
        self.path.rsplit(|&byte| byte == 0).filter(|component| !component.is_empty())
    }
}

impl Peek<'_> {
    /// Whether it says that a process was killed.
    pub fn tells_a_kill(&self) -> bool {
        matches!(self.tells, Tells::Killed(_) | Tells::Marked { .. })
    }
}

/// Looks at one record.
///
/// # Errors
/// As [`crate::decode::decode`].
pub fn peek(bytes: &[u8]) -> Result<Peek<'_>, DecodeError> {
    let Parts { header, fixed, tail } = parts(bytes)?;
    let tells = match fixed {
        Fixed::Begin(record) => {
            view(&record.trigger_memcg, tail)?;
            Tells::Begin {
                trigger: identity(&record.trigger),
                chosen: identity(&record.chosen),
                cgroup: view(&record.chosen_memcg, tail)?,
                limit_owner: view(&record.limit_owner, tail)?,
                group: is_group(&record.chosen_memcg),
                whole: record.chosen.flags & (wire::TASK_HAS_MM | wire::TASK_EXITING) == wire::TASK_HAS_MM,
                fills_limit: fills_limit(&record),
                ended: ended_before(header.incident, record.oom.untold_end),
            }
        }
        Fixed::Victim(record) => Tells::Victim(identity(&record.task), view(&record.memcg, tail)?),
        Fixed::Killed(record) => Tells::Killed(Identity {
            tgid: read_u32(record.tgid).map(Tgid),
            tid: read_u32(record.tid).map(Tid),
            ..Identity::default()
        }),
        Fixed::End(record) => Tells::End { killed: record.killed },
        Fixed::Marked(record) => {
            view(&record.trigger_memcg, tail)?;
            Tells::Marked {
                trigger: identity(&record.trigger),
                victim: identity(&record.task),
                cgroup: view(&record.memcg, tail)?,
                group: is_group(&record.memcg),
                oom_kills: read_u64(record.oom_kills),
            }
        }
        Fixed::Proof(record) => Tells::Proof(identity(&record.task), view(&record.memcg, tail)?),
    };
    Ok(Peek { incident: header.incident, at: BoottimeNs(header.boottime_ns), cpu: header.cpu, tells })
}

/// The whole number of an invocation before `incident`.
fn ended_before(incident: u64, untold_end: u32) -> Option<u64> {
    let distance = incident.wrapping_sub(u64::from(untold_end)) & u64::from(u32::MAX);
    (untold_end != 0).then(|| incident.saturating_sub(distance))
}

fn fills_limit(record: &wire::Begin) -> bool {
    let has_memory = record.chosen.flags & wire::TASK_HAS_MM != 0;
    let anon = read_u64(record.chosen.rss_anon).filter(|_| has_memory);
    let (usage, constraint) = (read_u64(record.limit_owner.usage), read_u32(record.oom.constraint));
    constraint.map(decode::constraint) == Some(Constraint::Memcg)
        && anon.zip(usage).is_some_and(|(anon, usage)| anon > usage / 2)
}

fn identity(task: &wire::Task) -> Identity {
    Identity {
        tgid: read_u32(task.tgid).map(Tgid),
        tid: read_u32(task.tid).map(Tid),
        started: read_u64(task.start_boottime_ns).map(BoottimeNs),
        kthread: task.flags & wire::TASK_KTHREAD != 0,
    }
}

fn view<'a>(memcg: &wire::Memcg, tail: &'a [u8]) -> Result<Option<CgroupView<'a>>, DecodeError> {
    let Some(path) = path_bytes(memcg, tail)? else { return Ok(None) };
    Ok(Some(CgroupView {
        id: read_u64(memcg.cgroup_id).map(CgroupId),
        v2: read_u32(memcg.hierarchy_id).map(|id| id == 0),
        truncated: memcg.flags & wire::MEMCG_TRUNCATED != 0,
        path,
    }))
}

/// Where a cgroup's path lies in the tail; `None` where there was no cgroup.
pub(crate) fn path_bytes<'a>(memcg: &wire::Memcg, tail: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    if memcg.flags & wire::MEMCG_KNOWN == 0 {
        return Ok(None);
    }
    let start = memcg.path_offset as usize;
    let path = start.checked_add(memcg.path_len as usize).and_then(|end| tail.get(start..end));
    path.map(Some).ok_or(DecodeError::BadPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_number_stands_for_the_last_one_that_ends_with_it() {
        let low = u64::from(u32::MAX);
        let cases = [
            (2, 1, Some(1)),
            (2, 0, None),
            (low + 3, 2, Some(low + 3)),
            (low + 2, u32::MAX, Some(low)),
            (1, 7, Some(0)),
        ];
        for (incident, half, expected) in cases {
            assert_eq!(ended_before(incident, half), expected, "{incident} {half}");
        }
    }
}
