//! A limit to try: how high, why, within which bounds, and how to set it.
//!
//! A kill tells that a limit was too low. By how much it does not tell: the allocation that failed is a page or two.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::{EvidenceList, hook},
    facts::percent,
    kernel_memory::not_listed,
    words::{self, quantity, shell},
    young_process::young,
};
use crate::{
    render_text::short_path,
    report::{Composition, Kubernetes, Workload, size},
    scope::Scope,
    units::Bytes,
};

/// Of the limit, percent: what the victims had tells enough where nothing else does.
const ENOUGH: u64 = 50;

const MIB: u64 = 1 << 20;

pub(super) fn suggested_limit(facts: &Facts<'_>) -> Option<Finding> {
    if !facts.is_local() || facts.is_runtime() {
        return None;
    }
    let owner = facts.owner()?;
    let limit = owner.limit_bytes?;
    let mut evidence = EvidenceList::default();
    let none = |text: String, evidence| {
        Finding::refining(Refinement::SuggestedLimit, Confidence::Possible, text, evidence, Vec::new())
    };
    let made = facts.composition();
    let needed = if let Some(made) = made {
        let needed = Bytes(made.usage.0.saturating_sub(made.droppable().0));
        evidence.bytes("not_reclaimable", Some(needed), facts.stat_from());
        needed
    } else if let Some(anon) = facts.victims_anon().filter(|anon| percent(*anon, limit) >= ENOUGH) {
        evidence.bytes("victims_anon", Some(anon), hook(facts.report));
        anon
    } else {
        evidence.bytes("limit", Some(limit), facts.owner_from());
        let text = format!(
            "Which limit would do cannot be told: what filled {} was not read. Raise it a little, and look at \
             what the usage is made of.",
            size(limit)
        );
        return Some(none(text, evidence));
    };
    if let Some(made) = made.filter(|made| made.unwritten.0.saturating_mul(2) >= needed.0) {
        let text = format!(
            "No limit can be told: {} of what could not be dropped is page cache on its way to the disk. The \
             rest of it was {}.",
            size(made.unwritten),
            size(Bytes(needed.0.saturating_sub(made.unwritten.0))),
        );
        return Some(none(text, evidence));
    }
    if let Some(what) = made.and_then(|made| boundless(facts, &made, needed)) {
        return Some(none(
            format!("No limit can be told: {what}, which a higher limit only lets grow."),
            evidence,
        ));
    }
    let (suggested, why) = suggestion(facts, limit, needed);
    let most = most(facts);
    evidence.bytes("limit", Some(limit), facts.owner_from());
    evidence.bytes("suggested_limit", Some(suggested), "reckoned");
    let above = most.is_some_and(|most| suggested > most);
    let bounds = match most {
        Some(most) if above => format!(
            " But the node has {} for pods: no limit can be told that fits; the use has to come down.",
            size(most)
        ),
        Some(most) => format!(" It may be at most {}, which is what the node has.", size(most)),
        None => String::new(),
    };
    let text = format!(
        "{} is a limit to try: {why}. {} could not have been reclaimed, so less than that cannot do; how much \
         more it wanted, a kill does not tell.{bounds}",
        size(suggested),
        size(needed),
    );
    let advice = if above { Vec::new() } else { how(facts, limit, suggested).into_iter().collect() };
    Some(Finding::refining(Refinement::SuggestedLimit, Confidence::Possible, text, evidence, advice))
}

/// What most of it is, where that grows with what nothing is known to bound: files on tmpfs, the kernel's own objects.
fn boundless(facts: &Facts<'_>, made: &Composition, needed: Bytes) -> Option<String> {
    let is_most = |part: u64| part.saturating_mul(2) >= needed.0;
    let mapped = facts.report.victims.iter().filter_map(|victim| victim.rss?.shmem_bytes);
    let mapped = mapped.fold(0_u64, |sum, Bytes(mapped)| sum.saturating_add(mapped));
    let files = made.shmem.0.saturating_sub(mapped);
    let is_bounded = facts.kubernetes().is_some_and(|kubernetes| {
        kubernetes.memory_volumes.iter().any(|volume| volume.size_limit_bytes.is_some())
    });
    let parts = [made.kernel, made.sockets, not_listed(facts, made)];
    let kernel = parts.iter().fold(0_u64, |sum, Bytes(part)| sum.saturating_add(*part));
    if is_most(files) && !is_bounded {
        Some(format!("{} of what could not be dropped is files on tmpfs", size(Bytes(files))))
    } else if is_most(kernel) {
        Some(format!("{} of what could not be dropped is the kernel's own memory", size(Bytes(kernel))))
    } else {
        None
    }
}

