//! Which Rust compiler and which linker build the eBPF program.
//!
//! `core` has to be compiled for the BPF target, which needs its sources and unstable options of cargo. A rustup
//! toolchain without rust-src is therefore passed over, nightly or not. Nothing is installed here; see `setup`.
//!
//! And which one builds the agent for an architecture that is not this machine's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    arch::Arch,
    repo::{Repo, forget_outer_cargo},
    run,
};

const CHOICE: &str = "OOMWATCH_EBPF_TOOLCHAIN";
const LINKER: &str = "OOMWATCH_BPF_LINKER";
/// The workspace's edition and aya-ebpf need it.
const OLDEST_MINOR: u32 = 95;

/// A Rust compiler that can build `core` for BPF.
pub(crate) struct Compiler {
    /// For the user: `nightly-x86_64-unknown-linux-gnu`, or `/usr/bin/rustc`.
    pub(crate) name: String,
    bin: PathBuf,
    from_rustup: bool,
}

impl Compiler {
    /// The one to use, if there is any. A choice that the user made and that cannot work is an error.
    pub(crate) fn find() -> Result<Option<Self>> {
        match env::var(CHOICE).ok().filter(|choice| !choice.is_empty()).as_deref() {
            Some("system") => Ok(Self::of_system()),
            Some(name) => {
                let toolchain = rustup_home().join("toolchains").join(name);
                if !has_sources(&toolchain) {
                    bail!(
                        "{CHOICE} is {name}, but {} has no rust-src: \
                         run `rustup component add rust-src --toolchain {name}`",
                        toolchain.display()
                    );
                }
                Ok(Some(Self::of_rustup(&toolchain)))
            }
            // A linker of setup's own is built on Debian's LLVM and need not read what a nightly writes, so rustup's
            // compilers are taken only together with the linker that their user installed.
            None if env::var_os(LINKER).is_some() || run::on_path("bpf-linker").is_some() => {
                Ok(best_of_rustup().or_else(Self::of_system))
            }
            None => Ok(Self::of_system()),
        }
    }

    fn of_rustup(toolchain: &Path) -> Self {
        let name = toolchain.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, bin: toolchain.join("bin"), from_rustup: true }
    }

    fn of_system() -> Option<Self> {
        let rustc = Path::new("/usr/bin/rustc");
        if !has_sources(Path::new("/usr")) || !Path::new("/usr/bin/cargo").is_file() {
            return None;
        }
        let version = run::read(Command::new(rustc).arg("--version").env_remove("LD_LIBRARY_PATH")).ok()?;
        (minor_version(&version)? >= OLDEST_MINOR).then(|| Self {
            name: rustc.display().to_string(),
            bin: PathBuf::from("/usr/bin"),
            from_rustup: false,
        })
    }

    /// The linker to use with this compiler, if there is one.
    pub(crate) fn linker(&self, repo: &Repo) -> Option<PathBuf> {
        let own = repo.tools().join("bin/bpf-linker");
        let own = own.is_file().then_some(own);
        match env::var_os(LINKER) {
            Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
            None if self.from_rustup => run::on_path("bpf-linker").or(own),
            None => own.or_else(|| run::on_path("bpf-linker")),
        }
    }

    /// It with clippy's lints, if that comes with it.
    pub(crate) fn clippy_driver(&self) -> Option<PathBuf> {
        Some(self.bin.join("clippy-driver")).filter(|driver| driver.is_file())
    }

    /// Its cargo, ready to build for BPF, as kernels of `arch` have it.
    pub(crate) fn cargo_build(&self, repo: &Repo, arch: Arch) -> Result<Command> {
        let linker = self.linker(repo).context("there is no bpf-linker: run `cargo xtask setup`")?;
        let flags = [
            "-C".to_owned(),
            format!("linker={}", linker.display()),
            "-C".to_owned(),
            "link-arg=--btf".to_owned(),
            format!("--cfg=bpf_target_arch=\"{}\"", arch.name()),
        ];
        let mut command = self.start(repo, "cargo");
        command
            .arg("build")
            .args(["--release", "-Z", "build-std=core", "--target", "bpfel-unknown-none"])
            .args(["--package", "oomwatch-ebpf"])
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            // BTF is made of it, and the kernel wants all functions of a program named there or none, those of
            // compiler_builtins too.
            .env("CARGO_PROFILE_RELEASE_DEBUG", "full")
            .env("CARGO_TARGET_DIR", repo.ebpf_target(arch));
        Ok(command)
    }

    /// Its cargo, ready for `rustc` arguments: it compiles the standard library too.
    fn cargo_with_std(&self, repo: &Repo) -> Command {
        let mut command = self.start(repo, "cargo");
        command.args(["rustc", "-Z", "build-std=std,panic_abort"]).env("CARGO_TARGET_DIR", repo.target());
        command
    }

    /// `program` of this toolchain, whichever other one runs xtask.
    fn start(&self, repo: &Repo, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .current_dir(repo.root())
            .env("CARGO", self.bin.join("cargo"))
            .env("RUSTC", self.bin.join("rustc"))
            // Lets a compiler that is not a nightly take -Z options, which building `core` asks for.
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTUP_TOOLCHAIN")
            // Points at the libraries of the toolchain that runs xtask.
            .env_remove("LD_LIBRARY_PATH");
        forget_outer_cargo(&mut command);
        command
    }
}

/// `cargo rustc` for `arch`. The toolchain that runs xtask does it where it has the standard library of that target;
/// for another architecture than this machine's, else, the one that compiles the eBPF program, as it can make one.
pub(crate) fn cargo_rustc(repo: &Repo, arch: Arch) -> Result<Command> {
    let target = arch.target();
    let mut cargo = if arch == Arch::HOST || has_std(repo, &target) {
        let mut cargo = repo.cargo();
        cargo.arg("rustc");
        cargo
    } else {
        let compiler = Compiler::find()?.with_context(|| {
            format!("no standard library for {target}: run `rustup target add {target}`, or install rust-src")
        })?;
        compiler.cargo_with_std(repo)
    };
    if arch != Arch::HOST {
        let name = target.replace('-', "_");
        cargo
            .env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), arch.c_compiler())
            .env(format!("CC_{name}"), arch.c_compiler());
    }
    cargo.args(["--target", &target]).env("OOMWATCH_EBPF_OBJECT", repo.ebpf_object(arch));
    Ok(cargo)
}

/// Whether the toolchain that runs xtask has the standard library for `target`.
fn has_std(repo: &Repo, target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(repo.root());
    run::read(&mut rustc).is_ok_and(|folder| Path::new(&folder).is_dir())
}

fn best_of_rustup() -> Option<Compiler> {
    let entries = fs::read_dir(rustup_home().join("toolchains")).ok()?;
    let mut toolchains: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| has_sources(path)).collect();
    toolchains
        .sort_by_key(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with("nightly"));
    toolchains.first().map(|path| Compiler::of_rustup(path))
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

fn rustup_home() -> PathBuf {
    env::var_os("RUSTUP_HOME")
        .map_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".rustup"), PathBuf::from)
}

/// `rustc 1.96.0 (ac68faa20 2026-05-25) …` → 96; none for a compiler that is not Rust 1.
fn minor_version(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_version_is_read_as_rustc_prints_it() {
        let table = [
            ("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", Some(96)),
            ("rustc 1.63.0", Some(63)),
            ("rustc 1.97.0-nightly (0123456 2026-06-01)", Some(97)),
            ("rustc 2.0.0", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(minor_version(text), expected, "{text}");
        }
    }
}
