//! A memory cgroup: its counters, and its path up to the root by `cgroup_subsys_state.parent`.

use oomwatch_common::{
    layout::ABSENT,
    record::{
        MEMCG_KNOWN, MEMCG_LEVELS, MEMCG_OOM_GROUP, MEMCG_OOM_GROUP_EFFECTIVE, MEMCG_TRUNCATED, Memcg,
        MemcgLevel, PATH_LEVELS, UNREAD_MEMCG, UNREAD_U64,
    },
};

use crate::{
    kernel::{Address, clear, layout},
    scratch::{self, Draft, part, push_component, tail_len},
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
    if event == ABSENT { UNREAD_U64 } else { memcg.member(layout!(memcg_events_local)).u64(event * 8) }
}

/// The counters of a memory cgroup, without its path.
#[inline(always)]
fn counters(into: &mut Memcg, memcg: Address) {
    let cgroup = memcg.pointer(layout!(css_cgroup));
    into.cgroup_id = cgroup.pointer(layout!(cgroup_kn)).u64(layout!(kernfs_node_id));
    into.hierarchy_id = cgroup.pointer(layout!(cgroup_root)).u32(layout!(cgroup_root_hierarchy_id));
    into.memcg_id = memcg.u32(layout!(memcg_id));
    into.usage = memcg.u64(layout!(memcg_memory_usage));
    into.max = memcg.u64(layout!(memcg_memory_max));
    into.watermark = memcg.u64(layout!(memcg_memory_watermark));
    into.swap_usage = memcg.u64(layout!(memcg_swap_usage));
    into.swap_max = memcg.u64(layout!(memcg_swap_max));
    into.flags = MEMCG_KNOWN;
}

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
    /// The cgroup whose turn it is.
    css: u64,
    /// Whose limit was hit.
    domain: u64,
    /// Offset of the level that is to be filled next.
    slot: u64,
    /// Levels that have a slot.
    slots: u32,
    /// 1 for the cgroup that the way begins with: it was read before.
    is_first: u32,
    /// 1, up to the cgroup whose limit was hit.
    within_domain: u32,
    /// Components of the path so far.
    depth: u32,
    /// `Memcg::flags`
    flags: u32,
}

/// [`fill`], verified once for all cgroups of a record. Gives 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fill_memcg(into: u64, levels: u64, memcg: u64, domain: u64) -> u64 {
    let Some(filled) = part::<Memcg>(into) else { return 0 };
    *filled = UNREAD_MEMCG;
    let (mut slot, mut slots) = (levels, 0);
    if levels != NO_LEVELS
        && let Some(levels) = part::<[MemcgLevel; MEMCG_LEVELS]>(levels)
    {
        for MemcgLevel { usage, max } in levels {
            clear(usage, UNREAD_U64);
            clear(max, UNREAD_U64);
        }
        slots = MEMCG_LEVELS as u32;
    }
    let memcg = Address::new(memcg);
    if memcg.is_null() {
        return 0;
    }
    counters(filled, memcg);
    // The first level is the cgroup itself.
    if slots > 0
        && let Some(level) = part::<MemcgLevel>(slot)
    {
        (level.usage, level.max) = (filled.usage, filled.max);
        slot = slot.wrapping_add(size_of::<MemcgLevel>() as u64);
        slots -= 1;
    }
    let path_offset = tail_len();
    let Some(walk) = scratch::walk() else { return 0 };
    let group = memcg.flag(layout!(memcg_oom_group));
    let flags = MEMCG_KNOWN | (group * (MEMCG_OOM_GROUP | MEMCG_OOM_GROUP_EFFECTIVE));
    *walk = Walk { css: memcg.value(), domain, slot, slots, is_first: 1, within_domain: 1, depth: 0, flags };
    for _ in 0..LEVELS {
        if follow_memcg() == 0 {
            break;
        }
    }
    // As that function has left it.
    let Some(walk) = scratch::walk() else { return 0 };
    filled.flags = walk.flags;
    filled.depth = walk.depth;
    filled.path_offset = path_offset;
    filled.path_len = tail_len().wrapping_sub(path_offset);
    0
}

/// One level of the path, verified once for all. Gives 0 at the end of the way.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn follow_memcg() -> u64 {
    let Some(walk) = scratch::walk() else { return 0 };
    let css = Address::new(walk.css);
    if walk.is_first == 0 {
        let group = css.flag(layout!(memcg_oom_group));
        walk.flags |= (group & walk.within_domain) * MEMCG_OOM_GROUP_EFFECTIVE;
        if walk.slots > 0
            && let Some(slot) = part::<MemcgLevel>(walk.slot)
        {
            slot.usage = css.u64(layout!(memcg_memory_usage));
            slot.max = css.u64(layout!(memcg_memory_max));
            walk.slots -= 1;
            walk.slot = walk.slot.wrapping_add(size_of::<MemcgLevel>() as u64);
        }
    }
    walk.is_first = 0;
    walk.within_domain &= css.differs_from(Address::new(walk.domain));
    let parent = css.pointer(layout!(css_parent));
    if parent.is_null() {
        return 0;
    }
    let name =
        css.pointer(layout!(css_cgroup)).pointer(layout!(cgroup_kn)).pointer(layout!(kernfs_node_name));
    if walk.depth >= PATH_LEVELS as u32 || !push_component(name) {
        walk.flags |= MEMCG_TRUNCATED;
        return 0;
    }
    walk.depth += 1;
    walk.css = parent.value();
    1
}
