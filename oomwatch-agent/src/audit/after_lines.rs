//! When to look: after something has happened where a kill leaves a trace at once.
//!
//! That is the kernel's log, where it prints "Killed process" when it has counted a kill, however many there are
//! (`__oom_kill_process`, mm/oom_kill.c). Or, where that cannot be had, the cgroups' own counts (`of_cgroups.rs`). What
//! happened does not matter here, so nothing of it is read; and since other things happen there too, how often that may
//! wake anybody is bounded.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use oomwatch_common::units::BoottimeNs;
use rustix::{
    fs::{FileType, Mode, OFlags, SeekFrom, fstat, major, minor, open, seek},
    io::{Errno, read},
};

use super::{EVERY, of_cgroups::Events};
use crate::{alarm::Alarm, sys};

/// Major and minor number of `/dev/kmsg` (drivers/char/mem.c). Nothing else tells of this kernel's kills.
const DEVICE: (u32, u32) = (1, 11);
/// From a line to the look, and from one look to the next while kills are not accounted for: until then a kill is over
/// as a rule, and its report written.
const SOON: Duration = Duration::from_secs(1);
/// From a line to the look at most: with one more look after it lost kills are found within 10 s.
const LATE: Duration = Duration::from_secs(8);
/// So many looks follow one another soon. Where kills do not end there is no hurry.
const HURRIED: u32 = 8;

/// What is watched, and asked for nothing but whether something is new.
#[derive(Debug)]
pub(super) enum Trace {
    /// The kernel's log.
    Log(Arc<OwnedFd>),
    /// The cgroups' counts.
    Cgroups(Events),
}

/// How long after a line is looked, and how often, before the next line is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    wait: Duration,
    count: u32,
}

impl Looks {
    /// The line came after the log had been quiet for so long. However lines come, they cost no more wakeups than a
    /// look every 5 s does (see the tests): one by the line and one for each look.
    fn after(quiet: Duration) -> Self {
        match quiet.as_secs() {
            15.. => Self { wait: SOON, count: 1 },
            2.. => Self { wait: LATE, count: 1 },
            _ => Self { wait: LATE, count: 2 },
        }
    }
}

impl Trace {
    /// Opens the kernel's log at its end.
    pub(super) fn log(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let log = open(path, flags, Mode::empty())?;
        let found = fstat(&log)?;
        let is_a_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
        if !is_a_device || (major(found.st_rdev), minor(found.st_rdev)) != DEVICE {
            return Err(io::Error::other(format!("{} is not the kernel's log", path.display())));
        }
        let log = Self::Log(Arc::new(log));
        log.skip()?;
        Ok(log)
    }

    /// Leaves out all that is there.
    fn skip(&self) -> io::Result<()> {
        let log = match self {
            Self::Log(log) => log,
            Self::Cgroups(events) => return events.skip(),
        };
        match seek(log, SeekFrom::End(0)) {
            Ok(_) => Ok(()),
            // The tests' pipe.
            Err(Errno::SPIPE) => match read(log, &mut [0; 4096]) {
                Ok(_) | Err(Errno::AGAIN) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until there is something new. Only as long as this waits does a line wake anybody.
    async fn written(&self) -> io::Result<()> {
        let file = match self {
            Self::Log(log) => log,
            Self::Cgroups(events) => events.file(),
        };
        let watched = sys::awaitable(Arc::clone(file))?;
        watched.readable().await?.retain_ready();
        Ok(())
    }
}

/// Looks whenever something new was there, until that fails. `look` says whether all that was killed before that
/// time is accounted for.
pub(super) async fn look_after_lines(
    trace: &Trace,
    alarm: &Alarm,
    mut look: impl FnMut(BoottimeNs) -> bool,
) -> io::Error {
    loop {
        let since = Instant::now();
        if let Err(error) = trace.written().await {
            return error;
        }
        let planned = Looks::after(since.elapsed());
        for _ in 0..planned.count {
            alarm.after(planned.wait).await;
            // Before the look: a kill that is logged after this is counted after this, and comes next.
            if let Err(error) = trace.skip() {
                return error;
            }
            let (skipped_at, mut looks) = (sys::boottime(), 0);
            while !look(skipped_at) {
                looks += 1;
                alarm.after(if looks < HURRIED { SOON } else { EVERY }).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Write as _,
        sync::atomic::{AtomicU32, Ordering},
    };

    use rustix::pipe::{PipeFlags, pipe_with};
    use tokio::time::timeout;

    use super::*;

    /// Wakeups in an hour, of lines at such intervals, as [`look_after_lines`] has them where nothing is killed.
    fn wakeups_in_an_hour(interval: Duration) -> u32 {
        let (mut wakeups, mut now) = (0, Duration::ZERO);
        let mut line = interval;
        while now < Duration::from_hours(1) {
            let quiet = line.saturating_sub(now);
            now = now.max(line);
            let planned = Looks::after(quiet);
            now += planned.wait * planned.count;
            wakeups += u32::from(!quiet.is_zero()) + planned.count;
            while line <= now {
                line += interval;
            }
        }
        wakeups
    }

    #[test]
    fn lines_cost_no_more_wakeups_than_the_clock_does() {
        let by_the_clock = 60 * 60 / 5;
        for milliseconds in (10..40_000).step_by(10) {
            let wakeups = wakeups_in_an_hour(Duration::from_millis(milliseconds));
            assert!(wakeups <= by_the_clock + 3, "{wakeups} by a line each {milliseconds} ms");
        }
    }

    #[test]
    fn a_lost_kill_is_found_within_ten_seconds() {
        // By two looks: a count of the kernel's is held against a later one of the probe's.
        for quiet in 0..60 {
            let until_found = Looks::after(Duration::from_secs(quiet)).wait + SOON;
            assert!(until_found < Duration::from_secs(10), "{until_found:?}");
        }
    }

    #[tokio::test]
    async fn a_line_is_looked_at_until_all_is_accounted_for_and_nothing_is_done_without() {
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let (log, mut writes, looks) = (Trace::Log(Arc::new(reads)), File::from(writes), AtomicU32::new(0));
        let alarm = Alarm::new();
        let looking = look_after_lines(&log, &alarm, |_| looks.fetch_add(1, Ordering::Relaxed) == 1);
        let mut looking = Box::pin(looking);
        assert!(timeout(Duration::from_millis(50), &mut looking).await.is_err());
        assert_eq!(looks.load(Ordering::Relaxed), 0, "nothing was written");
        writes.write_all(b"Killed process").unwrap();
        let begun = Instant::now();
        // The log was quiet only for a moment, so nobody hurries.
        while looks.load(Ordering::Relaxed) < 2 && begun.elapsed() < Duration::from_mins(1) {
            assert!(timeout(Duration::from_millis(50), &mut looking).await.is_err());
        }
        assert!(begun.elapsed() >= LATE + SOON, "after {:?}", begun.elapsed());
        drop(looking);
        assert!(log.skip().is_ok() && timeout(SOON, log.written()).await.is_err(), "it is read to its end");
    }

    #[test]
    fn what_is_not_the_kernels_log_tells_nothing() {
        for other in ["/dev/null", "/proc/kmsg-is-not-here", "/proc/version"] {
            assert!(Trace::log(Path::new(other)).is_err(), "{other}");
        }
    }
}
