//! This machine's files as the root of a VM, by virtiofs: every tool that is installed here can then be tried on
//! another kernel. The guest sees them read-only, below a layer in its memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{kernels::Kernel, needs, run};

/// What it takes to mount virtiofs and overlayfs, each after what it builds on. Those that a kernel has built in, or
/// does not know, are left out.
const MODULES: [&str; 8] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
    "overlay",
];
const PATIENCE: Duration = Duration::from_secs(10);

/// A file server for one VM; ends with it.
pub(crate) struct FileServer {
    process: Child,
    socket: PathBuf,
}

impl FileServer {
    /// Serves `/`. `command` is the empty command of a process that ends when xtask does.
    pub(crate) fn start(folder: &Path, command: fn(&Path) -> Command) -> Result<Self> {
        let program = needs::virtiofsd().context("there is no virtiofsd: run `cargo xtask setup`")?;
        let socket = folder.join("virtiofs.sock");
        let log = folder.join("virtiofsd.log");
        let file = fs::File::create(&log).context("cannot create virtiofsd's log")?;
        let mut process = command(&program)
            .arg(format!("--socket-path={}", socket.display()))
            // In this form both the C and the Rust implementation take it.
            .args(["-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=auto"])
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share virtiofsd's log")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let started = Instant::now();
        while !socket.exists() {
            let ended = process.try_wait().context("cannot wait for virtiofsd")?.is_some();
            if ended || started.elapsed() > PATIENCE {
                process.kill().ok();
                process.wait().ok();
                bail!("virtiofsd did not start (it needs root): {}", run::last_lines(&log, 5));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { process, socket })
    }

    /// Where QEMU finds it.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        // It has usually ended by itself, with its only client.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The modules to load, in order: name and uncompressed content.
pub(crate) fn modules(kernel: &Kernel) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in MODULES {
        let Some(path) = find(&kernel.modules.join("kernel"), name) else { continue };
        found.push((format!("{:02}-{name}.ko", found.len()), content(&path)?));
    }
    Ok(found)
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if path.file_name()?.to_string_lossy().split('.').next() == Some(name) {
            return Some(path);
        }
    }
    None
}

fn content(module: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    if module.extension().is_none_or(|extension| extension != "xz") {
        return Ok(bytes);
    }
    let output = Command::new("xz").args(["-d", "-c"]).arg(module).output().context("cannot start xz")?;
    if !output.status.success() {
        bail!("xz cannot unpack {}: {}", module.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
