//! The kernel's limit is not the one of the pod's specification: it was changed since, or is being changed.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList, facts::ROUNDING};
use crate::{report::size, scope::Scope, units::Bytes};

pub(super) fn limit_changed(facts: &Facts<'_>) -> Option<Finding> {
    let kubernetes = facts.kubernetes().filter(|_| !facts.is_inner())?;
    // A pod's limit is compared only where it was set for the pod itself: else it is a sum that nobody told.
    let (kernels, specified, whose) = match facts.report.scope {
        Scope::Pod => (facts.report.limit_owner.as_ref()?.limit_bytes?, kubernetes.pod_limits_bytes?, "pod"),
        _ => (facts.report.cgroup.as_ref()?.limit_bytes?, kubernetes.limits_bytes?, "container"),
    };
    if kernels.0.abs_diff(specified.0) < ROUNDING {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("kernels_limit", Some(kernels), if whose == "pod" { "limit_owner" } else { "cgroup" });
    evidence.bytes("specified_limit", Some(specified), "kubelet");
    let resize = kubernetes
        .resize
        .as_ref()
        .map_or(String::new(), |resize| format!(" A resize is under way: {resize}."));
    let lowered = if kernels < specified { "lower" } else { "higher" };
    let usage = facts.owner().and_then(|owner| owner.usage_bytes).unwrap_or_default();
    let below = if facts.is_local() && specified < usage && kernels > specified {
        " With the one that is specified it would have died sooner."
    } else if facts.is_local() && specified.0 > usage.0.saturating_add(ROUNDING) {
        " With the one that is specified it would have lived."
    } else {
        ""
    };
    let text = format!(
        "The limit that the kernel enforced on the {whose}, {}, is {lowered} than the one that is specified, \
         {}: it was changed in place, or a change has not arrived.{resize}{below}",
        size(kernels),
        size(Bytes(specified.0)),
    );
    let advice = match (&kubernetes.namespace, &kubernetes.pod) {
        (Some(namespace), Some(pod)) => vec![format!(
            "Look at the pod's resize: kubectl -n {} get pod {} -o jsonpath='{{.status.conditions}}'",
            super::words::shell(namespace),
            super::words::shell(pod)
        )],
        _ => Vec::new(),
    };
    Some(Finding::refining(Refinement::LimitChanged, Confidence::Certain, text, evidence, advice))
}
