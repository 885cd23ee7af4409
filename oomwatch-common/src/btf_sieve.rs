//! What the resolver asks for, out of a vmlinux's BTF that is read piece by piece: 5 MB of types and names need not be
//! in memory at once, nor looked through for each name.
//!
//! The names are gone through once, the types once; then each type that is wanted is read again, and what lies in it.
//! Both are in the order in which the kernel is linked, and memory management comes early: after a sixth of them all is
//! there as a rule, and the rest is left unread.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, iter,
};

use crate::{
    btf::{BtfError, Head, MAGIC, TypeId, head_at, kind, word},
    btf_excerpt::{Types, copy},
    kernel_layout::{ENUMERATORS, MARK_VICTIM, Names, STRUCTURES, names},
};

/// How much is read at a time while all is gone through.
const WINDOW: usize = 32 << 10;
/// The same where one type is read again.
const TYPE_WINDOW: usize = 1 << 10;
/// Of every so many types the place is kept.
const STEP: u32 = 16;
/// The bytes before the sections of BTF (`struct btf_header`, include/uapi/linux/btf.h).
const HEADER: usize = 24;
/// In the excerpt the name of whatever nobody asks for. Not empty: what has no name is looked into.
const OTHER: &str = "?";

/// Bytes that can be read from anywhere: a file.
pub trait Source {
    /// Why they could not be read.
    type Error;

    /// Reads from `at` on: fills `bytes`, or as much of it as there is, and says how much.
    ///
    /// # Errors
    /// Of the source.
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> Result<usize, Self::Error>;
}

/// Why there is no excerpt.
#[derive(Debug, PartialEq, Eq)]
pub enum SieveError<E> {
    /// It could not be read.
    Source(E),
    /// It is not BTF.
    Btf(BtfError),
}

impl<E> From<BtfError> for SieveError<E> {
    fn from(error: BtfError) -> Self {
        Self::Btf(error)
    }
}

impl<E: fmt::Display> fmt::Display for SieveError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Btf(error) => error.fmt(f),
        }
    }
}

/// How far to go through a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Until each field has been found by the first of its names. What is found is what all of the blob gives. A field
    /// that is then absent may only have another name, further on.
    UntilFound,
    /// To the end.
    All,
}

/// A small blob, for [`crate::btf::Btf::parse`], from which [`crate::kernel_layout::resolve`] gets the same as from all
/// of it.
///
/// # Errors
/// [`SieveError`]
pub fn sift<S: Source>(source: &S, depth: Depth) -> Result<Vec<u8>, SieveError<S::Error>> {
    let mut window = Window { source, ahead: WINDOW, start: 0, bytes: Vec::new(), error: None };
    sift_window(&mut window, depth).map_err(|error| match window.error.take() {
        Some(error) => SieveError::Source(error),
        None => SieveError::Btf(error),
    })
}

fn sift_window<S: Source>(window: &mut Window<'_, S>, depth: Depth) -> Result<Vec<u8>, BtfError> {
    let header = window.get(0, HEADER).ok_or(BtfError::Truncated)?;
    if header.get(..2) != Some(&MAGIC.to_ne_bytes()) {
        return Err(BtfError::NotBtf);
    }
    let field = |at| word(header, at).map(u64::from).ok_or(BtfError::Truncated);
    let types = Section { start: field(4)? + field(8)?, len: field(12)? };
    let strings = Section { start: field(4)? + field(16)?, len: field(20)? };
    let names = find_names(window, strings, depth)?;
    let Found { starts, roots, tracepoint } = find_types(window, types, &names, depth)?;
    window.ahead = TYPE_WINDOW;
    let mut sieve = Sieve { window, types, names, starts };
    copy(&mut sieve, &roots, tracepoint).ok_or(BtfError::Dangling)
}

/// A part of the blob.
#[derive(Clone, Copy)]
struct Section {
    start: u64,
    len: u64,
}

/// Some of a source's bytes.
struct Window<'a, S: Source> {
    source: &'a S,
    /// It reads so much at least.
    ahead: usize,
    start: u64,
    bytes: Vec<u8>,
    error: Option<S::Error>,
}

