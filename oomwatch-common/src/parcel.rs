//! What the capture thread hands over: records and files, one after another in one run of bytes, as they came.
//!
//! Each [`Piece`] is a head of fixed size and its contents. The thread copies them into memory that is already there;
//! [`open`] makes an incident and a [`Capture`] of them, where memory may be asked for.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    assemble::Assembly,
    capture::{
        CGROUP_V1_FILES, CGROUP_V2_FILES, Capture, NODE_FILES, Outcome, PROCESS_FILES, SourceRead, Subject,
    },
    decode::decode,
    ids::{CgroupId, Tgid},
    incident::{Gap, Incident},
    proc_text::status,
    units::PageSize,
};

/// One of the things in a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record of the probe.
    Record(&'a [u8]),
    /// A source that was tried.
    Source {
        /// Whose file.
        subject: Subject,
        /// Its name, one of those in [`crate::capture`].
        file: &'static str,
        /// How it went.
        outcome: Outcome,
        /// More bytes were there than were kept.
        truncated: bool,
        /// What was read.
        contents: &'a [u8],
    },
    /// All that was read under this number before was another process's.
    Forget(Tgid),
}

/// Before each piece's contents.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    id: u64,
    len: u32,
    kind: u8,
    file: u8,
    outcome: u8,
    truncated: u8,
}

/// Bytes that a piece has beside its contents.
pub const HEAD_LEN: usize = size_of::<Head>();

const RECORD: u8 = 0;
const FORGET: u8 = 1;
const PROCESS: u8 = 2;
const CGROUP: u8 = 3;
const NODE: u8 = 4;

/// Both versions' files, told apart by their place: v1's begin behind the last of v2's.
fn cgroup_files() -> impl Iterator<Item = &'static str> {
    CGROUP_V2_FILES.iter().chain(CGROUP_V1_FILES).copied()
}

fn place(mut files: impl Iterator<Item = &'static str>, file: &str) -> u8 {
    files.position(|known| known == file).and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

impl<'a> Piece<'a> {
    /// The bytes that stand before the contents.
    pub fn head(&self) -> [u8; HEAD_LEN] {
        let len = u32::try_from(self.contents().len()).unwrap_or(u32::MAX);
        let none = Head { id: 0, len, kind: RECORD, file: 0, outcome: 0, truncated: 0 };
        let head = match *self {
            Self::Record(_) => none,
            Self::Forget(Tgid(tgid)) => Head { kind: FORGET, id: tgid.into(), ..none },
            Self::Source { subject, file, outcome, truncated, .. } => {
                let (kind, id, file) = match subject {
                    Subject::Process(Tgid(tgid)) => {
                        (PROCESS, tgid.into(), place(PROCESS_FILES.iter().copied(), file))
                    }
                    Subject::Cgroup(CgroupId(id)) => (CGROUP, id, place(cgroup_files(), file)),
                    Subject::Node => (NODE, 0, place(NODE_FILES.iter().copied(), file)),
                };
                Head { id, kind, file, outcome: outcome as u8, truncated: truncated.into(), ..none }
            }
        };
        zerocopy::transmute!(head)
    }

    /// The bytes that follow the head.
    pub fn contents(&self) -> &'a [u8] {
        match *self {
            Self::Record(contents) | Self::Source { contents, .. } => contents,
            Self::Forget(_) => &[],
        }
    }

    fn new(head: &Head, contents: &'a [u8]) -> Option<Self> {
        let tgid = || u32::try_from(head.id).ok().map(Tgid);
        let place = usize::from(head.file);
        let (subject, file) = match head.kind {
            RECORD => return Some(Self::Record(contents)),
            FORGET => return tgid().map(Self::Forget),
            PROCESS => (Subject::Process(tgid()?), *PROCESS_FILES.get(place)?),
            CGROUP => (Subject::Cgroup(CgroupId(head.id)), cgroup_files().nth(place)?),
            NODE => (Subject::Node, *NODE_FILES.get(place)?),
            _ => return None,
        };
        let outcome = *Outcome::ALL.get(usize::from(head.outcome))?;
        Some(Self::Source { subject, file, outcome, truncated: head.truncated != 0, contents })
    }
}

/// The pieces of a parcel, each with the place where its contents begin. Ends at what is no piece.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = (usize, Piece<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (head, rest) = Head::read_from_prefix(bytes.get(at..)?).ok()?;
        let contents = rest.get(..usize::try_from(head.len).ok()?)?;
        let start = at + HEAD_LEN;
        at = start + contents.len();
        Some((start, Piece::new(&head, contents)?))
    })
}

/// What is in a parcel: the incident, or `None` where nothing was killed, and all that was read for it. The capture's
/// times are not its to know.
pub fn open(bytes: Vec<u8>, page_size: PageSize) -> (Option<Incident>, Capture) {
    let mut assembly: Option<Assembly> = None;
    let mut capture = Capture::default();
    for (start, piece) in pieces(&bytes) {
        match piece {
            Piece::Record(record) => {
                // The capture thread has looked at it: it is a record, and of this invocation.
                let Ok(record) = decode(record, page_size) else { continue };
                match &mut assembly {
                    Some(assembly) => assembly.push(record),
                    None => assembly = Assembly::start(record),
                }
            }
            Piece::Source { subject, file, outcome, truncated, contents } => {
                let len = contents.len();
                capture.sources.push(SourceRead { subject, file, outcome, start, len, truncated });
            }
            Piece::Forget(tgid) => {
                let of_another = |source: &&mut SourceRead| source.subject == Subject::Process(tgid);
                for source in capture.sources.iter_mut().filter(of_another) {
                    (source.outcome, source.len) = (Outcome::Gone, 0);
                }
            }
        }
    }
    capture.bytes = bytes;
    let incident = assembly.and_then(|mut assembly| {
        identify(&mut assembly, &capture);
        assembly.finish()
    });
    (incident, capture)
}

/// A kernel whose tracepoint passes a bare pid leaves the rest to `/proc`.
fn identify(assembly: &mut Assembly, capture: &Capture) {
    for tid in assembly.unidentified() {
        let text = capture.contents(Subject::Process(Tgid(tid.0)), "status");
        if let Some(status) = text.and_then(|text| status(text).ok()) {
            assembly.identify(tid, &status);
        }
    }
}

/// What an incident lacks because there was no memory for its records.
pub fn lost_records() -> Gap {
    Gap::new("victims", "records were lost: no memory was left in which to keep them")
}

/// What an incident at level tracepoint lacks where its marks cannot be held against the kernel's count.
pub fn unproved_marks() -> Gap {
    Gap::new("victims", "/proc/vmstat has no oom_kill: one that was exiting on its own may be among them")
}

#[cfg(test)]
mod tests;
