//! Small files of a directory that is held: it stays what it was, whatever is given its name later.

use std::{fs::File, io::Read as _, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Mode, OFlags, open, openat},
    io::Errno,
};

/// Bytes read of a file, where nothing else is said. `memory.stat` has about 2 KiB, `status` less.
pub(super) const SMALL: u64 = 16 * 1024;

/// A directory of `/proc` or of a cgroup hierarchy.
pub(super) struct Dir(OwnedFd);

impl Dir {
    /// # Errors
    /// It is not there any more, or not to be opened.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Self)
    }

    /// One of its files, or as much of it as is wanted.
    pub(super) fn read(&self, file: &str, most: u64) -> Option<Vec<u8>> {
        let opened = openat(&self.0, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        contents(File::from(opened), most)
    }
}

/// A file by its path.
pub(super) fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    contents(File::open(path).ok()?, most)
}

fn contents(file: File, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
