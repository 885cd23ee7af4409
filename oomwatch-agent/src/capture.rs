//! Capturing: from the ring buffer to the desk, by whichever thread comes first.
//!
//! What cannot wait is done by the anchors (`anchors.rs`), in real time; what can, by the capture thread, which lets
//! others run, and does all where there are no anchors. They block in epoll, and one at a time has the desk. None waits
//! for the network, the kubelet or a blocked stdout: the queue behind the desk is bounded. There is no timer and no
//! polling; only an incident that is open bounds their sleep. From their start to their end they allocate nothing.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
    thread,
};

use oomwatch_common::{counters::ProbeCounter, units::BoottimeNs};
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    io::{Errno, read, write},
    thread::{sched_getcpu, sched_yield},
};

use crate::{
    anchors,
    cpus::Shares,
    desk::Desk,
    job::Caught,
    pace::Pace,
    probe::{Bell, Probe},
    queue::Receiver,
    sys::{self, Priority},
};

/// The running thread, as the rest of the agent sees it.
pub struct Running {
    /// Incidents, in the order in which they were complete.
    pub incidents: Receiver<Caught>,
    stop: Arc<OwnedFd>,
    pulse: Arc<Pulse>,
    /// Gives the probe back, where there is one.
    thread: thread::JoinHandle<Option<Probe>>,
}

/// Whether the thread still turns. It sleeps for as long as nothing happens, so it must be woken to be seen turning.
pub struct Pulse {
    poke: OwnedFd,
    turned_at: AtomicU64,
}

impl Pulse {
    /// Of a thread that has turned just now.
    ///
    /// # Errors
    /// The kernel refused an eventfd.
    pub fn new() -> io::Result<Self> {
        let poke = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { poke, turned_at: AtomicU64::new(sys::boottime().0) })
    }

    /// Wakes the thread for one turn.
    pub fn poke(&self) {
        if let Err(error) = write(&self.poke, &1_u64.to_ne_bytes()) {
            tracing::debug!(%error, "the capture thread could not be woken");
        }
    }

    /// Where it shows that it was poked.
    pub fn poked(&self) -> BorrowedFd<'_> {
        self.poke.as_fd()
    }

    /// To be called by the thread before it sleeps, having done all that there was.
    pub fn turns(&self) {
        self.turned_at.store(sys::boottime().0, Ordering::Relaxed);
        // It may not have been poked, which is as good.
        read(&self.poke, &mut [0; 8]).ok();
    }

    /// When it last went to sleep, having done all that there was.
    pub fn turned_at(&self) -> BoottimeNs {
        BoottimeNs(self.turned_at.load(Ordering::Relaxed))
    }
}

impl Running {
    /// A thread that has been started.
    pub fn new(
        incidents: Receiver<Caught>,
        stop: Arc<OwnedFd>,
        pulse: Arc<Pulse>,
        thread: thread::JoinHandle<Option<Probe>>,
    ) -> Self {
        Self { incidents, stop, pulse, thread }
    }

