//! Level `kmsg`: a thread that waits for the log, and hands over each incident once it is whole.

use std::{io, os::fd::OwnedFd, sync::Arc, thread};

use oomwatch_common::kernel_log::{KernelLog, Logged};
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    io::{Errno, read},
    time::Timespec,
};

use super::{FromLog, Kmsg, LogBook, Next};
use crate::{
    capture::{Pulse, Running},
    job::Caught,
    losses::{Losses, Stage},
    probe::Probe,
    queue::{Receiver, Sender},
    sources::Roots,
};

/// A kill is followed at once by the rest of its group, a header by its kill. When nothing has come for so long,
/// nothing will: a slow serial console takes 0.2 s for a line.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// To whom the thread tells.
pub struct Telling {
    /// Where what could not be told is counted.
    pub losses: Arc<Losses>,
    /// To the reporter.
    pub incidents: Sender<FromLog>,
    /// The end of the probe's queue, which stays open for as long as the thread runs.
    pub open: Sender<Caught>,
}

impl LogBook {
    /// Starts a thread that goes on reading. `nothing` is the other end of [`Telling::open`].
    ///
    /// # Errors
    /// The kernel refused an epoll, an eventfd or the thread.
    pub fn follow(self, roots: Roots, telling: Telling, nothing: Receiver<Caught>) -> io::Result<Running> {
        let Self { log, lines, .. } = self;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let pulse = Arc::new(Pulse::new()?);
        epoll::add(&epoll, &log, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &*stop, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
        epoll::add(&epoll, pulse.poked(), epoll::EventData::new_u64(2), epoll::EventFlags::IN)?;
        let thread = Thread { log, lines, roots, telling, pulse: Arc::clone(&pulse) };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("kernel-log".to_owned()).spawn(move || {
            thread.run(&epoll, &stopped);
            None::<Probe>
        })?;
        Ok(Running::new(nothing, stop, pulse, thread))
    }
}

struct Thread {
    log: Kmsg,
    lines: KernelLog,
    roots: Roots,
    telling: Telling,
    pulse: Arc<Pulse>,
}

impl Thread {
    fn run(mut self, epoll: &OwnedFd, stop: &OwnedFd) {
        loop {
            let mut whole = Vec::new();
            let (lines, losses) = (&mut self.lines, &self.telling.losses);
            let drained = self.log.drain(|next| match next {
                Next::Record(record) => whole.extend(lines.record(&record)),
                Next::Overrun => {
                    losses.count(Stage::KernelLog);
                    lines.lost();
                    tracing::warn!("the kernel's log was faster than its reader: kills in it may be lost");
                }
            });
            self.tell(whole);
            if let Err(error) = drained {
                tracing::error!(%error, "reading the kernel's log failed");
                return;
            }
            match self.wait(epoll) {
                Ok(0) => {
                    let last = self.lines.finish();
                    self.tell(last);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "waiting for the kernel's log failed");
                    return;
                }
            }
            if read(stop, &mut [0; 8]).is_ok() {
                let last = self.lines.finish();
                self.tell(last);
                return;
            }
        }
    }

    fn wait(&self, epoll: &OwnedFd) -> Result<usize, Errno> {
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 3];
        let quiet = self.lines.is_pending().then_some(&QUIET);
        self.pulse.turns();
        let woken = epoll::wait(epoll, &mut events, quiet)?;
        // The device never ends; a pipe in its place does.
        let ended = |event: &epoll::Event| {
            let flags = event.flags;
            flags.contains(epoll::EventFlags::HUP)
        };
        if events.iter().take(woken).any(ended) { Err(Errno::PIPE) } else { Ok(woken) }
    }

    fn tell(&self, whole: impl IntoIterator<Item = Logged>) {
        for logged in whole {
            let incident = FromLog::live(logged, &self.roots);
            if self.telling.incidents.send(incident).is_err() {
                self.telling.losses.count(Stage::Queue);
            }
        }
    }
}
