//! A page fault that failed called the OOM killer, and no allocation that did: the node need not have been short.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
};
use crate::report::size;

/// `pagefault_out_of_memory` (mm/oom_kill.c) calls `out_of_memory` with no flags and order 0, until Linux 5.16 and
/// 5.10.80. Nothing else does.
pub(super) fn is_one(facts: &Facts<'_>) -> bool {
    let oom = facts.report.oom.as_ref();
    facts.is_node_wide()
        && oom.is_some_and(|oom| oom.gfp_mask.as_deref() == Some("0x0") && oom.order == Some(0))
}

pub(super) fn page_fault(facts: &Facts<'_>) -> Option<Finding> {
    if !is_one(facts) {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.count("gfp_mask", 0, "flags", hook(facts.report));
    let free = facts.report.node_memory.and_then(|memory| memory.mem_free_bytes);
    evidence.bytes("mem_free", free, facts.node_from());
    let free = free.map_or(String::new(), |free| format!(" {} of the node were free.", size(free)));
    let text = format!(
        "A page fault failed and called the OOM killer (gfp_mask 0x0); no allocation of the node's own did.{free} \
         The usual reason is a cgroup's limit of kernel memory, which kills nothing by itself."
    );
    let advice = vec![
        "Look for a limit of kernel memory, which cgroup v1 only has: \
         grep -rL 9223372036854771712 /sys/fs/cgroup/memory --include=memory.kmem.limit_in_bytes"
            .to_owned(),
        "Linux 5.16, and 5.10 from 5.10.80 on, kill nobody for such a fault: they try it again.".to_owned(),
    ];
    Some(Finding::refining(Refinement::PageFault, Confidence::Likely, text, evidence, advice))
}
