//! The system calls for which there is no safe way. The only `unsafe` of the tests.

use std::{
    ffi::{c_int, c_void},
    fs::File,
    io,
    os::fd::AsFd,
    process, ptr,
};

use anyhow::{Context, Result, ensure};
use rustix::{
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous},
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

/// The root of the cgroups, as this process and its children see it, is from now on the one it is in.
pub(crate) fn new_cgroup_namespace() -> Result<()> {
    // SAFETY: only sharing the table of file descriptors would be unsafe to end; cgroups are not memory.
    unsafe { unshare_unsafe(UnshareFlags::NEWCGROUP) }
        .context("cannot make a cgroup namespace (root is needed)")
}

/// From now on the calling thread has its memory from this memory node alone.
pub(crate) fn bind_to_memory_node(node: u32) -> Result<()> {
    let nodes: libc::c_ulong = 1 << node;
    // SAFETY: the kernel reads one word, which is here; where pages lie is nothing that code can tell.
    let outcome = unsafe {
        libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_BIND, &raw const nodes, libc::c_ulong::BITS)
    };
    ensure!(outcome == 0, "cannot bind to memory node {node}: {}", io::Error::last_os_error());
    Ok(())
}

/// Starts a process that shares this one's memory, is no thread of it, and does nothing. Gives its pid.
pub(crate) fn share_memory() -> Result<u32> {
    extern "C" fn wait_for_ever(_: *mut c_void) -> c_int {
        loop {
            // SAFETY: no memory is touched but the stack of this process's own, and errno when it is interrupted,
            // which only a signal that kills does.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: see `clone_with_stack`; the function borrows nothing.
    unsafe { clone_with_stack(wait_for_ever, ptr::null_mut(), libc::CLONE_VM) }
}

/// Does `work` in a process that shares this one's memory, while this one waits: what `vfork` does.
pub(crate) fn in_vfork_child(mut work: &mut dyn FnMut()) -> Result<()> {
    extern "C" fn call(work: *mut c_void) -> c_int {
        // SAFETY: it is the reference below, which the parent keeps while it waits.
        unsafe { (*work.cast::<&mut dyn FnMut()>())() };
        0
    }
    let work: *mut &mut dyn FnMut() = &raw mut work;
    // SAFETY: see `clone_with_stack`; the calling thread is the only one and does not go on before the child has
    // ended, so nothing is used by both.
    unsafe { clone_with_stack(call, work.cast(), libc::CLONE_VM | libc::CLONE_VFORK) }?;
    Ok(())
}

/// # Safety
/// `function` must not use what this process uses at the same time.
unsafe fn clone_with_stack(
    function: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
    flags: c_int,
) -> Result<u32> {
    const STACK: usize = 256 << 10;
    let stack = Box::leak(vec![0_u128; STACK / size_of::<u128>()].into_boxed_slice());
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    // SAFETY: the stack is aligned, large enough and never freed; what the function does is the caller's promise.
    let pid = unsafe { libc::clone(function, top, flags | libc::SIGCHLD, argument) };
    u32::try_from(pid).map_err(|_| io::Error::last_os_error()).context("cannot clone this process")
}

/// Ends the calling thread alone, without unwinding and without ending the process.
pub(crate) fn exit_thread() -> ! {
    // SAFETY: SYS_exit ends the calling thread and touches no memory. Its stack and what it owned stay as they are
    // until the process ends, so nothing that other threads borrowed from it dangles.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit does not return")
}

/// Memory for a victim to touch. It is mapped once, so that each inherits it untouched.
pub(crate) struct Memory {
    start: *mut c_void,
    bytes: usize,
}

impl Memory {
    /// Maps it for good.
    pub(crate) fn map(bytes: usize) -> Result<Self> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: the kernel chooses the address, so no memory in use is replaced; the mapping is never undone.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, protection, flags) };
        let start = start.context("cannot map memory")?;
        // SAFETY: advice about the mapping just made, which does not change what it holds. A kernel without huge
        // pages refuses it, which is as good.
        unsafe { madvise(start, bytes, Advice::LinuxNoHugepage) }.ok();
        Ok(Self { start, bytes })
    }

    fn touch(&self) {
        for offset in (0..self.bytes).step_by(rustix::param::page_size()) {
            // SAFETY: the offset lies within the mapping, which is writable and private to this process.
            unsafe { self.start.cast::<u8>().add(offset).write_volatile(1) };
        }
    }
}

/// How a victim ended.
pub(crate) enum Ended {
    /// By SIGKILL.
    Killed,
    /// With this status, as `wait` gives it.
    Otherwise(i32),
}

/// Forks a process that touches all of `memory`, and waits for its end.
pub(crate) fn fork_victim(memory: &Memory) -> io::Result<Ended> {
    // SAFETY: this process has one thread (`victims` starts none), so its child may do whatever it may do itself.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            memory.touch();
            process::exit(1)
        }
        pid => {
            let status = wait_for(pid)?;
            let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
            Ok(if killed { Ended::Killed } else { Ended::Otherwise(status) })
        }
    }
}

/// Calls `work` in a process that the OOM killer spares, and gives its exit code: 0 where `work` says so. The kernel
/// spares whoever was made by vfork and still has its parent's memory (`in_vfork` in `oom_badness`, mm/oom_kill.c); for
/// -1000 in `oom_score_adj` one must be more than root in many a container.
pub(crate) fn unkillably(work: fn() -> bool) -> io::Result<bool> {
    extern "C" fn begin(work: *mut c_void) -> libc::c_int {
        // SAFETY: `work` is the function pointer below, in the frame of a caller that is suspended meanwhile.
        let work = unsafe { *work.cast::<fn() -> bool>() };
        // SAFETY: takes integers only. Without it this process would outlive its killed parent.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        libc::c_int::from(!work())
    }
    let (mut work, mut stack) = (work, vec![0_u128; STACK / size_of::<u128>()]);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: the only thread of this process stands still until the child has exited (CLONE_VFORK), so the child is
    // the only one that uses the memory that both have. Its stack is its own, aligned, and lives until then.
    let pid = unsafe { libc::clone(begin, top, flags, (&raw mut work).cast()) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(wait_for(pid)? == 0) }
}

const STACK: usize = 256 << 10;

fn wait_for(pid: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for the time of the call.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
