//! Which connections there are: so many at most, and a newcomer is let in soon.
//!
//! When all places are taken, one whose answer is out gives up its own, the one that asked longest ago; else one that
//! has not asked for a while; else one that has not read its answer for a while. So clients that hold on to connections
//! push each other out, whoever asks is answered, and a scraper gets in.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::Instant,
};

/// What a client may take before its request, and for its answer, while others wait for the place.
const TO_ASK: Duration = Duration::from_millis(100);
const TO_READ: Duration = Duration::from_secs(1);

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
    state: State,
    active_at: Instant,
    leave: Arc<Notify>,
}

/// In the order in which they have to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Its answer is out.
    Idle,
    /// It has not asked yet.
    Silent,
    /// Its answer is on its way.
    Answered,
    /// Its answer is being made.
    Asked,
}

impl Place {
    fn may_be_taken(&self, now: Instant) -> bool {
        let for_now = now.saturating_duration_since(self.active_at);
        match self.state {
            State::Idle => true,
            State::Silent => for_now >= TO_ASK,
            State::Answered | State::Asked => for_now >= TO_READ,
        }
    }
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

    /// A place for a newcomer, and whether somebody has to leave for it; `None` while nobody can be asked to.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Option<(Arc<Seat>, bool)> {
        let mut places = self.places();
        let is_full = places.taken.len() >= self.most;
        if is_full {
            let candidates = places.taken.iter().filter(|(_, place)| place.may_be_taken(now));
            let (number, _) = candidates.min_by_key(|(_, place)| (place.state, place.active_at))?;
            let number = *number;
            places.taken.remove(&number)?.leave.notify_one();
        }
        places.last += 1;
        let (number, leave) = (places.last, Arc::new(Notify::new()));
        let place = Place { state: State::Silent, active_at: now, leave: Arc::clone(&leave) };
        places.taken.insert(number, place);
        Some((Arc::new(Seat { connections: Arc::clone(self), number, leave }), is_full))
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
            (place.state, place.active_at) = (State::Asked, now);
        }
    }

    /// Its answer is made, and is to be written.
    pub(super) fn answered(&self) {
        self.goes(State::Asked, State::Answered);
    }

    /// All that was to be written is. hyper flushes before there is an answer, too.
    fn flushed(&self) {
        self.goes(State::Answered, State::Idle);
    }

    fn goes(&self, from: State, to: State) {
        let mut places = self.connections.places();
        if let Some(place) = places.taken.get_mut(&self.number).filter(|place| place.state == from) {
            place.state = to;
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

/// A connection that knows when its answer is out: hyper flushes when it has nothing left to write.
pub(super) struct Flushed {
    stream: TcpStream,
    seat: Arc<Seat>,
}

impl Flushed {
    pub(super) fn new(stream: TcpStream, seat: Arc<Seat>) -> Self {
        Self { stream, seat }
    }
}

impl AsyncRead for Flushed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Flushed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// Without this hyper copies each answer before it is sent, and holds the copy until its client has read it.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.seat.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_was_answered_leaves_first_then_the_silent_then_who_does_not_read() {
        let connections = Connections::new(3);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let enter = |ms| connections.enter(at(ms));
        let [answered, silent, served] = [0, 1, 2].map(|ms| enter(ms).unwrap().0);
        answered.asked(at(3));
        answered.flushed();
        assert!(enter(4).is_none(), "its answer is still being made");
        answered.answered();
        answered.flushed();
        served.asked(at(4));
        let (second, evicted) = enter(5).unwrap();
        answered.must_leave().await;
        assert!(evicted && answered.active_at().is_none());
        assert!(enter(6).is_none(), "all may take a moment longer");
        let (third, _) = enter(150).unwrap();
        silent.must_leave().await;
        second.asked(at(160));
        third.asked(at(161));
        assert!(enter(600).is_none());
        let (_last, _) = enter(1010).unwrap();
        served.must_leave().await;
        drop(served);
        assert_eq!(connections.number(), 3, "its place is another's by now");
        drop(third);
        assert_eq!(connections.number(), 2);
    }
}
