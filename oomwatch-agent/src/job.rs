//! One incident on the capture thread's desk: what is known of it, what has been read for it, what is still to be read.

mod proof;
mod settling;

use oomwatch_common::{
    capture::{NODE_FILES, Outcome, PROCESS_FILES, Subject},
    ids::{CgroupId, Tgid},
    outline::Outline,
    peek::{CgroupView, Identity, Peek, Tells, peek},
    units::BoottimeNs,
};

use self::proof::OnProof;
#[cfg(test)]
pub(crate) use self::settling::ENDS_SOON_NS;
use crate::{
    marks::{Proof, oom_kills},
    pack::Pack,
    pool::Parcel,
    sources::{
        CgroupDir, Sources,
        process::{self, Seen},
    },
};

/// The node's file that counts kills.
const VMSTAT: &str = "vmstat";
/// Processes of a group that are read before their own records come.
const MEMBERS: usize = 64;
/// Processes that are remembered, so that none is read twice: the chosen one, the members, the trigger.
const SEEN: usize = MEMBERS + 2;

/// An incident under way. Its size is fixed, and it owns no memory but its parcel's.
pub struct Job {
    outline: Outline,
    pack: Pack,
    seen: [Seen; SEEN],
    seen_count: usize,
    /// The rest of a group that is being killed, to be read before all that is planned.
    members: [u32; MEMBERS],
    member_count: usize,
    next_member: usize,
    trigger: Option<Identity>,
    /// The victim, where it asked for the memory itself and an anchor will keep it from going on; and the CPU on which
    /// it is to be read, where that matters.
    held: Option<(Identity, Option<u16>)>,
    /// The victim's own, and the one whose limit was hit.
    cgroups: [Option<(CgroupId, CgroupDir)>; 2],
    /// The rest of the reads: whose files, and which of them is next.
    next_read: (usize, usize),
    taken_at: BoottimeNs,
    /// Set by the first of the reads that can wait: the victim's own, however long they took, cost the rest no time.
    read_until: Option<BoottimeNs>,
    deadline_ns: u64,
    kernel_oom_kills: Option<u64>,
    /// The file that has it was tried.
    has_vmstat: bool,
    on_proof: OnProof,
    /// Its line was offered to the teller.
    is_foretold: bool,
    /// Nobody wants more of it than the line that was printed.
    is_spared: bool,
    /// Whether it was a kill, where that had to be known early.
    proof: Option<Proof>,
    /// Records of kills for which there was no memory.
    unkept: u64,
}

/// An incident with all that was read for it, on its way to the reporter: bytes, not yet looked into.
#[derive(Debug)]
pub struct Caught {
    /// Its records and files.
    pub parcel: Parcel,
    /// When its first record was taken from the ring buffer.
    pub taken_at: BoottimeNs,
    /// When the last file was read.
    pub done_at: BoottimeNs,
    /// There was no memory for some of its records.
    pub is_cut: bool,
    /// Level tracepoint: nothing says whether its marks were kills.
    pub is_unproved: bool,
}

/// The victim's cgroup, and that whose limit was hit where it is another one, as a record tells them, held open.
fn cgroups(tells: &Tells<'_>, sources: &mut Sources) -> [Option<(CgroupId, CgroupDir)>; 2] {
    let (own, limit_owner) = match tells {
        Tells::Begin { cgroup, limit_owner, .. } => (cgroup.as_ref(), limit_owner.as_ref()),
        Tells::Marked { cgroup, .. } | Tells::Victim(_, cgroup) | Tells::Proof(_, cgroup) => {
            (cgroup.as_ref(), None)
        }
        Tells::Killed(_) | Tells::End { .. } => (None, None),
    };
    let id = |view: Option<&CgroupView<'_>>| view.and_then(|view| view.id);
    let limit_owner = limit_owner.filter(|owner| owner.id != id(own));
    let mut hold = |view: Option<&CgroupView<'_>>| Some((id(view)?, sources.cgroup(view?)?));
    [hold(own), hold(limit_owner)]
}

impl Job {
    /// An incident of which nothing has been read. The reads behind the victim's own may take `deadline_ns`.
    pub fn new(outline: Outline, pack: Pack, taken_at: BoottimeNs, deadline_ns: u64) -> Self {
        Self {
            outline,
            pack,
            seen: [Seen::default(); SEEN],
            seen_count: 0,
            members: [0; MEMBERS],
            member_count: 0,
            next_member: 0,
            trigger: None,
            held: None,
            cgroups: [None, None],
            next_read: (0, 0),
            taken_at,
            read_until: None,
            deadline_ns,
            kernel_oom_kills: None,
            has_vmstat: false,
            on_proof: OnProof::Nothing,
            is_foretold: false,
            is_spared: false,
            proof: None,
            unkept: 0,
        }
    }

