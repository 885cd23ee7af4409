//! An invocation's lines, all of them → the incident.

use super::{Logged, Open};
use crate::{
    escape::escape,
    ids::{CgroupPath, Tgid, Tid},
    incident::{Constraint, Gap, Incident, Memcg, Oom, ProbeLevel, Process, ProcessMemory},
    kernel_log::{
        header::{Counted, Counter},
        kills::Killed,
        summary::Summary,
        tasks::TaskRow,
        text::split,
    },
    scope,
    units::{BoottimeNs, Bytes, PageSize},
};

/// What is left of a container's name must leave no doubt.
const LEAST_OF_A_NAME: usize = 16;

const NO_HEADER: &str =
    "the kernel's log has no header for this kill: it prints 10 of them in 5 s at most, or the log was cut";

pub(super) fn logged(mut open: Open, number: u64, exact_rss: bool, assumed: PageSize) -> Logged {
    let page_size = page_size(&open, assumed).unwrap_or(assumed);
    for row in &mut open.tasks {
        row.rescale(assumed, page_size);
    }
    let summary = open.killed.first().and_then(|first| open.summary(first));
    let exact =
        open.stack.as_ref().map_or(exact_rss, |stack| stack.release.is_some() && stack.prints_exact_rss());
    let mut gaps = Vec::new();
    let mut victims: Vec<Process> = Vec::new();
    for killed in &open.killed {
        let victim = victim(&open, killed, summary.as_ref().filter(|_| victims.is_empty()), exact);
        if open.row(killed.tid).is_none()
            && victim.tid.map(|Tid(tid)| tid) == victim.tgid.map(|Tgid(tgid)| tgid)
        {
            let what = format!("victims[{}].tgid", victims.len());
            gaps.push(Gap::new(what, "the log has a thread's id, taken for the process's"));
        }
        victims.push(victim);
    }
    for (tid, comm) in std::mem::take(&mut open.sharers) {
        if !victims.iter().any(|victim| victim.tid == Some(tid)) {
            victims.push(Process { comm: Some(comm), ..process(open.row(tid), tid) });
        }
    }
    let (limit_owner, trigger) = (limit_owner(&open, summary.as_ref()), trigger(&open, &victims));
    let oom = oom(&open, summary.as_ref(), &mut gaps);
    if open.invoked.is_none() {
        let absent = [("oom", oom.is_none()), ("limit_owner", limit_owner.is_none()), ("trigger", true)];
        for (what, _) in absent.iter().filter(|(_, is_absent)| *is_absent) {
            gaps.push(Gap::new(*what, NO_HEADER));
        }
    }
    if open.is_presumed {
        gaps.push(Gap::new(
            "victims",
            "the log does not say who was killed: this is the process that was chosen",
        ));
    }
    if open.lost {
        gaps.push(Gap::new("victims", "records of the kernel's log were lost: there may be more"));
    }
    let first = open.first_micros.unwrap_or_default();
    Logged {
        incident: Incident {
            number,
            at: BoottimeNs(first.saturating_mul(1000)),
            level: ProbeLevel::Kmsg,
            oom,
            trigger,
            victims,
            limit_owner,
            gaps,
        },
        wall: open.wall.as_deref().map(escape),
        host: open.host.as_deref().map(escape),
        boot_id: open.boot_id.as_deref().map(escape),
        line: open.line,
        page_size,
        sequences: open.sequences,
        kills: open.kills,
        tasks: open.tasks,
        node: open.node,
        release: open.stack.and_then(|stack| stack.release),
    }
}

/// The table counts pages and the line of the kill kB, of the same address space.
fn page_size(open: &Open, assumed: PageSize) -> Option<PageSize> {
    open.killed.iter().find_map(|killed| {
        let (Bytes(size), Bytes(listed)) = (killed.total_vm?, open.row(killed.tid)?.total_vm?);
        let pages = listed / assumed.get().0;
        let is_whole = pages > 0 && size.is_multiple_of(pages);
        // x86 has 4 KiB, arm64 and powerpc have up to 64.
        let page_size = PageSize::new(size / pages.max(1)).filter(|page_size| page_size.get().0 <= 64 << 10);
        page_size.filter(|_| is_whole)
    })
}

