//! Incidents on stdout, as they were asked for.

use std::{
    collections::VecDeque,
    io::{self, BufWriter, ErrorKind, Stdout, Write as _},
};

use oomwatch_common::{report::Report, saved_log::Found};

use super::{pods::Pods, tell};
use crate::{config::ExplainOptions, config::Output, refusal::Refusal, render};

/// Prints incidents, and counts them.
pub(super) struct Printer {
    output: Output,
    coloured: bool,
    pods: Pods,
    last: Option<usize>,
    kept: VecDeque<String>,
    stdout: BufWriter<Stdout>,
    failed: Option<io::Error>,
    incidents: u64,
    killed: u64,
}

/// Prints a text of another kind.
///
/// # Errors
/// stdout could not be written; that nobody reads it is none.
pub(super) fn write(text: &str) -> Result<(), Refusal> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Refusal::failed(format!("writing to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

impl Printer {
    pub(super) fn new(options: &ExplainOptions, pods: Pods) -> Self {
        Self {
            output: options.output,
            coloured: options.color.wanted(&io::stdout()),
            pods,
            last: options.last.map(usize::from),
            kept: VecDeque::new(),
            stdout: BufWriter::with_capacity(64 << 10, io::stdout()),
            failed: None,
            incidents: 0,
            killed: 0,
        }
    }

    /// Prints an incident, or keeps it where only the last ones are wanted.
    pub(super) fn take(&mut self, found: Found) {
        let report = match found {
            Found::Incident(logged) => self.pods.report(&logged),
            Found::Report(json) => match Report::from_json(&json) {
                Ok(report) => self.pods.again(report),
                Err(error) => {
                    return tell(&format!("a report is left out that is of another version: {error}"));
                }
            },
        };
        self.incidents += 1;
        self.killed += report.victims.len() as u64;
        let text = render::render(&report, self.output, self.coloured);
        match self.last {
            None => self.write(&text),
            Some(last) => {
                self.kept.push_back(text);
                if self.kept.len() > last {
                    self.kept.pop_front();
                }
            }
        }
    }

    /// Nobody reads what is printed, or it cannot be written.
    pub(super) fn is_closed(&self) -> bool {
        self.failed.as_ref().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    }

    pub(super) fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.stdout.flush().err();
        }
    }

    /// All was read.
    ///
    /// # Errors
    /// stdout could not be written; that nobody reads it is none.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        for text in std::mem::take(&mut self.kept) {
            self.write(&text);
        }
        self.flush();
        match &self.failed {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Refusal::failed(format!("writing to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Incidents so far.
    pub(super) fn found(&self) -> u64 {
        self.incidents
    }

    /// `12 incidents, 14 processes killed`
    pub(super) fn sum(&self) -> String {
        let processes = if self.killed == 1 { "process" } else { "processes" };
        let shown = self.last.filter(|last| *last < usize::try_from(self.incidents).unwrap_or(usize::MAX));
        let shown = shown.map_or(String::new(), |last| format!("; the last {last} are shown"));
        format!("{} incidents, {} {processes} killed{shown}", self.incidents, self.killed)
    }

    fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = self.stdout.write_all(text.as_bytes()).err();
        }
    }
}
