//! All processes of a cgroup were killed together.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
};

pub(super) fn group_kill(facts: &Facts<'_>) -> Option<Finding> {
    let is_group = facts.report.oom.as_ref().is_some_and(|oom| oom.group);
    if !is_group {
        return None;
    }
    let count = facts.report.victims.len();
    let mut evidence = EvidenceList::default();
    evidence.count("victims", u64::try_from(count).unwrap_or(u64::MAX), "processes", hook(facts.report));
    let died = if count == 1 { "One process".to_owned() } else { format!("{count} processes") };
    let of = if facts.kubernetes().is_some() { "the container" } else { "the cgroup" };
    let text = format!(
        "{died} of {of} died at once: memory.oom.group is set, which makes the kernel kill the whole cgroup of whom \
         it chose. One incident, though the kernel counts its first victim twice."
    );
    let advice = if facts.kubernetes().is_some() && count > 1 {
        vec![
            "To have single processes killed instead, as before Kubernetes 1.28: singleProcessOOMKill: true in the \
             kubelet's configuration. Few programs live on well without one of their processes."
                .to_owned(),
        ]
    } else {
        Vec::new()
    };
    Some(Finding::refining(Refinement::GroupKill, Confidence::Certain, text, evidence, advice))
}