/// A process as the table lists it.
fn process(row: Option<&TaskRow>, tid: Tid) -> Process {
    let none = TaskRow::default();
    let row = row.unwrap_or(&none);
    Process {
        tid: Some(tid),
        // Every kernel since 2.6.36 lists tgid; where the table was not printed, the two are nearly always one.
        tgid: row.tgid.or(Some(Tgid(tid.0))),
        comm: row.comm.clone(),
        uid: row.uid,
        oom_score_adj: row.oom_score_adj,
        ..Process::default()
    }
}

/// `summary`: where this is the process that was chosen.
fn victim(open: &Open, killed: &Killed, summary: Option<&Summary>, exact: bool) -> Process {
    let listed = open.row(killed.tid);
    let mut victim = process(listed, killed.tid);
    victim.comm = Some(killed.comm.clone());
    victim.uid = killed.uid.or(victim.uid);
    victim.oom_score_adj = killed.oom_score_adj.or(victim.oom_score_adj);
    // Until 5.4.8 the line's page tables are bytes, though it says kB; the table's are right.
    let pgtables = listed.and_then(|row| row.pgtables).or(killed.pgtables);
    victim.memory = Some(ProcessMemory {
        total_vm: killed.total_vm,
        rss_anon: killed.rss_anon,
        rss_file: killed.rss_file,
        rss_shmem: killed.rss_shmem,
        swap: listed.and_then(|row| row.swap),
        pgtables,
        hiwater_rss: None,
        exact,
    });
    let task = summary.and_then(|summary| summary.task.as_ref());
    // The chosen process's first thread may have gone before: the kernel then kills another thread's.
    if let Some(task) = task.filter(|task| open.choice.is_none() && task.tid != killed.tid) {
        victim.tgid = listed.and_then(|row| row.tgid).or(Some(Tgid(task.tid.0)));
        victim.leader_comm = (victim.tgid == Some(Tgid(task.tid.0))).then(|| task.comm.clone());
    }
    victim.uid = victim.uid.or_else(|| task.filter(|task| task.tid == killed.tid).map(|task| task.uid));
    let is_first = open.killed.first().is_some_and(|first| first.tid == killed.tid);
    let path = summary.and_then(|summary| summary.task_memcg.clone());
    let path = path.or_else(|| open.task_in.as_ref().filter(|_| is_first).map(|(task, _)| task.clone()));
    let path = path.or_else(|| mended(open).filter(|_| is_first));
    victim.memcg = path.map(|path| memcg(open, path, summary));
    victim
}

/// The victim's cgroup of a line that a pager cut: where the trigger's cpuset is the same, its name is whole.
fn mended(open: &Open) -> Option<CgroupPath> {
    let (name, _) = split(open.cpuset.as_deref()?, " mems_allowed=")?;
    let mut path = open.task_cut.clone()?;
    let last = path.components.last_mut().filter(|last| last.len() >= LEAST_OF_A_NAME)?;
    name.starts_with(last).then(|| *last = name.to_vec())?;
    Some(path)
}

/// A cgroup, with the header's counters where they are its own.
fn memcg(open: &Open, path: CgroupPath, summary: Option<&Summary>) -> Memcg {
    let mut memcg = Memcg { path, ..Memcg::default() };
    if owner_path(open, summary).as_ref() != Some(&memcg.path) {
        memcg.v2 = version(open);
        return memcg;
    }
    let counter =
        |which| open.counters.iter().find(|(counted, _)| *counted == which).map(|(_, counter)| counter);
    let set = |counter: Option<&Counter>| (counter.map(|read| read.usage), counter.map(|read| read.limit));
    (memcg.usage, memcg.limit) = set(counter(Counted::Memory));
    memcg.v2 = version(open);
    (memcg.swap_usage, memcg.swap_limit) = match memcg.v2 {
        Some(true) => set(counter(Counted::Swap)),
        // 0 where the kernel was told not to account for swap.
        Some(false) => set(counter(Counted::MemoryAndSwap).filter(|both| both.usage != Bytes(0))),
        None => (None, None),
    };
    memcg.failcnt = counter(Counted::Memory).and_then(|read| read.failcnt);
    memcg.stat = open.stats.stat();
    memcg
}

