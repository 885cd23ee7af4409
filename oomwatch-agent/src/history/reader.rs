//! Reading a journal: without a lock, without writing, beside the agent that writes it.
//!
//! What has no line end yet is not there yet. One segment at a time is in memory.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use oomwatch_common::{
    journal_line::{Entry, entries, lines, parse},
    query::Header,
};

use super::{
    Stats,
    query::{Cursor, Gathering, Order, Page, Query},
    ring::Numbered,
};

/// No segment is larger than this: the largest that is begun, and one more of the largest incidents. What is larger is
/// not the agent's, and is left alone.
pub(super) const LARGEST_SEGMENT: u64 = 16 << 20;

/// A journal's directory.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
}

impl Reader {
    /// Of this directory, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The incidents that fit, as [`super::History::page`] without those in memory. Blocking.
    ///
    /// # Errors
    /// The file system's, with the path. A directory that is not there is an empty journal.
    pub fn page(&self, query: &Query) -> io::Result<Page> {
        page(Some(self), &[], query)
    }

    /// The report of this id.
    pub(super) fn find(&self, id: &str) -> io::Result<Option<String>> {
        for number in self.segments()?.into_iter().rev() {
            let segment = self.read(number)?;
            for (_, entry) in entries(&segment, 0) {
                if is_of_id(entry.report, id) {
                    return Ok(Some(entry.report.to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Every whole incident, the oldest first. A segment that cannot be read is left out, and said.
    pub(super) fn each(&self, take: &mut dyn FnMut(Entry<'_>)) {
        let segments = self.segments().unwrap_or_default();
        for number in segments {
            match self.read(number) {
                Ok(segment) => entries(&segment, 0).for_each(|(_, entry)| take(entry)),
                Err(error) => tracing::warn!(%error, "a part of the journal cannot be read"),
            }
        }
    }

    /// How much there is, for a journal that is not ours to write.
    pub(super) fn stats(&self) -> Stats {
        let segments = self.segments().unwrap_or_default();
        let length =
            |number: &u64| fs::metadata(segment_path(&self.dir, *number)).ok().map(|found| found.len());
        let bytes = segments.iter().filter_map(length).sum();
        let mut incidents = 0;
        self.each(&mut |_| incidents += 1);
        Stats { bytes, segments: segments.len() as u64, incidents, writable: false }
    }

    /// Numbers of the segments, the oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        numbers(&self.dir, "incidents-", ".log")
    }

    /// A segment's bytes; none where it has left meanwhile, or is none of the agent's. One that the disk does not give
    /// back is left out, and said: the others are there.
    pub(super) fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let path = segment_path(&self.dir, number);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LARGEST_SEGMENT + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 <= LARGEST_SEGMENT => Ok(bytes),
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(with_path(&path, &error)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a part of the journal cannot be read: left out");
                Ok(Vec::new())
            }
        }
    }
}

/// Memory holds what is not on disk; it counts as newer than all that is.
pub(super) fn page(reader: Option<&Reader>, memory: &[Numbered], query: &Query) -> io::Result<Page> {
    match query.order {
        Order::NewestFirst => newest_first(reader, memory, query),
        Order::OldestFirst => oldest_first(reader, memory, query),
    }
}

fn newest_first(reader: Option<&Reader>, memory: &[Numbered], query: &Query) -> io::Result<Page> {
    let segments = reader.map_or_else(|| Ok(Vec::new()), Reader::segments)?;
    let from = match (query.cursor, reader, segments.last()) {
        (Some(cursor), ..) => cursor,
        // What comes while one turns the pages is not in them.
        (None, Some(reader), Some(last)) => {
            Cursor { segment: *last, offset: reader.read(*last)?.len() as u64, memory: u64::MAX }
        }
        _ => Cursor { memory: u64::MAX, ..Cursor::BEGINNING },
    };
    let mut gathering = Gathering::new(query);
    for (number, report) in memory.iter().rev().filter(|(number, _)| *number < from.memory) {
        gathering.offer(report);
        if gathering.is_full() {
            return Ok(gathering.page(Some(Cursor { memory: *number, ..from })));
        }
    }
    let Some(reader) = reader else { return Ok(gathering.page(None)) };
    for number in segments.into_iter().rev().filter(|number| *number <= from.segment) {
        let segment = reader.read(number)?;
        let until = if number == from.segment { from.offset } else { u64::MAX };
        let before: Vec<_> = entries(&segment, 0).take_while(|(line, _)| line.end as u64 <= until).collect();
        for (line, entry) in before.into_iter().rev() {
            gathering.offer(entry.report);
            if gathering.is_full() {
                let next = Cursor { segment: number, offset: line.start as u64, memory: 0 };
                return Ok(gathering.page(Some(next)));
            }
        }
    }
    Ok(gathering.page(None))
}

fn oldest_first(reader: Option<&Reader>, memory: &[Numbered], query: &Query) -> io::Result<Page> {
    let segments = reader.map_or_else(|| Ok(Vec::new()), Reader::segments)?;
    let mut at = query.cursor.unwrap_or(Cursor::BEGINNING);
    let mut gathering = Gathering::new(query);
    let from = at.segment;
    for number in segments.into_iter().filter(|number| *number >= from) {
        let Some(reader) = reader else { break };
        let segment = reader.read(number)?;
        let offset = if number == from { usize::try_from(at.offset).unwrap_or(usize::MAX) } else { 0 };
        at = Cursor { segment: number, offset: offset as u64, ..at };
        for line in lines(&segment, line_start(&segment, offset)).take_while(|line| line.finished) {
            at.offset = line.end as u64;
            let Some(entry) = parse(line.bytes) else { continue };
            gathering.offer(entry.report);
            if gathering.is_full() {
                return Ok(gathering.page(Some(at)));
            }
        }
    }
    for (number, report) in memory {
        if *number < at.memory {
            continue;
        }
        at.memory = number + 1;
        gathering.offer(report);
        if gathering.is_full() {
            break;
        }
    }
    Ok(gathering.page(Some(at)))
}

/// Where a line begins, at this offset or behind it: the segment may have been mended since the offset was told.
fn line_start(segment: &[u8], offset: usize) -> usize {
    let Some(before) = offset.checked_sub(1) else { return 0 };
    let rest = segment.get(before..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'\n').map_or(segment.len().max(offset), |end| before + end + 1)
}

/// Whether a report is of this id.
pub(super) fn is_of_id(report: &str, id: &str) -> bool {
    // The first is cheap, the second right.
    report.contains(id) && serde_json::from_str(report).is_ok_and(|header: Header| header.id == id)
}

/// `incidents-00000001763715600000.log`
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("incidents-{number:020}.log"))
}

/// Numbers in the names of files of one kind, in order. A directory that is not there has none.
pub(super) fn numbers(dir: &Path, prefix: &str, suffix: &str) -> io::Result<Vec<u64>> {
    let found = match fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(with_path(dir, &error)),
    };
    let mut numbers = Vec::new();
    for entry in found {
        let entry = entry.map_err(|error| with_path(dir, &error))?;
        // What is no file may block whoever opens it.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(suffix));
        let is_number =
            |digits: &&str| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        numbers.extend(digits.filter(is_number).and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The same error, with the path in its text.
pub(super) fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
