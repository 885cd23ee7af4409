//! The victim was preferred to larger processes for its `oom_score_adj`: who used most, and what would have changed it.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
    facts::percent,
    words,
};
use crate::{
    cgroup_path::Qos,
    report::{CandidatesFrom, size},
    units::Bytes,
};

/// Another process is larger by this much of the victim's size at least, percent: less is chance.
const LARGER: u64 = 110;
/// Without a table of processes: a victim of less than this share of the domain was hardly the largest, percent.
const SMALL: u64 = 25;

/// Where the domain's size was not read: a node has more, and so has whoever exhausts it.
const SMALL_ANYWHERE: Bytes = Bytes(128 << 20);

pub(super) fn oom_score_adj(facts: &Facts<'_>) -> Option<Finding> {
    if facts.is_runtime() || super::allocating_task::is_set(facts) {
        return None;
    }
    let victim = facts.victim()?;
    let adjustment = victim.oom_score_adj?;
    let used = facts.victims_use()?;
    let mut evidence = EvidenceList::default();
    evidence.bytes("victims_use", Some(used), hook(facts.report));
    let Some(candidates) = &facts.report.candidates else {
        let text = without_candidates(facts, used, adjustment)?;
        return Some(Finding::refining(
            Refinement::OomScoreAdj,
            Confidence::Possible,
            text,
            evidence,
            protection(facts).into_iter().collect(),
        ));
    };
    let is_larger = |other: Bytes| u128::from(other.0) * 100 >= u128::from(used.0) * u128::from(LARGER);
    let largest = candidates
        .processes
        .iter()
        .filter(|process| !process.is_victim)
        .max_by_key(|process| process.used())?;
    let others = largest.oom_score_adj.map(i64::from)?;
    if !is_larger(largest.used()) || others >= adjustment {
        return None;
    }
    let from = if candidates.from == CandidatesFrom::Proc { "/proc" } else { "kernel log" };
    evidence.bytes("largest_use", Some(largest.used()), from);
    let never = if others == -1000 { ", with which the kernel never kills" } else { "" };
    let text = format!(
        "{} was killed though {} used more: {} against {}. The victim's oom_score_adj is {adjustment}, the \
         other's {others}{never}.",
        words::victim(facts.report),
        words::candidate(largest),
        size(largest.used()),
        size(used),
    );
    let advice = protection(facts)
        .into_iter()
        .chain([format!("Look at {} first: it used most.", words::candidate(largest))]);
    Some(Finding::refining(Refinement::OomScoreAdj, Confidence::Certain, text, evidence, advice.collect()))
}

/// A small process that dies first when a whole node runs out.
fn without_candidates(facts: &Facts<'_>, used: Bytes, adjustment: i64) -> Option<String> {
    let domain = facts.report.oom.as_ref().and_then(|oom| oom.totalpages_bytes);
    let is_small = domain.map_or(used < SMALL_ANYWHERE, |domain| percent(used, domain) < SMALL);
    if adjustment <= 0 || !facts.is_node_wide() || !is_small {
        return None;
    }
    let of = domain.map_or(String::new(), |domain| format!(" of the {} that ran out", size(domain)));
    Some(format!(
        "{} had {}{of}, and an oom_score_adj of {adjustment}: larger processes may have been spared for it. \
         Which, was not read.",
        words::victim(facts.report),
        size(used),
    ))
}

/// What would have made the kernel spare the victim (pkg/kubelet/qos/policy.go of Kubernetes).
fn protection(facts: &Facts<'_>) -> Option<String> {
    let kubernetes = facts.kubernetes()?;
    Some(match kubernetes.qos? {
        Qos::BestEffort => {
            "The victim's pod is BestEffort (oom_score_adj 1000): it dies first. Any memory request makes it \
                            Burstable, and the higher the request, the later it dies."
                .to_owned()
        }
        Qos::Burstable => {
            "The victim's pod is Burstable: the higher its memory request, the lower its oom_score_adj. \
                           Requests equal to limits, for CPU too, make it Guaranteed (-997)."
                .to_owned()
        }
        Qos::Guaranteed => return None,
    })
}
