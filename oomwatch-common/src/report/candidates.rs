//! Who could have been killed, ranked as the kernel ranks them.

use serde::{Deserialize, Serialize};

use super::{Kubernetes, Victim, cgroup::is_false};
use crate::{
    surroundings::{Task, Tasks},
    units::{Bytes, PageSize},
};

/// Processes that a report shows.
const SHOWN: usize = 20;
/// What `oom_score_adj` is for "never" (`OOM_SCORE_ADJ_MIN`, include/uapi/linux/oom.h).
const NEVER: i16 = -1000;

/// The processes of the OOM domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// Who says so.
    pub from: CandidatesFrom,
    /// How many there were; where some are `undecided`, so many at least.
    pub count: u64,
    /// How many of them were not read. Absent: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// How many of the node's processes were not looked at: which of them belong here is not known. Absent: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undecided: u64,
    /// How many could not be killed: their `oom_score_adj` is -1000. Absent: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unkillable: u64,
    /// Resident memory of all that were read. What several share counts once for each.
    pub rss_bytes: Bytes,
    /// Swapped out, of all that were read.
    pub swap_bytes: Bytes,
    /// Page tables of all that were read.
    pub pgtables_bytes: Bytes,
    /// The first victim's place among them by badness, from 1. Several may share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victims_place: Option<u64>,
    /// The first of them by badness, and the victims.
    pub processes: Vec<Candidate>,
}

/// Who told of the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidatesFrom {
    /// The kernel's log, of the moment of the kill.
    KernelLog,
    /// `/proc`, after it. What is known of the victims is the probe's.
    Proc,
}

/// A process that could have been killed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tgid: Option<u32>,
    /// Name, escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Real user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Resident memory of all kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<Bytes>,
    /// Swapped out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_bytes: Option<Bytes>,
    /// Page tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pgtables_bytes: Option<Bytes>,
    /// Address space, used or not: never to be held against a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_vm_bytes: Option<Bytes>,
    /// -1000 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i16>,
    /// The kernel's badness, in pages ([`badness`]). Absent for one that cannot be killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badness_pages: Option<i64>,
    /// The same in thousandths of the domain's size: what kernels before 5.3 print as `score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badness_permille: Option<i64>,
    /// It was killed. Absent otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_victim: bool,
    /// Read after the kill, it was worse than the chosen one: the kernel takes the worst, so it has grown since. Absent
    /// otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_grown: bool,
    /// Path of its memory cgroup, escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its pod and container, by names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What the kernel reckons a process's badness to be, in pages: resident and swapped pages and page tables, moved by
/// `oom_score_adj` thousandths of the domain (`oom_badness`, mm/oom_kill.c of 4.17 to 7.3; before 4.17 root's processes
/// got 3 % less). `None` for one that is never killed, and where a part that matters was not read.
pub fn badness(task: &Task, totalpages: Option<u64>, page_size: PageSize) -> Option<i64> {
    let adjustment = task.oom_score_adj?;
    if adjustment == NEVER {
        return None;
    }
    let pages = |bytes: Option<Bytes>| Some(bytes?.0 / page_size.get().0);
    let used = pages(task.rss)?
        .saturating_add(pages(task.swap).unwrap_or(0))
        .saturating_add(pages(task.pgtables).unwrap_or(0));
    let used = i64::try_from(used).ok()?;
    if adjustment == 0 {
        return Some(used);
    }
    // The kernel divides first.
    let thousandth = i64::try_from(totalpages? / 1000).ok()?;
    used.checked_add(i64::from(adjustment).checked_mul(thousandth)?)
}

impl Candidates {
    /// Ranks `tasks`. `victims` are those of the incident, the chosen one first; what the probe knows of them replaces
    /// what `/proc` showed later. `totalpages` is the size of the OOM domain.
    pub(super) fn new(
        tasks: &Tasks,
        victims: &[Victim],
        totalpages: Option<u64>,
        page_size: PageSize,
    ) -> Self {
        let mut rows = tasks.rows.clone();
        if tasks.from == CandidatesFrom::Proc {
            for victim in victims {
                put(&mut rows, victim);
            }
        }
        let is_victim = |row: &Task| victims.iter().any(|victim| is_of(row, victim));
        let chosen = victims.first();
        let mut ranked: Vec<(Option<i64>, bool, &Task)> =
            rows.iter().map(|row| (badness(row, totalpages, page_size), is_victim(row), row)).collect();
        // Stable: of equals the one that the source named first comes first.
        ranked.sort_by_key(|(badness, is_victim, _)| (std::cmp::Reverse(*badness), !is_victim));
        let chosens = ranked
            .iter()
            .find(|(_, _, row)| chosen.is_some_and(|chosen| is_of(row, chosen)))
            .and_then(|(badness, _, _)| *badness);
        let above = |chosens| ranked.iter().filter(|(badness, _, _)| *badness > Some(chosens)).count();
        let victims_place =
            chosens.map(above).and_then(|above| u64::try_from(above).ok()).map(|above| above + 1);
        let sum = |part: fn(&Task) -> Option<Bytes>| {
            Bytes(rows.iter().filter_map(part).fold(0, |sum, Bytes(part)| sum.saturating_add(part)))
        };
        let read = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let count = tasks.count.max(read);
        let unkillable = rows.iter().filter(|row| row.oom_score_adj == Some(NEVER)).count();
        let shown =
            ranked.iter().enumerate().filter(|(place, (_, is_victim, _))| *place < SHOWN || *is_victim);
        let processes = shown
            .take(2 * SHOWN)
            .map(|(_, (badness, is_victim, row))| Candidate::new(row, *badness, *is_victim, totalpages))
            .collect();
        Self {
            from: tasks.from,
            count,
            unread: count - read,
            undecided: tasks.undecided,
            unkillable: u64::try_from(unkillable).unwrap_or(u64::MAX),
            rss_bytes: sum(|row| row.rss),
            swap_bytes: sum(|row| row.swap),
            pgtables_bytes: sum(|row| row.pgtables),
            victims_place,
            processes,
        }
    }
}

