//! What the project needs on a machine, why, and what Debian calls it. Only looks; `setup` installs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{arch::Arch, elf, repo::Repo, run, toolchain::Compiler};

/// The LLVM that bpf-linker is built with: that of Debian's `rustc-web`, whose bitcode it has to read.
pub(crate) const LLVM: &str = "22";

/// What a need serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Compiling the agent.
    Build,
    /// Compiling for an architecture that is not this machine's.
    Cross(Arch),
    /// Booting VMs.
    Vm,
    /// Those of an architecture.
    VmOf(Arch),
    /// The checks of `cargo xtask test`.
    Check,
    /// Building the container image.
    Image,
    /// Checking the manifests.
    Manifests,
    /// Running the image as a node does.
    Runtime,
    /// Scraping, and checking alerts.
    Prometheus,
    /// What is measured beside the agent. Not needed but for that, so that plain `setup` leaves it out.
    Peers,
}

impl Part {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Build,
        Self::Vm,
        Self::VmOf(Arch::HOST),
        Self::Check,
        Self::Image,
        Self::Manifests,
        Self::Runtime,
        Self::Prometheus,
    ];

    /// Building for `arch`.
    pub(crate) fn build(arch: Arch) -> Vec<Self> {
        if arch == Arch::HOST { vec![Self::Build] } else { vec![Self::Build, Self::Cross(arch)] }
    }

    /// Building for `arch`, and booting VMs of it.
    pub(crate) fn vm(arch: Arch) -> Vec<Self> {
        [Self::build(arch), vec![Self::Vm, Self::VmOf(arch)]].concat()
    }
}

