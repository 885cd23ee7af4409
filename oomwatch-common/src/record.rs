//! The records that the eBPF program puts into the ring buffer.
//!
//! Each record is one fixed structure that begins with a [`Header`], then a tail of bytes: the names of the cgroups
//! that its [`Memcg`] members point into. All numbers are in the machine's byte order, all fields have a fixed
//! width, and there is no padding; sizes and offsets are asserted below.
//!
//! **A value that was not read is all ones** ([`UNREAD_U64`] and friends): the field does not exist in this kernel,
//! or the read failed. It is never 0, so nothing that is missing can be taken for a number.

/// Raised when a structure below changes: the agent refuses records of another version.
pub const WIRE_VERSION: u16 = 1;

/// `TASK_COMM_LEN` of every kernel (include/linux/sched.h).
pub const COMM_LEN: usize = 16;
/// Bytes kept of the message that the kernel puts before "Killed process".
pub const MESSAGE_LEN: usize = 64;
/// Bytes kept of one component of a cgroup's path, NUL included: `NAME_MAX` + 1.
pub const COMPONENT_LEN: usize = 256;
/// Levels of a cgroup's path that are followed up from the leaf; a deeper one is marked truncated. A container of a
/// node that is itself a container of another has some 12.
pub const PATH_LEVELS: usize = 32;
/// Levels of the victim's cgroup, leaf first, whose usage and limit are kept.
pub const MEMCG_LEVELS: usize = 16;
/// Bytes of tail that one record can have.
pub const TAIL_LEN: usize = 8192;

/// Not read: see the module's text.
pub const UNREAD_U64: u64 = u64::MAX;
/// Not read.
pub const UNREAD_U32: u32 = u32::MAX;
/// Not read. No task that is chosen has these points: `LONG_MIN` is "unkillable".
pub const UNREAD_I64: i64 = i64::MIN;
/// Not read.
pub const UNREAD_I32: i32 = i32::MIN;
/// Not read. A real `oom_score_adj` lies in -1000 to 1000.
pub const UNREAD_I16: i16 = i16::MIN;
/// Not read. A real comm ends in NUL.
pub const UNREAD_COMM: [u8; COMM_LEN] = [0xff; COMM_LEN];

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordKind {
    /// Entry of `oom_kill_process`, before anything was killed: a [`Begin`].
    Begin = 1,
    /// Entry of `__oom_kill_process`, before SIGKILL: a [`Victim`]. The kernel may still find it already exiting.
    Victim = 2,
    /// `mark_victim` inside `__oom_kill_process`: the process was sent SIGKILL: a [`Killed`]. Not of a process that
    /// dies alone and of which [`Begin`] says all: [`End`] counts it.
    Killed = 3,
    /// Return of `oom_kill_process`: an [`End`]. Not where nobody waits for it, and it would only say that the chosen
    /// process was killed: the next [`Begin`] says that.
    End = 4,
    /// The proof of the layout: the agent's own task: a [`Proof`].
    Proof = 6,
    /// Level `tracepoint`: `mark_victim` alone, with all that can be read there: a [`Marked`]. 5 was this without
    /// `oom_kills`.
    Marked = 7,
}

macro_rules! wire {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$fdoc:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            feature = "analysis",
            derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
        )]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
    };
}

wire! {
    /// The start of every record.
    pub struct Header {
        /// [`WIRE_VERSION`]
        pub version: u16,
        /// A [`RecordKind`]
        pub kind: u16,
        /// Bytes of the whole record, this header and the tail included.
        pub size: u16,
        /// The CPU that the hook ran on. 0 in what was recorded before there was this field.
        pub cpu: u16,
        /// Which call of `oom_kill_process`, counted from 1 since the program was loaded; 0 where there is none.
        pub incident: u64,
        /// `CLOCK_BOOTTIME` in nanoseconds when the hook ran.
        pub boottime_ns: u64,
    }
}

