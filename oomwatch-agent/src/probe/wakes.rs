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
    maps::{Map, MapData},
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
    unawaited: Arc<Unawaited>,
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
        let Some(Map::Array(map)) = ebpf.take_map("UNAWAITED") else { return Err(missing()) };
        let unawaited = Unawaited::new(map, page_bytes as usize);
        let unawaited = unawaited.map_err(|error| refuse("map what the probe wakes for", &error))?;
        Ok(Self { bells, unawaited: Arc::new(unawaited) })
    }

    /// See [`super::Probe::bells`].
    pub(super) fn bells(&self) -> Arc<[Bell; 2]> {
        Arc::clone(&self.bells)
    }

    /// See [`super::Probe::unawaited`].
    pub(super) fn unawaited(&self) -> &Arc<Unawaited> {
        &self.unawaited
    }
}

/// The invocation whose end wakes nobody: a word that the probe looks at.
pub struct Unawaited {
    /// It lives for as long as its memory is mapped.
    _map: MapData,
    page_bytes: usize,
    word: NonNull<AtomicU64>,
}

// SAFETY: the pointer is to an atomic in memory that stays mapped for as long as this lives.
unsafe impl Send for Unawaited {}
// SAFETY: as above.
unsafe impl Sync for Unawaited {}

impl Unawaited {
    /// In the only element of that array.
    fn new(map: MapData, page_bytes: usize) -> io::Result<Self> {
        let word = page(&map, page_bytes, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        Ok(Self { _map: map, page_bytes, word })
    }

    /// The end of that invocation is to wake nobody; 0: each does.
    pub fn set(&self, invocation: u64) {
        // SAFETY: mapped, and aligned to a page; nobody else writes it.
        unsafe { self.word.as_ref() }.store(invocation, Ordering::Release);
    }
}

impl Drop for Unawaited {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, with this length, and not used any more.
        unsafe { munmap(self.word.as_ptr().cast(), self.page_bytes) }.ok();
    }
}

/// Maps a page of a map's memory, as words.
fn page(
    map: &MapData,
    page_bytes: usize,
    protection: ProtFlags,
    at: usize,
) -> io::Result<NonNull<AtomicU64>> {
    // SAFETY: a new mapping, where the kernel chooses.
    let page =
        unsafe { mmap(ptr::null_mut(), page_bytes, protection, MapFlags::SHARED, map.fd(), at as u64) }?;
    NonNull::new(page.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
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
        let consumed = page(&map, page_bytes, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        let produced = page(&map, page_bytes, ProtFlags::READ, page_bytes).inspect_err(|_| {
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
