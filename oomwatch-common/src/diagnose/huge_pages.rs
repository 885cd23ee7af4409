//! Much of the node's memory is set aside for huge pages.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList, facts::percent};
use crate::report::size;

/// From this share of the node's memory on, percent.
const WORTH_A_WORD: u64 = 20;

pub(super) fn huge_pages(facts: &Facts<'_>) -> Option<Finding> {
    let memory = facts.report.node_memory.filter(|_| facts.is_node_wide())?;
    let (total, huge) = (memory.mem_total_bytes?, memory.hugetlb_bytes?);
    if percent(huge, total) < WORTH_A_WORD {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("hugetlb", Some(huge), facts.node_from());
    evidence.bytes("mem_total", Some(total), facts.node_from());
    let text = format!(
        "{}, {} % of the node's memory, is set aside for huge pages: nothing else can use it, whether they \
         are used or not.",
        size(huge),
        percent(huge, total),
    );
    let advice = vec![
        "Set fewer aside (vm.nr_hugepages): grep Huge /proc/meminfo shows how many are free.".to_owned(),
    ];
    Some(Finding::refining(Refinement::HugePages, Confidence::Certain, text, evidence, advice))
}
