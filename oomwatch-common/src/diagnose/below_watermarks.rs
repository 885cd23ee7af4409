//! Free memory was below the node's reserve: the proof that the node was out of memory.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList, words::list};
use crate::report::{Zone, size};

pub(super) fn below_watermarks(facts: &Facts<'_>) -> Option<Finding> {
    if !facts.is_node_wide() {
        return None;
    }
    let zones = &facts.report.zones;
    let is_below =
        |zone: &&Zone| zone.free_bytes.is_some_and(|free| zone.min_bytes.is_some_and(|min| free <= min));
    let below: Vec<_> = zones.iter().filter(is_below).collect();
    if below.is_empty() {
        return None;
    }
    let mut evidence = EvidenceList::default();
    for zone in &below {
        let name = format!("node{}_{}", zone.node, zone.zone.to_lowercase());
        evidence.bytes(&format!("{name}_free"), zone.free_bytes, facts.zones_from());
        evidence.bytes(&format!("{name}_min"), zone.min_bytes, facts.zones_from());
    }
    let told: Vec<_> = below
        .iter()
        .filter_map(|zone| {
            let (free, min) = (size(zone.free_bytes?), size(zone.min_bytes?));
            Some(format!(
                "zone {} of memory node {} had {free} free, of a reserve of {min}",
                zone.zone, zone.node
            ))
        })
        .collect();
    let text = format!("Free memory was below what ordinary allocations may not touch: {}.", list(&told));
    Some(Finding::refining(Refinement::BelowWatermarks, Confidence::Certain, text, evidence, Vec::new()))
}
