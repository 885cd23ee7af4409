//! Whom the probe wakes, and when: its records do not. There are two bells, ring buffers whose records mean nothing.
//!
//! `poll` finds one readable while there is a record in it (`ringbuf_map_poll_kern`, kernel/bpf/ringbuf.c). So that
//! each of those who are woken comes to run, whoever was first, its last record stays in it.

#![expect(unsafe_code, reason = "a ring buffer's positions are in memory that is shared with the kernel")]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::refuse;
use crate::refusal::Refusal;

/// That of CPUs with even numbers, and that of those with odd ones.
pub(super) const BELLS: [&str; 2] = ["BELL_EVEN", "BELL_ODD"];
/// `BPF_RINGBUF_HDR_SZ` (include/uapi/linux/bpf.h): no record is smaller.
const RECORD: u64 = 8;

/// The agent's end.
pub(super) struct Wakes {
    bells: Arc<[Bell; 2]>,
    /// The invocation whose end wakes nobody.
    unawaited: Array<MapData, u64>,
    /// What was last written there.
    last: u64,
}

impl Wakes {
    /// Of these programs.
    pub(super) fn of(ebpf: &mut Ebpf, page_bytes: u32) -> Result<Self, Refusal> {
        let missing = || Refusal::failed("the eBPF object lacks a map: it is of another build");
        let mut bell = |name| match ebpf.take_map(name) {
            Some(Map::RingBuf(map)) => {
                Bell::new(map, page_bytes as usize).map_err(|error| refuse("map a bell", &error))
            }
            _ => Err(missing()),
        };
        let bells = Arc::new([bell(BELLS[0])?, bell(BELLS[1])?]);
        let unawaited = Array::try_from(ebpf.take_map("UNAWAITED").ok_or_else(missing)?)
            .map_err(|error| refuse("tell the probe what to wake for", &error))?;
        Ok(Self { bells, unawaited, last: 0 })
    }

    /// See [`super::Probe::bells`].
    pub(super) fn bells(&self) -> Arc<[Bell; 2]> {
        Arc::clone(&self.bells)
    }

    /// See [`super::Probe::await_no_end_of`].
    pub(super) fn await_no_end_of(&mut self, invocation: u64) {
        if self.last == invocation {
            return;
        }
        match self.unawaited.set(0, invocation, 0) {
            Ok(()) => self.last = invocation,
            Err(error) => tracing::debug!(%error, "the probe was not told whose end is not waited for"),
        }
    }
}

/// A bell.
pub struct Bell {
    map: MapData,
    /// Of the two pages that are mapped.
    page_bytes: usize,
    /// How far it has been read.
    consumed: NonNull<AtomicU64>,
    /// How far the kernel has written.
    produced: NonNull<AtomicU64>,
}

// SAFETY: both pointers are to atomics in memory that stays mapped for as long as this lives.
unsafe impl Send for Bell {}
// SAFETY: as above.
unsafe impl Sync for Bell {}

impl Bell {
    /// That one.
    ///
    /// # Errors
    /// The kernel refused the mappings.
    pub(super) fn new(map: MapData, page_bytes: usize) -> io::Result<Self> {
        let page = |protection, at: usize| -> io::Result<NonNull<AtomicU64>> {
            let flags = MapFlags::SHARED;
            // SAFETY: a new mapping, where the kernel chooses.
            let page = unsafe { mmap(ptr::null_mut(), page_bytes, protection, flags, map.fd(), at as u64) }?;
            NonNull::new(page.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
        };
        let consumed = page(ProtFlags::READ | ProtFlags::WRITE, 0)?;
        let produced = page(ProtFlags::READ, page_bytes).inspect_err(|_| {
            // SAFETY: made above, and known to nobody else.
            unsafe { munmap(consumed.as_ptr().cast(), page_bytes) }.ok();
        })?;
        Ok(Self { map, page_bytes, consumed, produced })
    }

    /// Takes note of all times that it has been rung: it can be rung 250 times more.
    pub fn noted(&self) {
        // SAFETY: mapped, aligned to a page, and written by atomic stores alone (`struct bpf_ringbuf`): `unsigned
        // long`, which is 64 bits on both architectures that the agent is built for.
        let (consumed, produced) = unsafe { (self.consumed.as_ref(), self.produced.as_ref()) };
        // Of two that come here at once the later one may store less: then some stay in it until the next time.
        consumed.store(produced.load(Ordering::Acquire).saturating_sub(RECORD), Ordering::Release);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        for page in [self.consumed, self.produced] {
            // SAFETY: mapped by `new`, with this length, and not used any more.
            unsafe { munmap(page.as_ptr().cast(), self.page_bytes) }.ok();
        }
    }
}
