//! Sizes. Pages, kibibytes and bytes are different types, and only [`PageSize`] turns pages into bytes.

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A number of pages of the running kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pages(pub u64);

/// A number of kibibytes: what the kernel writes as `kB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kib(pub u64);

/// Bytes of one page: 4096 on x86-64, 4, 16 or 64 KiB on arm64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u64);

impl PageSize {
    /// `None` unless `bytes` is a power of two of at least 4096.
    pub fn new(bytes: u64) -> Option<Self> {
        (bytes.is_power_of_two() && bytes >= 4096).then_some(Self(bytes))
    }

    /// Bytes of one page.
    pub fn get(self) -> Bytes {
        Bytes(self.0)
    }

    /// Saturates at the largest number of bytes.
    pub fn bytes(self, pages: Pages) -> Bytes {
        Bytes(pages.0.saturating_mul(self.0))
    }

    /// A limit of this many pages or more is none: the kernel's `PAGE_COUNTER_MAX` is `LONG_MAX / PAGE_SIZE`
    /// (`include/linux/page_counter.h`).
    pub fn unlimited(self) -> Pages {
        Pages(i64::MAX.unsigned_abs() / self.0)
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(4096)
    }
}

impl From<Kib> for Bytes {
    fn from(kib: Kib) -> Self {
        Self(kib.0.saturating_mul(1024))
    }
}

/// A limit: none, or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No limit is set.
    Unlimited,
    /// At most so many bytes.
    Bytes(Bytes),
}

impl Limit {
    /// The limit in bytes, if there is one.
    pub fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoottimeNs(pub u64);
