//! Reads of kernel memory, typed and by offset. With `scratch.rs` the only unsafe code of this crate.
//!
//! An offset that is `ABSENT`, a NULL address and a read that faults all give "unread": all ones, never 0.

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_task, bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_probe_read_kernel_buf,
        generated::bpf_probe_read_kernel_str,
    },
};
use oomwatch_common::{
    layout::{ABSENT, KernelLayout, ProbeConfig},
    record::{UNREAD_U32, UNREAD_U64},
};

/// Set by the agent before the program is loaded.
#[unsafe(no_mangle)]
static LAYOUT: KernelLayout = KernelLayout::unknown();

/// Set by the agent before the program is loaded.
#[unsafe(no_mangle)]
static CONFIG: Global<ProbeConfig> =
    Global::new(ProbeConfig { per_cpu_offset: 0, possible_cpus: 0, kill_hook: 0 });

/// The machine and how the probe was attached.
#[inline(always)]
pub(crate) fn config() -> ProbeConfig {
    CONFIG.load()
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

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address of a member, NULL where there is none.
    #[inline(always)]
    pub(crate) fn member(self, offset: u32) -> Self {
        if self.is_null() || offset == ABSENT { Self::NULL } else { Self(self.0 + u64::from(offset)) }
    }

    /// The structure that has this address as a member at `offset`.
    #[inline(always)]
    pub(crate) fn container(self, offset: u32) -> Self {
        if self.is_null() || offset == ABSENT { Self::NULL } else { Self(self.0 - u64::from(offset)) }
    }

    /// The address moved by an offset that the kernel itself keeps, such as a CPU's.
    #[inline(always)]
    pub(crate) fn shifted(self, by: i64) -> Self {
        if self.is_null() { Self::NULL } else { Self(self.0.wrapping_add(by as u64)) }
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> Option<T> {
        let address = self.member(offset);
        if address.is_null() {
            return None;
        }
        // SAFETY: the helper checks the address and fails on one that faults; T is an integer or an array of
        // bytes, for which every bit pattern is valid.
        unsafe { bpf_probe_read_kernel(address.0 as *const T) }.ok()
    }

    /// A pointer member; NULL where it was not read.
    #[inline(always)]
    pub(crate) fn pointer(self, offset: u32) -> Self {
        Self(self.read(offset).unwrap_or(0))
    }

    #[inline(always)]
    pub(crate) fn u64(self, offset: u32) -> u64 {
        self.read(offset).unwrap_or(UNREAD_U64)
    }

    #[inline(always)]
    pub(crate) fn u32(self, offset: u32) -> u32 {
        self.read(offset).unwrap_or(UNREAD_U32)
    }

    #[inline(always)]
    pub(crate) fn i64(self, offset: u32) -> Option<i64> {
        self.read(offset)
    }

    #[inline(always)]
    pub(crate) fn i32(self, offset: u32) -> Option<i32> {
        self.read(offset)
    }

    #[inline(always)]
    pub(crate) fn i16(self, offset: u32) -> Option<i16> {
        self.read(offset)
    }

    #[inline(always)]
    pub(crate) fn u8(self, offset: u32) -> Option<u8> {
        self.read(offset)
    }

    /// Fills `into` from a member; leaves it as it was where that cannot be read.
    #[inline(always)]
    pub(crate) fn bytes<const N: usize>(self, offset: u32, into: &mut [u8; N]) {
        let address = self.member(offset);
        if address.is_null() {
            return;
        }
        // SAFETY: the helper checks the source, and writes no more than the slice's length.
        if unsafe { bpf_probe_read_kernel_buf(address.0 as *const u8, into) }.is_err() {
            *into = [0xff; N];
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

/// `CLOCK_BOOTTIME`, nanoseconds.
#[inline(always)]
pub(crate) fn boottime_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
