//! Level tracepoint: whether an incident was a kill, which the kernel's count tells, and what hangs on that.

use std::mem;

use oomwatch_common::incident::ProbeLevel;

use super::Job;
use crate::{marks::Proof, pool::Parcel};

/// Level tracepoint: what hangs on whether it was a kill.
#[derive(Debug)]
pub(super) enum OnProof {
    /// No line.
    Nothing,
    /// What there is to be foretold; so the kernel's count is read first.
    Foretell(Parcel),
    /// It was foretold, as its cgroup says that it is a kill. If it was none, that is to be taken back.
    TakeBack,
}

impl Job {
    /// Its line is to be foretold as soon as the kernel's count says that it is a kill.
    pub fn foretell_once_proved(&mut self, record: Option<Parcel>) {
        self.on_proof = record.map_or(OnProof::Nothing, OnProof::Foretell);
    }

    /// Its line is foretold before that: the number can wait.
    pub fn trust(&mut self) {
        self.on_proof = OnProof::TakeBack;
    }

    /// What is to be foretold of it when it is known to be a kill.
    pub fn take_unproved(&mut self) -> Option<Parcel> {
        match mem::replace(&mut self.on_proof, OnProof::Nothing) {
            OnProof::Foretell(record) => Some(record),
            OnProof::Nothing | OnProof::TakeBack => None,
        }
    }

    /// Whether it was a kill, as far as that is known already.
    pub fn proof(&self) -> Option<Proof> {
        self.proof
    }

    /// Keeps that.
    pub fn proved(&mut self, proof: Proof) {
        self.proof = Some(proof);
    }

    /// `oom_kill` of the `/proc/vmstat` that was read for this incident.
    pub fn kernel_oom_kills(&self) -> Option<u64> {
        self.kernel_oom_kills
    }

    /// Its line waits until it is known to be a kill.
    pub(super) fn waits_for_proof(&self) -> bool {
        matches!(self.on_proof, OnProof::Foretell(_)) && self.kernel_oom_kills.is_none() && !self.has_vmstat
    }

    /// Whether it was a kill has to be known before it settles, and its line did not wait for that.
    pub(super) fn owes_proof(&self) -> bool {
        matches!(self.on_proof, OnProof::TakeBack) && self.proof.is_none() && !self.has_vmstat
    }

    /// Whether what the kernel has counted by now says whether it was a kill. Of a group more may come.
    pub fn awaits_proof(&self) -> bool {
        let is_mark = self.outline.level() == ProbeLevel::Tracepoint && !self.outline.is_group();
        is_mark && self.proof.is_none()
    }
}
