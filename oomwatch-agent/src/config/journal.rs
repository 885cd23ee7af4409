//! Options of the journal, which `run` writes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use oomwatch_common::query;

/// Where incidents are kept, and how many.
#[derive(Args, Clone, Debug)]
pub struct JournalOptions {
    /// Keep incidents in this directory, for `oomwatch events` and for the counts after a restart
    /// [default: none; the newest are kept in memory]
    #[arg(long, env = "OOMWATCH_JOURNAL", value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// How large the journal may become, MiB: the oldest incidents leave first
    #[arg(long, env = "OOMWATCH_JOURNAL_MAX_MIB", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=16_384), value_name = "MIB")]
    pub journal_max_mib: u32,
    /// How long incidents stay in the journal: 12h, 30d
    #[arg(long, env = "OOMWATCH_JOURNAL_MAX_AGE", default_value = "30d", value_parser = age, value_name = "AGE")]
    pub journal_max_age: SignedDuration,
    /// Whether kills that the kernel logged while the agent did not run are reported at its start; needs --journal
    #[arg(long, env = "OOMWATCH_BACKLOG", value_enum, default_value_t = BacklogChoice::On)]
    pub backlog: BacklogChoice,
}

/// Whether to look back at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BacklogChoice {
    /// Each kill that is in neither the journal nor the part of the log that was read before
    On,
    /// Only what comes
    Off,
}

fn age(text: &str) -> Result<SignedDuration, String> {
    query::duration(text).ok_or_else(|| "not a time span like 12h or 30d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_time_spans() {
        assert_eq!(age("30d"), Ok(SignedDuration::from_hours(30 * 24)));
        assert_eq!(age("90m"), Ok(SignedDuration::from_mins(90)));
        for wrong in ["", "30", "-1d", "0s", "a month"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
