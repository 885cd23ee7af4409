//! A task and its process: identity, memory, parent.

use oomwatch_common::{
    layout::ABSENT,
    record::{
        TASK_EXITING, TASK_HAS_MM, TASK_KNOWN, TASK_KTHREAD, TASK_RSS_EXACT, Task, UNREAD_I64, UNREAD_U32,
        UNREAD_U64,
    },
};

use crate::{
    kernel::{self, Address, layout},
    scratch::{self, Draft, part, per_cpu_offset},
    steps::{Found, Step, read, step},
};

/// include/linux/sched.h: a kernel thread.
const PF_KTHREAD: u32 = 0x0020_0000;
/// The same: the task is on its way out.
const PF_EXITING: u32 = 0x4;
/// include/linux/sched/signal.h: the whole process is.
const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// Threads that are looked at for one that still has the address space. Only a leader stays behind when it has
/// exited, so the first or the second one is nearly always it.
const THREADS: u32 = 16;
/// Children that are looked at for one that shares the address space. One that was made by `vfork` is the first, unless
/// other threads start processes as well.
const CHILDREN: u32 = 8;
/// CPUs whose counters are summed. On a machine with more RSS is marked inexact.
const CPUS: u32 = 1024;

/// Of the task that was asked for: what its threads have in common.
static PROCESS: [Step; 3] = [
    step!(task.task_flags => found.task_flags: Bits),
    step!(signal.signal_flags => found.signal_flags: U32),
    step!(signal.signal_oom_score_adj => Task.oom_score_adj: I16),
];

/// The thread that is shown, the process's first one, and its parent.
static IDENTITY: [Step; 14] = [
    step!(shown.task_pid => Task.tid: U32),
    step!(shown.task_tgid => Task.tgid: U32),
    step!(shown.task_comm => Task.comm: Comm),
    step!(shown.task_children => found.first_child: Pointer),
    step!(shown.task_real_cred => found.cred: Pointer),
    step!(cred.cred_uid => Task.uid: U32),
    step!(shown.task_group_leader => found.leader: Pointer),
    step!(leader.task_start_boottime => Task.start_boottime_ns: U64),
    step!(leader.task_thread_pid => found.pid: Pointer),
    step!(pid.pid_level => found.pid_level: U32),
    step!(leader.task_real_parent => found.parent: Pointer),
    step!(parent.task_tgid => Task.parent_tgid: U32),
    step!(parent.task_comm => Task.parent_comm: Comm),
    step!(parent.task_mm => found.parent_mm: Pointer),
];

/// The name of a first thread that is not the one shown.
static LEADER: [Step; 1] = [step!(leader.task_comm => Task.leader_comm: Comm)];

/// The address space. Its counters may be negative for the moment.
static MEMORY: [Step; 7] = [
    step!(mm.mm_total_vm => Task.total_vm: U64),
    step!(mm.mm_hiwater_rss => Task.hiwater_rss: U64),
    step!(mm.mm_pgtables_bytes => Task.pgtables_bytes: U64),
    step!(mm.mm_rss_file => Task.rss_file: I64),
    step!(mm.mm_rss_anon => Task.rss_anon: I64),
    step!(mm.mm_rss_shmem => Task.rss_shmem: I64),
    step!(mm.mm_rss_swap => Task.swapents: I64),
];

/// Where each CPU's parts of the last four are.
static PARTS: [Step; 4] = [
    step!(mm.mm_rss_file_parts => found.file_parts: Pointer),
    step!(mm.mm_rss_anon_parts => found.anon_parts: Pointer),
    step!(mm.mm_rss_shmem_parts => found.shmem_parts: Pointer),
    step!(mm.mm_rss_swap_parts => found.swap_parts: Pointer),
];

/// Reads the process of `task` into the member of the record at offset `into`, as that of a victim: the thread shown is
/// the first that still has the address space, as the kernel's own `find_lock_task_mm` (mm/oom_kill.c) picks it. `task`
/// may be another one, where whoever allocates is killed (`vm.oom_kill_allocating_task`). Gives 0 where the process has
/// no other thread.
#[inline(always)]
pub(crate) fn fill_victim<T>(_: &mut Draft<T>, into: usize, task: Address) -> u32 {
    fill_victim_task(into as u64, task.value()) as u32
}

/// [`fill_victim`], verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fill_victim_task(into: u64, task: u64) -> u64 {
    let first = Address::new(task);
    let signal = first.pointer(layout!(task_signal));
    let threads = signal.member(layout!(signal_thread_head));
    let ([head, tail], _) = threads.read::<[u64; 2]>();
    let (owner, mm) = mm_owner(first, threads, Address::new(head));
    scratch::found().signal = signal;
    fill_task(into, task, owner.value(), mm.value());
    let into = part::<Task>(into);
    into.shares_mm_with = shares_mm_with(owner, mm, into);
    // Of a single thread the list of the process's threads begins and ends with the same one.
    u64::from(Address::new(head).differs_from(Address::new(tail)))
}

