//! Page numbers, counts and sizes, as SQLite's file format allows them.

use std::fmt;
use std::num::NonZeroU32;

/// The place of a page in the database file. SQLite counts from one, so zero cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageNo(NonZeroU32);

impl PageNo {
    /// The page with the file's header.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// As SQLite counts, from one.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// As tables count, from zero; `None` beyond the last page that SQLite can number.
    pub fn from_index(index: u32) -> Option<Self> {
        NonZeroU32::MIN.checked_add(index).map(Self)
    }

    /// The page that holds the byte at `offset`; `None` beyond the last page that SQLite can number.
    pub fn at(offset: u64, size: PageSize) -> Option<Self> {
        Self::from_index(u32::try_from(offset / u64::from(size.get())).ok()?)
    }

    /// As SQLite counts, from one.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// From zero, as tables count.
    pub fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// Whether this is the page on which other file systems keep their locks, at 1 GiB: SQLite counts it and never uses it, so it has no
    /// content.
    pub fn is_lock_page(self, size: PageSize) -> bool {
        u64::from(self.index()) * u64::from(size.get()) == 1 << 30
    }
}

impl fmt::Display for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many pages a database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PageCount(pub u32);

impl PageCount {
    /// As many as it takes for `page` to be the last.
    pub fn up_to(page: PageNo) -> Self {
        Self(page.get())
    }

    /// Whether a database of this many has the page.
    pub fn holds(self, page: PageNo) -> bool {
        page.get() <= self.0
    }

    /// In bytes, as a file.
    pub fn bytes(self, size: PageSize) -> u64 {
        u64::from(self.0) * u64::from(size.get())
    }

    /// The first page above `last` that a database of this many has, without the lock page; `None` above the end.
    pub(crate) fn next_after(self, last: u32, size: PageSize) -> Option<PageNo> {
        let next = NonZeroU32::MIN.checked_add(last).map(PageNo)?;
        let next = if next.is_lock_page(size) { PageNo(next.0.checked_add(1)?) } else { next };
        (next.get() <= self.0).then_some(next)
    }
}

impl fmt::Display for PageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes in a page: a power of two from 512 to 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// What SQLite gives a new database.
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
    #[allow(clippy::len_without_is_empty, reason = "no page is empty")]
    pub fn len(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
