//! The victim had only just started: the limit is lower than what it needs to come up.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
    limit::YOUNG_SECONDS,
};
use crate::report::size;

pub(super) fn young_process(facts: &Facts<'_>) -> Option<Finding> {
    let age = facts.age_seconds().filter(|age| *age < YOUNG_SECONDS && facts.is_local())?;
    let used = facts.victims_use()?;
    let usage = facts.owner()?.usage_bytes?;
    // Another's memory may have filled the limit before.
    if used.0 < usage.0 / 2 || facts.is_runtime() {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.count("age", age, "seconds", hook(facts.report));
    evidence.bytes("victims_use", Some(used), hook(facts.report));
    let text = format!(
        "It had lived for {}, and held {} by then: the limit is lower than what it needs to start, or it \
         takes memory without bound from the beginning. A slow leak it is not.",
        if age == 0 { "less than a second".to_owned() } else { format!("{age} s") },
        size(used),
    );
    let advice = vec![
        "Raise the limit above the peak of the start, or lower the peak: a smaller first heap, fewer workers \
         at once, no warming of caches."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::YoungProcess, Confidence::Likely, text, evidence, advice))
}
