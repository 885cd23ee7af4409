//! The victim had only just started: the limit is lower than what it needs to come up.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
};
use crate::report::size;

/// A process that is killed younger than this is said to be still starting.
const YOUNG_SECONDS: u64 = 60;

/// Its age in seconds, where it was young and what filled the limit was its own: another's may have done so before.
pub(super) fn young(facts: &Facts<'_>) -> Option<u64> {
    let age =
        facts.age_seconds().filter(|age| *age < YOUNG_SECONDS && facts.is_local() && !facts.is_runtime())?;
    (facts.victims_use()?.0 >= facts.owner()?.usage_bytes?.0 / 2).then_some(age)
}

pub(super) fn young_process(facts: &Facts<'_>) -> Option<Finding> {
    let age = young(facts)?;
    let used = facts.victims_use()?;
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
