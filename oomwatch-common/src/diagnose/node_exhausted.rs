//! The whole node ran out of memory.

use super::{Cause, Confidence, Facts, Finding, Reason, evidence::EvidenceList};
use crate::{report::size, scope::Scope, units::Bytes};

pub(super) fn node_exhausted(facts: &Facts<'_>) -> Option<Finding> {
    let report = facts.report;
    // With sysrq-f the constraint is the same, and memory need not be short.
    if report.scope != Scope::Node || report.oom.as_ref().is_some_and(|oom| oom.order == Some(-1)) {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("totalpages", report.oom.as_ref().and_then(|oom| oom.totalpages_bytes), "probe");
    if let Some(memory) = report.node_memory {
        for (name, value) in [
            ("mem_total", memory.mem_total_bytes),
            ("mem_available", memory.mem_available_bytes),
            ("swap_total", memory.swap_total_bytes),
            ("swap_free", memory.swap_free_bytes),
        ] {
            evidence.bytes(name, value, "node/meminfo");
        }
    }
    evidence.victims(report);
    let total = report.node_memory.and_then(|memory| memory.mem_total_bytes);
    let total = total.map_or(String::new(), |total| format!(", {},", size(total)));
    let memory = report.node_memory.unwrap_or_default();
    let swap = match (memory.swap_total_bytes, memory.swap_free_bytes) {
        (Some(Bytes(0)), _) => " It has no swap.".to_owned(),
        (Some(swap), Some(free)) => {
            format!(" Of {} of swap {} were free when it was read.", size(swap), size(free))
        }
        _ => String::new(),
    };
    Some(Finding {
        cause: Reason::Cause(Cause::NodeExhausted),
        confidence: Confidence::Certain,
        text: format!(
            "The node's memory{total} ran out; no cgroup limit was reached.{swap} The kernel killed the process with \
             the highest badness, which need not be the one that grew."
        ),
        evidence: evidence.done(),
        advice: vec![
            "Look for pods and host services that use more than they request, the largest first.".to_owned(),
            "Let the kubelet evict earlier (evictionHard and evictionSoft memory.available), and reserve memory for \
             the host's own services (systemReserved, kubeReserved)."
                .to_owned(),
        ],
    })
}
