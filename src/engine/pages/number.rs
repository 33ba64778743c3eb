//! Page numbers, counts and sizes: what SQLite's file format allows, and nothing else.

use std::num::NonZeroU32;

/// The place of a page in the database file. SQLite counts from one, so zero cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageNo(NonZeroU32);

impl PageNo {
    /// The page with the file's header.
    pub(crate) const FIRST: Self = Self(NonZeroU32::MIN);

    /// As SQLite counts, from one.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// As tables count, from zero; `None` beyond the last page that SQLite can number.
    pub(crate) fn from_index(index: u32) -> Option<Self> {
        Some(Self(NonZeroU32::MIN.checked_add(index)?))
    }

    /// The page that holds the byte at `offset`; `None` beyond the last page that SQLite can number.
    pub(crate) fn at(offset: u64, size: PageSize) -> Option<Self> {
        Self::from_index(u32::try_from(offset / u64::from(size.get())).ok()?)
    }

    /// Whether this is the page on which other file systems keep their locks, at 1 GiB: SQLite counts it and never uses it.
    pub(crate) fn is_lock_page(self, size: PageSize) -> bool {
        u64::from(self.index()) * u64::from(size.get()) == 1 << 30
    }

    /// From zero, as tables count.
    pub(super) fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// As SQLite counts, from one.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// How many pages a database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PageCount(pub u32);

impl PageCount {
    /// As many as it takes for `page` to be the last.
    pub(super) fn up_to(page: PageNo) -> Self {
        Self(page.get())
    }

    pub(super) fn holds(self, page: PageNo) -> bool {
        page.index() < self.0
    }

    /// In bytes, as a file.
    pub(crate) fn bytes(self, size: PageSize) -> u64 {
        u64::from(self.0) * u64::from(size.get())
    }
}

/// Bytes in a page: a power of two from 512 to 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// What a new database gets.
    pub const DEFAULT: Self = Self(4096);

    /// Refuses what SQLite's file format does not know.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (512..=65_536).contains(&bytes)).then_some(Self(bytes))
    }

    /// In bytes.
    pub fn get(self) -> u32 {
        self.0
    }

    /// In bytes, to index with.
    pub(crate) fn len(self) -> usize {
        self.0 as usize
    }
}
