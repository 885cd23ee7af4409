//! A memory cgroup reached its limit: container, pod, QoS class, all pods, or another cgroup of the host.

use super::{
    Cause, Confidence, Facts, Finding, Reason,
    evidence::EvidenceList,
    why_this_victim::why_this_victim,
    words::{capital, list, made_of},
};
use crate::{
    cgroup_path::Qos,
    render_text::{names, short_path},
    report::{Level, size},
    scope::{Basis, Scope},
    units::Bytes,
};

pub(super) fn cgroup_limit(facts: &Facts<'_>) -> Option<Finding> {
    let report = facts.report;
    let cause = cause(report.scope)?;
    let mut evidence = EvidenceList::default();
    let text = if let Basis::LevelAtLimit { depth } = facts.basis {
        let level = level(facts, depth);
        evidence.bytes("usage", level.and_then(|level| level.usage_bytes), "probe");
        evidence.bytes("limit", level.and_then(|level| level.limit_bytes), "probe");
        let at = level.map_or("a cgroup above the victim", |level| level.cgroup.as_str());
        let limit = level
            .and_then(|level| level.limit_bytes)
            .map_or(String::new(), |limit| format!(" of {}", size(limit)));
        let made = facts.composition().as_ref().and_then(made_of);
        let made = made.map_or(String::new(), |made| format!(", with {made},"));
        let text = format!(
            "{} was probably reached: {at} stood at its limit{limit}{made} when the victim was marked. {} The \
             kernel does not say whose limit it was at this probe level.",
            capital(whose(report.scope)),
            why_this_victim(facts),
        );
        text
    } else {
        let owner = report.limit_owner.as_ref()?;
        evidence.cgroup(owner, "limit_owner");
        let limit = owner.limit_bytes.map_or(String::new(), |limit| format!(" of {}", size(limit)));
        let made = facts.composition().as_ref().and_then(made_of);
        let made = made.map_or(String::new(), |made| format!(": {made}"));
        let equal = if facts.basis == Basis::EqualLimits {
            " The kernel names the pod's cgroup, which has the same limit and is also charged for the pause \
             container, so it fills first."
        } else {
            ""
        };
        let why = why_this_victim(facts);
        let shares = by_container(facts).map_or(String::new(), |shares| format!(" By container: {shares}."));
        format!("{} reached {}{limit}{made}. {why}{shares}{equal}", subject(facts), its(report.scope))
    };
    evidence.victims(report);
    Some(Finding {
        cause: Reason::Cause(cause),
        confidence: confidence(facts.basis),
        text,
        evidence: evidence.done(),
        advice: advice(facts),
    })
}

/// What hit its limit; `None` where that was no cgroup.
pub(super) fn cause(scope: Scope) -> Option<Cause> {
    match scope {
        Scope::Container => Some(Cause::ContainerLimit),
        Scope::Pod => Some(Cause::PodLimit),
        Scope::Qos => Some(Cause::QosLimit),
        Scope::Kubepods => Some(Cause::NodeAllocatable),
        Scope::System => Some(Cause::SystemServiceLimit),
        Scope::Node | Scope::Cpuset | Scope::Mempolicy | Scope::Unknown => None,
    }
}

/// The kernel named the cgroup, or it is concluded from what stood at its limit.
pub(super) fn confidence(basis: Basis) -> Confidence {
    if matches!(basis, Basis::LevelAtLimit { .. }) { Confidence::Possible } else { Confidence::Certain }
}

