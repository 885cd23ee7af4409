//! What filled the limit is memory of the processes themselves.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
    facts::percent,
    limit::top,
};
use crate::{
    report::{Composition, size},
    units::Bytes,
};

/// From this share of the usage on, percent.
const MOST_OF_IT: u64 = 80;

pub(super) fn anonymous_memory(facts: &Facts<'_>) -> Option<Finding> {
    if !facts.is_local() {
        return None;
    }
    let mut evidence = EvidenceList::default();
    let (confidence, text) = match facts.composition() {
        Some(made) => (Confidence::Certain, of_the_cgroup(facts, &made, &mut evidence)?),
        None => (Confidence::Likely, of_the_victims(facts, &mut evidence)?),
    };
    let text = format!("{text} Whether it is needed or leaks, one kill does not tell.");
    let mut advice = vec![
        "Compare its memory over days: a plateau near the limit needs a higher limit, a line that only rises \
         is a leak."
            .to_owned(),
    ];
    advice.extend(facts.kubernetes().and_then(top).map(|command| format!("What it uses now: {command}")));
    advice.extend(runtime(facts));
    Some(Finding::refining(Refinement::AnonymousMemory, confidence, text, evidence, advice))
}

fn of_the_cgroup(facts: &Facts<'_>, made: &Composition, evidence: &mut EvidenceList) -> Option<String> {
    if made.percent(made.anon) < MOST_OF_IT {
        return None;
    }
    let from = facts.stat_from();
    evidence.bytes("anon", Some(made.anon), from);
    evidence.bytes("droppable_cache", Some(made.droppable()), from);
    evidence.bytes("inactive_file", Some(made.inactive_file), from);
    evidence.bytes("working_set", Some(made.working_set()), from);
    let swap = match facts.owner().and_then(|owner| owner.swap_limit_bytes) {
        Some(Bytes(0)) => ", which cannot be taken back, as it may not be swapped out",
        _ => ", which cannot be dropped",
    };
    let top_shows = if made.working_set() < made.usage {
        format!(" kubectl top shows the working set, which was {}.", size(made.working_set()))
    } else {
        String::new()
    };
    Some(format!(
        "{} % of the usage is memory of the processes themselves{swap}; page cache that could have been dropped was \
         {}.{top_shows}",
        made.percent(made.anon).min(100),
        size(made.droppable()),
    ))
}

/// Where the cgroup's own account was not read, the victims' may do.
fn of_the_victims(facts: &Facts<'_>, evidence: &mut EvidenceList) -> Option<String> {
    let (anon, usage) = (facts.victims_anon()?, facts.owner()?.usage_bytes?);
    if percent(anon, usage) < MOST_OF_IT {
        return None;
    }
    evidence.bytes("victims_anon", Some(anon), hook(facts.report));
    let whose = if facts.report.victims.len() == 1 { "the victim alone" } else { "the victims" };
    Some(format!("{} % of the usage is memory of {whose}, which cannot be dropped.", percent(anon, usage)))
}

/// What bounds the heap of a runtime that is known by its name.
fn runtime(facts: &Facts<'_>) -> Option<String> {
    let victim = facts.victim()?;
    let heap = facts.owner()?.limit_bytes?.0 / 4 * 3 / (1 << 20);
    Some(match victim.leader_comm.as_deref().or(victim.comm.as_deref())? {
        "java" => {
            "A JVM's heap is not all of its memory: leave a quarter of the limit to threads, metaspace \
                   and buffers (-XX:MaxRAMPercentage=75, or -Xmx below that)."
                .to_owned()
        }
        "node" | "nodejs" => {
            format!(
                "Tell Node.js its heap's size: NODE_OPTIONS=--max-old-space-size={heap} is three quarters \
                     of the limit."
            )
        }
        "dotnet" => "Tell .NET its heap's size: DOTNET_GCHeapHardLimitPercent=4B is three quarters of the \
                     limit."
            .to_owned(),
        _ => return None,
    })
}