/// How a need is met.
pub(crate) enum Remedy {
    /// By Debian packages of these names.
    Packages(&'static [&'static str]),
    /// By building the pinned bpf-linker, for which these packages are needed.
    BpfLinker(&'static [&'static str]),
    /// By components of the rustup toolchain that runs xtask.
    Components(&'static [&'static str]),
    /// By the package of this name, of a newer Debian if this one has none, unpacked into `target/tools`.
    Unpacked(&'static str),
    /// The same of an architecture that is not this machine's.
    UnpackedOf(Arch, &'static str),
    /// By the Python package of this name and version, for which these packages are needed.
    Python(&'static str, &'static [&'static str]),
}

/// One thing that has to be there.
pub(crate) struct Need {
    /// What it is, for the user.
    pub(crate) what: &'static str,
    /// What goes wrong without it, for the user.
    pub(crate) why: &'static str,
    /// Which commands ask for it.
    pub(crate) part: Part,
    /// What to do when it is missing.
    pub(crate) remedy: Remedy,
    present: fn(&Repo) -> Result<bool>,
}

/// The needs of `parts` that this machine does not meet.
pub(crate) fn missing(repo: &Repo, parts: &[Part]) -> Result<Vec<&'static Need>> {
    let mut missing = Vec::new();
    for need in NEEDS.iter().filter(|need| parts.contains(&need.part)) {
        if !(need.present)(repo)? {
            missing.push(need);
        }
    }
    Ok(missing)
}

/// In the order of installing: the linker is built by the C compiler.
const NEEDS: &[Need] = &[
    Need {
        what: "C compiler and static C library",
        why: "they link the agent into one static file",
        part: Part::Build,
        remedy: Remedy::Packages(&["gcc", "libc6-dev"]),
        present: |_| Ok(has_static_libc(Arch::HOST)),
    },
    Need {
        what: "Rust compiler with the sources of core",
        why: "core is compiled anew for the eBPF target; rustup's stable comes without its sources",
        part: Part::Build,
        remedy: Remedy::Packages(&["rustc-web", "rust-web-src", "cargo-web"]),
        present: |_| Ok(Compiler::find()?.is_some()),
    },
    Need {
        what: "bpf-linker",
        why: "it turns the compiler's LLVM bitcode into an eBPF object with BTF",
        part: Part::Build,
        remedy: Remedy::BpfLinker(&[
            "g++",
            "llvm-22-dev",
            "libpolly-22-dev",
            "libzstd-dev",
            "zlib1g-dev",
            "libxml2-dev",
        ]),
        // Without a compiler there is nothing to link for yet; setup looks again once there is one.
        present: |repo| Ok(Compiler::find()?.is_some_and(|compiler| compiler.linker(repo).is_some())),
    },
    Need {
        what: "C compiler and static C library for arm64",
        why: "they link the agent for a machine that is not of this one's kind",
        part: Part::Cross(Arch::Arm),
        remedy: Remedy::Packages(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
        present: |_| Ok(has_static_libc(Arch::Arm)),
    },
    Need {
        what: "C compiler and static C library for x86-64",
        why: "they link the agent for a machine that is not of this one's kind",
        part: Part::Cross(Arch::X86),
        remedy: Remedy::Packages(&["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"]),
        present: |_| Ok(has_static_libc(Arch::X86)),
    },
    Need {
        what: "qemu-system-x86_64",
        why: "it boots the kernels on which real kills are made",
        part: Part::VmOf(Arch::X86),
        remedy: Remedy::Packages(&["qemu-system-x86"]),
        present: |_| Ok(run::on_path(Arch::X86.board().qemu).is_some()),
    },
    Need {
        what: "qemu-system-aarch64",
        why: "it boots arm64 kernels, on which real kills are made",
        part: Part::VmOf(Arch::Arm),
        remedy: Remedy::Packages(&["qemu-system-arm"]),
        present: |_| Ok(run::on_path(Arch::Arm.board().qemu).is_some()),
    },
    Need {
        what: "virtiofsd",
        why: "it shows this machine's files to a VM (`cargo xtask vm --root host`)",
        part: Part::Vm,
        // Up to Debian 12 it comes with qemu, later in a package of its own.
        remedy: Remedy::Packages(&["qemu-system-common", "virtiofsd"]),
        present: |_| Ok(virtiofsd().is_some()),
    },
    Need {
        what: "static busybox for x86-64",
        why: "it is the userland of the VMs",
        part: Part::VmOf(Arch::X86),
        remedy: busybox_of(Arch::X86),
        present: |repo| Ok(busybox(repo, Arch::X86).is_some()),
    },
    Need {
        what: "static busybox for arm64",
        why: "it is the userland of the VMs",
        part: Part::VmOf(Arch::Arm),
        remedy: busybox_of(Arch::Arm),
        present: |repo| Ok(busybox(repo, Arch::Arm).is_some()),
    },
    Need {
        what: "xz",
        why: "it unpacks the modules of newer kernels",
        part: Part::Vm,
        remedy: Remedy::Packages(&["xz-utils"]),
        present: |_| Ok(run::on_path("xz").is_some()),
    },
    Need {
        what: "apt and dpkg with Debian's keyring",
        why: "the VMs' kernels are Debian's",
        part: Part::Vm,
        remedy: Remedy::Packages(&["apt", "dpkg", "debian-archive-keyring"]),
        present: |_| {
            let programs = ["apt-get", "apt-cache", "dpkg"].iter().all(|name| run::on_path(name).is_some());
            Ok(programs && Path::new(KEYRING).is_file())
        },
    },
    Need {
        what: "rustfmt and clippy",
        why: "`cargo xtask test` checks format and lints",
        part: Part::Check,
        remedy: Remedy::Components(&["rustfmt", "clippy"]),
        present: |_| Ok(run::on_path("cargo-fmt").is_some() && clippy_driver().is_some()),
    },
    Need {
        what: "C++ compiler",
        why: "`cargo xtask test` fuzzes briefly, and libFuzzer is C++",
        part: Part::Check,
        remedy: Remedy::Packages(&["g++"]),
        present: |_| Ok(run::on_path("c++").is_some()),
    },
    Need {
        what: "valgrind",
        why: "`cargo xtask test` counts the instructions of an incident",
        part: Part::Check,
        remedy: Remedy::Packages(&["valgrind"]),
        present: |_| Ok(run::on_path("valgrind").is_some()),
    },
    Need {
        what: "clippy of the compiler for eBPF",
        why: "the kernel side is checked by its own compiler's lints",
        part: Part::Check,
        remedy: Remedy::Packages(&["rust-web-clippy"]),
        present: |_| Ok(Compiler::find()?.is_some_and(|compiler| compiler.clippy_driver().is_some())),
    },
    Need {
        what: "buildah",
        why: "it builds the container image, without a daemon",
        part: Part::Image,
        remedy: Remedy::Packages(&["buildah"]),
        present: |_| Ok(run::on_path("buildah").is_some()),
    },
    Need {
        what: "kustomize",
        why: "it renders the manifests of deploy/ as `kubectl apply -k` does",
        part: Part::Manifests,
        remedy: Remedy::Unpacked("kustomize"),
        present: |repo| Ok(kustomize(repo).is_some()),
    },
    Need {
        what: "kubernetes-validate",
        why: "it holds the manifests against the API of each Kubernetes release",
        part: Part::Manifests,
        remedy: Remedy::Python(KUBERNETES_VALIDATE, &["python3", "python3-venv"]),
        present: |repo| Ok(repo.python().join("bin/kubernetes-validate").is_file()),
    },
    Need {
        what: "prometheus",
        why: "it scrapes the agent while kills are made",
        part: Part::Prometheus,
        remedy: Remedy::Unpacked("prometheus"),
        present: |repo| Ok(of_prometheus(repo, "prometheus").is_some()),
    },
    Need {
        what: "promtool",
        why: "it checks the alerts of deploy/prometheus, and tests them",
        part: Part::Prometheus,
        remedy: Remedy::Unpacked("promtool"),
        present: |repo| Ok(of_prometheus(repo, "promtool").is_some()),
    },
    Need {
        what: "containerd and runc",
        why: "they run the image in a VM as on a node",
        part: Part::Runtime,
        remedy: Remedy::Packages(&["containerd", "runc"]),
        present: |_| Ok(["containerd", "ctr", "runc"].iter().all(|name| run::on_path(name).is_some())),
    },
    Need {
        what: "oomkill of bcc, libbpf-tools and bpftrace",
        why: "they are measured beside the agent",
        part: Part::Peers,
        remedy: Remedy::Packages(&["bpfcc-tools", "libbpf-tools", "bpftrace"]),
        present: |_| {
            Ok(["oomkill-bpfcc", "oomkill", "oomkill.bt"].iter().all(|name| run::on_path(name).is_some()))
        },
    },
];

/// With the schemas of Kubernetes 1.25 to 1.37.
const KUBERNETES_VALIDATE: &str = "kubernetes-validate==1.37.0";

/// This machine's, or that which setup unpacked.
pub(crate) fn kustomize(repo: &Repo) -> Option<PathBuf> {
    run::on_path("kustomize")
        .or_else(|| Some(repo.tools().join("usr/bin/kustomize")).filter(|path| path.is_file()))
}

/// `prometheus` or `promtool`: this machine's, or that which setup unpacked.
pub(crate) fn of_prometheus(repo: &Repo, name: &str) -> Option<PathBuf> {
    let knows_formats = |program: &PathBuf| {
        let version = run::read(Command::new(program).arg("--version"));
        version.is_ok_and(|text| version_of(&text).is_some_and(|version| version >= SCRAPE_PROTOCOLS))
    };
    run::on_path(name)
        .filter(knows_formats)
        .or_else(|| Some(repo.tools().join("usr/bin").join(name)).filter(|path| path.is_file()))
}

/// Since which a configuration can say in which formats to scrape; Debian 12 has 2.42.
const SCRAPE_PROTOCOLS: (u32, u32) = (2, 49);

/// Of `prometheus, version 2.53.3+ds1 (branch: …`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once("version ")?;
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What Debian's archive is signed with.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The file server for `--root host`.
pub(crate) fn virtiofsd() -> Option<PathBuf> {
    let known = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"].map(PathBuf::from);
    known.into_iter().find(|path| path.is_file()).or_else(|| run::on_path("virtiofsd"))
}

const fn busybox_of(arch: Arch) -> Remedy {
    if arch as u8 == Arch::HOST as u8 {
        Remedy::Packages(&["busybox-static"])
    } else {
        Remedy::UnpackedOf(arch, "busybox-static")
    }
}

/// A busybox for `arch` that needs no libraries.
pub(crate) fn busybox(repo: &Repo, arch: Arch) -> Option<PathBuf> {
    let of_other = || Some(repo.tools_of(arch).join("usr/bin/busybox")).filter(|path| path.is_file());
    let found = if arch == Arch::HOST { run::on_path("busybox") } else { of_other() };
    found.filter(|path| elf::is_static(path, arch))
}

fn has_static_libc(arch: Arch) -> bool {
    // gcc answers with the bare name when it does not find the file.
    run::read(Command::new(arch.c_compiler()).arg("-print-file-name=libc.a"))
        .is_ok_and(|path| Path::new(&path).is_absolute())
}

/// The compiler with clippy's lints, that of the toolchain which runs this.
pub(crate) fn clippy_driver() -> Option<PathBuf> {
    // rustup's proxies exist whether or not the component does; the toolchain's own folder tells.
    let cargo = std::env::var_os("CARGO").map(PathBuf::from).unwrap_or_default();
    cargo.parent().map(|bin| bin.join("clippy-driver")).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_prometheus_says() {
        for (text, expected) in [
            ("prometheus, version 2.53.3+ds1 (branch: debian/sid)\n", Some((2, 53))),
            ("promtool, version 3.5.3 (branch: main)", Some((3, 5))),
            ("prometheus, version 2", None),
            ("usage: prometheus", None),
        ] {
            assert_eq!(version_of(text), expected, "{text}");
        }
    }
}