/// Who reached it.
fn subject(facts: &Facts<'_>) -> String {
    let report = facts.report;
    let kubernetes = facts.kubernetes();
    let pod = || {
        let kubernetes = kubernetes?;
        Some(format!("{}/{}", kubernetes.namespace.as_deref()?, kubernetes.pod.as_deref()?))
    };
    match report.scope {
        Scope::Container => {
            names(report).map_or_else(|| "The container".to_owned(), |names| format!("Container {names}"))
        }
        Scope::Pod => {
            let pod = pod().map_or_else(|| "The pod".to_owned(), |pod| format!("Pod {pod}"));
            format!("{pod}, with all its containers,")
        }
        Scope::Qos => {
            let class = match kubernetes.and_then(|kubernetes| kubernetes.qos) {
                Some(Qos::Burstable) => "All Burstable pods",
                Some(Qos::BestEffort) => "All BestEffort pods",
                _ => "All pods of a QoS class",
            };
            format!("{class} together")
        }
        Scope::Kubepods => "All pods together".to_owned(),
        _ => report.limit_owner.as_ref().map_or_else(
            || "A cgroup outside Kubernetes".to_owned(),
            |owner| format!("{}, outside Kubernetes,", short_path(&owner.cgroup)),
        ),
    }
}

fn its(scope: Scope) -> &'static str {
    match scope {
        Scope::Qos => "the memory limit of their class",
        Scope::Kubepods => "what the node has for pods (node allocatable), a limit",
        _ => "its memory limit",
    }
}

fn whose(scope: Scope) -> &'static str {
    match scope {
        Scope::Container => "the container's memory limit",
        Scope::Pod => "the pod's memory limit",
        Scope::Qos => "the memory limit of a whole QoS class",
        Scope::Kubepods => "what the node has for pods (node allocatable)",
        _ => "the memory limit of a cgroup outside Kubernetes",
    }
}

/// How a pod's processes share its memory between its containers, where all of them are known.
fn by_container(facts: &Facts<'_>) -> Option<String> {
    let candidates = facts.report.candidates.as_ref().filter(|_| facts.report.scope == Scope::Pod)?;
    let mut shares: Vec<(&str, u64)> = Vec::new();
    for process in &candidates.processes {
        let container = process.kubernetes.as_ref()?.container.as_deref()?;
        let Bytes(used) = process.used();
        match shares.iter_mut().find(|(name, _)| *name == container) {
            Some((_, sum)) => *sum = sum.saturating_add(used),
            None => shares.push((container, used)),
        }
    }
    shares.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
    let told: Vec<_> = shares.iter().map(|(name, used)| format!("{name} {}", size(Bytes(*used)))).collect();
    (candidates.are_all_there() && told.len() > 1).then(|| list(&told))
}

/// Where to look. What to set is [`super::limit`]'s to say.
fn advice(facts: &Facts<'_>) -> Vec<String> {
    let advice: &[&str] = match facts.report.scope {
        Scope::Pod => &[
            "Look at all containers of the pod, not only the victim's: they share this limit, and so do its \
             memory-backed emptyDir volumes.",
        ],
        Scope::Qos => &[
            "Look for the pods of this class that use more than they request: the victim need not be one.",
            "Look at the kubelet's qosReserved: it is what limits a QoS class.",
        ],
        Scope::Kubepods => &[
            "Look for pods that use more than they request: the scheduler counts requests, the kernel counts use.",
            "Set requests near real use, so that fewer pods land here, or lower what kubeReserved and \
             systemReserved hold back.",
        ],
        Scope::System => {
            &["Look at what set the limit of this cgroup: MemoryMax= of a systemd unit, --memory of a \
             container, or whoever made it."]
        }
        _ => &["Look at what the usage is made of, below, before raising the limit."],
    };
    let is_own = || facts.kubernetes().is_some_and(|kubernetes| kubernetes.pod_limits_bytes.is_some());
    let sum = (facts.report.scope == Scope::Pod && !is_own()).then_some(SUM_OF_LIMITS);
    advice.iter().copied().chain(sum).map(str::to_owned).collect()
}

/// `ResourceConfigForPod`, pkg/kubelet/cm/helpers_linux.go of Kubernetes.
const SUM_OF_LIMITS: &str = "Unless the pod's specification has a limit for the pod itself, the kubelet set the sum of \
     its containers' limits: in a pod of one container, that container's limit was reached.";

/// The level with so many components, of the victim's path.
fn level<'a>(facts: &Facts<'a>, depth: usize) -> Option<&'a Level> {
    let is_it = |level: &&Level| level.components() == depth;
    facts.report.cgroup.as_ref()?.levels.iter().find(is_it)
}
