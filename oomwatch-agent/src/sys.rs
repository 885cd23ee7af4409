//! The machine: clocks, priorities, locked memory. Unsafe code is here, in `probe/wakes.rs` and in the probe's
//! programs.

#![expect(
    unsafe_code,
    reason = "sched_setscheduler, mallopt, madvise, klogctl, bpf and AsyncFd::register have no safe wrapper among our \
              dependencies"
)]

use std::{
    env,
    ffi::c_int,
    fs, hint,
    io::{self, IsTerminal},
    marker::PhantomData,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    ptr,
    sync::Arc,
    time::Duration,
};

use oomwatch_common::units::{BoottimeNs, PageSize};
use rustix::{
    mm::{Advice, MlockAllFlags, madvise, mlockall},
    process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit},
    time::{ClockId, Timespec, clock_gettime},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Real-time priorities, the lowest there are: above every ordinary task, below whatever else the node runs in real
/// time.
#[derive(Clone, Copy, Debug)]
pub enum Priority {
    /// Of who captures, and of what prints a line: who captures lets that go first where there is something to be read.
    Capture = 1,
    /// Of the thread that reads what can wait, while somebody waits for it: see [`hurry`].
    Hurried = 2,
}

/// More than the capture thread uses of its stack: some records, a page of text.
const STACK_BYTES: usize = 16 * 1024;

/// `CLOCK_BOOTTIME`.
pub fn boottime() -> BoottimeNs {
    BoottimeNs(nanoseconds(clock_gettime(ClockId::Boottime)))
}

/// How long this thread has run.
pub fn thread_time() -> Duration {
    Duration::from_nanos(nanoseconds(clock_gettime(ClockId::ThreadCPUTime)))
}

/// `uname -r`; empty where it is no text.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_str().map(str::to_owned).unwrap_or_default()
}

/// Wall time at boottime 0, in nanoseconds since 1970. Read anew for each report: the wall clock may be set.
pub fn realtime_at_boot() -> i128 {
    let wall = i128::from(nanoseconds(clock_gettime(ClockId::Realtime)));
    wall - i128::from(boottime().0)
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// From now until a moment of [`boottime`] is over.
pub fn until(at: BoottimeNs) -> Timespec {
    // One more nanosecond, so that the time is over when this returns.
    let nanoseconds = at.0.saturating_sub(boottime().0).saturating_add(1);
    Timespec {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).unwrap_or(0),
    }
}

/// Page size of the running kernel.
pub fn page_size() -> PageSize {
    PageSize::new(rustix::param::page_size() as u64).unwrap_or_default()
}

/// Highest number of a possible CPU plus one; 0 where it cannot be read.
pub fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok()).map_or(0, |last| last + 1)
}

/// Gives the calling thread real-time priority.
///
/// # Errors
/// Not permitted without `CAP_SYS_NICE`, or in a v1 cgroup without real-time runtime.
pub fn make_realtime(priority: Priority) -> io::Result<()> {
    hurry(THIS_THREAD, priority)
}

/// Gives another thread of this process real-time priority: whoever waits for what it holds lends it its own, as it
/// would be left waiting by all that come before that thread.
///
/// # Errors
/// As [`make_realtime`], or there is no such thread any more.
pub fn hurry(thread: i32, priority: Priority) -> io::Result<()> {
    schedule(thread, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, priority as c_int)
}

/// Gives the calling thread normal priority again.
///
/// # Errors
/// None that is known.
pub fn be_at_ease() -> io::Result<()> {
    schedule(THIS_THREAD, libc::SCHED_OTHER, 0)
}

/// The number of the calling thread.
pub fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// For sched_setscheduler(2).
const THIS_THREAD: i32 = 0;

