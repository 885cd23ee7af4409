//! A memory cgroup: its counters, and its path up to the root by `cgroup_subsys_state.parent`.

use oomwatch_common::record::{
    MEMCG_KNOWN, MEMCG_LEVELS, MEMCG_OOM_GROUP, MEMCG_OOM_GROUP_EFFECTIVE, MEMCG_TRUNCATED, Memcg,
    MemcgLevel, PATH_LEVELS, UNREAD_MEMCG, UNREAD_U64,
};

use crate::{
    kernel::{Address, layout},
    scratch::Draft,
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

/// Reads `memcg` with its path into the member of `draft` that `select` names, and its levels into the one that
/// `levels` names, if any. `domain` is the cgroup whose limit was hit, where `memory.oom.group` stops counting.
#[inline(always)]
pub(crate) fn fill<T>(
    draft: &mut Draft<T>,
    select: impl Fn(&mut T) -> &mut Memcg,
    levels: impl Fn(&mut T) -> Option<&mut [MemcgLevel; MEMCG_LEVELS]>,
    memcg: Address,
    domain: Address,
) {
    let path_offset = draft.tail_len();
    *select(draft.fixed) = UNREAD_MEMCG;
    if let Some(levels) = levels(draft.fixed) {
        *levels = [MemcgLevel { usage: UNREAD_U64, max: UNREAD_U64 }; MEMCG_LEVELS];
    }
    if memcg.is_null() {
        return;
    }
    counters(select(draft.fixed), memcg);

    let mut flags = MEMCG_KNOWN;
    // 1, up to the cgroup whose limit was hit.
    let mut within_domain = 1;
    let mut depth = 0;
    let mut css = memcg;
    for level in 0..LEVELS {
        let group = css.flag(layout!(memcg_oom_group));
        if level == 0 {
            flags |= group * MEMCG_OOM_GROUP;
        }
        flags |= (group & within_domain) * MEMCG_OOM_GROUP_EFFECTIVE;
        within_domain &= css.differs_from(domain);
        if level < MEMCG_LEVELS
            && let Some(slot) = levels(draft.fixed).and_then(|levels| levels.get_mut(level))
        {
            slot.usage = css.u64(layout!(memcg_memory_usage));
            slot.max = css.u64(layout!(memcg_memory_max));
        }
        let parent = css.pointer(layout!(css_parent));
        if parent.is_null() {
            break;
        }
        let name =
            css.pointer(layout!(css_cgroup)).pointer(layout!(cgroup_kn)).pointer(layout!(kernfs_node_name));
        if level == PATH_LEVELS || !draft.push_component(name) {
            flags |= MEMCG_TRUNCATED;
            break;
        }
        depth += 1;
        css = parent;
    }

    let path_len = draft.tail_len().wrapping_sub(path_offset);
    let into = select(draft.fixed);
    into.flags = flags;
    into.depth = depth;
    into.path_offset = path_offset;
    into.path_len = path_len;
}
