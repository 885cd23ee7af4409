//! Memory that must not be moved or dropped is a large part.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList};
use crate::{report::size, units::Bytes};

/// From this share of the usage on, percent.
const WORTH_A_WORD: u64 = 20;
const LEAST: Bytes = Bytes(4 << 20);

pub(super) fn locked_memory(facts: &Facts<'_>) -> Option<Finding> {
    let made = facts.composition()?;
    if made.locked < LEAST || made.percent(made.locked) < WORTH_A_WORD {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("locked", Some(made.locked), facts.stat_from());
    let text = format!(
        "{}, {} % of the usage, is locked or pinned: the kernel may neither drop nor swap it.",
        size(made.locked),
        made.percent(made.locked).min(100),
    );
    let advice = vec![
        "Look for VmLck and VmPin in /proc/PID/status of its processes. mlockall locks all that is mapped, libraries \
         and stacks too."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::LockedMemory, Confidence::Certain, text, evidence, advice))
}
