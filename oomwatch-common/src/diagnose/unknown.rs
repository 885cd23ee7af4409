//! Nothing that was read tells why.

use super::{
    Cause, Confidence, Facts, Finding, Reason, evidence::EvidenceList, why_this_victim::why_this_victim,
};
use crate::scope::{Basis, Scope, is_of_cgroup};

pub(super) fn unknown(facts: &Facts<'_>) -> Option<Finding> {
    let report = facts.report;
    if report.scope != Scope::Unknown || report.oom.as_ref().is_some_and(|oom| oom.order == Some(-1)) {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.victims(report);
    let available = report.node_memory.and_then(|memory| memory.mem_available_bytes);
    evidence.bytes("mem_available", available, facts.node_from());
    let message = report.oom.as_ref().and_then(|oom| oom.message.as_deref());
    let what = if facts.basis == Basis::NoLevelAtLimit {
        "No cgroup of the victim stood at its limit, so this was probably not a cgroup's limit but the node, \
         a cpuset, a memory policy, or sysrq-f. The kernel does not say which at this probe level."
    } else if message.is_some_and(is_of_cgroup) {
        "A cgroup reached its memory limit; which, was not read."
    } else {
        "What hit its limit could not be read: see the gaps."
    };
    let text = format!("{what} {}", why_this_victim(facts));
    Some(Finding {
        cause: Reason::Cause(Cause::Unknown),
        confidence: Confidence::Possible,
        text,
        evidence: evidence.done(),
        advice: vec![
            "Look for the line \"oom-kill:constraint=\" in the kernel's log of this time: it names the limit."
                .to_owned(),
        ],
    })
}
