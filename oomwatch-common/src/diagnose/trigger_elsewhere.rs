//! Another process than the victim asked for the page.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList, words};
use crate::render_text::{short_path, trigger_name};

pub(super) fn trigger_elsewhere(facts: &Facts<'_>) -> Option<Finding> {
    let trigger = facts.report.trigger.as_ref().filter(|_| !facts.is_sysrq())?;
    let victims = &facts.report.victims;
    let tgid = trigger.tgid?;
    if victims
        .iter()
        .any(|victim| victim.tgid == Some(tgid) || victim.tid.is_some() && victim.tid == trigger.tid)
    {
        return None;
    }
    let in_place = trigger.cgroup.as_deref() == victims.first().and_then(|victim| victim.cgroup.as_deref());
    let place = if in_place {
        Some("the same container or service".to_owned())
    } else {
        let names = trigger.kubernetes.as_ref().and_then(words::container);
        names.or_else(|| trigger.cgroup.as_deref().map(short_path))
    };
    let text = format!(
        "{}{} asked for the page that was not there. That does not make it the cause: whoever comes last to full \
         memory asks, and the kernel kills whom it finds the worst.",
        trigger_name(trigger),
        place.map_or(String::new(), |place| format!(", of {place},")),
    );
    Some(Finding::refining(
        Refinement::TriggerElsewhere,
        Confidence::Certain,
        text,
        EvidenceList::default(),
        Vec::new(),
    ))
}
