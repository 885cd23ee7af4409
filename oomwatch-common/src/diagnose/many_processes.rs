//! Many small processes filled the limit together.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList};
use crate::{
    report::{Candidate, Candidates, CandidatesFrom, size},
    units::Bytes,
};

/// Fewer are not many.
const MANY: u64 = 10;
/// The largest had less than one part in this many.
const PARTS: u64 = 4;

/// How many there are, where no single one was large.
pub(super) fn many(facts: &Facts<'_>) -> Option<u64> {
    let candidates = facts.report.candidates.as_ref().filter(|_| facts.is_local())?;
    let largest = candidates.processes.iter().map(Candidate::used).max()?;
    let is_many = candidates.count >= MANY && largest.0.saturating_mul(PARTS) < of_all(candidates).0;
    is_many.then_some(candidates.count)
}

fn of_all(candidates: &Candidates) -> Bytes {
    let all = [candidates.rss_bytes, candidates.swap_bytes, candidates.pgtables_bytes];
    Bytes(all.iter().fold(0, |sum, Bytes(part)| sum.saturating_add(*part)))
}

pub(super) fn many_processes(facts: &Facts<'_>) -> Option<Finding> {
    many(facts)?;
    let candidates = facts.report.candidates.as_ref()?;
    let (all, largest) = (of_all(candidates), candidates.processes.iter().map(Candidate::used).max()?);
    let from = if candidates.from == CandidatesFrom::Proc { "/proc" } else { "kernel log" };
    let mut evidence = EvidenceList::default();
    evidence.count("processes", candidates.count, "processes", from);
    evidence.bytes("of_all", Some(all), from);
    evidence.bytes("of_the_largest", Some(largest), from);
    let mut names: Vec<&str> =
        candidates.processes.iter().filter_map(|process| process.comm.as_deref()).collect();
    let first = names.first().copied().unwrap_or_default();
    names.retain(|name| *name == first);
    let alike = if names.len().saturating_mul(2) >= candidates.processes.len() && !first.is_empty() {
        format!(" (most of them {first})")
    } else {
        String::new()
    };
    // Each one's RSS has the pages that they share.
    let usage = facts.owner().and_then(|owner| owner.usage_bytes).filter(|usage| all > *usage);
    let had = usage.map_or_else(
        || format!("had {}, the largest of them {}", size(all), size(largest)),
        |usage| {
            format!(
                "filled {}, the largest of them {} with what it shares with others",
                size(usage),
                size(largest)
            )
        },
    );
    let text = format!(
        "No process was large: {} together{alike} {had}. To kill one frees little.",
        candidates.count
    );
    let advice = vec![
        "Bound how many there are: set the number of workers by the limit and not by the node's CPUs, and look for \
         children that never end."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::ManyProcesses, Confidence::Certain, text, evidence, advice))
}
