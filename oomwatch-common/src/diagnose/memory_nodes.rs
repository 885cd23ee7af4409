//! Some of the node's memory ran out, and the allocation was confined to it: a cpuset, or a memory policy.

use std::collections::BTreeMap;

use super::{
    Cause, Confidence, Facts, Finding, Reason, evidence::EvidenceList, why_this_victim::why_this_victim,
    words::list,
};
use crate::{
    report::{Zone, size},
    scope::Scope,
    units::Bytes,
};

pub(super) fn memory_nodes(facts: &Facts<'_>) -> Option<Finding> {
    let report = facts.report;
    let (cause, confined_by, advice) = match report.scope {
        Scope::Cpuset => (
            Cause::Cpuset,
            "a cpuset (cpuset.mems)",
            "Give the cgroup more memory nodes in cpuset.mems, or look at the kubelet's memory manager and topology \
             manager policies, which set it.",
        ),
        Scope::Mempolicy => (
            Cause::Mempolicy,
            "a memory policy (numactl --membind, mbind)",
            "Let the program prefer memory nodes (numactl --preferred) where it now binds to them.",
        ),
        _ => return None,
    };
    let mut evidence = EvidenceList::default();
    let domain = report.oom.as_ref().and_then(|oom| oom.totalpages_bytes);
    evidence.bytes("totalpages", domain, "probe");
    let available = report.node_memory.and_then(|memory| memory.mem_available_bytes);
    evidence.bytes("mem_available", available, facts.node_from());
    evidence.victims(report);
    for (node, free) in free_by_node(&report.zones) {
        evidence.bytes(&format!("node{node}_free"), Some(free), facts.zones_from());
    }
    let of = domain.map_or(String::new(), |domain| format!(", {} with swap,", size(domain)));
    Some(Finding {
        cause: Reason::Cause(cause),
        confidence: Confidence::Certain,
        text: format!(
            "The memory nodes{of} that {confined_by} allows ran out. {} {}",
            free(facts),
            why_this_victim(facts)
        ),
        evidence: evidence.done(),
        advice: vec![
            advice.to_owned(),
            "Compare the memory nodes in /sys/devices/system/node/node*/meminfo: one is full, others need not be."
                .to_owned(),
        ],
    })
}

/// How much each memory node had left. The kernel logs those alone that were allowed.
fn free(facts: &Facts<'_>) -> String {
    let nodes = free_by_node(&facts.report.zones);
    let told: Vec<_> = nodes.iter().map(|(node, free)| format!("node {node} had {}", size(*free))).collect();
    match (told.as_slice(), facts.report.node_memory_from_log) {
        ([], _) => "The rest of the node may have had free memory.".to_owned(),
        (told, true) => {
            format!("Of them memory {} free. The rest of the machine may have had free memory.", list(told))
        }
        (told, false) => format!("When it was read, memory {} free.", list(told)),
    }
}

fn free_by_node(zones: &[Zone]) -> BTreeMap<u32, Bytes> {
    let mut nodes: BTreeMap<u32, Bytes> = BTreeMap::new();
    for zone in zones {
        if let Some(Bytes(free)) = zone.free_bytes {
            let sum = nodes.entry(zone.node).or_default();
            *sum = Bytes(sum.0.saturating_add(free));
        }
    }
    nodes
}
