//! Reads the files of `/proc` and the cgroups: bytes and outcomes, no meaning.
//!
//! All on the capture thread, so nothing is allocated: what is read goes into memory of a fixed size that is there from
//! the start, and paths begin at descriptors that are open from the start.

use std::{
    array,
    ffi::{CStr, OsStr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use oomwatch_common::{
    capture::{CGROUP_V1_FILES, CGROUP_V2_FILES, NODE_FILES, Outcome},
    ids::CgroupPath,
    peek::CgroupView,
};
use rustix::{
    fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, openat, readlinkat_raw},
    io::{Errno, pread},
    path::Arg,
};

pub mod process;
pub mod watch;

/// Bytes kept of one file. The longest that is read, `/proc/vmstat`, has about 5 KiB on 7.2.
const FILE_BYTES: usize = 16 * 1024;
/// Bytes kept of a link or a command line.
const SHORT_BYTES: usize = 4096;
/// `PATH_MAX` of Linux.
const PATH_BYTES: usize = 4096;

/// Where the node's files are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`
    cgroup_v2: Option<PathBuf>,
    cgroup_v1: Option<PathBuf>,
}

impl Roots {
    /// Finds the hierarchies below `cgroup`: all v2, all v1, or both (hybrid).
    pub fn new(proc: &Path, cgroup: &Path) -> Self {
        let existing = |path: PathBuf, file: &str| path.join(file).exists().then_some(path);
        Self {
            proc: proc.to_owned(),
            cgroup_v2: existing(cgroup.to_owned(), "cgroup.controllers")
                .or_else(|| existing(cgroup.join("unified"), "cgroup.controllers")),
            cgroup_v1: existing(cgroup.join("memory"), "memory.stat"),
        }
    }
}

impl Roots {
    /// The root of the hierarchy that accounts memory, and whether it is v2.
    pub fn hierarchy(&self) -> Option<(PathBuf, bool)> {
        let v1 = self.cgroup_v1.clone().map(|root| (root, false));
        v1.or_else(|| self.cgroup_v2.clone().map(|root| (root, true)))
    }

    /// A memory cgroup's directory, and whether it is v2. `v2`: as far as it is known. `None`: this node has no such
    /// hierarchy, or the path is not whole, or the root's, which has no figures.
    pub fn cgroup_dir(&self, path: &CgroupPath, v2: Option<bool>) -> Option<(PathBuf, bool)> {
        if path.truncated || path.components.is_empty() || path.components.iter().any(|part| part == b"..") {
            return None;
        }
        let v2 = v2.unwrap_or(self.cgroup_v1.is_none());
        let root = if v2 { &self.cgroup_v2 } else { &self.cgroup_v1 };
        let mut dir = root.clone()?;
        dir.extend(path.components.iter().map(|component| OsStr::from_bytes(component)));
        Some((dir, v2))
    }
}

/// What the node's files are read with.
pub struct Sources {
    proc: Result<OwnedFd, Outcome>,
    /// The node's own files, open from the start: to open one takes as long as to read it, and an inode of memory. None
    /// where that failed: then it is tried again.
    node: [Option<OwnedFd>; NODE_FILES.len()],
    cgroup_v2: Option<Result<OwnedFd, Outcome>>,
    cgroup_v1: Option<Result<OwnedFd, Outcome>>,
    /// The file that was read last; one byte more than is kept of any.
    contents: Box<[u8]>,
    path: Box<[u8]>,
}

/// A cgroup's directory.
pub struct CgroupDir {
    dir: Result<OwnedFd, Outcome>,
    /// The files to read in it.
    pub files: &'static [&'static str],
}

/// What was read of a file.
pub struct Contents<'a> {
    /// The bytes that are kept.
    pub bytes: &'a [u8],
    /// There were more.
    pub truncated: bool,
}

impl Sources {
    /// Opens the roots. One that cannot be opened is a source that is never read.
    pub fn open(roots: &Roots) -> Self {
        let open = |path: &PathBuf| open_dir(CWD, path.as_path());
        let proc = open(&roots.proc);
        let node_file = |place: usize| {
            let (dir, file) = (proc.as_ref().ok()?, NODE_FILES.get(place)?);
            open_file(dir.as_fd(), file).ok()
        };
        Self {
            node: array::from_fn(node_file),
            proc,
            cgroup_v2: roots.cgroup_v2.as_ref().map(open),
            cgroup_v1: roots.cgroup_v1.as_ref().map(open),
            // Ones: memory that is there must have been written.
            contents: vec![1; FILE_BYTES + 1].into_boxed_slice(),
            path: vec![1; PATH_BYTES].into_boxed_slice(),
        }
    }

    /// Takes hold of a cgroup's directory. `None`: this node has no such hierarchy, or the path is not known.
    pub fn cgroup(&mut self, cgroup: &CgroupView<'_>) -> Option<CgroupDir> {
        let (root, files) = match cgroup.v2 {
            Some(false) => (self.cgroup_v1.as_ref()?, CGROUP_V1_FILES),
            _ => (self.cgroup_v2.as_ref()?, CGROUP_V2_FILES),
        };
        if cgroup.truncated {
            return None;
        }
        let dir = match (root, relative(cgroup, &mut self.path)) {
            (Err(outcome), _) => Err(*outcome),
            // As the kernel would say of it.
            (_, None) => Err(Outcome::Gone),
            (Ok(root), Some(path)) => open_dir(root, path),
        };
        Some(CgroupDir { dir, files })
    }

