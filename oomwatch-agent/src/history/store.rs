//! The journal as its one writer has it: segments that are appended to, begun and dropped.
//!
//! It never holds more than it may: the oldest segment leaves before an incident is written that would make it so.
//! A write that was cut short is taken back. What it was told to write is on disk only after [`Store::sync`].

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use oomwatch_common::{
    journal_line::{FIRST_LINE, parse, survey},
    query::Header,
};

use super::{
    Stats,
    lock::{NotOurs, lock},
    mend::{Mended, mend},
    outcomes::Removed,
    reader::{LARGEST_SEGMENT, Reader, segment_path, with_path},
};
use crate::tally::Tally;

/// An incident's line is at most so long, bytes.
pub(super) const LONGEST_LINE: u64 = 4 << 20;
const LARGEST_BEGUN: u64 = 4 << 20;
const SMALLEST_BEGUN: u64 = 256 << 10;
const MOST_QUARANTINED: u64 = 4 << 20;

/// How much may be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of all segments.
    pub(super) bytes: u64,
    /// Of an incident, from when it happened.
    pub(super) age: SignedDuration,
}

impl Bounds {
    /// A segment is left for a new one before it is larger. Dropping one loses a small part of what is there.
    fn segment(&self) -> u64 {
        (self.bytes / 32).clamp(SMALLEST_BEGUN, LARGEST_BEGUN)
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    entries: u64,
    newest: Timestamp,
}

/// A journal that is ours to write.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    bounds: Bounds,
    _lock: File,
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// The last of them, where it may be written on.
    current: Option<File>,
    /// Something was written that may not be on disk.
    dirty: bool,
    /// Files came or went.
    renamed: bool,
    /// A segment was dropped for room on a full disk, and no write has gone well since.
    gave_way: bool,
}

impl Store {
    /// Locks the directory, and mends what is damaged in it.
    pub(super) fn open(dir: &Path, bounds: Bounds, removed: &Tally<Removed>) -> Result<Self, NotOurs> {
        let mut store = Self {
            _lock: lock(dir)?,
            dir: dir.to_owned(),
            bounds,
            segments: VecDeque::new(),
            current: None,
            dirty: false,
            renamed: true,
            gave_way: false,
        };
        store.load(removed).map_err(NotOurs::NotWritable)?;
        Ok(store)
    }

    fn load(&mut self, removed: &Tally<Removed>) -> io::Result<()> {
        let reader = Reader::new(&self.dir);
        for number in reader.segments()? {
            self.current = None;
            let path = segment_path(&self.dir, number);
            let found = fs::metadata(&path).map_err(|error| with_path(&path, &error))?;
            let modified = found.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            let mut segment = Segment {
                number,
                bytes: found.len(),
                entries: 0,
                newest: modified.unwrap_or_else(Timestamp::now),
            };
            if found.len() > LARGEST_SEGMENT {
                tracing::warn!(path = %path.display(), "a file in the journal is too large to be its own: left alone");
                self.segments.push_back(segment);
                continue;
            }
            let bytes = reader.read(number)?;
            if bytes.is_empty() && found.len() > 0 {
                // The disk does not give it back, which was said.
                self.segments.push_back(segment);
                continue;
            }
            let survey = survey(&bytes);
            if let Some(version) = survey.is_foreign() {
                let path = path.display();
                tracing::warn!(%path, version, "a part of the journal is of another version of oomwatch: left alone");
                self.segments.push_back(segment);
                continue;
            }
            segment.entries = survey.entries;
            let last = survey.last.and_then(|(start, end)| bytes.get(start..end - 1));
            segment.newest = last.and_then(|line| time_of(parse(line)?.report)).unwrap_or(segment.newest);
            let mended =
                mend(&self.dir, number, &bytes, &survey, MOST_QUARANTINED.min(self.bounds.bytes / 16));
            if mended.is_ok() {
                removed.add(Removed::Quarantined, survey.damaged_lines);
            }
            match mended {
                Ok(Mended::Removed) => continue,
                Ok(Mended::Rewritten(bytes)) => segment.bytes = bytes,
                Ok(Mended::Whole(bytes)) => {
                    segment.bytes = bytes;
                    self.current = File::options().append(true).open(&path).ok();
                }
                Err(error) => {
                    tracing::warn!(%error, "a damaged part of the journal could not be mended; what is whole is read");
                }
            }
            self.segments.push_back(segment);
        }
        Ok(())
    }

