//! The capture thread: from the ring buffer to the queue, racing the victim's exit.
//!
//! It never waits for the network, the kubelet or a blocked stdout: the queue behind it is bounded, and what finds it
//! full is counted and dropped. New records come first, then the reads of what dies first, then all other reads.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc as blocking},
    thread,
};

use oomwatch_common::{
    capture::Capture,
    decode::{Record, decode},
    incident::Gap,
    units::{BoottimeNs, PageSize},
};
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    io::{Errno, read, write},
    time::Timespec,
};
use tokio::sync::mpsc;

use crate::{
    job::{Captured, Job, oom_kills},
    losses::{Losses, Stage},
    probe::Probe,
    sources::Roots,
    sys,
};

/// Incidents that are open at once; with more, the oldest is finished with what it has.
const OPEN_JOBS: usize = 64;
/// Captures that are allocated before the first incident, so that it need not find memory for them.
const READY_CAPTURES: usize = 4;
/// Bytes and sources that each of them has room for.
const CAPTURE_BYTES: usize = 64 * 1024;
const CAPTURE_SOURCES: usize = 64;

/// What the thread is started with.
pub struct Settings {
    /// Where to read.
    pub roots: Roots,
    /// How long the reads of one incident may take, nanoseconds.
    pub deadline_ns: u64,
    /// Length of the queue to the reporter.
    pub queue: usize,
    /// Keep the raw records with each incident.
    pub keep_records: bool,
    /// Of the running kernel.
    pub page_size: PageSize,
}

/// The running thread, as the rest of the agent sees it.
pub struct Running {
    /// Incidents, in the order in which they were complete.
    pub incidents: mpsc::Receiver<Captured>,
    /// Captures that the reporter is done with.
    pub spent: blocking::Sender<Capture>,
    stop: Arc<OwnedFd>,
    thread: thread::JoinHandle<Probe>,
}

impl Running {
    /// With which the thread is asked to drain the ring buffer, hand over what it has, and end.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Waits for the end of the thread; gives the probe back, whose counters can still be read.
    pub fn join(self) -> Option<Probe> {
        self.thread.join().ok()
    }
}

/// Ends the capture thread.
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Returns at once.
    pub fn stop(&self) {
        if let Err(error) = write(&*self.0, &1_u64.to_ne_bytes()) {
            tracing::warn!(%error, "the capture thread could not be told to stop");
        }
    }
}