    /// Takes its first record, and at once reads what dies first: but a victim that `is_held` where it asked itself,
    /// only when the kernel is done with it, so that others can run until then.
    pub fn begin(&mut self, first: &Peek<'_>, raw: &[u8], sources: &mut Sources, is_held: bool) {
        self.keep(first, raw);
        if self.is_spared {
            return;
        }
        let (victim, trigger, of_group) = match &first.tells {
            Tells::Begin { trigger, chosen, cgroup, group, .. } => {
                (chosen, Some(*trigger), *group && cgroup.is_some())
            }
            Tells::Marked { trigger, victim, .. } => (victim, Some(*trigger), false),
            Tells::Killed(process) | Tells::Victim(process, _) | Tells::Proof(process, _) => {
                (process, None, false)
            }
            Tells::End { .. } => return,
        };
        if is_held && self.pack.first_record().is_some() {
            self.held = Some((*victim, Some(first.cpu)));
            return;
        }
        self.read_process(victim, sources);
        self.cgroups = cgroups(&first.tells, sources);
        if let (true, Some((_, own))) = (of_group, &self.cgroups[0]) {
            self.member_count = sources.members(own, &mut self.members);
        }
        self.trigger = trigger.filter(|trigger| !trigger.kthread && trigger != victim);
    }

    /// Whether a record belongs to this incident.
    pub fn takes(&self, record: &Peek<'_>) -> bool {
        self.outline.takes(record)
    }

    /// Takes a record; the process that it names is read at once.
    pub fn push(&mut self, record: &Peek<'_>, raw: &[u8], sources: &mut Sources) {
        if let Tells::Victim(process, _) | Tells::Marked { victim: process, .. } = &record.tells {
            // The kernel is about to kill it, and it may have threads elsewhere, which nobody holds.
            self.read_held(sources);
            self.read_process(process, sources);
        }
        self.outline.push(record);
        self.keep(record, raw);
    }

    fn keep(&mut self, record: &Peek<'_>, raw: &[u8]) {
        if self.is_spared {
            return;
        }
        if self.pack.record(raw) {
            return;
        }
        self.unkept += match record.tells {
            // Of the only victim it may be the one record that says that it was killed.
            Tells::End { .. } => self.outline.recovered(),
            _ => u64::from(record.tells_a_kill()),
        };
    }

    /// Records of kills that will be missing in what it comes to: there was no memory for them.
    pub fn unkept(&self) -> u64 {
        self.unkept
    }

    /// Reads the victim that is held, and finds its cgroups. False: there is none.
    fn read_held(&mut self, sources: &mut Sources) -> bool {
        let Some((held, _)) = self.held.take() else { return false };
        self.read_process(&held, sources);
        if let Some(Ok(first)) = self.pack.first_record().map(peek) {
            self.cgroups = cgroups(&first.tells, sources);
        }
        true
    }

    fn read_process(&mut self, process: &Identity, sources: &mut Sources) {
        let Some(tgid) = process.number().filter(|_| !self.is_spared) else { return };
        if let Some(seen) = self.seen(tgid) {
            // Read ahead, when only its number was known.
            if !seen.is_same(process.started) {
                self.pack.forget(tgid);
            }
            return;
        }
        let exhausted = self.outline.node_is_exhausted();
        let seen = process::read(sources, process, tgid, exhausted, &mut self.pack);
        if let Some(place) = self.seen.get_mut(self.seen_count) {
            *place = seen;
            self.seen_count += 1;
        }
    }

    fn seen(&self, Tgid(tgid): Tgid) -> Option<&Seen> {
        self.seen.iter().take(self.seen_count).find(|seen| seen.number == tgid)
    }

    /// Its line was offered.
    pub fn foretold(&mut self) {
        self.is_foretold = true;
    }

    /// Whether it was.
    pub fn is_foretold(&self) -> bool {
        self.is_foretold
    }

    /// Whether there is one, or will be when it is known to be a kill.
    pub fn has_a_line(&self) -> bool {
        self.is_foretold || matches!(self.on_proof, OnProof::Foretell(_))
    }

    /// Nobody will want what would be read, or has been.
    pub fn spare(&mut self) {
        (self.is_spared, self.held, self.trigger) = (true, None, None);
        (self.next_member, self.next_read) = (self.member_count, (self.cgroups.len() + 1, 0));
    }

    /// Whether that was said.
    pub fn is_spared(&self) -> bool {
        self.is_spared
    }

