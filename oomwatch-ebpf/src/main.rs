//! oomwatch's kernel side: maps, programs, licence, panic handler; nothing else.
//!
//! The programs read, fill and submit. Parsing, naming and every decision that can wait is the agent's.

#![no_std]
#![no_main]
#![expect(clippy::inline_always, reason = "behind a call the verifier would know less of the arguments")]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros hand the contexts over by value")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_ptr_alignment,
    reason = "64-bit registers hold what is narrower; a checked conversion is a branch more to verify"
)]

mod kernel;
mod memcg;
mod oom;
mod scratch;
mod steps;
mod task;

use crate::kernel::Address;
use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_MMAPABLE,
    macros::{fentry, fexit, kprobe, kretprobe, map, raw_tracepoint},
    maps::{Array, RingBuf},
    programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext},
};

/// The agent sets the size when it loads this: a power of two that is a multiple of the page size.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Rung to wake who captures on CPUs of even numbers; what is in it means nothing. The records themselves wake nobody.
#[map]
static BELL_EVEN: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The same on CPUs of odd numbers.
#[map]
static BELL_ODD: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The invocation whose end nobody waits for: the agent writes it into the map's memory.
#[map]
static UNAWAITED: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Logs by aya-log in a debug build, and is nothing in a release.
macro_rules! debug_log {
    ($ctx:expr, $text:literal) => {
        #[cfg(feature = "debug-log")]
        aya_log_ebpf::debug!($ctx, $text);
        #[cfg(not(feature = "debug-log"))]
        let _ = $ctx;
    };
}

/// `oom_kill_process(struct oom_control *oc, const char *message)`, since 4.8.
#[kprobe]
fn oom_kill_process(ctx: ProbeContext) -> u32 {
    debug_log!(&ctx, "oom_kill_process");
    oom::begin(Address::new(ctx.arg(0).unwrap_or(0)), Address::new(ctx.arg(1).unwrap_or(0)));
    0
}

/// `__oom_kill_process(struct task_struct *victim, const char *message)`, since 5.0.
#[kprobe]
fn oom_kill_victim(ctx: ProbeContext) -> u32 {
    debug_log!(&ctx, "__oom_kill_process");
    oom::victim(Address::new(ctx.arg(0).unwrap_or(0)));
    0
}

/// Return of `oom_kill_process`.
#[kretprobe]
fn oom_kill_process_return(ctx: RetProbeContext) -> u32 {
    debug_log!(&ctx, "oom_kill_process returned");
    oom::end();
    0
}

/// `oom_badness`, which the kernel calls for whoever reads `/proc/PID/oom_score` (fs/proc/base.c): attached for as long
/// as that takes, to see whether kprobes fire at all.
#[kprobe]
fn oom_badness(_ctx: ProbeContext) -> u32 {
    oom::fired();
    0
}

/// The same three by the kernel's own trampolines, where `perf_event_open`, which kprobes need, is not permitted.
#[fentry(function = "oom_kill_process")]
fn oom_kill_process_fentry(ctx: FEntryContext) -> i32 {
    debug_log!(&ctx, "oom_kill_process");
    let arguments = Address::new(ctx.as_ptr() as u64);
    oom::begin(arguments.pointer(0), arguments.pointer(8));
    0
}

/// `__oom_kill_process`
#[fentry(function = "__oom_kill_process")]
fn oom_kill_victim_fentry(ctx: FEntryContext) -> i32 {
    debug_log!(&ctx, "__oom_kill_process");
    oom::victim(Address::new(ctx.as_ptr() as u64).pointer(0));
    0
}

/// `oom_badness`, as above.
#[fentry(function = "oom_badness")]
fn oom_badness_fentry(_ctx: FEntryContext) -> i32 {
    oom::fired();
    0
}

/// Return of `oom_kill_process`.
#[fexit(function = "oom_kill_process")]
fn oom_kill_process_fexit(ctx: FExitContext) -> i32 {
    debug_log!(&ctx, "oom_kill_process returned");
    oom::end();
    0
}

/// Tracepoint `oom/mark_victim` beside the kprobes: confirms that a victim was sent SIGKILL.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn victim_marked(ctx: RawTracePointContext) -> i32 {
    debug_log!(&ctx, "mark_victim");
    oom::confirm(ctx.arg(0));
    0
}

/// The same on a kernel that has no `__oom_kill_process` to hook.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn victim_told_and_marked(ctx: RawTracePointContext) -> i32 {
    debug_log!(&ctx, "mark_victim");
    oom::tell_and_confirm(ctx.arg(0));
    0
}

/// Tracepoint `oom/mark_victim` alone, on a kernel without kprobes.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn mark_victim(ctx: RawTracePointContext) -> i32 {
    debug_log!(&ctx, "mark_victim");
    oom::marked(ctx.arg(0));
    0
}

/// Never attached: the agent runs it once in its own context, to hold what it reads against `/proc/self`.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn prove(_ctx: RawTracePointContext) -> i32 {
    oom::prove();
    0
}

/// The kernel lets only GPL-compatible programs read its memory.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// A loop without end: a panic that can be reached is refused by the verifier when the program is loaded.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
