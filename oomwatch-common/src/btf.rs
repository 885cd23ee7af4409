//! A reader of BTF, the kernel's own description of its types (Documentation/bpf/btf.rst).
//!
//! It answers what [`crate::kernel_layout`] asks: where a member lies (also inside anonymous structures and unions),
//! how large a type is, what an enumerator's value is. It does not resolve relocations and knows no BTF.ext.

use std::fmt;

/// Kinds of type (include/uapi/linux/btf.h). Every kind that kernels up to 7.3 use.
pub(crate) mod kind {
    pub(crate) const INT: u32 = 1;
    pub(crate) const PTR: u32 = 2;
    pub(crate) const ARRAY: u32 = 3;
    pub(crate) const STRUCT: u32 = 4;
    pub(crate) const UNION: u32 = 5;
    pub(crate) const ENUM: u32 = 6;
    pub(crate) const FWD: u32 = 7;
    pub(crate) const TYPEDEF: u32 = 8;
    pub(crate) const VOLATILE: u32 = 9;
    pub(crate) const CONST: u32 = 10;
    pub(crate) const RESTRICT: u32 = 11;
    pub(crate) const FUNC_PROTO: u32 = 13;
    pub(crate) const VAR: u32 = 14;
    pub(crate) const DATASEC: u32 = 15;
    pub(crate) const FLOAT: u32 = 16;
    pub(crate) const DECL_TAG: u32 = 17;
    pub(crate) const TYPE_TAG: u32 = 18;
    pub(crate) const ENUM64: u32 = 19;
}

pub(crate) const MAGIC: u16 = 0xeb9f;
/// Deepest nesting of typedefs, qualifiers and anonymous structures that is followed.
const DEPTH: u32 = 32;
/// Members looked at for one name. `task_struct` has some hundred, with those of what lies in it; a blob in which
/// anonymous structures contain each other would have no end.
const MEMBERS: u32 = 1 << 16;

/// Number of a type; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// Where a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the outermost structure.
    pub offset: u32,
    /// Its type, typedefs and qualifiers not yet stripped.
    pub type_id: TypeId,
}

/// Why a blob is not BTF that this reader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfError {
    /// It does not begin with BTF's magic number in this machine's byte order.
    NotBtf,
    /// It ends in the middle of something.
    Truncated,
    /// A kind of type that is newer than this reader; nothing behind it can be found.
    UnknownKind(u32),
    /// A type refers to a type or a name that the blob does not have.
    Dangling,
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBtf => write!(f, "not BTF: wrong magic number"),
            Self::Truncated => write!(f, "BTF is cut short"),
            Self::Dangling => write!(f, "BTF refers to a type or a name that it does not have"),
            Self::UnknownKind(kind) => {
                write!(f, "BTF has a type of kind {kind}, which is newer than oomwatch")
            }
        }
    }
}

impl std::error::Error for BtfError {}

/// A parsed blob: the bytes, and where each type begins in them.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// By type id minus one.
    starts: Vec<u32>,
}

/// The three words that every type begins with.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) name: u32,
    info: u32,
    size_or_type: u32,
}

impl Head {
    pub(crate) fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    fn vlen(self) -> u32 {
        self.info & 0xffff
    }

    fn kind_flag(self) -> bool {
        self.info >> 31 != 0
    }

    /// Bytes that follow the head.
    pub(crate) fn tail(self) -> Result<usize, BtfError> {
        let vlen = self.vlen() as usize;
        Ok(match self.kind() {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => vlen * 12,
            kind::ENUM | kind::FUNC_PROTO => vlen * 8,
            kind::PTR | kind::FWD..=12 | kind::FLOAT | kind::TYPE_TAG => 0,
            unknown => return Err(BtfError::UnknownKind(unknown)),
        })
    }
}

