//! Writes a cpio archive in the `newc` format, which is what Linux unpacks as its first root file system
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`). Does not read any, and does not compress.

use anyhow::{Context, Result, ensure};

/// The kernel takes names up to PATH_MAX, the final zero included (`init/initramfs.c`).
const LONGEST_NAME: usize = 4095;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

/// An archive in the making. Parents have to be added before what they contain.
#[derive(Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    folders: Vec<String>,
}

impl Cpio {
    /// Adds a file that everybody may read and execute, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, PROGRAM, content)
    }

    /// Adds a symbolic link, and the folders above it.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, SYMLINK, target.as_bytes())
    }

    /// Adds a folder, and those above it.
    pub(crate) fn folder(&mut self, path: &str) -> Result<()> {
        self.parents(&format!("{path}/."))
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..end).unwrap_or_default();
            if !self.folders.iter().any(|known| known == folder) {
                self.entry(folder, DIRECTORY, &[])?;
                self.folders.push(folder.to_owned());
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        ensure!(path.len() < LONGEST_NAME, "the path is too long for an initramfs: {path}");
        let size =
            u32::try_from(content.len()).with_context(|| format!("{path} is too big for an initramfs"))?;
        let name_size = u32::try_from(path.len() + 1).context("the path is too long")?;
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        // ino, mode, uid, gid, nlink, mtime, filesize, device (major, minor), special device (major, minor), namesize,
        // checksum (unused in this format).
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").into_bytes());
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
        Ok(())
    }

    /// Header with name, and content, each end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::{arch::Arch, needs, repo::Repo, run};

    #[test]
    fn another_implementation_unpacks_what_was_packed() {
        let mut cpio = Cpio::default();
        cpio.file("/bin/tool", b"odd").unwrap();
        cpio.symlink("/bin/alias", "tool").unwrap();
        cpio.folder("/proc").unwrap();
        cpio.file("/bin/empty", b"").unwrap();
        let folder = Repo::find().unwrap().target().join("cpio-test");
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).unwrap();
        let archive = folder.join("archive");
        fs::write(&archive, cpio.finish().unwrap()).unwrap();

        let busybox =
            needs::busybox(&Repo::find().unwrap(), Arch::HOST).expect("`cargo xtask setup` installs busybox");
        let status = Command::new(busybox)
            .args(["cpio", "-i", "-d"])
            .stdin(fs::File::open(&archive).unwrap())
            .stderr(Stdio::null())
            .current_dir(&folder)
            .status();
        assert!(status.unwrap().success());

        let list = run::read(Command::new("find").args(["bin", "proc"]).current_dir(&folder)).unwrap();
        let mut list: Vec<&str> = list.lines().collect();
        list.sort_unstable();
        assert_eq!(list, ["bin", "bin/alias", "bin/empty", "bin/tool", "proc"]);
        assert_eq!(fs::read(folder.join("bin/alias")).unwrap(), b"odd");
        fs::remove_dir_all(&folder).unwrap();
    }
}
