//! A log of any length, piece by piece: searched for what may be of the OOM killer, and there read line by line.

use memchr::{memchr, memchr_iter, memmem, memrchr};

use super::{
    frame::Frame,
    json::{number, wall},
    spread::{Spread, Step},
    unwrap::{Item, Wrapping, unwrap},
};
use crate::kernel_log::{KernelLog, KmsgRecord, Logged, Place, PlainLine};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// An incident of a kernel's log.
    Incident(Box<Logged>),
    /// A report of our own, as JSON.
    Report(String),
}

/// What every incident has at least one of, and hardly anything else has. The last is of reports.
const NEEDLES: [&str; 4] = ["oom-kill", "illed process ", "ill process ", "victims"];
/// What is looked for, for people.
pub const LOOKED_FOR: &str = "\"invoked oom-killer\", \"oom-kill:constraint=…\", \"Killed process\", \
    \"Kill process\", reports of oomwatch";

/// Bytes that are read at a time. Less is slower, more is no faster: this fits into a CPU's cache.
const PIECE: usize = 256 << 10;
/// Of a longer line only so much is read.
const LONGEST_LINE: usize = 2 << 20;
/// So many lines after the last one that was of the OOM killer, what comes next is another story.
const NEAR: u32 = 1000;
/// Machines whose lines may be mixed at a time.
const MOST_HOSTS: usize = 4;
/// An entry of a journal may be so long before its message.
const ENTRY: usize = 16 << 10;

/// Takes a log's bytes, gives what it finds.
#[derive(Debug)]
pub struct Scanner {
    finders: [memmem::Finder<'static>; NEEDLES.len()],
    buffer: Vec<u8>,
    /// What of the buffer is filled and not yet read.
    start: usize,
    end: usize,
    /// Reading line by line.
    is_near: bool,
    /// The rest of a line that was too long is passed over.
    is_cut: bool,
    /// Lines since the last one of the OOM killer.
    idle: u32,
    lines: u64,
    /// The machines' logs, the one that was last added to last. The empty name is of lines that name none.
    logs: Vec<(Vec<u8>, KernelLog)>,
    entry: Entry,
    frame: Frame,
    spread: Spread,
}

/// An entry of a journal, field by field.
#[derive(Debug, Default)]
struct Entry {
    wrapping: Wrapping,
    text: Option<Vec<u8>>,
    is_foreign: bool,
    /// A field that is longer than a line follows, with its length before it.
    is_long: bool,
    /// Such a field was begun.
    is_in_message: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            finders: NEEDLES.map(memmem::Finder::new),
            buffer: vec![0; PIECE],
            start: 0,
            end: 0,
            is_near: true,
            is_cut: false,
            idle: 0,
            lines: 0,
            logs: Vec::new(),
            entry: Entry::default(),
            frame: Frame::default(),
            spread: Spread::default(),
        }
    }
}

impl Scanner {
    /// Where the next bytes go; never empty.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were put there.
    pub fn filled(&mut self, length: usize, found: &mut impl FnMut(Found)) {
        self.end = self.end.saturating_add(length).min(self.buffer.len());
        while self.step(found) {}
    }

    /// Nothing has come for a while: what has killed is told.
    pub fn pause(&mut self, found: &mut impl FnMut(Found)) {
        for (_, log) in &mut self.logs {
            give(log.finish(), found);
        }
    }

    /// The log is over; another may follow. Gives the number of its lines.
    pub fn end(&mut self, found: &mut impl FnMut(Found)) -> u64 {
        if self.start < self.end {
            let line = self.buffer.get(self.start..self.end).unwrap_or_default().to_vec();
            self.lines = self.lines.saturating_add(1);
            if !self.is_cut {
                self.line(&line, found);
            }
        }
        self.flush_entry(found);
        for (_, log) in &mut self.logs {
            give(log.end(), found);
        }
        let lines = self.lines;
        *self = Self::default();
        lines
    }

