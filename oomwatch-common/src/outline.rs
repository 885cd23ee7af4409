//! What the capture thread has to know of an invocation under way: which records are its own, whether it is over, how
//! many it kills. Numbers of a fixed size; [`crate::assemble`] makes the incident of the same records later.

use crate::{
    ids::{Tgid, Tid},
    incident::ProbeLevel,
    peek::{Identity, Peek, Tells},
    record as wire,
    units::BoottimeNs,
};

/// One invocation under way.
#[derive(Clone, Debug)]
pub struct Outline {
    number: u64,
    level: ProbeLevel,
    last_record: BoottimeNs,
    /// Level tracepoint: the task that asked.
    trigger: Option<Tid>,
    chosen: Option<Identity>,
    /// The first process that was gone over, which a group kill does twice.
    first: Option<Identity>,
    /// Who was gone over last, as long as its kill has not been confirmed.
    pending: Option<Identity>,
    group: bool,
    limited: bool,
    ended: bool,
    /// Records of kills that came, or marks.
    confirmed: u64,
    /// Processes that these told of.
    killed: u64,
    last_killed: Option<Identity>,
    unconfirmed: u64,
    recovered: u64,
}

impl Outline {
    /// Nothing is known yet but the first record's number.
    pub fn new(number: u64, level: ProbeLevel) -> Self {
        Self {
            number,
            level,
            last_record: BoottimeNs(0),
            trigger: None,
            chosen: None,
            first: None,
            pending: None,
            group: false,
            limited: false,
            ended: false,
            confirmed: 0,
            killed: 0,
            last_killed: None,
            unconfirmed: 0,
            recovered: 0,
        }
    }

    /// Starts with the first record seen of an invocation, whatever it is: the one before it may have been lost.
    /// `None` for a record that belongs to no invocation.
    pub fn start(record: &Peek<'_>) -> Option<Self> {
        let level = match record.tells {
            Tells::Marked { .. } => ProbeLevel::Tracepoint,
            Tells::Proof(..) => return None,
            _ => ProbeLevel::Kprobe,
        };
        let mut outline = (record.incident != 0).then(|| Self::new(record.incident, level))?;
        outline.push(record);
        Some(outline)
    }

    /// Whether a record belongs here.
    pub fn takes(&self, record: &Peek<'_>) -> bool {
        match record.tells {
            // A group is killed by one invocation, so by one trigger; each mark has a number of its own.
            Tells::Marked { trigger, cgroup, group, .. } => {
                // Of a task that came as a bare pid the group is not known.
                let may_be_of_it = self.is_group() && (group || cgroup.is_none());
                may_be_of_it && trigger.tid.is_some() && trigger.tid == self.trigger
            }
            _ => record.incident == self.number && record.incident != 0,
        }
    }

    /// Adds a record that [`Self::takes`] was true for.
    pub fn push(&mut self, record: &Peek<'_>) {
        self.last_record = record.at;
        match record.tells {
            Tells::Begin { chosen, limit_owner, group, .. } => {
                self.chosen = Some(chosen);
                (self.group, self.limited) = (group, limit_owner.is_some());
            }
            Tells::Victim(process, _) => self.candidate(process),
            Tells::Killed(process) => self.confirm(process),
            Tells::End { killed } => self.end(killed),
            Tells::Marked { trigger, victim, group, .. } => {
                if self.confirmed == 0 {
                    (self.trigger, self.group) = (trigger.tid, group);
                }
                self.confirmed += 1;
                self.killed += u64::from(!self.last_killed.is_some_and(|last| last.is_same(&victim)));
                self.last_killed = Some(victim);
            }
            Tells::Proof(..) => {}
        }
    }

    /// A group kill goes over the first victim again at its end.
    fn candidate(&mut self, process: Identity) {
        if self.first.is_some_and(|first| first.is_same(&process)) {
            return;
        }
        self.first.get_or_insert(process);
        self.pending = Some(process);
        self.unconfirmed += 1;
    }

