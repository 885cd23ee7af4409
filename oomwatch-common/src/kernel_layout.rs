//! BTF of the running kernel → [`KernelLayout`].
//!
//! Nothing depends on a version number: a field is looked for by every name it has had, and what a kernel does not
//! have is [`ABSENT`]. Renames and type changes: facts checked on kernels 5.10 to 7.3, each named where it matters.

use std::{collections::BTreeSet, fmt};

use crate::{
    btf::{Btf, TypeId},
    layout::{ABSENT, KernelLayout},
};

/// What the resolver found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The offsets.
    pub layout: KernelLayout,
    /// Fields that this kernel does not have; reports name them as gaps.
    pub absent: Vec<&'static str>,
}

/// Fields without which no incident can be told: who was killed, and of which cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFields(pub Vec<&'static str>);

impl fmt::Display for MissingFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this kernel's BTF lacks {}", self.0.join(", "))
    }
}

impl std::error::Error for MissingFields {}

/// Where a value goes.
type Slot = fn(&mut KernelLayout) -> &mut u32;

/// One line of the table: layout field, structure, the paths it may be found by.
type Line = (Slot, &'static str, &'static str, &'static [&'static str]);

macro_rules! lines {
    ($($field:ident = $structure:literal [$($path:literal),+];)*) => {
        &[$((|layout| &mut layout.$field, stringify!($field), $structure, &[$($path),+]),)*]
    };
}

/// Structure members, looked for by each name in turn.
const LINES: &[Line] = lines! {
    oom_control_memcg = "oom_control" ["memcg"];
    oom_control_gfp_mask = "oom_control" ["gfp_mask"];
    oom_control_order = "oom_control" ["order"];
    oom_control_totalpages = "oom_control" ["totalpages"];
    oom_control_chosen = "oom_control" ["chosen"];
    oom_control_chosen_points = "oom_control" ["chosen_points"];
    oom_control_constraint = "oom_control" ["constraint"];
    task_flags = "task_struct" ["flags"];
    task_pid = "task_struct" ["pid"];
    task_tgid = "task_struct" ["tgid"];
    task_mm = "task_struct" ["mm"];
    task_signal = "task_struct" ["signal"];
    task_group_leader = "task_struct" ["group_leader"];
    task_real_parent = "task_struct" ["real_parent"];
    task_real_cred = "task_struct" ["real_cred"];
    task_comm = "task_struct" ["comm"];
    // Renamed in 5.5.
    task_start_boottime = "task_struct" ["start_boottime", "real_start_time"];
    task_thread_pid = "task_struct" ["thread_pid"];
    task_thread_node = "task_struct" ["thread_node"];
    task_children = "task_struct" ["children"];
    task_sibling = "task_struct" ["sibling"];
    task_cgroups = "task_struct" ["cgroups"];
    signal_flags = "signal_struct" ["flags"];
    signal_oom_score_adj = "signal_struct" ["oom_score_adj"];
    signal_thread_head = "signal_struct" ["thread_head"];
    cred_uid = "cred" ["uid"];
    pid_level = "pid" ["level"];
    pid_numbers = "pid" ["numbers"];
    upid_nr = "upid" ["nr"];
    mm_total_vm = "mm_struct" ["total_vm"];
    mm_hiwater_rss = "mm_struct" ["hiwater_rss"];
    mm_pgtables_bytes = "mm_struct" ["pgtables_bytes"];
    css_set_subsys = "css_set" ["subsys"];
    css_cgroup = "cgroup_subsys_state" ["cgroup"];
    css_parent = "cgroup_subsys_state" ["parent"];
    cgroup_kn = "cgroup" ["kn"];
    cgroup_root = "cgroup" ["root"];
    cgroup_root_hierarchy_id = "cgroup_root" ["hierarchy_id"];
    kernfs_node_name = "kernfs_node" ["name"];
    kernfs_node_id = "kernfs_node" ["id"];
    memcg_memory_usage = "mem_cgroup" ["memory.usage"];
    memcg_memory_max = "mem_cgroup" ["memory.max"];
    memcg_memory_watermark = "mem_cgroup" ["memory.watermark"];
    // On v1 `memsw`, which shares this place in a union.
    memcg_swap_usage = "mem_cgroup" ["swap.usage"];
    memcg_swap_max = "mem_cgroup" ["swap.max"];
    memcg_oom_group = "mem_cgroup" ["oom_group"];
    memcg_events_local = "mem_cgroup" ["memory_events_local"];
};

/// Enumerators, by name: their values differ by configuration.
pub(crate) const ENUMERATORS: &[(Slot, &str)] = &[
    (|layout| &mut layout.mm_filepages, "MM_FILEPAGES"),
    (|layout| &mut layout.mm_anonpages, "MM_ANONPAGES"),
    (|layout| &mut layout.mm_swapents, "MM_SWAPENTS"),
    (|layout| &mut layout.mm_shmempages, "MM_SHMEMPAGES"),
    (|layout| &mut layout.memory_cgrp_id, "memory_cgrp_id"),
    (|layout| &mut layout.memcg_event_oom_kill, "MEMCG_OOM_KILL"),
];

/// Without these a victim cannot be named.
const REQUIRED: &[&str] = &[
    "task_pid",
    "task_tgid",
    "task_mm",
    "task_signal",
    "task_group_leader",
    "task_comm",
    "task_start_boottime",
];

/// Structures whose members the resolver asks for: the roots of an excerpt.
pub const STRUCTURES: &[&str] = &[
    "oom_control",
    "task_struct",
    "signal_struct",
    "cred",
    "pid",
    "upid",
    "mm_struct",
    "percpu_counter",
    "css_set",
    "cgroup_subsys_state",
    "cgroup",
    "cgroup_root",
    "kernfs_node",
    "mem_cgroup",
];

