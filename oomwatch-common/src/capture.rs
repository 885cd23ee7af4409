//! What the capture thread read of `/proc` and the cgroup files: raw bytes, and for each source how it went.

use crate::{
    ids::{CgroupId, Tgid},
    units::BoottimeNs,
};

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A process, victim or trigger: `/proc/PID/…`.
    Process(Tgid),
    /// A cgroup, the victim's own or the one whose limit was hit.
    Cgroup(CgroupId),
    /// The node: `/proc/…`.
    Node,
}

/// How reading one source went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Read.
    Read,
    /// The process or cgroup was no longer there.
    Gone,
    /// Not permitted.
    Denied,
    /// This kernel, or this cgroup version, has no such file.
    Unsupported,
    /// The deadline passed before it was this source's turn.
    TimedOut,
    /// Read, but not what it ought to be.
    Malformed,
    /// Not read, because that could have held on to the very memory that the kill is to free.
    Withheld,
    /// Read, but there was no memory left in which to keep it.
    NoRoom,
}

impl Outcome {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Gone,
        Self::Denied,
        Self::Unsupported,
        Self::TimedOut,
        Self::Malformed,
        Self::Withheld,
        Self::NoRoom,
    ];

    /// As gaps and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Unsupported => "unsupported",
            Self::TimedOut => "timed out",
            Self::Malformed => "malformed",
            Self::Withheld => "withheld",
            Self::NoRoom => "no room",
        }
    }
}

/// One source that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRead {
    /// Whose file.
    pub subject: Subject,
    /// Its name below `/proc/PID`, the cgroup's directory, or `/proc`: `status`, `memory.stat`, `pressure/memory`.
    pub file: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// Where its bytes are in [`Capture::bytes`].
    pub start: usize,
    /// How many bytes.
    pub len: usize,
    /// More bytes were there than were kept.
    pub truncated: bool,
}

/// All that was read for one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Every source tried, in the order of the reads.
    pub sources: Vec<SourceRead>,
    /// The contents, one after another.
    pub bytes: Vec<u8>,
    /// When the capture thread took the incident's first record from the ring buffer.
    pub taken_at: BoottimeNs,
    /// When the last source was read.
    pub done_at: BoottimeNs,
}

impl Capture {
    /// The source, if it was tried.
    pub fn source(&self, subject: Subject, file: &str) -> Option<&SourceRead> {
        self.sources.iter().find(|source| source.subject == subject && source.file == file)
    }

    /// The bytes of a source that was read.
    pub fn contents(&self, subject: Subject, file: &str) -> Option<&[u8]> {
        let source = self.source(subject, file).filter(|source| source.outcome == Outcome::Read)?;
        self.bytes.get(source.start..source.start.checked_add(source.len)?)
    }
}

/// The files of a process, in the order in which they are read: what dies first comes first. `exe` is a link; `stat`
/// has the start time that tells a process from a later one of the same number.
pub const PROCESS_FILES: &[&str] =
    &["status", "stat", "cmdline", "exe", "oom_score", "oom_score_adj", "cgroup"];

/// The files of a cgroup v2.
pub const CGROUP_V2_FILES: &[&str] = &[
    "memory.current",
    "memory.max",
    "memory.high",
    "memory.peak",
    "memory.swap.current",
    "memory.swap.max",
    "memory.stat",
    "memory.events",
    "memory.pressure",
    "memory.oom.group",
];

/// The files of a memory cgroup v1.
pub const CGROUP_V1_FILES: &[&str] = &[
    "memory.usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.memsw.usage_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.stat",
    "memory.oom_control",
    "memory.failcnt",
];

/// The node's files below `/proc`.
pub const NODE_FILES: &[&str] = &["meminfo", "loadavg", "pressure/memory", "vmstat"];