    /// Makes the next of the reads that cannot wait: of who is dying or may be next, and what a line waits for. A
    /// victim that is held is read on its own CPU, so that the others have something else to do meanwhile: print its
    /// line, and read that. False: there is none `here`.
    pub fn read_urgent(&mut self, sources: &mut Sources, here: Option<u16>) -> bool {
        if self.waits_for_proof() {
            self.read_of_node(VMSTAT, sources);
            return true;
        }
        if self.is_held_here(here) && self.read_held(sources) {
            return true;
        }
        let Some(process) = self.next_process() else { return false };
        self.read_process(&process, sources);
        true
    }

    /// Whether there is such a read.
    pub fn has_urgent(&self, here: Option<u16>) -> bool {
        let has_process = self.next_member < self.member_count || self.trigger.is_some();
        self.waits_for_proof() || self.is_held_here(here) || has_process
    }

    /// Whether there is any read left.
    pub fn has_more(&self) -> bool {
        let has_files = self.next_read.0 <= self.cgroups.len() || self.owes_proof();
        self.has_urgent(None) || self.held.is_some() || has_files
    }

    /// Makes the next read. False: there is none left, or none yet.
    pub fn read_next(&mut self, sources: &mut Sources, now: BoottimeNs) -> bool {
        if self.is_its_anchors(now) {
            return false;
        }
        let until = BoottimeNs(now.0.saturating_add(self.deadline_ns));
        if self.held.is_none() && now > *self.read_until.get_or_insert(until) {
            self.time_out();
            return false;
        }
        if self.read_held(sources) || self.read_urgent(sources, None) {
            return true;
        }
        let Some((whose, file)) = self.next_file() else {
            let owes_proof = self.owes_proof();
            if owes_proof {
                self.read_of_node(VMSTAT, sources);
            }
            return owes_proof;
        };
        if let Some(Some((id, cgroup))) = self.cgroups.get(whose) {
            let read = sources.read_in_cgroup(cgroup, file);
            self.pack.source(Subject::Cgroup(*id), file, &read);
        } else {
            self.read_of_node(file, sources);
        }
        true
    }

    fn read_of_node(&mut self, file: &'static str, sources: &mut Sources) {
        let read = sources.read_of_node(file);
        if file == VMSTAT {
            self.has_vmstat = true;
            self.kernel_oom_kills = read.as_ref().ok().and_then(|vmstat| oom_kills(vmstat.bytes));
        }
        self.pack.source(Subject::Node, file, &read);
    }

    fn next_process(&mut self) -> Option<Identity> {
        let members = self.members.get(..self.member_count).unwrap_or_default();
        if let Some(&member) = members.get(self.next_member) {
            self.next_member += 1;
            return Some(Identity { tgid: Some(Tgid(member)), ..Identity::default() });
        }
        self.trigger.take()
    }

    /// Whose file is next, the node's being those behind the cgroups', and which.
    fn next_file(&mut self) -> Option<(usize, &'static str)> {
        loop {
            let (whose, place) = self.next_read;
            let files = match self.cgroups.get(whose) {
                Some(cgroup) => cgroup.as_ref().map_or(&[][..], |(_, cgroup)| cgroup.files),
                None if whose == self.cgroups.len() => NODE_FILES,
                None => return None,
            };
            if let Some(file) = files.get(place) {
                self.next_read.1 += 1;
                if *file == VMSTAT && self.has_vmstat {
                    continue;
                }
                return Some((whose, file));
            }
            self.next_read = (whose + 1, 0);
        }
    }

    /// Notes what there was no time for.
    fn time_out(&mut self) {
        while let Some(process) = self.held.take().map(|(held, _)| held).or_else(|| self.next_process()) {
            if let Some(tgid) = process.number().filter(|tgid| self.seen(*tgid).is_none()) {
                for file in PROCESS_FILES {
                    self.pack.source(Subject::Process(tgid), file, &Err(Outcome::TimedOut));
                }
            }
        }
        while let Some((whose, file)) = self.next_file() {
            let subject = match self.cgroups.get(whose) {
                Some(Some((id, _))) => Subject::Cgroup(*id),
                _ => Subject::Node,
            };
            self.pack.source(subject, file, &Err(Outcome::TimedOut));
        }
        self.has_vmstat = true;
    }

    /// What is known of it.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// When its first record was taken.
    pub fn taken_at(&self) -> BoottimeNs {
        self.taken_at
    }

    /// What it has come to; `None` where there was no memory for it.
    pub fn finish(mut self, is_unproved: bool, now: BoottimeNs) -> Option<Caught> {
        self.time_out();
        let (parcel, is_cut) = self.pack.into_parts();
        Some(Caught { parcel: parcel?, taken_at: self.taken_at, done_at: now, is_cut, is_unproved })
    }
}
