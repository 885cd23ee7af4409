//! The capture thread's desk: records in, incidents with their files out, in the order that the race with death asks
//! for.
//!
//! New records come first, and with them the `/proc` of who is about to die; then, one at a time, all other reads. It
//! has no clock, does not wait, and asks for no memory after its start: records are looked at where they lie, and kept
//! as they are. `capture.rs` and `replay.rs` drive it.

mod ends;

use std::{collections::VecDeque, sync::Arc};

use crate::{
    cpus::Shares,
    foreteller::Foreteller,
    job::{Caught, Job},
    losses::{Losses, Stage},
    marks::{Marks, Proof},
    pack::Pack,
    pool::{Parcel, Pool},
    probe::Unawaited,
    progress::{Done, Lost, Progress},
    queue::Sender,
    sources::{Roots, Sources},
};
use oomwatch_common::{
    capture::Outcome,
    foretell::is_certain,
    incident::ProbeLevel,
    outline::Outline,
    parcel::{Piece, pieces},
    peek::{Peek, Tells, peek},
    units::BoottimeNs,
};

/// Incidents that are open at once; with more, the oldest is finished with what it has.
pub const OPEN_JOBS: usize = 64;

/// For so long what is left of an incident is read among all else that the node does. Whose cgroup it is may take that
/// away as soon as its last process has ended.
const LATE_NS: u64 = 30_000_000;

/// What the desk works by.
pub struct Settings {
    /// Where to read.
    pub roots: Roots,
    /// How long the reads of one incident may take, those of its victims not counted, nanoseconds.
    pub deadline_ns: u64,
    /// `oom_kill` of `/proc/vmstat` before the probe was attached.
    pub kernel_kills: Option<u64>,
}

/// The desk.
pub struct Desk {
    sources: Sources,
    deadline_ns: u64,
    losses: Arc<Losses>,
    queue: Sender<Caught>,
    pool: Arc<Pool>,
    jobs: VecDeque<Job>,
    marks: Marks,
    /// By which lines are printed before anything is read.
    foreteller: Option<Foreteller>,
    /// Nobody wants more of an incident than its line.
    lines_are_all: bool,
    /// Nobody is asked for the names in it.
    names_are_known: bool,
    /// CPUs with an anchor each, by which whoever was killed there is kept from going on.
    anchored: Option<Arc<Shares>>,
    progress: Arc<Progress>,
    done: Done,
}

impl Desk {
    /// A desk that hands incidents to `queue`, in memory of `pool`.
    pub fn new(settings: &Settings, losses: Arc<Losses>, queue: Sender<Caught>, pool: Arc<Pool>) -> Self {
        let mut jobs = VecDeque::with_capacity(OPEN_JOBS);
        // Written once, so that the memory is there.
        let idle = || Job::new(Outline::new(0, ProbeLevel::Kprobe), Pack::new(None), BoottimeNs(0), 0);
        jobs.extend((0..OPEN_JOBS).map(|_| idle()));
        jobs.clear();
        Self {
            sources: Sources::open(&settings.roots),
            deadline_ns: settings.deadline_ns,
            losses,
            queue,
            pool,
            jobs,
            marks: Marks::new(settings.kernel_kills),
            foreteller: None,
            lines_are_all: false,
            names_are_known: false,
            anchored: None,
            progress: Arc::default(),
            done: Done::default(),
        }
    }

