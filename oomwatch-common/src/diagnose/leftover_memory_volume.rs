//! A volume in memory outlived its container, and restarts die before the program runs.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
    shared_memory::named,
    words::{list, shell},
};
use crate::{report::size, units::Bytes};

pub(super) fn leftover_memory_volume(facts: &Facts<'_>) -> Option<Finding> {
    let kubernetes = facts.kubernetes().filter(|_| facts.is_local() && facts.is_runtime())?;
    let shmem = facts.composition().filter(|made| made.shmem.0 >= made.usage.0 / 2).map(|made| made.shmem);
    let mut evidence = EvidenceList::default();
    evidence.bytes("shmem", shmem, facts.stat_from());
    let victims = facts.victim().and_then(|victim| victim.rss).map(|rss| rss.total());
    evidence.bytes("victim_rss", victims, hook(facts.report));
    let volumes: Vec<_> = kubernetes.memory_volumes.iter().map(named).collect();
    let which = if volumes.is_empty() { String::new() } else { format!(" ({})", list(&volumes)) };
    let start = "The container died while the runtime started it, before its program ran. Kubernetes shows \
                 StartError, exit code 128, and not OOMKilled.";
    let (confidence, text) = match shmem {
        Some(shmem) => {
            let text = format!(
                "{start} {} of shared memory and tmpfs fill the pod's limit: a volume in memory{which} outlived the \
                 container that filled it, and makes every restart die like this.",
                size(shmem)
            );
            (Confidence::Likely, text)
        }
        None => (
            Confidence::Possible,
            format!("{start} The limit is too small to start anything, or something else holds it."),
        ),
    };
    let mut advice = Vec::new();
    if let (Some(_), Some(namespace), Some(pod)) = (shmem, &kubernetes.namespace, &kubernetes.pod) {
        advice.push(format!(
            "Delete the pod, with which the volume goes: kubectl -n {} delete pod {}",
            shell(namespace),
            shell(pod)
        ));
    }
    let limit = facts.owner().and_then(|owner| owner.limit_bytes).unwrap_or_default();
    let fits = Bytes(limit.0 / 2);
    advice.push(if limit.0 > 0 {
        format!(
            "Give the volume a sizeLimit well below the limit of {}, such as {}.",
            size(limit),
            size(fits)
        )
    } else {
        "Give the volume a sizeLimit well below the limit.".to_owned()
    });
    Some(Finding::refining(Refinement::LeftoverMemoryVolume, confidence, text, evidence, advice))
}