fn schedule(thread: i32, policy: c_int, priority: c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameters` is a valid sched_param for the time of the call.
    let result = unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// While this is there the thread that made it gets pages out of the kernel's reserve, where others have to reclaim or
/// kill: real-time tasks do (`gfp_to_alloc_flags`, mm/page_alloc.c; `ALLOC_HARDER` until 6.2, `ALLOC_MIN_RESERVE`
/// since).
#[derive(Debug)]
pub struct OutOfReserve {
    is_granted: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl OutOfReserve {
    /// Without `CAP_SYS_NICE` it does nothing.
    pub fn begin() -> Self {
        Self { is_granted: make_realtime(Priority::Capture).is_ok(), of_this_thread: PhantomData }
    }
}

impl Drop for OutOfReserve {
    fn drop(&mut self) {
        if self.is_granted
            && let Err(error) = be_at_ease()
        {
            tracing::error!(%error, "a thread stays at real-time priority");
        }
    }
}

/// Of the threads that report: before ordinary work of the node. Reports wait in memory, and no work takes so little.
const NICE: i32 = -10;

/// Puts the calling thread, and those that it starts, before what others do at normal priority; or among it again.
///
/// # Errors
/// Not permitted without `CAP_SYS_NICE`.
pub fn be_preferred(yes: bool) -> io::Result<()> {
    Ok(setpriority_process(None, if yes { NICE } else { 0 })?)
}

/// Gives every large allocation pages of its own, which go back to the kernel when it is freed: the start reads 5 MB of
/// BTF; left to itself glibc would raise its threshold and keep them in the heap for good. And has all threads share
/// one heap, so that what one has freed is there for another.
pub fn return_large_allocations() {
    tune(libc::M_MMAP_THRESHOLD, 64 << 10);
    tune(libc::M_ARENA_MAX, 1);
}

/// What the heap has for reports when nothing else can be had.
const HEAP_BYTES: usize = 1 << 20;

/// The opposite, once all is there that stays: what is freed is kept, and some is there already. A page asked for while
/// the node has none costs another process its life.
pub fn keep_allocations() {
    tune(libc::M_MMAP_THRESHOLD, 1 << 20);
    tune(libc::M_TRIM_THRESHOLD, 4 << 20);
    hint::black_box(vec![1_u8; HEAP_BYTES - 4096]);
}

fn tune(parameter: c_int, value: c_int) {
    // SAFETY: mallopt takes two integers, and locks what it changes.
    let set = unsafe { libc::mallopt(parameter, value) };
    debug_assert_eq!(set, 1, "mallopt knows these options since glibc 2.10");
}

/// Does `work` while this process can open no file: what it would read it has to do without. For work that takes no
/// time, as other threads can open none either.
pub fn without_files<T>(work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    // Where it is not permitted the work has its files.
    let is_set = setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).is_ok();
    let done = work();
    if is_set && let Err(error) = setrlimit(Resource::Nofile, before) {
        tracing::error!(%error, "the limit of open files stays at 0");
    }
    done
}

/// Gives back what was touched of this program's code and constants. They are in the page cache still; what is needed
/// again comes back, 64 KiB at a time, and most of what starts the agent never is.
pub fn forget_code() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    for (start, len) in maps.lines().filter_map(|line| code_of(line, &own)) {
        // SAFETY: the range is one mapping of the kernel's own list, of a file, private and not writable: its pages are
        // the file's, and come back as they were when they are next touched.
        let done = unsafe { madvise(std::ptr::without_provenance_mut(start), len, Advice::LinuxDontNeed) };
        if let Err(error) = done {
            tracing::debug!(%error, "the code that started the agent stays in memory");
        }
    }
}

/// Start and length of a line of `/proc/PID/maps` that is code of that file, or its first part, in which constants are
/// that need no relocation. What was relocated is read-only too, but lies further on, and would not come back as it
/// was.
fn code_of(line: &str, file: &Path) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, access, offset) = (words.next()?, words.next()?, words.next()?);
    let is_first = access == "r--p" && offset == "00000000";
    ((access == "r-xp" || is_first) && line.ends_with(file.to_str()?)).then_some(())?;
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|address| usize::from_str_radix(address, 16).ok());
    Some((start?, end?.checked_sub(start?)?))
}

/// Writes to more of the calling thread's stack than it will need, so that no page of it is asked for later. Of a
/// thread's stack only what was touched is there, locked or not.
#[inline(never)]
pub fn touch_stack() {
    let mut pages = [0_u8; STACK_BYTES];
    for byte in pages.iter_mut().step_by(1024) {
        *byte = 1;
    }
    hint::black_box(&pages);
}

/// Keeps every page that is touched from now on in memory: this works while there is none to be had.
///
/// # Errors
/// Not permitted without `CAP_IPC_LOCK` above the limit of locked memory.
pub fn lock_memory() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// A descriptor that can be waited on, in a tokio runtime, until it is readable.
///
/// # Errors
/// The kernel refused to watch it.
pub fn awaitable(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an OwnedFd is open as long as it is there, here at least as long as the AsyncFd, and always the same.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Before 5.11 BPF maps count as locked memory. Where this is not permitted, loading says what is missing.
pub fn raise_locked_memory_limit() {
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        tracing::debug!("the limit of locked memory could not be raised");
    }
}

/// Whether what goes to this stream is to be coloured: on a terminal, unless `NO_COLOR` is set
/// (<https://no-color.org>).
pub fn wants_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The beginning of `union bpf_attr` (include/uapi/linux/bpf.h) for loading a program.
#[repr(C)]
#[derive(Default)]
struct ToLoad {
    kind: u32,
    instructions: u32,
    program: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// And for running it once.
#[repr(C)]
#[derive(Default)]
struct ToRun {
    program: u32,
    returned: u32,
    data_sizes: [u32; 2],
    data: [u64; 2],
    repeat: u32,
    duration: u32,
    context_sizes: [u32; 2],
    context: [u64; 2],
}

/// Runs a BPF program that does nothing but to call helpers (`BPF_PROG_TYPE_SYSCALL`, since 5.14; aya has no such),
/// with a context that it may write to. Gives what it returned.
///
/// # Errors
/// The kernel does not have it, does not permit it, or finds fault with the program.
pub fn run_in_kernel(program: &[u64], context: &mut u64) -> io::Result<i32> {
    const LOAD: c_int = 5;
    const RUN: c_int = 10;
    const OF_SYSCALLS: u32 = 31;
    const SLEEPABLE: u32 = 1 << 4;
    let load = ToLoad {
        kind: OF_SYSCALLS,
        instructions: u32::try_from(program.len()).map_err(io::Error::other)?,
        program: program.as_ptr().expose_provenance() as u64,
        licence: c"GPL".as_ptr().expose_provenance() as u64,
        flags: SLEEPABLE,
        ..ToLoad::default()
    };
    // SAFETY: the kernel reads `load` for its size, and the instructions and the licence that it points to, which are
    // there for the time of the call; it writes to none of them. What such a program may do the kernel has verified.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<ToLoad>()) };
    let loaded = c_int::try_from(loaded).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: a descriptor that the kernel has just made, and nobody else has.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let mut run = ToRun {
        program: loaded.as_raw_fd().cast_unsigned(),
        context_sizes: [8, 0],
        context: [ptr::from_mut(context).expose_provenance() as u64, 0],
        ..ToRun::default()
    };
    // SAFETY: the kernel reads and writes `run` for its size, and 8 bytes at `context`, which is borrowed for writing.
    let done = unsafe { libc::syscall(libc::SYS_bpf, RUN, &raw mut run, size_of::<ToRun>()) };
    if done == 0 { Ok(run.returned.cast_signed()) } else { Err(io::Error::last_os_error()) }
}

/// `/proc/sys/kernel/random/boot_id`.
pub fn boot_id(proc: &Path) -> Option<String> {
    let text = fs::read_to_string(proc.join("sys/kernel/random/boot_id")).ok()?;
    Some(text.trim().to_owned())
}

/// What is left of the kernel's log, as syslog(2) gives it: text, each line with `<LEVEL>` and time before it.
///
/// # Errors
/// It is not permitted.
pub fn kernel_log() -> io::Result<Vec<u8>> {
    const READ_ALL: c_int = 3;
    const SIZE_BUFFER: c_int = 10;
    // SAFETY: this action reads no buffer.
    let size = unsafe { libc::klogctl(SIZE_BUFFER, ptr::null_mut(), 0) };
    let size = usize::try_from(size).map_err(|_| io::Error::last_os_error())?;
    let mut text = vec![0_u8; size];
    let room = c_int::try_from(size).unwrap_or(c_int::MAX);
    // SAFETY: `text` is a buffer of at least `room` bytes, and outlives the call.
    let read = unsafe { libc::klogctl(READ_ALL, text.as_mut_ptr().cast(), room) };
    text.truncate(usize::try_from(read).map_err(|_| io::Error::last_os_error())?);
    Ok(text)
}

/// The node's name as the kernel has it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_forgotten() {
        let own = Path::new("/usr/bin/oomwatch");
        for (line, expected) in [
            ("7f00a000-7f00c000 r-xp 00020000 fe:00 12    /usr/bin/oomwatch", Some((0x7f00_a000, 0x2000))),
            ("7f00a000-7f00c000 r--p 00020000 fe:00 12    /usr/bin/oomwatch", None),
            ("7f008000-7f00a000 r--p 00000000 fe:00 12    /usr/bin/oomwatch", Some((0x7f00_8000, 0x2000))),
            ("7f00a000-7f00c000 rw-p 00000000 fe:00 12    /usr/bin/oomwatch", None),
            ("7f00a000-7f00c000 r-xp 00000000 00:00 0     [vdso]", None),
            ("7f00a000 r-xp /usr/bin/oomwatch", None),
            ("", None),
        ] {
            assert_eq!(code_of(line, own), expected, "{line}");
        }
        forget_code();
    }
}
