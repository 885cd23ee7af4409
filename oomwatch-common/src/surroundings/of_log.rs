//! What the kernel's log has of an incident's surroundings: the table of tasks, and of a node-wide one its memory.

use super::{Surroundings, Tasks};
use crate::{
    kernel_log::{Logged, NodeMemory},
    proc_text::Meminfo,
    units::{Bytes, PageSize, Pages},
};

impl Surroundings {
    /// Of an incident that the log has.
    pub fn of_log(logged: &Logged) -> Self {
        Self {
            tasks: Tasks::from_log(&logged.tasks),
            node_memory: logged.node.as_ref().and_then(|node| meminfo(node, logged.page_size)),
            zones: logged.node.as_ref().map(|node| node.zones.clone()).unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// As `/proc/meminfo` would have had it. Its `Cached` and `AnonPages` are not in the log: the lists of anonymous pages
/// there have shared memory, and the page cache's sum has buffers and swap cache.
fn meminfo(node: &NodeMemory, page_size: PageSize) -> Option<Meminfo> {
    let size = |pages: Option<Pages>| pages.map(|pages| page_size.bytes(pages));
    let count = |name: &str| size(node.counts.get(name).copied());
    let both = |one: &str, other: &str| Some(Bytes(count(one)?.0.saturating_add(count(other)?.0)));
    let usable = node.ram.zip(node.reserved).map(|(ram, reserved)| Pages(ram.0.saturating_sub(reserved.0)));
    if node.counts.is_empty() && usable.is_none() {
        return None;
    }
    Some(Meminfo {
        mem_total_bytes: size(usable),
        mem_free_bytes: count("free"),
        active_bytes: both("active_anon", "active_file"),
        inactive_bytes: both("inactive_anon", "inactive_file"),
        active_anon_bytes: count("active_anon"),
        inactive_anon_bytes: count("inactive_anon"),
        active_file_bytes: count("active_file"),
        inactive_file_bytes: count("inactive_file"),
        unevictable_bytes: count("unevictable"),
        swap_total_bytes: node.swap_total,
        swap_free_bytes: node.swap_free,
        dirty_bytes: count("dirty"),
        writeback_bytes: count("writeback"),
        mapped_bytes: count("mapped"),
        shmem_bytes: count("shmem"),
        slab_bytes: both("slab_reclaimable", "slab_unreclaimable"),
        sreclaimable_bytes: count("slab_reclaimable"),
        sunreclaim_bytes: count("slab_unreclaimable"),
        kernel_stack_bytes: node.kernel_stack,
        page_tables_bytes: count("pagetables"),
        sec_page_tables_bytes: count("sec_pagetables"),
        hugetlb_bytes: node.hugetlb,
        ..Meminfo::default()
    })
}
