//! What is asked of the history, and a page of the answer.

use std::{fmt, str::FromStr};

use oomwatch_common::query::{Filter, Header};

/// A page ends once its reports are this long together, bytes.
const PAGE_BYTES: usize = 1 << 20;

/// Which incidents, and how many of them.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which.
    pub filter: Filter,
    /// In what order.
    pub order: Order,
    /// At most so many; 0 counts as 1. A page may have fewer where reports are large.
    pub limit: usize,
    /// From where on: [`Page::next`] of the page before.
    pub cursor: Option<Cursor>,
}

/// In what order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first, and then what comes while one follows.
    OldestFirst,
}

/// Reports that fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Each report's JSON, one line.
    pub reports: Vec<String>,
    /// Where the next page begins. The newest first: absent where there is none. The oldest first: always there, so
    /// that one can ask again later.
    pub next: Option<Cursor>,
}

/// A place between two incidents. It stays where it is while new incidents come and old ones leave. Its text,
/// `SEGMENT-OFFSET-NUMBER`, is for machines to hand back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Number of a segment.
    pub(super) segment: u64,
    /// Bytes from its beginning.
    pub(super) offset: u64,
    /// Number of an incident in memory.
    pub(super) memory: u64,
}

impl Cursor {
    /// Before everything.
    pub(super) const BEGINNING: Self = Self { segment: 0, offset: 0, memory: 0 };
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.segment, self.offset, self.memory)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text.split('-').map(|part| {
            // u64's own parser would take a sign as well.
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        });
        match [numbers.next(), numbers.next(), numbers.next(), numbers.next()] {
            [Some(Some(segment)), Some(Some(offset)), Some(Some(memory)), None] => {
                Ok(Self { segment, offset, memory })
            }
            _ => Err("not a cursor: give the `next` of the page before, as it was".to_owned()),
        }
    }
}

/// A page as it fills.
pub(super) struct Gathering<'a> {
    query: &'a Query,
    everything: bool,
    reports: Vec<String>,
    bytes: usize,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(query: &'a Query) -> Self {
        let everything = query.filter == Filter::default();
        Self { query, everything, reports: Vec::new(), bytes: 0 }
    }

    /// Takes a report if it fits.
    pub(super) fn offer(&mut self, report: &str) {
        let fits = |header: Header| self.query.filter.fits(&header);
        if self.everything || serde_json::from_str(report).is_ok_and(fits) {
            self.bytes += report.len();
            self.reports.push(report.to_owned());
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.reports.len() >= self.query.limit.max(1) || self.bytes >= PAGE_BYTES
    }

    pub(super) fn page(self, next: Option<Cursor>) -> Page {
        Page { reports: self.reports, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        let cursor = Cursor { segment: u64::MAX, offset: 0, memory: 1_763_715_600_000_000 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in
            ["", "1", "1-2", "1-2-3-4", "1--3", "1-+2-3", "a-b-c", "1-2-99999999999999999999", "1-2-3 "]
        {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
