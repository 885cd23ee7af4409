//! Which connections there are: so many at most, and a newcomer is always let in.
//!
//! When all places are taken, the one that has been without a request for longest gives up its own; those that never
//! asked anything go first. So clients that only hold on to connections push each other out, and a scraper gets in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    last: u64,
    taken: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    has_asked: bool,
    active_at: Instant,
    leave: Arc<Notify>,
}

/// A connection's place; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Arc<Connections>,
    number: u64,
    leave: Arc<Notify>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, places: Mutex::default() })
    }

    /// A place for a newcomer, and whether somebody has to leave for it.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> (Seat, bool) {
        let mut places = self.places();
        let mut evicted = false;
        if places.taken.len() >= self.most {
            let longest = places.taken.iter().min_by_key(|(_, place)| (place.has_asked, place.active_at));
            if let Some(place) =
                longest.map(|(number, _)| *number).and_then(|number| places.taken.remove(&number))
            {
                place.leave.notify_one();
                evicted = true;
            }
        }
        places.last += 1;
        let (number, leave) = (places.last, Arc::new(Notify::new()));
        places.taken.insert(number, Place { has_asked: false, active_at: now, leave: Arc::clone(&leave) });
        (Seat { connections: Arc::clone(self), number, leave }, evicted)
    }

    /// How many there are.
    pub(super) fn number(&self) -> usize {
        self.places().taken.len()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// A request came.
    pub(super) fn asked(&self, now: Instant) {
        if let Some(place) = self.connections.places().taken.get_mut(&self.number) {
            place.has_asked = true;
            place.active_at = now;
        }
    }

    /// When the last request came, or the connection.
    pub(super) fn active_at(&self) -> Option<Instant> {
        self.connections.places().taken.get(&self.number).map(|place| place.active_at)
    }

    /// Waits until somebody else needs the place.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.places().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_never_asked_leaves_first_and_then_who_asked_longest_ago() {
        let connections = Connections::new(3);
        let begun = Instant::now();
        let at = |second| begun + Duration::from_secs(second);
        let (first, _) = connections.enter(at(0));
        let (second, _) = connections.enter(at(1));
        let (third, evicted) = connections.enter(at(2));
        assert!(!evicted);
        first.asked(at(3));
        second.asked(at(4));
        let (fourth, evicted) = connections.enter(at(5));
        assert!(evicted && connections.number() == 3);
        third.must_leave().await;
        drop(third);
        assert_eq!(connections.number(), 3, "its place is another's by now");
        fourth.asked(at(6));
        let (_fifth, evicted) = connections.enter(at(7));
        assert!(evicted);
        first.must_leave().await;
        assert_eq!((first.active_at(), second.active_at()), (None, Some(at(4))));
        drop(second);
        assert_eq!(connections.number(), 2);
    }
}
