//! The memory in which a record is put together, its tail, the counters and the ring buffer.
//!
//! There is one such memory, because there is one kill at a time: the kernel calls `oom_kill_process`, and marks a
//! victim, with its `oom_lock` held (mm/oom_kill.c, mm/memcontrol.c), and the proof is over before any hook is in
//! place. It is a global, whose address the programs know: in a map it would be looked up by each function that needs
//! it.
//!
//! How much of the tail is used is kept there, not in a register: the verifier then sees the same unknown
//! number on every path, instead of one state for each length that a path can have.
//!
//! A function with a name of its own in the object (`no_mangle`), whose arguments are numbers, is one that the kernel
//! verifies by itself and once, whoever calls it and however often (since 5.6, "global functions" in
//! kernel/bpf/verifier.c). It is told by offset which part of the record it fills, and finds that by [`part`].

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{MaybeUninit, offset_of},
};

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ringbuf_output},
    maps::RingBuf,
};
use oomwatch_common::{
    counters::{PROBE_COUNTERS, ProbeCounter},
    record::{COMPONENT_LEN, Header, RecordKind, TAIL_LEN, WIRE_VERSION},
};

use crate::{BELL_EVEN, BELL_ODD, RECORDS, UNAWAITED, kernel, memcg::Walk, oom::Invocation, steps::Found};

/// Room for the largest fixed part of a record.
pub(crate) const FIXED_LEN: usize = 1024;

/// The one.
static SCRATCH: Shared<MaybeUninit<Scratch>> = Shared(UnsafeCell::new(MaybeUninit::zeroed()));

/// By `ProbeCounter`; the agent reads them, and so they are a map of their own, as each section is.
#[unsafe(link_section = ".bss.counters")]
static COUNTERS: Shared<[u64; PROBE_COUNTERS]> = Shared(UnsafeCell::new([0; PROBE_COUNTERS]));

/// Address of the kernel's `__per_cpu_offset`, 0 where it is not known. The agent still looks for it while the programs
/// are verified, so it is none of the constants.
#[unsafe(link_section = ".bss.per_cpu")]
static PER_CPU_OFFSET: Shared<u64> = Shared(UnsafeCell::new(0));

struct Shared<T>(UnsafeCell<T>);

// SAFETY: whoever uses one holds the kernel's `oom_lock`, or is the proof: see the module's text. Of what `oom_badness`
// counts without that it matters only whether it does.
unsafe impl<T> Sync for Shared<T> {}

/// What lies there.
#[repr(C, align(8))]
pub(crate) struct Scratch {
    /// The record: its fixed part, then at once its tail. The last component may begin at `TAIL_LEN`.
    bytes: [u8; FIXED_LEN + TAIL_LEN + COMPONENT_LEN],
    /// Where the tail begins: bytes of the fixed part.
    tail_at: u64,
    /// Bytes of tail in use.
    tail: u64,
    /// The path that is being followed.
    walk: Walk,
    /// What was found on the way to what the record has.
    found: Found,
    /// The present call of `oom_kill_process`.
    invocation: Invocation,
}

/// A record of fixed part `T` under way.
pub(crate) struct Draft<T>(PhantomData<*mut T>);

/// Fixed parts that fit: checked where a draft is begun.
#[expect(clippy::unused_self, reason = "whoever has one is who puts a record together")]
impl<T> Draft<T> {
    const FITS: () = assert!(size_of::<T>() <= FIXED_LEN && size_of::<T>().is_multiple_of(8));