    /// Takes a line, or passes over what is of no interest. `false`: more bytes are needed.
    fn step(&mut self, found: &mut impl FnMut(Found)) -> bool {
        let data = self.buffer.get(self.start..self.end).unwrap_or_default();
        if !self.is_near {
            return self.pass_over();
        }
        let Some(length) = memchr(b'\n', data) else {
            if data.len() >= LONGEST_LINE {
                let line = data.to_vec();
                self.start = self.end;
                if !std::mem::replace(&mut self.is_cut, true) {
                    self.line(&line, found);
                }
            }
            return false;
        };
        // A line is short; copying it lets the rest of the scanner change while it is read.
        let line = data.get(..length).unwrap_or_default().to_vec();
        self.start += length + 1;
        self.lines = self.lines.saturating_add(1);
        if !std::mem::take(&mut self.is_cut) {
            self.line(&line, found);
        }
        if self.idle > NEAR {
            self.pause(found);
            self.is_near = false;
        }
        true
    }

    /// Goes to the line of the next word that is looked for.
    fn pass_over(&mut self) -> bool {
        let data = self.buffer.get(self.start..self.end).unwrap_or_default();
        let mut first: Option<usize> = None;
        for (finder, needle) in self.finders.iter().zip(NEEDLES) {
            let before = first.map_or(data.len(), |at| at.saturating_add(needle.len()).min(data.len()));
            first = data.get(..before).and_then(|data| finder.find(data)).or(first);
        }
        let line_of = |at: usize| data.get(..at).and_then(|data| memrchr(b'\n', data)).map_or(0, |at| at + 1);
        let kept = match first {
            Some(at) => Self::entry_of(data, line_of(at)),
            // A word may lie across the end; an entry's first fields stand before its message.
            None => Self::entry_of(data, line_of(data.len())).max(data.len().saturating_sub(ENTRY)),
        };
        let passed = data.get(..kept).unwrap_or_default();
        self.lines = self.lines.saturating_add(memchr_iter(b'\n', passed).count() as u64);
        self.start += kept;
        (self.is_near, self.idle) = (first.is_some(), 0);
        self.is_near
    }

    /// Where the journal's entry begins whose field begins at `line`, or the object that is laid out over many lines;
    /// `line` itself of any other log.
    fn entry_of(data: &[u8], line: usize) -> usize {
        let before = data.get(line.saturating_sub(ENTRY)..line).unwrap_or_default();
        let is_field =
            before.starts_with(b"_") || memmem::rfind(before, b"\n__REALTIME_TIMESTAMP=").is_some();
        if is_field && let Some(at) = memmem::rfind(before, b"\n\n") {
            return line - before.len() + at + 2;
        }
        // The line `{` stands before the one with the schema.
        let opened = memmem::rfind(before, b"\"schema\":").and_then(|at| {
            let schema = memrchr(b'\n', before.get(..at)?)?;
            memrchr(b'\n', before.get(..schema)?).map(|at| at + 1).or(Some(0))
        });
        opened.map_or(line, |at| line - before.len() + at)
    }

    fn line(&mut self, line: &[u8], found: &mut impl FnMut(Found)) {
        self.idle = self.idle.saturating_add(1);
        if self.entry.goes_on(line) {
            return;
        }
        match self.spread.step(line) {
            Step::Other => {}
            Step::Taken => return,
            Step::Whole(json) => {
                self.idle = 0;
                found(Found::Report(String::from_utf8_lossy(&json).into_owned()));
                return;
            }
        }
        match unwrap(line) {
            Item::Report(json) => {
                self.idle = 0;
                found(Found::Report(String::from_utf8_lossy(&json).into_owned()));
            }
            Item::Field(name, value) => self.entry.add(name, value),
            Item::Text(text, wrapping) => {
                if text.is_empty() {
                    self.flush_entry(found);
                }
                self.text(&text, &wrapping, found);
            }
            Item::Foreign => {}
        }
    }

    fn flush_entry(&mut self, found: &mut impl FnMut(Found)) {
        let entry = std::mem::take(&mut self.entry);
        if let Some(text) = entry.text.filter(|_| !entry.is_foreign) {
            self.text(&text, &entry.wrapping, found);
        }
    }

