//! Faults made for real, at the level that this machine has: whatever goes wrong, each kill that the kernel counts is
//! in a report or counted as lost.
//!
//! Others may be OOM-killed on this machine meanwhile: the sum is of all kills, so it comes out even then.

#[path = "faults/files.rs"]
mod files;
#[path = "faults/losses.rs"]
mod losses;

use std::{
    path::PathBuf,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use oomwatch_tests::{
    here::{binary, is_root},
    trial::Trial,
};

/// One at a time: each takes the sum of all kills.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Alone, if this test can run at all.
fn alone_and_root() -> Result<Option<MutexGuard<'static, ()>>> {
    let root = is_root("makes OOM kills")?;
    Ok(root.then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_oomwatch-guest"))
}

fn trial(name: &str, arguments: &[&str]) -> Result<Trial> {
    Trial::start(&binary()?, program(), name, arguments)
}

/// The same, once something was made for the path of its cgroup.
fn trial_among(name: &str, arguments: &[&str], make: impl FnOnce(&str) -> Result<()>) -> Result<Trial> {
    make(&Trial::path(name))?;
    trial(name, arguments)
}

fn trial_of(name: &str, command: Command) -> Result<Trial> {
    Trial::start_command(program(), name, command)
}
