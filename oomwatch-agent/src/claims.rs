//! Who prints an incident's line: the teller at once or the reporter later, whoever claims it first, and nobody twice.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::probe::Unawaited;

/// Who may print what.
pub struct Claims {
    /// By an incident's number: whether its line is up for the teller to print, or has been claimed.
    places: Box<[AtomicU64]>,
    unawaited: OnceLock<Arc<Unawaited>>,
}

const CLAIMED: u64 = 1;

fn open(incident: u64) -> u64 {
    incident << 1
}

impl Claims {
    /// For so many incidents that are under way at once.
    pub fn new(incidents: usize) -> Self {
        let places = (0..incidents.max(1)).map(|_| AtomicU64::new(CLAIMED)).collect();
        Self { places, unawaited: OnceLock::new() }
    }

    /// From now on the probe is told by this that nobody waits for the end of a kill whose line the teller prints: what
    /// the others would tell it when they look again comes too late for most.
    pub fn ends_wake_nobody_by(&self, unawaited: Arc<Unawaited>) {
        // It is called once.
        self.unawaited.set(unawaited).ok();
    }

    /// The teller may print it.
    pub fn offer(&self, incident: u64) {
        if let Some(place) = self.place(incident) {
            place.store(open(incident), Ordering::SeqCst);
        }
    }

    /// Whether the teller is the first, and so has to print it.
    pub fn by_teller(&self, incident: u64) -> bool {
        let is_first = self.claim(incident).is_ok();
        if is_first {
            self.await_no_end_of(incident);
        }
        is_first
    }

    /// Has the probe wake nobody at the end of that kill, if that was wanted.
    pub fn await_no_end_of(&self, incident: u64) {
        if let Some(unawaited) = self.unawaited.get() {
            unawaited.set(incident);
        }
    }

    /// Whether the reporter has to print it: it was never offered, or the teller did not take it, and now never will.
    pub fn by_reporter(&self, incident: u64) -> bool {
        self.claim(incident) != Err(open(incident) | CLAIMED)
    }

    /// Whether somebody prints it, or has: the teller, as long as the reporter does not have the incident.
    pub fn is_claimed(&self, incident: u64) -> bool {
        self.place(incident).is_some_and(|place| place.load(Ordering::SeqCst) == open(incident) | CLAIMED)
    }

    fn claim(&self, incident: u64) -> Result<u64, u64> {
        let (was, is) = (open(incident), open(incident) | CLAIMED);
        self.place(incident)
            .map_or(Err(CLAIMED), |place| place.compare_exchange(was, is, Ordering::SeqCst, Ordering::SeqCst))
    }

    fn place(&self, incident: u64) -> Option<&AtomicU64> {
        self.places.get(usize::try_from(incident % self.places.len() as u64).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Claims;

    #[test]
    fn each_line_is_printed_by_one_of_them() {
        let claims = Claims::new(4);
        assert!(claims.by_reporter(1), "it was never offered");
        assert!(!claims.by_teller(1));
        claims.offer(2);
        assert!(!claims.is_claimed(1) && !claims.is_claimed(2));
        assert!(claims.by_teller(2) && !claims.by_teller(2) && !claims.by_reporter(2));
        claims.offer(3);
        assert!(claims.by_reporter(3) && !claims.by_teller(3), "the reporter was there first");
        assert!(claims.is_claimed(2));
        claims.offer(6);
        assert!(claims.by_teller(6) && claims.is_claimed(6) && !claims.is_claimed(2));
        assert!(claims.by_reporter(2), "its place has gone to another: rather twice than not at all");
        assert!(!claims.by_reporter(6));
    }
}
