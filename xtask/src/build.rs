//! `cargo xtask build`: the eBPF object by its own toolchain, then the agent around it, static and stripped.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    arch::Arch,
    elf,
    needs::Part,
    object_file,
    repo::Repo,
    run, say,
    setup::setup,
    toolchain::{self, Compiler},
};

/// How static programs are compiled.
const STATIC: [&str; 3] = [
    "-Ctarget-feature=+crt-static",
    // At a fixed address, as Go's programs are: before its first line one that may lie anywhere writes 20,000 addresses
    // into 42 pages, which from then on are memory of its own.
    "-Crelocation-model=static",
    // Nothing unwinds: a panic aborts.
    "-Cforce-unwind-tables=no",
];

/// How the programs of tests are linked: in half the time. Theirs is not what is measured.
const LINKED_FAST: [&str; 2] = ["-Clto=thin", "-Ccodegen-units=16"];

/// Who builds the eBPF program, with whatever features, leaves it at the same place.
static EBPF_OUTPUT: Mutex<()> = Mutex::new(());

/// Options of everything that builds the agent.
#[derive(clap::Args)]
pub(crate) struct BuildOptions {
    /// For machines of this architecture: target/release/oomwatch-ARCH, where it is not this machine's own
    #[arg(long, value_enum, default_value_t = Arch::HOST)]
    pub(crate) arch: Arch,
    /// Let the eBPF program log what it does (for developing it; never for release)
    #[arg(long)]
    pub(crate) debug_log: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self::of(Arch::HOST)
    }
}

impl BuildOptions {
    /// As released.
    pub(crate) fn of(arch: Arch) -> Self {
        Self { arch, debug_log: false }
    }
}

/// Leaves the agent at `target/release/oomwatch`.
pub(crate) fn build(repo: &Repo, options: &BuildOptions) -> Result<()> {
    setup(repo, &Part::build(options.arch))?;
    build_agent(repo, options)
}

/// Becomes the agent: exit code and signals are then its own.
pub(crate) fn build_and_run(repo: &Repo, options: &BuildOptions, arguments: &[String]) -> Result<ExitCode> {
    ensure!(options.arch == Arch::HOST, "this machine runs no program for {}", options.arch.name());
    build(repo, options)?;
    let agent = repo.agent();
    let error = Command::new(&agent).arg("run").args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", agent.display()))
}

/// Builds the agent without looking at setup.
pub(crate) fn build_agent(repo: &Repo, options: &BuildOptions) -> Result<()> {
    let started = Instant::now();
    let features: &[&str] = if options.debug_log { &["--features", "debug-log"] } else { &[] };
    build_ebpf(repo, features, options.arch)?;
    let agent = build_static(repo, "oomwatch-agent", "oomwatch", features, &[], options.arch)?;
    say::progress(&format!(
        "build: {} (static, {}), {:.0} s",
        relative(repo, &agent),
        size(&agent)?,
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Builds the program that makes and checks kills inside a VM.
pub(crate) fn build_guest(repo: &Repo, arch: Arch) -> Result<()> {
    say::progress("build: the test program for the VM");
    build_static(repo, "oomwatch-tests", "oomwatch-guest", &[], &LINKED_FAST, arch).map(|_| ())
}

/// Builds the stand-in of a kubelet and an API server.
pub(crate) fn build_standin(repo: &Repo) -> Result<()> {
    say::progress("build: the stand-in of the kubelet");
    let features = ["--features", "standin"];
    build_static(repo, "oomwatch-tests", "oomwatch-standin", &features, &LINKED_FAST, Arch::HOST).map(|_| ())
}

/// Builds what the kernel runs, without which nothing of the agent compiles.
pub(crate) fn build_ebpf(repo: &Repo, features: &[&str], arch: Arch) -> Result<()> {
    let compiler =
        Compiler::find()?.context("there is no compiler for the eBPF program: run `cargo xtask setup`")?;
    say::progress(&format!("build: the eBPF program, by {}", compiler.name));
    let _alone = EBPF_OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    run::run(compiler.cargo_build(repo, arch)?.args(features))?;
    let built = repo.ebpf_target(arch).join("bpfel-unknown-none/release/oomwatch-ebpf");
    let object = repo.ebpf_object(arch);
    let new = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let new = object_file::embeddable(&new)?;
    // Unchanged bytes keep their time stamp: the agent's build script watches the file.
    if fs::read(&object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    replace(&object, |partial| fs::write(partial, &new).context("cannot write the eBPF object"))
}

/// Compiles it with clippy's lints, whose findings are in `log` then.
pub(crate) fn lint_ebpf(repo: &Repo, log: &Path) -> Result<()> {
    let compiler = Compiler::find()?.context("there is no compiler for the eBPF program")?;
    let driver = compiler.clippy_driver().context("the compiler for the eBPF program has no clippy")?;
    let mut command = compiler.cargo_build(repo, Arch::HOST)?;
    command.arg("--all-features").env("RUSTC_WORKSPACE_WRAPPER", driver).env("CARGO_TERM_COLOR", "never");
    let _alone = EBPF_OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    run::run_logged("clippy of the kernel side", log, &mut run::at_leisure(&command))
}

/// Keeps what needs the eBPF object waiting for it (`oomwatch-agent/build.rs`), until this is dropped.
pub(crate) fn lock_object(repo: &Repo) -> Result<File> {
    let path = repo.ebpf_object(Arch::HOST).with_extension("lock");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Gives the path of the program. `linked`: options of the compiler for it alone, and not for what it depends on.
fn build_static(
    repo: &Repo,
    package: &str,
    program: &str,
    features: &[&str],
    linked: &[&str],
    arch: Arch,
) -> Result<PathBuf> {
    // The target is always named, even that of this host: so the flag is kept away from procedural macros, which cannot
    // be static.
    run::run(
        toolchain::cargo_rustc(repo, arch)?
            .args(["--release", "--package", package, "--bin", program])
            .args(features)
            .arg("--")
            .args(linked)
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", STATIC.join("\x1f")),
    )?;
    let built = repo.target().join(arch.target()).join("release").join(program);
    ensure!(
        elf::is_static(&built, arch),
        "{} is not static: it would run on this machine only",
        built.display()
    );
    let to = repo.program(program, arch);
    replace(&to, |partial| {
        fs::copy(&built, partial).with_context(|| format!("cannot copy {}", built.display())).map(|_| ())
    })?;
    Ok(to)
}

/// Replaces in one step, so that a program that is running, or a reader, never meets half a file.
fn replace(to: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let folder = to.parent().context("a file needs a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let partial = to.with_extension("partial");
    make(&partial)?;
    fs::rename(&partial, to).with_context(|| format!("cannot write {}", to.display()))
}

fn relative(repo: &Repo, path: &Path) -> String {
    path.strip_prefix(repo.root()).unwrap_or(path).display().to_string()
}

fn size(file: &Path) -> Result<String> {
    let bytes = fs::metadata(file).with_context(|| format!("cannot look at {}", file.display()))?.len();
    Ok(format!("{} KiB", bytes.div_ceil(1024)))
}
