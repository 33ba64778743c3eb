//! SQLite's file calls and lock steps over a [`PageStore`], in safe Rust.
//!
//! SQLite runs in rollback mode with its journal in memory. Taking SHARED pins a version, the newest or the newest that readers are shown, and
//! all reads of that connection come from it. RESERVED makes it the one writer, whose pages are staged. `COMMIT_PHASETWO` publishes the stage; an unlock that comes without
//! it drops the stage.
//! Owns: what each file call means for versions and for their feed, and which database a file name stands for. Does not own: C's types and
//! pointers (`vfs/ffi.rs`), nor which statement runs when.
//! Invariant: nothing that can fail comes after the commit point. Every refusal is said in `write` or `sync`, before SQLite has
//! finalised its journal.

mod ffi;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use crate::feed::{Feed, Schemas};
use crate::image;
use crate::pages::{Commits, NotTheWriter, OutOfMemory, Page, PageCount, PageNo, PageStore, Sees, Stage, Version};

/// How SQLite's lock levels stand to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lock {
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

/// Why a file call does not do what SQLite asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The database ends before the last byte asked for; the rest reads as zeros.
    ShortRead,
    /// Somebody else is writing.
    Busy,
    /// The version that this connection reads is no longer the newest.
    Stale,
    /// The database would grow past its limit.
    Full,
    OutOfMemory,
    /// Not a whole page of this database, or without the lock for it.
    Misplaced,
}

impl From<NotTheWriter> for Refusal {
    fn from(reason: NotTheWriter) -> Self {
        match reason {
            NotTheWriter::Taken => Self::Busy,
            NotTheWriter::Stale => Self::Stale,
        }
    }
}

impl From<OutOfMemory> for Refusal {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

thread_local! {
    /// The version that a connection on this thread read last.
    static SEEN: Cell<Option<Commits>> = const { Cell::new(None) };
}

/// What the version held that a connection on this thread has let go last. Taken by asking.
pub(crate) fn seen() -> Option<Commits> {
    SEEN.take()
}

/// Whatever runs next on this thread has seen nothing yet. What failed before it asks for nothing.
pub(crate) fn forget_seen() {
    SEEN.set(None);
}

/// What `last_insert_rowid()` tells on this connection until something is inserted there.
pub(crate) fn set_last_insert_rowid(connection: &rusqlite::Connection, rowid: i64) {
    ffi::set_last_insert_rowid(connection, rowid);
}

/// Which version this connection pins from now on; one that it has pinned it keeps until it lets it go.
pub(crate) fn see(connection: &rusqlite::Connection, sees: Sees) -> Result<(), i32> {
    ffi::see(connection, sees)
}

/// From now on the feed is told of each row that this connection touches, or of none. Between two statements; those that were prepared before
/// may not tell of all.
pub(crate) fn record(connection: &rusqlite::Connection, records: bool) -> Result<(), i32> {
    ffi::record(connection, records)
}

/// One connection's view of a database.
struct File {
    store: Arc<PageStore>,
    feed: Arc<Feed>,
    /// The feed is told of the rows that this connection touches.
    records: bool,
    sees: Sees,
    /// The version that is read; present from SHARED on.
    base: Option<Arc<Version>>,
    /// What is written over it; present from RESERVED on.
    stage: Option<Stage>,
    lent: Lent,
}

/// The pages that SQLite holds by address. They stay where they are until it has given all of them back, even past a commit.
#[derive(Default)]
struct Lent {
    count: usize,
    /// Some of them are pages of the version that is read now.
    from_base: bool,
    versions: Vec<Arc<Version>>,
    pages: Vec<Page>,
}

impl Lent {
    /// Takes a version that is not read any more.
    fn keep(&mut self, version: Arc<Version>) {
        if std::mem::take(&mut self.from_base) {
            self.versions.push(version);
        }
    }

    fn give_back(&mut self) {
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            self.from_base = false;
            self.versions.clear();
            self.pages.clear();
        }
    }
}

impl File {
    fn new(store: Arc<PageStore>, feed: Arc<Feed>) -> Self {
        Self { store, feed, records: false, sees: Sees::default(), base: None, stage: None, lent: Lent::default() }
    }

