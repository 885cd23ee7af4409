//! A task and its process: identity, memory, parent.

use oomwatch_common::record::{
    TASK_EXITING, TASK_HAS_MM, TASK_KNOWN, TASK_KTHREAD, TASK_RSS_EXACT, Task, UNREAD_TASK, UNREAD_U32,
};

use crate::{
    kernel::{self, Address, layout},
    scratch::{Draft, part, per_cpu_offset},
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
    let task = Address::new(task);
    let signal = task.pointer(layout!(task_signal));
    // Of a single thread the list of the process's threads begins and ends with the same one.
    let threads = signal.member(layout!(signal_thread_head));
    let first = threads.pointer(0);
    let has_others = first.differs_from(threads.pointer(8));
    let (owner, mm) = mm_owner(task, threads, first);
    fill_task(into, task.value(), signal.value(), owner.value(), mm.value());
    if let Some(into) = part::<Task>(into) {
        into.shares_mm_with = shares_mm_with(owner, mm, into.tgid);
    }
    u64::from(has_others)
}

/// Reads the task that runs, and its process.
#[inline(always)]
pub(crate) fn fill_current<T>(_: &mut Draft<T>, into: usize, task: Address) {
    let mm = task.pointer(layout!(task_mm));
    let owner = if mm.is_null() { Address::NULL } else { task };
    let signal = task.pointer(layout!(task_signal));
    fill_task(into as u64, task.value(), signal.value(), owner.value(), mm.value());
}

/// Reads a task and its process into the part of the record at offset `into`; verified once for all. Gives 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fill_task(into: u64, task: u64, signal: u64, owner: u64, mm: u64) -> u64 {
    let Some(into) = part::<Task>(into) else { return 0 };
    let (task, signal) = (Address::new(task), Address::new(signal));
    let (owner, mm) = (Address::new(owner), Address::new(mm));
    *into = UNREAD_TASK;
    if task.is_null() {
        return 0;
    }
    let mut flags = TASK_KNOWN;

    let shown = if owner.is_null() { task } else { owner };
    (into.tid, into.tgid) = shown.u32_pair(layout!(task_pid), layout!(task_tgid));
    shown.comm(layout!(task_comm), &mut into.comm);

    // Unread is on the way out: then nothing is said too early.
    let (own, all) = (task.bits(layout!(task_flags)), signal.u32(layout!(signal_flags)));
    let exiting = ((own & PF_EXITING) / PF_EXITING) | ((all & SIGNAL_GROUP_EXIT) / SIGNAL_GROUP_EXIT);
    flags |= ((own & PF_KTHREAD) / PF_KTHREAD * TASK_KTHREAD) | (exiting * TASK_EXITING);
    into.oom_score_adj = signal.i16(layout!(signal_oom_score_adj));
    into.uid = shown.pointer(layout!(task_real_cred)).u32(layout!(cred_uid));

    let leader = task.pointer(layout!(task_group_leader));
    into.start_boottime_ns = leader.u64(layout!(task_start_boottime));
    leader.comm(layout!(task_comm), &mut into.leader_comm);
    into.pid_in_namespace = pid_in_namespace(leader);

    let parent = leader.pointer(layout!(task_real_parent));
    into.parent_tgid = parent.u32(layout!(task_tgid));
    parent.comm(layout!(task_comm), &mut into.parent_comm);

    if !mm.is_null() {
        flags |= TASK_HAS_MM;
        into.total_vm = mm.u64(layout!(mm_total_vm));
        into.hiwater_rss = mm.u64(layout!(mm_hiwater_rss));
        into.pgtables_bytes = mm.u64(layout!(mm_pgtables_bytes));
        flags |= fill_rss(into, mm);
    }
    into.flags = flags;
    0
}

/// A process that has the address space of `owner`, and is not `tgid`: the one whose allocation this is, `owner`'s
/// parent or one of its children. 0 where none of them has it.
#[inline(always)]
fn shares_mm_with(owner: Address, mm: Address, tgid: u32) -> u32 {
    if mm.is_null() {
        return 0;
    }
    let current = Address::current_task();
    let found = if current == owner { 0 } else { of_other_process(current, mm, tgid) };
    if found != 0 {
        return found;
    }
    let found = of_other_process(owner.pointer(layout!(task_real_parent)), mm, tgid);
    if found != 0 {
        return found;
    }
    let head = owner.member(layout!(task_children));
    let mut node = head.pointer(0);
    for _ in 0..CHILDREN {
        if node.is_null() || node == head {
            break;
        }
        let found = of_other_process(node.container(layout!(task_sibling)), mm, tgid);
        if found != 0 {
            return found;
        }
        node = node.pointer(0);
    }
    0
}