wire! {
    /// Usage and limit of one level of a cgroup's path.
    pub struct MemcgLevel {
        /// `memory.usage`, pages.
        pub usage: u64,
        /// `memory.max`, pages.
        pub max: u64,
    }
}

wire! {
    /// A memory cgroup. All counters are in pages.
    pub struct Memcg {
        /// `kernfs_node.id`; on v2 the inode number of the directory.
        pub cgroup_id: u64,
        /// `memory.usage`
        pub usage: u64,
        /// `memory.max`
        pub max: u64,
        /// `memory.watermark`
        pub watermark: u64,
        /// `swap.usage`, on v1 memory+swap.
        pub swap_usage: u64,
        /// `swap.max`, on v1 memory+swap.
        pub swap_max: u64,
        /// Without meaning.
        pub reserved: u32,
        /// `cgroup_root.hierarchy_id`: 0 is cgroup v2.
        pub hierarchy_id: u32,
        /// Where in the tail the path begins: its components leaf first, each ended by NUL, the root's empty name
        /// left out.
        pub path_offset: u32,
        /// Bytes of the path in the tail; 0 for the root cgroup.
        pub path_len: u32,
        /// Levels of the path that were followed, the root not counted.
        pub depth: u32,
        /// [`MEMCG_KNOWN`], [`MEMCG_TRUNCATED`], [`MEMCG_OOM_GROUP`], [`MEMCG_OOM_GROUP_EFFECTIVE`],
        /// [`MEMCG_AS_CHOSEN`]
        pub flags: u32,
    }
}

/// The cgroup exists and was read. Not set: there was none (a node-wide OOM has no limit owner).
pub const MEMCG_KNOWN: u32 = 1;
/// The path has more levels or bytes than fit.
pub const MEMCG_TRUNCATED: u32 = 2;
/// `memory.oom.group` is set on this cgroup itself.
pub const MEMCG_OOM_GROUP: u32 = 4;
/// `memory.oom.group` is set on this cgroup or on one above it, up to the OOM domain: the kernel kills the whole
/// group (`mem_cgroup_get_oom_group`, mm/memcontrol.c).
pub const MEMCG_OOM_GROUP_EFFECTIVE: u32 = 8;
/// In a [`Begin`]: it is the chosen one's, [`Begin::chosen_memcg`]; what else is here means nothing.
pub const MEMCG_AS_CHOSEN: u32 = 16;

wire! {
    /// A task and its process, as the kernel keeps them. Memory is in pages unless the name says bytes.
    pub struct Task {
        /// Start of the process's first thread, `CLOCK_BOOTTIME` nanoseconds: with `tgid` the process's identity.
        pub start_boottime_ns: u64,
        /// `mm.total_vm`
        pub total_vm: u64,
        /// `MM_FILEPAGES`
        pub rss_file: u64,
        /// `MM_ANONPAGES`
        pub rss_anon: u64,
        /// `MM_SHMEMPAGES`
        pub rss_shmem: u64,
        /// `MM_SWAPENTS`
        pub swapents: u64,
        /// `mm.hiwater_rss`; only raised when memory is unmapped, so the peak is this or the present RSS.
        pub hiwater_rss: u64,
        /// `mm.pgtables_bytes`
        pub pgtables_bytes: u64,
        /// Process id.
        pub tgid: u32,
        /// Thread id of the task that still has the address space: the number in the kernel's "Killed process".
        pub tid: u32,
        /// `real_cred.uid`, in the initial user namespace.
        pub uid: u32,
        /// The process id as the process itself sees it, in the innermost pid namespace.
        pub pid_in_namespace: u32,
        /// Process id of the real parent.
        pub parent_tgid: u32,
        /// [`TASK_KNOWN`], [`TASK_HAS_MM`], [`TASK_RSS_EXACT`], [`TASK_KTHREAD`], [`TASK_EXITING`], [`TASK_AS_CHOSEN`]
        pub flags: u32,
        /// `signal.oom_score_adj`
        pub oom_score_adj: i16,
        /// Zero.
        pub reserved: u16,
        /// Process id of another process that has the same address space; 0 where none was found, or none looked for.
        pub shares_mm_with: u32,
        /// Name of the task `tid`.
        pub comm: [u8; COMM_LEN],
        /// Name of the process's first thread: what `ps` shows.
        pub leader_comm: [u8; COMM_LEN],
        /// Name of the real parent.
        pub parent_comm: [u8; COMM_LEN],
    }
}

