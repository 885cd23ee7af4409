//! Options of `oomwatch events`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use oomwatch_common::{diagnose::Reason, query};

use super::{Color, Output};

/// Options of `oomwatch events`.
#[derive(Args, Clone, Debug)]
pub struct EventsOptions {
    /// Only what happened since: how long ago (90s, 2h, 7d), or a time (2026-11-21T07:00:00Z)
    #[arg(long, env = "OOMWATCH_EVENTS_SINCE", value_parser = point_in_time, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Only what happened before, given as for --since
    #[arg(long, env = "OOMWATCH_EVENTS_UNTIL", value_parser = point_in_time, value_name = "TIME",
        conflicts_with = "follow")]
    pub until: Option<Timestamp>,
    /// Only the pods of this namespace
    #[arg(short, long, env = "OOMWATCH_EVENTS_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only this pod: its name, or NAMESPACE/NAME
    #[arg(long, env = "OOMWATCH_EVENTS_POD", value_name = "POD")]
    pub pod: Option<String>,
    /// Only containers of this name
    #[arg(long, env = "OOMWATCH_EVENTS_CONTAINER", value_name = "CONTAINER")]
    pub container: Option<String>,
    /// Only with a finding of this cause: container_limit, node_exhausted, child_killed, …
    /// (`oomwatch explain --cause help` lists them)
    #[arg(long, env = "OOMWATCH_EVENTS_CAUSE", value_parser = cause, value_name = "CAUSE")]
    pub cause: Option<Reason>,
    /// Only the newest so many
    #[arg(long, env = "OOMWATCH_EVENTS_LIMIT", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "NUMBER")]
    pub limit: u32,
    /// Go on with what happens from now on, until SIGINT. The table then has times of day, which do not grow old
    #[arg(short, long, env = "OOMWATCH_EVENTS_FOLLOW")]
    pub follow: bool,
    /// How incidents are printed
    // Not OOMWATCH_OUTPUT: in a pod that is set for `run`, whose values are others, and `kubectl exec` inherits it.
    #[arg(long, env = "OOMWATCH_EVENTS_OUTPUT", value_enum, default_value_t = EventsOutput::Table)]
    pub output: EventsOutput,
    /// When output is coloured
    #[arg(long, env = "OOMWATCH_COLOR", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Ask the agent there: http://HOST:PORT
    #[arg(long, env = "OOMWATCH_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Read the journal in this directory, whether or not an agent runs
    #[arg(long, env = "OOMWATCH_JOURNAL", value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// Where the agent of this machine listens, as `run` has it: asked where neither URL nor journal is given
    #[arg(long, env = "OOMWATCH_LISTEN", value_name = "ADDRESS", hide = true)]
    pub listen: Option<String>,
}

/// How incidents are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventsOutput {
    /// A line each, under headings
    Table,
    /// A readable line each
    Text,
    /// One JSON object a line, schema 1
    Json,
    /// The whole story of each on a page
    Report,
    /// The line of bcc's oomkill each
    Bcc,
}

impl EventsOutput {
    /// As `run` has it; `None` for the table.
    pub fn of_a_report(self) -> Option<Output> {
        match self {
            Self::Table => None,
            Self::Text => Some(Output::Text),
            Self::Json => Some(Output::Json),
            Self::Report => Some(Output::Report),
            Self::Bcc => Some(Output::Bcc),
        }
    }
}

fn point_in_time(text: &str) -> Result<Timestamp, String> {
    query::point_in_time(text, Timestamp::now())
}

fn cause(text: &str) -> Result<Reason, String> {
    Reason::all().find(|reason| reason.name() == text).ok_or_else(|| {
        let names: Vec<_> = Reason::all().map(Reason::name).collect();
        format!("there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_named_as_in_reports_and_a_wrong_one_is_told_which_there_are() {
        assert_eq!(cause("container_limit").map(Reason::name), Ok("container_limit"));
        assert_eq!(cause("child_killed").map(Reason::name), Ok("child_killed"));
        let error = cause("bad luck").unwrap_err();
        assert!(error.contains("node_exhausted") && !error.contains('\n'), "{error}");
    }
}
