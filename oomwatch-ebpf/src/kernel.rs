//! Single reads of kernel memory, by offset, and what else takes a helper; members of structures that a record has are
//! read by tables (`steps.rs`). With that and `scratch.rs` the only unsafe code of this crate; names in the object
//! aside.
//!
//! An offset that is `ABSENT`, a NULL address and a read that faults all give "unread".

use core::{
    hint::black_box,
    mem::{MaybeUninit, offset_of},
};

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_task, bpf_ktime_get_boot_ns,
        generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
    },
};
use oomwatch_common::{
    layout::{ABSENT, KernelLayout},
    record::{MESSAGE_LEN, OomControl, UNREAD_U64},
};

/// Set by the agent before the program is loaded.
#[unsafe(no_mangle)]
static LAYOUT: KernelLayout = KernelLayout::unknown();

/// Set by the agent before the program is loaded.
#[unsafe(no_mangle)]
static POSSIBLE_CPUS: Global<u32> = Global::new(0);

/// Number of possible CPUs: the highest number plus one.
#[inline(always)]
pub(crate) fn possible_cpus() -> u32 {
    POSSIBLE_CPUS.load()
}

/// One word of the layout, by its offset in [`KernelLayout`]; use [`layout!`].
#[inline(always)]
pub(crate) fn layout_word(offset: usize) -> u32 {
    let layout = (&raw const LAYOUT).cast::<u8>();
    // SAFETY: `offset` is that of a u32 member of KernelLayout (macro `layout!`). Volatile, because the agent
    // replaces the value that the compiler sees.
    unsafe { layout.add(offset).cast::<u32>().read_volatile() }
}

/// `layout!(task_pid)`: the offset that the agent resolved.
macro_rules! layout {
    ($field:ident) => {
        $crate::kernel::layout_word(core::mem::offset_of!(oomwatch_common::layout::KernelLayout, $field))
    };
}
pub(crate) use layout;

/// An address in the kernel, possibly NULL.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Address(u64);

impl Address {
    /// NULL.
    pub(crate) const NULL: Self = Self(0);

    #[inline(always)]
    pub(crate) fn new(address: u64) -> Self {
        Self(address)
    }

    /// The running task.
    #[inline(always)]
    pub(crate) fn current_task() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(unsafe { bpf_get_current_task() })
    }

    /// As a number, to be kept in a map.
    #[inline(always)]
    pub(crate) fn value(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// 1 where it is another one, else 0; without a branch, which the compiler would make of it if it understood.
    #[inline(always)]
    pub(crate) fn differs_from(self, other: Self) -> u32 {
        let difference = self.0 ^ other.0;
        (black_box(difference | difference.wrapping_neg()) >> 63) as u32
    }

    /// The address of a member, NULL where this kernel has none. Of NULL it is one that no kernel structure is at.
    #[inline(always)]
    pub(crate) fn member(self, offset: u32) -> Self {
        if offset == ABSENT { Self::NULL } else { self.shifted(u64::from(offset)) }
    }

    /// The structure that has this address as a member at `offset`.
    #[inline(always)]
    pub(crate) fn container(self, offset: u32) -> Self {
        if offset == ABSENT { Self::NULL } else { Self(self.0.wrapping_sub(u64::from(offset))) }
    }

    /// The address moved by an offset that the kernel itself keeps, such as a CPU's.
    #[inline(always)]
    pub(crate) fn shifted(self, by: u64) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// A pointer member; NULL where it was not read.
    #[inline(always)]
    pub(crate) fn pointer(self, offset: u32) -> Self {
        Self(word_at(self.member(offset).0))
    }

    /// A member; all ones where it was not read.
    #[inline(always)]
    pub(crate) fn u32(self, offset: u32) -> u32 {
        number_at(self.member(offset).0) as u32
    }

    /// Reads what is there: a value, zero where it could not be read; and a mask, all ones where it could not be.
    #[inline(always)]
    pub(crate) fn read<T: Copy + Default>(self) -> (T, u64) {
        let mut into = MaybeUninit::<T>::uninit();
        // SAFETY: the helper checks the address, writes all of `into`, and zeros where it fails; T is made of integers,
        // for which every bit pattern is valid.
        unsafe {
            let result =
                bpf_probe_read_kernel(into.as_mut_ptr().cast(), size_of::<T>() as u32, self.0 as *const _);
            (into.assume_init(), failed(result))
        }
    }

    /// Copies the string at this address to where `into` keeps the kernel's message; all ones where it cannot be read.
    #[inline(always)]
    pub(crate) fn message(self, into: &mut OomControl) {
        const { assert!(MESSAGE_LEN == 64 && offset_of!(OomControl, message).is_multiple_of(8)) };
        let words = (&raw mut into.message).cast::<u64>();
        // SAFETY: so many words are there, aligned, as was just asserted; the helper checks the source, and writes no
        // more than this length.
        unsafe {
            set_words(words, MESSAGE_LEN / 8, 0);
            if bpf_probe_read_kernel_str(words.cast(), MESSAGE_LEN as u32, self.0 as *const _) < 0 {
                set_words(words, MESSAGE_LEN / 8, UNREAD_U64);
            }
        }
    }

    /// Copies the string at this address to `into`, at most N bytes with its NUL; returns how many, or a negative
    /// number.
    #[inline(always)]
    pub(crate) fn string<const N: usize>(self, into: *mut [u8; N]) -> i64 {
        if self.is_null() {
            return -1;
        }
        // SAFETY: `into` points to N writable bytes, which the verifier proves; the helper checks the source.
        unsafe { bpf_probe_read_kernel_str(into.cast(), N as u32, self.0 as *const _) }
    }
}

/// The 64 bits there; 0 where they were not read.
#[inline(never)]
fn word_at(address: u64) -> u64 {
    Address(address).read::<u64>().0
}

/// The 32 bits there; all ones where they were not read.
#[inline(never)]
fn number_at(address: u64) -> u64 {
    let (number, failed) = Address(address).read::<u32>();
    u64::from(number) | failed
}

/// Writes that many words. One by one, or the compiler makes a call of `memset`, whose loop over bytes the verifier
/// would go through.
///
/// # Safety
/// They may be written.
#[inline(never)]
unsafe fn set_words(words: *mut u64, count: usize, value: u64) {
    for index in 0..count {
        // SAFETY: the caller's.
        unsafe { words.add(index).write_volatile(value) };
    }
}

/// All ones of a helper's negative result, else 0.
#[inline(always)]
fn failed(result: i64) -> u64 {
    (result >> 63) as u64
}

/// `CLOCK_BOOTTIME`, nanoseconds.
#[inline(always)]
pub(crate) fn boottime_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