    /// Begins a record.
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        let () = Self::FITS;
        // SAFETY: as `scratch` says. Volatile: see the module's text.
        unsafe {
            (&raw mut (*scratch()).tail_at).write_volatile(size_of::<T>() as u64);
            (&raw mut (*scratch()).tail).write_volatile(0);
        }
        Self(PhantomData)
    }

    /// The fixed part. Not to be held on to while a function fills a part of it.
    #[inline(always)]
    pub(crate) fn fixed(&mut self) -> &mut T {
        // SAFETY: as `scratch` says; T is made of integers, for which any bytes are valid, and FITS says that it lies
        // within `bytes`.
        unsafe { &mut *record().cast::<T>() }
    }

    /// Hands the record to the ring buffer, or counts that it was full: false.
    #[inline(always)]
    pub(crate) fn submit(self, kind: RecordKind, incident: u64) -> bool {
        // SAFETY: as `scratch` says. Volatile: see the module's text.
        let tail = (unsafe { (&raw const (*scratch()).tail).read_volatile() }) as usize;
        if tail > TAIL_LEN + COMPONENT_LEN {
            return false;
        }
        let size = size_of::<T>() + tail;
        // SAFETY: every record begins with a Header (record.rs), and `size` bytes of `bytes` are initialised: the
        // fixed part by its program, the tail by `push_component`, both within memory that was zero at first.
        let failed = unsafe {
            record().cast::<Header>().write(Header {
                version: WIRE_VERSION,
                kind: kind as u16,
                size: size as u16,
                cpu: this_cpu() as u16,
                incident,
                boottime_ns: kernel::boottime_ns(),
            });
            let flags = u64::from(BPF_RB_NO_WAKEUP);
            let records = (&raw const RECORDS).cast_mut().cast();
            bpf_ringbuf_output(records, record().cast(), size as u64, flags)
        };
        count(if failed == 0 { ProbeCounter::Submitted } else { ProbeCounter::RingBufferFull });
        // Who is to look is woken also where this record was lost: there are others in the ring buffer.
        match kind {
            RecordKind::Begin | RecordKind::Victim => ring(!this_cpu()),
            RecordKind::End if is_awaited(incident) => ring(this_cpu()),
            RecordKind::Marked => {
                ring(0);
                ring(1);
            }
            RecordKind::End | RecordKind::Killed | RecordKind::Proof => {}
        }
        failed == 0
    }
}

/// Wakes who captures, on CPUs whose numbers are even or odd as this one is. A wakeup costs as much as all that is
/// read, so only those are woken who have something to do. At the begin and for each victim those
/// on the other CPUs, as this one is busy with the kill. At the end those here, the kernel being done with the victims:
/// what was killed by its own allocation is on this very CPU, and does not go on before who is woken on it. That a
/// victim was marked is no news, as there is an end soon behind it.
#[inline(always)]
fn ring(cpu: u32) {
    let nothing = 0_u64;
    let rung_by = |bell: *const RingBuf| {
        // SAFETY: the helper reads these 8 bytes. It fails where nobody has taken note of the bell for 250 times.
        unsafe {
            let flags = u64::from(BPF_RB_FORCE_WAKEUP);
            bpf_ringbuf_output(bell.cast_mut().cast(), (&raw const nothing).cast_mut().cast(), 8, flags)
        };
    };
    if cpu & 1 == 0 { rung_by(&raw const BELL_EVEN) } else { rung_by(&raw const BELL_ODD) }
}

/// The CPU that this runs on.
#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

/// Whether somebody waits for this invocation's end.
#[inline(always)]
pub(crate) fn is_awaited(incident: u64) -> bool {
    UNAWAITED.get(0).is_none_or(|&unawaited| unawaited != incident)
}

/// The memory. Those who have it are one behind the other, and what it is made of is valid whatever its bytes are.
#[inline(always)]
pub(crate) fn scratch() -> *mut Scratch {
    SCRATCH.0.get().cast()
}

/// The record in it.
#[inline(always)]
pub(crate) fn record() -> *mut u8 {
    // SAFETY: a member of what `scratch` points to.
    unsafe { (&raw mut (*scratch()).bytes).cast() }
}

/// A part of the record under way, by its offset in the fixed part.
#[inline(always)]
pub(crate) fn part<T>(offset: u64) -> &'static mut T {
    const { assert!(size_of::<T>() <= TAIL_LEN && FIXED_LEN.is_power_of_two()) };
    // SAFETY: as `scratch` says. Offsets are those of members of that type (`offset_of!`), and `Draft::fixed` is not
    // held meanwhile. The mask changes none of them. It shows the verifier that the part lies within `bytes`, where a
    // comparison would be forgotten as soon as the compiler keeps the offset on the stack.
    unsafe { &mut *record().add(offset as usize & (FIXED_LEN - 1)).cast::<T>() }
}

