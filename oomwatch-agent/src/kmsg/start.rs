//! The log at the agent's start: what is in it already, and from where on it is followed.

use std::{io, path::Path, sync::Arc, thread, time::Duration};

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
        let mut lines = KernelLog::new(page_size, prints_exact_rss(&sys::kernel_release()));
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

/// What was logged until now, for who could not open the log: containers are rarely given the device, while syslog(2)
/// needs a capability alone. `None`: it is not wanted, or not to be had, which is said.
pub fn backlog_by_syslog(options: &RunOptions, page_size: PageSize, refused: &Refusal) -> Option<Backlog> {
    if !wants_backlog(options) {
        return None;
    }
    let is_the_nodes_own = options.node.kmsg == Path::new(DEFAULT_KMSG);
    let mut lines = KernelLog::new(page_size, prints_exact_rss(&sys::kernel_release()));
    let read =
        if is_the_nodes_own { Backlog::by_syslog(&mut lines) } else { Err(io::ErrorKind::NotFound.into()) };
    if read.is_err() {
        tracing::info!(error = %refused, "kills that the kernel logged before this start are not reported");
    }
    read.ok()
}

/// Whether kills of before the start are to be reported.
fn wants_backlog(options: &RunOptions) -> bool {
    options.journal.backlog == BacklogChoice::On && options.journal.journal.is_some()
}

/// Hands over, from a thread of its own, what of the backlog has not been reported; and later, what of `meanwhile` the
/// probe has not.
pub fn tell_backlog(
    options: &RunOptions,
    backlog: Option<Backlog>,
    meanwhile: Option<Backlog>,
    history: Arc<History>,
    incidents: Sender<FromLog>,
) {
    let Some(dir) = options.journal.journal.clone().filter(|_| backlog.is_some() || meanwhile.is_some())
    else {
        return;
    };
    let Some(boot_id) = sys::boot_id(&options.node.proc) else { return };
    let told = thread::Builder::new().name("backlog".to_owned()).spawn(move || {
        let tell = |backlog: Backlog| {
            let found = backlog.unreported(&dir, &boot_id, &history);
            if !found.is_empty() {
                tracing::info!(
                    incidents = found.len(),
                    "the kernel killed while the agent did not run: from its log"
                );
            }
            for mut incident in found {
                while let Err(refused) = incidents.send(incident) {
                    incident = refused;
                    thread::sleep(AGAIN_AFTER);
                }
            }
        };
        if let Some(backlog) = backlog {
            tell(backlog);
        }
        if let Some(meanwhile) = meanwhile {
            thread::sleep(REPORTED_WITHIN);
            tell(meanwhile);
        }
    });
    if let Err(error) = told {
        tracing::warn!(%error, "kills of before the start are not reported: no thread for it");
    }
}
