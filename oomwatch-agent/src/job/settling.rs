//! When an incident is over: with its end, or when that can no more be expected.

use oomwatch_common::{incident::ProbeLevel, units::BoottimeNs};

use super::Job;

/// How long the kernel may take from the first record to the return of `oom_kill_process`: it prints its report
/// meanwhile, and a slow serial console makes that seconds.
const END_WITHIN_NS: u64 = 30_000_000_000;
/// Most kills are over by then. Whose end has not come is read without it; and an end that was to wake nobody is waited
/// for.
pub(crate) const ENDS_SOON_NS: u64 = 250_000_000;
/// Level tracepoint: how long after a mark more of the same group may come.
const GROUP_WITHIN_NS: u64 = 100_000_000;

impl Job {
    /// Everything that can come has come.
    pub fn is_settled(&self, now: BoottimeNs) -> bool {
        !self.has_more() && self.settles_at().is_none_or(|at| now >= at)
    }

    /// When it settles even if no record comes any more; `None`: as soon as its reads are done.
    pub fn settles_at(&self) -> Option<BoottimeNs> {
        let last = self.outline.last_record();
        match self.outline.level() {
            ProbeLevel::Kprobe if self.outline.ended() => None,
            ProbeLevel::Kprobe => Some(after(last, END_WITHIN_NS)),
            ProbeLevel::Tracepoint if self.outline.is_group() => Some(after(last, GROUP_WITHIN_NS)),
            // The log's incidents come whole, and not by way of records.
            ProbeLevel::Tracepoint | ProbeLevel::Kmsg => None,
        }
    }

    /// Whether its victim is held until the kernel is done with it, and then read by the anchor that is woken on its
    /// CPU. If others did it, the tasks of two CPUs would wait for that, among them who reads the line.
    pub fn is_its_anchors(&self, now: BoottimeNs) -> bool {
        self.held.is_some_and(|(_, cpu)| cpu.is_some()) && now < self.ends_by()
    }

    /// Whether the kernel is done with its victim, and that has not been read: it dies as soon as its anchor lets go.
    /// At level tracepoint nothing says when that is.
    pub fn owes_a_victim(&self) -> bool {
        let is_done_with = self.outline.ended() || self.outline.level() == ProbeLevel::Tracepoint;
        self.held.is_some_and(|(_, cpu)| cpu.is_none() || is_done_with)
    }

    /// When somebody has to look although nobody is woken.
    pub fn looks_at(&self, now: BoottimeNs) -> Option<BoottimeNs> {
        let is_left_alone = self.is_its_anchors(now) || self.lacks_only_its_end() && now < self.ends_by();
        if is_left_alone { Some(self.ends_by()) } else { self.settles_at() }
    }

    /// Its number, where nothing is left to do but to take its end, so that this is to wake nobody; 0 where it is late:
    /// then it is. `None`: that does not change.
    pub fn unawaited(&self, now: BoottimeNs) -> Option<u64> {
        self.lacks_only_its_end().then(|| if now < self.ends_by() { self.outline.number() } else { 0 })
    }

    /// There are no anchors any more: whoever comes first reads its victim.
    pub fn is_nobodys(&mut self) {
        if let Some((_, cpu)) = &mut self.held {
            *cpu = None;
        }
    }

    /// Whether its victim is to be read here, and now.
    pub(super) fn is_held_here(&self, here: Option<u16>) -> bool {
        self.owes_a_victim() && self.held.is_some_and(|(_, cpu)| cpu.is_none() || here == cpu)
    }

    fn lacks_only_its_end(&self) -> bool {
        self.is_spared && !self.outline.ended()
    }

    fn ends_by(&self) -> BoottimeNs {
        after(self.taken_at, ENDS_SOON_NS)
    }
}

fn after(BoottimeNs(since): BoottimeNs, nanoseconds: u64) -> BoottimeNs {
    BoottimeNs(since.saturating_add(nanoseconds))
}
