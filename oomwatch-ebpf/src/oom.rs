//! The programs' bodies: what is gathered at each hook, and the state of the present invocation.

use core::mem::offset_of;

use oomwatch_common::{
    counters::ProbeCounter,
    record::{
        Begin, End, Killed, MEMCG_AS_CHOSEN, MEMCG_OOM_GROUP_EFFECTIVE, Marked, OomControl, Proof,
        RecordKind, TASK_AS_CHOSEN, TASK_HAS_MM, TASK_KNOWN, Task, UNREAD_U32, Victim,
    },
};

use crate::{
    kernel::{Address, layout},
    memcg,
    scratch::{self, Draft, count, invocation, is_awaited, leave_untold, was_left_untold},
    steps::{self, Step, step},
    task,
};

/// The present call of `oom_kill_process`, or the last one.
#[repr(C)]
pub(crate) struct Invocation {
    /// Counted from 1.
    number: u64,
    /// The task that made the call; NULL after its return.
    caller: Address,
    /// The last `__oom_kill_process`: the thread that has the address space.
    victim_tid: u32,
    /// And its process.
    victim_tgid: u32,
    /// Calls of `__oom_kill_process` so far.
    kill_calls: u32,
    /// Processes marked from inside it.
    killed: u32,
    /// Processes marked without it: they were already exiting.
    already_exiting: u32,
    /// The last `__oom_kill_process` is among `ProbeCounter::Counted`.
    counted: u32,
    /// Whom `oom_kill_process` was called for: the task's address; 0: its record may not hold until the kill.
    chosen: u64,
    /// Of its record.
    chosen_tid: u32,
    /// Of its record.
    chosen_tgid: u32,
    /// Of its record.
    chosen_flags: u32,
    /// `memory.oom.group` may have others die with it.
    chosen_group: u32,
    /// The last call whose end has no record, until a begin has told it.
    untold_end: u64,
}

/// `struct oom_control`
static OOM_CONTROL: [Step; 7] = [
    step!(oc.oom_control_chosen => found.chosen: Pointer),
    step!(oc.oom_control_memcg => found.domain: Pointer),
    step!(oc.oom_control_totalpages => OomControl.totalpages: U64),
    step!(oc.oom_control_chosen_points => OomControl.chosen_points: I64),
    step!(oc.oom_control_gfp_mask => OomControl.gfp_mask: U32),
    step!(oc.oom_control_order => OomControl.order: I32),
    step!(oc.oom_control_constraint => OomControl.constraint: U32),
];

/// Entry of `oom_kill_process`. The chosen process is whole: it gets SIGKILL only after the kernel has printed its
/// report, if at all.
#[inline(always)]
pub(crate) fn begin(oc: Address, message: Address) {
    let invocation = invocation();
    invocation.number = invocation.number.wrapping_add(1);
    let trigger = Address::current_task();
    invocation.caller = trigger;
    invocation.victim_tid = UNREAD_U32;
    invocation.victim_tgid = UNREAD_U32;
    invocation.kill_calls = 0;
    invocation.killed = 0;
    invocation.already_exiting = 0;
    invocation.chosen = 0;
    count(ProbeCounter::Invocations);

    let mut draft = Draft::<Begin>::begin();
    let found = scratch::found();
    found.oc = oc;
    steps::read(&OOM_CONTROL, offset_of!(Begin, oom));
    let found = scratch::found();
    let (chosen, domain) = (found.chosen, found.domain);
    let into = &mut draft.fixed().oom;
    into.untold_end = invocation.untold_end as u32;
    message.message(into);
    let has_threads = task::fill_victim(&mut draft, offset_of!(Begin, chosen), chosen);
    let shown = scratch::found().shown;
    let chosen_memcg = memcg::of_task(chosen);
    let levels = Some(offset_of!(Begin, chosen_levels));
    memcg::fill(&mut draft, offset_of!(Begin, chosen_memcg), levels, chosen_memcg, domain);
    // What is the same is not read and not said again: mostly it is a process that asks at its own cgroup's limit, and
    // dies for it.
    if domain == chosen_memcg {
        draft.fixed().limit_owner.flags = MEMCG_AS_CHOSEN;
    } else {
        memcg::fill(&mut draft, offset_of!(Begin, limit_owner), None, domain, domain);
    }
    let trigger_memcg = if trigger == chosen { chosen_memcg } else { memcg::of_task(trigger) };
    if trigger_memcg == chosen_memcg {
        draft.fixed().trigger_memcg.flags = MEMCG_AS_CHOSEN;
    } else {
        memcg::fill(&mut draft, offset_of!(Begin, trigger_memcg), None, trigger_memcg, domain);
    }
    let Task { tid, tgid, flags, .. } = draft.fixed().chosen;
    (invocation.chosen_tid, invocation.chosen_tgid, invocation.chosen_flags) = (tid, tgid, flags);
    invocation.chosen_group = draft.fixed().chosen_memcg.flags & MEMCG_OOM_GROUP_EFFECTIVE;
    // Of a thread that is chosen because it asks (`vm.oom_kill_allocating_task`) the process's first one is shown.
    let is_other = shown != trigger || trigger != chosen;
    // It is here, and has no other thread: until it is killed nothing of it changes.
    invocation.chosen = if is_other || has_threads != 0 { 0 } else { chosen.value() };
    if is_other {
        task::fill_current(&mut draft, offset_of!(Begin, trigger), trigger);
    } else {
        draft.fixed().trigger.flags = TASK_AS_CHOSEN;
    }
    if draft.submit(RecordKind::Begin, invocation.number) {
        invocation.untold_end = 0;
    } else {
        invocation.chosen = 0;
    }
}