/// Until 5.2 the line `memory+swap` was printed for v2 as well, where nothing counts it.
fn version(open: &Open) -> Option<bool> {
    let is_there = |which| open.counters.iter().find(|(counted, _)| *counted == which);
    if is_there(Counted::Swap).is_some() {
        return Some(true);
    }
    let (_, both) = is_there(Counted::MemoryAndSwap)?;
    (both.usage != Bytes(0) || open.choice.is_none()).then_some(false)
}

fn owner_path(open: &Open, summary: Option<&Summary>) -> Option<CgroupPath> {
    if summary
        .is_some_and(|summary| summary.constraint.is_some_and(|constraint| constraint != Constraint::Memcg))
    {
        return None;
    }
    let path = summary.and_then(|summary| summary.oom_memcg.clone());
    path.or_else(|| open.task_in.as_ref().map(|(_, owner)| owner.clone())).or_else(|| open.stats.path.clone())
}

fn limit_owner(open: &Open, summary: Option<&Summary>) -> Option<Memcg> {
    Some(memcg(open, owner_path(open, summary)?, summary))
}

fn trigger(open: &Open, victims: &[Process]) -> Option<Process> {
    let invoked = open.invoked.as_ref()?;
    let tid = open.stack.as_ref().map(|stack| stack.tid);
    if let Some(victim) = victims.iter().find(|victim| victim.tid.is_some() && victim.tid == tid) {
        return Some(Process { comm: Some(invoked.comm.clone()), ..victim.clone() });
    }
    let row = tid.and_then(|tid| open.row(tid));
    Some(Process {
        tid,
        tgid: row.and_then(|row| row.tgid),
        comm: Some(invoked.comm.clone()),
        uid: row.and_then(|row| row.uid),
        oom_score_adj: invoked.oom_score_adj,
        ..Process::default()
    })
}

fn oom(open: &Open, summary: Option<&Summary>, gaps: &mut Vec<Gap>) -> Option<Oom> {
    let by_kill = open.killed.first().and_then(|killed| killed.message.clone());
    let message = open.choice.as_ref().map(|chosen| chosen.message.clone()).or(by_kill);
    if open.invoked.is_none() && message.is_none() {
        return None;
    }
    let is_of_cgroup = message.as_deref().map(scope::is_of_cgroup);
    let told = summary.and_then(|summary| summary.constraint);
    let constraint = told.or(match (is_of_cgroup, &open.invoked) {
        (Some(true), _) => Some(Constraint::Memcg),
        (_, Some(_)) if open.is_memcg() == Some(true) => Some(Constraint::Memcg),
        (Some(false), Some(invoked)) if summary.is_none() => {
            // Kernels without a summary print the policy's nodes, but not that a cpuset was the reason.
            let is_root = open.cpuset.as_ref().is_none_or(|cpuset| cpuset.starts_with(b"/ mems_allowed="));
            if !is_root && !invoked.has_nodemask {
                let why = "this kernel does not print whether the cpuset was the reason: taken for node-wide";
                gaps.push(Gap::new("oom.constraint", why));
            }
            Some(if invoked.has_nodemask { Constraint::MemoryPolicy } else { Constraint::None })
        }
        _ => None,
    });
    Some(Oom {
        constraint,
        gfp_mask: open.invoked.as_ref().and_then(|invoked| invoked.gfp_mask),
        gfp_flags: open.invoked.as_ref().and_then(|invoked| invoked.gfp_flags.clone()),
        order: open.invoked.as_ref().and_then(|invoked| invoked.order),
        totalpages: None,
        chosen_points: None,
        message,
        group: open.group,
    })
}
