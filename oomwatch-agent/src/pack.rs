//! What is kept of one incident while it is captured: records and files, one after another.

use oomwatch_common::{
    capture::{Outcome, Subject},
    ids::Tgid,
    parcel::Piece,
};

use crate::{
    pool::{Need, Parcel},
    sources::Contents,
};

/// Where records and files are put.
pub struct Pack {
    /// `None`: there was no memory when it began.
    parcel: Option<Parcel>,
    is_cut: bool,
}

impl Pack {
    /// Into a parcel.
    pub fn new(parcel: Option<Parcel>) -> Self {
        Self { parcel, is_cut: false }
    }

    /// Keeps a record. False: there is no memory for it, though there was some for those before.
    pub fn record(&mut self, raw: &[u8]) -> bool {
        let Some(parcel) = &mut self.parcel else { return true };
        let kept = parcel.add(&Piece::Record(raw), Need::Record);
        self.is_cut |= !kept;
        kept
    }

    /// Keeps what was read, or why nothing was.
    pub fn source(&mut self, subject: Subject, file: &'static str, read: &Result<Contents<'_>, Outcome>) {
        let Some(parcel) = &mut self.parcel else { return };
        let (outcome, contents, truncated) = match read {
            Ok(Contents { bytes, truncated }) => (Outcome::Read, *bytes, *truncated),
            Err(outcome) => (*outcome, &[][..], false),
        };
        let piece = Piece::Source { subject, file, outcome, truncated, contents };
        if !parcel.add(&piece, Need::File) {
            let outcome = if outcome == Outcome::Read { Outcome::NoRoom } else { outcome };
            let piece = Piece::Source { subject, file, outcome, truncated: false, contents: &[] };
            self.is_cut |= !parcel.add(&piece, Need::Record);
        }
    }

    /// The first record, if it is to be had where it lies.
    pub fn first_record(&self) -> Option<&[u8]> {
        match self.parcel.as_ref()?.first()? {
            Piece::Record(raw) => Some(raw),
            _ => None,
        }
    }

    /// What was read under this number was another process's.
    pub fn forget(&mut self, tgid: Tgid) {
        let Some(parcel) = &mut self.parcel else { return };
        self.is_cut |= !parcel.add(&Piece::Forget(tgid), Need::Record);
    }

    /// What was kept, and whether there was no memory for some of it.
    pub fn into_parts(self) -> (Option<Parcel>, bool) {
        (self.parcel, self.is_cut)
    }
}
