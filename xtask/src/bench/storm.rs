//! `cargo xtask bench storm`: a storm of OOM kills on this machine, or in a VM. It is made by the test program
//! (`tests/src/storm.rs`), which says what came of it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use super::Guest;
use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    kernels::{self, Cgroup, Kernel},
    needs::Part,
    repo::Repo,
    say,
    setup::setup,
    vm::Root,
};

/// Where a storm is made.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    /// In a VM
    Vm,
    /// On this machine, in cgroups of its own (root is needed)
    Host,
}

/// The agent's `--probe`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Kprobe,
    Tracepoint,
}

/// What `cargo xtask bench storm` takes.
#[derive(clap::Args)]
#[command(after_help = "\
Fails where not every kill is one incident, or something was lost; rates and times are for people to judge.

Examples:
  cargo xtask bench storm                          2,000 kills on Linux 6.12 in a VM, level kprobe
  cargo xtask bench storm --kernel 5.10 --cpus 1
  cargo xtask bench storm --peers                  and who reads the victim's status in time?
  cargo xtask bench storm --in host                100,000 kills on this machine, level tracepoint")]
pub(crate) struct StormOptions {
    /// Where
    #[arg(long = "in", value_enum, default_value_t = Place::Vm)]
    place: Place,
    /// How many [default: 2000 in a VM, 100000 on this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    kills: Option<u32>,
    /// At which level the agent watches [default: kprobe in a VM, tracepoint on this machine]
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// One JSON object instead of lines for people
    #[arg(long)]
    json: bool,
    /// VM: beside bcc's and libbpf-tools' oomkill as well, which are changed to read the victim's status; so many kills
    /// for each [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), num_args = 0..=1,
        default_missing_value = "500", conflicts_with_all = ["place", "level"])]
    peers: Option<u32>,
    /// VM: a kernel of tests/kernels.toml
    #[arg(long, value_name = "NAME", default_value = "6.12")]
    kernel: String,
    /// VM: the cgroup hierarchy to mount
    #[arg(long, value_enum, default_value_t = Cgroup::V2)]
    cgroup: Cgroup,
    #[command(flatten)]
    guest: Guest,
}

/// Makes the storm.
pub(crate) fn storm(repo: &Repo, options: &StormOptions) -> Result<ExitCode> {
    let host = options.place == Place::Host;
    let parts = if host { Part::build(Arch::HOST) } else { Part::vm(Arch::HOST) };
    setup(repo, &parts)?;
    build::build_agent(repo, &BuildOptions::default())?;
    build::build_guest(repo, Arch::HOST)?;
    let kills = options.kills.unwrap_or(if host { 100_000 } else { 2000 });
    if let Some(each) = options.peers {
        return beside_peers(repo, options, kills, each);
    }
    let level = options.level.unwrap_or(if host { Level::Tracepoint } else { Level::Kprobe });
    let level = level.to_possible_value().context("a level without a name")?;
    let (level, kills) = (level.get_name().to_owned(), kills.to_string());
    let form = options.json.then(|| "json".to_owned());
    let arguments = ["storm".to_owned(), level, kills].into_iter().chain(form);
    if host {
        let mut command = Command::new(repo.guest());
        command.args(arguments).env("OOMWATCH_BIN", repo.agent());
        let status = command.status().context("cannot run the test program")?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    in_vm(
        repo,
        options,
        &kernels::choose(repo, Some(&options.kernel))?.fetch(repo, Arch::HOST)?,
        Root::Initramfs,
        arguments,
    )
}

/// With the host's files, as the peers are among them.
fn beside_peers(repo: &Repo, options: &StormOptions, kills: u32, each: u32) -> Result<ExitCode> {
    setup(repo, &[Part::Peers])?;
    let entry = kernels::choose(repo, Some(&options.kernel))?;
    let kernel = entry.fetch(repo, Arch::HOST)?;
    let headers = entry.fetch_headers(repo, &kernel)?.display().to_string();
    let form = if options.json { "json" } else { "text" };
    let arguments =
        ["storm-beside-peers".to_owned(), headers, kills.to_string(), each.to_string(), form.to_owned()];
    in_vm(repo, options, &kernel, Root::Host, arguments)
}

/// What came of a storm, as `oomwatch-guest storm` says it in JSON; that it was not whole is no error here.
pub(super) fn figures(repo: &Repo, guest: &Guest, kernel: &str, kills: u32, peers: u32) -> Result<Value> {
    let entry = kernels::choose(repo, Some(kernel))?;
    let kernel = entry.fetch(repo, Arch::HOST)?;
    let kills = kills.to_string();
    let (root, arguments) = if peers == 0 {
        (Root::Initramfs, ["storm".to_owned(), "kprobe".to_owned(), kills, "json".to_owned()].to_vec())
    } else {
        let headers = entry.fetch_headers(repo, &kernel)?.display().to_string();
        let peers = peers.to_string();
        (Root::Host, ["storm-beside-peers".to_owned(), headers, kills, peers, "json".to_owned()].to_vec())
    };
    say::progress(&format!("bench: a storm in a VM, {}, {} CPUs", kernel.label, guest.cpus));
    let machine = guest.machine(repo, &kernel, Cgroup::V2, root);
    let command: Vec<String> = ["oomwatch-guest".to_owned()].into_iter().chain(arguments).collect();
    let mut output = Vec::new();
    machine.run(repo, &command, &mut |piece| {
        output.extend_from_slice(piece);
        Ok(())
    })?;
    let output = String::from_utf8_lossy(&output);
    let line = output.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("the storm has no figures: {}", output.trim()))?;
    serde_json::from_str(line).context("cannot read the figures of the storm")
}

fn in_vm(
    repo: &Repo,
    options: &StormOptions,
    kernel: &Kernel,
    root: Root,
    arguments: impl IntoIterator<Item = String>,
) -> Result<ExitCode> {
    say::progress(&format!("bench: a storm in a VM, {}, {} CPUs", kernel.label, options.guest.cpus));
    let machine = options.guest.machine(repo, kernel, options.cgroup, root);
    let command: Vec<String> = ["oomwatch-guest".to_owned()].into_iter().chain(arguments).collect();
    machine.run(repo, &command, &mut say::output).map(ExitCode::from)
}