/// A limit, and what it is reckoned from.
fn suggestion(facts: &Facts<'_>, limit: Bytes, needed: Bytes) -> (Bytes, String) {
    let base = limit.max(needed);
    let volumes = facts.kubernetes().map_or(&[][..], |kubernetes| kubernetes.memory_volumes.as_slice());
    let volumes = volumes
        .iter()
        .filter_map(|volume| volume.size_limit_bytes)
        .fold(0_u64, |sum, Bytes(size)| sum.saturating_add(size));
    let shmem = facts.composition().map_or(0, |made| made.shmem.0);
    if volumes > shmem && shmem > 0 {
        let suggested = rounded(base.0.saturating_add(volumes - shmem));
        return (suggested, "the limit now, and what its volumes in memory may still grow by".to_owned());
    }
    let usage = facts.report.cgroup.as_ref().and_then(|cgroup| cgroup.peak_bytes);
    if let Some(peak) = usage.filter(|peak| *peak > base) {
        let suggested = rounded(peak.0.saturating_add(peak.0 / 10));
        return (suggested, format!("{} was the most it had used before, and a tenth more", size(peak)));
    }
    if young(facts).is_some() {
        return (rounded(base.0.saturating_mul(2)), "twice the limit, as it was still starting".to_owned());
    }
    (rounded(base.0.saturating_add(base.0 / 4)), "the limit now and a quarter more".to_owned())
}

/// Up to a round number of mebibytes: of a sixteenth of its size, at least one.
fn rounded(bytes: u64) -> Bytes {
    let step = (bytes / 16).next_power_of_two().max(MIB);
    Bytes(bytes.div_ceil(step).saturating_mul(step))
}

/// What no limit can exceed.
fn most(facts: &Facts<'_>) -> Option<Bytes> {
    let shares = facts.report.node_shares.unwrap_or_default();
    let total = facts.report.node_memory.and_then(|memory| memory.mem_total_bytes);
    match facts.report.scope {
        Scope::Container | Scope::Pod => shares.allocatable_bytes.or(shares.capacity_bytes).or(total),
        _ => shares.capacity_bytes.or(total),
    }
}

/// The command that sets it, or where it is set.
fn how(facts: &Facts<'_>, old: Bytes, limit: Bytes) -> Option<String> {
    let quantity = quantity(limit);
    let Some(kubernetes) = facts.kubernetes() else {
        let host = facts.report.host.as_ref()?;
        let name = host.name.as_deref()?;
        return name.ends_with(".service").then(|| {
            format!("systemctl set-property {} MemoryMax={}", shell(name), quantity.trim_end_matches('i'))
        });
    };
    if facts.report.scope == Scope::Pod && kubernetes.pod_limits_bytes.is_some() {
        return Some(format!("Set spec.resources.limits.memory of the pod to {quantity}."));
    }
    if facts.is_inner() {
        let owner = facts.owner()?;
        return Some(format!(
            "Look at who in the container made {} and set its limit: the container's own was not reached.",
            short_path(&owner.cgroup)
        ));
    }
    let container = kubernetes.container.as_deref()?;
    let quantity = if facts.report.scope == Scope::Pod {
        // The pod's limit is the sum of its containers'.
        let own = kubernetes.limits_bytes?.0;
        words::quantity(Bytes(own.saturating_add(limit.0.saturating_sub(old.0))))
    } else {
        quantity
    };
    let namespace = shell(kubernetes.namespace.as_deref()?);
    let workload = kubernetes.workload.as_ref();
    if let Some(resource) = workload.and_then(resource) {
        return Some(format!(
            "kubectl -n {namespace} set resources {} -c {} --limits=memory={quantity}",
            shell(&resource),
            shell(container)
        ));
    }
    let whose =
        workload.map_or_else(|| "the pod".to_owned(), |Workload { kind, name }| format!("{kind} {name}"));
    Some(format!(
        "Set resources.limits.memory of container {container} to {quantity} where {whose} is defined."
    ))
}

/// What `kubectl set resources` can change and whose pods are made again by it.
fn resource(Workload { kind, name }: &Workload) -> Option<String> {
    let is_known = matches!(kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "CronJob");
    is_known.then(|| format!("{}/{name}", kind.to_ascii_lowercase()))
}

/// `kubectl -n shop top pod web-1 --containers`
pub(super) fn top(kubernetes: &Kubernetes) -> Option<String> {
    let (namespace, pod) = (kubernetes.namespace.as_deref()?, kubernetes.pod.as_deref()?);
    Some(format!("kubectl -n {} top pod {} --containers", shell(namespace), shell(pod)))
}
