//! What a cgroup's usage is made of: parts of `memory.stat` that do not overlap, and what it does not explain.

use super::Cgroup;
use crate::{proc_text::Meminfo, units::Bytes};

/// A cgroup's usage by kind. What a kernel does not tell is 0, and part of [`Self::unexplained`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// Memory charged.
    pub usage: Bytes,
    /// Anonymous memory.
    pub anon: Bytes,
    /// Page cache of files that are on a disk: `file` less `shmem`.
    pub cache: Bytes,
    /// What of it has not reached the disk: dirty, or under write-back.
    pub unwritten: Bytes,
    /// Shared memory and tmpfs.
    pub shmem: Bytes,
    /// What must not be moved or dropped, beside tmpfs, which is counted so where it may not be swapped.
    pub locked: Bytes,
    /// Page cache that was not used lately: what the working set leaves out.
    pub inactive_file: Bytes,
    /// All of the kernel's own memory, the parts below included; socket buffers are not.
    pub kernel: Bytes,
    /// Slab, both kinds.
    pub slab: Bytes,
    /// Page tables.
    pub pagetables: Bytes,
    /// Kernel stacks.
    pub stacks: Bytes,
    /// Per-CPU memory.
    pub percpu: Bytes,
    /// Socket buffers.
    pub sockets: Bytes,
}

const fn less(Bytes(whole): Bytes, Bytes(part): Bytes) -> Bytes {
    Bytes(whole.saturating_sub(part))
}

fn sum(parts: &[Bytes]) -> Bytes {
    Bytes(parts.iter().fold(0, |sum, Bytes(part)| sum.saturating_add(*part)))
}

impl Composition {
    /// Of a cgroup whose usage and `memory.stat` were read.
    pub fn of(cgroup: &Cgroup) -> Option<Self> {
        let (usage, stat) = (cgroup.usage_bytes?, cgroup.stat.as_ref()?);
        let get = |name: &str| stat.size(name).unwrap_or_default();
        let slab =
            stat.size("slab").unwrap_or_else(|| sum(&[get("slab_reclaimable"), get("slab_unreclaimable")]));
        let shmem = get("shmem");
        let (pagetables, stacks, percpu) = (get("pagetables"), get("kernel_stack"), get("percpu"));
        // Since 5.18; the parts that are named are all that is known before.
        let kernel = stat.size("kernel").unwrap_or_else(|| sum(&[slab, pagetables, stacks, percpu]));
        Some(Self {
            usage,
            anon: get("anon"),
            cache: less(get("file"), shmem),
            unwritten: sum(&[get("file_dirty"), get("file_writeback")]),
            shmem,
            locked: less(get("unevictable"), shmem),
            inactive_file: get("inactive_file"),
            kernel,
            slab,
            pagetables,
            stacks,
            percpu,
            sockets: get("sock"),
        })
    }

    /// What the kernel could have dropped: page cache that is on the disk and not locked.
    pub fn droppable(&self) -> Bytes {
        less(less(self.cache, self.unwritten), self.locked)
    }

    /// What `kubectl top` shows.
    pub fn working_set(&self) -> Bytes {
        less(self.usage, self.inactive_file)
    }

    /// What `memory.stat` does not explain of the usage: on cgroup v1 the kernel's own memory.
    pub fn unexplained(&self) -> Bytes {
        less(self.usage, sum(&[self.anon, self.cache, self.shmem, self.kernel, self.sockets]))
    }

    /// The kernel's own memory that it counts under no name: pages of pipes, vmalloc, what drivers and BPF maps take.
    pub fn other_kernel(&self) -> Bytes {
        less(self.kernel, sum(&[self.pagetables, self.slab, self.stacks, self.percpu]))
    }

