//! The whole node ran out of memory.

use super::{
    Cause, Confidence, Facts, Finding, Reason, evidence::EvidenceList, facts::percent, fragmentation,
    page_fault, why_this_victim::why_this_victim, words::list,
};
use crate::{
    report::{node_parts, node_total, size},
    scope::{Basis, Scope},
    units::Bytes,
};

/// Parts of the node's memory of less than this are not worth a word, percent.
const WORTH_A_WORD: u64 = 10;

pub(super) fn node_exhausted(facts: &Facts<'_>) -> Option<Finding> {
    let report = facts.report;
    // With sysrq-f the constraint is the same, and memory need not be short.
    if report.scope != Scope::Node || facts.is_sysrq() {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("totalpages", report.oom.as_ref().and_then(|oom| oom.totalpages_bytes), "probe");
    let memory = report.node_memory.unwrap_or_default();
    for (name, value) in [
        ("mem_total", memory.mem_total_bytes),
        ("mem_available", memory.mem_available_bytes),
        ("mem_free", memory.mem_free_bytes),
        ("swap_total", memory.swap_total_bytes),
        ("swap_free", memory.swap_free_bytes),
    ] {
        evidence.bytes(name, value, facts.node_from());
    }
    evidence.victims(report);
    let total = memory.mem_total_bytes.map_or(String::new(), |total| format!(", {},", size(total)));
    let swap = match (memory.swap_total_bytes, memory.swap_free_bytes) {
        (Some(Bytes(0)), _) => " It has no swap.".to_owned(),
        (Some(swap), Some(free)) => format!(" Of {} of swap {} were free.", size(swap), size(free)),
        _ => String::new(),
    };
    // A file shows what was left after the kill had begun.
    let when = if report.node_memory_from_log { "" } else { ", when it was read" };
    let made = made_of(facts).map_or(String::new(), |made| format!(" What used it{when}: {made}."));
    let (confidence, what) = match facts.basis {
        _ if page_fault::is_one(facts) => (
            Confidence::Possible,
            "The kernel killed as if the node's memory had run out, though only a page fault had failed \
             (page_fault)."
                .to_owned(),
        ),
        _ if fragmentation::is_one(facts) => (
            Confidence::Certain,
            "The node had no contiguous block of the size that was asked for, though memory was free \
             (fragmentation); no cgroup limit was reached."
                .to_owned(),
        ),
        Basis::Message => (
            Confidence::Likely,
            format!(
                "The node's memory{total} ran out; no cgroup limit was reached. (The kernel's message is the \
                 same where only the part of it ran out that a cpuset or a memory policy allows.)"
            ),
        ),
        _ => (Confidence::Certain, format!("The node's memory{total} ran out; no cgroup limit was reached.")),
    };
    let text = format!("{what}{made}{swap} {}", why_this_victim(facts));
    let mut advice = Vec::new();
    if is_mostly_the_kernels(facts) {
        advice.push(
            "Look below at what the kernel's own memory is: most of the node's belongs to no process."
                .to_owned(),
        );
    }
    advice.push(
        "Look for pods and host services that use more than they request, the largest first.".to_owned(),
    );
    if report.consumers.is_empty() {
        advice.push("What each pod uses now: kubectl top pods -A --sort-by=memory".to_owned());
    }
    advice.push(
        "Let the kubelet evict earlier (evictionHard and evictionSoft memory.available), and reserve memory \
         for the host's own services (systemReserved, kubeReserved)."
            .to_owned(),
    );
    Some(Finding {
        cause: Reason::Cause(Cause::NodeExhausted),
        confidence,
        text,
        evidence: evidence.done(),
        advice,
    })
}

/// Slab, huge pages and the like are more than half.
fn is_mostly_the_kernels(facts: &Facts<'_>) -> bool {
    let Some((memory, total)) =
        facts.report.node_memory.and_then(|memory| Some((memory, memory.mem_total_bytes?)))
    else {
        return false;
    };
    let is_anybodys = |name: &str| matches!(name, "anonymous" | "page cache" | "shared, tmpfs" | "free");
    let kernels = node_parts(&memory).into_iter().filter(|(name, _)| !is_anybodys(name));
    let kernels = kernels.fold(0_u64, |sum, (_, Bytes(part))| sum.saturating_add(part));
    kernels > total.0 / 2
}

/// What the node's memory is used for, as far as it is worth a word.
fn made_of(facts: &Facts<'_>) -> Option<String> {
    let memory = facts.report.node_memory?;
    let total = node_total(&memory)?;
    let mut parts = node_parts(&memory);
    parts.sort_by_key(|(_, part)| std::cmp::Reverse(*part));
    let told: Vec<_> = parts
        .iter()
        .filter(|(name, part)| *name != "free" && percent(*part, total) >= WORTH_A_WORD)
        .take(3)
        .map(|(name, part)| format!("{name} {}", size(*part)))
        .collect();
    (!told.is_empty()).then(|| list(&told))
}
