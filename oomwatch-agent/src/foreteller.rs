//! The capture thread's way to the teller: the first record of a kill, before anything is read for it.

use std::{io, sync::Arc};

use oomwatch_common::{foretell::is_foretold, parcel::Piece, peek::Peek};

use crate::{
    claims::Claims,
    pool::{Need, Parcel, Pool},
    queue::{Receiver, Sender, queue},
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

/// Kills that the teller may be behind by; what it has no place for is the reporter's to print.
const PLACES: usize = 16;

/// The capture thread's end.
pub struct Foreteller {
    teller: Sender<Foretold>,
    claims: Arc<Claims>,
}

/// For `incidents` that may be under way at once: both ends, and who prints what.
///
/// # Errors
/// The kernel refused an eventfd.
pub fn foretelling(incidents: usize) -> io::Result<(Foreteller, Receiver<Foretold>, Arc<Claims>)> {
    let (teller, foretold) = queue(PLACES)?;
    let claims = Arc::new(Claims::new(incidents));
    Ok((Foreteller { teller, claims: Arc::clone(&claims) }, foretold, claims))
}

impl Foreteller {
    /// A copy of a record that foretells a kill. `None`: it does not, or there is no memory for it.
    pub fn copy(record: &Peek<'_>, raw: &[u8], pool: &Arc<Pool>) -> Option<Parcel> {
        let mut copy = is_foretold(record).then(|| Parcel::new(pool))??;
        copy.add(&Piece::Record(raw), Need::File).then_some(copy)
    }

    /// Has the teller print its line. Allocates nothing.
    pub fn tell(&self, incident: u64, record: Parcel) {
        self.claims.offer(incident);
        // Without a place the reporter claims it.
        drop(self.teller.send(Foretold::Begun { incident, record }));
    }

    /// Nothing was killed.
    pub fn take_back(&self, incident: u64) {
        if !self.claims.by_reporter(incident) {
            drop(self.teller.send(Foretold::NotKilled { incident }));
        }
    }
}
