//! Kills that the kernel logged while the agent did not run: each is reported once.
//!
//! Two things tell what was reported before: the position in the log up to which everything was, and the journal, in
//! which the incidents of the probe are as well. The log's times are approximate, so an incident is known again by its
//! victims. Without a journal nothing tells, so nothing is reported.

use std::{io, path::Path};

use oomwatch_common::{
    kernel_log::{KernelLog, Logged, PlainLine},
    query::Filter,
    units::BoottimeNs,
};
use serde::Deserialize;

use super::{
    FromLog, Kmsg, Next,
    checkpoint::{Checkpoint, Position},
};
use crate::{
    history::{Cursor, History, Order, Query},
    sys,
};

/// The printk clock has been seen 2 s away from the others; no process id comes back so soon.
const SAME_WITHIN_NS: u64 = 30_000_000_000;
/// Incidents asked of the journal at a time.
const PAGE: usize = 256;

/// What the log held at the start.
#[derive(Debug, Default)]
pub struct Backlog {
    logged: Vec<Logged>,
    /// Of the last record.
    last: Option<Position>,
}

/// Of a report, what tells whether an incident is known.
#[derive(Debug, Deserialize)]
struct Known {
    id: String,
    #[serde(default)]
    victims: Vec<KnownVictim>,
}

#[derive(Debug, Deserialize)]
struct KnownVictim {
    #[serde(default)]
    tid: Option<u32>,
    #[serde(default)]
    tgid: Option<u32>,
}

impl Backlog {
    /// Reads all that the log has, and leaves the reader behind it.
    ///
    /// # Errors
    /// The log's.
    pub fn read(log: &mut Kmsg, lines: &mut KernelLog) -> io::Result<Self> {
        let mut backlog = Self::default();
        log.drain(|next| match next {
            Next::Record(record) => {
                backlog.last = Some(Position::Sequence(record.sequence));
                backlog.logged.extend(lines.record(&record));
            }
            Next::Overrun => lines.lost(),
        })?;
        backlog.logged.extend(lines.finish());
        Ok(backlog)
    }

    /// The same from the text that syslog(2) gives, for who has no `/dev/kmsg`.
    ///
    /// # Errors
    /// It is not permitted: without `CAP_SYSLOG` where `kernel.dmesg_restrict` is 1 (`check_syslog_permissions`,
    /// kernel/printk/printk.c), or by a seccomp profile.
    pub fn by_syslog(lines: &mut KernelLog) -> io::Result<Self> {
        Ok(Self::of_text(&sys::kernel_log()?, lines))
    }

    pub(super) fn of_text(text: &[u8], lines: &mut KernelLog) -> Self {
        let mut backlog = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            backlog.logged.extend(lines.line(line));
            let micros = PlainLine::parse(line).and_then(|line| line.micros);
            backlog.last = micros.map(Position::Micros).or(backlog.last);
        }
        backlog.logged.extend(lines.finish());
        backlog
    }

    /// Those that have not been reported, and notes the position; to be told before anything else is. Blocking.
    pub fn unreported(self, dir: &Path, boot_id: &str, history: &History) -> Vec<FromLog> {
        let checkpoint = Checkpoint::new(dir, boot_id.to_owned());
        let read_to = checkpoint.read();
        let is_new = |logged: &Logged| match (read_to, logged.sequences) {
            (Some(Position::Sequence(read_to)), Some((_, last))) => last > read_to,
            // On the printk clock, as it was read.
            (Some(Position::Micros(read_to)), None) => logged.incident.at.0 / 1000 > read_to,
            // Read the other way the last time, or not at all: the journal knows.
            _ => true,
        };
        let mut new: Vec<_> = self.logged.into_iter().filter(is_new).map(FromLog::backfill).collect();
        if !new.is_empty() {
            match known(boot_id, history) {
                Ok(known) => new.retain(|incident| !known.iter().any(|known| known.is(boot_id, incident))),
                Err(error) => {
                    tracing::warn!(%error, "the journal cannot be read: no kill of before the start is reported");
                    return Vec::new();
                }
            }
        }
        if let Some(last) = self.last.filter(|last| Some(*last) != read_to)
            && let Err(error) = checkpoint.write(last)
        {
            tracing::warn!(%error, "how far the kernel's log was read cannot be kept");
        }
        new
    }
}

/// What the journal has of this boot.
fn known(boot_id: &str, history: &History) -> io::Result<Vec<Known>> {
    let (mut found, mut cursor): (Vec<Known>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = history.page(&Query {
            filter: Filter::default(),
            order: Order::NewestFirst,
            limit: PAGE,
            cursor,
        })?;
        let of_boot: Vec<Known> = page
            .reports
            .iter()
            .filter_map(|report| serde_json::from_str(report).ok())
            .filter(|known: &Known| known.at(boot_id).is_some())
            .collect();
        let is_all = of_boot.is_empty();
        found.extend(of_boot);
        match page.next {
            Some(next) if !is_all => cursor = Some(next),
            _ => return Ok(found),
        }
    }
}

impl Known {
    /// An id is the boot's, and when since it began. `None`: of another boot.
    fn at(&self, boot_id: &str) -> Option<BoottimeNs> {
        self.id.strip_prefix(boot_id)?.strip_prefix('-')?.parse().ok().map(BoottimeNs)
    }

    fn is(&self, boot_id: &str, logged: &FromLog) -> bool {
        let incident = &logged.captured.incident;
        let is_near = self.at(boot_id).is_some_and(|at| at.0.abs_diff(incident.at.0) <= SAME_WITHIN_NS);
        let numbers = incident.victims.iter().flat_map(|victim| {
            [victim.tid.map(|tid| tid.0), victim.tgid.map(|tgid| tgid.0)].into_iter().flatten()
        });
        let names = |number| {
            self.victims.iter().any(|victim| victim.tid == Some(number) || victim.tgid == Some(number))
        };
        is_near && numbers.into_iter().any(names)
    }
}
