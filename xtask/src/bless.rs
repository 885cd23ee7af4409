//! `cargo xtask bless`: golden files as the code is now. The tests write them themselves when they are told to; reading
//! the difference is for a person.

use std::process::Command;

use anyhow::Result;

use crate::{
    alerts,
    build::{self, BuildOptions},
    repo::Repo,
    run, say,
};

/// Runs the tests that own golden files, writing instead of comparing.
pub(crate) fn bless(repo: &Repo) -> Result<()> {
    build::build(repo, &BuildOptions::default())?;
    run::run(
        repo.cargo()
            .args([
                "test",
                "-p",
                "oomwatch-tests",
                "--test",
                "explain",
                "--test",
                "golden",
                "--test",
                "kernel_log",
                "--test",
                "replay",
            ])
            .env("OOMWATCH_BIN", repo.agent())
            .env("OOMWATCH_BLESS", "1"),
    )?;
    run::run(repo.cargo().args(["test", "-p", "oomwatch-agent", "metrics"]).env("OOMWATCH_BLESS", "1"))?;
    alerts::bless(repo)?;
    say::progress("bless: done; what changed:");
    run::run(Command::new("git").args(["--no-pager", "diff", "--stat", "--", "."]).current_dir(repo.root()))
}
