//! `oomwatch-guest storm`: a storm, and its figures on stdout.

use std::{env, time::Duration};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::storm::{QuietConsole, Storm};

use crate::suite::{agent_binary, say};

/// Whoever started this has a limit of his own.
const WITHIN: Duration = Duration::from_hours(1);

/// How the figures are printed.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// One object.
    Json,
}

/// Makes the kills. Fails where not each was reported once.
pub(crate) fn run(level: &str, kills: &str, form: Form) -> Result<()> {
    let _quiet = QuietConsole::begin()?;
    let storm = Storm {
        binary: &agent_binary(),
        program: &env::current_exe()?,
        level,
        kills: kills.parse().context("how many kills?")?,
        within: WITHIN,
    };
    let outcome = storm.run()?;
    match form {
        Form::Text => say(&outcome.to_string())?,
        Form::Json => say(&format!("{}\n", serde_json::to_string(&outcome)?))?,
    }
    ensure!(outcome.is_complete(), "not every kill is one incident");
    Ok(())
}
