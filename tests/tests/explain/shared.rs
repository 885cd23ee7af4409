//! The command, and logs to give it.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use oomwatch_tests::here::binary;
use serde_json::Value;

pub(super) fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn fixture(name: &str) -> PathBuf {
    here().join("fixtures/kmsg").join(name)
}

/// Every captured log.
pub(super) fn fixtures() -> Result<Vec<PathBuf>> {
    let found = fs::read_dir(here().join("fixtures/kmsg"))?.map(|entry| Ok(entry?.path()));
    let mut files = found.collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension != "md"));
    files.sort();
    ensure!(files.len() > 80, "{} fixtures", files.len());
    Ok(files)
}

/// The agent without the environment of whoever runs the tests.
pub(super) fn agent() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OOMWATCH_")) {
        command.env_remove(name);
    }
    command.env("TZ", "UTC").stdin(Stdio::null());
    Ok(command)
}

pub(super) fn command() -> Result<Command> {
    let mut command = agent()?;
    command.arg("explain");
    Ok(command)
}

pub(super) fn explain(arguments: &[&str], files: &[&Path]) -> Result<Output> {
    Ok(command()?.args(arguments).args(files).output()?)
}

/// The same of what comes through a pipe.
pub(super) fn piped(arguments: &[&str], log: &[u8]) -> Result<Output> {
    let mut child = command()?
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    thread::scope(|scope| {
        // What it does not want to read is no failure.
        scope.spawn(move || stdin.write_all(log).unwrap_or_default());
        Ok(child.wait_with_output()?)
    })
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reports, of which there must be some.
pub(super) fn reports(output: &Output) -> Result<Vec<Value>> {
    ensure!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    text(&output.stdout).lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