    /// One of a cgroup's files.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn read_in_cgroup(&mut self, cgroup: &CgroupDir, file: &str) -> Result<Contents<'_>, Outcome> {
        let dir = cgroup.dir.as_ref().map_err(|outcome| *outcome)?;
        let opened = open_file(dir.as_fd(), file).map_err(|error| match error {
            // Every memory cgroup has this one: the directory is there and the file is not.
            Errno::NOENT if accessat(dir, "memory.stat", Access::EXISTS, AtFlags::empty()).is_ok() => {
                Outcome::Unsupported
            }
            error => outcome_of(error),
        })?;
        self.contents_of(&opened, FILE_BYTES, End::ShortRead)
    }

    /// One of the node's own files.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn read_of_node(&mut self, file: &str) -> Result<Contents<'_>, Outcome> {
        let place = NODE_FILES.iter().position(|name| *name == file);
        if let Some(held) = place.and_then(|place| self.node.get(place)?.as_ref()) {
            return contents_of(held, &mut self.contents, FILE_BYTES, End::Nothing);
        }
        let proc = self.proc.as_ref().map_err(|outcome| *outcome)?;
        let opened = open_file(proc.as_fd(), file).map_err(|error| match error {
            Errno::NOENT => Outcome::Unsupported,
            error => outcome_of(error),
        })?;
        self.contents_of(&opened, FILE_BYTES, End::Nothing)
    }

    /// The numbers of a cgroup's processes, as many as there is room for.
    pub fn members(&mut self, cgroup: &CgroupDir, numbers: &mut [u32]) -> usize {
        let Ok(dir) = &cgroup.dir else { return 0 };
        let Ok(opened) = open_file(dir.as_fd(), "cgroup.procs") else { return 0 };
        let Ok(Contents { bytes, .. }) = self.contents_of(&opened, FILE_BYTES, End::Nothing) else {
            return 0;
        };
        let listed =
            bytes.split(|&byte| byte == b'\n').filter_map(|line| str::from_utf8(line).ok()?.parse().ok());
        // Whoever is outside of the reader's pid namespace has no number in it.
        let listed = listed.filter(|number| *number > 0);
        let mut count = 0;
        for (place, number) in numbers.iter_mut().zip(listed) {
            *place = number;
            count += 1;
        }
        count
    }

    fn contents_of(&mut self, opened: &OwnedFd, limit: usize, end: End) -> Result<Contents<'_>, Outcome> {
        contents_of(opened, &mut self.contents, limit, end)
    }

    fn link(&mut self, dir: BorrowedFd<'_>, file: &str) -> Result<Contents<'_>, Outcome> {
        let room = self.contents.get_mut(..SHORT_BYTES).unwrap_or_default();
        let len = readlinkat_raw(dir, file, room).map_err(outcome_of)?;
        Ok(Contents { bytes: self.contents.get(..len).unwrap_or_default(), truncated: false })
    }

    fn at(&mut self, opened: &OwnedFd, start: u64, length: usize) -> Result<Contents<'_>, Outcome> {
        let room = self.contents.get_mut(..length.min(SHORT_BYTES)).unwrap_or_default();
        match pread(opened, room, start).map_err(outcome_of)? {
            0 => Err(Outcome::Gone),
            len => {
                Ok(Contents { bytes: self.contents.get(..len).unwrap_or_default(), truncated: length > len })
            }
        }
    }
}

/// A file from its begin, in `room`.
fn contents_of<'a>(
    opened: &OwnedFd,
    room: &'a mut [u8],
    limit: usize,
    end: End,
) -> Result<Contents<'a>, Outcome> {
    let mut len = 0;
    // One byte more than is kept, to know whether there are more.
    while let Some(room) = room.get_mut(len..=limit).filter(|room| !room.is_empty()) {
        let asked = room.len();
        match pread(opened, room, len as u64) {
            Ok(0) => break,
            Ok(count) => {
                len += count;
                if end == End::ShortRead && count < asked {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(outcome_of(error)),
        }
    }
    let bytes = room.get(..len.min(limit)).unwrap_or_default();
    Ok(Contents { bytes, truncated: len > limit })
}

/// How the end of a file is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By a read that gives less than was asked for: files that the kernel writes in one go (`single_open`,
    /// fs/seq_file.c), whatever their length. One system call less.
    ShortRead,
    /// By a read that gives nothing: `vmstat` and `cgroup.procs` come a page at a time.
    Nothing,
}

/// The path below the root of its hierarchy, which itself is `.`; `None` where it is longer than the kernel takes.
fn relative<'a>(cgroup: &CgroupView<'_>, path: &'a mut [u8]) -> Option<&'a CStr> {
    let mut len = 0;
    for component in cgroup.components() {
        let separator: &[u8] = if len == 0 { b"" } else { b"/" };
        for part in [separator, component] {
            path.get_mut(len..len + part.len())?.copy_from_slice(part);
            len += part.len();
        }
    }
    let end: &[u8] = if len == 0 { b".\0" } else { b"\0" };
    path.get_mut(len..len + end.len())?.copy_from_slice(end);
    CStr::from_bytes_until_nul(path).ok()
}

fn open_dir(at: impl AsFd, path: impl Arg) -> Result<OwnedFd, Outcome> {
    openat(at, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(outcome_of)
}

fn open_file(at: BorrowedFd<'_>, file: &str) -> Result<OwnedFd, Errno> {
    openat(at, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// What an error of `open` or `read` says of a process's or a cgroup's file.
fn outcome_of(error: Errno) -> Outcome {
    match error {
        Errno::ACCESS | Errno::PERM => Outcome::Denied,
        Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS => Outcome::Unsupported,
        _ => Outcome::Gone,
    }
}
