//! The first root file system of a VM: busybox, the scripts of `guest_init`, and the files to bring along.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    arch::Arch,
    cpio::Cpio,
    guest_init::{self, HOST_FOLDER, Init},
    host_root,
    kernels::Kernel,
    needs,
    repo::Repo,
    run,
};

const FOLDERS: [&str; 8] = ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/etc", "/var/run"];

/// A file of this machine, and its path in the guest.
#[derive(Clone)]
pub(crate) struct GuestFile {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
}

/// The whole archive.
pub(crate) fn build(
    repo: &Repo,
    kernel: &Kernel,
    init: &Init<'_>,
    command: &[String],
    files: &[GuestFile],
) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    let of = |arch| needs::busybox(repo, arch).context("there is no static busybox: run `cargo xtask setup`");
    let path = of(kernel.arch)?;
    let busybox = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    cpio.file("/bin/busybox", &busybox)?;
    let command = guest_init::command(command);
    if init.host.is_none() {
        for folder in FOLDERS {
            cpio.folder(folder)?;
        }
        // One for another architecture cannot be asked what it is able to do; this machine's is no newer.
        for applet in run::read(Command::new(of(Arch::HOST)?).arg("--list"))?.lines() {
            if applet != "busybox" {
                cpio.symlink(&format!("/bin/{applet}"), "busybox")?;
            }
        }
        cpio.file("/init", guest_init::init(init).as_bytes())?;
        cpio.file("/bin/command", command.as_bytes())?;
        for file in files {
            cpio.file(&file.guest, &file.content()?)?;
        }
    } else {
        for folder in ["/dev", "/lower", "/upper", "/newroot", "/host-run/files"] {
            cpio.folder(folder)?;
        }
        for (name, content) in host_root::modules(kernel)? {
            cpio.file(&format!("/modules/{name}"), &content)?;
        }
        cpio.file("/init", guest_init::host_init(init.board).as_bytes())?;
        // This folder becomes HOST_FOLDER of the new root.
        debug_assert!(HOST_FOLDER.starts_with("/run/"));
        cpio.file("/host-run/busybox", &busybox)?;
        cpio.file("/host-run/init", guest_init::init(init).as_bytes())?;
        cpio.file("/host-run/command", command.as_bytes())?;
        for (number, file) in (0..).zip(files) {
            let number: u32 = number;
            cpio.file(&format!("/host-run/files/{number}"), &file.content()?)?;
        }
    }
    cpio.finish()
}

impl GuestFile {
    fn content(&self) -> Result<Vec<u8>> {
        fs::read(&self.host).with_context(|| format!("cannot read {}", self.host.display()))
    }
}
