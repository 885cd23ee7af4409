//! The kernel's log → incidents: what `dump_header` and `__oom_kill_process` (mm/oom_kill.c) print, from Linux 2.6.32
//! to 7.3, read from `/dev/kmsg` or from text that `dmesg`, syslog or the journal made of it.
//!
//! The log is poorer than the probe, and it lies in its own ways. Headers are printed 10 times in 5 seconds at most,
//! "Killed process" always: so an incident may lack its header, and a header may be of a kill that never came. A group
//! kill names its first victim twice. Other CPUs' lines come between, lines printed in parts are torn, records are
//! lost. Names in it are raw: nothing of them may move a field or make up a line. It is read line by line, in bounded
//! memory, and no input is an error.

mod header;
mod joint;
mod kills;
mod memory;
mod open;
mod plain;
mod record;
mod summary;
mod tasks;
mod text;
mod zones;

pub use header::prints_exact_rss;
pub use memory::NodeMemory;
pub use plain::PlainLine;
pub use record::KmsgRecord;
pub use tasks::TaskRow;

use crate::{
    incident::Incident,
    kernel_log::{
        header::{Invoked, is_group, kills_nothing},
        joint::Joint,
        kills::{Chosen, Killed, is_already_exiting, sharer},
        open::Open,
    },
    units::PageSize,
};

/// One incident as the log has it, and what only the log has.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// As the probe would have told it. Its time is the printk clock's, as if that were the time since boot; 0 where
    /// the line had no such time.
    pub incident: Incident,
    /// When its first line was printed, where the line said so otherwise: as it is written there.
    pub wall: Option<String>,
    /// The machine that printed it, where a syslog or journal names it. Escaped.
    pub host: Option<String>,
    /// `/proc/sys/kernel/random/boot_id` of that machine, where a journal says so. Escaped.
    pub boot_id: Option<String>,
    /// The number of its first line in the file, from 1.
    pub line: Option<u64>,
    /// Its pages, as its figures show; else as they were taken to be.
    pub page_size: PageSize,
    /// The sequence numbers of its first and last record. `None`: not from `/dev/kmsg`.
    pub sequences: Option<(u64, u64)>,
    /// Lines "Killed process": the kernel's own count (`oom_kill` of `/proc/vmstat`) went up by as many.
    pub kills: u64,
    /// The processes that could have been killed, in the kernel's order.
    pub tasks: Vec<TaskRow>,
    /// The node's memory; printed where no cgroup's limit was hit.
    pub node: Option<NodeMemory>,
    /// The kernel's release, from the stack dump.
    pub release: Option<String>,
}

/// A reader of the log: lines in, incidents out.
#[derive(Clone, Debug)]
pub struct KernelLog {
    page_size: PageSize,
    exact_rss: bool,
    open: Option<Open>,
    joint: Joint,
    next_sequence: Option<u64>,
    incidents: u64,
    kills: u64,
    taken: u64,
    is_saved: bool,
}

/// Where a line stands, as far as whatever it was wrapped in says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The printk clock in microseconds.
    pub micros: Option<u64>,
    /// Any other time, as it is written.
    pub wall: Option<&'a [u8]>,
    /// The machine that printed it.
    pub host: Option<&'a [u8]>,
    /// That machine's boot.
    pub boot_id: Option<&'a [u8]>,
    /// The number of its line in the file, from 1.
    pub line: Option<u64>,
    /// The number of its record in `/dev/kmsg`.
    pub sequence: Option<u64>,
}

/// The kernel's own longest line is of a thousand bytes; what is longer is not read to its end.
const LONGEST_LINE: usize = 8192;

impl KernelLog {
    /// `exact_rss`: whether the kernel that made the log prints exact sums ([`prints_exact_rss`]), as far as the log
    /// itself does not tell its release.
    pub fn new(page_size: PageSize, exact_rss: bool) -> Self {
        Self {
            page_size,
            exact_rss,
            open: None,
            joint: Joint::default(),
            next_sequence: None,
            incidents: 0,
            kills: 0,
            taken: 0,
            is_saved: false,
        }
    }

    /// For a log that somebody saved, of a machine that may be another: it may begin and end anywhere, and it may have
    /// been searched for a few words. What is left of an invocation is an incident then: an end without its beginning,
    /// and a process that was chosen, though the line that says that it was killed is missing.
    pub fn saved() -> Self {
        Self { is_saved: true, ..Self::new(PageSize::default(), false) }
    }

    /// Takes a record of `/dev/kmsg`. Gives the incident that it shows to be complete: mostly the one before.
    pub fn record(&mut self, record: &KmsgRecord) -> Option<Logged> {
        self.record_at(record, Place::default())
    }

    /// The same of a record that was saved, and wrapped in something else.
    pub fn record_at(&mut self, record: &KmsgRecord, outer: Place<'_>) -> Option<Logged> {
        if self.next_sequence.is_some_and(|next| next < record.sequence) {
            self.lost();
        }
        self.next_sequence = record.sequence.checked_add(1);
        if !record.is_from_kernel {
            return None;
        }
        let place = Place { micros: Some(record.micros), sequence: Some(record.sequence), ..outer };
        self.text(&record.text, place, record.is_part)
    }

    /// Takes a line of text, as `dmesg`, syslog or the journal has it, or a record of `/dev/kmsg` that was saved.
    pub fn line(&mut self, line: &[u8]) -> Option<Logged> {
        self.line_at(line, Place::default())
    }

