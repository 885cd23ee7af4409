//! An alarm that wakes once and at the time: a sleep of tokio's is up to three wakeups, as its wheel of timers turns.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::{
    io::{Errno, read},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{io::unix::AsyncFd, time::sleep};

use crate::sys;

/// The alarm, for one waiter at a time. Where there is no descriptor left for it, it is a sleep of tokio's.
pub struct Alarm(Option<AsyncFd<Arc<OwnedFd>>>);

impl Alarm {
    /// To be called within a tokio runtime.
    pub fn new() -> Self {
        Self(timer().inspect_err(|error| tracing::debug!(%error, "no timer of the kernel's")).ok())
    }

    /// Waits.
    pub async fn after(&self, wait: Duration) {
        if let Some(timer) = &self.0 {
            match ring(timer, wait).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "a timer of the kernel's failed"),
            }
        }
        sleep(wait).await;
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

fn timer() -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    sys::awaitable(Arc::new(timerfd_create(TimerfdClockId::Monotonic, flags)?))
}

async fn ring(timer: &AsyncFd<Arc<OwnedFd>>, wait: Duration) -> io::Result<()> {
    // 0 would mean: never.
    let wait = Timespec::try_from(wait.max(Duration::from_nanos(1))).map_err(io::Error::other)?;
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: wait };
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
    loop {
        let mut ready = timer.readable().await?;
        let rung = read(timer.get_ref(), &mut [0; 8]);
        ready.clear_ready();
        match rung {
            Ok(_) => return Ok(()),
            // It was ready for a waiter who has gone since.
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_rings_once_for_each_time() {
        let alarm = Alarm::new();
        for wait in [0, 30, 10] {
            let (wait, begun) = (Duration::from_millis(wait), Instant::now());
            alarm.after(wait).await;
            assert!(begun.elapsed() >= wait);
        }
        // A waiter that goes away before: the next one has its own time.
        assert!(timeout(Duration::from_millis(5), alarm.after(Duration::from_millis(10))).await.is_err());
        let begun = Instant::now();
        alarm.after(Duration::from_millis(50)).await;
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }
}
