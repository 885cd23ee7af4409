//! Reads the files of `/proc` and the cgroups: bytes and outcomes, no meaning.
//!
//! A process is held by a descriptor of its directory: it stays that very process, and reads fail when it is gone,
//! even if its number has been given to another one since.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use oomwatch_common::{
    capture::{CGROUP_V1_FILES, CGROUP_V2_FILES, Capture, Outcome, PROCESS_FILES, SourceRead, Subject},
    ids::{CgroupPath, Tgid, Tid},
    incident::{Memcg, Process},
    units::BoottimeNs,
};
use rustix::{
    fs::{Mode, OFlags, open, openat, readlinkat},
    io::{Errno, pread, read},
};

/// Bytes kept of one file. The longest that is read, `/proc/vmstat`, has about 5 KiB on 7.2.
const FILE_BYTES: usize = 16 * 1024;
/// Bytes kept of a link or a command line.
const SHORT_BYTES: usize = 4096;
/// Bytes asked for at once: what a file of `/proc` gives at the most.
const CHUNK_BYTES: usize = 4096;
/// Bytes kept of all files of one incident.
const CAPTURE_BYTES: usize = 512 * 1024;
/// Processes of a group that are read before their own records come.
const MEMBERS: usize = 64;
/// `USER_HZ` of every architecture that Linux supports for eBPF: the unit of `/proc/PID/stat`'s start time.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

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

    /// The directory of a memory cgroup, and the files to read in it.
    fn memcg(&self, memcg: &Memcg) -> Option<(PathBuf, &'static [&'static str])> {
        let (root, files) = match memcg.v2 {
            Some(false) => (self.cgroup_v1.as_ref()?, CGROUP_V1_FILES),
            _ => (self.cgroup_v2.as_ref()?, CGROUP_V2_FILES),
        };
        Some((cgroup_dir(root, &memcg.path)?, files))
    }
}

fn cgroup_dir(root: &Path, path: &CgroupPath) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    if path.truncated {
        return None;
    }
    let mut dir = root.to_owned();
    for component in &path.components {
        dir.push(std::ffi::OsStr::from_bytes(component));
    }
    Some(dir)
}

/// One read that is still to be made.
#[derive(Debug)]
pub struct PlannedRead {
    subject: Subject,
    file: &'static str,
    path: PathBuf,
}

/// The number that a process's files go by: its own, or that of the one thread that is known of it.
fn number(process: &Process) -> Option<Tgid> {
    process.tgid.or(process.tid.map(|Tid(tid)| Tgid(tid)))
}

/// Notes that there was no time for a process's files.
pub fn time_out_process(process: &Process, capture: &mut Capture) {
    let Some(subject) = number(process).map(Subject::Process) else { return };
    if capture.source(subject, "status").is_none() {
        for file in PROCESS_FILES {
            skip(capture, subject, file, Outcome::TimedOut);
        }
    }
}

/// Reads all files of a process at once: it is about to die.
///
/// Where the node is `exhausted` the arguments come by another way than `cmdline`, see [`read_arguments`].
pub fn read_process(roots: &Roots, process: &Process, exhausted: bool, capture: &mut Capture) {
    let Some(tgid) = number(process) else { return };
    let subject = Subject::Process(tgid);
    if capture.source(subject, "status").is_some() {
        // Read ahead, when only its number was known.
        if !is_same_process(capture, subject, process.started) {
            forget(capture, subject);
        }
        return;
    }
    let dir = open_process(roots, tgid, process);
    let mut identity = Ok(());
    for &file in PROCESS_FILES {
        let outcome = match (&dir, &identity) {
            (Err(outcome), _) | (_, Err(outcome)) => skip(capture, subject, file, *outcome),
            (Ok(dir), Ok(())) if file == "exe" => read_link(capture, subject, file, dir.as_fd()),
            (Ok(dir), Ok(())) if file == "cmdline" && exhausted => {
                read_arguments(capture, subject, dir.as_fd())
            }
            (Ok(dir), Ok(())) => read_at(capture, subject, file, dir.as_fd(), file),
        };
        if file == "stat" && outcome == Outcome::Read && !is_same_process(capture, subject, process.started) {
            identity = Err(Outcome::Gone);
            forget(capture, subject);
        }
    }
}

