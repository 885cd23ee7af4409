//! The way from whoever captures to the tellers: the first record of a kill, before anything is read for it.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_queue::ArrayQueue;
use oomwatch_common::{foretell::is_foretold, parcel::Piece, peek::Peek};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::read,
    thread::sched_yield,
};

use crate::{
    claims::Claims,
    cpus::Shares,
    pool::{Need, Parcel, Pool},
    probe::Unawaited,
    queue::ring,
};

/// What the teller is told.
#[derive(Debug)]
pub enum Foretold {
    /// This record says that a process is being killed.
    Begun {
        /// The incident's number.
        incident: u64,
        /// The record.
        record: Parcel,
    },
    /// The kernel let that process be after all.
    NotKilled {
        /// The incident's number.
        incident: u64,
    },
}

/// Kills that the tellers may be behind by; what there is no place for is the reporter's to print.
const PLACES: usize = 16;

/// The end of whoever captures.
pub struct Foreteller {
    told: Arc<Told>,
    claims: Arc<Claims>,
}

/// The tellers' end: what was told, and a bell for each of them.
pub struct Told {
    waiting: ArrayQueue<Foretold>,
    shares: Shares,
    bells: Box<[OwnedFd]>,
    closed: AtomicBool,
}

/// For `incidents` that may be under way at once, and a teller on each of these CPUs: both ends, and who prints what.
///
/// # Errors
/// The kernel refused an eventfd.
pub fn foretelling(incidents: usize, shares: Shares) -> io::Result<(Foreteller, Arc<Told>, Arc<Claims>)> {
    let bell = || eventfd(0, EventfdFlags::CLOEXEC);
    let bells = (0..shares.threads().max(1)).map(|_| bell()).collect::<Result<_, _>>()?;
    let (waiting, closed) = (ArrayQueue::new(PLACES), AtomicBool::new(false));
    let told = Arc::new(Told { waiting, shares, bells, closed });
    let claims = Arc::new(Claims::new(incidents));
    Ok((Foreteller { told: Arc::clone(&told), claims: Arc::clone(&claims) }, told, claims))
}

impl Foreteller {
    /// A copy of a record that foretells a kill. `None`: it does not, or there is no memory for it.
    pub fn copy(record: &Peek<'_>, raw: &[u8], pool: &Arc<Pool>) -> Option<Parcel> {
        let mut copy = is_foretold(record).then(|| Parcel::new(pool))??;
        copy.add(&Piece::Record(raw), Need::File).then_some(copy)
    }

    /// Has a teller print its line: that of this CPU, as soon as this thread sleeps or lets it. Allocates nothing.
    /// False: tellers are too far behind, and the reporter will.
    pub fn tell(&self, incident: u64, record: Parcel) -> bool {
        self.claims.offer(incident);
        let is_behind = !self.told.waiting.is_empty();
        let is_told = self.told.send(Foretold::Begun { incident, record });
        if is_behind {
            self.let_tell();
        }
        is_told
    }

    /// Lets the tellers of this CPU print what there is to be printed, before this thread goes on.
    pub fn let_tell(&self) {
        if !self.told.waiting.is_empty() {
            sched_yield();
        }
    }

    /// Whether its line has been printed, or is being printed.
    pub fn has_told(&self, incident: u64) -> bool {
        self.claims.is_claimed(incident)
    }

    /// See [`Claims::ends_wake_nobody_by`].
    pub fn ends_wake_nobody_by(&self, unawaited: Arc<Unawaited>) {
        self.claims.ends_wake_nobody_by(unawaited);
    }

    /// The probe wakes nobody at the end of that kill, if nobody wants more of it than its line.
    pub fn await_no_end_of(&self, incident: u64) {
        self.claims.await_no_end_of(incident);
    }

    /// Nothing was killed.
    pub fn take_back(&self, incident: u64) {
        if !self.claims.by_reporter(incident) {
            self.told.send(Foretold::NotKilled { incident });
        }
    }
}

impl Drop for Foreteller {
    fn drop(&mut self) {
        self.told.closed.store(true, Ordering::SeqCst);
        self.told.bells.iter().for_each(ring);
    }
}

impl Told {
    /// How many tellers there are to be.
    pub fn tellers(&self) -> usize {
        self.bells.len()
    }

    /// Which CPUs are whose.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// False: there is no place. The reporter claims it then.
    fn send(&self, next: Foretold) -> bool {
        let has_place = self.waiting.push(next).is_ok();
        if let Some(bell) = self.bells.get(self.shares.here()).filter(|_| has_place) {
            ring(bell);
        }
        has_place
    }

    /// Sleeps until that teller's bell has rung. False: it will not ring any more.
    pub fn wait(&self, teller: usize) -> bool {
        if self.closed.load(Ordering::SeqCst) {
            return false;
        }
        // Another look does no harm.
        self.bells
            .get(teller)
            .is_some_and(|bell| read(bell, &mut [0; 8]).is_ok() || !self.closed.load(Ordering::SeqCst))
    }

    /// What was told first of what waits.
    pub fn next(&self) -> Option<Foretold> {
        self.waiting.pop()
    }
}
