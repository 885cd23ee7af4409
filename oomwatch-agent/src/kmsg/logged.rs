//! An incident of the log → what the reporter takes: its time on the clock of the others, and what is left to be read
//! of its victims, its cgroups and the node.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use oomwatch_common::{
    capture::{
        CGROUP_V1_FILES, CGROUP_V2_FILES, Capture, NODE_FILES, Outcome, PROCESS_FILES, SourceRead, Subject,
    },
    escape::unescape,
    ids::{CgroupId, Tgid},
    incident::{Gap, Incident, Memcg, Process},
    kernel_log::Logged,
    proc_text::status,
    report::Source,
    surroundings::Surroundings,
    units::BoottimeNs,
};
use rustix::{
    io::Errno,
    time::{ClockId, Timespec, clock_gettime},
};

use crate::{sources::Roots, sys, unpack::Captured};

/// Bytes kept of one file.
const FILE_BYTES: u64 = 16 * 1024;
/// Victims whose files are looked for.
const MOST_VICTIMS: usize = 64;

/// An incident from the log.
#[derive(Debug)]
pub struct FromLog {
    /// With what was read.
    pub captured: Captured,
    /// Live, or from before the agent ran.
    pub source: Source,
    /// What else the log had.
    pub around: Surroundings,
}

/// What has to be added to a time of the printk clock to give `CLOCK_BOOTTIME`, nanoseconds: that clock stands still
/// while the machine sleeps. Rounded, so that an incident has the same id whenever it is looked at.
pub(super) fn slept() -> u64 {
    let nanoseconds = |time: Timespec| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    let (monotonic, boottime) = (clock_gettime(ClockId::Monotonic), clock_gettime(ClockId::Boottime));
    let slept = nanoseconds(boottime) - nanoseconds(monotonic);
    u64::try_from(slept / 100_000_000 * 100_000_000).unwrap_or(0)
}

impl FromLog {
    /// As it has just been logged.
    pub fn live(logged: Logged, roots: &Roots) -> Self {
        let around = Surroundings::of_log(&logged);
        let mut incident = on_our_clock(logged.incident);
        let mut capture = Capture { taken_at: sys::boottime(), ..Capture::default() };
        read_processes(&mut incident, roots, &mut capture);
        let first = incident.victims.first_mut().and_then(|victim| victim.memcg.as_mut());
        for memcg in first.into_iter().chain(incident.limit_owner.as_mut()) {
            read_cgroup(memcg, roots, &mut capture);
        }
        for file in NODE_FILES {
            add(&mut capture, Subject::Node, file, &read(&roots.proc.join(file)));
        }
        capture.done_at = sys::boottime();
        Self { captured: Captured { incident, capture }, source: Source::Live, around }
    }

    /// From before the agent ran: there is nothing to read any more.
    pub fn backfill(logged: Logged) -> Self {
        let around = Surroundings::of_log(&logged);
        let mut incident = on_our_clock(logged.incident);
        let why = "read from the kernel's log after the agent's start: files of that moment are gone";
        incident.gaps.push(Gap::new("capture", why));
        let now = sys::boottime();
        let capture = Capture { taken_at: now, done_at: now, ..Capture::default() };
        Self { captured: Captured { incident, capture }, source: Source::Backfill, around }
    }
}

fn on_our_clock(mut incident: Incident) -> Incident {
    incident.at = BoottimeNs(incident.at.0.saturating_add(slept()));
    let why = "approximate: the log's own clock, which may be seconds off, and stands still while the machine sleeps";
    incident.gaps.push(Gap::new("time", why));
    incident
}

/// The victims are dying: what of them is still there. The log names a thread; whose it is, its status tells.
fn read_processes(incident: &mut Incident, roots: &Roots, capture: &mut Capture) {
    // As on the capture thread (sources/process.rs): reading the arguments would hold memory that is to be freed.
    let is_exhausted = incident.limit_owner.is_none();
    for victim in incident.victims.iter_mut().take(MOST_VICTIMS) {
        let Some(tid) = victim.tid else { continue };
        let dir = roots.proc.join(tid.0.to_string());
        let text = read(&dir.join("status"));
        let known = text.as_ref().ok().and_then(|text| status(text).ok());
        let is_it = known.as_ref().is_some_and(|status| {
            let name = status.name.as_deref().and_then(unescape);
            name.as_deref() == victim.comm.as_ref().map(oomwatch_common::ids::Comm::as_bytes)
        });
        if let Some(tgid) = known.filter(|_| is_it).and_then(|status| status.tgid) {
            name_process(victim, Tgid(tgid));
        }
        let Some(tgid) = victim.tgid.or(Some(Tgid(tid.0))) else { continue };
        for &file in PROCESS_FILES {
            let contents = match file {
                // The number may already be another's.
                _ if text.is_ok() && !is_it => Err(Outcome::Gone),
                "status" => text.clone(),
                "exe" => fs::read_link(dir.join(file))
                    .map(|target| target.as_os_str().as_bytes().to_vec())
                    .map_err(|error| outcome(&error)),
                "cmdline" if is_exhausted => Err(Outcome::Withheld),
                _ => read(&dir.join(file)),
            };
            add(capture, Subject::Process(tgid), file, &contents);
        }
    }
}

fn name_process(victim: &mut Process, tgid: Tgid) {
    victim.tgid = Some(tgid);
}

fn read_cgroup(memcg: &mut Memcg, roots: &Roots, capture: &mut Capture) {
    let Some((dir, v2)) = roots.cgroup_dir(&memcg.path, memcg.v2) else { return };
    memcg.v2 = memcg.v2.or(Some(v2));
    // kernfs gives a directory the number of its node, which is the cgroup's id.
    let Ok(found) = fs::metadata(&dir) else { return };
    let subject = Subject::Cgroup(CgroupId(found.ino()));
    memcg.id = Some(CgroupId(found.ino()));
    if capture.sources.iter().any(|source| source.subject == subject) {
        return;
    }
    for file in if v2 { CGROUP_V2_FILES } else { CGROUP_V1_FILES } {
        let contents = read(&dir.join(file)).map_err(|outcome| match outcome {
            Outcome::Gone if dir.join("memory.stat").exists() => Outcome::Unsupported,
            outcome => outcome,
        });
        add(capture, subject, file, &contents);
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Outcome> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| outcome(&error))?;
    file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(|error| outcome(&error))?;
    Ok(bytes)
}

fn outcome(error: &io::Error) -> Outcome {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM) => Outcome::Denied,
        Some(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Outcome::Unsupported,
        _ => Outcome::Gone,
    }
}

fn add(capture: &mut Capture, subject: Subject, file: &'static str, contents: &Result<Vec<u8>, Outcome>) {
    let (start, none) = (capture.bytes.len(), Vec::new());
    let (bytes, outcome) = match contents {
        Ok(bytes) => (bytes, Outcome::Read),
        Err(outcome) => (&none, *outcome),
    };
    capture.bytes.extend_from_slice(bytes);
    let truncated = bytes.len() as u64 >= FILE_BYTES;
    capture.sources.push(SourceRead { subject, file, outcome, start, len: bytes.len(), truncated });
}