impl Candidates {
    /// Whether `processes` has every one of them.
    pub fn are_all_there(&self) -> bool {
        self.undecided == 0 && u64::try_from(self.processes.len()) == Ok(self.count)
    }

    /// `25 processes`, `at least 2 processes`.
    pub fn how_many(&self) -> String {
        let at_least = if self.undecided > 0 { "at least " } else { "" };
        let plural = if self.count == 1 { "" } else { "es" };
        format!("{at_least}{} process{plural}", self.count)
    }

    /// Tells those that were read after the kill, and were worse than the chosen one by then, from those that it was
    /// ranked among: whoever asked for the page gets it once the victim is gone. Not for a kernel that is set to kill
    /// whoever asks.
    pub(super) fn mark_grown(&mut self) {
        let Some(place) = self.victims_place.filter(|_| self.from == CandidatesFrom::Proc) else { return };
        let above = usize::try_from(place - 1).unwrap_or(usize::MAX);
        for process in self.processes.iter_mut().take(above).filter(|process| !process.is_victim) {
            process.has_grown = true;
        }
        self.victims_place = Some(1);
    }
}

impl Candidate {
    fn new(row: &Task, badness: Option<i64>, is_victim: bool, totalpages: Option<u64>) -> Self {
        let domain = totalpages.and_then(|pages| i64::try_from(pages).ok()).filter(|pages| *pages > 0);
        let permille = |badness: i64| badness.checked_mul(1000)?.checked_div(domain?);
        Self {
            tgid: row.tgid.or(row.tid),
            comm: row.comm.clone(),
            uid: row.uid,
            rss_bytes: row.rss,
            swap_bytes: row.swap,
            pgtables_bytes: row.pgtables,
            total_vm_bytes: row.total_vm,
            oom_score_adj: row.oom_score_adj,
            badness_pages: badness,
            badness_permille: badness.and_then(permille),
            is_victim,
            has_grown: false,
            cgroup: row.cgroup.clone(),
            kubernetes: row.kubernetes.clone(),
        }
    }

    /// Resident and swapped memory, and page tables: its badness without `oom_score_adj`.
    pub fn used(&self) -> Bytes {
        let parts = [self.rss_bytes, self.swap_bytes, self.pgtables_bytes];
        Bytes(parts.into_iter().flatten().fold(0, |sum, Bytes(part)| sum.saturating_add(part)))
    }
}

/// A row may name a process by the thread that has its address space.
fn is_of(row: &Task, victim: &Victim) -> bool {
    match (row.tgid, victim.tgid) {
        (Some(row), Some(victim)) => row == victim,
        _ => row.tid.is_some() && row.tid == victim.tid,
    }
}

/// The victim as the probe saw it: in `/proc` it may have been gone, or given memory back already.
fn put(rows: &mut Vec<Task>, victim: &Victim) {
    let Some(rss) = victim.rss else { return };
    let position = rows.iter().position(|row| is_of(row, victim)).unwrap_or_else(|| {
        rows.push(Task { tgid: victim.tgid, tid: victim.tid, ..Task::default() });
        rows.len() - 1
    });
    let Some(row) = rows.get_mut(position) else { return };
    row.rss = Some(rss.total());
    row.swap = victim.swap_bytes.or(row.swap);
    row.pgtables = victim.pgtables_bytes.or(row.pgtables);
    row.total_vm = victim.total_vm_bytes.or(row.total_vm);
    row.uid = victim.uid.or(row.uid);
    row.oom_score_adj =
        victim.oom_score_adj.and_then(|adjustment| adjustment.try_into().ok()).or(row.oom_score_adj);
    row.comm = victim.leader_comm.clone().or_else(|| victim.comm.clone()).or_else(|| row.comm.clone());
    row.cgroup = victim.cgroup.clone().or_else(|| row.cgroup.clone());
}

#[cfg(test)]
mod tests;
