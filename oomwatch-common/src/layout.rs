//! Where the running kernel keeps the fields that the probe reads.
//!
//! Rust on BPF has no CO-RE relocations (rust-lang/rust#158412), so the agent resolves every offset from the
//! kernel's own BTF at start and hands them over as a read-only global before the program is loaded.

/// A field that this kernel does not have. Never a valid offset: no kernel structure is 4 GiB long.
pub const ABSENT: u32 = u32::MAX;

macro_rules! kernel_layout {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Offsets in bytes from the start of the structure that each name begins with, or [`ABSENT`]; and the
        /// few sizes, enumerators and switches that the probe needs beside them.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            feature = "analysis",
            derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
        )]
        pub struct KernelLayout {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl KernelLayout {
            /// A layout in which nothing is known.
            pub const fn unknown() -> Self {
                Self { $($name: ABSENT,)* }
            }

            /// The counters of `mm_struct.rss_stat` have parts of each CPU's own, as since 6.2.
            pub const fn counts_rss_per_cpu(&self) -> bool {
                self.mm_rss_file_parts != ABSENT
            }

            /// Every name with its value, in order: for tables, logs and the `check` command.
            #[cfg(feature = "analysis")]
            pub fn entries(&self) -> Vec<(&'static str, u32)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

kernel_layout! {
    /// `oom_control.memcg`: the cgroup whose limit was hit, NULL for a node-wide OOM.
    oom_control_memcg,
    /// `oom_control.gfp_mask`
    oom_control_gfp_mask,
    /// `oom_control.order`: -1 for a kill asked for by sysrq-f.
    oom_control_order,
    /// `oom_control.totalpages`: size of the OOM domain, swap included. Never the victim's size.
    oom_control_totalpages,
    /// `oom_control.chosen`: the task that is to die.
    oom_control_chosen,
    /// `oom_control.chosen_points`
    oom_control_chosen_points,
    /// `oom_control.constraint`
    oom_control_constraint,

    /// `task_struct.flags`: `PF_KTHREAD`.
    task_flags,
    /// `task_struct.pid`: what userspace calls the thread id.
    task_pid,
    /// `task_struct.tgid`: what userspace calls the process id.
    task_tgid,
    /// `task_struct.mm`
    task_mm,
    /// `task_struct.signal`
    task_signal,
    /// `task_struct.group_leader`
    task_group_leader,
    /// `task_struct.real_parent`
    task_real_parent,
    /// `task_struct.real_cred`
    task_real_cred,
    /// `task_struct.comm`
    task_comm,
    /// `task_struct.start_boottime`, `real_start_time` before 5.5.
    task_start_boottime,
    /// `task_struct.thread_pid`
    task_thread_pid,
    /// `task_struct.thread_node`: the task's link in `signal_struct.thread_head`.
    task_thread_node,
    /// `task_struct.children`: the processes that this thread started.
    task_children,
    /// `task_struct.sibling`: the task's link in its parent's `children`.
    task_sibling,
    /// `task_struct.cgroups`
    task_cgroups,

    /// `signal_struct.flags`: `SIGNAL_GROUP_EXIT`.
    signal_flags,
    /// `signal_struct.oom_score_adj`
    signal_oom_score_adj,
    /// `signal_struct.thread_head`
    signal_thread_head,

    /// `cred.uid`
    cred_uid,

    /// `pid.level`
    pid_level,
    /// `pid.numbers`
    pid_numbers,
    /// Size of one `struct upid`.
    upid_size,
    /// `upid.nr`
    upid_nr,

    /// `mm_struct.total_vm`, pages.
    mm_total_vm,
    /// `mm_struct.hiwater_rss`, pages.
    mm_hiwater_rss,
    /// `mm_struct.pgtables_bytes`
    mm_pgtables_bytes,
    /// `mm_struct.rss_stat`, the counter of `MM_FILEPAGES`; of a `percpu_counter` (since 6.2) its `count`, which all
    /// CPUs have in common.
    mm_rss_file,
    /// That of `MM_ANONPAGES`.
    mm_rss_anon,
    /// That of `MM_SHMEMPAGES`.
    mm_rss_shmem,
    /// That of `MM_SWAPENTS`.
    mm_rss_swap,
    /// `percpu_counter.counters` of the counter of `MM_FILEPAGES`: the address of the per-CPU parts, each an `s32`. No
    /// kernel before 6.2 has this.
    mm_rss_file_parts,
    /// That of `MM_ANONPAGES`.
    mm_rss_anon_parts,
    /// That of `MM_SHMEMPAGES`.
    mm_rss_shmem_parts,
    /// That of `MM_SWAPENTS`.
    mm_rss_swap_parts,
    /// `MM_FILEPAGES`: which of the counters it is.
    mm_filepages,
    /// `MM_ANONPAGES`
    mm_anonpages,
    /// `MM_SWAPENTS`
    mm_swapents,
    /// `MM_SHMEMPAGES`
    mm_shmempages,

    /// `css_set.subsys`
    css_set_subsys,
    /// `memory_cgrp_id`: index of the memory controller in `css_set.subsys`; differs by configuration.
    memory_cgrp_id,
    /// `cgroup_subsys_state.cgroup`
    css_cgroup,
    /// `cgroup_subsys_state.parent`
    css_parent,
    /// `cgroup.kn`
    cgroup_kn,
    /// `cgroup.root`
    cgroup_root,
    /// `cgroup_root.hierarchy_id`: 0 is cgroup v2.
    cgroup_root_hierarchy_id,
    /// `kernfs_node.name`
    kernfs_node_name,
    /// `kernfs_node.id`: on cgroup v2 the inode number of the cgroup's directory.
    kernfs_node_id,

    /// `mem_cgroup.memory.usage`, pages.
    memcg_memory_usage,
    /// `mem_cgroup.memory.max`, pages.
    memcg_memory_max,
    /// `mem_cgroup.memory.watermark`: the peak, pages.
    memcg_memory_watermark,
    /// `mem_cgroup.swap.usage`; on v1 the same counter is memory+swap.
    memcg_swap_usage,
    /// `mem_cgroup.swap.max`
    memcg_swap_max,
    /// `mem_cgroup.oom_group`, `bool`.
    memcg_oom_group,
    /// `mem_cgroup.memory_events_local`: counts, `unsigned long`, of what took place in this very cgroup.
    memcg_events_local,
    /// `MEMCG_OOM_KILL`: which of them counts kills.
    memcg_event_oom_kill,

    /// 1 where tracepoint `oom/mark_victim` passes the task, 0 where it passes a bare pid.
    mark_victim_passes_task,
}

/// How many 32-bit words a [`KernelLayout`] is.
pub const KERNEL_LAYOUT_WORDS: usize = size_of::<KernelLayout>() / 4;

const _: () = assert!(size_of::<KernelLayout>().is_multiple_of(4));
