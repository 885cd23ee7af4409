//! The agent's reports of a storm, counted by a thread as they come: there are too many to keep.

use std::{
    collections::{BTreeMap, HashSet},
    io::{BufRead as _, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::outcome::{Gone, StatusCaptured};
use crate::report::Brief;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the reports came to.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Reports of incidents in the storm's cgroups.
    pub(super) incidents: u64,
    /// Victims in them.
    pub(super) victims: u64,
    /// Reports with an id that an earlier one had.
    pub(super) twice: u64,
    /// `/proc/PID/status`
    pub(super) status: StatusCaptured,
    /// Victims that were gone before it was read.
    pub(super) gone: Vec<Gone>,
    /// How often something was named as not read, and why.
    pub(super) gaps: BTreeMap<String, u64>,
    /// From the hook to the capture of the victim, microseconds, of each.
    pub(super) capture_us: Vec<u64>,
    /// From the hook to the report, microseconds, of each.
    pub(super) report_us: Vec<u64>,
    /// The agent's memory when half of the reports were there.
    pub(super) rss_in_the_middle: Option<u64>,
}

/// The thread that counts.
pub(super) struct Tally {
    incidents: Arc<AtomicU64>,
    thread: JoinHandle<Result<Counted>>,
}

impl Tally {
    /// Counts what comes out of `pipe` about victims in cgroups below `top`. After `middle` of them asks for `rss`.
    pub(super) fn of(
        pipe: impl Read + Send + 'static,
        top: String,
        middle: u64,
        rss: impl Fn() -> Result<u64> + Send + 'static,
    ) -> Self {
        let incidents = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&incidents);
        let thread = thread::spawn(move || {
            let (mut counted, mut ids, mut line) = (Counted::default(), HashSet::new(), Vec::new());
            let mut reader = BufReader::with_capacity(1 << 20, pipe);
            while reader.read_until(b'\n', &mut line)? > 0 {
                let report =
                    Brief::parse(&line).with_context(|| String::from_utf8_lossy(&line).into_owned())?;
                if report.victims.iter().any(|victim| victim.is_below(&top)) {
                    counted.count(&report, &mut ids);
                    seen.store(counted.incidents, Ordering::Relaxed);
                    if counted.incidents == middle {
                        counted.rss_in_the_middle = Some(rss()?);
                    }
                }
                line.clear();
            }
            Ok(counted)
        });
        Self { incidents, thread }
    }

    /// Waits until that many incidents were reported, or nothing more comes for `silence`.
    pub(super) fn wait_for(&self, incidents: u64, silence: Duration) {
        let (mut last, mut since) = (self.incidents.load(Ordering::Relaxed), Instant::now());
        while last < incidents && since.elapsed() < silence && !self.thread.is_finished() {
            thread::sleep(LOOK_EVERY);
            let now = self.incidents.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// After the end of the pipe.
    pub(super) fn end(self) -> Result<Counted> {
        self.thread.join().ok().context("the thread that counts the reports died")?
    }
}

impl Counted {
    fn count(&mut self, report: &Brief<'_>, ids: &mut HashSet<String>) {
        self.incidents += 1;
        self.twice += u64::from(!ids.insert(report.id.to_string()));
        for victim in &report.victims {
            self.victims += 1;
            self.status.victims += 1;
            self.status.read += u64::from(victim.status_from == "proc");
            self.status.alive += u64::from(victim.has_memory());
            if !victim.has_memory() {
                self.gone.push(Gone {
                    incident: report.id.to_string(),
                    pid: victim.tgid,
                    hook_to_capture_us: report.latency.hook_to_capture_us,
                });
            }
        }
        for gap in &report.gaps {
            *self.gaps.entry(format!("{}: {}", gap.what, gap.why)).or_default() += 1;
        }
        self.capture_us.extend(report.latency.hook_to_capture_us);
        self.report_us.extend(report.latency.hook_to_report_us);
    }
}