/// There was a task and it was read.
pub const TASK_KNOWN: u32 = 1;
/// A thread that still has the address space was found; without it the memory values are unread.
pub const TASK_HAS_MM: u32 = 2;
/// RSS was summed over all CPUs. Not set: it is what the kernel's own log prints, off by up to
/// CPUs × (batch − 1) pages since 6.2, and before by what the last 64 faults of each thread mapped.
pub const TASK_RSS_EXACT: u32 = 4;
/// A kernel thread.
pub const TASK_KTHREAD: u32 = 8;
/// The process had begun to exit, or that could not be read: the OOM killer may pass it over (`task_will_free_mem`,
/// mm/oom_kill.c).
pub const TASK_EXITING: u32 = 16;
/// In a [`Begin`]: the task that asked is the one that was chosen, [`Begin::chosen`]; what else is here means nothing.
pub const TASK_AS_CHOSEN: u32 = 32;

wire! {
    /// `struct oom_control` (include/linux/oom.h), and the message of the call.
    pub struct OomControl {
        /// `totalpages`
        pub totalpages: u64,
        /// `chosen_points`, signed.
        pub chosen_points: i64,
        /// `gfp_mask`
        pub gfp_mask: u32,
        /// `order`, signed; -1 is sysrq-f.
        pub order: i32,
        /// `enum oom_constraint`
        pub constraint: u32,
        /// The lower half of the number of an invocation before, which killed the chosen process alone, and whose
        /// [`End`] this stands for, as nobody waited for it; 0: there is none.
        pub untold_end: u32,
        /// The second argument of `oom_kill_process`, ended by NUL.
        pub message: [u8; MESSAGE_LEN],
    }
}

wire! {
    /// [`RecordKind::Begin`]. Tail: paths of `trigger_memcg`, `chosen_memcg`, `limit_owner`.
    pub struct Begin {
        /// `incident` is set.
        pub header: Header,
        /// The domain.
        pub oom: OomControl,
        /// The task whose allocation failed.
        pub trigger: Task,
        /// The process the kernel chose. Not yet killed, and not killed at all where it is already exiting.
        pub chosen: Task,
        /// The cgroup of `trigger`.
        pub trigger_memcg: Memcg,
        /// The cgroup of `chosen`.
        pub chosen_memcg: Memcg,
        /// `oom_control.memcg`
        pub limit_owner: Memcg,
        /// The levels of `chosen_memcg`, leaf first, up to the root: one more than `depth`. What is behind them means
        /// nothing.
        pub chosen_levels: [MemcgLevel; MEMCG_LEVELS],
    }
}

wire! {
    /// [`RecordKind::Victim`]. Tail: path of `memcg`.
    pub struct Victim {
        /// `incident` is set.
        pub header: Header,
        /// The process.
        pub task: Task,
        /// Its cgroup.
        pub memcg: Memcg,
    }
}

wire! {
    /// [`RecordKind::Killed`]. No tail.
    pub struct Killed {
        /// `incident` is set.
        pub header: Header,
        /// Process id, or unread where the tracepoint passes a bare pid that is not the last [`Victim`]'s.
        pub tgid: u32,
        /// Thread id that the kernel marked.
        pub tid: u32,
    }
}

wire! {
    /// [`RecordKind::End`]. No tail.
    pub struct End {
        /// `incident` is set.
        pub header: Header,
        /// How many processes were marked, whether or not there was a [`Killed`] of it.
        pub killed: u32,
        /// How many times a process that was already exiting was marked instead.
        pub already_exiting: u32,
    }
}

