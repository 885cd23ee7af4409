//! The capture thread's desk: records in, captured incidents out, in the order that the race with death asks for.
//!
//! New records come first, and with them the `/proc` of who is about to die; then, one at a time, all other reads. It
//! has no clock and does not wait; `capture.rs` and `replay.rs` drive it.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc as blocking},
};

use oomwatch_common::{
    capture::{Capture, NODE_FILES, Outcome},
    decode::{Body, Record, decode},
    incident::Gap,
    units::{BoottimeNs, PageSize},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    job::{Captured, Job},
    losses::{Losses, Stage},
    progress::{Done, Lost, Progress},
    sources::{Roots, members, plan_memcg, plan_node, read_process},
};

/// Incidents that are open at once; with more, the oldest is finished with what it has.
const OPEN_JOBS: usize = 64;
/// Captures that are allocated before the first incident, so that it need not find memory for them; and that
/// are kept when they come back.
pub const READY_CAPTURES: usize = 4;
/// Bytes and sources that each of them has room for.
const CAPTURE_BYTES: usize = 64 * 1024;
const CAPTURE_SOURCES: usize = 64;

/// What the desk works by.
pub struct Settings {
    /// Where to read.
    pub roots: Roots,
    /// How long the reads of one incident may take, nanoseconds.
    pub deadline_ns: u64,
    /// Keep the raw records with each incident.
    pub keep_records: bool,
    /// Of the running kernel.
    pub page_size: PageSize,
    /// `oom_kill` of `/proc/vmstat` before the probe was attached.
    pub kernel_kills: Option<u64>,
}

/// The desk.
pub struct Desk {
    settings: Settings,
    losses: Arc<Losses>,
    queue: mpsc::Sender<Captured>,
    returned: blocking::Receiver<Capture>,
    ready: Vec<Capture>,
    jobs: VecDeque<Job>,
    /// `oom_kill` of `/proc/vmstat` when last read.
    kernel_kills: Option<u64>,
    /// Kills that the kernel has counted and no mark has claimed yet.
    kernel_credit: u64,
    progress: Arc<Progress>,
    done: Done,
}