/// Reads the task that runs, and its process.
#[inline(always)]
pub(crate) fn fill_current<T>(_: &mut Draft<T>, into: usize, task: Address) {
    let mm = task.pointer(layout!(task_mm));
    let owner = if mm.is_null() { Address::NULL } else { task };
    scratch::found().signal = task.pointer(layout!(task_signal));
    fill_task(into as u64, task.value(), owner.value(), mm.value());
}

/// Reads a task and its process, whose signal was found, into the part of the record at offset `at`; verified once for
/// all. Gives 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fill_task(at: u64, task: u64, owner: u64, mm: u64) -> u64 {
    let found = scratch::found();
    found.task = Address::new(task);
    found.shown = Address::new(if owner == 0 { task } else { owner });
    found.mm = Address::new(mm);
    read(&IDENTITY, at as usize);
    read(&PROCESS, at as usize);
    // Of an address that is NULL nothing is read, and that is said of each.
    read(&MEMORY, at as usize);

    let (into, found) = (part::<Task>(at), scratch::found());
    if found.leader == found.shown {
        into.leader_comm = into.comm;
    } else {
        read(&LEADER, at as usize);
    }
    let (into, found) = (part::<Task>(at), scratch::found());
    let mut flags = 0;
    if task != 0 {
        let (own, all) = (found.task_flags, found.signal_flags);
        // Unread is on the way out: then nothing is said too early.
        let exiting = ((own & PF_EXITING) / PF_EXITING) | ((all & SIGNAL_GROUP_EXIT) / SIGNAL_GROUP_EXIT);
        flags = TASK_KNOWN | ((own & PF_KTHREAD) / PF_KTHREAD * TASK_KTHREAD) | (exiting * TASK_EXITING);
    }
    if mm != 0 {
        flags |= TASK_HAS_MM;
    }
    flags |= sum_rss(into);
    into.pid_in_namespace = pid_in_namespace(found);
    into.flags = flags;
    into.reserved = 0;
    into.shares_mm_with = 0;
    0
}

/// A process that has the address space of `owner`, whose process was just read, and is not that one: whose allocation
/// this is, the parent or one of its children. 0 where none of them has it.
#[inline(always)]
fn shares_mm_with(owner: Address, mm: Address, read: &Task) -> u32 {
    let found = scratch::found();
    if mm.is_null() {
        return 0;
    }
    let current = Address::current_task();
    if current != owner
        && let Some(other) = of_other_process(current, mm, read.tgid)
    {
        return other;
    }
    if found.parent_mm == mm && is_other(read.parent_tgid, read.tgid) {
        return read.parent_tgid;
    }
    let head = owner.member(layout!(task_children));
    let mut node = found.first_child;
    for _ in 0..CHILDREN {
        if node.is_null() || node == head {
            break;
        }
        if let Some(other) = of_other_process(node.container(layout!(task_sibling)), mm, read.tgid) {
            return other;
        }
        node = node.pointer(0);
    }
    0
}

/// The process of `task` where that is another one than `tgid` and has this address space.
#[inline(always)]
fn of_other_process(task: Address, mm: Address, tgid: u32) -> Option<u32> {
    if task.pointer(layout!(task_mm)) != mm {
        return None;
    }
    let other = task.u32(layout!(task_tgid));
    is_other(other, tgid).then_some(other)
}

#[inline(always)]
fn is_other(process: u32, tgid: u32) -> bool {
    process != tgid && process != UNREAD_U32
}

/// The first thread of `task`'s process that still has an address space, and that; NULL if none. `head` is that of the
/// list of its threads, `first` the node behind.
#[inline(always)]
fn mm_owner(task: Address, head: Address, first: Address) -> (Address, Address) {
    let mut node = first;
    for _ in 0..THREADS {
        if node.is_null() || node == head {
            break;
        }
        let thread = node.container(layout!(task_thread_node));
        let mm = thread.pointer(layout!(task_mm));
        if !mm.is_null() {
            return (thread, mm);
        }
        node = node.pointer(0);
    }
    let mm = task.pointer(layout!(task_mm));
    (if mm.is_null() { Address::NULL } else { task }, mm)
}

/// The number of a process in the innermost pid namespace that it is in: `pid->numbers[pid->level].nr`.
#[inline(always)]
fn pid_in_namespace(found: &Found) -> u32 {
    let level = found.pid_level;
    // MAX_PID_NS_LEVEL is 32 (include/linux/pid_namespace.h).
    if level > 32 {
        return UNREAD_U32;
    }
    found.pid.member(layout!(pid_numbers)).member(level * layout!(upid_size)).u32(layout!(upid_nr))
}

