//! Which Rust compiler and which linker build the eBPF program.
//!
//! `core` has to be compiled for the BPF target, which needs its sources and unstable options of cargo. A rustup
//! toolchain without rust-src is therefore passed over, nightly or not. Nothing is installed here; see `setup`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
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

    /// Whether clippy comes with it.
    pub(crate) fn has_clippy(&self) -> bool {
        self.bin.join("cargo-clippy").is_file() && self.bin.join("clippy-driver").is_file()
    }

    /// Its cargo, ready to build for BPF; `subcommand` is `build` or `clippy`.
    pub(crate) fn cargo(&self, repo: &Repo, subcommand: &str) -> Result<Command> {
        let linker = self.linker(repo).context("there is no bpf-linker: run `cargo xtask setup`")?;
        let cargo = self.bin.join("cargo");
        let mut command = if subcommand == "clippy" {
            // Started by path: cargo itself would take rustup's cargo-clippy, which may be of another compiler.
            Command::new(self.bin.join("cargo-clippy"))
        } else {
            Command::new(&cargo)
        };
        let flags = [
            "-C".to_owned(),
            format!("linker={}", linker.display()),
            "-C".to_owned(),
            "link-arg=--btf".to_owned(),
            format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        ];
        command
            .arg(subcommand)
            .args(["--release", "-Z", "build-std=core", "--target", "bpfel-unknown-none"])
            .args(["--package", "oomwatch-ebpf"])
            .current_dir(repo.root())
            .env("CARGO", &cargo)
            .env("RUSTC", self.bin.join("rustc"))
            // Lets a compiler that is not a nightly take -Z options, which building `core` asks for.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("CARGO_TARGET_DIR", repo.ebpf_target())
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTUP_TOOLCHAIN")
            // Points at the libraries of the toolchain that runs xtask.
            .env_remove("LD_LIBRARY_PATH");
        forget_outer_cargo(&mut command);
        Ok(command)
    }
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
