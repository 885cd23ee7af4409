//! The three system calls for which there is no safe way. The only `unsafe` of the tests.

use std::{fs::File, os::fd::AsFd, ptr};

use anyhow::{Context, Result};
use rustix::{
    mm::{MapFlags, ProtFlags, mmap},
    thread::{UnshareFlags, unshare_unsafe},
};

/// Maps a file shared, for as long as the process lives, and touches every page of it.
pub(crate) fn map_and_touch(file: &File, bytes: usize) -> Result<()> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: the kernel chooses the address, so no memory in use is replaced; the mapping is never undone.
    let start = unsafe { mmap(ptr::null_mut(), bytes, protection, flags, file.as_fd(), 0) };
    let start = start.context("cannot map the file")?.cast::<u8>();
    for offset in (0..bytes).step_by(rustix::param::page_size()) {
        // SAFETY: the offset lies within the mapping, which is writable and known to nobody else in this process; a
        // truncated file would end the process with SIGBUS, which is no undefined behaviour.
        unsafe { start.add(offset).write_volatile(1) };
    }
    Ok(())
}

/// Puts the children that this process starts from now on into a pid namespace of their own.
pub(crate) fn new_pid_namespace() -> Result<()> {
    // SAFETY: only sharing the table of file descriptors would be unsafe to end; pids are not memory.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("cannot make a pid namespace (root is needed)")
}

/// Ends the calling thread alone, without unwinding and without ending the process.
pub(crate) fn exit_thread() -> ! {
    // SAFETY: SYS_exit ends the calling thread and touches no memory. Its stack and what it owned stay as they are
    // until the process ends, so nothing that other threads borrowed from it dangles.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit does not return")
}
