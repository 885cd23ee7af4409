//! `cargo xtask build`: the eBPF object by its own toolchain, then the agent around it, static and stripped.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    needs::{self, Part},
    repo::Repo,
    run, say,
    setup::setup,
    toolchain::Compiler,
};

/// Options of everything that builds the agent.
#[derive(clap::Args, Default)]
pub(crate) struct BuildOptions {
    /// Let the eBPF program log what it does (for developing it; never for release)
    #[arg(long)]
    debug_log: bool,
}

/// Leaves the agent at `target/release/oomwatch`.
pub(crate) fn build(repo: &Repo, options: &BuildOptions) -> Result<()> {
    setup(repo, &[Part::Build])?;
    build_agent(repo, options)
}

/// Becomes the agent: exit code and signals are then its own.
pub(crate) fn build_and_run(repo: &Repo, options: &BuildOptions, arguments: &[String]) -> Result<ExitCode> {
    build(repo, options)?;
    let agent = repo.agent();
    let error = Command::new(&agent).arg("run").args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", agent.display()))
}

/// Builds the agent without looking at setup.
pub(crate) fn build_agent(repo: &Repo, options: &BuildOptions) -> Result<()> {
    let started = Instant::now();
    let features: &[&str] = if options.debug_log { &["--features", "debug-log"] } else { &[] };
    build_ebpf(repo, features)?;
    build_static(repo, "oomwatch-agent", "oomwatch", features, &repo.agent())?;
    say::progress(&format!(
        "build: {} (static, {}), {:.0} s",
        relative(repo, &repo.agent()),
        size(&repo.agent())?,
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Builds the program that makes and checks kills inside a VM.
pub(crate) fn build_guest(repo: &Repo) -> Result<()> {
    say::progress("build: the test program for the VM");
    build_static(repo, "oomwatch-tests", "oomwatch-guest", &[], &repo.guest())
}

/// Builds the stand-in of a kubelet and an API server.
pub(crate) fn build_standin(repo: &Repo) -> Result<()> {
    say::progress("build: the stand-in of the kubelet");
    build_static(repo, "oomwatch-tests", "oomwatch-standin", &["--features", "standin"], &repo.standin())
}

fn build_ebpf(repo: &Repo, features: &[&str]) -> Result<()> {
    let compiler =
        Compiler::find()?.context("there is no compiler for the eBPF program: run `cargo xtask setup`")?;
    say::progress(&format!("build: the eBPF program, by {}", compiler.name));
    run::run(compiler.cargo(repo, "build")?.args(features))?;
    let built = repo.ebpf_target().join("bpfel-unknown-none/release/oomwatch-ebpf");
    let object = repo.ebpf_object();
    // Unchanged bytes keep their time stamp: the agent's build script watches the file.
    let new = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(&object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    replace(&built, &object)
}

fn build_static(repo: &Repo, package: &str, program: &str, features: &[&str], to: &Path) -> Result<()> {
    // Naming the target, even that of this host, keeps the flag away from procedural macros, which cannot be static.
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    run::run(
        repo.cargo()
            .args(["build", "--release", "--target", &target, "--package", package, "--bin", program])
            .args(features)
            .env_remove("RUSTFLAGS")
            // Nothing unwinds: a panic aborts.
            .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\x1f-Cforce-unwind-tables=no"),
    )?;
    let built = repo.target().join(target).join("release").join(program);
    ensure!(needs::is_static(&built), "{} is not static: it would run on this machine only", built.display());
    replace(&built, to)
}

/// Copies in one step, so that a program that is running, or a reader, never meets half a file.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file needs a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let partial = to.with_extension("partial");
    fs::copy(from, &partial).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&partial, to).with_context(|| format!("cannot write {}", to.display()))
}

fn relative(repo: &Repo, path: &Path) -> String {
    path.strip_prefix(repo.root()).unwrap_or(path).display().to_string()
}

fn size(file: &Path) -> Result<String> {
    let bytes = fs::metadata(file).with_context(|| format!("cannot look at {}", file.display()))?.len();
    Ok(format!("{} KiB", bytes.div_ceil(1024)))
}
