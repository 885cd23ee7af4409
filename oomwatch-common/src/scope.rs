//! What hit its limit, from the constraint, the limit owner's path and the limits along the victim's path.
//!
//! What a path is, is [`crate::cgroup_path`]'s to tell; whose pod it is, [`crate::attribution`]'s.

use serde::{Deserialize, Serialize};

use crate::{
    attribution::Attributed,
    cgroup_path::{CgroupKind, place},
    ids::CgroupPath,
    incident::{Constraint, Incident, Memcg, MemcgLevel},
    units::{Bytes, Limit, PageSize, Pages},
};

/// What hit its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole node was out of memory.
    Node,
    /// The memory nodes that a cpuset allows.
    Cpuset,
    /// The memory nodes that a memory policy allows.
    Mempolicy,
    /// A container.
    Container,
    /// A pod, all of its containers together.
    Pod,
    /// All pods of a QoS class.
    Qos,
    /// All pods: node allocatable.
    Kubepods,
    /// Another cgroup of the host: a service, a user's session, a container outside Kubernetes.
    System,
    /// It could not be told.
    Unknown,
}

impl Scope {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 9] = [
        Self::Node,
        Self::Cpuset,
        Self::Mempolicy,
        Self::Container,
        Self::Pod,
        Self::Qos,
        Self::Kubepods,
        Self::System,
        Self::Unknown,
    ];

    /// As JSON and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Cpuset => "cpuset",
            Self::Mempolicy => "mempolicy",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Qos => "qos",
            Self::Kubepods => "kubepods",
            Self::System => "system",
            Self::Unknown => "unknown",
        }
    }
}

/// How the scope is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The kernel said whose limit it was.
    Kernel,
    /// The kernel named the pod, but one of its containers has the same limit: what was set is the container's, and
    /// the kubelet gives a pod the sum of its containers' limits. Not where a limit was set for the pod itself: the
    /// kubelet writes that one to containers that have none.
    EqualLimits,
    /// The kernel said nothing (level tracepoint); this level of the victim's path was at its limit.
    LevelAtLimit {
        /// Its components from the root: 1 is a cgroup right below it.
        depth: usize,
    },
    /// The kernel said nothing, and no level of the victim's path was at its limit.
    NoLevelAtLimit,
    /// Only the kernel's message is known, which is the same for a node and for the memory nodes of a cpuset or a
    /// policy: nearly always the node.
    Message,
    /// Nothing that could tell was read.
    Nothing,
}

/// A scope, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoped {
    /// What hit its limit.
    pub scope: Scope,
    /// How it is known.
    pub basis: Basis,
}

/// How far below its limit a cgroup may stand when a charge fails: the kernel charges this many pages at once
/// (`MEMCG_CHARGE_BATCH`, include/linux/memcontrol.h of 6.12; 32 before 5.19).
const CHARGE_BATCH: Pages = Pages(64);

/// Tells what hit its limit. `whose` is the first victim's pod, as far as it is known.
pub fn scope(incident: &Incident, whose: Option<&Attributed>, page_size: PageSize) -> Scoped {
    let victim = incident.victims.first().and_then(|victim| victim.memcg.as_ref());
    let kernel = |scope| Scoped { scope, basis: Basis::Kernel };
    let Some(oom) = &incident.oom else { return from_levels(victim, page_size) };
    match oom.constraint {
        Some(Constraint::None) => kernel(Scope::Node),
        Some(Constraint::Cpuset) => kernel(Scope::Cpuset),
        Some(Constraint::MemoryPolicy) => kernel(Scope::Mempolicy),
        Some(Constraint::Memcg) | None if incident.limit_owner.is_some() => {
            from_owner(incident.limit_owner.as_ref(), victim, whose)
        }
        None if oom.message.as_deref().is_some_and(is_without_cgroup) => {
            Scoped { scope: Scope::Node, basis: Basis::Message }
        }
        // A limit owner that could not be read: the levels may still tell.
        Some(Constraint::Memcg) | None => from_levels(victim, page_size),
        Some(Constraint::Unknown(_)) => Scoped { scope: Scope::Unknown, basis: Basis::Nothing },
    }
}

