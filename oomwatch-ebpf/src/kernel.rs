//! Reads of kernel memory, typed and by offset. With `scratch.rs` the only unsafe code of this crate; names
//! in the object aside.
//!
//! An offset that is `ABSENT`, a NULL address and a read that faults all give "unread": all ones, never 0.
//!
//! What a read came to is reckoned with, not branched on: of each branch the verifier follows both ways, and of thirty
//! reads one after another that made 200,000 instructions out of 5,000.

use core::{
    hint::black_box,
    mem::{MaybeUninit, offset_of},
    ptr,
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
    record::{COMM_LEN, MESSAGE_LEN, OomControl, Task, UNREAD_I16, UNREAD_I32, UNREAD_I64},
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
        if offset == ABSENT { Self::NULL } else { Self(self.0.wrapping_add(u64::from(offset))) }
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

    /// Reads a member: what was read, zero where it could not be; and a mask, all ones where it could not be.
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: u32) -> (T, u64) {
        if offset == ABSENT {
            return (T::default(), u64::MAX);
        }
        let mut into = MaybeUninit::<T>::uninit();
        // SAFETY: the helper checks the address, writes all of `into`, and zeros where it fails; T is an integer, for
        // which every bit pattern is valid.
        unsafe {
            let result = bpf_probe_read_kernel(
                into.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                self.member(offset).0 as *const _,
            );
            (into.assume_init(), failed(result))
        }
    }

    /// A pointer member; NULL where it was not read.
    #[inline(always)]
    pub(crate) fn pointer(self, offset: u32) -> Self {
        Self(self.read::<u64>(offset).0)
    }

    #[inline(always)]
    pub(crate) fn u64(self, offset: u32) -> u64 {
        let (value, failed) = self.read::<u64>(offset);
        value | failed
    }

    #[inline(always)]
    pub(crate) fn u32(self, offset: u32) -> u32 {
        let (value, failed) = self.read::<u32>(offset);
        value | failed as u32
    }

    /// Two members, which are read at once where they are neighbours.
    #[inline(always)]
    pub(crate) fn u32_pair(self, first: u32, second: u32) -> (u32, u32) {
        if second != first.wrapping_add(4) {
            return (self.u32(first), self.u32(second));
        }
        let both = self.u64(first);
        (half(both, 0), half(both, 4))
    }

    /// [`UNREAD_I16`] where it was not read.
    #[inline(always)]
    pub(crate) fn i16(self, offset: u32) -> i16 {
        let (value, failed) = self.read::<u16>(offset);
        (value | failed as u16 & UNREAD_I16 as u16) as i16
    }

    /// Bits of a member, none where it was not read.
    #[inline(always)]
    pub(crate) fn bits(self, offset: u32) -> u32 {
        self.read(offset).0
    }

    /// Whether a `bool` member is set: 1, or 0, also where it was not read.
    #[inline(always)]
    pub(crate) fn flag(self, offset: u32) -> u32 {
        u32::from(self.read::<u8>(offset).0 & 1)
    }

    /// A number that is added to others, as 64 bits with its sign, 0 where it was not read; and a mask, all ones where
    /// it was not.
    #[inline(always)]
    pub(crate) fn summand(self, offset: u32) -> (u64, u64) {
        self.read(offset)
    }

    /// The same of a number of 32 bits.
    #[inline(always)]
    pub(crate) fn small_summand(self, offset: u32) -> (u64, u64) {
        let (value, failed) = self.read::<u32>(offset);
        (i64::from(value as i32) as u64, failed)
    }

    /// Reads a task's name to `into`, a member of `record::Task`; leaves it as it was where there is none.
    #[inline(always)]
    pub(crate) fn comm(self, offset: u32, into: &mut [u8; COMM_LEN]) {
        const { assert!(COMM_LEN == 16 && offset_of!(Task, comm).is_multiple_of(8)) };
        if offset == ABSENT {
            return;
        }
        let words = into.as_mut_ptr().cast::<u64>();
        // SAFETY: the helper checks the source, writes no more than this length, and zeros where it fails. The three
        // names of a Task follow each other, so each is two words, aligned.
        unsafe {
            let from = self.member(offset).0 as *const _;
            let failed = failed(bpf_probe_read_kernel(words.cast(), COMM_LEN as u32, from));
            *words |= failed;
            *words.add(1) |= failed;
        }
    }

    /// Copies the string at this address to where `into` keeps the kernel's message; all ones where it cannot be read.
    #[inline(always)]
    pub(crate) fn message(self, into: &mut OomControl) {
        const { assert!(MESSAGE_LEN == 64 && offset_of!(OomControl, message).is_multiple_of(8)) };
        // SAFETY: eight words, aligned, as was just asserted: bytes would be written one by one. The helper checks the
        // source, writes no more than this length, and zeros where it fails.
        unsafe {
            let words = (&raw mut into.message).cast::<[u64; 8]>();
            for word in &mut *words {
                clear(word, 0);
            }
            let failed =
                failed(bpf_probe_read_kernel_str(words.cast(), MESSAGE_LEN as u32, self.0 as *const _));
            for word in &mut *words {
                *word |= failed;
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

/// Words of a [`Window`].
const WINDOW: usize = 16;

/// The beginning of a structure, read at once: each read by itself costs as much as all of this.
pub(crate) struct Window {
    from: Address,
    words: [u64; WINDOW],
    /// All ones where it was not read.
    failed: u64,
}

impl Window {
    #[inline(always)]
    pub(crate) fn of(from: Address) -> Self {
        let mut words = MaybeUninit::<[u64; WINDOW]>::uninit();
        // SAFETY: the helper checks the address, writes all of `words`, and zeros where it fails.
        let (words, result) = unsafe {
            let len = size_of::<[u64; WINDOW]>() as u32;
            let result = bpf_probe_read_kernel(words.as_mut_ptr().cast(), len, from.0 as *const _);
            (words.assume_init(), result)
        };
        Self { from, words, failed: failed(result) }
    }

    /// The 64 bits at that offset, zero where nothing was read, and whether they are here.
    #[inline(always)]
    fn word(&self, offset: u32, alignment: u32) -> Option<u64> {
        self.words.get(offset as usize / 8).copied().filter(|_| offset.is_multiple_of(alignment))
    }

    /// A member; one that lies further on is read by itself.
    #[inline(always)]
    pub(crate) fn u64(&self, offset: u32) -> u64 {
        self.word(offset, 8).map_or_else(|| self.from.u64(offset), |word| word | self.failed)
    }

    /// The same of 32 bits.
    #[inline(always)]
    pub(crate) fn u32(&self, offset: u32) -> u32 {
        let here = |word| half(word, offset) | self.failed as u32;
        self.word(offset, 4).map_or_else(|| self.from.u32(offset), here)
    }

    /// [`UNREAD_I64`] where it was not read.
    #[inline(always)]
    pub(crate) fn i64(&self, offset: u32) -> i64 {
        let unread = UNREAD_I64 as u64;
        self.word(offset, 8).map_or(unread, |word| word | (self.failed & unread)) as i64
    }

    /// [`UNREAD_I32`] where it was not read.
    #[inline(always)]
    pub(crate) fn i32(&self, offset: u32) -> i32 {
        let unread = UNREAD_I32 as u32;
        self.word(offset, 4).map_or(unread, |word| half(word, offset) | (self.failed as u32 & unread)) as i32
    }

    /// A pointer member; NULL where it was not read.
    #[inline(always)]
    pub(crate) fn pointer(&self, offset: u32) -> Address {
        self.word(offset, 8).map_or_else(|| self.from.pointer(offset), Address)
    }
}

/// Writes a word of several that follow each other. By itself, or the compiler makes a call of `memset` of all of them,
/// whose loop over bytes the verifier would go through.
#[inline(always)]
pub(crate) fn clear(word: &mut u64, value: u64) {
    // SAFETY: a reference may be written through.
    unsafe { ptr::write_volatile(word, value) }
}

/// The half of a word that is at that offset. Both architectures store the lower one first.
#[inline(always)]
fn half(word: u64, offset: u32) -> u32 {
    (word >> (offset % 8 * 8)) as u32
}

/// All ones of a helper's negative result, else 0.
#[inline(always)]
fn failed(result: i64) -> u64 {
    (result >> 63) as u64
}

/// All ones of a number that is negative with its sign, else 0. The compiler is not to make a comparison of it.
#[inline(always)]
pub(crate) fn negative(number: u64) -> u64 {
    ((black_box(number) as i64) >> 63) as u64
}

/// `CLOCK_BOOTTIME`, nanoseconds.
#[inline(always)]
pub(crate) fn boottime_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
