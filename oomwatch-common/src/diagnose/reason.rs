//! What a finding is of: a cause, which may be the headline, or what refines it. Both are closed sets of names.

use serde::{Deserialize, Deserializer, Serialize};

use super::Cause;

/// What a finding is of. JSON has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reason {
    /// Whose limit it was, or what ran out: the headline.
    Cause(Cause),
    /// What else is to be known.
    Refinement(Refinement),
}

impl Reason {
    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cause(cause) => cause.name(),
            Self::Refinement(refinement) => refinement.name(),
        }
    }

    /// All of them: docs/causes.md has a section on each.
    pub fn all() -> impl Iterator<Item = Self> {
        let refinements = Refinement::ALL.into_iter().map(Self::Refinement);
        Cause::ALL.into_iter().map(Self::Cause).chain(refinements)
    }
}

/// Which reasons a report has findings of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReasonSet(u64);

impl ReasonSet {
    /// Whether it has this one.
    pub fn contains(self, reason: Reason) -> bool {
        self.0 & Self::bit(reason.name()) != 0
    }

    /// Its own bit; none for a name of another version's.
    fn bit(name: &str) -> u64 {
        let place = Reason::all().position(|known| known.name() == name);
        place.and_then(|place| 1_u64.checked_shl(place.try_into().ok()?)).unwrap_or_default()
    }
}

impl<'a> FromIterator<&'a str> for ReasonSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        Self(names.into_iter().fold(0, |set, name| set | Self::bit(name)))
    }
}

/// From the findings of a report.
impl<'de> Deserialize<'de> for ReasonSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            cause: String,
        }
        let findings = Vec::<Named>::deserialize(deserializer)?;
        Ok(findings.iter().map(|finding| finding.cause.as_str()).collect())
    }
}

/// What is to be known beside the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refinement {
    /// What filled the limit is memory of the processes themselves.
    AnonymousMemory,
    /// Pages that had not reached the disk filled the limit.
    DirtyPageCache,
    /// Shared memory and tmpfs are a large part.
    SharedMemory,
    /// A volume in memory outlived its container, and restarts die before the program runs.
    LeftoverMemoryVolume,
    /// The kernel's own memory is a large part.
    KernelMemory,
    /// Memory that must not be moved is a large part.
    LockedMemory,
    /// Many small processes filled the limit together.
    ManyProcesses,
    /// The victim had only just started.
    YoungProcess,
    /// There was swap, and it was full.
    SwapExhausted,
    /// `memory.high` had slowed the cgroup down before.
    Throttled,
    /// A page fault failed, and no allocation of the node's.
    PageFault,
    /// Free memory was below the node's reserve.
    BelowWatermarks,
    /// Free memory was in pieces too small.
    Fragmentation,
    /// Much memory is set aside for huge pages.
    HugePages,
    /// Who used most beyond its request.
    ConsumerOverRequest,
    /// The host's services used more than is held back for them.
    HostOverReserve,
    /// The victim was preferred to larger processes for its `oom_score_adj`.
    OomScoreAdj,
    /// The kernel is set to kill whoever asks.
    AllocatingTask,
    /// Another process than the victim asked for the page.
    TriggerElsewhere,
    /// All processes of a cgroup were killed together.
    GroupKill,
    /// A child was killed, and the container lives on.
    ChildKilled,
    /// The same container was killed before.
    RepeatedKills,
    /// The container's request is far below its use.
    RequestBelowUse,
    /// The kernel's limit is not the one of the pod's specification.
    LimitChanged,
    /// What Kubernetes will show of it.
    KubernetesStatus,
    /// A limit to try.
    SuggestedLimit,
}

impl Refinement {
    /// All of them, in the order in which a report has them.
    pub const ALL: [Self; 26] = [
        Self::AnonymousMemory,
        Self::DirtyPageCache,
        Self::SharedMemory,
        Self::LeftoverMemoryVolume,
        Self::KernelMemory,
        Self::LockedMemory,
        Self::ManyProcesses,
        Self::YoungProcess,
        Self::SwapExhausted,
        Self::Throttled,
        Self::PageFault,
        Self::BelowWatermarks,
        Self::Fragmentation,
        Self::HugePages,
        Self::ConsumerOverRequest,
        Self::HostOverReserve,
        Self::OomScoreAdj,
        Self::AllocatingTask,
        Self::TriggerElsewhere,
        Self::GroupKill,
        Self::ChildKilled,
        Self::RepeatedKills,
        Self::RequestBelowUse,
        Self::LimitChanged,
        Self::KubernetesStatus,
        Self::SuggestedLimit,
    ];

    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AnonymousMemory => "anonymous_memory",
            Self::DirtyPageCache => "dirty_page_cache",
            Self::SharedMemory => "shared_memory",
            Self::LeftoverMemoryVolume => "leftover_memory_volume",
            Self::KernelMemory => "kernel_memory",
            Self::LockedMemory => "locked_memory",
            Self::ManyProcesses => "many_processes",
            Self::YoungProcess => "young_process",
            Self::SwapExhausted => "swap_exhausted",
            Self::Throttled => "throttled",
            Self::PageFault => "page_fault",
            Self::BelowWatermarks => "below_watermarks",
            Self::Fragmentation => "fragmentation",
            Self::HugePages => "huge_pages",
            Self::ConsumerOverRequest => "consumer_over_request",
            Self::HostOverReserve => "host_over_reserve",
            Self::OomScoreAdj => "oom_score_adj",
            Self::AllocatingTask => "allocating_task",
            Self::TriggerElsewhere => "trigger_elsewhere",
            Self::GroupKill => "group_kill",
            Self::ChildKilled => "child_killed",
            Self::RepeatedKills => "repeated_kills",
            Self::RequestBelowUse => "request_below_use",
            Self::LimitChanged => "limit_changed",
            Self::KubernetesStatus => "kubernetes_status",
            Self::SuggestedLimit => "suggested_limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, ReasonSet};

    #[test]
    fn a_set_has_what_was_put_in_and_no_more() {
        for reason in Reason::all() {
            let json = format!(r#"[{{"cause":"{}","text":"x"}},{{"cause":"of next year"}}]"#, reason.name());
            let set: ReasonSet = serde_json::from_str(&json).unwrap();
            assert!(Reason::all().all(|other| set.contains(other) == (other == reason)), "{json}");
        }
    }

    #[test]
    fn a_reason_is_its_name() {
        for reason in Reason::all() {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.name());
            assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
        }
        assert!(serde_json::from_str::<Reason>("\"bad luck\"").is_err());
    }
}
