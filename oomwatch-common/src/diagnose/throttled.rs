//! `memory.high` had slowed the cgroup down before.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList};
use crate::report::size;

pub(super) fn throttled(facts: &Facts<'_>) -> Option<Finding> {
    let own = facts.report.cgroup.as_ref();
    let cgroup = facts.owner().into_iter().chain(own).find(|cgroup| cgroup.high_bytes.is_some())?;
    let high = cgroup.high_bytes?;
    let usage = cgroup.usage_bytes.filter(|usage| *usage >= high);
    let times =
        cgroup.events.as_ref().and_then(|events| events.0.get("high").copied()).filter(|times| *times > 0);
    if usage.is_none() && times.is_none() {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("high", Some(high), "memory.high");
    evidence.bytes("usage", usage, facts.owner_from());
    if let Some(times) = times {
        evidence.count("high_events", times, "times", "memory.events");
    }
    let text = format!(
        "It was above memory.high, {}, before: the kernel slowed its processes down to reclaim memory, in vain.",
        size(high)
    );
    let advice = vec![
        "Look for requests that became slow before the kill: they are the first sign, and an alert on \
         memory.pressure sees it."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::Throttled, Confidence::Certain, text, evidence, advice))
}
