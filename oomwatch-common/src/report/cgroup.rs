//! A memory cgroup in a report.

use serde::{Deserialize, Serialize};

use crate::{
    escape::escape,
    ids::CgroupPath,
    incident::{Memcg, ProbeLevel},
    memcg_text::{MemcgEvents, MemcgStat},
    proc_text::Pressure,
    snapshot::{CgroupFiles, Snapshot},
    units::{Bytes, Limit},
};

/// A memory cgroup: figures of the hook, and what its files said shortly after.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Path from the root of the memory hierarchy, escaped.
    pub cgroup: String,
    /// `v2` or `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where usage, limit, peak and swap are from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures_from: Option<FiguresFrom>,
    /// Memory charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<Bytes>,
    /// `memory.max`, `memory.limit_in_bytes`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<Bytes>,
    /// There is no limit. Absent otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unlimited: bool,
    /// `memory.high`; absent where it is `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_bytes: Option<Bytes>,
    /// Highest usage so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<Bytes>,
    /// v2: swap charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_usage_bytes: Option<Bytes>,
    /// v2: `memory.swap.max`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_limit_bytes: Option<Bytes>,
    /// v2: swap has no limit.
    #[serde(default, skip_serializing_if = "is_false")]
    pub swap_unlimited: bool,
    /// v1: memory and swap together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memsw_usage_bytes: Option<Bytes>,
    /// v1: `memory.memsw.limit_in_bytes`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memsw_limit_bytes: Option<Bytes>,
    /// v1: memory and swap together have no limit.
    #[serde(default, skip_serializing_if = "is_false")]
    pub memsw_unlimited: bool,
    /// `memory.oom.group` of this cgroup itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_group: Option<bool>,
    /// This cgroup and those above it, leaf first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Level>,
    /// `memory.stat`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<MemcgStat>,
    /// `memory.events`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<MemcgEvents>,
    /// `memory.pressure`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// Where a cgroup's counters were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiguresFrom {
    /// In the kernel, when the hook ran.
    Probe,
    /// In the cgroup's files, after it.
    Files,
    /// In the kernel's log, which has them from right before the kill.
    Log,
}

/// One level of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Path, escaped.
    pub cgroup: String,
    /// Memory charged when the hook ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<Bytes>,
    /// Limit when the hook ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<Bytes>,
    /// There is no limit.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unlimited: bool,
}

impl Level {
    /// How many components its path has.
    pub fn components(&self) -> usize {
        self.cgroup.split('/').filter(|part| !part.is_empty()).count()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

impl Cgroup {
    pub(super) fn new(memcg: &Memcg, snapshot: &Snapshot, level: ProbeLevel) -> Self {
        let none = CgroupFiles::default();
        let files = memcg.id.and_then(|id| snapshot.cgroup(id)).unwrap_or(&none);
        let figures_from = if memcg.usage.is_some() {
            Some(if level == ProbeLevel::Kmsg { FiguresFrom::Log } else { FiguresFrom::Probe })
        } else {
            files.usage.is_some().then_some(FiguresFrom::Files)
        };
        let v2 = memcg.v2.unwrap_or(!files.v1);
        let limit = memcg.limit.or(files.limit);
        let (swap_usage, swap_limit) =
            (memcg.swap_usage.or(files.swap_usage), memcg.swap_limit.or(files.swap_limit));
        let (swap, memsw) = if v2 {
            ((swap_usage, swap_limit), (None, None))
        } else {
            ((None, None), (swap_usage, swap_limit))
        };
        let version = memcg.v2.map(|v2| if v2 { "v2" } else { "v1" }.to_owned());
        Self {
            cgroup: escape(&memcg.path.to_bytes()),
            version,
            figures_from,
            usage_bytes: memcg.usage.or(files.usage),
            limit_bytes: limit.and_then(Limit::bytes),
            unlimited: limit == Some(Limit::Unlimited),
            high_bytes: files.high.and_then(Limit::bytes),
            peak_bytes: memcg.peak.or(files.peak),
            swap_usage_bytes: swap.0,
            swap_limit_bytes: swap.1.and_then(Limit::bytes),
            swap_unlimited: swap.1 == Some(Limit::Unlimited),
            memsw_usage_bytes: memsw.0,
            memsw_limit_bytes: memsw.1.and_then(Limit::bytes),
            memsw_unlimited: memsw.1 == Some(Limit::Unlimited),
            oom_group: (memcg.oom_group || figures_from == Some(FiguresFrom::Probe))
                .then_some(memcg.oom_group)
                .or(files.oom_group)
                .filter(|_| v2),
            levels: levels(memcg),
            // The log's own is of the same moment as the figures; the file's is of later.
            stat: memcg
                .stat
                .clone()
                .or_else(|| files.stat.clone().filter(|_| figures_from != Some(FiguresFrom::Log))),
            events: files.events.clone().or_else(|| Some(logged_events(memcg.failcnt?))),
            pressure: files.pressure,
        }
    }
}

fn levels(memcg: &Memcg) -> Vec<Level> {
    let depth = memcg.path.components.len();
    let level = |(up, level): (usize, &crate::incident::MemcgLevel)| {
        let components = memcg.path.components.get(..depth.checked_sub(up)?)?.to_vec();
        let path = CgroupPath { components, truncated: memcg.path.truncated };
        Some(Level {
            cgroup: escape(&path.to_bytes()),
            usage_bytes: level.usage,
            limit_bytes: level.limit.and_then(Limit::bytes),
            unlimited: level.limit == Some(Limit::Unlimited),
        })
    };
    memcg.levels.iter().enumerate().filter_map(level).collect()
}
/// Of the counters the log has one.
fn logged_events(failcnt: u64) -> MemcgEvents {
    MemcgEvents([("failcnt".to_owned(), failcnt)].into())
}
