//! Level tracepoint: which marks are kills.
//!
//! `mark_victim` also fires for a task that was exiting on its own, and nothing in its arguments tells the two apart.
//! The kernel counts a kill just before it marks (`__oom_kill_process`, mm/oom_kill.c), and no exit: a mark that no
//! count stands behind is no kill. It does so twice: for the node, in `/proc/vmstat`, and for the process's cgroup,
//! where the probe reads it with the mark. The former decides. By the latter a kill is known as such at once, but where
//! nothing is known of what the cgroup had counted before.

use oomwatch_common::{
    ids::CgroupId,
    incident::ProbeLevel,
    peek::{Peek, Tells},
    units::BoottimeNs,
};

use crate::job::Job;

/// How long a kill that the kernel has counted waits for its mark. The two are a few instructions apart
/// (`__oom_kill_process`, mm/oom_kill.c), but the CPU may be taken away in between.
pub const MARK_COMES_WITHIN_NS: u64 = 100_000_000;

/// Cgroups whose counts are remembered.
const CGROUPS: usize = 64;

/// Whether the kernel counts it as a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It does.
    Kill,
    /// It does not.
    NoKill,
    /// It does not say.
    Unknown,
}

/// The kernel's count, held against the marks.
#[derive(Debug)]
pub struct Marks {
    /// `oom_kill` of `/proc/vmstat` when last read.
    kernel_kills: Option<u64>,
    /// Kills that the kernel has counted and no mark has claimed yet.
    credit: u64,
    /// When the last of them was seen.
    credited_at: BoottimeNs,
    /// What cgroups had counted when a process of theirs was last marked.
    of_cgroups: Box<[(CgroupId, u64)]>,
    /// The place of the next one that is new.
    next: usize,
}

impl Marks {
    /// `kernel_kills`: what the kernel had counted before the probe was attached.
    pub fn new(kernel_kills: Option<u64>) -> Self {
        let of_cgroups = vec![(CgroupId(0), 0); CGROUPS].into();
        Self { kernel_kills, credit: 0, credited_at: BoottimeNs(0), of_cgroups, next: 0 }
    }

    /// Whether a mark is one of a kill as far as its cgroup tells: the count there has risen since the last one, or,
    /// where no last one is known, is not 0.
    pub fn is_counted(&mut self, record: &Peek<'_>) -> bool {
        let Tells::Marked { cgroup: Some(cgroup), oom_kills: Some(kills), .. } = record.tells else {
            return false;
        };
        let Some(id) = cgroup.id else { return false };
        if let Some((_, before)) = self.of_cgroups.iter_mut().find(|(known, _)| *known == id) {
            return std::mem::replace(before, kills) < kills;
        }
        if let Some(place) = self.of_cgroups.get_mut(self.next) {
            *place = (id, kills);
        }
        self.next = (self.next + 1) % CGROUPS;
        kills > 0
    }

    /// Whether the marks of an incident were kills, by what the kernel had counted `at` a time when they had been made.
    pub fn prove(&mut self, job: &Job, kills: Option<u64>, at: BoottimeNs) -> Proof {
        if job.outline().level() == ProbeLevel::Kprobe {
            return Proof::Kill;
        }
        let Some((before, now)) = self.kernel_kills.zip(kills) else {
            return Proof::Unknown;
        };
        self.kernel_kills = Some(now);
        if job.taken_at().0.saturating_sub(self.credited_at.0) > MARK_COMES_WITHIN_NS {
            self.credit = 0;
        }
        if now > before {
            self.credit = self.credit.saturating_add(now - before);
            self.credited_at = at;
        }
        let backed = self.credit > 0;
        self.credit = self.credit.saturating_sub(job.outline().victims());
        if backed { Proof::Kill } else { Proof::NoKill }
    }
}

/// The kernel's own count of killed processes, since boot.
pub fn oom_kills(vmstat: &[u8]) -> Option<u64> {
    let line = vmstat.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"oom_kill "))?;
    str::from_utf8(line).ok()?.trim().parse().ok()
}
