//! The kernel is set to kill whoever asks (`vm.oom_kill_allocating_task`).

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList};

/// `out_of_memory` (mm/oom_kill.c) says so in its message.
pub(super) fn is_set(facts: &Facts<'_>) -> bool {
    let message = facts.report.oom.as_ref().and_then(|oom| oom.message.as_deref());
    message.is_some_and(|message| message.contains("oom_kill_allocating_task"))
}

pub(super) fn allocating_task(facts: &Facts<'_>) -> Option<Finding> {
    is_set(facts).then(|| {
        Finding::refining(
            Refinement::AllocatingTask,
            Confidence::Certain,
            "The kernel is set to kill whoever asks for a page that is not there, and did not look for \
             anything larger."
                .to_owned(),
            EvidenceList::default(),
            vec!["Unless there is a reason for it: sysctl vm.oom_kill_allocating_task=0".to_owned()],
        )
    })
}