/// Where what was found is.
pub(crate) const FOUND_AT: usize = offset_of!(Scratch, found);
/// Where the record is.
pub(crate) const RECORD_AT: usize = offset_of!(Scratch, bytes);

/// What was found. Whoever reads by a table, or calls a function that does, asks for it anew behind that.
#[inline(always)]
pub(crate) fn found() -> &'static mut Found {
    // SAFETY: as `scratch` says.
    unsafe { &mut (*scratch()).found }
}

/// The path that is being followed. Whoever calls a function that has it too asks for it anew behind that.
#[inline(always)]
pub(crate) fn walk() -> &'static mut Walk {
    // SAFETY: as `scratch` says.
    unsafe { &mut (*scratch()).walk }
}

/// The present invocation.
#[inline(always)]
pub(crate) fn invocation() -> &'static mut Invocation {
    // SAFETY: as `scratch` says.
    unsafe { &mut (*scratch()).invocation }
}

/// Bytes of the record's tail in use so far.
#[inline(always)]
pub(crate) fn tail_len() -> u32 {
    // SAFETY: as `scratch` says. Volatile: see the module's text.
    (unsafe { (&raw const (*scratch()).tail).read_volatile() }) as u32
}

/// Appends a component of a path to the record's tail, with its NUL. False: no room, or not readable.
#[inline(always)]
pub(crate) fn push_component(name: kernel::Address) -> bool {
    let scratch = scratch();
    // SAFETY: as `scratch` says. Volatile: see the module's text. And one after the other, because of both checks in
    // one the verifier would learn nothing of either.
    let used = unsafe { (&raw const (*scratch).tail).read_volatile() };
    if used > TAIL_LEN as u64 {
        return false;
    }
    // SAFETY: as above.
    let at = unsafe { (&raw const (*scratch).tail_at).read_volatile() };
    if at > FIXED_LEN as u64 {
        return false;
    }
    // SAFETY: COMPONENT_LEN bytes from there lie within `bytes`, as was just checked.
    let to = unsafe { record().add(at as usize).add(used as usize) };
    let written = name.string(to.cast::<[u8; COMPONENT_LEN]>());
    if written <= 0 || written > COMPONENT_LEN as i64 {
        return false;
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*scratch).tail).write_volatile(used.wrapping_add(written as u64)) };
    true
}

/// Adds one to a counter.
#[inline(always)]
pub(crate) fn count(counter: ProbeCounter) {
    let counter = at(counter);
    // SAFETY: an element of `COUNTERS`, which one program at a time writes.
    unsafe { counter.write(counter.read().wrapping_add(1)) };
}

/// See [`ProbeCounter::Untold`].
#[inline(always)]
pub(crate) fn leave_untold(incident: u64) {
    // SAFETY: as in `count`.
    unsafe { at(ProbeCounter::Untold).write(incident) };
}

/// Whether [`leave_untold`] was called for that invocation.
#[inline(always)]
pub(crate) fn was_left_untold(incident: u64) -> bool {
    // SAFETY: as in `count`.
    unsafe { at(ProbeCounter::Untold).read() == incident }
}

/// Where a counter is.
#[inline(always)]
fn at(counter: ProbeCounter) -> *mut u64 {
    // SAFETY: there are as many elements as counters.
    unsafe { COUNTERS.0.get().cast::<u64>().add(counter as usize) }
}

/// The kernel's `__per_cpu_offset`, NULL where it is not known.
#[inline(always)]
pub(crate) fn per_cpu_offset() -> kernel::Address {
    // SAFETY: nobody writes it while a program runs. Volatile, because the agent does before.
    kernel::Address::new(unsafe { PER_CPU_OFFSET.0.get().read_volatile() })
}
