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

/// What it takes to mount virtiofs and overlayfs, but for what these in turn depend on. Those that a kernel has built
/// in are not found and need not be.
const MODULES: [&str; 3] = ["virtio_pci", "virtiofs", "overlay"];
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
            // As on a node that has run for a while: what was read once is not asked for again.
            .args(["-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always"])
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

/// The modules to load, each after those it depends on: name and uncompressed content.
pub(crate) fn modules(kernel: &Kernel) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in MODULES {
        add(&kernel.modules.join("kernel"), name, &mut found)?;
    }
    Ok((0..)
        .zip(found)
        .map(|(at, (name, content)): (u32, _)| (format!("{at:02}-{name}.ko"), content))
        .collect())
}

fn add(folder: &Path, name: &str, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if found.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let Some(path) = find(folder, name) else { return Ok(()) };
    let content = content(&path)?;
    for dependency in dependencies(&content) {
        add(folder, &dependency, found)?;
    }
    found.push((name.to_owned(), content));
    Ok(())
}

/// What a module says in its `.modinfo` section, as zero-terminated text. The packages come without `modules.dep`,
/// which is made when they are installed.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module.get(at + KEY.len()..).and_then(|rest| rest.split(|byte| *byte == 0).next());
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if module_name(&path) == name {
            return Some(path);
        }
    }
    None
}

/// Files are named with either of `-` and `_`; `depends` has `_` only.
fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_a_module() {
        let table: [(&[u8], &[&str]); 4] = [
            (b"ELF\0license=GPL\0depends=virtio,virtio_ring\0name=x\0", &["virtio", "virtio_ring"]),
            (b"ELF\0depends=\0softdepends=no\0", &[]),
            (b"ELF\0softdepends=no\0", &[]),
            (b"ELF\0depends=fuse", &["fuse"]),
        ];
        for (module, expected) in table {
            assert_eq!(dependencies(module), expected);
        }
    }
}
