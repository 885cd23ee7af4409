//! Anchors: threads, one on each CPU, that capture what cannot wait; and hold a victim on its CPU while another does.
//!
//! Of a kill's first record those on other CPUs are woken (the half whose numbers are even, or odd), and the first that
//! comes to run takes the desk; the kernel is at work on the CPU where it kills, and would come to its anchor last.
//! That one is woken by the end, with the rest of its half. The CPU comes to it before it leaves the kernel, and a
//! process that is killed by its own allocation, as most are, dies only after that (`exit_to_user_mode_loop`,
//! kernel/entry/common.c). There the anchor reads it, or does nothing until another one has, and so keeps the victim
//! from going on.

use std::{
    hint, io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use oomwatch_common::units::BoottimeNs;
use rustix::{event::epoll, io::Errno, thread::sched_yield};

use crate::{
    capture::Shift,
    cpus::Shares,
    probe::Bell,
    sys::{self, Priority},
};

/// An anchor holds its CPU no longer, whatever the one at the desk does: below the 0.95 s of a second that real-time
/// tasks may have of it (`kernel.sched_rt_runtime_us`).
const PATIENT_NS: u64 = 800_000_000;
/// The same where it was in vain before, time after time: whoever has the desk is stuck, and waiting does not help.
const IMPATIENT_NS: u64 = 50_000_000;
/// Between two looks of an anchor that runs. What is beyond was no time in which anybody could have come: its CPU stood
/// still, and maybe the machine, as one does that is virtual.
const LOOK_NS: u64 = 1_000_000;
/// Turns between two looks at the clock, which whoever captures reads too: an emulated one (HPET) takes 1.4 µs, and 0.2
/// more while another CPU reads it all the time.
const TURNS: u32 = 128;
/// More than [`sys::touch_stack`] wants.
const STACK_BYTES: usize = 64 * 1024;

/// How long an anchor holds its CPU, from what came of it before: a quarter of the time after each in vain, twice as
/// long after each that was not. So what keeps the desk for good costs each CPU once what it may at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patience(u64);

impl Patience {
    /// Holds on until `is_past`. `now` is a clock.
    fn hold(&mut self, mut is_past: impl FnMut() -> bool, now: impl Fn() -> u64) {
        let (mut held, mut last) = (0, now());
        while held < self.0 {
            for _ in 0..TURNS {
                if is_past() {
                    self.0 = (self.0 * 2).min(PATIENT_NS);
                    return;
                }
                hint::spin_loop();
            }
            // A line may be waiting on this CPU, to be printed by who has this priority too.
            sched_yield();
            let looked_at = now();
            held += looked_at.saturating_sub(last).min(LOOK_NS);
            last = looked_at;
        }
        self.0 = (self.0 / 4).max(IMPATIENT_NS);
    }
}

/// Starts anchors on all CPUs that this process may use. Whether they are on all of them: otherwise somebody else must
/// capture. Where each has a CPU of its own, none leaves a victim unread that is killed there.
///
/// # Errors
/// The kernel refused what it takes.
pub fn cast(bells: &Arc<[Bell; 2]>, shift: &Arc<Shift>) -> io::Result<bool> {
    let shares = Arc::new(Shares::of_this_process()?);
    let threads = shares.threads();
    let (is_there, there) = sync_channel(threads);
    for number in 0..threads {
        // Each has an epoll of its own, so that all who listen are woken, and once by each ring.
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for (bell, _) in bells.iter().zip(shares.sides(number)).filter(|(_, is_heard)| *is_heard) {
            epoll::add(&epoll, bell.as_fd(), epoll::EventData::new_u64(0), flags)?;
        }
        let (shares, shift, is_there) = (Arc::clone(&shares), Arc::clone(shift), is_there.clone());
        let bells = Arc::clone(bells);
        let builder = thread::Builder::new().name(format!("anchor-{number}")).stack_size(STACK_BYTES);
        builder.spawn(move || {
            sys::touch_stack();
            if is_cast(&shares.take(number, Priority::Capture), &is_there) {
                serve(&epoll, &*bells, &shift);
            }
        })?;
    }
    drop(is_there);
    let are_all = threads > 0 && there.iter().take(threads).filter(|&is_there| is_there).count() == threads;
    if are_all && shares.are_single() {
        shift.victims_are_held(shares);
    }
    Ok(are_all)
}

fn is_cast(taken: &io::Result<()>, is_there: &SyncSender<bool>) -> bool {
    if let Err(error) = taken {
        tracing::debug!(%error, "no anchor");
    }
    // There is a place for each.
    is_there.send(taken.is_ok()).ok();
    taken.is_ok()
}

/// Until the end of capturing.
fn serve(epoll: &OwnedFd, bells: &[Bell], shift: &Shift) {
    let mut patience = Patience(PATIENT_NS);
    let mut events =
        [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 2];
    let mut settles_at: Option<BoottimeNs> = None;
    while !shift.has_ended() {
        let timeout = settles_at.map(sys::until);
        match epoll::wait(epoll, &mut events, timeout.as_ref()) {
            // No record came: whoever has the desk settles what there is to settle.
            Ok(0) => {
                shift.work_if_free(&mut settles_at);
                continue;
            }
            Ok(_) => bells.iter().for_each(Bell::noted),
            Err(Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "an anchor ends");
                return;
            }
        }
        let seen = shift.drained();
        let is_past = || shift.is_past(seen) || shift.work_if_free(&mut settles_at);
        patience.hold(is_past, || sys::boottime().0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

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
        // The desk is free again.
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
