//! There was swap, and it was full.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList, facts::percent};
use crate::report::size;

/// Of a cgroup's allowance, percent used.
const FULL: u64 = 95;
/// Of the node's, percent free.
const LEFT: u64 = 5;

pub(super) fn swap_exhausted(facts: &Facts<'_>) -> Option<Finding> {
    let mut evidence = EvidenceList::default();
    let text = if facts.is_node_wide() {
        let memory = facts.report.node_memory?;
        let (total, free) = (memory.swap_total_bytes.filter(|total| total.0 > 0)?, memory.swap_free_bytes?);
        if percent(free, total) >= LEFT {
            return None;
        }
        evidence.bytes("swap_total", Some(total), facts.node_from());
        evidence.bytes("swap_free", Some(free), facts.node_from());
        format!("The node's swap, {}, was full too: {} were free.", size(total), size(free))
    } else {
        let owner = facts.owner()?;
        // v1 counts memory and swap together.
        let (usage, limit, what) = match (owner.swap_limit_bytes, owner.memsw_limit_bytes) {
            (Some(limit), _) => (owner.swap_usage_bytes?, limit, "swap"),
            (None, Some(limit)) if Some(limit) > owner.limit_bytes => {
                (owner.memsw_usage_bytes?, limit, "memory and swap together")
            }
            _ => return None,
        };
        if limit.0 == 0 || percent(usage, limit) < FULL {
            return None;
        }
        evidence.bytes("swap_usage", Some(usage), facts.owner_from());
        evidence.bytes("swap_limit", Some(limit), facts.owner_from());
        format!("What it may use of {what}, {}, was full too.", size(limit))
    };
    let advice = vec![
        "Find what grew: swap was filled before the limit was. More swap makes a leak last longer and the \
         rest slower."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::SwapExhausted, Confidence::Certain, text, evidence, advice))
}
