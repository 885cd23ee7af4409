//! What the capture thread caught → an incident and its capture, on the reporter's side of the queue.

use oomwatch_common::{
    capture::Capture,
    decode::{Body, decode},
    incident::{Incident, ProbeLevel},
    parcel::{Piece, lost_records, open, pieces, unproved_marks},
    units::PageSize,
};

use crate::job::Caught;

/// An incident with all that was read for it.
#[derive(Debug)]
pub struct Captured {
    /// As the kernel told it.
    pub incident: Incident,
    /// What was read.
    pub capture: Capture,
}

impl Captured {
    /// Looks into what was caught, and gives its blocks back. `None` where it was no kill after all.
    pub fn new(caught: Caught, page_size: PageSize) -> Option<Self> {
        let Caught { parcel, taken_at, done_at, is_cut, is_unproved } = caught;
        let mut bytes = Vec::new();
        parcel.copy_to(&mut bytes);
        drop(parcel);
        let (incident, capture) = open(bytes, page_size);
        let mut incident = incident?;
        incident.gaps.extend(is_cut.then(lost_records));
        incident.gaps.extend(is_unproved.then(unproved_marks));
        Some(Self { incident, capture: Capture { taken_at, done_at, ..capture } })
    }

    /// What was caught of the process whose record proved the layout, as if it had been killed; no kill.
    pub fn rehearsed(caught: &Caught, proof: &[u8], page_size: PageSize) -> Option<Self> {
        let Body::Proof(process) = decode(proof, page_size).ok()?.body else { return None };
        let incident = Incident {
            number: 0,
            at: caught.taken_at,
            level: ProbeLevel::Kprobe,
            oom: None,
            trigger: None,
            victims: vec![*process],
            limit_owner: None,
            gaps: Vec::new(),
        };
        let mut bytes = Vec::new();
        caught.parcel.copy_to(&mut bytes);
        let (_, capture) = open(bytes, page_size);
        Some(Self {
            incident,
            capture: Capture { taken_at: caught.taken_at, done_at: caught.done_at, ..capture },
        })
    }

    /// The raw records, as the probe sent them.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        pieces(&self.capture.bytes).filter_map(|(_, piece)| match piece {
            Piece::Record(record) => Some(record),
            Piece::Source { .. } | Piece::Forget(_) => None,
        })
    }
}
