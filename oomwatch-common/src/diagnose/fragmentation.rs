//! More than one contiguous page was asked for, and free memory was in smaller pieces.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
};
use crate::{report::Zone, units::Bytes};

/// Whether the order alone made the allocation fail.
pub(super) fn is_one(facts: &Facts<'_>) -> bool {
    let order = facts.report.oom.as_ref().and_then(|oom| usize::try_from(oom.order?).ok());
    order.is_some_and(|order| order > 0 && with_room(facts, order).is_some())
}

/// The zones with free memory above their reserve, where none of them has a block of this order.
fn with_room<'a>(facts: &Facts<'a>, order: usize) -> Option<Vec<&'a Zone>> {
    let has_room = |zone: &&Zone| zone.free_bytes > zone.min_bytes && !zone.free_blocks.is_empty();
    let has_none = |zone: &Zone| zone.free_blocks.iter().skip(order).all(|blocks| *blocks == 0);
    let with_room: Vec<_> = facts.report.zones.iter().filter(has_room).collect();
    let in_pieces = !with_room.is_empty() && with_room.iter().all(|zone| has_none(zone));
    in_pieces.then_some(with_room)
}

pub(super) fn fragmentation(facts: &Facts<'_>) -> Option<Finding> {
    let order = facts.report.oom.as_ref()?.order.filter(|order| *order > 0 && facts.is_node_wide())?;
    let order = usize::try_from(order).ok()?;
    let mut evidence = EvidenceList::default();
    evidence.count("order", u64::try_from(order).unwrap_or(u64::MAX), "order", hook(facts.report));
    let with_room = with_room(facts, order);
    let asked = format!("2^{order} contiguous pages were asked for");
    let (confidence, text) = if let Some(with_room) = with_room {
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
