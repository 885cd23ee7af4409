//! What tests on the machine that builds the agent begin with: the binary, and root.

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};

use crate::status::Status;

/// The agent that is tested.
///
/// # Errors
/// It was not built, or not named.
pub fn binary() -> Result<PathBuf> {
    let path = env::var_os("OOMWATCH_BIN");
    let path = PathBuf::from(path.context("OOMWATCH_BIN must name the built agent: run `cargo xtask test`")?);
    ensure!(path.is_file(), "OOMWATCH_BIN is {}, where there is no file", path.display());
    Ok(path)
}

/// Whether this is root, for a test that `does` something for which it must be.
///
/// # Errors
/// It is not, and whoever runs it did not say that there is none to be had.
pub fn is_root(does: &str) -> Result<bool> {
    let root = Status::of_process(std::process::id())?.number("Uid") == Some(0);
    let none = env::var_os("OOMWATCH_TEST_NO_ROOT").is_some_and(|value| value == "1");
    ensure!(root || none, "it {does}: run it as root, or set OOMWATCH_TEST_NO_ROOT=1 to go without it");
    if !root {
        // Straight to the terminal: the harness would hide a print of a test that passes.
        writeln!(
            io::stderr(),
            "SKIPPED, because OOMWATCH_TEST_NO_ROOT=1: a test that {does}, for which it must be root"
        )?;
    }
    Ok(root)
}