impl<S: Source> Window<'_, S> {
    /// So many bytes from `at` on; none where there are not as many, or they could not be read.
    fn get(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        let inside = |start: u64| usize::try_from(at.checked_sub(start)?).ok();
        let is_here = inside(self.start)
            .and_then(|begin| begin.checked_add(len))
            .is_some_and(|end| end <= self.bytes.len());
        if !is_here {
            self.bytes.resize(len.max(self.ahead), 0);
            self.start = at;
            match self.source.read_at(at, &mut self.bytes) {
                Ok(read) => self.bytes.truncate(read),
                Err(error) => {
                    self.bytes.clear();
                    self.error = Some(error);
                }
            }
        }
        let begin = inside(self.start)?;
        self.bytes.get(begin..begin.checked_add(len)?)
    }
}

/// Wanted names by their offsets.
struct Offsets {
    names: BTreeMap<u32, &'static str>,
    /// A bit for each, by the last bits of the offset: most of those that are asked for are none.
    likely: [u64; Self::BITS / 64],
}

impl Offsets {
    const BITS: usize = 4096;

    fn new() -> Self {
        Self { names: BTreeMap::new(), likely: [0; Self::BITS / 64] }
    }

    fn insert(&mut self, offset: u32, name: &'static str) {
        self.names.insert(offset, name);
        let bit = offset as usize % Self::BITS;
        if let Some(word) = self.likely.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    fn get(&self, offset: u32) -> Option<&'static str> {
        let bit = offset as usize % Self::BITS;
        let word = self.likely.get(bit / 64)?;
        if word >> (bit % 64) & 1 == 0 {
            return None;
        }
        self.names.get(&offset).copied()
    }
}

/// Lengths of the wanted names, a bit for each, by the first byte: few others have both.
struct Shapes([u32; 256]);

impl Shapes {
    fn of(names: &BTreeSet<&'static str>) -> Self {
        let mut shapes = [0; 256];
        for name in names {
            if let Some(lengths) =
                name.as_bytes().first().and_then(|&first| shapes.get_mut(usize::from(first)))
            {
                *lengths |= Self::bit(name.len());
            }
        }
        Self(shapes)
    }

    fn bit(len: usize) -> u32 {
        u32::try_from(len).ok().and_then(|len| 1_u32.checked_shl(len)).unwrap_or(1)
    }

    fn has(&self, text: &[u8]) -> bool {
        let lengths = text.first().and_then(|&first| self.0.get(usize::from(first)));
        lengths.is_some_and(|lengths| lengths & Self::bit(text.len()) != 0)
    }
}

/// Offsets of the wanted names.
fn find_names<S: Source>(
    window: &mut Window<'_, S>,
    strings: Section,
    depth: Depth,
) -> Result<Offsets, BtfError> {
    let Names { all: wanted, mut foremost } = names();
    let shapes = Shapes::of(&wanted);
    let mut found = Offsets::new();
    // Where a name that no window holds whole goes on: such a one is not wanted.
    let (mut at, mut goes_on) = (0_u64, false);
    while at < strings.len {
        let len = usize::try_from(strings.len - at).unwrap_or(WINDOW).min(WINDOW);
        let piece = window.get(strings.start + at, len).ok_or(BtfError::Truncated)?;
        let mut done = 0;
        for end in zeros(piece) {
            let text = piece.get(done..end).unwrap_or_default();
            if shapes.has(text)
                && !goes_on
                && let Some(&known) = std::str::from_utf8(text).ok().and_then(|text| wanted.get(text))
            {
                let offset = at + u64::try_from(done).unwrap_or(0);
                found.insert(u32::try_from(offset).map_err(|_| BtfError::Truncated)?, known);
                foremost.remove(known);
            }
            goes_on = false;
            done = end + 1;
        }
        if depth == Depth::UntilFound && foremost.is_empty() {
            break;
        }
        if done == 0 {
            (goes_on, done) = (true, len);
        }
        at += u64::try_from(done).unwrap_or(WINDOW as u64);
    }
    Ok(found)
}

/// Where the zeros of `bytes` are: eight bytes are looked at at once.
fn zeros(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    bytes.chunks(8).enumerate().flat_map(|(index, chunk)| {
        let mut eight = [1; 8];
        if let Some(to) = eight.get_mut(..chunk.len()) {
            to.copy_from_slice(chunk);
        }
        let eight = u64::from_le_bytes(eight);
        // The highest bit of each byte that is zero.
        let mut left = !(((eight & LOW) + LOW) | eight | LOW);
        iter::from_fn(move || {
            (left != 0).then(|| {
                let byte = left.trailing_zeros() as usize / 8;
                left &= left - 1;
                index * 8 + byte
            })
        })
    })
}

