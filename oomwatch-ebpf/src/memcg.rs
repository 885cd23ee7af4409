//! A memory cgroup: its counters, and its path up to the root by `cgroup_subsys_state.parent`.

use oomwatch_common::{
    layout::ABSENT,
    record::{
        MEMCG_KNOWN, MEMCG_LEVELS, MEMCG_OOM_GROUP, MEMCG_OOM_GROUP_EFFECTIVE, MEMCG_TRUNCATED, Memcg,
        MemcgLevel, PATH_LEVELS, UNREAD_U64,
    },
};

use crate::{
    kernel::{Address, layout},
    scratch::{self, Draft, part, push_component, tail_len},
    steps::{Step, read, step},
};

/// Those of a path, and the root's.
const LEVELS: usize = PATH_LEVELS + 1;

/// The memory cgroup of a task: `task->cgroups->subsys[memory_cgrp_id]`. A css is the first member of its
/// `mem_cgroup` (include/linux/memcontrol.h), so this is both.
#[inline(always)]
pub(crate) fn of_task(task: Address) -> Address {
    let subsys = task.pointer(layout!(task_cgroups)).member(layout!(css_set_subsys));
    let id = layout!(memory_cgrp_id);
    // More controllers than 32 do not fit in the kernel's own subsystem masks.
    if id >= 32 { Address::NULL } else { subsys.pointer(id * 8) }
}

/// Processes of a memory cgroup that the kernel has counted as killed.
#[inline(always)]
pub(crate) fn oom_kills(memcg: Address) -> u64 {
    let event = layout!(memcg_event_oom_kill);
    if event == ABSENT {
        return UNREAD_U64;
    }
    let (kills, failed) = memcg.member(layout!(memcg_events_local)).member(event * 8).read::<u64>();
    kills | failed
}

/// A memory cgroup, its name, and what is above it.
static MEMCG: [Step; 13] = [
    step!(css.css_parent => found.parent_css: Pointer),
    step!(css.css_cgroup => found.cgroup: Pointer),
    step!(cgroup.cgroup_kn => found.kn: Pointer),
    step!(kn.kernfs_node_name => found.name: Pointer),
    step!(kn.kernfs_node_id => Memcg.cgroup_id: U64),
    step!(cgroup.cgroup_root => found.root: Pointer),
    step!(root.cgroup_root_hierarchy_id => Memcg.hierarchy_id: U32),
    step!(css.memcg_memory_usage => Memcg.usage: U64),
    step!(css.memcg_memory_max => Memcg.max: U64),
    step!(css.memcg_memory_watermark => Memcg.watermark: U64),
    step!(css.memcg_swap_usage => Memcg.swap_usage: U64),
    step!(css.memcg_swap_max => Memcg.swap_max: U64),
    step!(css.memcg_oom_group => found.oom_group: Bool),
];

/// Of one above it.
static ABOVE: [Step; 2] =
    [step!(css.css_parent => found.parent_css: Pointer), step!(css.memcg_oom_group => found.oom_group: Bool)];

/// Its name, where it is not the root.
static NAME: [Step; 3] = [
    step!(css.css_cgroup => found.cgroup: Pointer),
    step!(cgroup.cgroup_kn => found.kn: Pointer),
    step!(kn.kernfs_node_name => found.name: Pointer),
];

/// Its usage and limit, where they are kept.
static LEVEL: [Step; 2] = [
    step!(css.memcg_memory_usage => MemcgLevel.usage: U64),
    step!(css.memcg_memory_max => MemcgLevel.max: U64),
];

/// Reads `memcg` with its path into the member of the record at offset `into`, and its levels into the array at offset
/// `levels`, if any. `domain` is the cgroup whose limit was hit, where `memory.oom.group` stops counting.
#[inline(always)]
pub(crate) fn fill<T>(_: &mut Draft<T>, into: usize, levels: Option<usize>, memcg: Address, domain: Address) {
    fill_memcg(into as u64, levels.map_or(NO_LEVELS, |at| at as u64), memcg.value(), domain.value());
}

/// No offset of any part.
const NO_LEVELS: u64 = u64::MAX;

/// Where one has come on the way up.
#[repr(C)]
pub(crate) struct Walk {
    /// Whose limit was hit.
    domain: Address,
    /// Offset of the level that is to be filled next.
    slot: u64,
    /// Levels that have a slot.
    slots: u32,
    /// Flags that `memory.oom.group` of the level sets: 0 above the cgroup whose limit was hit.
    group: u32,
    /// Components of the path so far.
    depth: u32,
    /// `Memcg::flags`
    flags: u32,
}

/// [`fill`], verified once for all cgroups of a record. Gives 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fill_memcg(into: u64, levels: u64, memcg: u64, domain: u64) -> u64 {
    scratch::found().css = Address::new(memcg);
    read(&MEMCG, into as usize);
    let (filled, walk, path_offset) = (part::<Memcg>(into), scratch::walk(), tail_len());
    *walk = Walk {
        domain: Address::new(domain),
        slot: levels,
        slots: 0,
        group: MEMCG_OOM_GROUP | MEMCG_OOM_GROUP_EFFECTIVE,
        depth: 0,
        flags: if memcg == 0 { 0 } else { MEMCG_KNOWN },
    };
    if levels != NO_LEVELS {
        // The first level is the cgroup itself.
        let level = part::<MemcgLevel>(levels);
        (level.usage, level.max) = (filled.usage, filled.max);
        walk.slot = levels.wrapping_add(size_of::<MemcgLevel>() as u64);
        walk.slots = MEMCG_LEVELS as u32 - 1;
    }
    for _ in 0..LEVELS {
        if follow_memcg() == 0 {
            break;
        }
    }
    // As that function has left it.
    let walk = scratch::walk();
    filled.flags = walk.flags;
    filled.depth = walk.depth;
    filled.path_offset = path_offset;
    filled.path_len = tail_len().wrapping_sub(path_offset);
    0
}

/// One component of the path, that of the css that was found; the next one's is found then. Verified once for all.
/// Gives 0 at the end of the way.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn follow_memcg() -> u64 {
    let (walk, found) = (scratch::walk(), scratch::found());
    walk.flags |= (found.oom_group & 1) * walk.group;
    walk.group &= MEMCG_OOM_GROUP_EFFECTIVE * found.css.differs_from(walk.domain);
    if found.parent_css.is_null() {
        return 0;
    }
    if walk.depth >= PATH_LEVELS as u32 || !push_component(found.name) {
        walk.flags |= MEMCG_TRUNCATED;
        return 0;
    }
    walk.depth += 1;
    found.css = found.parent_css;
    read(&ABOVE, 0);
    if walk.slots > 0 {
        read(&LEVEL, walk.slot as usize);
        walk.slots -= 1;
        walk.slot = walk.slot.wrapping_add(size_of::<MemcgLevel>() as u64);
    }
    if !scratch::found().parent_css.is_null() {
        read(&NAME, 0);
    }
    1
}
