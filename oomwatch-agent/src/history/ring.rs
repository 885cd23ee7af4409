//! Incidents that are not on disk: the newest of them, in bounded memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

/// At most so many reports,
const MOST: usize = 1000;
/// and so many bytes of them.
const MOST_BYTES: usize = 1 << 20;

/// A report in memory, under its number.
pub(super) type Numbered = (u64, Arc<str>);

/// The newest reports that are nowhere else.
#[derive(Debug)]
pub(super) struct Ring {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    reports: VecDeque<Numbered>,
    bytes: usize,
    next: u64,
}

impl Ring {
    /// Numbers begin with the time, so that a cursor from before a restart is never ahead of them.
    pub(super) fn new(now: Timestamp) -> Self {
        let next = u64::try_from(now.as_microsecond()).unwrap_or(0);
        Self { kept: Mutex::new(Kept { reports: VecDeque::new(), bytes: 0, next }) }
    }

    /// Takes a report; the oldest leave. One that is larger than all may be is not taken.
    pub(super) fn push(&self, report: &str) {
        let mut kept = self.lock();
        let number = kept.next;
        kept.next += 1;
        kept.bytes += report.len();
        kept.reports.push_back((number, report.into()));
        while kept.bytes > MOST_BYTES || kept.reports.len() > MOST {
            let Some((_, oldest)) = kept.reports.pop_front() else { break };
            kept.bytes -= oldest.len();
        }
    }

    /// All of them, the oldest first.
    pub(super) fn all(&self) -> Vec<Numbered> {
        self.lock().reports.iter().cloned().collect()
    }

    /// Nothing panics while it is held; were it so, what is there is still a report each.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_win_by_number_and_by_size() {
        let ring = Ring::new(Timestamp::UNIX_EPOCH);
        for number in 0..MOST + 5 {
            ring.push(&number.to_string());
        }
        let all = ring.all();
        assert_eq!((all.len(), all[0].0, &*all[0].1), (MOST, 5, "5"));
        let large = "x".repeat(MOST_BYTES / 2);
        for _ in 0..3 {
            ring.push(&large);
        }
        assert_eq!(ring.all().len(), 2);
        ring.push(&"x".repeat(MOST_BYTES + 1));
        assert_eq!(ring.all().len(), 0);
        ring.push("after");
        assert_eq!(&*ring.all()[0].1, "after");
    }
}
