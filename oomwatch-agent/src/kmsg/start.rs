//! The log beside the probe, and at level `kmsg` before it is followed: what is in it that was not reported.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
    thread,
    time::Duration,
};

use oomwatch_common::{
    kernel_log::{KernelLog, prints_exact_rss},
    units::PageSize,
};

use super::{Backlog, FromLog, Kmsg};
use crate::{
    config::{BacklogChoice, DEFAULT_KMSG, RunOptions},
    history::History,
    queue::Sender,
    refusal::Refusal,
    sys,
};

/// How long an incident of the probe may take to the journal, where it is looked for.
const REPORTED_WITHIN: Duration = Duration::from_secs(3);
/// How long a full queue is waited for at a time.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The log, open.
pub struct LogBook {
    /// The log, read to where it ended.
    pub(super) log: Kmsg,
    /// Its reader, with what it has of an incident that is under way.
    pub(super) lines: KernelLog,
    backlog: Option<Backlog>,
}

impl LogBook {
    /// Opens the log, and reads it where kills of before the start are to be reported.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(options: &RunOptions, page_size: PageSize) -> Result<Self, Refusal> {
        Self::read(options, page_size)
    }

    fn read(options: &RunOptions, page_size: PageSize) -> Result<Self, Refusal> {
        let mut log = Kmsg::open(&options.node.kmsg)?;
        let mut lines = lines(page_size);
        let failed = |error| Refusal::failed(format!("reading {}: {error}", options.node.kmsg.display()));
        let is_wanted = wants_backlog(options);
        let backlog = is_wanted.then(|| Backlog::read(&mut log, &mut lines)).transpose().map_err(failed)?;
        if backlog.is_none() {
            log.skip().map_err(failed)?;
        }
        Ok(Self { log, lines, backlog })
    }

    /// What was logged before the start.
    pub fn backlog(&mut self) -> Option<Backlog> {
        self.backlog.take()
    }

    /// What was logged while the probe was being attached: it may have seen that or not.
    pub fn meanwhile(&mut self) -> Option<Backlog> {
        Backlog::read(&mut self.log, &mut self.lines).ok()
    }
}

/// Whether kills of before the start are to be reported.
fn wants_backlog(options: &RunOptions) -> bool {
    options.journal.backlog == BacklogChoice::On && options.journal.journal.is_some()
}

/// Who is told of kills that no probe told of, and what tells which these are.
pub struct Told {
    history: Arc<History>,
    incidents: Sender<FromLog>,
    is_at_rest: Box<dyn Fn() -> bool + Send>,
}

impl Told {
    /// `incidents` leads to the reporter; `is_at_rest` says whether all that the probe caught is in `history`, or on
    /// its way there.
    pub fn new(
        history: &Arc<History>,
        incidents: Sender<FromLog>,
        is_at_rest: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        Self { history: Arc::clone(history), incidents, is_at_rest: Box::new(is_at_rest) }
    }
}

/// At level `kmsg`: hands over, from a thread of its own, what of the backlog has not been reported.
pub fn tell_backlog(options: &RunOptions, backlog: Option<Backlog>, told: Told) {
    spawn(options, move |teller| teller.tell(backlog.unwrap_or_default()), told);
}

/// Beside a probe, from a thread of its own: what was logged before the start, what the probe has not seen of that
/// which was logged while it was attached, and later, whenever kills were lost, what the log has of them.
pub fn tell_beside_a_probe(
    options: &RunOptions,
    page_size: PageSize,
    mut log: Result<LogBook, Refusal>,
    told: Told,
    lost: Receiver<()>,
) {
    if !wants_backlog(options) {
        return;
    }
    let (backlog, mut meanwhile) = match &mut log {
        Ok(log) => (log.backlog(), log.meanwhile()),
        Err(refused) => (None, backlog_by_syslog(options, page_size, refused)),
    };
    let is_the_nodes_own = is_the_nodes_own(options);
    let work = move |teller: Teller| {
        if let Some(backlog) = backlog {
            teller.tell(backlog);
        }
        loop {
            if let Some(backlog) = meanwhile {
                thread::sleep(REPORTED_WITHIN);
                teller.tell(backlog);
            }
            if lost.recv().is_err() {
                return;
            }
            while !(teller.told.is_at_rest)() {
                thread::sleep(AGAIN_AFTER);
            }
            meanwhile = match &mut log {
                Ok(log) => log.meanwhile(),
                Err(_) if is_the_nodes_own => Backlog::by_syslog(&mut lines(page_size)).ok(),
                Err(_) => None,
            };
        }
    };
    spawn(options, work, told);
}

/// What was logged until now, for who could not open the log: containers are rarely given the device, while syslog(2)
/// needs a capability alone. `None`: not to be had, which is said.
fn backlog_by_syslog(options: &RunOptions, page_size: PageSize, refused: &Refusal) -> Option<Backlog> {
    let read = is_the_nodes_own(options).then(|| Backlog::by_syslog(&mut lines(page_size)).ok()).flatten();
    if read.is_none() {
        tracing::info!(error = %refused, "kills that the kernel logged before this start are not reported");
    }
    read
}

/// syslog(2) reads no other.
fn is_the_nodes_own(options: &RunOptions) -> bool {
    options.node.kmsg == Path::new(DEFAULT_KMSG)
}

fn lines(page_size: PageSize) -> KernelLog {
    KernelLog::new(page_size, prints_exact_rss(&sys::kernel_release()))
}

struct Teller {
    dir: PathBuf,
    boot_id: String,
    told: Told,
}

impl Teller {
    fn tell(&self, backlog: Backlog) {
        let found = backlog.unreported(&self.dir, &self.boot_id, &self.told.history);
        if !found.is_empty() {
            tracing::info!(incidents = found.len(), "the kernel's log has kills that no probe told of");
        }
        for mut incident in found {
            while let Err(refused) = self.told.incidents.send(incident) {
                incident = refused;
                thread::sleep(AGAIN_AFTER);
            }
        }
    }
}

fn spawn(options: &RunOptions, work: impl FnOnce(Teller) + Send + 'static, told: Told) {
    let (Some(dir), Some(boot_id)) = (options.journal.journal.clone(), sys::boot_id(&options.node.proc))
    else {
        return;
    };
    let teller = Teller { dir, boot_id, told };
    if let Err(error) = thread::Builder::new().name("backlog".to_owned()).spawn(move || work(teller)) {
        tracing::warn!(%error, "kills that no probe told of are not reported: no thread for it");
    }
}