impl<'a> Btf<'a> {
    /// Finds the start of every type.
    ///
    /// # Errors
    /// [`BtfError`]; nothing of a blob that is wrong anywhere is used.
    pub fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        let magic = blob.get(..2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::NotBtf);
        }
        let section = |offset_at: usize| -> Option<&'a [u8]> {
            let header = word(blob, 4)? as usize;
            let start = header.checked_add(word(blob, offset_at)? as usize)?;
            let end = start.checked_add(word(blob, offset_at + 4)? as usize)?;
            blob.get(start..end)
        };
        let types = section(8).ok_or(BtfError::Truncated)?;
        let strings = section(16).ok_or(BtfError::Truncated)?;
        // A vmlinux has about 20 bytes of types for each type; growing by doubling would leave half unused.
        let mut starts = Vec::with_capacity(types.len() / 18);
        let mut at = 0;
        while at < types.len() {
            let head = head_at(types, at).ok_or(BtfError::Truncated)?;
            let start = u32::try_from(at).map_err(|_| BtfError::Truncated)?;
            at = at
                .checked_add(12 + head.tail()?)
                .filter(|&end| end <= types.len())
                .ok_or(BtfError::Truncated)?;
            starts.push(start);
        }
        Ok(Self { types, strings, starts })
    }

    /// The structure of this name.
    pub fn structure(&self, name: &str) -> Option<TypeId> {
        self.find(kind::STRUCT, name)
    }

    /// The typedef of this name.
    pub fn typedef(&self, name: &str) -> Option<TypeId> {
        self.find(kind::TYPEDEF, name)
    }

    /// The value of an enumerator, of whatever enumeration.
    pub fn enumerator(&self, name: &str) -> Option<u32> {
        self.ids().find_map(|id| word(self.enumerator_in(id, name)?, 4))
    }

    /// The enumeration that has this enumerator.
    pub fn enumeration_with(&self, enumerator: &str) -> Option<TypeId> {
        self.ids().find(|&id| self.enumerator_in(id, enumerator).is_some())
    }

    fn enumerator_in(&self, id: TypeId, name: &str) -> Option<&'a [u8]> {
        let (head, tail) = self.head(id)?;
        let stride = match head.kind() {
            kind::ENUM => 8,
            kind::ENUM64 => 12,
            _ => return None,
        };
        tail.chunks_exact(stride).find(|entry| self.is_named(word(entry, 0).unwrap_or(0), name))
    }

    /// A member by its path (`memory.usage`), looked for inside anonymous structures and unions too. `None`: there
    /// is no such member, or it is a bit field.
    pub fn member(&self, structure: TypeId, path: &str) -> Option<Member> {
        let mut at = Member { offset: 0, type_id: structure };
        for name in path.split('.') {
            let inner = self.member_named(self.strip(at.type_id)?, name, DEPTH, &mut { MEMBERS })?;
            at = Member { offset: at.offset.checked_add(inner.offset)?, type_id: inner.type_id };
        }
        Some(at)
    }

    /// Bytes of a type, typedefs and qualifiers stripped. `None` for what has no size.
    pub fn size(&self, mut id: TypeId) -> Option<u32> {
        let mut count = 1_u32;
        for _ in 0..DEPTH {
            id = self.strip(id)?;
            let (head, _) = self.head(id)?;
            let size = match head.kind() {
                kind::ARRAY => {
                    let (element, length) = self.array(id)?;
                    (id, count) = (element, count.checked_mul(length)?);
                    continue;
                }
                kind::PTR => 8,
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                    head.size_or_type
                }
                _ => return None,
            };
            return size.checked_mul(count);
        }
        None
    }

    /// Element type and length of an array.
    pub fn array(&self, id: TypeId) -> Option<(TypeId, u32)> {
        let (head, tail) = self.head(self.strip(id)?)?;
        (head.kind() == kind::ARRAY).then_some(())?;
        Some((TypeId(word(tail, 0)?), word(tail, 8)?))
    }

    /// Name of a structure, union, typedef or the like, typedefs and qualifiers stripped; `""` for an anonymous one.
    pub fn name(&self, id: TypeId) -> Option<&'a str> {
        let (head, _) = self.head(self.strip(id)?)?;
        self.string(head.name)
    }

    /// Whether this is a pointer, typedefs and qualifiers stripped.
    pub fn is_pointer(&self, id: TypeId) -> bool {
        self.strip(id).and_then(|id| self.head(id)).is_some_and(|(head, _)| head.kind() == kind::PTR)
    }

    /// The parameters of the function that this typedef points to: `btf_trace_*` for a tracepoint, whose first
    /// parameter is the tracepoint's own data.
    pub fn function_parameters(&self, typedef: &str) -> Option<Vec<TypeId>> {
        let (pointer, _) = self.head(self.strip(self.typedef(typedef)?)?)?;
        (pointer.kind() == kind::PTR).then_some(())?;
        let (proto, tail) = self.head(self.strip(TypeId(pointer.size_or_type))?)?;
        (proto.kind() == kind::FUNC_PROTO).then_some(())?;
        tail.chunks_exact(8).map(|entry| word(entry, 4).map(TypeId)).collect()
    }

    /// A type's bytes as they stand in the blob.
    pub(crate) fn record(&self, id: TypeId) -> Option<&'a [u8]> {
        let start = *self.starts.get(usize::try_from(id.0).ok()?.checked_sub(1)?)? as usize;
        self.types.get(start..start + 12 + head_at(self.types, start)?.tail().ok()?)
    }

    fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        let count = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        (1..=count).map(TypeId)
    }

    fn head(&self, id: TypeId) -> Option<(Head, &'a [u8])> {
        let record = self.record(id)?;
        Some((head_at(record, 0)?, record.get(12..)?))
    }

    fn find(&self, wanted: u32, name: &str) -> Option<TypeId> {
        self.ids().find(|&id| {
            self.head(id).is_some_and(|(head, _)| head.kind() == wanted && self.is_named(head.name, name))
        })
    }

    /// The type behind typedefs, qualifiers and tags.
    fn strip(&self, mut id: TypeId) -> Option<TypeId> {
        for _ in 0..DEPTH {
            let (head, _) = self.head(id)?;
            match head.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = TypeId(head.size_or_type);
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn member_named(&self, structure: TypeId, name: &str, depth: u32, left: &mut u32) -> Option<Member> {
        let (head, tail) = self.head(structure)?;
        if depth == 0 || !matches!(head.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        for entry in tail.chunks_exact(12) {
            *left = left.checked_sub(1)?;
            let (member_name, type_id, position) =
                (word(entry, 0)?, TypeId(word(entry, 4)?), word(entry, 8)?);
            let (bits, bit_field) = if head.kind_flag() {
                (position & 0x00ff_ffff, position >> 24 != 0)
            } else {
                (position, false)
            };
            if self.is_named(member_name, name) {
                return (!bit_field && bits % 8 == 0).then_some(Member { offset: bits / 8, type_id });
            }
            if member_name == 0
                && let Some(inner) =
                    self.strip(type_id).and_then(|inner| self.member_named(inner, name, depth - 1, left))
            {
                return Some(Member { offset: inner.offset.checked_add(bits / 8)?, type_id: inner.type_id });
            }
        }
        None
    }

    pub(crate) fn string(&self, offset: u32) -> Option<&'a str> {
        let bytes = self.strings.get(usize::try_from(offset).ok()?..)?;
        std::str::from_utf8(bytes.split(|&byte| byte == 0).next()?).ok()
    }

    /// Compares without scanning for the end of the string.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        let start = offset as usize;
        let end = start + name.len();
        self.strings.get(start..end) == Some(name.as_bytes()) && self.strings.get(end) == Some(&0)
    }
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn head_at(types: &[u8], at: usize) -> Option<Head> {
    Some(Head { name: word(types, at)?, info: word(types, at + 4)?, size_or_type: word(types, at + 8)? })
}
