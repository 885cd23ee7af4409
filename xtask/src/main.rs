//! `cargo xtask`: what a developer of oomwatch types. This file is the list of commands and nothing else.
//!
//! Everything that is downloaded or built stays below `target/`, but for the packages that `setup` installs.

mod alerts;
mod apt_suite;
mod arch;
mod bench;
mod bless;
mod build;
mod cpio;
mod dashboard;
mod demo;
mod deployed;
mod elf;
mod fuzz;
mod guest_init;
mod host_root;
mod image;
mod initramfs;
mod kernels;
mod manifests;
mod matrix;
mod needs;
mod object_file;
mod repo;
mod run;
mod say;
mod scraping;
mod setup;
mod status_marker;
mod tally;
mod test;
mod tidy;
mod toolchain;
mod vm;
mod vm_options;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    bench::BenchOptions, build::BuildOptions, fuzz::FuzzOptions, image::ImageOptions, needs::Part,
    repo::Repo, test::TestOptions, vm_options::VmOptions,
};

const ENVIRONMENT: &str = "\
Environment:
  OOMWATCH_EBPF_TOOLCHAIN  the Rust toolchain that compiles the eBPF program: the name of a rustup toolchain that has
                           rust-src, or \"system\" for /usr/bin/rustc. Unset: a rustup toolchain with rust-src, nightly
                           first, if bpf-linker is on PATH; else the system's.
  OOMWATCH_BPF_LINKER      path of the bpf-linker to use. Its LLVM must not be older than the compiler's.

Two commands are enough to begin: `cargo xtask demo` shows what oomwatch does, `cargo xtask test` shows that it works.";

/// oomwatch's developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = ENVIRONMENT, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing to build and test; says what and why first, and is silent where nothing is
    Setup,
    /// Build the static, stripped agent with its eBPF program inside: target/release/oomwatch
    Build(BuildOptions),
    /// Build, then run `oomwatch run ARGS…` on this host (root is needed)
    Run(RunOptions),
    /// Boot a kernel in a VM and run a command in it; its output and exit code are passed through
    Vm(VmOptions),
    /// Boot a VM, let the kernel kill processes in it, and print what oomwatch reports
    Demo,
    /// Run every check and every test, those in VMs included
    Test(TestOptions),
    /// Measure, on real kills: all that there are targets for, in one table, or a part alone
    Bench(BenchOptions),
    /// Build the agent and its container image: target/image/oomwatch-VERSION.tar, an OCI archive
    Image(ImageOptions),
    /// Check what is in deploy/: manifests against the API of each Kubernetes release, alerts, dashboard
    Manifests,
    /// Run the image in a VM, under containerd, as the DaemonSet says, and make kills beside it (root is needed)
    Deployed,
    /// Feed what parses bytes from outside with inputs that libFuzzer makes of the fixtures
    Fuzz(FuzzOptions),
    /// What CI runs: `test` on the quick kernels
    Ci,
    /// Check what neither compiler nor clippy does: file sizes, unsafe code, left-over notes
    Tidy,
    /// Write the golden files anew; review the difference before committing it
    Bless,
    /// Cut the types that the probe's layout is resolved from out of a kernel's BTF, for tests/fixtures/btf
    BtfExcerpt(BtfExcerptOptions),
}

#[derive(clap::Args)]
struct RunOptions {
    #[command(flatten)]
    build: BuildOptions,
    /// Arguments of `oomwatch run`
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(clap::Args)]
struct BtfExcerptOptions {
    /// BTF as /sys/kernel/btf/vmlinux has it
    from: PathBuf,
    /// Where the excerpt goes
    to: PathBuf,
}

fn main() -> ExitCode {
    match Repo::find().and_then(|repo| dispatch(Arguments::parse().command, &repo)) {
        Ok(code) => code,
        Err(error) => {
            say::progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command, repo: &Repo) -> Result<ExitCode> {
    match command {
        Command::Setup => setup::setup(repo, Part::ALL).map(|()| ExitCode::SUCCESS),
        Command::Build(options) => build::build(repo, &options).map(|()| ExitCode::SUCCESS),
        Command::Run(options) => build::build_and_run(repo, &options.build, &options.arguments),
        Command::Vm(options) => vm_options::run(repo, &options),
        Command::Demo => demo::demo(repo),
        Command::Test(options) => test::test(repo, &options),
        Command::Bench(options) => bench::bench(repo, &options),
        Command::Image(options) => image::image(repo, &options).map(|()| ExitCode::SUCCESS),
        Command::Manifests => manifests::check_all(repo),
        Command::Deployed => deployed::run(repo),
        Command::Fuzz(options) => fuzz::fuzz(repo, &options).map(|()| ExitCode::SUCCESS),
        Command::Ci => test::test(repo, &TestOptions::default()),
        Command::Tidy => tidy::tidy(repo).map(|()| ExitCode::SUCCESS),
        Command::Bless => bless::bless(repo).map(|()| ExitCode::SUCCESS),
        Command::BtfExcerpt(BtfExcerptOptions { from, to }) => {
            let mut program = repo.cargo();
            program.args(["run", "--quiet", "--package", "oomwatch-tests", "--bin", "btf_excerpt"]);
            run::run(program.arg("--").args([from, to])).map(|()| ExitCode::SUCCESS)
        }
    }
}