/// The arguments, without `/proc/PID/cmdline`: that takes hold of the address space and then asks for a page
/// (`get_mm_cmdline`, fs/proc/base.c). On a node that has none left it waits, the victim exits meanwhile, its memory
/// stays because it is held, and the kernel, which no longer sees a victim, kills the next process. `/proc/PID/mem`
/// asks for its page first (`mem_rw`, same file); only arguments that are swapped out would need another one, and are
/// not read.
fn read_arguments(capture: &mut Capture, subject: Subject, dir: BorrowedFd<'_>) -> Outcome {
    let file = "cmdline";
    let swapped = capture.contents(subject, "status").and_then(is_swapped);
    let range = capture.contents(subject, "stat").and_then(argument_range);
    let (start, length) = match (swapped, range) {
        // The address space is gone.
        (None, _) => return skip(capture, subject, file, Outcome::Gone),
        (Some(true), _) => return skip(capture, subject, file, Outcome::Withheld),
        // The kernel hides it from whoever may not trace the process.
        (Some(false), None) => return skip(capture, subject, file, Outcome::Denied),
        (Some(false), Some(range)) => range,
    };
    let opened = match openat(dir, "mem", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(opened) => opened,
        // A recording has no address space.
        Err(Errno::NOENT) => return read_at(capture, subject, file, dir, file),
        Err(error) => return skip(capture, subject, file, outcome_of_process(error)),
    };
    let mut arguments = [0; SHORT_BYTES];
    let wanted = arguments.get_mut(..length.min(SHORT_BYTES)).unwrap_or_default();
    match pread(&opened, wanted, start) {
        Ok(len @ 1..) => {
            let start = capture.bytes.len();
            capture.bytes.extend_from_slice(arguments.get(..len).unwrap_or_default());
            let truncated = length > len;
            capture.sources.push(SourceRead { subject, file, outcome: Outcome::Read, start, len, truncated });
            Outcome::Read
        }
        Ok(_) => skip(capture, subject, file, Outcome::Gone),
        Err(error) => skip(capture, subject, file, outcome_of_process(error)),
    }
}

/// Fields 48 and 49 of `/proc/PID/stat`: where the arguments begin and end; `None` where they are hidden or none.
fn argument_range(stat: &[u8]) -> Option<(u64, usize)> {
    let (start, end) = (stat_field(stat, 48)?, stat_field(stat, 49)?);
    let length = usize::try_from(end.checked_sub(start)?).ok()?;
    (start > 0 && length > 0).then_some((start, length))
}

/// Whether any of the process's memory is swapped out; `None` where it has none any more.
fn is_swapped(status: &[u8]) -> Option<bool> {
    let value = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"VmSwap:"))?;
    Some(value.trim_ascii() != b"0 kB")
}

/// A field of `/proc/PID/stat` from the third on, by its number in proc_pid_stat(5).
fn stat_field(stat: &[u8], number: usize) -> Option<u64> {
    // The name stands in parentheses and may itself contain any of them.
    let after_name = stat.iter().rposition(|&byte| byte == b')').and_then(|end| stat.get(end + 1..))?;
    let mut fields = after_name.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    std::str::from_utf8(fields.nth(number.checked_sub(3)?)?).ok()?.parse().ok()
}

/// All that was read under this number is another process's.
fn forget(capture: &mut Capture, subject: Subject) {
    for source in capture.sources.iter_mut().filter(|source| source.subject == subject) {
        source.outcome = Outcome::Gone;
        source.len = 0;
    }
}

/// The processes of a cgroup whose processes are all about to be killed, by their numbers alone.
pub fn members(roots: &Roots, memcg: &Memcg) -> Vec<Process> {
    let Some((dir, _)) = roots.memcg(memcg) else { return Vec::new() };
    let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let numbers = listed.lines().filter_map(|line| line.parse().ok()).take(MEMBERS);
    numbers.map(|tgid| Process { tgid: Some(Tgid(tgid)), ..Process::default() }).collect()
}

/// A thread that is not the first, where that one is gone: its files have the address space, the process's have not.
fn open_process(roots: &Roots, Tgid(tgid): Tgid, process: &Process) -> Result<OwnedFd, Outcome> {
    let path = match process.tid {
        Some(Tid(tid)) if tid != tgid => roots.proc.join(format!("{tgid}/task/{tid}")),
        _ => roots.proc.join(tgid.to_string()),
    };
    open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(outcome_of_process)
}

/// Field 22 of `/proc/PID/stat` against the start that the probe read. A thread's start is its own, so one that is
/// not the first can only be held to have started no earlier than its process.
fn is_same_process(capture: &Capture, subject: Subject, started: Option<BoottimeNs>) -> bool {
    let (Some(stat), Some(BoottimeNs(started))) = (capture.contents(subject, "stat"), started) else {
        return true;
    };
    let ticks = stat_field(stat, 22);
    let expected = started / NANOSECONDS_PER_TICK;
    let Subject::Process(Tgid(tgid)) = subject else { return true };
    let is_thread = !stat.starts_with(format!("{tgid} ").as_bytes());
    ticks.is_some_and(|ticks| ticks == expected || (is_thread && ticks > expected))
}

/// A process that is watched until its end, held as it is here.
pub struct Watched(OwnedFd);

/// Takes hold of a process that was killed. `None`: it has ended already.
pub fn watch(roots: &Roots, process: &Process) -> Option<Watched> {
    let path = roots.proc.join(process.tgid?.0.to_string());
    let dir = open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = read_stat(dir.as_fd())?;
    let is_it = process.started.is_none_or(|started| {
        stat_field(&stat, 22).is_some_and(|ticks| ticks == started.0 / NANOSECONDS_PER_TICK)
    });
    is_it.then_some(Watched(dir))
}