/// `Memory cgroup out of memory`: a cgroup's limit is the cause (`mem_cgroup_out_of_memory`, mm/memcontrol.c).
pub(crate) fn is_of_cgroup(message: &str) -> bool {
    message.starts_with("Memory cgroup")
}

/// `Out of memory`, perhaps with why in brackets: it is not (`out_of_memory`, mm/oom_kill.c).
pub(crate) fn is_without_cgroup(message: &str) -> bool {
    message.starts_with("Out of memory")
}

fn from_owner(owner: Option<&Memcg>, victim: Option<&Memcg>, whose: Option<&Attributed>) -> Scoped {
    let Some(owner) = owner else { return Scoped { scope: Scope::Unknown, basis: Basis::Nothing } };
    let depth = owner.path.components.len();
    // Whatever a container makes below its own cgroup, and however it names it, is the container's.
    let is_in_container = whose.is_some_and(|whose| whose.has_container() && depth >= whose.depth)
        && victim.is_some_and(|victim| victim.path.components.starts_with(&owner.path.components));
    if is_in_container {
        return Scoped { scope: Scope::Container, basis: Basis::Kernel };
    }
    let scope = scope_of(&owner.path);
    let has_own_limit = whose.is_some_and(|whose| whose.pod_limit.is_some());
    if scope == Scope::Pod
        && !has_own_limit
        && let Some(victim) = victim
        && victim.path.components.starts_with(&owner.path.components)
        && let Some(Limit::Bytes(below)) = level(victim, depth + 1).and_then(|level| level.limit)
        && owner.limit == Some(Limit::Bytes(below))
    {
        return Scoped { scope: Scope::Container, basis: Basis::EqualLimits };
    }
    Scoped { scope, basis: Basis::Kernel }
}

/// The level of the victim's path that was at its limit, leaf first: it is the one that the kernel meets first.
fn from_levels(victim: Option<&Memcg>, page_size: PageSize) -> Scoped {
    let nothing = Scoped { scope: Scope::Unknown, basis: Basis::Nothing };
    let Some(victim) = victim.filter(|victim| !victim.levels.is_empty()) else { return nothing };
    let components = &victim.path.components;
    for depth in (1..=components.len()).rev() {
        if level(victim, depth).is_some_and(|level| is_at_limit(level, page_size)) {
            let path = CgroupPath {
                components: components.iter().take(depth).cloned().collect(),
                truncated: victim.path.truncated,
            };
            return Scoped { scope: scope_of(&path), basis: Basis::LevelAtLimit { depth } };
        }
    }
    Scoped { scope: Scope::Unknown, basis: Basis::NoLevelAtLimit }
}

/// The level of a path with so many components.
pub(crate) fn level(memcg: &Memcg, depth: usize) -> Option<MemcgLevel> {
    memcg.levels.get(memcg.path.components.len().checked_sub(depth)?).copied()
}

fn is_at_limit(level: MemcgLevel, page_size: PageSize) -> bool {
    match (level.usage, level.limit) {
        (Some(usage), Some(Limit::Bytes(Bytes(limit)))) => {
            usage.0.saturating_add(page_size.bytes(CHARGE_BATCH).0) >= limit
        }
        _ => false,
    }
}

/// What a cgroup's limit is the limit of, by its path.
pub fn scope_of(path: &CgroupPath) -> Scope {
    match place(path).kind {
        CgroupKind::Container { .. } => Scope::Container,
        CgroupKind::Pod(_) => Scope::Pod,
        CgroupKind::QosSlice(_) => Scope::Qos,
        CgroupKind::Kubepods => Scope::Kubepods,
        // The part that is missing may be the one that tells.
        _ if path.truncated => Scope::Unknown,
        _ => Scope::System,
    }
}

#[cfg(test)]
mod tests;
