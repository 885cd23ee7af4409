//! The per-CPU memory in which a record is put together, its tail, the counters and the ring buffer.
//!
//! How much of the tail is used is kept in the map, not in a register: the verifier then sees the same unknown
//! number on every path, instead of one state for each length that a path can have.
//!
//! A function with a name of its own in the object (`no_mangle`), whose arguments are numbers, is one that the kernel
//! verifies by itself and once, whoever calls it and however often (since 5.6, "global functions" in
//! kernel/bpf/verifier.c). It is told by offset which part of the record it fills, and finds that by [`part`].

use core::{marker::PhantomData, ptr};

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ringbuf_output},
    maps::RingBuf,
};
use oomwatch_common::{
    counters::ProbeCounter,
    record::{COMPONENT_LEN, Header, RecordKind, TAIL_LEN, WIRE_VERSION},
};

use crate::{
    BELL_EVEN, BELL_ODD, COUNTERS, INVOCATION, PER_CPU_OFFSET, RECORDS, SCRATCH, UNAWAITED, kernel,
    memcg::Walk, oom::Invocation,
};

/// Room for the largest fixed part of a record.
const FIXED_LEN: usize = 1024;

/// One CPU's scratch memory.
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
}

/// A record of fixed part `T` under way in this CPU's scratch memory.
pub(crate) struct Draft<T> {
    scratch: *mut Scratch,
    fixed: PhantomData<*mut T>,
}

/// Fixed parts that fit: checked where a draft is begun.
impl<T> Draft<T> {
    const FITS: () = assert!(size_of::<T>() <= FIXED_LEN && size_of::<T>().is_multiple_of(8));

    /// Begins a record. `None` never happens, but the verifier has to be shown the check.
    #[inline(always)]
    pub(crate) fn begin() -> Option<Self> {
        let () = Self::FITS;
        let scratch = SCRATCH.get_ptr_mut(0)?;
        // SAFETY: `scratch` points to this CPU's element; programs on one CPU do not interrupt each other here
        // (tracing programs run with preemption disabled, and none runs inside another of ours).
        unsafe {
            (&raw mut (*scratch).tail_at).write_volatile(size_of::<T>() as u64);
            (&raw mut (*scratch).tail).write_volatile(0);
        }
        Some(Self { scratch, fixed: PhantomData })
    }

    /// The fixed part. Not to be held on to while a function fills a part of it.
    #[inline(always)]
    pub(crate) fn fixed(&mut self) -> &mut T {
        // SAFETY: as in `begin`; T is made of integers, for which any bytes are valid, and FITS says that it lies
        // within `bytes`.
        unsafe { &mut *self.scratch.cast::<T>() }
    }

    /// Hands the record to the ring buffer, or counts that it was full: false.
    #[inline(always)]
    pub(crate) fn submit(self, kind: RecordKind, incident: u64) -> bool {
        // SAFETY: `scratch` is valid, see `begin`. Volatile: see the module's text.
        let tail = (unsafe { (&raw const (*self.scratch).tail).read_volatile() }) as usize;
        if tail > TAIL_LEN + COMPONENT_LEN {
            return false;
        }
        let size = size_of::<T>() + tail;
        // SAFETY: every record begins with a Header (record.rs), and `size` bytes of `bytes` are initialised: the
        // fixed part by its program, the tail by `push_component`, both within the element that the map zeroed.
        let failed = unsafe {
            self.scratch.cast::<Header>().write(Header {
                version: WIRE_VERSION,
                kind: kind as u16,
                size: size as u16,
                cpu: this_cpu() as u16,
                incident,
                boottime_ns: kernel::boottime_ns(),
            });
            let flags = u64::from(BPF_RB_NO_WAKEUP);
            let records = (&raw const RECORDS).cast_mut().cast();
            bpf_ringbuf_output(records, self.scratch.cast(), size as u64, flags)
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

/// Wakes who captures, on CPUs whose numbers are even or odd as this one is. A wakeup costs as much as a third of all
/// that a record is made of, so only those are woken who have something to do. At the begin and for each victim those
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
fn is_awaited(incident: u64) -> bool {
    UNAWAITED.get(0).is_none_or(|&unawaited| unawaited != incident)
}

/// A part of the record under way, by its offset in the fixed part. `None` never happens, see `Draft::begin`.
#[inline(always)]
pub(crate) fn part<T>(offset: u64) -> Option<&'static mut T> {
    const { assert!(size_of::<T>() <= TAIL_LEN && FIXED_LEN.is_power_of_two()) };
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `Draft::begin`: this CPU's element. Offsets are those of members of that type (`offset_of!`), and
    // `Draft::fixed` is not held meanwhile. The mask changes none of them. It shows the verifier that the part lies
    // within `bytes`, where a comparison would be forgotten as soon as the compiler keeps the offset on the stack.
    Some(unsafe { &mut *scratch.cast::<u8>().add(offset as usize & (FIXED_LEN - 1)).cast::<T>() })
}

/// The path that is being followed.
#[inline(always)]
pub(crate) fn walk() -> Option<&'static mut Walk> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `Draft::begin`; integers, for which any bytes are valid. Whoever calls a function that has it too
    // asks for it anew behind that.
    Some(unsafe { &mut (*scratch).walk })
}

/// Bytes of the record's tail in use so far.
#[inline(always)]
pub(crate) fn tail_len() -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: as in `Draft::begin`. Volatile: see the module's text.
    (unsafe { (&raw const (*scratch).tail).read_volatile() }) as u32
}

/// Appends a component of a path to the record's tail, with its NUL. False: no room, or not readable.
#[inline(always)]
pub(crate) fn push_component(name: kernel::Address) -> bool {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return false };
    // SAFETY: as in `Draft::begin`. Volatile: see the module's text. And one after the other, because of both checks in
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
    let to = unsafe { scratch.cast::<u8>().add(at as usize).add(used as usize) };
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
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a pointer to this CPU's element; see `Draft::begin` for why nothing else writes it meanwhile.
        unsafe { ptr::write(value, ptr::read(value).wrapping_add(1)) };
    }
}

/// The kernel's `__per_cpu_offset`, NULL where it is not known.
#[inline(always)]
pub(crate) fn per_cpu_offset() -> kernel::Address {
    kernel::Address::new(PER_CPU_OFFSET.get(0).copied().unwrap_or(0))
}

/// The present invocation. `None` never happens, see `Draft::begin`.
#[inline(always)]
pub(crate) fn invocation() -> Option<&'static mut Invocation> {
    let invocation = INVOCATION.get_ptr_mut(0)?;
    // SAFETY: a pointer to the map's one element; every hook runs with the kernel's `oom_lock` held, so no other
    // program holds this reference. Invocation is made of integers, for which any bytes are valid.
    Some(unsafe { &mut *invocation })
}