impl Desk {
    /// A desk that hands incidents to `queue` and takes used captures back from `returned`.
    pub fn new(
        settings: Settings,
        losses: Arc<Losses>,
        queue: mpsc::Sender<Captured>,
        returned: blocking::Receiver<Capture>,
    ) -> Self {
        let ready = (0..READY_CAPTURES).map(|_| touched_capture()).collect();
        let (kernel_kills, jobs) = (settings.kernel_kills, VecDeque::with_capacity(OPEN_JOBS));
        Self {
            settings,
            losses,
            queue,
            returned,
            ready,
            jobs,
            kernel_kills,
            kernel_credit: 0,
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

    /// Takes one record of the probe. What is no record is counted.
    pub fn take(&mut self, raw: &[u8], now: BoottimeNs) {
        self.done.records += 1;
        match decode(raw, self.settings.page_size) {
            Ok(record) => {
                self.done.told += u64::from(matches!(record.body, Body::Killed { .. } | Body::Marked(_)));
                self.file(record, raw, now);
            }
            Err(error) => {
                self.losses.count(Stage::Malformed);
                tracing::warn!(%error, "a record of the probe was not understood");
            }
        }
    }

    /// Goes once through all that an incident will need, for the agent's own process: code and files are then in
    /// memory when there is none to be had, and the first victim is read as fast as the second.
    pub fn warm_up(&mut self, proof: &[u8], now: BoottimeNs) {
        let Ok(Record { body: Body::Proof(process), .. }) = decode(proof, self.settings.page_size) else {
            return;
        };
        let Some(mut capture) = self.ready.pop() else { return };
        let roots = &self.settings.roots;
        read_process(roots, &process, true, &mut capture);
        let mut plan = Vec::new();
        if let Some(memcg) = &process.memcg {
            drop(members(roots, memcg));
            plan_memcg(roots, memcg, &mut plan);
        }
        plan_node(roots, NODE_FILES, &mut plan);
        for read in &plan {
            read.perform(&mut capture);
        }
        let denied = capture.sources.iter().filter(|source| source.outcome == Outcome::Denied);
        let denied: Vec<&str> = denied.map(|source| source.file).collect();
        if !denied.is_empty() {
            let files = denied.join(", ");
            tracing::warn!(%files, "even the agent's own files are not readable: reports will lack them");
        }
        capture.done_at = now;
        clear(&mut capture);
        self.ready.push(capture);
    }

    fn file(&mut self, record: Record, raw: &[u8], now: BoottimeNs) {
        let roots = &self.settings.roots;
        if let Some(job) = self.jobs.iter_mut().rev().find(|job| job.takes(&record)) {
            job.push(record, raw, roots);
            return;
        }
        if self.jobs.len() >= OPEN_JOBS
            && let Some(oldest) = self.jobs.pop_front()
        {
            self.finish(oldest, now);
        }
        let capture = self.returned.try_recv().ok().or_else(|| self.ready.pop()).unwrap_or_default();
        let until = BoottimeNs(now.0.saturating_add(self.settings.deadline_ns));
        let mut job = Job::start(record, capture, &self.settings.roots, now, until);
        if let Some(job) = &mut job
            && self.settings.keep_records
        {
            job.keep_records(raw);
        }
        self.jobs.extend(job);
    }

    /// Makes one read for the oldest incident that still has any. False: none has.
    pub fn read_one(&mut self, now: BoottimeNs) -> bool {
        self.jobs.iter_mut().any(|job| job.read_next(&self.settings.roots, now))
    }

    /// Hands over what is complete, or, at the end, all.
    pub fn settle(&mut self, all: bool, now: BoottimeNs) {
        while let Some(index) = self.jobs.iter().position(|job| all || job.is_settled(now)) {
            if let Some(job) = self.jobs.remove(index) {
                self.finish(job, now);
            }
        }
        if self.jobs.is_empty() {
            self.kernel_credit = 0;
        }
        self.progress.publish(Done { open: self.jobs.len() as u64, ..self.done });
    }

    /// When the next open incident settles, if no record comes.
    pub fn settles_at(&self) -> Option<BoottimeNs> {
        self.jobs.iter().filter_map(Job::settles_at).min()
    }

    fn finish(&mut self, mut job: Job, now: BoottimeNs) {
        let killed = job.marks() == 0 || self.is_backed_by_the_kernel(&mut job);
        self.done.told += job.recovered();
        self.done.groups += u64::from(job.kills_a_group());
        match job.finish(now) {
            Ok(captured) if killed => {
                if let Err(TrySendError::Full(captured) | TrySendError::Closed(captured)) =
                    self.queue.try_send(captured)
                {
                    self.losses.count(Stage::Queue);
                    self.progress.lost.add(Lost::Queue, captured.incident.victims.len() as u64);
                }
            }
            Ok(Captured { capture: mut unused, .. }) | Err(mut unused) => {
                clear(&mut unused);
                self.ready.push(unused);
            }
        }
    }

    /// `mark_victim` also fires for a task that was exiting on its own, and nothing in its arguments tells the two
    /// apart. The kernel counts a kill just before it marks (`__oom_kill_process`, mm/oom_kill.c), and no exit: a mark
    /// that no count stands behind is no kill.
    fn is_backed_by_the_kernel(&mut self, job: &mut Job) -> bool {
        let Some((before, now)) = self.kernel_kills.zip(job.kernel_oom_kills()) else {
            job.gap(Gap::new(
                "victims",
                "/proc/vmstat has no oom_kill: one that was exiting on its own may be among them",
            ));
            return true;
        };
        self.kernel_kills = Some(now);
        self.kernel_credit = self.kernel_credit.saturating_add(now.saturating_sub(before));
        let backed = self.kernel_credit > 0;
        self.kernel_credit = self.kernel_credit.saturating_sub(job.marks());
        backed
    }
}

/// A capture whose memory is really there.
fn touched_capture() -> Capture {
    let mut capture = Capture { sources: Vec::with_capacity(CAPTURE_SOURCES), ..Capture::default() };
    capture.bytes.resize(CAPTURE_BYTES, 1);
    capture.bytes.clear();
    capture
}

/// Empties a capture, keeping its memory.
pub fn clear(capture: &mut Capture) {
    capture.sources.clear();
    capture.bytes.clear();
}

#[cfg(test)]
mod tests;