    /// Parts that do not overlap and make up the usage, by name.
    pub fn parts(&self) -> [(&'static str, Bytes); 9] {
        [
            ("anonymous", self.anon),
            ("page cache", self.cache),
            ("shared, tmpfs", self.shmem),
            ("page tables", self.pagetables),
            ("slab", self.slab),
            ("kernel stacks", self.stacks),
            ("per-CPU", self.percpu),
            ("other kernel", self.other_kernel()),
            ("socket buffers", self.sockets),
        ]
    }

    /// Whole percents of the usage.
    pub fn percent(&self, Bytes(part): Bytes) -> u64 {
        let percent = (u128::from(part) * 100).checked_div(u128::from(self.usage.0)).unwrap_or(0);
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

/// The node's memory: all that it has or, in a log that was shortened, what is counted of it.
pub fn node_total(node: &Meminfo) -> Option<Bytes> {
    let counted = || sum(&node_parts(node).map(|(_, part)| part));
    node.mem_total_bytes.or_else(|| Some(counted()).filter(|counted| counted.0 > 0))
}

/// What the node's memory is used for, in parts that do not overlap. The kernel's log lists pages of processes together
/// with tmpfs, and page cache, by how lately they were used.
pub fn node_parts(node: &Meminfo) -> [(&'static str, Bytes); 9] {
    let shmem = node.shmem_bytes.unwrap_or_default();
    let both = |active: Option<Bytes>, inactive: Option<Bytes>| Some(sum(&[active?, inactive?]));
    let listed = || both(node.active_anon_bytes, node.inactive_anon_bytes).map(|listed| less(listed, shmem));
    let cached =
        node.cached_bytes.map(|cached| less(sum(&[cached, node.buffers_bytes.unwrap_or_default()]), shmem));
    let cached = cached.or_else(|| both(node.active_file_bytes, node.inactive_file_bytes));
    let parts = [
        ("anonymous", node.anon_pages_bytes.or_else(listed)),
        ("page cache", cached),
        ("shared, tmpfs", Some(shmem)),
        ("slab", node.slab_bytes),
        ("page tables", node.page_tables_bytes),
        ("kernel stacks", node.kernel_stack_bytes),
        ("per-CPU", node.percpu_bytes),
        ("huge pages, reserved", node.hugetlb_bytes),
        ("free", node.mem_free_bytes),
    ];
    parts.map(|(name, part)| (name, part.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Cgroup, Composition};
    use crate::memcg_text::stat_v2;

    fn composition(usage: u64, stat: &str) -> Composition {
        let stat = Some(stat_v2(stat.as_bytes()).unwrap());
        Composition::of(&Cgroup { usage_bytes: Some(Bytes(usage)), stat, ..Cgroup::default() }).unwrap()
    }

    #[test]
    fn the_parts_and_what_is_unexplained_make_up_the_usage() {
        let stat = "anon 100\nfile 500\nshmem 50\nfile_dirty 30\nfile_writeback 20\ninactive_file 300\nunevictable 60\n\
                    kernel 90\nslab 40\npagetables 20\nkernel_stack 5\npercpu 6\nsock 7\n";
        let made = composition(800, stat);
        assert_eq!((made.cache, made.unwritten, made.locked), (Bytes(450), Bytes(50), Bytes(10)));
        assert_eq!((made.droppable(), made.working_set()), (Bytes(390), Bytes(500)));
        let parts: u64 = made.parts().iter().map(|(_, Bytes(part))| part).sum();
        assert_eq!((parts + made.unexplained().0, made.percent(made.anon)), (800, 12));
    }

    #[test]
    fn kernels_without_a_sum_of_their_own_memory_have_its_parts() {
        let made = composition(100, "anon 10\nslab_reclaimable 3\nslab_unreclaimable 4\npagetables 5\n");
        assert_eq!((made.slab, made.kernel, made.unexplained()), (Bytes(7), Bytes(12), Bytes(78)));
    }

    #[test]
    fn what_is_read_later_than_the_usage_makes_nothing_negative() {
        let made = composition(100, "anon 300\nfile 10\nshmem 20\n");
        assert_eq!((made.cache, made.unexplained(), made.percent(made.anon)), (Bytes(0), Bytes(0), 300));
        assert_eq!(Composition::of(&Cgroup::default()), None);
    }
}
