//! Level tracepoint: which marks are kills.
//!
//! `mark_victim` also fires for a task that was exiting on its own, and nothing in its arguments tells the two apart.
//! The kernel counts a kill just before it marks (`__oom_kill_process`, mm/oom_kill.c), and no exit: a mark that no
//! count stands behind is no kill.

use oomwatch_common::{incident::ProbeLevel, units::BoottimeNs};

use crate::job::Job;

/// How long a kill that the kernel has counted waits for its mark. The two are a few instructions apart
/// (`__oom_kill_process`, mm/oom_kill.c), but the CPU may be taken away in between.
pub const MARK_COMES_WITHIN_NS: u64 = 100_000_000;

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
}

impl Marks {
    /// `kernel_kills`: what the kernel had counted before the probe was attached.
    pub fn new(kernel_kills: Option<u64>) -> Self {
        Self { kernel_kills, credit: 0, credited_at: BoottimeNs(0) }
    }

    /// Whether the marks of an incident were kills, by the count that was read for it.
    pub fn prove(&mut self, job: &Job, at: BoottimeNs) -> Proof {
        if job.outline().level() == ProbeLevel::Kprobe {
            return Proof::Kill;
        }
        let Some((before, now)) = self.kernel_kills.zip(job.kernel_oom_kills()) else {
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