/// The process of `task` where that is another one than `tgid` and has this address space, else 0.
#[inline(always)]
fn of_other_process(task: Address, mm: Address, tgid: u32) -> u32 {
    if task.pointer(layout!(task_mm)) != mm {
        return 0;
    }
    let other = task.bits(layout!(task_tgid));
    if other == tgid { 0 } else { other }
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

/// The number of a task in the innermost pid namespace that it is in: `pid->numbers[pid->level].nr`.
#[inline(always)]
fn pid_in_namespace(task: Address) -> u32 {
    let pid = task.pointer(layout!(task_thread_pid));
    let level = pid.u32(layout!(pid_level));
    // MAX_PID_NS_LEVEL is 32 (include/linux/pid_namespace.h).
    if level > 32 {
        return UNREAD_U32;
    }
    pid.member(layout!(pid_numbers)).member(level * layout!(upid_size)).u32(layout!(upid_nr))
}

/// Reads the four counters of `mm->rss_stat`; returns `TASK_RSS_EXACT` where they were summed over all CPUs.
///
/// Up to 6.1 a counter is one atomic, and each thread has a part of its own from its last 64 faults: never exact. Since
/// then it is `percpu_counter_sum_positive` (lib/percpu_counter.c), over all possible CPUs: one that went offline has
/// folded its part into the count and left 0 behind. Where not exact it is the count alone, as the kernel's log has it.
#[inline(always)]
fn fill_rss(into: &mut Task, mm: Address) -> u32 {
    let is_percpu = layout!(rss_stat_percpu) == 1;
    let stat = mm.member(layout!(mm_rss_stat));
    let of_kind = |kind: u32| {
        let counter = stat.member(kind * layout!(rss_stat_stride));
        Counter::read(counter, if is_percpu { layout!(percpu_counter_count) } else { 0 })
    };
    let mut file = of_kind(layout!(mm_filepages));
    let mut anon = of_kind(layout!(mm_anonpages));
    let mut shmem = of_kind(layout!(mm_shmempages));
    let mut swap = of_kind(layout!(mm_swapents));
    let possible_cpus = kernel::possible_cpus();
    let mut exact = 0;
    if is_percpu
        && (1..=CPUS).contains(&possible_cpus)
        && let base = per_cpu_offset()
        && !base.is_null()
    {
        let mut missed = 0;
        let mut counters = [&mut file, &mut anon, &mut shmem, &mut swap];
        for counter in &mut counters {
            missed |= counter.find_parts();
        }
        for cpu in 0..CPUS {
            if cpu >= possible_cpus {
                break;
            }
            let (offset, failed) = base.summand(cpu * 8);
            missed |= failed;
            for counter in &mut counters {
                missed |= counter.add_part(offset);
            }
        }
        exact = TASK_RSS_EXACT & !(missed as u32);
    }
    into.rss_file = file.value();
    into.rss_anon = anon.value();
    into.rss_shmem = shmem.value();
    into.swapents = swap.value();
    exact
}

/// One counter while it is summed up.
struct Counter {
    /// Where it is, then where its parts are.
    at: Address,
    sum: u64,
    /// All ones where it was not read.
    unread: u64,
}

impl Counter {
    #[inline(always)]
    fn read(at: Address, count_offset: u32) -> Self {
        let (sum, unread) = at.summand(count_offset);
        Self { at, sum, unread }
    }

    /// All ones where there are none.
    #[inline(always)]
    fn find_parts(&mut self) -> u64 {
        self.at = self.at.pointer(layout!(percpu_counter_counters));
        u64::from(self.at.differs_from(Address::NULL)).wrapping_sub(1)
    }

    /// Adds the part of the CPU whose memory is so far off; all ones where it was not read.
    #[inline(always)]
    fn add_part(&mut self, offset: u64) -> u64 {
        let (part, failed) = self.at.shifted(offset).small_summand(0);
        self.sum = self.sum.wrapping_add(part);
        failed
    }

    /// A sum that is negative for the moment is 0, as for `get_mm_counter` (include/linux/mm.h).
    #[inline(always)]
    fn value(&self) -> u64 {
        self.sum & !kernel::negative(self.sum) | self.unread
    }
}
