//! A process's files.
//!
//! It is held by a descriptor of its directory: it stays that very process, and reads fail when it is gone, even if its
//! number has been given to another one since.

use std::{
    ffi::CStr,
    io::Write as _,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use oomwatch_common::{
    capture::{Outcome, PROCESS_FILES, Subject},
    ids::{Tgid, Tid},
    peek::Identity,
    units::BoottimeNs,
};
use rustix::io::Errno;

use super::{Contents, End, FILE_BYTES, SHORT_BYTES, Sources, open_dir, open_file, outcome_of};
use crate::pack::Pack;

/// `USER_HZ` of every architecture that Linux supports for eBPF: the unit of `/proc/PID/stat`'s start time.
pub(super) const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// A process whose files were read, or tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// By which number.
    pub number: u32,
    stat: Option<Stat>,
}

/// What its `stat` says of it.
#[derive(Clone, Copy, Debug)]
struct Stat {
    start: Option<u64>,
    is_thread: bool,
    arguments: Option<(u64, usize)>,
}

impl Seen {
    /// Field 22 of `/proc/PID/stat` against the start that the probe read. A thread's start is its own, so one that is
    /// not the first can only be held to have started no earlier than its process.
    pub fn is_same(&self, started: Option<BoottimeNs>) -> bool {
        let (Some(stat), Some(BoottimeNs(started))) = (self.stat, started) else { return true };
        let expected = started / NANOSECONDS_PER_TICK;
        stat.start.is_some_and(|ticks| ticks == expected || (stat.is_thread && ticks > expected))
    }
}

/// Reads all files of a process at once: it is about to die.
///
/// Where the node is `exhausted` the arguments come by another way than `cmdline`, see [`arguments`].
pub fn read(sources: &mut Sources, process: &Identity, tgid: Tgid, exhausted: bool, pack: &mut Pack) -> Seen {
    let subject = Subject::Process(tgid);
    let mut seen = Seen { number: tgid.0, stat: None };
    let mut swapped = None;
    let mut held = open(sources, process, tgid);
    for &file in PROCESS_FILES {
        let dir = match &held {
            Ok(dir) => dir.as_fd(),
            Err(outcome) => {
                pack.source(subject, file, &Err(*outcome));
                continue;
            }
        };
        let contents = match file {
            "exe" => sources.link(dir, file),
            "cmdline" if exhausted => arguments(sources, dir, swapped, seen.stat),
            "cmdline" => whole(sources, dir, file, SHORT_BYTES),
            _ => whole(sources, dir, file, FILE_BYTES),
        };
        match (file, &contents) {
            ("status", Ok(status)) => swapped = is_swapped(status.bytes),
            ("stat", Ok(stat)) => seen.stat = Some(Stat::new(stat.bytes, tgid)),
            _ => {}
        }
        pack.source(subject, file, &contents);
        if file == "stat" && !seen.is_same(process.started) {
            pack.forget(tgid);
            held = Err(Outcome::Gone);
        }
    }
    seen
}

fn whole<'a>(
    sources: &'a mut Sources,
    dir: BorrowedFd<'_>,
    file: &str,
    limit: usize,
) -> Result<Contents<'a>, Outcome> {
    let opened = open_file(dir, file).map_err(outcome_of)?;
    sources.contents_of(&opened, limit, End::ShortRead)
}

/// A thread that is not the first, where that one is gone: its files have the address space, the process's have not.
fn open(sources: &Sources, process: &Identity, Tgid(tgid): Tgid) -> Result<OwnedFd, Outcome> {
    let proc = sources.proc.as_ref().map_err(|outcome| *outcome)?;
    // Two numbers of ten digits at most.
    let mut path = [0; 32];
    let mut rest = path.as_mut_slice();
    let written = match process.tid {
        Some(Tid(tid)) if tid != tgid => write!(rest, "{tgid}/task/{tid}\0"),
        _ => write!(rest, "{tgid}\0"),
    };
    match (written, CStr::from_bytes_until_nul(&path)) {
        (Ok(()), Ok(path)) => open_dir(proc, path),
        _ => Err(Outcome::Gone),
    }
}

/// The arguments, without `/proc/PID/cmdline`: that takes hold of the address space and then asks for a page
/// (`get_mm_cmdline`, fs/proc/base.c). On a node that has none left it waits, the victim exits meanwhile, its memory
/// stays because it is held, and the kernel, which no longer sees a victim, kills the next process. `/proc/PID/mem`
/// asks for its page first (`mem_rw`, same file); only arguments that are swapped out would need another one, and are
/// not read.
fn arguments<'a>(
    sources: &'a mut Sources,
    dir: BorrowedFd<'_>,
    swapped: Option<bool>,
    stat: Option<Stat>,
) -> Result<Contents<'a>, Outcome> {
    let (start, length) = match (swapped, stat.and_then(|stat| stat.arguments)) {
        // The address space is gone.
        (None, _) => return Err(Outcome::Gone),
        (Some(true), _) => return Err(Outcome::Withheld),
        // The kernel hides it from whoever may not trace the process.
        (Some(false), None) => return Err(Outcome::Denied),
        (Some(false), Some(range)) => range,
    };
    match open_file(dir, "mem") {
        Ok(opened) => sources.at(&opened, start, length),
        // A recording has no address space.
        Err(Errno::NOENT) => whole(sources, dir, "cmdline", SHORT_BYTES),
        Err(error) => Err(outcome_of(error)),
    }
}

impl Stat {
    fn new(stat: &[u8], Tgid(tgid): Tgid) -> Self {
        let first = stat.split(|&byte| byte == b' ').next().and_then(number);
        Self {
            start: field(stat, 22),
            is_thread: first != Some(u64::from(tgid)),
            arguments: argument_range(stat),
        }
    }
}

/// Fields 48 and 49 of `/proc/PID/stat`: where the arguments begin and end; `None` where they are hidden or none.
fn argument_range(stat: &[u8]) -> Option<(u64, usize)> {
    let (start, end) = (field(stat, 48)?, field(stat, 49)?);
    let length = usize::try_from(end.checked_sub(start)?).ok()?;
    (start > 0 && length > 0).then_some((start, length))
}

/// Whether any of the process's memory is swapped out; `None` where it has none any more.
fn is_swapped(status: &[u8]) -> Option<bool> {
    let value = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"VmSwap:"))?;
    Some(value.trim_ascii() != b"0 kB")
}

/// A field of `/proc/PID/stat` from the third on, by its number in proc_pid_stat(5).
pub(super) fn field(stat: &[u8], place: usize) -> Option<u64> {
    // The name stands in parentheses and may itself contain any of them.
    let after_name = stat.iter().rposition(|&byte| byte == b')').and_then(|end| stat.get(end + 1..))?;
    let mut fields = after_name.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    number(fields.nth(place.checked_sub(3)?)?)
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}
