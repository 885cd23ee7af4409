//! Reports on their way to stdout: in a storm several at a time, because each write is a wait for another thread, and
//! one that nobody reads may be a wait for good.

use std::{io, mem, sync::Arc, time::Duration};

use oomwatch_common::units::BoottimeNs;
use rustix::io::{retry_on_intr, write};
use tokio::task::spawn_blocking;

use crate::{
    losses::{Losses, Stage},
    metrics::Metrics,
    sys::{self, OutOfReserve},
};

/// Text that is written without waiting for more: what a pipe holds. A report in JSON has about 10 KiB.
const ENOUGH: usize = 64 * 1024;

/// Prints reports, and answers for each that was not printed.
pub struct Printer {
    text: String,
    waiting: Vec<Waiting>,
    metrics: Option<Arc<Metrics>>,
}

/// A report that is not yet written.
struct Waiting {
    /// Where it is to be measured how late it comes.
    hook: Option<BoottimeNs>,
    victims: usize,
}

impl Printer {
    /// Nothing waits. Live, `metrics` are told when a report is out.
    pub fn new(metrics: Option<Arc<Metrics>>) -> Self {
        Self { text: String::new(), waiting: Vec::new(), metrics }
    }

    /// Adds the report of an incident; `hook`: when that was, where it is to be measured how late this comes.
    pub fn add(&mut self, report: &str, hook: Option<BoottimeNs>, victims: usize) {
        self.text.push_str(report);
        self.waiting.push(Waiting { hook, victims });
    }

    /// More would be too much.
    pub fn has_enough(&self) -> bool {
        self.text.len() >= ENOUGH
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// Nobody reads stdout any more. Any other failure is counted, and told to the log.
    pub async fn print(&mut self, losses: &Losses) -> Result<(), StdoutClosed> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let text = mem::take(&mut self.text);
        let writing = spawn_blocking(move || {
            // A pipe takes a page for what nobody has read yet, and on a node without one that would cost another
            // process its life.
            let _reserve = OutOfReserve::begin();
            (write_all(text.as_bytes()), text)
        });
        let (written, text) =
            writing.await.unwrap_or_else(|error| (Err(io::Error::other(error)), String::new()));
        self.text = text;
        self.text.clear();
        self.text.shrink_to(ENOUGH * 2);
        let printed = self.waiting.drain(..);
        match written {
            Ok(()) => {
                let now = sys::boottime();
                for report in printed {
                    if let (Some(metrics), Some(hook)) = (&self.metrics, report.hook) {
                        metrics.reported(Duration::from_nanos(now.0.saturating_sub(hook.0)));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(StdoutClosed),
            Err(error) => {
                let mut reports = 0;
                for report in printed {
                    reports += 1;
                    losses.count(Stage::Output);
                    if let Some(metrics) = &self.metrics {
                        metrics.unwritten(report.victims as u64);
                    }
                }
                tracing::warn!(%error, reports, "reports could not be written to stdout");
            }
        }
        Ok(())
    }
}

/// Writes to stdout, one thread at a time: lines do not mix.
///
/// # Errors
/// The kernel's, from the write that could not be made.
pub fn write_all(mut text: &[u8]) -> io::Result<()> {
    let stdout = io::stdout().lock();
    while !text.is_empty() {
        match retry_on_intr(|| write(&stdout, text))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => text = text.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Nobody reads stdout any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StdoutClosed;
