//! Recorded incidents: what the probe sent and what was read for it, as a directory that `oomwatch replay` reads.
//!
//! ```text
//! DIR/<boottime>-<number>/records      each record: its length (u32, little endian), its bytes
//!                         context.json where and when: see `Circumstances`
//!                         proc/…       the files as they were read
//!                         cgroup/…     likewise, v1's below memory/
//! ```

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
};

use oomwatch_common::{
    attribution::Attribution,
    capture::{Outcome, Subject},
    ids::Tgid,
    incident::{Memcg, Process},
    surroundings::Surroundings,
};
use serde::{Deserialize, Serialize};

use crate::unpack::Captured;

/// Where and when an incident was recorded: what a report says beside the incident itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circumstances {
    /// The node's name.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`
    pub boot_id: Option<String>,
    /// Bytes.
    pub page_size: u64,
    /// Wall time at boottime 0, nanoseconds since 1970.
    pub realtime_at_boot_ns: i128,
    /// Boottime when the first record was taken from the ring buffer.
    pub taken_at_ns: u64,
    /// Boottime when the last file was read.
    pub done_at_ns: u64,
    /// Boottime when the report was made.
    pub reported_at_ns: u64,
    /// Whose the processes were, as far as it was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// What was around it, as it was read and named then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
}

/// Writes an incident below `dir`.
///
/// # Errors
/// The file system's, with the path.
pub fn write(dir: &Path, captured: &Captured, circumstances: &Circumstances) -> io::Result<()> {
    let dir = dir.join(format!("{}-{}", captured.incident.at.0, captured.incident.number));
    let within = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    write_to(&dir, captured, circumstances).map_err(within)
}

fn write_to(dir: &Path, captured: &Captured, circumstances: &Circumstances) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut records = Vec::new();
    for record in captured.records() {
        records.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
        records.extend_from_slice(record);
    }
    fs::write(dir.join("records"), records)?;
    fs::write(dir.join("context.json"), serde_json::to_vec_pretty(circumstances)?)?;
    for source in captured.capture.sources.iter().filter(|source| source.outcome == Outcome::Read) {
        let Some(path) = path_of(dir, captured, source.subject, source.file) else { continue };
        let contents = captured.capture.contents(source.subject, source.file).unwrap_or_default();
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        if source.file == "exe" {
            symlink(std::ffi::OsStr::from_bytes(contents), path)?;
        } else {
            fs::write(path, contents)?;
        }
    }
    Ok(())
}

fn path_of(dir: &Path, captured: &Captured, subject: Subject, file: &str) -> Option<PathBuf> {
    match subject {
        Subject::Node => Some(dir.join("proc").join(file)),
        Subject::Process(Tgid(tgid)) => {
            let mut processes = captured.incident.victims.iter().chain(&captured.incident.trigger);
            let thread = processes.find(|process| process.tgid == Some(Tgid(tgid))).and_then(other_thread);
            let dir = dir.join("proc").join(tgid.to_string());
            Some(thread.map_or_else(|| dir.clone(), |tid| dir.join(format!("task/{tid}"))).join(file))
        }
        Subject::Cgroup(id) => {
            let incident = &captured.incident;
            let victims = incident.victims.iter().filter_map(|victim| victim.memcg.as_ref());
            let memcg = victims.chain(&incident.limit_owner).find(|memcg| memcg.id == Some(id))?;
            Some(memcg_dir(dir, memcg)?.join(file))
        }
    }
}

fn other_thread(process: &Process) -> Option<u32> {
    let (tgid, tid) = (process.tgid?.0, process.tid?.0);
    (tgid != tid).then_some(tid)
}

/// Makes what [`crate::sources::Roots`] knows a hierarchy by.
fn memcg_dir(dir: &Path, memcg: &Memcg) -> Option<PathBuf> {
    let (root, mark) = match memcg.v2 {
        Some(false) => (dir.join("cgroup/memory"), "memory.stat"),
        _ => (dir.join("cgroup"), "cgroup.controllers"),
    };
    fs::create_dir_all(&root).ok()?;
    if !root.join(mark).exists() {
        fs::write(root.join(mark), "").ok()?;
    }
    let mut path = root;
    for component in &memcg.path.components {
        path.push(std::ffi::OsStr::from_bytes(component));
    }
    Some(path)
}

/// A recorded incident's records and circumstances; its files stay where they are.
#[derive(Debug)]
pub struct Recording {
    /// Its directory.
    pub dir: PathBuf,
    /// As the ring buffer gave them.
    pub records: Vec<Vec<u8>>,
    /// Where and when.
    pub circumstances: Circumstances,
}

/// Reads the recording in `dir`, or all those right below it, in the order of their time.
///
/// # Errors
/// What cannot be read or is no recording, with the path.
pub fn read(dir: &Path) -> io::Result<Vec<Recording>> {
    if dir.join("records").exists() {
        return Ok(vec![read_one(dir)?]);
    }
    let within = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    let mut recordings = Vec::new();
    for entry in fs::read_dir(dir).map_err(within)? {
        let path = entry.map_err(within)?.path();
        if path.join("records").exists() {
            recordings.push(read_one(&path)?);
        }
    }
    recordings.sort_by_key(|recording| recording.circumstances.taken_at_ns);
    Ok(recordings)
}

fn read_one(dir: &Path) -> io::Result<Recording> {
    let within = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    let path = dir.join("context.json");
    let in_context = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let context = fs::read(&path).map_err(in_context)?;
    let circumstances = serde_json::from_slice(&context).map_err(|error| in_context(error.into()))?;
    let bytes = fs::read(dir.join("records")).map_err(within)?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((record, after)) = after.split_at_checked(length) else {
            return Err(within(io::Error::new(io::ErrorKind::UnexpectedEof, "records are cut short")));
        };
        records.push(record.to_vec());
        rest = after;
    }
    Ok(Recording { dir: dir.to_owned(), records, circumstances })
}