    /// A record's text: a journal's may be of several lines.
    fn text(&mut self, text: &[u8], wrapping: &Wrapping, found: &mut impl FnMut(Found)) {
        let number = self.lines;
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(record) = KmsgRecord::parse(line) {
                self.with_log(b"", found, |log| log.record_at(&record, wrapping.place(number)));
            } else if let Some(read) = PlainLine::parse(line) {
                self.plain(&read, wrapping.place(number), found);
            }
        }
    }

    /// A line of text, first without what was learned to stand around; where that is none of the kernel's, it is
    /// looked at for what may be learned.
    fn plain(&mut self, read: &PlainLine<'_>, place: Place<'_>, found: &mut impl FnMut(Found)) {
        let host = read.host.or(place.host).unwrap_or_default().to_vec();
        let is_dated = read.wall.is_some();
        let whole = read.text.trim_ascii_end();
        let text = self.frame.without_tail(whole);
        if let Some(text) = self.frame.inside(text, is_dated)
            && self.with_log(&host, found, |log| log.plain(&PlainLine { text, ..read.clone() }, place))
        {
            self.frame.learn_tail(whole);
            return;
        }
        if self.with_log(&host, found, |log| log.plain(&PlainLine { text, ..read.clone() }, place)) {
            if self.frame.learn_tail(whole) {
                self.frame.forget_head();
            }
            return;
        }
        let may_tell = self.finders.iter().any(|finder| finder.find(whole).is_some());
        if may_tell && self.frame.learn_head(whole, is_dated) {
            self.frame.learn_tail(whole);
            let text = self.frame.without_tail(whole);
            let text = self.frame.inside(text, is_dated).unwrap_or(text);
            self.with_log(&host, found, |log| log.plain(&PlainLine { text, ..read.clone() }, place));
        }
    }

    fn with_log(
        &mut self,
        host: &[u8],
        found: &mut impl FnMut(Found),
        take: impl FnOnce(&mut KernelLog) -> Option<Logged>,
    ) -> bool {
        let known = self.logs.iter().position(|(known, _)| known == host);
        if known.is_none() {
            if self.logs.len() >= MOST_HOSTS {
                let (_, mut oldest) = self.logs.remove(0);
                give(oldest.end(), found);
            }
            self.logs.push((host.to_vec(), KernelLog::saved()));
        }
        let at = known.unwrap_or(self.logs.len().saturating_sub(1));
        if let Some((_, log)) = self.logs.get_mut(at) {
            let before = log.lines_taken();
            let logged = take(log);
            let is_taken = log.lines_taken() != before;
            if is_taken {
                self.idle = 0;
            }
            give(logged, found);
            return is_taken;
        }
        false
    }
}

fn give(logged: Option<Logged>, found: &mut impl FnMut(Found)) {
    if let Some(logged) = logged {
        found(Found::Incident(Box::new(logged)));
    }
}

impl Entry {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.is_in_message = false;
        let of = &mut self.wrapping;
        match name {
            b"MESSAGE" => self.text = Some(value.to_vec()),
            b"_HOSTNAME" => of.host = Some(value.to_vec()),
            b"_BOOT_ID" => of.boot_id = Some(value.to_vec()),
            b"__REALTIME_TIMESTAMP" => of.wall = wall(value),
            b"_SOURCE_MONOTONIC_TIMESTAMP" => of.micros = number(value),
            b"_TRANSPORT" | b"SYSLOG_IDENTIFIER" => self.is_foreign |= value != b"kernel",
            _ => {}
        }
    }

    /// Whether a line is part of a message of several lines: `MESSAGE`, its length in 8 bytes, the message.
    fn goes_on(&mut self, line: &[u8]) -> bool {
        if line == b"MESSAGE" {
            self.is_long = true;
            return true;
        }
        if std::mem::take(&mut self.is_long) {
            self.text = Some(line.get(8..).unwrap_or_default().to_vec());
            self.is_in_message = true;
            return true;
        }
        let is_field = line.is_empty()
            || line
                .iter()
                .take_while(|byte| **byte != b'=')
                .all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
        self.is_in_message &= !is_field;
        if self.is_in_message {
            let text = self.text.get_or_insert_default();
            text.push(b'\n');
            text.extend_from_slice(line);
        }
        self.is_in_message
    }
}