/// Entry of `__oom_kill_process`: this process will get SIGKILL, unless it has lost its address space by now.
#[inline(always)]
pub(crate) fn victim(task: Address) {
    let invocation = invocation();
    if invocation.caller != Address::current_task() {
        return;
    }
    invocation.kill_calls = invocation.kill_calls.wrapping_add(1);
    // The first is the chosen one, and where nothing of it can have changed, the record of the begin says all that is
    // to be said. A group is gone over from its first on again, the chosen one among them.
    if invocation.kill_calls == 1 && task.value() == invocation.chosen {
        let (tid, tgid, flags) = (invocation.chosen_tid, invocation.chosen_tgid, invocation.chosen_flags);
        return invocation.goes_over(tid, tgid, flags);
    }
    let mut draft = fill_victim(Draft::begin(), task);
    let Task { tid, tgid, flags, .. } = draft.fixed().task;
    invocation.goes_over(tid, tgid, flags);
    draft.submit(RecordKind::Victim, invocation.number);
}

impl Invocation {
    #[inline(always)]
    fn goes_over(&mut self, tid: u32, tgid: u32, flags: u32) {
        (self.victim_tid, self.victim_tgid, self.counted) = (tid, tgid, flags & TASK_HAS_MM);
        if self.counted != 0 {
            count(ProbeCounter::Counted);
        }
    }
}

#[inline(always)]
fn fill_victim(mut draft: Draft<Victim>, task: Address) -> Draft<Victim> {
    task::fill_victim(&mut draft, offset_of!(Victim, task), task);
    memcg::fill(&mut draft, offset_of!(Victim, memcg), None, memcg::of_task(task), Address::NULL);
    draft
}

/// `mark_victim` with all kprobes in place. Outside `oom_kill_process` it is a task that was exiting on its own
/// (`task_will_free_mem` in `out_of_memory`); inside, but before `__oom_kill_process`, likewise.
#[inline(always)]
pub(crate) fn confirm(argument: u64) {
    let invocation = invocation();
    if invocation.caller != Address::current_task() {
        return;
    }
    if invocation.kill_calls == 0 {
        invocation.already_exiting = invocation.already_exiting.wrapping_add(1);
        count(ProbeCounter::AlreadyExiting);
        return;
    }
    confirmed(invocation, argument);
}

/// The same without the one on `__oom_kill_process`: here the victim is told too.
#[inline(always)]
pub(crate) fn tell_and_confirm(argument: u64) {
    let invocation = invocation();
    if invocation.caller != Address::current_task() {
        return;
    }
    if layout!(mark_victim_passes_task) == 1 {
        fill_victim(Draft::begin(), Address::new(argument)).submit(RecordKind::Victim, invocation.number);
    }
    // Of none before has it been said whether it counts.
    invocation.counted = 0;
    confirmed(invocation, argument);
}

