//! What can be said of a kill at once: by the probe's first record of it, before anything was read.
//!
//! A line for people rests on that record alone, as a rule: who, where, how much, whose limit, who asked. So it is out
//! before the victim is gone, and whatever the files take. Where the report will have more to say in its line, it is
//! left to that.

use zerocopy::IntoBytes as _;

use crate::{
    attribution::Attribution,
    decode::{self, DecodeError, comm, constraint, read_u32, read_u64},
    diagnose::Cause,
    ids::{Tgid, Tid},
    incident::{Incident, Oom, ProbeLevel, Process},
    peek::{Fixed, Parts, Peek, Tells, parts},
    record as wire,
    report::{Context, Report},
    units::{BoottimeNs, Bytes, PageSize, Pages},
};

/// Whether a record tells of a kill that will take place, by a cgroup's limit, and of all of it: not one of a group,
/// whose other members are not known yet, and not of a process that is exiting already. Of a node that is out of
/// memory nothing is said before there is some again. A mark at level tracepoint may be none of a kill: whether it is,
/// is the caller's to prove.
pub fn is_foretold(record: &Peek<'_>) -> bool {
    match record.tells {
        Tells::Begin { chosen, limit_owner, group, whole, .. } => {
            whole && !group && limit_owner.is_some() && chosen.tgid.is_some()
        }
        Tells::Marked { victim, cgroup, group, .. } => !group && cgroup.is_some() && victim.tgid.is_some(),
        _ => false,
    }
}

/// Whether a record that foretells a kill says by itself that the line made of it [`is_whole`], once the names of the
/// victim's pod are known or nobody knows them.
pub fn is_certain(record: &Peek<'_>) -> bool {
    match record.tells {
        Tells::Begin { limit_owner: Some(owner), fills_limit, .. } => fills_limit && !owner.truncated,
        _ => false,
    }
}

/// The first record of a kill that never was, by which all that a line takes can be gone through before there is one.
pub fn example() -> Vec<u8> {
    const PATH: &[u8] = b"oomwatch.service\0system.slice\0";
    let mut comm = [0; wire::COMM_LEN];
    comm.iter_mut().zip(b"oomwatch").for_each(|(to, from)| *to = *from);
    let (tgid, tid, uid, rss_anon, rss_file) = (2, 2, 1, 200, 1);
    let flags = wire::TASK_KNOWN | wire::TASK_HAS_MM;
    let task = wire::Task { rss_file, rss_anon, tgid, tid, uid, flags, comm, ..wire::UNREAD_TASK };
    let (usage, max, hierarchy_id, flags) = (250, 256, 0, wire::MEMCG_KNOWN);
    let (path_len, depth) = (u32::try_from(PATH.len()).unwrap_or(0), 2);
    let memcg = wire::Memcg { usage, max, hierarchy_id, path_len, depth, flags, ..wire::UNREAD_MEMCG };
    let begin = wire::Begin {
        header: wire::Header {
            version: wire::WIRE_VERSION,
            kind: wire::RecordKind::Begin as u16,
            size: u16::try_from(size_of::<wire::Begin>() + PATH.len()).unwrap_or(0),
            cpu: 0,
            incident: 1,
            boottime_ns: 1,
        },
        oom: wire::OomControl {
            totalpages: max,
            chosen_points: 200,
            gfp_mask: 0,
            order: 0,
            // CONSTRAINT_MEMCG (include/linux/oom.h)
            constraint: 3,
            untold_end: 0,
            message: [0; wire::MESSAGE_LEN],
        },
        trigger: task,
        chosen: task,
        trigger_memcg: memcg,
        chosen_memcg: memcg,
        limit_owner: memcg,
        chosen_levels: [wire::MemcgLevel { usage, max }; wire::MEMCG_LEVELS],
    };
    [begin.as_bytes(), PATH].concat()
}

/// The incident of such a record, as if the kernel had done already what it is about to do; of it, what a line shows.
///
/// # Errors
/// The bytes are no record.
pub fn incident(raw: &[u8], page_size: PageSize) -> Result<Option<Incident>, DecodeError> {
    let Parts { header, fixed, tail } = parts(raw)?;
    let context = decode::Context { page_size };
    let (level, oom, trigger, victim, limit_owner) = match fixed {
        Fixed::Begin(record) => {
            let memcg = context.memcg(&record.chosen_memcg, &record.chosen_levels, tail)?;
            let oom = Oom {
                constraint: read_u32(record.oom.constraint).map(constraint),
                totalpages: read_u64(record.oom.totalpages).map(Pages),
                ..Oom::default()
            };
            let victim = context.process(&record.chosen, memcg);
            let limit_owner = context.memcg(&record.limit_owner, &[], tail)?;
            (ProbeLevel::Kprobe, Some(oom), named(&record.trigger), victim, limit_owner)
        }
        Fixed::Marked(record) => {
            let memcg = context.memcg(&record.memcg, &record.levels, tail)?;
            let victim = context.process(&record.task, memcg);
            (ProbeLevel::Tracepoint, None, named(&record.trigger), victim, None)
        }
        _ => return Ok(None),
    };
    let (number, at) = (header.incident, BoottimeNs(header.boottime_ns));
    let (trigger, victims) = (Some(trigger), vec![victim]);
    Ok(Some(Incident { number, at, level, oom, trigger, victims, limit_owner, gaps: Vec::new() }))
}

/// Who a task is, and no more.
fn named(task: &wire::Task) -> Process {
    Process {
        tgid: read_u32(task.tgid).map(Tgid),
        tid: read_u32(task.tid).map(Tid),
        comm: comm(task.comm),
        kthread: task.flags & wire::TASK_KTHREAD != 0,
        ..Process::default()
    }
}

/// The report of that incident so far, for a line of [`crate::render_text`] or [`crate::render_bcc`].
pub fn report(incident: &Incident, attribution: &Attribution, context: &Context) -> Report {
    Report::unread(incident, attribution, context)
}

/// Whether the line of that report, as [`crate::render_text`] has it, is what it will be when all has been read.
pub fn is_whole(report: &Report) -> bool {
    match report.cause {
        Cause::ContainerLimit | Cause::PodLimit | Cause::SystemServiceLimit => victim_has_most(report),
        Cause::QosLimit | Cause::NodeAllocatable => true,
        _ => false,
    }
}

/// Then no other kind of memory fills the limit, which the line would name.
fn victim_has_most(report: &Report) -> bool {
    // At level tracepoint nobody's figures are known, and none are named.
    let Some(owner) = &report.limit_owner else { return true };
    let anon = report.victims.first().and_then(|victim| victim.rss?.anon_bytes);
    anon.zip(owner.usage_bytes).is_some_and(|(Bytes(anon), Bytes(usage))| anon > usage / 2)
}

#[cfg(test)]
mod tests;
