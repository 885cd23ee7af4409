//! A memory cgroup reached its limit: container, pod, QoS class, all pods, or another cgroup of the host.

use super::{Cause, Confidence, Facts, Finding, Reason, evidence::EvidenceList};
use crate::{
    report::{Level, size},
    scope::{Basis, Scope},
};

struct Words {
    cause: Cause,
    /// Whose limit.
    whose: &'static str,
    advice: &'static [&'static str],
}

pub(super) fn cgroup_limit(facts: &Facts<'_>) -> Option<Finding> {
    let words = words(facts.report.scope)?;
    let report = facts.report;
    let mut evidence = EvidenceList::default();
    let (confidence, text) = match facts.basis {
        Basis::LevelAtLimit { depth } => {
            let level = level(facts, depth);
            evidence.bytes("usage", level.and_then(|level| level.usage_bytes), "probe");
            evidence.bytes("limit", level.and_then(|level| level.limit_bytes), "probe");
            let at = level.map_or("a cgroup above the victim", |level| level.cgroup.as_str());
            let text = format!(
                "{} was probably reached: {at} stood at it when the victim was marked. The kernel does not say whose \
                 limit it was at this probe level.",
                capital(words.whose)
            );
            (Confidence::Possible, text)
        }
        basis => {
            let owner = report.limit_owner.as_ref()?;
            evidence.cgroup(owner, "limit_owner");
            let limit = owner.limit_bytes.map_or(String::new(), |limit| format!(", {},", size(limit)));
            let made_of = made_of(facts).map_or(String::new(), |made_of| format!(" {made_of}"));
            let equal = if basis == Basis::EqualLimits {
                " The kernel names the pod's cgroup, which has the same limit and is also charged for the pause \
                 container, so it fills first."
            } else {
                ""
            };
            (Confidence::Certain, format!("{}{limit} was reached.{made_of}{equal}", capital(words.whose)))
        }
    };
    evidence.victims(report);
    let advice = words.advice.iter().map(|&advice| advice.to_owned()).collect();
    Some(Finding { cause: Reason::Cause(words.cause), confidence, text, evidence: evidence.done(), advice })
}

fn words(scope: Scope) -> Option<Words> {
    Some(match scope {
        Scope::Container => Words {
            cause: Cause::ContainerLimit,
            whose: "the container's memory limit",
            advice: &[
                "Compare the container's memory over time: a plateau near the limit needs a higher \
                 resources.limits.memory, a line that only rises is a leak.",
                "Where a runtime sizes its own heap (JVM, Go, Node.js), set that below the limit, with room for \
                 what is not heap.",
            ],
        },
        Scope::Pod => Words {
            cause: Cause::PodLimit,
            whose: "the pod's memory limit",
            advice: &[
                "Look at all containers of the pod, not only the victim's: they share this limit, and so do its \
                 memory-backed emptyDir volumes.",
                "Raise the pod's limit, or the limit of the container that grew: the pod's is their sum unless it \
                 is set itself.",
            ],
        },
        Scope::Qos => Words {
            cause: Cause::QosLimit,
            whose: "the memory limit of a whole QoS class",
            advice: &[
                "Look for the pods of this class that use more than they request: the victim need not be one.",
                "Look at the kubelet's qosReserved: it is what limits a QoS class.",
            ],
        },
        Scope::Kubepods => Words {
            cause: Cause::NodeAllocatable,
            whose: "what the node has for pods (node allocatable)",
            advice: &[
                "Look for pods that use more than they request: the scheduler counts requests, the kernel counts \
                 use.",
                "Set requests near real use, so that fewer pods land here, or lower what kubeReserved and \
                 systemReserved hold back.",
            ],
        },
        Scope::System => Words {
            cause: Cause::SystemServiceLimit,
            whose: "the memory limit of a cgroup outside Kubernetes",
            advice: &[
                "Look at what set the limit of this cgroup: MemoryMax= of a systemd unit, --memory of a container, \
                 or whoever made it.",
            ],
        },
        Scope::Node | Scope::Cpuset | Scope::Mempolicy | Scope::Unknown => return None,
    })
}

/// What the limit owner's memory is made of, where its largest part is worth a word.
fn made_of(facts: &Facts<'_>) -> Option<String> {
    let owner = facts.report.limit_owner.as_ref()?;
    let (stat, usage) = (owner.stat.as_ref()?, owner.usage_bytes?);
    let shmem = stat.size("shmem").unwrap_or_default();
    let file = stat.size("file").map(|file| crate::units::Bytes(file.0.saturating_sub(shmem.0)));
    let parts = [
        (stat.size("anon"), "anonymous memory"),
        (file, "page cache"),
        (Some(shmem), "shared memory and tmpfs"),
        (stat.size("kernel"), "kernel memory"),
    ];
    let (part, name) =
        parts.into_iter().filter_map(|(part, name)| Some((part?, name))).max_by_key(|(part, _)| *part)?;
    (part <= usage && part.0 > 0).then(|| format!("Of {} in use {} were {name}.", size(usage), size(part)))
}

/// The level with so many components, of the victim's path.
fn level<'a>(facts: &Facts<'a>, depth: usize) -> Option<&'a Level> {
    let is_it = |level: &&Level| level.cgroup.split('/').filter(|part| !part.is_empty()).count() == depth;
    facts.report.cgroup.as_ref()?.levels.iter().find(is_it)
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}
