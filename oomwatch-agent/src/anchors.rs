//! Anchors: threads that hold a victim on its CPU until the capture thread has read it.
//!
//! The capture thread is woken on the CPU where it last ran. While that one is at work in the kernel, which most
//! kernels do not interrupt for a thread, another CPU can kill a process and bury it. So each CPU has an anchor, of
//! lower real-time priority. The CPU on which the kernel kills comes to its anchor before it leaves the kernel, and a
//! process that is killed by its own allocation, as most are, dies only after that (`exit_to_user_mode_loop`,
//! kernel/entry/common.c). The anchor then does nothing until the record has been taken. It does not call the capture
//! thread to its own CPU, which would be faster: where that is just being woken, the kernel has whoever moves it sleep
//! until it is there (`affine_move_task`, kernel/sched/core.c), and the victim goes on.

use std::{
    hint, io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, epoll, poll},
    io::Errno,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::Timespec,
};

use crate::sys::{self, Priority};

/// Of them, at the most: on more CPUs each has several, and the capture thread finds one that is free.
const ANCHORS: usize = 8;
/// An anchor holds its CPU no longer, whatever the capture thread does: below the 0.95 s of a second that real-time
/// tasks may have of it (`kernel.sched_rt_runtime_us`).
const PATIENT_NS: u64 = 800_000_000;
/// The same where it was in vain before, time after time: the capture thread is stuck, and waiting does not help.
const IMPATIENT_NS: u64 = 50_000_000;
/// Between two looks of an anchor that runs. What is beyond was no time in which anybody could have come: its CPU stood
/// still, and maybe the machine, as one does that is virtual.
const LOOK_NS: u64 = 1_000_000;
/// They only wait.
const STACK_BYTES: usize = 64 * 1024;

/// How far the capture thread has come.
#[derive(Debug, Default)]
pub struct Turns {
    /// How often it has found the ring buffer empty.
    drained: AtomicU64,
    asleep: AtomicBool,
}

impl Turns {
    /// It has taken all that was in the ring buffer.
    pub fn drained(&self) {
        self.drained.fetch_add(1, Ordering::Release);
    }

    /// It goes to sleep, or woke up.
    pub fn sleeps(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Release);
    }

    /// It has taken all that was in the ring buffer when it had found that empty so often.
    fn is_past(&self, seen: u64, is_empty: impl Fn() -> bool) -> bool {
        // Once only: it may have begun to look before. And what comes just when it goes to sleep is not taken yet.
        self.drained.load(Ordering::Acquire).saturating_sub(seen) >= 2
            || (self.asleep.load(Ordering::Acquire) && is_empty())
    }
}

/// How long an anchor holds its CPU, from what came of it before: a quarter of the time after each in vain, twice as
/// long after each that was not. So what keeps the capture thread for good costs each CPU once what it may at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patience(u64);

impl Patience {
    /// Holds on until `is_past`. `now` is a clock.
    fn hold(&mut self, is_past: impl Fn() -> bool, now: impl Fn() -> u64) {
        let (mut held, mut last) = (0, now());
        while !is_past() {
            if held >= self.0 {
                self.0 = (self.0 / 4).max(IMPATIENT_NS);
                return;
            }
            hint::spin_loop();
            let looked_at = now();
            held += looked_at.saturating_sub(last).min(LOOK_NS);
            last = looked_at;
        }
        self.0 = (self.0 * 2).min(PATIENT_NS);
    }
}

/// Starts anchors on all CPUs that this process may use. Where there is only one, whatever waits for it comes before
/// the victim by itself.
///
/// # Errors
/// The kernel refused what it takes. Without anchors the race is closer, and that is all.
pub fn cast(ring: BorrowedFd<'_>, turns: &Arc<Turns>) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let ring = Arc::new(ring.try_clone_to_owned()?);
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    if cpus.len() < 2 {
        return Ok(());
    }
    for number in 0..cpus.len().min(ANCHORS) {
        let mut own = CpuSet::new();
        cpus.iter().skip(number).step_by(ANCHORS).for_each(|&cpu| own.set(cpu));
        // Each has an epoll of its own, so that all are woken.
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &*ring, epoll::EventData::new_u64(0), flags)?;
        let (turns, ring) = (Arc::clone(turns), Arc::clone(&ring));
        let builder = thread::Builder::new().name(format!("anchor-{number}")).stack_size(STACK_BYTES);
        builder.spawn(move || {
            let bound = sched_setaffinity(None, &own).map_err(io::Error::from);
            match bound.and_then(|()| sys::make_realtime(Priority::Anchor)) {
                Ok(()) => hold(&epoll, &ring, &turns),
                Err(error) => tracing::debug!(%error, "no anchor"),
            }
        })?;
    }
    Ok(())
}

/// For as long as the process lives.
fn hold(epoll: &OwnedFd, ring: &OwnedFd, turns: &Turns) {
    let mut patience = Patience(PATIENT_NS);
    let mut events =
        [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 1];
    loop {
        match epoll::wait(epoll, &mut events, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => {
                tracing::debug!(%error, "an anchor ends");
                return;
            }
        }
        let seen = turns.drained.load(Ordering::Acquire);
        let is_past = || turns.is_past(seen, || is_empty(ring));
        patience.hold(is_past, || sys::boottime().0);
    }
}

/// What was in the ring buffer has been taken, and what was to be read for it was.
fn is_empty(ring: &OwnedFd) -> bool {
    let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(ring, PollFlags::IN)], Some(&nothing)), Ok(0))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_turn_that_may_have_begun_before_does_not_count() {
        let turns = Turns::default();
        let (empty, full) = (|| true, || false);
        assert!(!turns.is_past(0, empty));
        turns.drained();
        assert!(!turns.is_past(0, empty), "it goes on with another file");
        turns.sleeps(true);
        assert!(turns.is_past(0, empty), "nothing was left");
        assert!(!turns.is_past(0, full), "that came when it had looked, and will wake it");
        turns.sleeps(false);
        turns.drained();
        assert!(turns.is_past(0, full) && !turns.is_past(1, empty));
    }

    /// Holds on by a clock that goes on by `step` with each look, and gives how long it took by that.
    fn held(patience: &mut Patience, step: u64, until: u64) -> u64 {
        let clock = Cell::new(0);
        let now = || {
            clock.set(clock.get() + step);
            clock.get()
        };
        patience.hold(|| clock.get() >= until, now);
        clock.get()
    }

    #[test]
    fn who_waits_in_vain_again_and_again_waits_for_a_short_time() {
        let (mut patience, tick) = (Patience(PATIENT_NS), 1000);
        let in_vain: Vec<u64> = (0..5).map(|_| held(&mut patience, tick, u64::MAX) / 1_000_000).collect();
        assert_eq!(in_vain, [800, 200, 50, 50, 50]);
        // The capture thread comes again.
        for _ in 0..4 {
            assert_eq!(held(&mut patience, tick, 10_000_000), 10_000_000);
        }
        assert_eq!(patience, Patience(PATIENT_NS));
    }

    #[test]
    fn time_in_which_the_machine_stood_still_is_not_waited_for() {
        let mut patience = Patience(PATIENT_NS);
        let a_while = 100_000_000;
        assert_eq!(
            held(&mut patience, a_while, 20 * a_while),
            20 * a_while,
            "20 looks, and no more than 20 ms"
        );
        assert_eq!(held(&mut patience, a_while, u64::MAX), 801 * a_while, "800 ms of a ms each");
    }
}