/// Starts the thread.
///
/// # Errors
/// The kernel refused an epoll, an eventfd or the thread.
pub fn start(probe: Probe, settings: Settings, losses: Arc<Losses>) -> io::Result<Running> {
    let (queue, incidents) = mpsc::channel(settings.queue);
    let (spent, returned) = blocking::channel();
    let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, probe.fd(), epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    epoll::add(&epoll, stop.as_fd(), epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
    let base = std::fs::read(settings.roots.proc.join("vmstat")).ok().and_then(|vmstat| oom_kills(&vmstat));
    let capturer = Capturer {
        probe,
        settings,
        losses,
        queue,
        returned,
        ready: (0..READY_CAPTURES).map(|_| touched_capture()).collect(),
        jobs: VecDeque::with_capacity(OPEN_JOBS),
        record: Vec::with_capacity(16 * 1024),
        kernel_kills: base,
        kernel_credit: 0,
    };
    let stopped = Arc::clone(&stop);
    let thread =
        thread::Builder::new().name("capture".to_owned()).spawn(move || capturer.run(&epoll, &stopped))?;
    Ok(Running { incidents, spent, stop, thread })
}

struct Capturer {
    probe: Probe,
    settings: Settings,
    losses: Arc<Losses>,
    queue: mpsc::Sender<Captured>,
    returned: blocking::Receiver<Capture>,
    ready: Vec<Capture>,
    jobs: VecDeque<Job>,
    /// The record being looked at, copied out of the ring buffer so that its place is free again.
    record: Vec<u8>,
    /// `oom_kill` of `/proc/vmstat` when last read.
    kernel_kills: Option<u64>,
    /// Kills that the kernel has counted and no mark has claimed yet.
    kernel_credit: u64,
}

impl Capturer {
    fn run(mut self, epoll: &OwnedFd, stop: &OwnedFd) -> Probe {
        if let Err(error) = sys::make_realtime() {
            tracing::info!(%error, "no real-time priority: a victim may be gone before it is read (CAP_SYS_NICE gives it)");
        }
        let mut stopping = false;
        loop {
            self.drain();
            if self.read_one() {
                continue;
            }
            self.settle(stopping);
            if stopping {
                return self.probe;
            }
            stopping = self.wait(epoll, stop);
        }
    }

    /// Takes every record there is.
    fn drain(&mut self) {
        loop {
            match self.probe.next() {
                Some(bytes) => {
                    self.record.clear();
                    self.record.extend_from_slice(&bytes);
                }
                None => return,
            }
            match decode(&self.record, self.settings.page_size) {
                Ok(record) => self.take(record),
                Err(error) => {
                    self.losses.count(Stage::Malformed);
                    tracing::warn!(%error, "a record of the probe was not understood");
                }
            }
        }
    }

    fn take(&mut self, record: Record) {
        if let Some(job) = self.jobs.iter_mut().rev().find(|job| job.takes(&record)) {
            job.push(record, &self.record, &self.settings.roots);
            return;
        }
        if self.jobs.len() >= OPEN_JOBS
            && let Some(oldest) = self.jobs.pop_front()
        {
            self.finish(oldest);
        }
        let capture = self.returned.try_recv().ok().or_else(|| self.ready.pop()).unwrap_or_default();
        self.jobs.extend(Job::start(
            record,
            &self.record,
            capture,
            &self.settings.roots,
            sys::boottime(),
            self.settings.deadline_ns,
            self.settings.keep_records,
        ));
    }

    /// Makes one read for the oldest incident that still has any. False: none has.
    fn read_one(&mut self) -> bool {
        let now = sys::boottime();
        self.jobs.iter_mut().any(|job| job.read_next(&self.settings.roots, now))
    }

    fn settle(&mut self, all: bool) {
        let now = sys::boottime();
        while let Some(index) = self.jobs.iter().position(|job| all || job.is_settled(now)) {
            if let Some(job) = self.jobs.remove(index) {
                self.finish(job);
            }
        }
        if self.jobs.is_empty() {
            self.kernel_credit = 0;
        }
    }

    fn finish(&mut self, mut job: Job) {
        if job.marks() > 0 && !self.is_backed_by_the_kernel(&mut job) {
            self.ready.extend(job.finish(sys::boottime()).err());
            return;
        }
        match job.finish(sys::boottime()) {
            Ok(captured) => {
                if self.queue.try_send(captured).is_err() {
                    self.losses.count(Stage::Queue);
                }
            }
            Err(mut unused) => {
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
                "/proc/vmstat has no oom_kill: a process that was exiting on its own may be among them",
            ));
            return true;
        };
        self.kernel_kills = Some(now);
        self.kernel_credit = self.kernel_credit.saturating_add(now.saturating_sub(before));
        let backed = self.kernel_credit > 0;
        self.kernel_credit = self.kernel_credit.saturating_sub(job.marks());
        backed
    }

    /// Sleeps until there is a record, an open incident's time is over, or the end is asked for: then true.
    fn wait(&self, epoll: &OwnedFd, stop: &OwnedFd) -> bool {
        let timeout =
            self.jobs.iter().filter_map(Job::settles_at).min().map(|at| timespec_until(at, sys::boottime()));
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 2];
        match epoll::wait(epoll, &mut events, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "waiting for the ring buffer failed");
                return true;
            }
        }
        let mut asked = [0; 8];
        read(stop, &mut asked).is_ok()
    }
}

fn timespec_until(at: BoottimeNs, now: BoottimeNs) -> Timespec {
    // One more nanosecond, so that the time is over when this returns.
    let nanoseconds = at.0.saturating_sub(now.0).saturating_add(1);
    Timespec {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).unwrap_or(0),
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
