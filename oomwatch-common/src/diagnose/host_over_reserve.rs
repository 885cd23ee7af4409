//! The host's services used more than is held back for them, at the cost of pods.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::EvidenceList,
    words::{consumer, list},
};
use crate::{report::size, units::Bytes};

/// Services that are named.
const NAMED: usize = 3;

pub(super) fn host_over_reserve(facts: &Facts<'_>) -> Option<Finding> {
    if !facts.is_node_wide() {
        return None;
    }
    let shares = facts.report.node_shares?;
    let (capacity, allocatable) = (shares.capacity_bytes?, shares.allocatable_bytes?);
    let usage = shares.host_usage_bytes?;
    let reserved = Bytes(capacity.0.saturating_sub(allocatable.0));
    if usage <= reserved {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("host_usage", Some(usage), "node_shares");
    evidence.bytes("reserved", Some(reserved), "node_shares");
    evidence.bytes("pods_usage", shares.pods_usage_bytes, "node_shares");
    let largest: Vec<_> = facts
        .report
        .consumers
        .iter()
        .filter(|part| part.kubernetes.is_none() && part.host.is_some())
        .filter_map(|part| Some(format!("{} {}", consumer(part), size(part.usage_bytes?))))
        .take(NAMED)
        .collect();
    let which = if largest.is_empty() { String::new() } else { format!(" The largest: {}.", list(&largest)) };
    let text = format!(
        "The host's own services used {}, and {} is held back for them ({} of the node less {} for pods).{which}",
        size(usage),
        size(reserved),
        size(capacity),
        size(allocatable),
    );
    let advice = vec![
        "Raise the kubelet's systemReserved and kubeReserved to what the host's services need, or find what grew: \
         systemd-cgtop -m on the node."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::HostOverReserve, Confidence::Likely, text, evidence, advice))
}
