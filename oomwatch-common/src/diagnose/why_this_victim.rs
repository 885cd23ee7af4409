//! Why the kernel killed this process and no other: half of every headline.

use super::{Facts, allocating_task, facts::percent, words};
use crate::{
    report::{Candidate, CandidatesFrom, size},
    units::Bytes,
};

/// Another's use is as much as the victim's within this, percent of it: less is chance.
const ALIKE: u64 = 110;

/// Swapped memory of less than this share is not worth a word, percent.
const SWAPPED: u64 = 10;

/// One sentence.
pub(super) fn why_this_victim(facts: &Facts<'_>) -> String {
    let report = facts.report;
    let who = words::victim(report);
    let group = report.oom.as_ref().is_some_and(|oom| oom.group);
    let with = match report.victims.len() {
        more @ 2.. if group => format!(", and with it {} more of its cgroup", more - 1),
        _ => String::new(),
    };
    if allocating_task::is_set(facts) {
        return format!("The kernel killed {who}{with} for asking, as it is set to.");
    }
    if facts.is_runtime() {
        return format!("The kernel killed {who}{with}, which was starting a container.");
    }
    let Some(used) = facts.victims_use() else {
        return format!("The kernel killed {who}{with}.");
    };
    let swap = report.victims.first().and_then(|victim| victim.swap_bytes).unwrap_or_default();
    let told = if percent(swap, used) >= SWAPPED {
        format!("{} ({} of it swapped out)", size(used), size(swap))
    } else {
        size(used)
    };
    let Some(candidates) = report.candidates.as_ref().filter(|candidates| candidates.count > 0) else {
        return format!("The kernel killed {who}{with}, which used {told}.");
    };
    if candidates.count == 1 {
        // What was read later may lack some that have ended since.
        let alone = match candidates.from {
            CandidatesFrom::KernelLog => ", the only one that it could choose",
            CandidatesFrom::Proc => "",
        };
        return format!("The kernel killed {who}{alone}, which used {told}.");
    }
    let others = candidates.processes.iter().filter(|process| !process.is_victim && !process.has_grown);
    let larger = others.max_by_key(|process| process.used()).filter(|process| is_larger(process, used));
    match larger {
        None => {
            let all = candidates.how_many();
            format!("Of {all} the kernel killed {who}{with}: it used most, {told}.")
        }
        Some(larger) => {
            let adjustments =
                report.victims.first().and_then(|victim| victim.oom_score_adj).zip(larger.oom_score_adj);
            let why = match adjustments {
                Some((victims, others)) if victims > i64::from(others) => {
                    format!(", for its oom_score_adj of {victims} against {others}")
                }
                _ => String::new(),
            };
            format!(
                "The kernel killed {who}{with}, which used {told}, though {} used {}{why}.",
                words::candidate(larger),
                size(larger.used())
            )
        }
    }
}

fn is_larger(other: &Candidate, used: Bytes) -> bool {
    percent(other.used(), used) >= ALIKE
}
