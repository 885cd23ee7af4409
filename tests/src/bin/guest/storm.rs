//! `oomwatch-guest storm`: a storm, and its figures on stdout.

use std::{env, fmt::Display, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    full,
    peers::{PeerBench, PeerStorm, install_headers},
    storm::{QuietConsole, Storm},
};
use serde::Serialize;

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
    let outcome = storm(&agent_binary(), &env::current_exe()?, level, kills)?.run()?;
    print(&outcome, form)?;
    ensure!(outcome.is_complete(), "not every kill is one incident");
    Ok(())
}

/// The same, and then so many kills beside each peer. `headers` has the kernel's, unpacked.
pub(crate) fn run_beside_peers(headers: &str, kills: &str, peer_kills: &str, form: Form) -> Result<()> {
    let _quiet = QuietConsole::begin()?;
    install_headers(Path::new(headers))?;
    let folder = env::temp_dir();
    let (binary, program) = (agent_binary(), env::current_exe()?);
    let storm = storm(&binary, &program, "kprobe", kills)?;
    let kills = peer_kills.parse().context("how many kills?")?;
    let raced = PeerStorm { storm, kills, folder: &folder }.run()?;
    print(&raced, form)?;
    ensure!(raced.oomwatch.is_complete(), "not every kill is one incident");
    Ok(())
}

/// oomwatch and its peers in turn, beside the same kills; one object of figures. At level `kprobe` one of them needs
/// the kernel's `headers`.
pub(crate) fn run_peers(level: &str, headers: Option<&str>, counts: [&str; 3]) -> Result<()> {
    let _quiet = QuietConsole::begin()?;
    if let Some(headers) = headers {
        install_headers(Path::new(headers))?;
    }
    let [rounds, singles, kills] = counts;
    let bench = PeerBench {
        binary: &agent_binary(),
        program: &env::current_exe()?,
        level,
        rounds: rounds.parse().context("how often?")?,
        singles: singles.parse().context("how many kills?")?,
        kills: kills.parse().context("how many kills?")?,
    };
    say_json(&bench.run(say)?)
}

/// The agent with all that it may be asked to do.
pub(crate) fn run_full(standin: &str, kills: &str) -> Result<()> {
    let _quiet = QuietConsole::begin()?;
    let kills = kills.parse().context("how many kills?")?;
    say_json(&full::run(&agent_binary(), &env::current_exe()?, Path::new(standin), kills)?)
}

fn storm<'a>(binary: &'a Path, program: &'a Path, level: &'a str, kills: &str) -> Result<Storm<'a>> {
    Ok(Storm { binary, program, level, kills: kills.parse().context("how many kills?")?, within: WITHIN })
}

fn print(outcome: &(impl Display + Serialize), form: Form) -> Result<()> {
    match form {
        Form::Text => say(&outcome.to_string()),
        Form::Json => say_json(outcome),
    }
}

fn say_json(figures: &impl Serialize) -> Result<()> {
    say(&format!("{}\n", serde_json::to_string(figures)?))
}