    /// Appends one incident that happened at `time`: its line, with the line end.
    pub(super) fn append(
        &mut self,
        line: &str,
        time: Timestamp,
        now: Timestamp,
        removed: &Tally<Removed>,
    ) -> io::Result<()> {
        let length = line.len() as u64 + FIRST_LINE.len() as u64;
        if length > LONGEST_LINE.min(self.bounds.bytes) {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the incident is larger than the journal takes",
            ));
        }
        self.still_there()?;
        if self.segments.back().is_some_and(|last| last.bytes + length > self.bounds.segment()) {
            self.finish();
        }
        self.keep_bounds(length, now, removed)?;
        let mut written = self.write(line, time);
        if written.as_ref().is_err_and(is_full) && !self.gave_way && self.segments.len() > 1 {
            self.drop_oldest(Removed::DiskFull, removed)?;
            tracing::warn!(dir = %self.dir.display(), "the disk is full: the oldest part of the journal made room");
            self.gave_way = true;
            written = self.write(line, time);
        } else if written.is_ok() {
            self.gave_way = false;
        }
        written
    }

    /// Somebody may have removed or cut the file. [`io::ErrorKind::NotFound`]: open the journal anew.
    fn still_there(&mut self) -> io::Result<()> {
        let (Some(file), Some(last)) = (&self.current, self.segments.back_mut()) else {
            return if self.dir.join("lock").exists() { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) };
        };
        let found = file.metadata()?;
        if found.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        if found.len() != last.bytes {
            // What is damaged in it is mended at the next start; until then readers pass over it.
            last.bytes = found.len();
            self.finish();
        }
        Ok(())
    }

    fn write(&mut self, line: &str, time: Timestamp) -> io::Result<()> {
        if self.current.is_none() {
            self.begin()?;
        }
        let (Some(file), Some(last)) = (&mut self.current, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Err(error) = file.write_all(line.as_bytes()) {
            if file.set_len(last.bytes).is_err() {
                self.current = None;
            }
            return Err(with_path(&segment_path(&self.dir, last.number), &error));
        }
        last.bytes += line.len() as u64;
        last.entries += 1;
        last.newest = time;
        self.dirty = true;
        Ok(())
    }

    /// Begins a segment. Numbers are milliseconds since 1970, or the next after the last.
    fn begin(&mut self) -> io::Result<()> {
        let now = Timestamp::now();
        let next = self.segments.back().map_or(0, |last| last.number.saturating_add(1));
        let number = next.max(u64::try_from(now.as_millisecond()).unwrap_or(0));
        let path = segment_path(&self.dir, number);
        let mut file = File::options()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| with_path(&path, &error))?;
        if let Err(error) = file.write_all(FIRST_LINE.as_bytes()) {
            fs::remove_file(&path)?;
            return Err(with_path(&path, &error));
        }
        self.segments.push_back(Segment { number, bytes: FIRST_LINE.len() as u64, entries: 0, newest: now });
        self.current = Some(file);
        self.renamed = true;
        Ok(())
    }

    /// Leaves the current segment.
    fn finish(&mut self) {
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "a part of the journal may not be on the disk");
        }
        self.current = None;
    }

    /// Drops the segments whose newest incident is older than it may be, and the oldest until `more` bytes fit.
    pub(super) fn keep_bounds(
        &mut self,
        more: u64,
        now: Timestamp,
        removed: &Tally<Removed>,
    ) -> io::Result<()> {
        let oldest = now.checked_sub(self.bounds.age).unwrap_or(Timestamp::MIN);
        while self.segments.front().is_some_and(|segment| segment.newest < oldest) {
            self.drop_oldest(Removed::Age, removed)?;
        }
        while self.bytes() + more > self.bounds.bytes && !self.segments.is_empty() {
            self.drop_oldest(Removed::Size, removed)?;
        }
        Ok(())
    }

    fn drop_oldest(&mut self, why: Removed, removed: &Tally<Removed>) -> io::Result<()> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        let path = segment_path(&self.dir, oldest.number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(with_path(&path, &error)),
            _ => {}
        }
        removed.add(why, oldest.entries);
        self.segments.pop_front();
        self.renamed = true;
        if self.segments.is_empty() {
            self.current = None;
        }
        Ok(())
    }

    /// Has on the disk what was written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.current.as_ref().map_or(Ok(()), File::sync_data)?;
            self.dirty = false;
        }
        if self.renamed {
            File::open(&self.dir)?.sync_all()?;
            self.renamed = false;
        }
        Ok(())
    }

    /// Whether there is anything for [`Self::sync`] to do.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty || self.renamed
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            bytes: self.bytes(),
            segments: self.segments.len() as u64,
            incidents: self.segments.iter().map(|segment| segment.entries).sum(),
            writable: true,
        }
    }
}

/// When an incident happened.
pub(super) fn time_of(report: &str) -> Option<Timestamp> {
    serde_json::from_str(report).ok().map(|header: Header| header.time)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
