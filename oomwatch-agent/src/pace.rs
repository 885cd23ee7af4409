//! How much of the node's CPU time what can wait asks for.

use std::io;

/// Once a line is out, nobody on call waits for the rest; but who reads the lines waits for a CPU, and so does whatever
/// else the node has to do. So what is left of an incident is read and made into a report at the priority of everybody,
/// and before others only when it is late: when files may soon be gone, or the queue has no room.
pub struct Pace {
    /// `None`: it cannot be changed, or is not to be.
    preferred: Option<bool>,
    set: fn(bool) -> io::Result<()>,
}

impl Pace {
    /// Of a thread that comes before others, and is to stay so.
    pub fn fixed() -> Self {
        Self { preferred: None, set: |_| Ok(()) }
    }

    /// Of a thread that comes before others. `set` says whether it is to.
    pub fn adapted(set: fn(bool) -> io::Result<()>) -> Self {
        Self { preferred: Some(true), set }
    }

    /// To be called with each piece of work: whether it is late.
    pub fn keep(&mut self, is_late: bool) {
        if self.preferred.is_none_or(|preferred| preferred == is_late) {
            return;
        }
        self.preferred = Some(is_late);
        if let Err(error) = (self.set)(is_late) {
            tracing::debug!(%error, "a thread keeps its priority");
            self.preferred = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static SET: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
    }

    fn set(preferred: bool) -> io::Result<()> {
        SET.with_borrow_mut(|set| set.push(preferred));
        if SET.with_borrow(Vec::len) < 4 { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    #[test]
    fn it_is_set_when_it_changes_until_that_is_refused() {
        let mut pace = Pace::adapted(set);
        for is_late in [true, false, false, true, true, false, true, false, true] {
            pace.keep(is_late);
        }
        assert_eq!(SET.take(), [false, true, false, true]);
        Pace::fixed().keep(false);
    }
}
