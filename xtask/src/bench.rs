//! `cargo xtask bench`: measurements. What they come to is for people; only what must never happen fails.

mod explain;
mod figures;
mod idle;
mod peers;
mod sizes;
mod storm;
mod table;
mod whole;

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::{
    arch::Arch,
    kernels::{Cgroup, Kernel},
    repo::Repo,
    vm::{Accel, Machine, Root},
    vm_options,
};

/// The VM of a measurement.
#[derive(Clone, clap::Args)]
struct Guest {
    /// VM: processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// VM: how to execute the guest
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    accel: Accel,
    /// VM: stop after so many seconds, of peers for each turn
    #[arg(long, value_name = "S", default_value_t = 1200)]
    timeout: u64,
}

impl Guest {
    fn machine<'a>(&self, repo: &Repo, kernel: &'a Kernel, cgroup: Cgroup, root: Root) -> Machine<'a> {
        Machine {
            kernel,
            cgroup,
            root,
            accel: self.accel,
            // bcc's compiler takes more than the kills do.
            memory_mib: if root == Root::Host { 2048 } else { 512 },
            cpus: self.cpus,
            nodes: 1,
            swap_mib: 0,
            disk_bps: 0,
            append: "",
            timeout: Duration::from_secs(self.timeout),
            silence: None,
            files: vm_options::own_files(repo, Arch::HOST),
        }
    }
}

/// Leaves what was measured, as soon as it is, in `target/bench`.
fn leave(repo: &Repo, name: &str, content: &str) -> Result<()> {
    let folder = repo.target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = folder.join(name);
    fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
}

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = whole::HELP)]
pub(crate) struct BenchOptions {
    /// One part alone
    #[command(subcommand)]
    part: Option<Bench>,
    #[command(flatten)]
    whole: whole::WholeOptions,
}

/// What is measured.
#[derive(Subcommand)]
enum Bench {
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
pub(crate) fn bench(repo: &Repo, options: &BenchOptions) -> Result<ExitCode> {
    match &options.part {
        None => whole::whole(repo, &options.whole),
        Some(Bench::Storm(options)) => storm::storm(repo, options),
        Some(Bench::Explain(options)) => explain::explain(repo, options),
        Some(Bench::Idle(options)) => idle::idle(repo, options),
        Some(Bench::Peers(options)) => peers::peers(repo, options),
    }
}