/// Where the first counter of an `mm_struct` is.
const RSS_STAT: [&str; 2] = ["rss_stat.count", "rss_stat"];
/// What it is since 6.2.
const PERCPU_COUNTER: &str = "percpu_counter";
/// What all CPUs have in common, and where their parts are.
const PERCPU_COUNTER_MEMBERS: [&str; 2] = ["count", "counters"];

/// Names that [`resolve`] asks for.
pub(crate) struct Names {
    /// Every one.
    pub(crate) all: BTreeSet<&'static str>,
    /// Those by which each field is looked for first.
    pub(crate) foremost: BTreeSet<&'static str>,
}

pub(crate) fn names() -> Names {
    let members = |paths: &'static [&'static str]| paths.iter().flat_map(|path| path.split('.'));
    let enumerators = ENUMERATORS.iter().map(|(_, name)| *name);
    let others = STRUCTURES.iter().chain(&PERCPU_COUNTER_MEMBERS).chain([&MARK_VICTIM]).copied();
    let mut foremost: BTreeSet<&str> = enumerators.chain(others).collect();
    let mut all = foremost.clone();
    for paths in LINES.iter().map(|(_, _, _, paths)| *paths).chain([&RSS_STAT[..]]) {
        all.extend(members(paths));
        foremost.extend(members(paths.get(..1).unwrap_or_default()));
    }
    Names { all, foremost }
}

/// The tracepoint whose first argument changed inside stable series (5.10.235, 6.1.130): decide by its prototype.
pub const MARK_VICTIM: &str = "btf_trace_mark_victim";

/// Resolves every field.
///
/// # Errors
/// [`MissingFields`] where a victim could not even be named.
pub fn resolve(btf: &Btf<'_>) -> Result<Resolved, MissingFields> {
    let mut layout = KernelLayout::unknown();
    let mut structure: (&str, Option<TypeId>) = ("", None);
    for (field, _, name, paths) in LINES {
        // The table names each structure in one run; looking one up means going through all types.
        if structure.0 != *name {
            structure = (name, btf.structure(name));
        }
        if let Some(id) = structure.1
            && let Some(member) = paths.iter().find_map(|path| btf.member(id, path))
        {
            *field(&mut layout) = member.offset;
        }
    }
    for (field, name) in ENUMERATORS {
        if let Some(value) = btf.enumerator(name) {
            *field(&mut layout) = value;
        }
    }
    resolve_rss_stat(btf, &mut layout);
    if let Some(size) = btf.structure("upid").and_then(|id| btf.size(id)) {
        layout.upid_size = size;
    }
    if let Some(parameters) = btf.function_parameters(MARK_VICTIM) {
        // (void *data, struct task_struct *task, uid_t uid) or (void *data, int pid).
        layout.mark_victim_passes_task = u32::from(parameters.get(1).is_some_and(|&id| btf.is_pointer(id)));
    }

    let absent: Vec<&'static str> =
        layout.entries().into_iter().filter(|&(_, value)| value == ABSENT).map(|(name, _)| name).collect();
    let missing: Vec<&'static str> = REQUIRED.iter().copied().filter(|name| absent.contains(name)).collect();
    if missing.is_empty() {
        Ok(Resolved { layout, absent: optional(absent, &layout) })
    } else {
        Err(MissingFields(missing))
    }
}

/// Where the counters of `rss_stat` are: up to 6.1 `struct mm_rss_stat { atomic_long_t count[]; }`, since 6.2 an array
/// of `percpu_counter`.
fn resolve_rss_stat(btf: &Btf<'_>, layout: &mut KernelLayout) {
    let Some(mm) = btf.structure("mm_struct") else { return };
    let Some(first) = RSS_STAT.iter().find_map(|path| btf.member(mm, path)) else { return };
    let Some((element, _)) = btf.array(first.type_id) else { return };
    let Some(stride) = btf.size(element) else { return };
    let counter = (btf.name(element) == Some(PERCPU_COUNTER)).then_some(element);
    let [count, parts] = PERCPU_COUNTER_MEMBERS
        .map(|name| counter.and_then(|id| btf.member(id, name)).map(|member| member.offset));
    // One that is per CPU, and whose members have other names, is not known.
    let count = if counter.is_some() { count } else { Some(0) };
    let kinds = [layout.mm_filepages, layout.mm_anonpages, layout.mm_shmempages, layout.mm_swapents];
    let at = |kind: u32, member: Option<u32>| {
        let before = kind.checked_mul(stride).and_then(|before| before.checked_add(first.offset));
        before.zip(member).and_then(|(before, member)| before.checked_add(member)).unwrap_or(ABSENT)
    };
    [layout.mm_rss_file, layout.mm_rss_anon, layout.mm_rss_shmem, layout.mm_rss_swap] =
        kinds.map(|kind| at(kind, count));
    [
        layout.mm_rss_file_parts,
        layout.mm_rss_anon_parts,
        layout.mm_rss_shmem_parts,
        layout.mm_rss_swap_parts,
    ] = kinds.map(|kind| at(kind, parts));
}

/// Before 6.2 there are no per-CPU counters to be missed.
fn optional(mut absent: Vec<&'static str>, layout: &KernelLayout) -> Vec<&'static str> {
    absent.retain(|name| layout.counts_rss_per_cpu() || !name.ends_with("_parts"));
    absent
}

#[cfg(test)]
mod tests;
