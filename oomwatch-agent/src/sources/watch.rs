//! Watches a process to its end, from the reporter's side: here memory may be asked for.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oomwatch_common::incident::Process;
use rustix::{
    fs::{Mode, OFlags, open, openat},
    io::read,
};

use super::{
    Roots,
    process::{NANOSECONDS_PER_TICK, field},
};

/// Longer than any `/proc/PID/stat`.
const STAT_BYTES: usize = 4096;

/// A process that is watched until its end, held as it is here.
pub struct Watched(OwnedFd);

/// Takes hold of a process that was killed. `None`: it has ended already.
pub fn watch(roots: &Roots, process: &Process) -> Option<Watched> {
    let path = roots.proc.join(process.tgid?.0.to_string());
    let dir = open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = read_stat(dir.as_fd())?;
    let is_it = process.started.is_none_or(|started| {
        field(&stat, 22).is_some_and(|ticks| ticks == started.0 / NANOSECONDS_PER_TICK)
    });
    is_it.then_some(Watched(dir))
}

impl Watched {
    /// Whether its last thread has ended, and with it its memory is given back, whoever waits for it or not.
    pub fn has_ended(&self) -> bool {
        let Some(stat) = read_stat(self.0.as_fd()) else { return true };
        let after_name = stat.iter().rposition(|&byte| byte == b')').and_then(|end| stat.get(end + 2));
        // The first thread may be a zombie while others still run.
        matches!(after_name, Some(b'Z' | b'X')) && field(&stat, 20).is_none_or(|threads| threads <= 1)
    }
}

fn read_stat(dir: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let opened = openat(dir, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut stat = vec![0; STAT_BYTES];
    let len = read(&opened, &mut stat).ok().filter(|len| *len > 0)?;
    stat.truncate(len);
    Some(stat)
}
