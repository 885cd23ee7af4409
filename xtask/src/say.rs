//! The only place that prints. Progress and errors go to stderr, so that stdout carries what was asked for and can be
//! piped on.

use std::io::{Write, stdout};

use anyhow::{Context, Result};

/// One line of progress, or of failure.
#[expect(clippy::print_stderr, reason = "xtask is a command line tool; this is where it speaks")]
pub(crate) fn progress(line: &str) {
    eprintln!("{line}");
}

/// Bytes that were asked for: a VM's or a test's own output, passed on as they come.
pub(crate) fn output(bytes: &[u8]) -> Result<()> {
    let mut stdout = stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("cannot write to stdout")
}
