//! A child was killed, and the container lives on: Kubernetes will show nothing of it.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
    words,
};

/// Whether this is known to have been a child.
pub(super) fn is_child(facts: &Facts<'_>) -> bool {
    let is_group = facts.report.oom.as_ref().is_some_and(|oom| oom.group);
    let has_container = facts.kubernetes().is_some_and(|kubernetes| kubernetes.container_id.is_some());
    has_container
        && !is_group
        && facts.report.victims.len() == 1
        && facts.is_main() == Some(false)
        && !facts.is_runtime()
}

pub(super) fn child_killed(facts: &Facts<'_>) -> Option<Finding> {
    if !is_child(facts) {
        return None;
    }
    let victim = facts.victim()?;
    let mut evidence = EvidenceList::default();
    let inside = victim
        .pid_in_namespace
        .filter(|inside| Some(*inside) != victim.tgid)
        .map_or(String::new(), |inside| format!(", pid {inside} in its container,"));
    if let Some(inside) = victim.pid_in_namespace {
        evidence.count("pid_in_namespace", u64::from(inside), "pid", hook(facts.report));
    }
    let text = format!(
        "{}{inside} was not the container's main process, which lives on. Kubernetes will not show OOMKilled, nor a \
         restart: this report is all there is.",
        words::victim(facts.report),
    );
    let advice = vec![
        "Look in the program's own log for a worker that vanished, and for what it was doing.".to_owned(),
        "Where the whole container should restart instead: on cgroup v2 leave singleProcessOOMKill of the kubelet at \
         false."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::ChildKilled, Confidence::Likely, text, evidence, advice))
}