#[inline(always)]
fn confirmed(invocation: &mut Invocation, argument: u64) {
    let passes_task = layout!(mark_victim_passes_task) == 1;
    invocation.killed = invocation.killed.wrapping_add(1);
    count(ProbeCounter::Killed);
    if invocation.counted == 0 {
        // It had its address space, with a thread that was not among those that were looked at.
        invocation.counted = TASK_HAS_MM;
        count(ProbeCounter::Counted);
    }
    let is_chosen = if passes_task {
        argument == invocation.chosen
    } else {
        invocation.chosen != 0 && argument as u32 == invocation.chosen_tid
    };
    // Of whom the record of the begin says all, and who dies alone, the end says that it was killed.
    if is_chosen && invocation.kill_calls == 1 && invocation.killed == 1 && invocation.chosen_group == 0 {
        return leave_untold(invocation.number);
    }
    let (tgid, tid) = if passes_task {
        let task = Address::new(argument);
        (task.u32(layout!(task_tgid)), task.u32(layout!(task_pid)))
    } else {
        let tid = argument as u32;
        (if tid == invocation.victim_tid { invocation.victim_tgid } else { UNREAD_U32 }, tid)
    };
    let mut draft = Draft::<Killed>::begin();
    draft.fixed().tgid = tgid;
    draft.fixed().tid = tid;
    draft.submit(RecordKind::Killed, invocation.number);
}

/// Return of `oom_kill_process`.
#[inline(always)]
pub(crate) fn end() {
    let invocation = invocation();
    if invocation.caller != Address::current_task() {
        return;
    }
    invocation.caller = Address::NULL;
    let is_alone = invocation.killed == 1 && invocation.already_exiting == 0;
    if is_alone && was_left_untold(invocation.number) && !is_awaited(invocation.number) {
        invocation.untold_end = invocation.number;
        return;
    }
    let mut draft = Draft::<End>::begin();
    draft.fixed().killed = invocation.killed;
    draft.fixed().already_exiting = invocation.already_exiting;
    draft.submit(RecordKind::End, invocation.number);
}

/// `mark_victim` alone. Where the tracepoint passes a bare pid, the task can be had only if it is the current one, its
/// process's first thread or its parent.
#[inline(always)]
pub(crate) fn marked(argument: u64) {
    let invocation = invocation();
    invocation.number = invocation.number.wrapping_add(1);
    count(ProbeCounter::Invocations);
    let mut draft = Draft::<Marked>::begin();
    let trigger = Address::current_task();
    let by_pid = layout!(mark_victim_passes_task) != 1;
    let task = if by_pid { near(trigger, argument as u32) } else { Address::new(argument) };
    task::fill_victim(&mut draft, offset_of!(Marked, task), task);
    if task.is_null() {
        let fixed = draft.fixed();
        fixed.task.tid = argument as u32;
        fixed.task.flags = TASK_KNOWN;
    }
    task::fill_current(&mut draft, offset_of!(Marked, trigger), trigger);
    let (own, levels) = (memcg::of_task(task), Some(offset_of!(Marked, levels)));
    memcg::fill(&mut draft, offset_of!(Marked, memcg), levels, own, Address::NULL);
    draft.fixed().oom_kills = memcg::oom_kills(own);
    let own = memcg::of_task(trigger);
    memcg::fill(&mut draft, offset_of!(Marked, trigger_memcg), None, own, Address::NULL);
    draft.submit(RecordKind::Marked, invocation.number);
}

/// A hook that is there for a moment only: it fires, so others of its kind do.
#[inline(always)]
pub(crate) fn fired() {
    count(ProbeCounter::Fired);
}

/// The task of that pid, NULL where it is neither `task` nor near it.
#[inline(always)]
fn near(task: Address, pid: u32) -> Address {
    for candidate in [task, task.pointer(layout!(task_group_leader)), task.pointer(layout!(task_real_parent))]
    {
        if candidate.u32(layout!(task_pid)) == pid {
            return candidate;
        }
    }
    Address::NULL
}

/// The calling task itself, read as a victim would be.
#[inline(always)]
pub(crate) fn prove() {
    let mut draft = Draft::<Proof>::begin();
    let task = Address::current_task();
    task::fill_current(&mut draft, offset_of!(Proof, task), task);
    memcg::fill(&mut draft, offset_of!(Proof, memcg), None, memcg::of_task(task), Address::NULL);
    draft.submit(RecordKind::Proof, 0);
}
