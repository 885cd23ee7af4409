//! What is read of the kernel's structures, as tables, and the one place that reads by them.
//!
//! A kill comes once in a while, when no cache has the probe's code any more: what it takes depends on how much code is
//! run, not on how often. So members are not read one after another by instructions of their own.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use oomwatch_common::{
    layout::{ABSENT, KernelLayout},
    record::{UNREAD_I16, UNREAD_I32, UNREAD_I64, UNREAD_U32, UNREAD_U64},
};

use crate::{
    kernel::{Address, layout_word},
    scratch::{FIXED_LEN, FOUND_AT, RECORD_AT, scratch},
};

/// Addresses that are found on the way, and numbers of which the record has but a part. One that was not read is all
/// ones, an address NULL.
#[repr(C)]
pub(crate) struct Found {
    /// `struct oom_control`
    pub(crate) oc: Address,
    /// The task that was chosen.
    pub(crate) chosen: Address,
    /// The cgroup whose limit was hit.
    pub(crate) domain: Address,
    /// A task that was asked for.
    pub(crate) task: Address,
    /// The one of its threads that is shown.
    pub(crate) shown: Address,
    pub(crate) signal: Address,
    pub(crate) mm: Address,
    pub(crate) cred: Address,
    pub(crate) leader: Address,
    pub(crate) pid: Address,
    pub(crate) parent: Address,
    pub(crate) parent_mm: Address,
    /// The first link of the list of what the thread shown has started.
    pub(crate) first_child: Address,
    /// Per-CPU parts of the counters of `mm->rss_stat`.
    pub(crate) file_parts: Address,
    pub(crate) anon_parts: Address,
    pub(crate) shmem_parts: Address,
    pub(crate) swap_parts: Address,
    /// A css, which is at the beginning of its memory cgroup.
    pub(crate) css: Address,
    pub(crate) parent_css: Address,
    pub(crate) cgroup: Address,
    pub(crate) root: Address,
    pub(crate) kn: Address,
    pub(crate) name: Address,
    pub(crate) task_flags: u32,
    pub(crate) signal_flags: u32,
    pub(crate) pid_level: u32,
    pub(crate) oom_group: u32,
}

/// What a member is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// NULL where it was not read.
    Pointer,
    U64,
    I64,
    U32,
    I32,
    I16,
    /// 32 of them, none where they were not read.
    Bits,
    /// The first byte of a `u32` whose others are zero; 0 where it was not read.
    Bool,
    /// 16 bytes.
    Comm,
}

impl Kind {
    const fn bytes(self) -> u8 {
        match self {
            Self::Pointer | Self::U64 | Self::I64 => 8,
            Self::U32 | Self::I32 | Self::Bits => 4,
            Self::I16 => 2,
            Self::Bool => 1,
            Self::Comm => 16,
        }
    }
}

/// One member that is read.
#[repr(C)]
pub(crate) struct Step {
    /// Where the address of its structure is: an offset in [`Found`].
    from: u8,
    kind: Kind,
    bytes: u8,
    /// It goes into the record.
    is_of_record: u8,
    /// Its offset: that of a word of [`KernelLayout`].
    member: u16,
    /// Where it goes: an offset in the part of the record, or in [`Found`].
    into: u16,
}

impl Step {
    pub(crate) const fn new(from: usize, member: usize, kind: Kind, into: usize, is_of_record: bool) -> Self {
        assert!(from < size_of::<Found>() && member < size_of::<KernelLayout>() && into < FIXED_LEN);
        let is_of_record = is_of_record as u8;
        Self {
            from: from as u8,
            kind,
            bytes: kind.bytes(),
            is_of_record,
            member: member as u16,
            into: into as u16,
        }
    }
}

/// `step!(leader.task_comm => Task.leader_comm: Comm)`: a member of the structure that was found, and where it goes.
macro_rules! step {
    ($from:ident.$member:ident => found.$into:ident: $kind:ident) => {
        $crate::steps::step!($from.$member, $kind, $crate::steps::Found, $into, false)
    };
    ($from:ident.$member:ident => $part:ident.$into:ident: $kind:ident) => {
        $crate::steps::step!($from.$member, $kind, $part, $into, true)
    };
    ($from:ident.$member:ident, $kind:ident, $part:ty, $into:ident, $is_of_record:literal) => {
        $crate::steps::Step::new(
            core::mem::offset_of!($crate::steps::Found, $from),
            core::mem::offset_of!(oomwatch_common::layout::KernelLayout, $member),
            $crate::steps::Kind::$kind,
            core::mem::offset_of!($part, $into),
            $is_of_record,
        )
    };
}
pub(crate) use step;

/// Reads members in their order; those of the record go to the part of it at offset `part`.
#[inline(always)]
pub(crate) fn read<const N: usize>(steps: &'static [Step; N], part: usize) {
    read_steps(steps.as_ptr(), N, part as u64);
}

/// [`read`], whose code is there once.
#[inline(never)]
fn read_steps(steps: *const Step, count: usize, part: u64) {
    for index in 0..count {
        // SAFETY: `steps` are as many as `count`.
        let step = unsafe { steps.add(index).read_volatile() };
        let to =
            if step.is_of_record == 1 { RECORD_AT + (part as usize & (FIXED_LEN - 1)) } else { FOUND_AT };
        // SAFETY: the offsets of `step` are those of members (`step!`), and what they are in lies in the scratch
        // memory, which is larger than the largest sum of both. The helper checks the source, and zeros where it fails.
        unsafe {
            let from = *scratch().cast::<u8>().add(FOUND_AT + step.from as usize).cast::<Address>();
            let into = scratch().cast::<u8>().add(to).add(step.into as usize);
            let offset = layout_word(step.member as usize);
            let mut result = -1;
            if offset != ABSENT {
                result = bpf_probe_read_kernel(
                    into.cast(),
                    step.bytes.into(),
                    from.member(offset).value() as *const _,
                );
            }
            if result < 0 {
                leave_unread(step.kind, into);
            }
        }
    }
}

/// Says that a member was not read.
///
/// # Safety
/// `into` is a member of that kind.
#[inline(always)]
unsafe fn leave_unread(kind: Kind, into: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        match kind {
            Kind::Pointer => into.cast::<u64>().write(0),
            Kind::U64 => into.cast::<u64>().write(UNREAD_U64),
            Kind::I64 => into.cast::<i64>().write(UNREAD_I64),
            Kind::U32 => into.cast::<u32>().write(UNREAD_U32),
            Kind::I32 => into.cast::<i32>().write(UNREAD_I32),
            Kind::I16 => into.cast::<i16>().write(UNREAD_I16),
            Kind::Bits => into.cast::<u32>().write(0),
            Kind::Bool => into.write(0),
            // One by one, or the compiler makes a call of `memset` of both.
            Kind::Comm => {
                into.cast::<u64>().write_volatile(UNREAD_U64);
                into.cast::<u64>().add(1).write_volatile(UNREAD_U64);
            }
        }
    }
}
