//! The reporter: an incident with what was read for it → a report on stdout.

use std::sync::mpsc as blocking;

use oomwatch_common::{capture::Capture, incident::ProbeLevel, units::PageSize};
use tokio::{
    io::{AsyncWriteExt as _, Stdout, stdout},
    sync::mpsc,
};

use crate::{
    capture::clear,
    config::RunOptions,
    job::Captured,
    losses::{Losses, Stage},
    refusal::Refusal,
};

/// Prints reports.
pub struct Publisher {
    stdout: Stdout,
}

/// Why publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The capture thread ended, and all that it gave is out.
    Drained,
    /// Nobody reads stdout any more.
    StdoutClosed,
}

impl Publisher {
    /// Publishes by these options.
    pub fn new(_options: &RunOptions, _level: ProbeLevel, _page_size: PageSize) -> Result<Self, Refusal> {
        Ok(Self { stdout: stdout() })
    }

    /// Until there are no more incidents, or nobody reads them.
    pub async fn publish_all(
        &mut self,
        incidents: &mut mpsc::Receiver<Captured>,
        spent: &blocking::Sender<Capture>,
        losses: &Losses,
    ) -> Ended {
        while let Some(mut captured) = incidents.recv().await {
            let text = format!("{captured:#?}\n");
            clear(&mut captured.capture);
            if spent.send(captured.capture).is_err() {
                tracing::debug!("the capture thread has ended");
            }
            let written = async {
                self.stdout.write_all(text.as_bytes()).await?;
                self.stdout.flush().await
            };
            match written.await {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ended::StdoutClosed,
                Err(error) => {
                    losses.count(Stage::Output);
                    tracing::warn!(%error, "a report could not be written to stdout");
                }
            }
        }
        Ended::Drained
    }
}