    /// With which the thread is asked to drain the ring buffer, hand over what it has, and end.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// By which it is known to be alive.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Waits for the end of the thread; gives the probe back, whose counters can still be read.
    pub fn join(self) -> Option<Probe> {
        self.thread.join().ok().flatten()
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

/// What it takes to capture, which one thread at a time has.
struct Post {
    probe: Probe,
    desk: Desk,
}

/// Who captures, and how far that has come.
pub struct Shift {
    /// `None`: it is over.
    post: Mutex<Option<Post>>,
    /// How often the ring buffer was found empty, and every victim read with which the kernel is done.
    drained: AtomicU64,
    has_ended: AtomicBool,
    /// Wakes the capture thread.
    pulse: Arc<Pulse>,
    /// The capture thread, while it has the desk at normal priority; else 0.
    at_ease: AtomicI32,
}

impl Shift {
    fn new(probe: Probe, desk: Desk, pulse: Arc<Pulse>) -> Self {
        let post = Mutex::new(Some(Post { probe, desk }));
        let (drained, has_ended, at_ease) = (AtomicU64::new(0), AtomicBool::new(false), AtomicI32::new(0));
        Self { post, drained, has_ended, pulse, at_ease }
    }

    /// How often all that was in the ring buffer has been taken.
    pub fn drained(&self) -> u64 {
        self.drained.load(Ordering::Acquire)
    }

    /// All that was in it has been taken since that was `seen`. Once more is not enough: whoever takes it may have
    /// begun to look before.
    pub fn is_past(&self, seen: u64) -> bool {
        self.drained().saturating_sub(seen) >= 2
    }

    /// Nobody will capture any more.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// See [`Desk::victims_are_held`].
    pub fn victims_are_held(&self, anchored: Arc<Shares>) {
        if let Some(post) = self.lock().as_mut() {
            post.desk.victims_are_held(anchored);
        }
    }

    /// Does all that cannot wait, leaves the rest to the capture thread, and keeps when there will be more although no
    /// record comes. False: another thread has the desk.
    pub fn work_if_free(&self, settles_at: &mut Option<BoottimeNs>) -> bool {
        let mut post = match self.post.try_lock() {
            Ok(post) => post,
            Err(TryLockError::Poisoned(post)) => post.into_inner(),
            Err(TryLockError::WouldBlock) => {
                *settles_at = None;
                self.hurry();
                return false;
            }
        };
        let Some(Post { probe, desk }) = post.as_mut() else { return true };
        loop {
            self.drain(probe, desk);
            let now = sys::boottime();
            if !desk.read_urgent(now, u16::try_from(sched_getcpu()).ok())
                && (desk.rest_can_wait() || !desk.read_one(now))
            {
                break;
            }
        }
        let now = sys::boottime();
        *settles_at = settle(probe, desk, now);
        if desk.has_more(now) {
            self.pulse.poke();
        }
        true
    }

    /// Whoever waits for the capture thread would wait for all that comes before a thread of normal priority.
    fn hurry(&self) {
        // Anchors come here again and again: only the first of them writes.
        if self.at_ease.load(Ordering::Acquire) == 0 {
            return;
        }
        let thread = self.at_ease.swap(0, Ordering::AcqRel);
        if thread != 0
            && let Err(error) = sys::hurry(thread, Priority::Hurried)
        {
            tracing::debug!(%error, "the capture thread stays at normal priority");
        }
    }

    /// Makes all reads, one by one: an anchor comes between any two. Gives when there will be something to do although
    /// nobody wakes this thread.
    fn work_at_ease(&self, thread: i32, pace: &mut Pace) -> Option<BoottimeNs> {
        let be_at_ease = || {
            if let Err(error) = sys::be_at_ease() {
                tracing::debug!(%error, "the capture thread stays at real-time priority");
            }
        };
        // It may have been hurried when it was about to sleep.
        be_at_ease();
        // Whoever reads the line was woken before, and may have been interrupted by an anchor: the scheduler would let
        // it wait behind who has slept longer, for all that there is to read.
        sched_yield();
        let mut is_hurried = false;
        loop {
            if is_hurried {
                be_at_ease();
            }
            let mut post = self.lock();
            let Post { probe, desk } = post.as_mut()?;
            self.at_ease.store(thread, Ordering::Release);
            self.drain(probe, desk);
            if !desk.rest_can_wait() {
                self.hurry();
            }
            pace.keep(desk.is_late(sys::boottime()));
            let has_read = desk.read_one(sys::boottime());
            let settles_at = settle(probe, desk, sys::boottime());
            is_hurried = self.at_ease.swap(0, Ordering::AcqRel) == 0;
            drop(post);
            if !has_read {
                return settles_at;
            }
        }
    }

    /// All that there is to do, as fast as this thread can.
    fn work(&self) -> Option<BoottimeNs> {
        let mut post = self.lock();
        let Post { probe, desk } = post.as_mut()?;
        self.read_all(probe, desk);
        settle(probe, desk, sys::boottime())
    }

    /// The last of it, whatever is still open.
    fn end(&self) -> Option<Probe> {
        let Post { mut probe, mut desk } = self.lock().take()?;
        self.has_ended.store(true, Ordering::Release);
        desk.victims_are_let_go();
        self.read_all(&mut probe, &mut desk);
        hand_over(&probe, &mut desk, true, sys::boottime());
        Some(probe)
    }

    fn read_all(&self, probe: &mut Probe, desk: &mut Desk) {
        loop {
            self.drain(probe, desk);
            if !desk.read_one(sys::boottime()) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Post>> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self, probe: &mut Probe, desk: &mut Desk) {
        // Its place is free again when its victim has been read, or is owed: until then anchors hold on.
        while let Some(record) = probe.next_record() {
            desk.take(&record, sys::boottime());
        }
        if !desk.owes_a_victim() {
            self.drained.fetch_add(1, Ordering::Release);
        }
        #[cfg(feature = "debug-log")]
        probe.flush_log();
    }
}

/// Hands over what is complete, and says when there will be more although nothing wakes anybody.
fn settle(probe: &mut Probe, desk: &mut Desk, now: BoottimeNs) -> Option<BoottimeNs> {
    // Before the probe is asked what it has not told: then it tells all that comes behind that.
    if let Some(invocation) = desk.unawaited(now) {
        probe.unawaited().set(invocation);
    }
    hand_over(probe, desk, false, now);
    desk.looks_at(now)
}

fn hand_over(probe: &Probe, desk: &mut Desk, all: bool, now: BoottimeNs) {
    if desk.lacks_an_untold_end(all, now)
        && let Some(untold) = probe.counters().get(ProbeCounter::Untold)
    {
        desk.has_ended(untold, now);
    }
    if desk.lacks_an_end(all, now)
        && let Some(untold) = probe.counters().get(ProbeCounter::Untold)
    {
        desk.was_killed(untold, now);
    }
    desk.settle(all, now);
}

/// Starts what captures.
///
/// # Errors
/// The kernel refused an epoll, an eventfd or the thread.
pub fn start(probe: Probe, mut desk: Desk, incidents: Receiver<Caught>) -> io::Result<Running> {
    let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, stop.as_fd(), epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
    let pulse = Arc::new(Pulse::new()?);
    epoll::add(&epoll, &pulse.poke, epoll::EventData::new_u64(2), epoll::EventFlags::IN)?;
    let bells = probe.bells();
    desk.ends_wake_nobody_by(probe.unawaited());
    let shift = Arc::new(Shift::new(probe, desk, Arc::clone(&pulse)));
    let has_anchors = anchors::cast(&bells, &shift).unwrap_or_else(|error| {
        tracing::debug!(%error, "there are no anchors");
        false
    });
    if !has_anchors {
        for bell in &*bells {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, bell.as_fd(), epoll::EventData::new_u64(0), flags)?;
        }
    }
    let thread = Thread { shift, pulse: Arc::clone(&pulse), bells, has_anchors };
    let stopped = Arc::clone(&stop);
    let thread =
        thread::Builder::new().name("capture".to_owned()).spawn(move || thread.run(&epoll, &stopped))?;
    Ok(Running::new(incidents, stop, pulse, thread))
}

/// The capture thread: with anchors on all CPUs it makes the reads that can wait, at a priority that lets others run,
/// whoever reads stdout among them; without anchors it does all.
struct Thread {
    shift: Arc<Shift>,
    pulse: Arc<Pulse>,
    bells: Arc<[Bell; 2]>,
    has_anchors: bool,
}

impl Thread {
    fn run(self, epoll: &OwnedFd, stop: &OwnedFd) -> Option<Probe> {
        sys::touch_stack();
        if !self.has_anchors
            && let Err(error) = sys::make_realtime(Priority::Capture)
        {
            tracing::info!(%error,
                "no real-time priority, so a victim may be gone before it is read: give CAP_SYS_NICE");
        }
        let (thread, mut pace) = (sys::thread_id(), Pace::adapted(sys::be_preferred));
        loop {
            let settles_at =
                if self.has_anchors { self.shift.work_at_ease(thread, &mut pace) } else { self.shift.work() };
            if self.wait(epoll, stop, settles_at) {
                return self.shift.end();
            }
        }
    }

    /// Sleeps until there is something to do, an open incident's time is over, or the end is asked for: then true.
    fn wait(&self, epoll: &OwnedFd, stop: &OwnedFd, until: Option<BoottimeNs>) -> bool {
        let timeout = until.map(sys::until);
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 4];
        self.pulse.turned_at.store(sys::boottime().0, Ordering::Relaxed);
        match epoll::wait(epoll, &mut events, timeout.as_ref()) {
            Ok(_) if !self.has_anchors => self.bells.iter().for_each(Bell::noted),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "waiting for the ring buffer failed");
                return true;
            }
        }
        let mut asked = [0; 8];
        // It may not have been poked, which is as good.
        read(&self.pulse.poke, &mut asked).ok();
        read(stop, &mut asked).is_ok()
    }
}