    /// Where it says how far it has come.
    #[must_use]
    pub fn telling(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// By which it has lines printed at once.
    #[must_use]
    pub fn foretelling(mut self, foreteller: Option<Foreteller>) -> Self {
        self.foreteller = foreteller;
        self
    }

    /// Whether nobody wants more of an incident than its line: then nothing is read for one that was printed at once.
    /// And whether nobody is asked for the names in it: then most are sure to be printed at once.
    #[must_use]
    pub fn for_lines_alone(mut self, yes: bool, names_are_known: bool) -> Self {
        (self.lines_are_all, self.names_are_known) = (yes, names_are_known);
        self
    }

    /// By which a teller that prints a line tells the probe that nobody waits for the end of that kill, where nobody
    /// wants more of it.
    pub fn ends_wake_nobody_by(&mut self, unawaited: &Arc<Unawaited>) {
        if let Some(foreteller) = self.foreteller.as_ref().filter(|_| self.lines_are_all) {
            foreteller.ends_wake_nobody_by(Arc::clone(unawaited));
        }
    }

    /// A victim that asked for the memory itself is kept on its CPU when the kernel is done with it, if that is one of
    /// these. Then whoever reads its line comes before its files.
    pub fn victims_are_held(&mut self, anchored: Arc<Shares>) {
        self.anchored = Some(anchored);
    }

    /// No victim is held any more: whoever comes first reads those that are left.
    pub fn victims_are_let_go(&mut self) {
        self.anchored = None;
        self.jobs.iter_mut().for_each(Job::is_nobodys);
    }

    /// Takes one record of the probe. What is no record is counted.
    pub fn take(&mut self, raw: &[u8], now: BoottimeNs) {
        self.done.records += 1;
        match peek(raw) {
            Ok(record) => {
                if let Tells::Begin { ended: Some(ended), .. } = record.tells {
                    self.has_ended(ended, now);
                }
                self.file(&record, raw, now);
            }
            Err(_) => self.losses.count(Stage::Malformed),
        }
    }

    /// Goes once through all that an incident will need, for the agent's own process: code and files are then in
    /// memory when there is none to be had, and the first victim is read as fast as the second.
    /// Gives what it read, for the reporter to do the same.
    pub fn warm_up(&mut self, proof: &[u8], now: BoottimeNs) -> Option<Caught> {
        let record = peek(proof).ok()?;
        let outline = Outline::new(record.incident, ProbeLevel::Kprobe);
        let mut job = Job::new(outline, Pack::new(Parcel::new(&self.pool)), now, 0);
        job.begin(&record, proof, &mut self.sources, false);
        while job.read_next(&mut self.sources, now) {}
        let caught = job.finish(false, now)?;
        let mut bytes = Vec::new();
        caught.parcel.copy_to(&mut bytes);
        let denied = pieces(&bytes).filter_map(|(_, piece)| match piece {
            Piece::Source { file, outcome: Outcome::Denied, .. } => Some(file),
            _ => None,
        });
        let denied: Vec<&str> = denied.collect();
        if !denied.is_empty() {
            let files = denied.join(", ");
            tracing::warn!(%files, "even the agent's own files are not readable: reports will lack them");
        }
        Some(caught)
    }

    fn file(&mut self, record: &Peek<'_>, raw: &[u8], now: BoottimeNs) {
        self.done.told += u64::from(record.tells_a_kill());
        self.spare_what_is_told();
        let is_counted = self.marks.is_counted(record);
        if let Some(job) = self.jobs.iter_mut().rev().find(|job| job.takes(record)) {
            job.push(record, raw, &mut self.sources);
        } else {
            let Some(outline) = Outline::start(record) else { return };
            if self.jobs.len() >= OPEN_JOBS
                && let Some(oldest) = self.jobs.pop_front()
            {
                self.finish(oldest, now);
            }
            let proves_itself = outline.level() == ProbeLevel::Kprobe;
            let pack = Pack::new(Parcel::new(&self.pool));
            let mut job = Job::new(outline, pack, now, self.deadline_ns);
            if let Some(foreteller) = &self.foreteller {
                let copy = Foreteller::copy(record, raw, &self.pool);
                if !proves_itself && !is_counted {
                    job.foretell_once_proved(copy);
                } else if let Some(copy) = copy {
                    let is_told = foretell(foreteller, &mut job, copy);
                    if !proves_itself {
                        job.trust();
                    }
                    if is_told && self.lines_are_all && self.names_are_known && is_certain(record) {
                        // Its teller will print it: the kernel may come to the end of the kill before that does.
                        foreteller.await_no_end_of(record.incident);
                        job.spare();
                    }
                }
            }
            let has_an_anchor = self.anchored.as_ref().is_some_and(|anchored| anchored.have(record.cpu));
            let is_held = job.has_a_line() && has_an_anchor && asks_itself(record);
            // There is something to do when the line is out: to read, or to say that nobody waits for the end.
            let has_more = !is_held || self.lines_are_all && proves_itself;
            if let Some(foreteller) = self.foreteller.as_ref().filter(|_| has_more) {
                foreteller.let_tell();
                spare(foreteller, &mut job, self.lines_are_all);
            }
            job.begin(record, raw, &mut self.sources, is_held);
            self.jobs.push_back(job);
        }
    }

    fn spare_what_is_told(&mut self) {
        if let Some(foreteller) = &self.foreteller {
            self.jobs.iter_mut().for_each(|job| spare(foreteller, job, self.lines_are_all));
        }
    }

    /// Makes one read, an urgent one first, else for the oldest incident that still has any. False: none has.
    pub fn read_one(&mut self, now: BoottimeNs) -> bool {
        self.let_tell();
        self.read_urgent(now, None) || self.read(now, |job, sources| job.read_next(sources, now))
    }

    /// Makes one of the reads that cannot wait, `here` on the CPU of an anchor. False: there is none.
    pub fn read_urgent(&mut self, now: BoottimeNs, here: Option<u16>) -> bool {
        if self.jobs.iter().any(|job| job.has_urgent(here)) {
            self.let_tell();
        }
        self.read(now, |job, sources| job.read_urgent(sources, here))
    }

    /// Lines come before reads.
    fn let_tell(&self) {
        if let Some(foreteller) = &self.foreteller {
            foreteller.let_tell();
        }
    }

    /// Whether there is any read left that can be made now.
    pub fn has_more(&self, now: BoottimeNs) -> bool {
        self.jobs.iter().any(|job| job.has_more() && !job.is_its_anchors(now))
    }

    /// Whether there is a victim that dies as soon as its anchor lets go.
    pub fn owes_a_victim(&self) -> bool {
        self.jobs.iter().any(Job::owes_a_victim)
    }

    /// Whether what is left is of incidents alone of which somebody has a line to read: not of a node without memory,
    /// where a thread of normal priority that asks for a page costs another process its life.
    pub fn rest_can_wait(&self) -> bool {
        self.jobs.iter().all(|job| job.is_foretold() || !job.has_more())
    }

    /// Whether what is left of an incident waits so long already that some of it may be gone.
    pub fn is_late(&self, now: BoottimeNs) -> bool {
        let since = |job: &Job| now.0.saturating_sub(job.taken_at().0);
        self.jobs.iter().any(|job| job.has_more() && since(job) > LATE_NS)
    }

    fn read(&mut self, now: BoottimeNs, read: impl Fn(&mut Job, &mut Sources) -> bool) -> bool {
        self.spare_what_is_told();
        let read = self.jobs.iter_mut().position(|job| read(job, &mut self.sources));
        if let Some(index) = read {
            self.prove(index, now);
        }
        read.is_some()
    }

    /// What was read for an incident may be the kernel's count of kills: with it those that came before it are proved
    /// first, as theirs were counted earlier.
    fn prove(&mut self, index: usize, now: BoottimeNs) {
        let Some(job) = self.jobs.get(index).filter(|job| job.awaits_proof()) else { return };
        let kills = job.kernel_oom_kills();
        if kills.is_none() {
            return;
        }
        for job in self.jobs.iter_mut().take(index + 1).filter(|job| job.awaits_proof()) {
            let proof = self.marks.prove(job, kills, now);
            job.proved(proof);
            let unproved = job.take_unproved();
            match (proof, unproved, &self.foreteller) {
                (Proof::Kill, Some(unproved), Some(foreteller)) => {
                    foretell(foreteller, job, unproved);
                }
                (Proof::NoKill, ..) => job.spare(),
                _ => {}
            }
        }
    }

    /// Hands over what is complete, or, at the end, all.
    pub fn settle(&mut self, all: bool, now: BoottimeNs) {
        while let Some(index) = self.jobs.iter().position(|job| all || job.is_settled(now)) {
            if let Some(job) = self.jobs.remove(index) {
                self.finish(job, now);
            }
        }
        self.progress.publish(Done { open: self.jobs.len() as u64, ..self.done });
    }

    /// When to look although no record comes, and nobody is woken: until then no open incident can settle.
    pub fn looks_at(&self, now: BoottimeNs) -> Option<BoottimeNs> {
        self.jobs.iter().filter_map(|job| job.looks_at(now)).min()
    }

    /// The invocation whose end is to wake nobody, see [`Job::unawaited`].
    pub fn unawaited(&self, now: BoottimeNs) -> Option<u64> {
        self.jobs.back().and_then(|job| job.unawaited(now))
    }

    fn finish(&mut self, job: Job, now: BoottimeNs) {
        let proof = job.proof().unwrap_or_else(|| self.marks.prove(&job, job.kernel_oom_kills(), now));
        let (victims, unkept, outline) = (job.outline().victims(), job.unkept(), job.outline());
        self.done.told += outline.recovered();
        self.done.groups += u64::from(outline.kills_a_group());
        if victims == 0 || proof == Proof::NoKill {
            // At level kprobe, without an end, it may still be killed.
            let is_known = outline.ended() || proof == Proof::NoKill;
            if let Some(foreteller) = self.foreteller.as_ref().filter(|_| job.is_foretold() && is_known) {
                foreteller.take_back(outline.number());
            }
            return;
        }
        if job.is_spared() {
            return;
        }
        let sent =
            job.finish(proof == Proof::Unknown, now).is_some_and(|caught| self.queue.send(caught).is_ok());
        if !sent {
            self.losses.count(Stage::Queue);
        }
        self.progress.lost.add(Lost::Queue, if sent { unkept } else { victims });
    }
}

/// False: the tellers are too far behind.
fn foretell(foreteller: &Foreteller, job: &mut Job, record: Parcel) -> bool {
    job.foretold();
    foreteller.tell(job.outline().number(), record)
}

/// Whether the victim is the task that runs where the kernel kills: who keeps that CPU keeps it from going on. Of a
/// group there are others.
fn asks_itself(record: &Peek<'_>) -> bool {
    match record.tells {
        Tells::Begin { trigger, chosen, group, .. } => trigger == chosen && !group,
        Tells::Marked { trigger, victim, .. } => trigger == victim,
        _ => false,
    }
}

/// Leaves out what is left of an incident whose line is out, where `lines_are_all`.
fn spare(foreteller: &Foreteller, job: &mut Job, lines_are_all: bool) {
    if lines_are_all && job.is_foretold() && foreteller.has_told(job.outline().number()) {
        job.spare();
    }
}

#[cfg(test)]
mod tests;
