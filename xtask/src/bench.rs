//! `cargo xtask bench`: measurements. What they come to is for people; only what must never happen fails.

mod explain;
mod idle;
mod peers;
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
    /// What does the agent do while nothing is killed?
    Idle(idle::IdleOptions),
    /// oomwatch beside bcc's, bpftrace's and libbpf-tools' oomkill, on the same kills
    Peers(peers::PeersOptions),
}

/// Measures; the exit code says whether all that must be so was so.
pub(crate) fn bench(repo: &Repo, bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Storm(options) => storm::storm(repo, options),
        Bench::Explain(options) => explain::explain(repo, options),
        Bench::Idle(options) => idle::idle(repo, options),
        Bench::Peers(options) => peers::peers(repo, options),
    }
}