    /// The same of a line that came wrapped in something else, which said this of it. What the line says of itself
    /// goes before.
    pub fn line_at(&mut self, line: &[u8], outer: Place<'_>) -> Option<Logged> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if let Some(record) = KmsgRecord::parse(line) {
            return self.record_at(&record, outer);
        }
        let read = PlainLine::parse(line.get(..LONGEST_LINE).unwrap_or(line))?;
        self.plain(&read, outer)
    }

    /// The same of a line whose head was read.
    pub fn plain(&mut self, read: &PlainLine<'_>, outer: Place<'_>) -> Option<Logged> {
        let place = Place {
            micros: read.micros.or(outer.micros),
            wall: read.wall.or(outer.wall),
            host: read.host.or(outer.host),
            ..outer
        };
        self.text(read.text, place, true)
    }

    /// Records were lost here: what is open may lack some of its own.
    pub fn lost(&mut self) {
        if let Some(open) = &mut self.open {
            open.lost = true;
        }
    }

    /// Nothing has come for a while, or nothing will: gives what is open, if it has killed. A header alone is kept.
    pub fn finish(&mut self) -> Option<Logged> {
        let open = self.open.take_if(|open| open.has_killed())?;
        self.close(open)
    }

    /// The log is over: gives what is open, if it has killed or, in a saved log, seems to have.
    pub fn end(&mut self) -> Option<Logged> {
        let cut = self.joint.take();
        // The last line may have lost its end.
        let given = cut.and_then(|cut| self.whole(&cut, Place::default()));
        let last = self.open.take().and_then(|open| self.close(open));
        last.or(given)
    }

    /// An incident is open that has killed: [`Self::finish`] would give it.
    pub fn is_pending(&self) -> bool {
        self.open.as_ref().is_some_and(Open::has_killed)
    }

    /// Lines "Killed process" so far.
    pub fn kills(&self) -> u64 {
        self.kills
    }

    /// Lines so far that were of an invocation of the OOM killer.
    pub fn lines_taken(&self) -> u64 {
        self.taken
    }

    fn text(&mut self, text: &[u8], place: Place<'_>, may_continue: bool) -> Option<Logged> {
        let text = text.get(..LONGEST_LINE).unwrap_or(text);
        if may_continue && self.joint.takes(text) {
            let whole = self.joint.push(text)?;
            return self.whole(&whole, place);
        }
        if Joint::begins(text) {
            // A second beginning: the first has lost its end.
            let given = self.joint.start(text).and_then(|cut| self.whole(&cut, place));
            return given;
        }
        let is_next =
            Invoked::parse(text).is_some() || Chosen::parse(text).is_some() || Killed::parse(text).is_some();
        let given = if is_next { self.joint.take().and_then(|cut| self.whole(&cut, place)) } else { None };
        // At most one of both is an incident: a torn line completes none but by reopening.
        self.whole(text, place).or(given)
    }

    fn whole(&mut self, text: &[u8], place: Place<'_>) -> Option<Logged> {
        self.taken = self.taken.saturating_add(1);
        if let Some(invoked) = Invoked::parse(text) {
            return self.reopen(Open::with_header(invoked, place));
        }
        if let Some(killed) = Killed::parse(text) {
            self.kills = self.kills.saturating_add(1);
            return match &mut self.open {
                Some(open) if open.takes(&killed, place) => {
                    open.killed(killed, place);
                    None
                }
                _ => self.reopen(Open::with_kill(killed, place)),
            };
        }
        if let Some(chosen) = Chosen::parse(text) {
            return match &mut self.open {
                Some(open) if open.may_choose() => {
                    open.chosen(chosen, place);
                    None
                }
                _ => self.reopen(Open::with_choice(chosen, place)),
            };
        }
        if is_group(text) {
            let open = self.open.as_mut()?;
            // A second group: the kill right before it was its first, and its header was left out.
            return match open.begin_group(place) {
                None => None,
                Some(next) => self.reopen(next),
            };
        }
        if kills_nothing(text) || is_already_exiting(text) {
            self.open.take_if(|open| !open.has_killed());
            return None;
        }
        if self.is_saved
            && Open::is_of_the_end(text)
            && self.open.as_ref().is_none_or(|open| open.has_killed() || open.has_summary())
        {
            let mut open = Open::at(place);
            open.detail(text, place, self.page_size);
            return self.reopen(open);
        }
        let is_taken = match (&mut self.open, sharer(text)) {
            (Some(open), Some((tid, comm))) => {
                open.sharer(tid, comm, place);
                true
            }
            (Some(open), None) => {
                open.detail(text, place, self.page_size)
                    || self.is_saved && open.kill_goes_on(text.trim_ascii_start(), place)
            }
            (None, _) => false,
        };
        if !is_taken {
            self.taken = self.taken.saturating_sub(1);
        }
        None
    }

    fn reopen(&mut self, next: Open) -> Option<Logged> {
        let last = self.open.replace(next)?;
        self.close(last)
    }

    fn close(&mut self, mut open: Open) -> Option<Logged> {
        let is_kill = open.has_killed() || self.is_saved && open.presume_kill();
        if !is_kill {
            return None;
        }
        self.incidents = self.incidents.saturating_add(1);
        Some(open.finish(self.incidents, self.exact_rss, self.page_size))
    }
}

#[cfg(test)]
mod tests;
