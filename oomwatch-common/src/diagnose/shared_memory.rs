//! Shared memory and tmpfs are a large part: a volume in memory, `/dev/shm`, shared mappings.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::EvidenceList,
    facts::percent,
    words::{list, quantity},
};
use crate::{
    report::{MemoryVolume, NamesFrom, size},
    units::Bytes,
};

/// From this share of the usage on, percent.
const WORTH_A_WORD: u64 = 20;
const LEAST: Bytes = Bytes(1 << 20);

pub(super) fn shared_memory(facts: &Facts<'_>) -> Option<Finding> {
    if facts.is_node_wide() { of_node(facts) } else { of_cgroup(facts) }
}

fn of_node(facts: &Facts<'_>) -> Option<Finding> {
    let memory = facts.report.node_memory?;
    let (total, shmem) = (memory.mem_total_bytes?, memory.shmem_bytes?);
    if percent(shmem, total) < WORTH_A_WORD {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("shmem", Some(shmem), facts.node_from());
    evidence.bytes("mem_total", Some(total), facts.node_from());
    let text = format!(
        "{}, {} % of the node's memory, is shared memory and tmpfs: files there stay when a process is killed, and \
         the kernel takes them back by swap alone.",
        size(shmem),
        percent(shmem, total),
    );
    let advice = vec![
        "Look at what tmpfs holds on the node: df -h -t tmpfs, /dev/shm and ipcs -m. Of pods it is volumes in memory \
         (emptyDir, medium: Memory): without a sizeLimit and without limits of the pod's one may fill the node."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::SharedMemory, Confidence::Certain, text, evidence, advice))
}

fn of_cgroup(facts: &Facts<'_>) -> Option<Finding> {
    let made = facts.composition()?;
    if made.shmem < LEAST || made.percent(made.shmem) < WORTH_A_WORD {
        return None;
    }
    let mut evidence = EvidenceList::default();
    evidence.bytes("shmem", Some(made.shmem), facts.stat_from());
    let mapped = facts.victim().and_then(|victim| victim.rss?.shmem_bytes);
    evidence.bytes("victim_rss_shmem", mapped, super::evidence::hook(facts.report));
    let volumes = facts.kubernetes().map_or(&[][..], |kubernetes| kubernetes.memory_volumes.as_slice());
    let whose = match volumes {
        [] => String::new(),
        volumes => format!(
            " The pod has volumes in memory: {}.",
            list(&volumes.iter().map(named).collect::<Vec<_>>())
        ),
    };
    let unmapped = if mapped.is_some_and(|Bytes(mapped)| mapped < made.shmem.0 / 2) {
        " Most of it is not mapped by the victim: files on tmpfs, which stay when it is killed."
    } else {
        ""
    };
    let text = format!(
        "{}, {} % of the usage, is shared memory and tmpfs. It looks like page cache, and cannot be \
         dropped.{unmapped}{whose}",
        size(made.shmem),
        made.percent(made.shmem).min(100),
    );
    let mut advice: Vec<_> = volumes
        .iter()
        .filter(|volume| volume.size_limit_bytes.is_none())
        .map(|volume| {
            format!("Give volume {} a sizeLimit (emptyDir, medium: Memory): it has none.", volume.name)
        })
        .collect();
    if volumes.is_empty() && is_of_a_pod_not_known(facts) {
        advice.push(
            "Look for volumes in memory in the pod's specification (emptyDir, medium: Memory), and give each a \
             sizeLimit well below the limit."
                .to_owned(),
        );
    }
    advice.push(
        "Look at what tmpfs holds: df -h -t tmpfs and ipcs -m in the container. Count it into the limit, or \
         keep it on disk."
            .to_owned(),
    );
    Some(Finding::refining(Refinement::SharedMemory, Confidence::Certain, text, evidence, advice))
}

/// Its volumes would be known if the kubelet had told of the pod.
fn is_of_a_pod_not_known(facts: &Facts<'_>) -> bool {
    facts.kubernetes().is_some_and(|kubernetes| kubernetes.names_from != Some(NamesFrom::Kubelet))
}

/// `cache (sizeLimit 64Mi)`
pub(super) fn named(volume: &MemoryVolume) -> String {
    let limit = volume
        .size_limit_bytes
        .map_or("no sizeLimit".to_owned(), |limit| format!("sizeLimit {}", quantity(limit)));
    format!("{} ({limit})", volume.name)
}
