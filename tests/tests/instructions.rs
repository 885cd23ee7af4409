//! What an incident costs, in instructions: from its records, over its files, to the line of JSON. They are counted by
//! valgrind, in the agent as it is shipped, and do not depend on the machine or on what else it does.
//!
//! The counts are those of one compiler; with another one there is nothing to compare with. To have new ones, run the
//! test and take what it says.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{agent::command, here::binary};

/// What the binary says that it was built by.
const COMPILER: &str = "rustc version 1.95.0 (59807616e 2026-04-14)";
/// Recordings of `tests/fixtures/replay`, and instructions for each incident. More than 5 % above is too many.
const BUDGETS: [(&str, u64); 3] =
    [("container_limit", 1_269_000), ("group_kill", 1_585_000), ("node_wide", 886_000)];
/// With so many incidents more, the start of the agent does not count.
const MORE: u64 = 10;

#[test]
fn an_incident_costs_no_more_instructions_than_it_did() -> Result<()> {
    let agent = binary()?;
    let program = fs::read(&agent).context("cannot read the agent")?;
    if !program.windows(COMPILER.len()).any(|text| text == COMPILER.as_bytes()) {
        say(&format!("SKIPPED: the agent was not built by {COMPILER}, whose instructions were counted"))?;
        return Ok(());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        ensure!(std::env::var_os("CI").is_none(), "valgrind is missing: run `cargo xtask setup`");
        say("SKIPPED: valgrind is not installed (`cargo xtask setup` does it)")?;
        return Ok(());
    }
    for (recording, budget) in BUDGETS {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/replay").join(recording);
        let folder = tempfile::tempdir()?;
        symlink(&from, folder.path().join("0"))?;
        let one = instructions(&agent, folder.path())?;
        for number in 1..=MORE {
            symlink(&from, folder.path().join(number.to_string()))?;
        }
        let each = (instructions(&agent, folder.path())? - one) / MORE;
        say(&format!("{recording}: {each} instructions, of {budget}"))?;
        ensure!(each <= budget * 105 / 100, "{recording}: {each} instructions, and it was {budget}");
    }
    Ok(())
}

/// Straight to the terminal: the harness would hide a print of a test that passes.
fn say(line: &str) -> Result<()> {
    Ok(writeln!(io::stderr(), "{line}")?)
}

/// Of `oomwatch replay`.
fn instructions(agent: &Path, folder: &Path) -> Result<u64> {
    let mut valgrind = command(Path::new("valgrind"));
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    let output = valgrind.arg(agent).args(["replay", "--output", "json"]).arg(folder).output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    let line = log.lines().find_map(|line| line.split_once("I   refs:")).context("valgrind says no count")?;
    Ok(line.1.trim().replace(',', "").parse()?)
}
