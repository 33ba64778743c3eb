//! Pages in memory, copy-on-write.
//!
//! A [`PageStore`] holds the newest [`Version`] of a database; whoever keeps the `Arc` of a version has pinned it. A writer gathers its
//! pages in a [`Stage`] and publishes them as the next version in one step.
//! Owns: page versions, how long they live, what they cost. Does not own: I/O, locks between connections, SQLite's file format.
//! Invariant: a page that a pinned version can reach never changes. It holds because a version is changed in place only while its `Arc`
//! is unique, and below it only nodes whose `Arc` is unique; everything else is copied on the way down.

mod stage;
mod table;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

pub(crate) use stage::Stage;
use table::Table;

/// Bytes that can be read behind each page, all zero: SQLite may look a little past the end of a damaged page.
pub(crate) const OVERRUN: usize = 256;

/// The place of a page in the database file. SQLite counts from one, so zero cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageNo(NonZeroU32);

impl PageNo {
    /// The page with the file's header.
    pub(crate) const FIRST: Self = Self(NonZeroU32::MIN);

    /// The page that holds the byte at `offset`; `None` beyond the last page that SQLite can number.
    pub(crate) fn at(offset: u64, size: PageSize) -> Option<Self> {
        let index = u32::try_from(offset / u64::from(size.get())).ok()?;
        Some(Self(NonZeroU32::MIN.checked_add(index)?))
    }

    /// From zero, as tables count.
    fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// As SQLite counts, from one.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// How many pages a database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct PageCount(pub(crate) u32);

impl PageCount {
    /// As many as it takes for `page` to be the last.
    fn up_to(page: PageNo) -> Self {
        Self(page.get())
    }

    fn holds(self, page: PageNo) -> bool {
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

/// There is no memory for another page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub(crate) struct OutOfMemory;

/// One page. Clones are the same bytes.
#[derive(Clone)]
pub(crate) struct Page(Arc<Buffer>);

struct Buffer {
    /// The page, then [`OVERRUN`] zero bytes.
    bytes: Vec<u8>,
    account: Account,
}

impl Page {
    /// A page with this content.
    pub(crate) fn copy_of(content: &[u8], account: &Account) -> Result<Self, OutOfMemory> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(content.len() + OVERRUN).map_err(|_| OutOfMemory)?;
        bytes.extend_from_slice(content);
        bytes.resize(content.len() + OVERRUN, 0);
        account.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Self(Arc::new(Buffer { bytes, account: account.clone() })))
    }

    /// The page itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes[..self.0.bytes.len() - OVERRUN]
    }

