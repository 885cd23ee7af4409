//! What Kubernetes will show of the incident, and what it is not.
//!
//! What runtimes and kubelet make of a kill was observed on Kubernetes 1.36 (docs/kubernetes.md).

use super::{
    Confidence, Facts, Finding, Refinement, child_killed::is_child, evidence::EvidenceList, words,
    words::shell,
};
use crate::{
    report::{Candidate, ContainerKind},
    scope::Scope,
};

pub(super) fn kubernetes_status(facts: &Facts<'_>) -> Option<Finding> {
    let kubernetes = facts.kubernetes()?;
    // These say it themselves.
    if facts.is_runtime() || is_child(facts) {
        return None;
    }
    let is_group = facts.report.oom.as_ref().is_some_and(|oom| oom.group);
    let ends = if is_group { Some(true) } else { facts.is_main() };
    let init = if kubernetes.container_kind == Some(ContainerKind::Init) {
        " It is an init container: the pod does not go on without it."
    } else {
        ""
    };
    let not = "It is no eviction: the kubelet did not choose this, and the pod is not shown as Evicted.";
    let (confidence, text) = if ends == Some(true) {
        let text = format!(
            "Kubernetes will show the container as Terminated, reason OOMKilled, exit code 137, or reason \
             Error where the runtime missed the notice.{init} {not}"
        );
        (Confidence::Likely, text)
    } else if let Some(first) = elder(facts) {
        let text = format!(
            "Kubernetes will probably show nothing: {} has a lower pid than the victim, so it is probably the \
             container's main process, and lives on. If the victim was that after all: OOMKilled, exit code 137.{init} \
             {not}",
            words::candidate(first),
        );
        (Confidence::Possible, text)
    } else {
        let text = format!(
            "Kubernetes will show OOMKilled, exit code 137, if the victim was the container's main process, \
             and nothing if it was a child.{init} {not}"
        );
        (Confidence::Possible, text)
    };
    let mut advice = Vec::new();
    if let (Some(namespace), Some(pod)) = (&kubernetes.namespace, &kubernetes.pod) {
        advice.push(format!("Its last state: kubectl -n {} describe pod {}", shell(namespace), shell(pod)));
    }
    Some(Finding::refining(Refinement::KubernetesStatus, confidence, text, EvidenceList::default(), advice))
}

/// The container's process with the lowest pid, where that is not the victim: pids are given out in order, until they
/// begin anew.
fn elder<'a>(facts: &Facts<'a>) -> Option<&'a Candidate> {
    let report = facts.report;
    let candidates = report.candidates.as_ref().filter(|_| report.scope == Scope::Container)?;
    let is_all = candidates.are_all_there();
    let first = candidates.processes.iter().filter(|_| is_all).min_by_key(|process| process.tgid)?;
    // Before it is the container's, it is the runtime's; and a pod's own process may share the limit.
    let is_one = !first.is_victim && first.tgid.is_some() && first.comm.as_deref() != Some("pause");
    (is_one && report.victims.len() == 1).then_some(first)
}
