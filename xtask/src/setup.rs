//! `cargo xtask setup`: installs what is missing. Says first what that is and why it is needed; where it may not or
//! cannot install, it says what to type instead and fails.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, process::Command, thread};

use anyhow::{Result, bail};

use crate::{
    apt_suite::Suite,
    arch::Arch,
    needs::{self, LLVM, Need, Part, Remedy},
    repo::Repo,
    run, say,
    toolchain::Compiler,
};

/// Where tools are taken from that Debian 12 does not have.
const TOOLS_SUITE: &str = "trixie";
const BPF_LINKER_VERSION: &str = "0.13.0";

/// Makes this machine able to do `parts`.
pub(crate) fn setup(repo: &Repo, parts: &[Part]) -> Result<()> {
    let missing = needs::missing(repo, parts)?;
    if missing.is_empty() {
        let compiler = Compiler::find()?.map_or_else(String::new, |compiler| compiler.name);
        say::progress(&format!("setup: everything is here; eBPF is compiled by {compiler}"));
        return Ok(());
    }
    say::progress("setup: missing on this machine:");
    for need in &missing {
        say::progress(&format!("  {}: {}", need.what, need.why));
    }
    let packages = available(packages_of(&missing));
    if !packages.is_empty() && !may_install() {
        bail!("{}", instructions(&packages));
    }
    install_packages(repo, &packages)?;
    // It is compiled, and all else is downloaded.
    let needs_linker = missing.iter().any(|need| matches!(need.remedy, Remedy::BpfLinker(_)));
    thread::scope(|scope| {
        let linker = needs_linker.then(|| scope.spawn(|| install_bpf_linker(repo)));
        download(repo, &missing)?;
        linker.map_or(Ok(()), |linker| {
            linker.join().unwrap_or_else(|_| bail!("building bpf-linker ended with a panic"))
        })
    })?;
    let left = needs::missing(repo, parts)?;
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|need| need.what).collect();
        bail!("still missing after installing: {}. {}", names.join(", "), instructions(&packages_of(&left)));
    }
    say::progress("setup: done");
    Ok(())
}

/// What neither this machine's apt installs nor is built here.
fn download(repo: &Repo, missing: &[&Need]) -> Result<()> {
    let mut unpacked: BTreeMap<&str, (Arch, Vec<&str>)> = BTreeMap::new();
    let mut unpack = |arch: Arch, package| {
        unpacked.entry(arch.name()).or_insert((arch, Vec::new())).1.push(package);
    };
    for need in missing {
        match need.remedy {
            Remedy::Components(names) => {
                run::run(Command::new("rustup").args(["component", "add"]).args(names))?;
            }
            Remedy::Unpacked(package) => unpack(Arch::HOST, package),
            Remedy::UnpackedOf(arch, package) => unpack(arch, package),
            Remedy::Python(package, _) => install_python(repo, package)?,
            Remedy::Packages(_) | Remedy::BpfLinker(_) => (),
        }
    }
    for (arch, packages) in unpacked.into_values() {
        unpack_all(repo, &packages, arch)?;
    }
    Ok(())
}

fn packages_of(missing: &[&Need]) -> Vec<&'static str> {
    let of = |need: &&Need| match need.remedy {
        Remedy::Packages(names) | Remedy::BpfLinker(names) | Remedy::Python(_, names) => names,
        Remedy::Components(_) | Remedy::Unpacked(_) | Remedy::UnpackedOf(..) => &[],
    };
    missing.iter().flat_map(of).copied().collect()
}

/// Without those that this release of Debian does not have, where alternatives are listed.
fn available(packages: Vec<&'static str>) -> Vec<&'static str> {
    packages.into_iter().filter(|package| *package != "virtiofsd" || has_candidate(package)).collect()
}

fn has_candidate(package: &str) -> bool {
    run::read(Command::new("apt-cache").args(["policy", package]))
        .is_ok_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
}

fn may_install() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    root && run::on_path("apt-get").is_some()
}

fn install_packages(repo: &Repo, packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    run::run_logged(
        "reading the package lists (apt-get update)",
        &repo.log("apt-update"),
        Command::new("apt-get").arg("update"),
    )?;
    if let Some(package) = packages.iter().find(|package| !has_candidate(package)) {
        bail!("the package {package} is in none of this machine's apt sources. {}", instructions(packages));
    }
    run::run_logged(
        &format!("installing {}", packages.join(" ")),
        &repo.log("apt-install"),
        Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn install_bpf_linker(repo: &Repo) -> Result<()> {
    run::run_logged(
        &format!("building bpf-linker {BPF_LINKER_VERSION} (1 to 3 minutes)"),
        &repo.log("bpf-linker"),
        repo.cargo()
            .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked"])
            .args(["--no-default-features", "--features", &format!("llvm-{LLVM}"), "--root"])
            .arg(repo.tools())
            .env("CARGO_TARGET_DIR", repo.tools().join("build"))
            // It links one small object: to make it fast takes longer than it ever will.
            .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")])
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}")),
    )
}

fn unpack_all(repo: &Repo, packages: &[&str], arch: Arch) -> Result<()> {
    let lists = repo.kernels().join(".suites").join(arch.beside(TOOLS_SUITE));
    let suite = Suite::fetch(TOOLS_SUITE, true, arch, &lists, &repo.log(&format!("suite-{TOOLS_SUITE}")))?;
    let folder = if arch == Arch::HOST { repo.tools() } else { repo.tools_of(arch) };
    packages
        .iter()
        .try_for_each(|package| suite.unpack_newest(package, &folder, &repo.log(package)).map(|_| ()))
}

fn install_python(repo: &Repo, package: &str) -> Result<()> {
    run::run(Command::new("python3").args(["-m", "venv"]).arg(repo.python()))?;
    run::run_logged(
        &format!("installing {package} with pip"),
        &repo.log("pip"),
        Command::new(repo.python().join("bin/pip")).args(["install", "--quiet", package]),
    )
}

fn instructions(packages: &[&str]) -> String {
    format!(
        "install these yourself, then run the command again.\n\
         On Debian, as root: apt-get update && apt-get install --no-install-recommends {}\n\
         Elsewhere: your distribution's gcc with a static libc, qemu-system-x86_64, virtiofsd, static busybox, xz, \
         apt, dpkg and debian-archive-keyring; and for the eBPF program:\n\
         \x20 rustup toolchain install nightly --component rust-src,clippy\n\
         \x20 cargo install bpf-linker --version {BPF_LINKER_VERSION} --locked\n\
         `cargo xtask build` needs only the compilers and bpf-linker; the rest is for VMs.",
        packages.join(" ")
    )
}