    /// Before its first SHARED lock SQLite reads the header, and gets what it would pin.
    fn version(&self) -> Arc<Version> {
        self.base.as_ref().map_or_else(|| self.store.pin_for(self.sees), Arc::clone)
    }

    fn count(&self) -> PageCount {
        match (&self.stage, &self.base) {
            (Some(stage), _) => stage.count(),
            (None, Some(base)) => base.count(),
            (None, None) => self.store.peek(self.sees, Version::count),
        }
    }

    fn size(&self) -> u64 {
        self.count().bytes(self.store.page_size())
    }

    /// Fills `out` to its last byte, with zeros where the database has none.
    fn read(&self, offset: u64, out: &mut [MaybeUninit<u8>]) -> Result<(), Refusal> {
        let version;
        let base = if let Some(base) = &self.base {
            base
        } else {
            version = self.version();
            &version
        };
        let page_size = self.store.page_size();
        let end = offset.saturating_add(out.len() as u64);
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            // Below the page size, which fits.
            let skip = usize::try_from(at % u64::from(page_size.get())).unwrap_or(0);
            let len = rest.len().min(page_size.len() - skip);
            let (now, later) = rest.split_at_mut(len);
            let page = PageNo::at(at, page_size).and_then(|page| match &self.stage {
                Some(stage) => stage.page(base, page),
                None => base.page(page),
            });
            match page {
                Some(page) => _ = now.write_copy_of_slice(&page.bytes()[skip..skip + len]),
                None => now.fill(MaybeUninit::new(0)),
            }
            at += len as u64;
            rest = later;
        }
        if end > self.size() { Err(Refusal::ShortRead) } else { Ok(()) }
    }

    /// Stages one page. A page that lies past the limit is refused at once, so that an endless transaction cannot fill the memory.
    fn write(&mut self, offset: u64, content: &[u8]) -> Result<(), Refusal> {
        let page_size = self.store.page_size();
        let aligned = content.len() == page_size.len() && offset.is_multiple_of(u64::from(page_size.get()));
        let page = PageNo::at(offset, page_size).filter(|_| aligned).ok_or(Refusal::Misplaced)?;
        if self.exceeds_limit(offset.saturating_add(content.len() as u64))? {
            return Err(Refusal::Full);
        }
        Ok(self.stage()?.write(page, content)?)
    }

    fn truncate(&mut self, size: u64) -> Result<(), Refusal> {
        let page_size = u64::from(self.store.page_size().get());
        let count = u32::try_from(size.div_ceil(page_size)).map_err(|_| Refusal::Misplaced)?;
        self.stage()?.truncate(PageCount(count));
        Ok(())
    }

    fn stage(&mut self) -> Result<&mut Stage, Refusal> {
        self.stage.as_mut().ok_or(Refusal::Misplaced)
    }

    /// A database that is over its limit already may still change and shrink, so that its owner can delete rows. Rolling a
    /// transaction back ends at the size of the version beneath, so it never fails here. Undoing a failed statement can, where the
    /// transaction has pages beyond the limit in SQLite's cache; then SQLite rolls all of it back.
    fn exceeds_limit(&self, size: u64) -> Result<bool, Refusal> {
        let base = self.base.as_ref().ok_or(Refusal::Misplaced)?;
        Ok(size > self.store.max_size().max(base.size()))
    }

    /// SQLite's last question before the commit point: here a commit is refused, or never.
    fn sync(&self) -> Result<(), Refusal> {
        match &self.stage {
            Some(stage) if self.exceeds_limit(stage.count().bytes(self.store.page_size()))? => Err(Refusal::Full),
            _ => Ok(()),
        }
    }

    /// The commit point. A transaction that wrote nothing makes no version.
    fn commit(&mut self) {
        let Some(stage) = self.stage.as_mut().filter(|stage| !stage.is_untouched()) else { return };
        let before = self.base.as_deref().filter(|_| self.records).map(schema);
        // Our own pin would keep the store from changing the version in place.
        if let Some(base) = self.base.take() {
            self.lent.keep(base);
        }
        let newest = self.store.publish(stage);
        if self.feed.is_on() {
            let schemas = before.map(|before| Schemas { before, after: schema(&newest) });
            self.feed.committed(newest.commits(), schemas);
        }
        self.base = Some(newest);
    }

    fn lock(&mut self, wanted: Lock) -> Result<(), Refusal> {
        let base = self.base.get_or_insert_with(|| self.store.pin_for(self.sees));
        if wanted >= Lock::Reserved && self.stage.is_none() {
            self.stage = Some(self.store.begin_write(base)?);
        }
        Ok(())
    }

    fn unlock(&mut self, wanted: Lock) {
        if wanted < Lock::Reserved
            && let Some(stage) = self.stage.take()
        {
            if self.records {
                self.feed.forget_touched();
            }
            self.store.end_write(stage);
        }
        if wanted == Lock::None
            && let Some(base) = self.base.take()
        {
            SEEN.set(Some(base.commits()));
            self.lent.keep(base);
        }
    }

    /// Lends a page with the zero bytes behind it, until [`File::give_back`]. `None` where SQLite has to read instead.
    fn lend(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        let page_size = self.store.page_size();
        let aligned = len == page_size.len() && offset.is_multiple_of(u64::from(page_size.get()));
        let page = PageNo::at(offset, page_size).filter(|_| aligned)?;
        let base = self.base.as_ref()?;
        let content = match &self.stage {
            Some(stage) => stage.page(base, page)?,
            None => base.page(page)?,
        };
        // A staged page is replaced when it is written again, or dropped by a rollback.
        if self.stage.as_ref().is_some_and(|stage| stage.has(page)) {
            self.lent.pages.push(content.clone());
        } else {
            self.lent.from_base = true;
        }
        self.lent.count += 1;
        Some(content.bytes_with_overrun())
    }

    fn give_back(&mut self) {
        self.lent.give_back();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.unlock(Lock::None);
    }
}

