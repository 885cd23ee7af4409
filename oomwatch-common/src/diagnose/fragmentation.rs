//! More than one contiguous page was asked for, and free memory was in smaller pieces.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
};
use crate::{report::Zone, units::Bytes};

pub(super) fn fragmentation(facts: &Facts<'_>) -> Option<Finding> {
    let order = facts.report.oom.as_ref()?.order.filter(|order| *order > 0 && facts.is_node_wide())?;
    let order = usize::try_from(order).ok()?;
    let mut evidence = EvidenceList::default();
    evidence.count("order", u64::try_from(order).unwrap_or(u64::MAX), "order", hook(facts.report));
    let has_room = |zone: &&Zone| zone.free_bytes > zone.min_bytes && !zone.free_blocks.is_empty();
    let has_none = |zone: &Zone| zone.free_blocks.iter().skip(order).all(|blocks| *blocks == 0);
    let with_room: Vec<_> = facts.report.zones.iter().filter(has_room).collect();
    let in_pieces = !with_room.is_empty() && with_room.iter().all(|zone| has_none(zone));
    let asked = format!("2^{order} contiguous pages were asked for");
    let (confidence, text) = if in_pieces {
        let free = with_room
            .iter()
            .filter_map(|zone| zone.free_bytes)
            .fold(0_u64, |sum, Bytes(free)| sum.saturating_add(free));
        evidence.bytes("free", Some(Bytes(free)), "zones");
        (Confidence::Certain, format!("{asked}, and memory was free, but in no piece of that size."))
    } else if facts.report.zones.is_empty() {
        let text = format!("{asked}: memory may have been free, but in smaller pieces. Which, was not read.");
        (Confidence::Possible, text)
    } else {
        return None;
    };
    let advice = vec![
        "Find who asks for such blocks: stacks of very many threads, network drivers with large frames. A larger \
         vm.min_free_kbytes keeps more of them together."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::Fragmentation, confidence, text, evidence, advice))
}
