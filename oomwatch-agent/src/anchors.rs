//! Anchors: threads that hold a victim on its CPU until the capture thread has read it.
//!
//! The capture thread is woken on the CPU where it last ran. While that one is at work in the kernel, which most
//! kernels do not interrupt for a thread, another CPU can kill a process and bury it. So each CPU has an anchor, of
//! lower real-time priority. The CPU on which the kernel kills comes to its anchor before it leaves the kernel, and a
//! process that is killed by its own allocation, as most are, dies only after that (`exit_to_user_mode_loop`,
//! kernel/entry/common.c). The anchor then does nothing until the record has been taken.

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
    event::epoll,
    io::Errno,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::sys::{self, Priority};

/// Of them, at the most: on more CPUs each has several, and the capture thread finds one that is free.
const ANCHORS: usize = 8;
/// An anchor holds its CPU no longer, whatever the capture thread does.
const HOLD_NS: u64 = 50_000_000;
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

    /// It has looked at the ring buffer since it had found it empty so often.
    fn is_past(&self, seen: u64) -> bool {
        match self.drained.load(Ordering::Acquire).saturating_sub(seen) {
            0 => false,
            // It may have begun to look before.
            1 => self.asleep.load(Ordering::Acquire),
            _ => true,
        }
    }
}

/// Starts anchors on all CPUs that this process may use. Where there is only one, whatever waits for it comes before
/// the victim by itself.
///
/// # Errors
/// The kernel refused what it takes. Without anchors the race is closer, and that is all.
pub fn cast(ring: BorrowedFd<'_>, turns: &Arc<Turns>) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
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
        epoll::add(&epoll, ring, epoll::EventData::new_u64(0), flags)?;
        let turns = Arc::clone(turns);
        let builder = thread::Builder::new().name(format!("anchor-{number}")).stack_size(STACK_BYTES);
        builder.spawn(move || {
            let bound = sched_setaffinity(None, &own).map_err(io::Error::from);
            match bound.and_then(|()| sys::make_realtime(Priority::Anchor)) {
                Ok(()) => hold(&epoll, &turns),
                Err(error) => tracing::debug!(%error, "no anchor"),
            }
        })?;
    }
    Ok(())
}

/// For as long as the process lives.
fn hold(epoll: &OwnedFd, turns: &Turns) {
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
        let (seen, until) = (turns.drained.load(Ordering::Acquire), sys::boottime().0 + HOLD_NS);
        while !turns.is_past(seen) && sys::boottime().0 < until {
            hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn a_turn_that_may_have_begun_before_does_not_count() {
        let turns = Turns::default();
        assert!(!turns.is_past(0));
        turns.drained();
        assert!(!turns.is_past(0), "it goes on with another file");
        turns.sleeps(true);
        assert!(turns.is_past(0), "nothing was left");
        turns.sleeps(false);
        turns.drained();
        assert!(turns.is_past(0) && !turns.is_past(1));
    }
}
