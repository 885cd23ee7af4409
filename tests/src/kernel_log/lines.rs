//! The single lines of an OOM kill in the kernel's log.
//!
//! The kernel escapes nothing in them: a comm or a cgroup's name may hold any text, `) total-vm:` excepted only
//! because `TASK_COMM_LEN` is 16 and it would have to be followed by numbers. So what the kernel writes
//! itself is looked for from the right.

/// `C invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name of the task whose allocation failed.
    pub trigger_comm: Vec<u8>,
    /// `oom_control.gfp_mask`
    pub gfp_mask: u32,
    /// `oom_control.order`
    pub order: i32,
    /// The trigger's, not the victim's.
    pub oom_score_adj: i16,
}

impl Header {
    /// `None` where the line is another.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (comm, rest) = split_last(text, b" invoked oom-killer: gfp_mask=0x")?;
        let rest = std::str::from_utf8(rest).ok()?;
        let (gfp_mask, rest) = rest.split_once(['(', ','])?;
        let (_, rest) = rest.split_once("order=")?;
        let (order, rest) = rest.split_once(", oom_score_adj=")?;
        Some(Self {
            trigger_comm: comm.to_vec(),
            gfp_mask: u32::from_str_radix(gfp_mask, 16).ok()?,
            order: order.parse().ok()?,
            oom_score_adj: rest.parse().ok()?,
        })
    }
}

/// `memory: usage 49036kB, limit 49152kB, failcnt 31`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// KiB.
    pub usage_kib: u64,
    /// KiB; an unlimited one is 9007199254740988 with pages of 4 KiB.
    pub limit_kib: u64,
}

impl Counter {
    /// `None` where the line is another.
    pub fn parse(text: &[u8], prefix: &str) -> Option<Self> {
        let rest = std::str::from_utf8(text).ok()?.strip_prefix(prefix)?;
        let (usage, rest) = rest.split_once("kB, limit ")?;
        let (limit, _) = rest.split_once("kB,")?;
        Some(Self { usage_kib: usage.parse().ok()?, limit_kib: limit.parse().ok()? })
    }
}

/// `oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),…,oom_memcg=/a,task_memcg=/a/b,task=C,pid=N,uid=U`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `CONSTRAINT_MEMCG`, …
    pub constraint: String,
    /// The cgroup whose limit was hit; none for `global_oom`.
    pub oom_memcg: Option<Vec<u8>>,
    /// The cgroup of the process that was chosen.
    pub task_memcg: Vec<u8>,
    /// Its name.
    pub task: Vec<u8>,
    /// Its `pid`: the number of its first thread.
    pub pid: u32,
    /// Its uid.
    pub uid: u32,
}

impl Summary {
    /// `None` where the line is another, or is not complete.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(b"oom-kill:constraint=")?;
        let (rest, uid) = split_last(rest, b",uid=")?;
        let (rest, pid) = split_last(rest, b",pid=")?;
        let (rest, task) = split_last(rest, b",task=")?;
        let (rest, task_memcg) = split_last(rest, b",task_memcg=")?;
        let oom_memcg = split_first(rest, b",oom_memcg=").map(|(_, path)| path.to_vec());
        if oom_memcg.is_none() && !rest.ends_with(b",global_oom") {
            return None;
        }
        let constraint = rest.split(|&byte| byte == b',').next()?;
        Some(Self {
            constraint: String::from_utf8(constraint.to_vec()).ok()?,
            oom_memcg,
            task_memcg: task_memcg.to_vec(),
            task: task.to_vec(),
            pid: number(pid)?,
            uid: number(uid)?,
        })
    }
}

/// `M: Killed process N (C) total-vm:1kB, anon-rss:2kB, file-rss:3kB, shmem-rss:4kB, UID:0
/// pgtables:5kB oom_score_adj:0`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    /// `Out of memory`, `Memory cgroup out of memory`, …
    pub message: String,
    /// The thread that had the address space.
    pub tid: u32,
    /// Its name.
    pub comm: Vec<u8>,
    /// KiB.
    pub total_vm_kib: u64,
    /// KiB.
    pub rss_anon_kib: u64,
    /// KiB.
    pub rss_file_kib: u64,
    /// KiB.
    pub rss_shmem_kib: u64,
    /// Real uid.
    pub uid: u32,
    /// KiB.
    pub pgtables_kib: u64,
    /// Of the process.
    pub oom_score_adj: i16,
}

impl Killed {
    /// `None` where the line is another.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (front, numbers) = split_last(text, b") total-vm:")?;
        let (message, front) = split_first(front, b": Killed process ")?;
        let (tid, comm) = split_first(front, b" (")?;
        let numbers = std::str::from_utf8(numbers).ok()?;
        let (total_vm, rest) = numbers.split_once("kB, anon-rss:")?;
        let (rss_anon, rest) = rest.split_once("kB, file-rss:")?;
        let (rss_file, rest) = rest.split_once("kB, shmem-rss:")?;
        let (rss_shmem, rest) = rest.split_once("kB, UID:")?;
        let (uid, rest) = rest.split_once(" pgtables:")?;
        let (pgtables, oom_score_adj) = rest.split_once("kB oom_score_adj:")?;
        Some(Self {
            message: String::from_utf8(message.to_vec()).ok()?,
            tid: number(tid)?,
            comm: comm.to_vec(),
            total_vm_kib: total_vm.parse().ok()?,
            rss_anon_kib: rss_anon.parse().ok()?,
            rss_file_kib: rss_file.parse().ok()?,
            rss_shmem_kib: rss_shmem.parse().ok()?,
            uid: uid.parse().ok()?,
            pgtables_kib: pgtables.parse().ok()?,
            oom_score_adj: oom_score_adj.parse().ok()?,
        })
    }
}

/// The pid of `CPU: 1 UID: 0 PID: 164 Comm: hog Not tainted …`, the first line of `dump_stack` (`lib/dump_stack.c`).
pub(super) fn stack_dump_tid(text: &[u8]) -> Option<u32> {
    let (_, rest) = split_first(text.strip_prefix(b"CPU: ")?, b" PID: ")?;
    let (tid, _) = split_first(rest, b" Comm: ")?;
    number(tid)
}

fn split_first<'a>(text: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    split_at(text, text.windows(by.len()).position(|window| window == by)?, by)
}

fn split_last<'a>(text: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    split_at(text, text.windows(by.len()).rposition(|window| window == by)?, by)
}

fn split_at<'a>(text: &'a [u8], at: usize, by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (front, rest) = text.split_at_checked(at)?;
    Some((front, rest.strip_prefix(by)?))
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