impl Watched {
    /// Whether its last thread has ended, and with it its memory is given back, whoever waits for it or not.
    pub fn has_ended(&self) -> bool {
        let Some(stat) = read_stat(self.0.as_fd()) else { return true };
        let after_name = stat.iter().rposition(|&byte| byte == b')').and_then(|end| stat.get(end + 2));
        // The first thread may be a zombie while others still run.
        matches!(after_name, Some(b'Z' | b'X')) && stat_field(&stat, 20).is_none_or(|threads| threads <= 1)
    }
}

fn read_stat(dir: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let opened = openat(dir, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut stat = vec![0; CHUNK_BYTES];
    let len = read(&opened, &mut stat).ok().filter(|len| *len > 0)?;
    stat.truncate(len);
    Some(stat)
}

/// The reads of one memory cgroup.
pub fn plan_memcg(roots: &Roots, memcg: &Memcg, plan: &mut Vec<PlannedRead>) {
    let (Some(id), Some((dir, files))) = (memcg.id, roots.memcg(memcg)) else { return };
    let subject = Subject::Cgroup(id);
    if plan.iter().any(|read| read.subject == subject) {
        return;
    }
    plan.extend(files.iter().map(|&file| PlannedRead { subject, file, path: dir.join(file) }));
}

/// The reads of the node's own files.
pub fn plan_node(roots: &Roots, files: &[&'static str], plan: &mut Vec<PlannedRead>) {
    plan.extend(files.iter().map(|&file| PlannedRead {
        subject: Subject::Node,
        file,
        path: roots.proc.join(file),
    }));
}

impl PlannedRead {
    /// Makes the read.
    pub fn perform(&self, capture: &mut Capture) {
        let opened = open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let outcome = match opened {
            Ok(file) => {
                read_open(capture, self.subject, self.file, &file, FILE_BYTES);
                return;
            }
            // The directory is there and the file is not: this kernel does not have it.
            Err(Errno::NOENT) if self.path.parent().is_some_and(Path::exists) => Outcome::Unsupported,
            Err(error) => outcome_of_process(error),
        };
        skip(capture, self.subject, self.file, outcome);
    }

    /// Notes that there was no time for it.
    pub fn time_out(&self, capture: &mut Capture) {
        skip(capture, self.subject, self.file, Outcome::TimedOut);
    }
}

fn read_at(
    capture: &mut Capture,
    subject: Subject,
    file: &'static str,
    dir: BorrowedFd<'_>,
    path: &str,
) -> Outcome {
    let limit = if file == "cmdline" { SHORT_BYTES } else { FILE_BYTES };
    match openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(opened) => read_open(capture, subject, file, &opened, limit),
        Err(error) => skip(capture, subject, file, outcome_of_process(error)),
    }
}

/// Appends what the descriptor gives, up to `limit` bytes.
fn read_open(
    capture: &mut Capture,
    subject: Subject,
    file: &'static str,
    opened: &OwnedFd,
    limit: usize,
) -> Outcome {
    let start = capture.bytes.len();
    let limit = limit.min(CAPTURE_BYTES.saturating_sub(start));
    let mut outcome = Outcome::Read;
    let mut truncated = false;
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let space = limit.saturating_sub(capture.bytes.len() - start);
        match read(opened, &mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                capture.bytes.extend_from_slice(chunk.get(..count.min(space)).unwrap_or_default());
                truncated = count > space;
                if truncated {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                outcome = outcome_of_process(error);
                capture.bytes.truncate(start);
                break;
            }
        }
    }
    let len = capture.bytes.len() - start;
    capture.sources.push(SourceRead { subject, file, outcome, start, len, truncated });
    outcome
}

fn read_link(capture: &mut Capture, subject: Subject, file: &'static str, dir: BorrowedFd<'_>) -> Outcome {
    match readlinkat(dir, file, Vec::with_capacity(SHORT_BYTES)) {
        Ok(target) => {
            let (start, len) = (capture.bytes.len(), target.as_bytes().len());
            capture.bytes.extend_from_slice(target.as_bytes());
            capture.sources.push(SourceRead {
                subject,
                file,
                outcome: Outcome::Read,
                start,
                len,
                truncated: false,
            });
            Outcome::Read
        }
        Err(error) => skip(capture, subject, file, outcome_of_process(error)),
    }
}

fn skip(capture: &mut Capture, subject: Subject, file: &'static str, outcome: Outcome) -> Outcome {
    let start = capture.bytes.len();
    capture.sources.push(SourceRead { subject, file, outcome, start, len: 0, truncated: false });
    outcome
}

/// What an error of `open` or `read` says of a process's or a cgroup's file.
fn outcome_of_process(error: Errno) -> Outcome {
    match error {
        Errno::ACCESS | Errno::PERM => Outcome::Denied,
        Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS => Outcome::Unsupported,
        _ => Outcome::Gone,
    }
}
