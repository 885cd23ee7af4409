//! What the kernel side counts about itself, by index into its global `.bss.counters`.

/// One counter of the kernel side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProbeCounter {
    /// Records handed to the ring buffer.
    Submitted = 0,
    /// Records that found the ring buffer full: lost.
    RingBufferFull = 1,
    /// Calls of `oom_kill_process`.
    Invocations = 2,
    /// Processes marked as victims from inside `__oom_kill_process`.
    Killed = 3,
    /// Marks of a process that was already exiting: `mark_victim` fired, nothing was killed.
    AlreadyExiting = 4,
    /// Calls of `__oom_kill_process` for a process that had its address space: as often the kernel raises `oom_kill` of
    /// /proc/vmstat (mm/oom_kill.c), so the first victim of a group twice where it still has it at the end.
    Counted = 5,
    /// How often the program fired that is attached for a moment to see whether hooks of its kind do.
    Fired = 6,
    /// No count, but which call of `oom_kill_process` was the last whose only victim was marked, without a record of
    /// its own: its end will tell, or the next begin.
    Untold = 7,
}

/// How many counters there are; the size of the map.
pub const PROBE_COUNTERS: usize = 8;
