//! One incident on the capture thread's desk: its records, what has been read for it, what is still to be read.

use std::collections::VecDeque;

use oomwatch_common::{
    assemble::Assembly,
    capture::{Capture, NODE_FILES, Subject},
    decode::{Body, Record},
    ids::Tgid,
    incident::{Gap, Incident, ProbeLevel, Process},
    proc_text::status,
    units::BoottimeNs,
};

use crate::sources::{PlannedRead, Roots, members, plan_memcg, plan_node, read_process, time_out_process};

/// How long the kernel may take from the first record to the return of `oom_kill_process`: it prints its report
/// meanwhile, and a slow serial console makes that seconds.
const END_WITHIN_NS: u64 = 30_000_000_000;
/// Level tracepoint: how long after a mark more of the same group may come.
const GROUP_WITHIN_NS: u64 = 100_000_000;

/// An incident under way.
pub struct Job {
    assembly: Assembly,
    capture: Capture,
    /// The rest of the reads, in order.
    plan: VecDeque<PlannedRead>,
    /// Processes that are still to be read, before the plan: the rest of a group that is being killed, the trigger.
    processes: VecDeque<Process>,
    last_record: BoottimeNs,
    read_until: BoottimeNs,
    /// The raw records, kept only where incidents are recorded.
    records: Option<Vec<Vec<u8>>>,
}

/// An incident with all that was read for it, on its way to the reporter.
#[derive(Debug)]
pub struct Captured {
    /// As the kernel told it.
    pub incident: Incident,
    /// What was read.
    pub capture: Capture,
    /// The raw records, where incidents are recorded.
    pub records: Option<Vec<Vec<u8>>>,
}

impl Job {
    /// Starts with an incident's first record, and at once reads what dies first. The other reads may go on until
    /// `read_until`. `None` for a record that belongs to no incident.
    pub fn start(
        record: Record,
        mut capture: Capture,
        roots: &Roots,
        now: BoottimeNs,
        read_until: BoottimeNs,
    ) -> Option<Self> {
        capture.taken_at = now;
        let last_record = record.at;
        let assembly = Assembly::start(record)?;
        if let Some(victim) = assembly.chosen() {
            read_process(roots, victim, assembly.node_is_exhausted(), &mut capture);
        }
        let mut plan = Vec::new();
        let victims_own = assembly.chosen().and_then(|victim| victim.memcg.as_ref());
        for memcg in victims_own.into_iter().chain(assembly.limit_owner()) {
            plan_memcg(roots, memcg, &mut plan);
        }
        plan_node(roots, NODE_FILES, &mut plan);
        let group = assembly.oom_group().map(|memcg| members(roots, memcg)).unwrap_or_default();
        let trigger = assembly.trigger().filter(|trigger| !trigger.kthread).cloned();
        let processes = group.into_iter().chain(trigger).collect();
        let mut job =
            Self { assembly, capture, plan: plan.into(), processes, last_record, read_until, records: None };
        job.identify();
        Some(job)
    }

    /// From now on keeps the raw records, beginning with the first.
    pub fn keep_records(&mut self, first: &[u8]) {
        self.records = Some(vec![first.to_vec()]);
    }

    /// Whether a record belongs to this incident.
    pub fn takes(&self, record: &Record) -> bool {
        self.assembly.takes(record)
    }

    /// Takes a record; the process that it names is read at once.
    pub fn push(&mut self, record: Record, raw: &[u8], roots: &Roots) {
        let exhausted = self.assembly.node_is_exhausted();
        match &record.body {
            Body::Victim(process) => read_process(roots, process, exhausted, &mut self.capture),
            Body::Marked(marked) => read_process(roots, &marked.victim, exhausted, &mut self.capture),
            _ => {}
        }
        self.last_record = record.at;
        if let Some(records) = &mut self.records {
            records.push(raw.to_vec());
        }
        self.assembly.push(record);
        self.identify();
    }

    /// A kernel whose tracepoint passes a bare pid leaves the rest to `/proc`.
    fn identify(&mut self) {
        for tid in self.assembly.unidentified() {
            let text = self.capture.contents(Subject::Process(Tgid(tid.0)), "status");
            if let Some(status) = text.and_then(|text| status(text).ok()) {
                self.assembly.identify(tid, &status);
            }
        }
    }

    /// Makes the next read. False: there is none left.
    pub fn read_next(&mut self, roots: &Roots, now: BoottimeNs) -> bool {
        if now > self.read_until {
            self.time_out();
            return false;
        }
        if let Some(process) = self.processes.pop_front() {
            read_process(roots, &process, self.assembly.node_is_exhausted(), &mut self.capture);
            return true;
        }
        let Some(read) = self.plan.pop_front() else { return false };
        read.perform(&mut self.capture);
        true
    }

    /// Notes what there was no time for.
    fn time_out(&mut self) {
        for process in self.processes.drain(..) {
            time_out_process(&process, &mut self.capture);
        }
        for read in self.plan.drain(..) {
            read.time_out(&mut self.capture);
        }
    }

    /// Everything that can come has come.
    pub fn is_settled(&self, now: BoottimeNs) -> bool {
        let reads_done = self.plan.is_empty() && self.processes.is_empty();
        reads_done && self.settles_at().is_none_or(|at| now >= at)
    }

    /// When it settles even if no record comes any more; `None`: as soon as its reads are done.
    pub fn settles_at(&self) -> Option<BoottimeNs> {
        let after = |nanoseconds| Some(BoottimeNs(self.last_record.0.saturating_add(nanoseconds)));
        match self.assembly.level() {
            ProbeLevel::Kprobe if self.assembly.ended() => None,
            ProbeLevel::Kprobe => after(END_WITHIN_NS),
            ProbeLevel::Tracepoint if self.assembly.is_group() => after(GROUP_WITHIN_NS),
            // The log's incidents come whole, and not by way of records.
            ProbeLevel::Tracepoint | ProbeLevel::Kmsg => None,
        }
    }

    /// Level tracepoint: how many marks, each to be backed by a kill in the kernel's own count.
    pub fn marks(&self) -> u64 {
        if self.assembly.level() == ProbeLevel::Tracepoint { self.assembly.marks() } else { 0 }
    }

    /// Victims of which it is known only by the count at the end that they were killed.
    pub fn recovered(&self) -> u64 {
        self.assembly.recovered()
    }

    /// A group is killed together, for `memory.oom.group`.
    pub fn kills_a_group(&self) -> bool {
        self.assembly.is_group() || self.assembly.oom_group().is_some()
    }

    /// `oom_kill` of the `/proc/vmstat` that was read for this incident.
    pub fn kernel_oom_kills(&self) -> Option<u64> {
        let vmstat = self.capture.contents(Subject::Node, "vmstat")?;
        oom_kills(vmstat)
    }

    /// Notes what could not be told.
    pub fn gap(&mut self, gap: Gap) {
        self.assembly.gap(gap);
    }

    /// The incident.
    ///
    /// # Errors
    /// Where nothing was killed: the capture, to be used again.
    pub fn finish(mut self, now: BoottimeNs) -> Result<Captured, Capture> {
        self.time_out();
        self.capture.done_at = now;
        match self.assembly.finish() {
            Some(incident) => Ok(Captured { incident, capture: self.capture, records: self.records }),
            None => Err(self.capture),
        }
    }
}

/// The kernel's own count of killed processes, since boot.
pub fn oom_kills(vmstat: &[u8]) -> Option<u64> {
    let line = vmstat.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"oom_kill "))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}