/// Where things are.
struct Found {
    /// Of every [`STEP`]th type, from the beginning of the types.
    starts: Vec<u32>,
    roots: Vec<TypeId>,
    tracepoint: Option<TypeId>,
}

/// The first type of each wanted name.
fn find_types<S: Source>(
    window: &mut Window<'_, S>,
    types: Section,
    names: &Offsets,
    depth: Depth,
) -> Result<Found, BtfError> {
    let mut found = Found { starts: Vec::new(), roots: Vec::new(), tracepoint: None };
    let mut structures: BTreeSet<&str> = STRUCTURES.iter().copied().collect();
    let mut enumerators: BTreeSet<&str> = ENUMERATORS.iter().map(|(_, name)| *name).collect();
    let (mut at, mut id) = (0, TypeId(1));
    while at < types.len {
        if (id.0 - 1).is_multiple_of(STEP) {
            found.starts.push(u32::try_from(at).map_err(|_| BtfError::Truncated)?);
        }
        let (head, len) = head(window, types, at)?;
        let is_new = match head.kind() {
            kind::STRUCT => names.get(head.name).is_some_and(|name| structures.remove(name)),
            kind::TYPEDEF if found.tracepoint.is_none() && names.get(head.name) == Some(MARK_VICTIM) => {
                found.tracepoint = Some(id);
                true
            }
            kind @ (kind::ENUM | kind::ENUM64) => {
                let record = window.get(types.start + at, len).ok_or(BtfError::Truncated)?;
                let entries = record.get(12..).unwrap_or_default();
                let entries = entries.chunks_exact(if kind == kind::ENUM { 8 } else { 12 });
                let named = entries.filter_map(|entry| names.get(word(entry, 0)?));
                named.filter(|name| enumerators.remove(*name)).count() > 0
            }
            _ => false,
        };
        if is_new {
            found.roots.push(id);
            let is_all = structures.is_empty() && enumerators.is_empty() && found.tracepoint.is_some();
            if is_all && depth == Depth::UntilFound {
                break;
            }
        }
        at += len as u64;
        id = TypeId(id.0.checked_add(1).ok_or(BtfError::Truncated)?);
    }
    Ok(found)
}

/// The head of the type there, and how many bytes there are of it.
fn head<S: Source>(window: &mut Window<'_, S>, types: Section, at: u64) -> Result<(Head, usize), BtfError> {
    let head = window.get(types.start + at, 12).and_then(|bytes| head_at(bytes, 0));
    let head = head.ok_or(BtfError::Truncated)?;
    let len = 12 + head.tail()?;
    if at + len as u64 > types.len {
        return Err(BtfError::Truncated);
    }
    Ok((head, len))
}

/// All that was found, with the blob it was found in.
struct Sieve<'a, 'b, S: Source> {
    window: &'a mut Window<'b, S>,
    types: Section,
    names: Offsets,
    starts: Vec<u32>,
}

impl<S: Source> Types for Sieve<'_, '_, S> {
    fn record(&mut self, id: TypeId) -> Option<Vec<u8>> {
        let index = id.0.checked_sub(1)?;
        // Where not all types were gone through it may be behind the last of these.
        let step = (index / STEP).min(u32::try_from(self.starts.len().checked_sub(1)?).ok()?);
        let mut at = u64::from(*self.starts.get(usize::try_from(step).ok()?)?);
        for _ in step * STEP..index {
            at += head(self.window, self.types, at).ok()?.1 as u64;
        }
        let (_, len) = head(self.window, self.types, at).ok()?;
        self.window.get(self.types.start + at, len).map(<[u8]>::to_vec)
    }

    fn name(&mut self, offset: u32) -> Option<&str> {
        Some(if offset == 0 { "" } else { self.names.get(offset).unwrap_or(OTHER) })
    }

    fn wants_member(&mut self, name: u32) -> bool {
        name == 0 || self.names.get(name).is_some()
    }
}

#[cfg(test)]
mod tests;
