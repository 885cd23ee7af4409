//! The capture thread: blocks in epoll on the ring buffer, and feeds the desk.
//!
//! It never waits for the network, the kubelet or a blocked stdout: the queue behind it is bounded. There is no
//! timer and no polling; only an incident that is open bounds its sleep. From its start to its end it allocates
//! nothing.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use oomwatch_common::units::BoottimeNs;
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    io::{Errno, read, write},
    time::Timespec,
};

use crate::{
    anchors::{self, Turns},
    desk::Desk,
    job::Caught,
    probe::Probe,
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

/// Starts the thread.
///
/// # Errors
/// The kernel refused an epoll, an eventfd or the thread.
pub fn start(probe: Probe, desk: Desk, incidents: Receiver<Caught>) -> io::Result<Running> {
    let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, probe.fd(), epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    epoll::add(&epoll, stop.as_fd(), epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
    let pulse = Arc::new(Pulse::new()?);
    epoll::add(&epoll, &pulse.poke, epoll::EventData::new_u64(2), epoll::EventFlags::IN)?;
    let turns = Arc::new(Turns::default());
    if let Err(error) = anchors::cast(probe.fd(), &turns) {
        tracing::debug!(%error, "there are no anchors, or not on all CPUs");
    }
    let thread = Thread { probe, desk, pulse: Arc::clone(&pulse), turns };
    let stopped = Arc::clone(&stop);
    let thread = thread::Builder::new()
        .name("capture".to_owned())
        .spawn(move || Some(thread.run(&epoll, &stopped)))?;
    Ok(Running::new(incidents, stop, pulse, thread))
}

struct Thread {
    probe: Probe,
    desk: Desk,
    pulse: Arc<Pulse>,
    turns: Arc<Turns>,
}

impl Thread {
    fn run(mut self, epoll: &OwnedFd, stop: &OwnedFd) -> Probe {
        sys::touch_stack();
        if let Err(error) = sys::make_realtime(Priority::Capture) {
            tracing::info!(%error,
                "no real-time priority, so a victim may be gone before it is read: give CAP_SYS_NICE");
        }
        let mut stopping = false;
        loop {
            // Its place is free again when its victim has been read: until then anchors hold on.
            while let Some(record) = self.probe.next_record() {
                self.desk.take(&record, sys::boottime());
            }
            self.turns.drained();
            #[cfg(feature = "debug-log")]
            self.probe.flush_log();
            if self.desk.read_one(sys::boottime()) {
                continue;
            }
            self.desk.settle(stopping, sys::boottime());
            if stopping {
                return self.probe;
            }
            stopping = self.wait(epoll, stop);
        }
    }

    /// Sleeps until there is a record, an open incident's time is over, or the end is asked for: then true.
    fn wait(&self, epoll: &OwnedFd, stop: &OwnedFd) -> bool {
        let timeout = self.desk.settles_at().map(|at| timespec_until(at, sys::boottime()));
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 3];
        self.pulse.turned_at.store(sys::boottime().0, Ordering::Relaxed);
        self.turns.sleeps(true);
        let woken = epoll::wait(epoll, &mut events, timeout.as_ref());
        self.turns.sleeps(false);
        match woken {
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

fn timespec_until(at: BoottimeNs, now: BoottimeNs) -> Timespec {
    // One more nanosecond, so that the time is over when this returns.
    let nanoseconds = at.0.saturating_sub(now.0).saturating_add(1);
    Timespec {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).unwrap_or(0),
    }
}
