//! The container's request is far below its use.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList, words::quantity};
use crate::report::{Composition, NamesFrom, size};

/// Used this many times the request.
const TIMES: u64 = 2;

pub(super) fn request_below_use(facts: &Facts<'_>) -> Option<Finding> {
    // Log files tell names, and nothing of requests.
    let is_known = |names: &crate::report::Kubernetes| {
        names.names_from == Some(NamesFrom::Kubelet) && names.container.is_some()
    };
    let kubernetes = facts.kubernetes().filter(|kubernetes| is_known(kubernetes))?;
    let cgroup = facts.report.cgroup.as_ref()?;
    let usage = cgroup.usage_bytes?;
    let request = kubernetes.requests_bytes.unwrap_or_default();
    if usage.0 < request.0.saturating_mul(TIMES) || usage.0 == 0 {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("usage", Some(usage), "cgroup");
    evidence.bytes("request", kubernetes.requests_bytes, "kubelet");
    let requested = match kubernetes.requests_bytes {
        Some(request) => format!("requested {}", size(request)),
        None => "requested no memory".to_owned(),
    };
    let effect = if facts.is_local() {
        "That did not cause this kill; but the scheduler goes by requests, and on a full node the container \
         with the lower one dies first."
    } else {
        "The scheduler goes by requests, and on a full node the container with the lower one dies first."
    };
    let text = format!("The container used {} and {requested}. {effect}", size(usage));
    let near = Composition::of(cgroup).map_or(usage, |made| made.working_set());
    let advice = vec![format!(
        "Set its memory request near its ordinary use; at the kill its working set was {}.",
        quantity(near)
    )];
    Some(Finding::refining(Refinement::RequestBelowUse, Confidence::Certain, text, evidence, advice))
}
