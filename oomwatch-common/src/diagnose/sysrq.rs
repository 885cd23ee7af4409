//! Someone asked the kernel to kill: sysrq-f. Nothing need be short of memory.

use super::{
    Cause, Confidence, Facts, Finding, Reason, evidence::EvidenceList, why_this_victim::why_this_victim,
};

/// The kernel marks such a call with order -1 (`moom_callback`, drivers/tty/sysrq.c).
pub(super) fn sysrq(facts: &Facts<'_>) -> Option<Finding> {
    let report = facts.report;
    if report.oom.as_ref()?.order != Some(-1) {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes(
        "mem_available",
        report.node_memory.and_then(|memory| memory.mem_available_bytes),
        facts.node_from(),
    );
    evidence.victims(report);
    Some(Finding {
        cause: Reason::Cause(Cause::Sysrq),
        confidence: Confidence::Certain,
        text: format!(
            "A person or program asked for this kill by sysrq-f; the node need not have been short of memory. {}",
            why_this_victim(facts)
        ),
        evidence: evidence.done(),
        advice: vec![
            "Find out who wrote f to /proc/sysrq-trigger, or pressed Alt-SysRq-f on a console.".to_owned(),
        ],
    })
}
