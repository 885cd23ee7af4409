//! A journal's directory, and that one agent alone writes it.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::reader::with_path;

/// Why a journal is not to be written.
#[derive(Debug)]
pub(super) enum NotOurs {
    /// Another agent has it: of this pid, as that agent sees itself.
    Taken(Option<u32>),
    /// It is no directory.
    NotADirectory,
    /// The file system does not let us.
    NotWritable(io::Error),
}

/// Makes the directory where it is missing, for nobody else to read: command lines may hold secrets. Locked for as long
/// as the file is open; the kernel lets go of it however the process ends.
pub(super) fn lock(dir: &Path) -> Result<File, NotOurs> {
    if !dir.exists() {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(|error| refused(dir, &error))?;
        }
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if !dir.is_dir() => return Err(refused(dir, &error)),
            // Another agent that starts was faster.
            _ => {}
        }
    } else if !dir.is_dir() {
        return Err(NotOurs::NotADirectory);
    }
    let path = dir.join("lock");
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| refused(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Whoever it is: the directory is taken.
            let read = file.read_to_string(&mut pid).ok();
            return Err(NotOurs::Taken(read.and_then(|_| pid.trim().parse().ok())));
        }
        Err(TryLockError::Error(error)) => return Err(refused(&path, &error)),
    }
    let told = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = told {
        tracing::debug!(%error, "the journal's lock does not name this process");
    }
    Ok(file)
}

fn refused(path: &Path, error: &io::Error) -> NotOurs {
    match error.kind() {
        // Of a parent, too.
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => NotOurs::NotADirectory,
        _ => NotOurs::NotWritable(with_path(path, error)),
    }
}
