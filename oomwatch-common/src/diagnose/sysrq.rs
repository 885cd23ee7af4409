//! Someone asked the kernel to kill: sysrq-f. Nothing need be short of memory.

use super::{Cause, Confidence, Facts, Finding, Reason, evidence::EvidenceList};

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
        "node/meminfo",
    );
    evidence.victims(report);
    Some(Finding {
        cause: Reason::Cause(Cause::Sysrq),
        confidence: Confidence::Certain,
        text: "A person or program asked for this kill by sysrq-f. The node need not have been short of memory: the \
               kernel killed the process with the highest badness."
            .to_owned(),
        evidence: evidence.done(),
        advice: vec![
            "Find out who wrote f to /proc/sysrq-trigger, or pressed Alt-SysRq-f on a console.".to_owned(),
        ],
    })
}