/// Makes the numbers of pages out of the four counters of `mm->rss_stat` that were read; returns `TASK_RSS_EXACT` where
/// they were summed over all CPUs.
///
/// Up to 6.1 a counter is one atomic, and each thread has a part of its own from its last 64 faults: never exact. Since
/// then it is `percpu_counter_sum_positive` (lib/percpu_counter.c), over all possible CPUs: one that went offline has
/// folded its part into the count and left 0 behind. Where not exact it is the count alone, as the kernel's log has it.
#[inline(always)]
fn sum_rss(into: &mut Task) -> u32 {
    let mut exact = 0;
    let (base, possible_cpus) = (per_cpu_offset(), kernel::possible_cpus());
    if layout!(mm_rss_file_parts) != ABSENT && !base.is_null() && (1..=CPUS).contains(&possible_cpus) {
        read(&PARTS, 0);
        exact = TASK_RSS_EXACT & !(add_parts(into, base, possible_cpus) as u32);
    }
    into.rss_file = pages(into.rss_file);
    into.rss_anon = pages(into.rss_anon);
    into.rss_shmem = pages(into.rss_shmem);
    into.swapents = pages(into.swapents);
    exact
}

/// Of a counter with its sign, as it was read and summed up. One that is negative for the moment is 0, as for
/// `get_mm_counter` (include/linux/mm.h).
#[inline(never)]
fn pages(counter: u64) -> u64 {
    if counter == UNREAD_I64 as u64 {
        UNREAD_U64
    } else if (counter as i64) < 0 {
        0
    } else {
        counter
    }
}

/// Adds what each CPU has of the counters; all ones where any of that, or of them, was not read.
///
/// Since 6.6 the four counters of a process are one allocation (`percpu_counter_init_many`, lib/percpu_counter.c), so
/// that a CPU's parts follow each other and are read at once.
#[inline(always)]
fn add_parts(into: &mut Task, base: Address, possible_cpus: u32) -> u64 {
    let found = scratch::found();
    let mut file = Counter::new(&mut into.rss_file, layout!(mm_filepages), found.file_parts);
    let mut anon = Counter::new(&mut into.rss_anon, layout!(mm_anonpages), found.anon_parts);
    let mut shmem = Counter::new(&mut into.rss_shmem, layout!(mm_shmempages), found.shmem_parts);
    let mut swap = Counter::new(&mut into.swapents, layout!(mm_swapents), found.swap_parts);
    let mut counters = [&mut file, &mut anon, &mut shmem, &mut swap];
    let first = counters[0].parts.container(counters[0].kind.wrapping_mul(4));
    let (mut missed, mut apart) = (0, 0);
    for counter in &counters {
        missed |= u64::from(counter.parts.differs_from(Address::NULL)).wrapping_sub(1);
        apart |= counter.parts.differs_from(first.member(counter.kind.wrapping_mul(4)));
        apart |= u32::from(counter.kind >= 4);
    }
    for cpu in 0..CPUS {
        if cpu >= possible_cpus {
            break;
        }
        let (offset, failed) = base.member(cpu * 8).read::<u64>();
        missed |= failed;
        if apart == 0 {
            let (words, failed) = first.shifted(offset).read::<[u64; 2]>();
            missed |= failed;
            for counter in &mut counters {
                let word = if counter.kind < 2 { words[0] } else { words[1] };
                counter.add((word >> (counter.kind % 2 * 32)) as u32);
            }
        } else {
            for counter in &mut counters {
                let (part, failed) = counter.parts.shifted(offset).read::<u32>();
                missed |= failed;
                counter.add(part);
            }
        }
    }
    for counter in counters {
        missed |= counter.keep();
    }
    missed
}

/// One counter while it is summed up.
struct Counter<'a> {
    count: &'a mut u64,
    /// Of the parts.
    sum: u64,
    /// Which of the four.
    kind: u32,
    /// Where its parts are.
    parts: Address,
}

impl<'a> Counter<'a> {
    #[inline(always)]
    fn new(count: &'a mut u64, kind: u32, parts: Address) -> Self {
        Self { count, sum: 0, kind, parts }
    }

    /// Adds a part, a number of 32 bits with its sign.
    #[inline(always)]
    fn add(&mut self, part: u32) {
        self.sum = self.sum.wrapping_add(i64::from(part as i32) as u64);
    }

    /// All ones where there is no count to add the parts to.
    #[inline(always)]
    fn keep(&mut self) -> u64 {
        if *self.count == UNREAD_I64 as u64 {
            return u64::MAX;
        }
        *self.count = self.count.wrapping_add(self.sum);
        0
    }
}
