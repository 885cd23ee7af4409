//! Incidents on stdout, as they were asked for.

use std::io::{self, IsTerminal as _, StdoutLock, Write as _};

use jiff::{Timestamp, tz::TimeZone};
use oomwatch_common::{
    escape::escape_json,
    render_page::Style,
    render_table::{Table, When},
    report::Report,
};
use rustix::termios::tcgetwinsize;

use super::tell;
use crate::{
    config::{EventsOptions, EventsOutput, Output},
    render,
};

/// Prints incidents.
pub(super) struct Printer {
    output: EventsOutput,
    coloured: bool,
    follows: bool,
    /// From the first rows on.
    table: Option<Table>,
}

impl Printer {
    pub(super) fn new(options: &EventsOptions) -> Self {
        Self {
            output: options.output,
            coloured: options.color.wanted(&io::stdout()),
            follows: options.follow,
            table: None,
        }
    }

    /// The headings, once, over columns that fit these incidents. An empty table has none, unless rows are to come.
    pub(super) fn begin(&mut self, reports: &[String]) -> io::Result<()> {
        let is_empty = reports.is_empty() && !self.follows;
        if self.output != EventsOutput::Table || self.table.is_some() || is_empty {
            return Ok(());
        }
        let stdout = io::stdout();
        let columns = stdout.is_terminal().then(|| tcgetwinsize(&stdout).ok()).flatten();
        let columns = columns.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let when = if self.follows { When::Clock(TimeZone::system()) } else { When::Age(Timestamp::now()) };
        let style = if self.coloured { Style::Colour } else { Style::Plain };
        let reports: Vec<Report> = reports.iter().filter_map(|json| Report::from_json(json).ok()).collect();
        let table = Table::new(&reports, when, columns, style);
        let mut stdout = stdout.lock();
        stdout.write_all(table.heading().as_bytes())?;
        self.table = Some(table);
        stdout.flush()
    }

    /// Each incident, the first first.
    pub(super) fn print(&self, reports: &[String]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        for json in reports {
            self.print_one(json, &mut stdout)?;
        }
        stdout.flush()
    }

    fn print_one(&self, json: &str, stdout: &mut StdoutLock<'_>) -> io::Result<()> {
        let output = self.output.of_a_report();
        if output == Some(Output::Json) {
            return writeln!(stdout, "{}", escape_json(json));
        }
        let report = match Report::from_json(json) {
            Ok(report) => report,
            Err(error) => {
                tell(&format!("an incident is left out, whose report is of another version: {error}"));
                return Ok(());
            }
        };
        let text = match (output, &self.table) {
            (Some(output), _) => render::render(&report, output, self.coloured),
            (None, Some(table)) => table.row(&report),
            (None, None) => return Ok(()),
        };
        stdout.write_all(text.as_bytes())
    }
}