wire! {
    /// [`RecordKind::Marked`]. Tail: paths of `trigger_memcg`, `memcg`.
    pub struct Marked {
        /// `incident` counts marks here.
        pub header: Header,
        /// The current task.
        pub trigger: Task,
        /// The marked process, after SIGKILL. Only `tid` is read where the tracepoint passes a bare pid.
        pub task: Task,
        /// The cgroup of `trigger`.
        pub trigger_memcg: Memcg,
        /// The cgroup of `task`.
        pub memcg: Memcg,
        /// The levels of `memcg`, as in [`Begin`].
        pub levels: [MemcgLevel; MEMCG_LEVELS],
        /// Processes of `memcg` itself that the kernel has counted as killed, this one, if it was, among them:
        /// `oom_kill` of `memory.events.local`.
        pub oom_kills: u64,
    }
}

wire! {
    /// [`RecordKind::Proof`]. Tail: path of `memcg`.
    pub struct Proof {
        /// `incident` is 0.
        pub header: Header,
        /// The calling task.
        pub task: Task,
        /// Its cgroup.
        pub memcg: Memcg,
    }
}

const _: () = {
    assert!(size_of::<Begin>() + TAIL_LEN <= u16::MAX as usize);
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<MemcgLevel>() == 16);
    assert!(size_of::<Memcg>() == 72);
    assert!(size_of::<Task>() == 144);
    assert!(size_of::<OomControl>() == 96);
    assert!(size_of::<Begin>() == 24 + 96 + 2 * 144 + 3 * 72 + 16 * MEMCG_LEVELS);
    assert!(size_of::<Victim>() == 24 + 144 + 72);
    assert!(size_of::<Killed>() == 32);
    assert!(size_of::<End>() == 32);
    assert!(size_of::<Marked>() == 24 + 2 * 144 + 2 * 72 + 16 * MEMCG_LEVELS + 8);
    assert!(size_of::<Proof>() == size_of::<Victim>());
    assert!(core::mem::offset_of!(Begin, oom) == 24);
    assert!(core::mem::offset_of!(Begin, trigger) == 120);
    assert!(core::mem::offset_of!(Begin, limit_owner) == 552);
    assert!(core::mem::offset_of!(Begin, chosen_levels) == 624);
    assert!(core::mem::offset_of!(Task, tgid) == 64);
    assert!(core::mem::offset_of!(Task, comm) == 96);
    assert!(core::mem::offset_of!(Memcg, hierarchy_id) == 52);
};

/// A [`Memcg`] of which nothing was read.
pub const UNREAD_MEMCG: Memcg = Memcg {
    cgroup_id: UNREAD_U64,
    usage: UNREAD_U64,
    max: UNREAD_U64,
    watermark: UNREAD_U64,
    swap_usage: UNREAD_U64,
    swap_max: UNREAD_U64,
    reserved: 0,
    hierarchy_id: UNREAD_U32,
    path_offset: 0,
    path_len: 0,
    depth: 0,
    flags: 0,
};

/// A [`Task`] of which nothing was read.
pub const UNREAD_TASK: Task = Task {
    start_boottime_ns: UNREAD_U64,
    total_vm: UNREAD_U64,
    rss_file: UNREAD_U64,
    rss_anon: UNREAD_U64,
    rss_shmem: UNREAD_U64,
    swapents: UNREAD_U64,
    hiwater_rss: UNREAD_U64,
    pgtables_bytes: UNREAD_U64,
    tgid: UNREAD_U32,
    tid: UNREAD_U32,
    uid: UNREAD_U32,
    pid_in_namespace: UNREAD_U32,
    parent_tgid: UNREAD_U32,
    flags: 0,
    oom_score_adj: UNREAD_I16,
    reserved: 0,
    shares_mm_with: 0,
    comm: UNREAD_COMM,
    leader_comm: UNREAD_COMM,
    parent_comm: UNREAD_COMM,
};
