//! Records of one invocation → one [`Incident`].
//!
//! The traps that live here: an invocation that kills nothing, because its victim is already exiting; one that kills
//! many (`memory.oom.group`), and goes over the first victim twice; a process that the kernel passes over at the last
//! moment.

use crate::{
    decode::{Begin, Body, Marked, Record},
    escape::unescape,
    ids::{Comm, Tgid, Tid},
    incident::{Gap, Incident, ProbeLevel, Process},
    proc_text::Status,
    units::BoottimeNs,
};

/// One invocation under way.
#[derive(Clone, Debug)]
pub struct Assembly {
    number: u64,
    at: BoottimeNs,
    level: ProbeLevel,
    begin: Option<Begin>,
    /// Level tracepoint: the trigger, and whether a group is being killed.
    marked: Option<(Process, bool)>,
    candidates: Vec<Candidate>,
    ended: bool,
    /// Records of kills that came.
    confirmed: u64,
    gaps: Vec<Gap>,
}

#[derive(Clone, Debug)]
struct Candidate {
    process: Process,
    killed: bool,
}

impl Assembly {
    /// Starts with the first record seen of an invocation, whatever it is: the one before it may have been lost.
    /// `None` for a record that belongs to no invocation.
    pub fn start(record: Record) -> Option<Self> {
        if record.incident == 0 {
            return None;
        }
        let level =
            if matches!(record.body, Body::Marked(_)) { ProbeLevel::Tracepoint } else { ProbeLevel::Kprobe };
        let mut assembly = Self {
            number: record.incident,
            at: record.at,
            level,
            begin: None,
            marked: None,
            candidates: Vec::new(),
            ended: false,
            confirmed: 0,
            gaps: Vec::new(),
        };
        if level == ProbeLevel::Kprobe && !matches!(record.body, Body::Begin(_)) {
            assembly.gaps.push(Gap::new("oom", "the record of its begin was lost: the ring buffer was full"));
        }
        assembly.push(record);
        Some(assembly)
    }

    /// Adds a record of the same invocation: [`crate::outline::Outline::takes`] tells which are.
    pub fn push(&mut self, record: Record) {
        match record.body {
            Body::Begin(begin) => self.begin = Some(*begin),
            Body::Victim(process) => self.candidate(*process),
            Body::Killed { tgid, tid } => self.confirm(tgid, tid),
            Body::End { killed, .. } => self.end(killed),
            Body::Marked(marked) => self.mark(*marked),
            Body::Proof(_) => {}
        }
    }

    /// The incident, or `None` where nothing was killed.
    pub fn finish(mut self) -> Option<Incident> {
        if self.level == ProbeLevel::Kprobe && !self.ended {
            self.gaps.push(Gap::new("victims", "the kernel's return was not seen: there may be more"));
        }
        let victims: Vec<Process> = self
            .candidates
            .into_iter()
            .filter(|candidate| candidate.killed)
            .map(|candidate| candidate.process)
            .collect();
        if victims.is_empty() {
            return None;
        }
        let (oom, trigger, limit_owner) = match (self.begin, self.marked) {
            (Some(begin), _) => (Some(begin.oom), Some(begin.trigger), begin.limit_owner),
            (None, Some((trigger, _))) => (None, Some(trigger), None),
            (None, None) => (None, None, None),
        };
        Some(Incident {
            number: self.number,
            at: self.at,
            level: self.level,
            oom,
            trigger,
            victims,
            limit_owner,
            gaps: self.gaps,
        })
    }

    /// A group kill goes over the first victim again at its end; each process is kept once.
    fn candidate(&mut self, mut process: Process) {
        if self.candidates.iter().any(|known| same(&known.process, &process)) {
            return;
        }
        // Only the begin record has the levels above the victim's cgroup.
        if let Some(chosen) =
            self.begin.as_ref().map(|begin| &begin.chosen).filter(|chosen| same(chosen, &process))
            && let (Some(memcg), Some(known)) = (&mut process.memcg, &chosen.memcg)
        {
            memcg.levels.clone_from(&known.levels);
        }
        self.candidates.push(Candidate { process, killed: false });
    }

    fn confirm(&mut self, tgid: Option<Tgid>, tid: Option<Tid>) {
        self.confirmed += 1;
        let is_this = |process: &Process| {
            (tgid.is_some() && process.tgid == tgid) || (tid.is_some() && process.tid == tid)
        };
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| is_this(&candidate.process)) {
            candidate.killed = true;
            return;
        }
        let chosen = self.begin.as_ref().map(|begin| &begin.chosen).filter(|chosen| is_this(chosen));
        let process = chosen.cloned().unwrap_or_else(|| {
            self.gaps
                .push(Gap::new("victims", "the record of one victim was lost: the ring buffer was full"));
            Process { tgid, tid, ..Process::default() }
        });
        self.candidates.push(Candidate { process, killed: true });
    }

    /// The kernel's return, with how many kills there were. Where there are more than records of them, and no more
    /// processes wait for theirs than are missing, it was these.
    fn end(&mut self, killed: u32) {
        self.ended = true;
        let missing = u64::from(killed).saturating_sub(self.confirmed);
        let chosen = self.begin.as_ref().filter(|begin| !begin.oom.group).map(|begin| begin.chosen.clone());
        if self.candidates.is_empty() && missing > 0 {
            self.candidates.extend(chosen.map(|process| Candidate { process, killed: false }));
        }
        let unconfirmed = self.candidates.iter().filter(|candidate| !candidate.killed).count() as u64;
        if unconfirmed <= missing {
            self.candidates.iter_mut().for_each(|candidate| candidate.killed = true);
        }
        let recovered = if unconfirmed <= missing { unconfirmed } else { 0 };
        if missing > recovered {
            let lost = missing - recovered;
            let why = format!("of {lost} all records were lost: the ring buffer was full");
            self.gaps.push(Gap::new("victims", why));
        }
    }

    fn mark(&mut self, marked: Marked) {
        if self.marked.is_none() {
            self.marked = Some((marked.trigger, marked.group));
        }
        if !self.candidates.iter().any(|known| same(&known.process, &marked.victim)) {
            self.candidates.push(Candidate { process: marked.victim, killed: true });
        }
    }

    /// The threads that came as bare pids: the kernel passed no task to read.
    pub fn unidentified(&self) -> Vec<Tid> {
        let processes = self.candidates.iter().map(|candidate| &candidate.process);
        processes.filter(|process| process.tgid.is_none()).filter_map(|process| process.tid).collect()
    }

    /// Gives such a thread the process that its `/proc/PID/status` names, which may by now be another one's.
    pub fn identify(&mut self, tid: Tid, status: &Status) {
        let mut processes = self.candidates.iter_mut().map(|candidate| &mut candidate.process);
        let Some(process) = processes.find(|process| process.tgid.is_none() && process.tid == Some(tid))
        else {
            return;
        };
        process.tgid = status.tgid.map(Tgid);
        process.uid = status.uid.map(|ids| ids.real);
        process.parent_tgid = status.ppid.map(Tgid);
        process.comm = status.name.as_deref().and_then(unescape).map(|name| Comm::new(&name));
        self.gaps
            .push(Gap::new("victims", "the kernel passed a bare pid: the process is known from /proc alone"));
    }
}

/// The same process: the number alone may have been given to another one since.
fn same(one: &Process, other: &Process) -> bool {
    if one.tgid.is_none() {
        return one.tid.is_some() && one.tid == other.tid;
    }
    one.tgid == other.tgid && one.started == other.started
}

#[cfg(test)]
mod tests;
