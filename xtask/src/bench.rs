//! `cargo xtask bench`: measurements. What they come to is for people; only what must never happen fails.

mod explain;
mod storm;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::repo::Repo;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// As many OOM kills as can be made: is each of them one incident, and what was seen of it?
    Storm(storm::StormOptions),
    /// How fast is `oomwatch explain`, and in how much memory, on a long log?
    Explain(explain::ExplainOptions),
}

/// Measures; the exit code says whether all that must be so was so.
pub(crate) fn bench(repo: &Repo, bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Storm(options) => storm::storm(repo, options),
        Bench::Explain(options) => explain::explain(repo, options),
    }
}