/// The cookie of a version's schema.
fn schema(version: &Version) -> u32 {
    version.page(PageNo::FIRST).map_or(0, |page| image::schema_cookie(page.bytes()))
}

/// The databases that can be opened by file name. SQLite passes nothing but a name to `xOpen`.
static REGISTRY: LazyLock<Mutex<HashMap<u64, Named>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What a file name stands for.
struct Named {
    store: Weak<PageStore>,
    feed: Weak<Feed>,
}

/// A store that can be opened by file name, for as long as this lives.
pub(crate) struct Registered {
    id: u64,
    store: Arc<PageStore>,
    feed: Arc<Feed>,
}

impl Registered {
    /// Gives the store a file name that no other store has had.
    pub(crate) fn new(store: PageStore) -> Self {
        let feed = Arc::new(Feed::new(Arc::clone(store.clock())));
        let store = Arc::new(store);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        REGISTRY.lock().insert(id, Named { store: Arc::downgrade(&store), feed: Arc::downgrade(&feed) });
        Self { id, store, feed }
    }

    pub(crate) fn store(&self) -> &PageStore {
        &self.store
    }

    /// What its commits change, for those who listen.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Names this file, and never another one.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What to open, with [`vfs_name`].
    pub(crate) fn file_name(&self) -> String {
        format!("/{}", self.id)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        REGISTRY.lock().remove(&self.id);
    }
}

fn open(file_name: &str) -> Option<File> {
    let id = file_name.strip_prefix('/')?.parse().ok()?;
    let (store, feed) = REGISTRY.lock().get(&id).and_then(|named| Some((named.store.upgrade()?, named.feed.upgrade()?)))?;
    Some(File::new(store, feed))
}

/// Whether a connection may set this. In exclusive locking mode SQLite neither marks each commit for the caches of readers, who come in
/// here all the same, nor needs shared memory for a WAL: it would turn the database into one that nobody can open.
fn allows_pragma(name: &std::ffi::CStr) -> bool {
    !name.to_bytes().eq_ignore_ascii_case(b"locking_mode")
}

/// The name under which SQLite knows this file system, registered at the first call; an error is SQLite's result code.
pub(crate) fn vfs_name() -> Result<&'static std::ffi::CStr, i32> {
    static REGISTERED: LazyLock<i32> = LazyLock::new(ffi::register);
    match *REGISTERED {
        0 => Ok(ffi::NAME),
        code => Err(code),
    }
}
