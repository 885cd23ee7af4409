//! What rules look at, and what several of them ask of it.

use jiff::Timestamp;

use crate::{
    report::{Cgroup, Composition, FiguresFrom, Kubernetes, Report, Victim},
    scope::{Basis, Scope},
    units::Bytes,
};

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The report, still without findings and gaps.
    pub report: &'a Report,
    /// How the scope is known.
    pub basis: Basis,
}

/// What started a container's main process: its parent, by the first 15 bytes of its name.
const SHIMS: &[&str] = &["containerd-shim", "conmon", "crio", "podman", "dockerd-current", "docker-containe"];
/// What the kubelet gives the processes that start a container, until the program runs.
const RUNTIME_ADJ: i64 = -998;

/// The kernel rounds a limit down to whole pages, of 64 KiB at most.
pub(super) const ROUNDING: u64 = 64 * 1024;

impl<'a> Facts<'a> {
    /// The process that the kernel chose.
    pub(super) fn victim(&self) -> Option<&'a Victim> {
        self.report.victims.first()
    }

    /// Its pod and container.
    pub(super) fn kubernetes(&self) -> Option<&'a Kubernetes> {
        self.report.kubernetes.as_ref()
    }

    /// The cgroup whose limit was hit. At level tracepoint the victim's own, where that is the one that was full.
    pub(super) fn owner(&self) -> Option<&'a Cgroup> {
        let is_own = || {
            let own = self.report.cgroup.as_ref()?;
            let depth = own.cgroup.split('/').filter(|part| !part.is_empty()).count();
            (self.basis == Basis::LevelAtLimit { depth }).then_some(own)
        };
        self.report.limit_owner.as_ref().or_else(is_own)
    }

    /// Whose that one's figures are.
    pub(super) fn owner_from(&self) -> &'static str {
        match (&self.report.limit_owner, self.owner().and_then(|owner| owner.figures_from)) {
            (_, Some(FiguresFrom::Log)) => "kernel log",
            (Some(_), _) => "limit_owner",
            (None, _) => "cgroup",
        }
    }

    /// What that one's usage is made of. Not where a victim alone had more than it tells of: then it is cut, as where a
    /// log lacks the lines of the cgroups below (until 4.18 each has its own).
    pub(super) fn composition(&self) -> Option<Composition> {
        let made = Composition::of(self.owner()?)?;
        let is_cut = made.percent(made.unexplained()) >= 50 && self.victims_anon() > Some(made.anon);
        (!is_cut).then_some(made)
    }

    /// Anonymous memory of all victims, as far as it was charged to the cgroup at its limit.
    pub(super) fn victims_anon(&self) -> Option<Bytes> {
        let anon = self.report.victims.iter().filter_map(|victim| victim.rss?.anon_bytes);
        let anon =
            anon.fold(None, |sum: Option<u64>, Bytes(anon)| Some(sum.unwrap_or(0).saturating_add(anon)))?;
        Some(Bytes(anon).min(self.owner()?.usage_bytes?))
    }

    /// Where that is from.
    pub(super) fn stat_from(&self) -> &'static str {
        match (&self.report.limit_owner, self.owner().and_then(|owner| owner.figures_from)) {
            (_, Some(FiguresFrom::Log)) => "kernel log",
            (Some(_), _) => "limit_owner/memory.stat",
            (None, _) => "cgroup/memory.stat",
        }
    }

    /// Where `node_memory` is from.
    pub(super) fn node_from(&self) -> &'static str {
        if self.report.node_memory_from_log { "kernel log" } else { "node/meminfo" }
    }

    /// Where the zones' figures are from.
    pub(super) fn zones_from(&self) -> &'static str {
        if self.report.node_memory_from_log { "kernel log" } else { "node/zoneinfo" }
    }

    /// One cgroup's limit was hit, of a container, a pod or a service: it is enough to look there.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.report.scope, Scope::Container | Scope::Pod | Scope::System)
    }

    /// The node, or some of its memory nodes, ran out.
    pub(super) fn is_node_wide(&self) -> bool {
        matches!(self.report.scope, Scope::Node | Scope::Cpuset | Scope::Mempolicy) && !self.is_sysrq()
    }

    /// It was asked for.
    pub(super) fn is_sysrq(&self) -> bool {
        self.report.oom.as_ref().is_some_and(|oom| oom.order == Some(-1))
    }

    /// Whether the victim was its container's main process, whose end is the container's. `None`: not known.
    pub(super) fn is_main(&self) -> Option<bool> {
        let victim = self.victim()?;
        if victim.pid_in_namespace == Some(1) {
            return Some(true);
        }
        // Where pods share a pid namespace, PID 1 is another's.
        if let Some(parent) = victim.parent.as_ref().and_then(|parent| parent.comm.as_deref()) {
            return Some(SHIMS.contains(&parent));
        }
        // In the node's own pid namespace (hostPID) no container has a PID 1 of its own.
        victim.pid_in_namespace.filter(|inside| Some(*inside) != victim.tgid).map(|_| false)
    }

    /// The limit is not the container's, but of a cgroup that the container made in its own.
    pub(super) fn is_inner(&self) -> bool {
        let (Some(kubernetes), Some(owner)) = (self.kubernetes(), self.report.limit_owner.as_ref()) else {
            return false;
        };
        let leaf = owner.cgroup.rsplit('/').next().unwrap_or_default();
        // crun puts a container's processes into a cgroup of this name.
        let is_containers = leaf == "container"
            || kubernetes.container_id.as_ref().is_none_or(|id| leaf.contains(id.as_str()));
        let is_its_limit = match (owner.limit_bytes, kubernetes.limits_bytes) {
            (Some(Bytes(kernels)), Some(Bytes(specified))) => kernels.abs_diff(specified) < ROUNDING,
            _ => false,
        };
        let is_kernels = self.report.scope == Scope::Container && self.basis == Basis::Kernel;
        is_kernels && !is_containers && !is_its_limit
    }

    /// The victim was no program of the container's, but the runtime's own on its way to start one.
    pub(super) fn is_runtime(&self) -> bool {
        let Some(victim) = self.victim().filter(|_| self.kubernetes().is_some()) else { return false };
        let name = victim.leader_comm.as_deref().or(victim.comm.as_deref()).unwrap_or_default();
        name.starts_with("runc:[")
            || matches!(name, "exe" | "runc" | "crun")
                && victim.oom_score_adj.is_some_and(|adjustment| adjustment <= RUNTIME_ADJ)
    }

    /// How long the victim had lived, seconds.
    pub(super) fn age_seconds(&self) -> Option<u64> {
        let at: Timestamp = self.report.time.parse().ok()?;
        let started: Timestamp = self.victim()?.started_at.as_ref()?.parse().ok()?;
        u64::try_from(at.duration_since(started).as_secs()).ok()
    }

    /// Resident and swapped memory and page tables of the victim.
    pub(super) fn victims_use(&self) -> Option<Bytes> {
        let victim = self.victim()?;
        let parts = [Some(victim.rss?.total()), victim.swap_bytes, victim.pgtables_bytes];
        Some(Bytes(parts.into_iter().flatten().fold(0, |sum, Bytes(part)| sum.saturating_add(part))))
    }
}

/// Whole percents.
pub(super) fn percent(Bytes(part): Bytes, Bytes(whole): Bytes) -> u64 {
    let percent = (u128::from(part) * 100).checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(percent).unwrap_or(u64::MAX)
}
