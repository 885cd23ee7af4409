//! Why: rules over a report, each a function in a file of its own.
//!
//! A new rule is one file and one line in [`RULES`]. Rules look at nothing but [`Facts`], and say how sure they are.
//! They do not rank each other: the first that speaks is the headline.

mod allocating_task;
mod anonymous_memory;
mod below_watermarks;
mod causes;
mod cgroup_limit;
mod child_killed;
mod consumer_over_request;
mod dirty_page_cache;
mod evidence;
mod facts;
mod fragmentation;
mod group_kill;
mod host_over_reserve;
mod huge_pages;
mod kernel_memory;
mod kubernetes_status;
mod leftover_memory_volume;
mod limit;
mod limit_changed;
mod locked_memory;
mod many_processes;
mod memory_nodes;
mod node_exhausted;
mod oom_score_adj;
mod page_fault;
mod reason;
mod repeated_kills;
mod request_below_use;
mod shared_memory;
mod swap_exhausted;
mod sysrq;
mod throttled;
mod trigger_elsewhere;
mod unknown;
mod why_this_victim;
mod words;
mod young_process;

use serde::{Deserialize, Serialize};

pub use causes::cause_text;
pub use facts::Facts;
pub use reason::{Reason, ReasonSet, Refinement};

use crate::scope::Scoped;
use evidence::EvidenceList;

/// One answer to "why".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Of what.
    pub cause: Reason,
    /// How sure.
    pub confidence: Confidence,
    /// A sentence or two for a person.
    pub text: String,
    /// The numbers that it rests on.
    pub evidence: Vec<Evidence>,
    /// What to do, the likeliest first.
    pub advice: Vec<String>,
}

impl Finding {
    fn refining(
        refinement: Refinement,
        confidence: Confidence,
        text: String,
        evidence: EvidenceList,
        advice: Vec<String>,
    ) -> Self {
        Self { cause: Reason::Refinement(refinement), confidence, text, evidence: evidence.done(), advice }
    }
}

/// Why a process was killed: whose limit it was, or what ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A container reached its memory limit.
    ContainerLimit,
    /// A pod's containers together reached the pod's limit.
    PodLimit,
    /// All pods of a QoS class together reached that class's limit.
    QosLimit,
    /// All pods together reached what the node has for pods.
    NodeAllocatable,
    /// The node ran out of memory.
    NodeExhausted,
    /// The memory nodes of a cpuset ran out.
    Cpuset,
    /// The memory nodes of a memory policy ran out.
    Mempolicy,
    /// A cgroup of the host outside Kubernetes reached its limit.
    SystemServiceLimit,
    /// Someone asked for it by sysrq-f.
    Sysrq,
    /// It could not be told.
    Unknown,
}

impl Cause {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 10] = [
        Self::ContainerLimit,
        Self::PodLimit,
        Self::QosLimit,
        Self::NodeAllocatable,
        Self::NodeExhausted,
        Self::Cpuset,
        Self::Mempolicy,
        Self::SystemServiceLimit,
        Self::Sysrq,
        Self::Unknown,
    ];

    /// As JSON and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContainerLimit => "container_limit",
            Self::PodLimit => "pod_limit",
            Self::QosLimit => "qos_limit",
            Self::NodeAllocatable => "node_allocatable",
            Self::NodeExhausted => "node_exhausted",
            Self::Cpuset => "cpuset",
            Self::Mempolicy => "mempolicy",
            Self::SystemServiceLimit => "system_service_limit",
            Self::Sysrq => "sysrq",
            Self::Unknown => "unknown",
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The kernel said so, or the numbers leave nothing else.
    Certain,
    /// The numbers speak for it.
    Likely,
    /// The numbers allow it.
    Possible,
}

/// A value that a finding rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: u64,
    /// Of what: `bytes`, `percent`, …
    pub unit: String,
    /// Where it was read: `probe` (in the kernel, when the hook ran), or a file and whose it is.
    pub from: String,
}

/// A rule.
pub type Rule = fn(&Facts<'_>) -> Option<Finding>;

/// Every rule: first those of causes, one of which speaks for each scope, then what refines it.
pub const RULES: &[Rule] = &[
    sysrq::sysrq,
    cgroup_limit::cgroup_limit,
    memory_nodes::memory_nodes,
    node_exhausted::node_exhausted,
    unknown::unknown,
    anonymous_memory::anonymous_memory,
    dirty_page_cache::dirty_page_cache,
    shared_memory::shared_memory,
    leftover_memory_volume::leftover_memory_volume,
    kernel_memory::kernel_memory,
    locked_memory::locked_memory,
    many_processes::many_processes,
    young_process::young_process,
    swap_exhausted::swap_exhausted,
    throttled::throttled,
    page_fault::page_fault,
    below_watermarks::below_watermarks,
    fragmentation::fragmentation,
    huge_pages::huge_pages,
    consumer_over_request::consumer_over_request,
    host_over_reserve::host_over_reserve,
    oom_score_adj::oom_score_adj,
    allocating_task::allocating_task,
    trigger_elsewhere::trigger_elsewhere,
    group_kill::group_kill,
    child_killed::child_killed,
    repeated_kills::repeated_kills,
    request_below_use::request_below_use,
    limit_changed::limit_changed,
    kubernetes_status::kubernetes_status,
    limit::suggested_limit,
];

/// The headline where a cgroup's limit was hit, without its words: what a line shows of it.
pub(crate) fn of_limit(Scoped { scope, basis }: Scoped) -> Option<Finding> {
    let cause = Reason::Cause(cgroup_limit::cause(scope)?);
    let confidence = cgroup_limit::confidence(basis);
    Some(Finding { cause, confidence, text: String::new(), evidence: Vec::new(), advice: Vec::new() })
}

/// What all rules find.
pub fn diagnose(facts: &Facts<'_>) -> Vec<Finding> {
    RULES.iter().filter_map(|rule| rule(facts)).collect()
}

#[cfg(test)]
mod tests;