    /// The page with the zero bytes behind it.
    pub(crate) fn bytes_with_overrun(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Replaces the content if nobody else holds this page, and tells whether it did.
    fn overwrite(&mut self, content: &[u8]) -> bool {
        Arc::get_mut(&mut self.0).is_some_and(|buffer| {
            buffer.bytes[..content.len()].copy_from_slice(content);
            true
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.account.0.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// Counts the bytes of all pages of a store that are alive, whoever holds them.
#[derive(Clone, Default)]
pub(crate) struct Account(Arc<AtomicU64>);

/// How many commits have changed a database since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Commits(pub u64);

/// The database at one commit.
pub(crate) struct Version {
    table: Table,
    count: PageCount,
    page_size: PageSize,
    commits: Commits,
    changed: Vec<PageNo>,
}

impl Version {
    /// The page, unless it lies beyond the end or was never written, which reads as zeros.
    pub(crate) fn page(&self, page: PageNo) -> Option<&Page> {
        self.table.get(page.index())
    }

    pub(crate) fn count(&self) -> PageCount {
        self.count
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// In bytes, as a file.
    pub(crate) fn size(&self) -> u64 {
        self.count.bytes(self.page_size)
    }

    /// The commit that made this version.
    pub(crate) fn commits(&self) -> Commits {
        self.commits
    }

    /// The pages in which this version differs from the one before it, in order. Pages cut off the end are not among them.
    pub(crate) fn changed(&self) -> &[PageNo] {
        &self.changed
    }

    fn apply(&mut self, stage: Stage) {
        let (pages, floor, count) = stage.into_parts();
        self.table.truncate(floor.0);
        self.changed.clear();
        self.changed.extend(pages.keys());
        self.changed.sort_unstable();
        for (page, content) in pages {
            self.table.set(page.index(), content);
        }
        self.count = count;
        self.commits = Commits(self.commits.0 + 1);
    }

    fn successor(&self) -> Self {
        Self { table: self.table.clone(), count: self.count, page_size: self.page_size, commits: self.commits, changed: Vec::new() }
    }
}

/// What a store costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of the pages that the newest version holds.
    pub newest: u64,
    /// Bytes of all pages, with those that only pins or an open transaction hold.
    pub total: u64,
}

/// Why a connection may not begin to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTheWriter {
    /// Another connection is writing.
    Taken,
    /// Another connection has committed since this one pinned its version.
    Stale,
}

/// The versions of one database. Its page size never changes.
pub(crate) struct PageStore {
    page_size: PageSize,
    newest: Mutex<Arc<Version>>,
    /// Someone is between [`PageStore::begin_write`] and [`PageStore::end_write`]; only they may publish.
    writing: AtomicBool,
    max_size: AtomicU64,
    account: Account,
}

/// A commit of more pages is put together beside the newest version instead of in it, so that pinning does not wait for it.
const LARGE_COMMIT: usize = 256;

impl PageStore {
    /// A store without pages.
    pub(crate) fn new(page_size: PageSize, max_size: u64) -> Self {
        let empty =
            Version { table: Table::default(), count: PageCount::default(), page_size, commits: Commits::default(), changed: Vec::new() };
        Self {
            page_size,
            newest: Mutex::new(Arc::new(empty)),
            writing: AtomicBool::new(false),
            max_size: AtomicU64::new(max_size),
            account: Account::default(),
        }
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// In bytes, as a file. Only a commit that grows the database asks.
    pub(crate) fn max_size(&self) -> u64 {
        self.max_size.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_size(&self, bytes: u64) {
        self.max_size.store(bytes, Ordering::Relaxed);
    }

    /// Freezes this moment. Costs one reference count, however large the database is.
    pub(crate) fn pin(&self) -> Arc<Version> {
        Arc::clone(&self.newest.lock())
    }

    pub(crate) fn commits(&self) -> Commits {
        self.newest.lock().commits
    }

    pub(crate) fn memory_use(&self) -> MemoryUse {
        let page = self.page_size.len() + OVERRUN;
        let newest = u64::from(self.newest.lock().table.filled()) * page as u64;
        MemoryUse { newest, total: self.account.0.load(Ordering::Relaxed) }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Takes the one writer's place, if `base` is still the newest version.
    pub(crate) fn begin_write(&self, base: &Arc<Version>) -> Result<(), NotTheWriter> {
        if self.writing.swap(true, Ordering::Acquire) {
            return Err(NotTheWriter::Taken);
        }
        if !Arc::ptr_eq(&self.newest.lock(), base) {
            self.end_write();
            return Err(NotTheWriter::Stale);
        }
        Ok(())
    }

    /// Gives the writer's place back.
    pub(crate) fn end_write(&self) {
        self.writing.store(false, Ordering::Release);
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// Makes the staged pages the newest version and pins it. The caller holds the writer's place and began on the newest version; if it
    /// has let go of its own pin and there is no other, nothing but the pages themselves is replaced.
    pub(crate) fn publish(&self, stage: Stage) -> Arc<Version> {
        if stage.len() <= LARGE_COMMIT {
            let mut newest = self.newest.lock();
            if let Some(version) = Arc::get_mut(&mut newest) {
                version.apply(stage);
                return Arc::clone(&newest);
            }
        }
        let mut next = self.pin().successor();
        next.apply(stage);
        let next = Arc::new(next);
        let last = std::mem::replace(&mut *self.newest.lock(), Arc::clone(&next));
        // Here, outside the lock: dropping the last reference to many pages takes a while.
        drop(last);
        next
    }
}
