//! A small BTF blob out of a large one: only the types that [`crate::kernel_layout`] asks for.
//!
//! For tests and bug reports: a vmlinux has 5 MB of BTF, an excerpt some tens of kilobytes. Pointers are cut off
//! (they point to `void`), all else keeps its layout.

use std::collections::BTreeMap;

use crate::{
    btf::{Btf, BtfError, TypeId, kind},
    kernel_layout::{ENUMERATORS, MARK_VICTIM, STRUCTURES},
};

/// Cuts the types that the resolver asks for out of a blob, with everything that lies inside them.
///
/// # Errors
/// [`BtfError`] where `blob` cannot be parsed, or refers to what it does not have.
pub fn excerpt(blob: &[u8]) -> Result<Vec<u8>, BtfError> {
    let mut btf = Btf::parse(blob)?;
    let structures = STRUCTURES.iter().filter_map(|name| btf.structure(name));
    let enumerations = ENUMERATORS.iter().filter_map(|(_, name)| btf.enumeration_with(name));
    let tracepoint = btf.typedef(MARK_VICTIM);
    let roots: Vec<TypeId> = structures.chain(enumerations).chain(tracepoint).collect();
    copy(&mut btf, &roots, tracepoint).ok_or(BtfError::Dangling)
}

/// Where types are copied from.
pub(crate) trait Types {
    /// A type's bytes.
    fn record(&mut self, id: TypeId) -> Option<Vec<u8>>;
    /// What a name's offset stands for.
    fn name(&mut self, offset: u32) -> Option<&str>;
    /// Whether the type of a member of that name is copied too; otherwise it becomes `void`.
    fn wants_member(&mut self, _name: u32) -> bool {
        true
    }
}

impl Types for Btf<'_> {
    fn record(&mut self, id: TypeId) -> Option<Vec<u8>> {
        Btf::record(self, id).map(<[u8]>::to_vec)
    }

    fn name(&mut self, offset: u32) -> Option<&str> {
        self.string(offset)
    }
}

/// A blob of these types and of everything that lies inside them; nothing where they refer to what there is not.
/// `tracepoint` is the typedef that points to a prototype: the one pointer that is followed.
pub(crate) fn copy(types: &mut impl Types, roots: &[TypeId], tracepoint: Option<TypeId>) -> Option<Vec<u8>> {
    let mut copy = Copy::default();
    for &root in roots {
        copy.number(root);
    }
    let followed = match tracepoint {
        Some(typedef) => Some(TypeId(word(&types.record(typedef)?, 8)?)),
        None => None,
    };
    let mut done = 0;
    while let Some(&id) = copy.order.get(done) {
        copy.write(types, id, followed == Some(id))?;
        done += 1;
    }
    Some(copy.finish())
}

#[derive(Default)]
struct Copy {
    /// Old number to new.
    numbers: BTreeMap<TypeId, u32>,
    /// Old numbers in the order of the new ones.
    order: Vec<TypeId>,
    types: Vec<u8>,
    strings: Vec<u8>,
    interned: BTreeMap<String, u32>,
}

impl Copy {
    fn number(&mut self, id: TypeId) -> u32 {
        if id.0 == 0 {
            return 0;
        }
        let next = u32::try_from(self.order.len() + 1).unwrap_or(u32::MAX);
        *self.numbers.entry(id).or_insert_with(|| {
            self.order.push(id);
            next
        })
    }

    fn write(&mut self, from: &mut impl Types, id: TypeId, follow_pointer: bool) -> Option<()> {
        let record = from.record(id)?;
        let mut bytes = record.clone();
        let (names, types) = references(&record);
        for at in names {
            let name = from.name(word(&record, at)?)?;
            patch(&mut bytes, at, self.intern(name));
        }
        let cut = (word(&record, 4)? >> 24) & 0x1f == kind::PTR && !follow_pointer;
        let has_members = matches!((word(&record, 4)? >> 24) & 0x1f, kind::STRUCT | kind::UNION);
        for at in types {
            // A member's name stands before its type.
            let cut = cut || has_members && !from.wants_member(word(&record, at - 4)?);
            let target = word(&record, at).filter(|_| !cut).map_or(0, |id| self.number(TypeId(id)));
            patch(&mut bytes, at, target);
        }
        self.types.extend(bytes);
        Some(())
    }

    fn intern(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        if let Some(&offset) = self.interned.get(name) {
            return offset;
        }
        let offset = u32::try_from(self.strings.len()).unwrap_or(0);
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.interned.insert(name.to_owned(), offset);
        offset
    }

    fn finish(self) -> Vec<u8> {
        let len = |section: &[u8]| u32::try_from(section.len()).unwrap_or(u32::MAX);
        let mut blob = Vec::new();
        blob.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        blob.extend_from_slice(&[1, 0]);
        for value in [24, 0, len(&self.types), len(&self.types), len(&self.strings)] {
            blob.extend_from_slice(&value.to_ne_bytes());
        }
        blob.extend(self.types);
        blob.extend(self.strings);
        blob
    }
}

/// Where a type's bytes refer to a string, and where to another type.
fn references(record: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let info = word(record, 4).unwrap_or(0);
    let entries = |stride: usize| (0..(info & 0xffff) as usize).map(move |index| 12 + index * stride);
    let mut names = vec![0];
    let mut types = Vec::new();
    match (info >> 24) & 0x1f {
        kind::ARRAY => types.extend([12, 16]),
        kind::STRUCT | kind::UNION => {
            names.extend(entries(12));
            types.extend(entries(12).map(|at| at + 4));
        }
        kind::ENUM => names.extend(entries(8)),
        kind::ENUM64 => names.extend(entries(12)),
        kind::FUNC_PROTO => {
            names.extend(entries(8));
            types.push(8);
            types.extend(entries(8).map(|at| at + 4));
        }
        kind::INT | kind::FLOAT | kind::FWD | kind::DATASEC => {}
        _ => types.push(8),
    }
    (names, types)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn patch(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(slot) = bytes.get_mut(at..at + 4) {
        slot.copy_from_slice(&value.to_ne_bytes());
    }
}
