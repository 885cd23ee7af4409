//! Where things are. Every path that xtask writes to is named here, and lies below `target/`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::arch::Arch;

/// The checkout that xtask was built from.
pub(crate) struct Repo {
    root: PathBuf,
}

impl Repo {
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable when it runs xtask; the constant serves a copy that is started by hand.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask does not lie in a workspace")?.to_owned();
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Programs that setup builds for this checkout alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target().join("tools")
    }

    /// Programs for VMs of an architecture that is not this machine's.
    pub(crate) fn tools_of(&self, arch: Arch) -> PathBuf {
        self.tools().join(arch.name())
    }

    /// What quiet steps wrote.
    pub(crate) fn log(&self, step: &str) -> PathBuf {
        self.target().join("logs").join(format!("{step}.log"))
    }

    pub(crate) fn ebpf_target(&self, arch: Arch) -> PathBuf {
        self.target().join(arch.beside("ebpf"))
    }

    /// The path that the agent's build script looks at.
    pub(crate) fn ebpf_object(&self, arch: Arch) -> PathBuf {
        self.ebpf_target(arch).join("oomwatch-ebpf.o")
    }

    /// This machine's.
    pub(crate) fn agent(&self) -> PathBuf {
        self.program("oomwatch", Arch::HOST)
    }

    /// The program that makes and checks kills inside a VM; this machine's.
    pub(crate) fn guest(&self) -> PathBuf {
        self.program("oomwatch-guest", Arch::HOST)
    }

    /// A static program of ours.
    pub(crate) fn program(&self, name: &str, arch: Arch) -> PathBuf {
        self.target().join("release").join(arch.beside(name))
    }

    /// Answers as a kubelet and an API server.
    pub(crate) fn standin(&self) -> PathBuf {
        self.program("oomwatch-standin", Arch::HOST)
    }

    /// The fuzz targets, a workspace of their own.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("tests/fuzz")
    }

    pub(crate) fn fuzz_target(&self) -> PathBuf {
        self.target().join("fuzz")
    }

    /// The image's archive, and what is left of building it.
    pub(crate) fn image_folder(&self) -> PathBuf {
        self.target().join("image")
    }

    pub(crate) fn deploy(&self) -> PathBuf {
        self.root.join("deploy")
    }

    /// The Python tools that setup installs, in an environment of their own.
    pub(crate) fn python(&self) -> PathBuf {
        self.tools().join("python")
    }

    pub(crate) fn kernels(&self) -> PathBuf {
        self.target().join("kernels")
    }

    pub(crate) fn vms(&self) -> PathBuf {
        self.target().join("vm")
    }

    /// The cargo that runs xtask, for the host's crates. It builds below this checkout's `target/` wherever the user's
    /// other builds go, because the paths above are promised.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", self.target());
        cargo.env("OOMWATCH_EBPF_OBJECT", self.ebpf_object(Arch::HOST));
        forget_outer_cargo(&mut cargo);
        cargo
    }
}

/// Takes away what `cargo run` sets for xtask itself: build scripts that look at these would run again each time.
pub(crate) fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}