    /// The kernel goes over one process, kills it, and goes over the next.
    fn confirm(&mut self, killed: Identity) {
        self.confirmed += 1;
        // It may be marked by two of its threads.
        let again = self.last_killed.is_some_and(|last| last.tgid.is_some() && last.tgid == killed.tgid);
        let is_new = self.pending.as_ref().is_some_and(|pending| pending.tgid == killed.tgid) || !again;
        self.killed += u64::from(is_new);
        self.last_killed = Some(killed);
        let is_it = |process: &Identity| {
            (killed.tgid.is_some() && process.tgid == killed.tgid)
                || (killed.tid.is_some() && process.tid == killed.tid)
        };
        if self.pending.as_ref().is_some_and(is_it) {
            self.pending = None;
            self.unconfirmed = self.unconfirmed.saturating_sub(1);
        } else if self.first.is_none() {
            self.first = Some(self.chosen.filter(is_it).unwrap_or(killed));
        }
    }

    /// As [`crate::assemble::Assembly`] has it: where there are more kills than records of them, and no more processes
    /// wait for theirs than are missing, it was these.
    fn end(&mut self, killed: u32) {
        self.ended = true;
        let missing = u64::from(killed).saturating_sub(self.confirmed);
        if self.first.is_none() && missing > 0 && self.chosen.is_some() && !self.group {
            self.unconfirmed = 1;
        }
        if self.unconfirmed <= missing {
            self.recovered = self.unconfirmed;
        }
    }

    /// The record that the chosen process was killed, where there was neither one nor the end, which tells that of a
    /// process that dies alone.
    pub fn kill_of_chosen(&self) -> Option<wire::Killed> {
        let chosen = self.chosen.filter(|_| self.is_open())?;
        let header = self.header(wire::RecordKind::Killed, size_of::<wire::Killed>())?;
        let tgid = chosen.tgid.map_or(wire::UNREAD_U32, |Tgid(tgid)| tgid);
        Some(wire::Killed { header, tgid, tid: chosen.tid.map_or(wire::UNREAD_U32, |Tid(tid)| tid) })
    }

    /// The record of an end that was not sent, as it would say no more than that the chosen process was killed.
    pub fn untold_end(&self) -> Option<wire::End> {
        self.chosen.filter(|_| self.is_open())?;
        let header = self.header(wire::RecordKind::End, size_of::<wire::End>())?;
        Some(wire::End { header, killed: 1, already_exiting: 0 })
    }

    fn is_open(&self) -> bool {
        self.level == ProbeLevel::Kprobe && !self.ended && self.victims() == 0
    }

    fn header(&self, kind: wire::RecordKind, bytes: usize) -> Option<wire::Header> {
        Some(wire::Header {
            version: wire::WIRE_VERSION,
            kind: kind as u16,
            size: u16::try_from(bytes).ok()?,
            cpu: 0,
            incident: self.number,
            boottime_ns: self.last_record.0,
        })
    }

    /// Which invocation, or at level tracepoint which mark was its first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the hook of the last record ran.
    pub fn last_record(&self) -> BoottimeNs {
        self.last_record
    }

    /// No more records will come: the kernel returned from `oom_kill_process`. At level tracepoint there is no such
    /// sign; see [`Self::is_group`].
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Which hooks.
    pub fn level(&self) -> ProbeLevel {
        self.level
    }

    /// Level tracepoint: more marks of the same invocation may follow.
    pub fn is_group(&self) -> bool {
        self.level == ProbeLevel::Tracepoint && self.group
    }

    /// A group is killed together, for `memory.oom.group`.
    pub fn kills_a_group(&self) -> bool {
        self.group
    }

    /// The node itself may be out of memory: no cgroup's limit is known to have been hit.
    pub fn node_is_exhausted(&self) -> bool {
        !self.limited
    }

    /// Victims without a record of the kill of their own, as it was lost or never sent: the count at the end tells
    /// them.
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// How many were killed, or, at level tracepoint, marked.
    pub fn victims(&self) -> u64 {
        self.killed + self.recovered
    }
}

#[cfg(test)]
mod tests;
