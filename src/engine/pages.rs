//! Pages in memory, copy-on-write.
//!
//! A [`PageStore`] holds the newest [`Version`] of a database; whoever keeps the `Arc` of a version has pinned it. A writer gathers its
//! pages in a [`Stage`] and publishes them as the next version in one step. Another store may begin with a version of this one: a branch
//! in memory is a pin that may be written.
//! Owns: page versions, how long they live, what they cost, which pages each commit changed. Does not own: I/O, locks between
//! connections, SQLite's file format.
//! Invariant: a page that a pinned version can reach never changes. It holds because a version is changed in place only while its `Arc`
//! is unique, and below it only nodes whose `Arc` is unique; everything else is copied on the way down.

mod log;
mod page;
#[cfg(test)]
mod schedules;
mod stage;
mod sync;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use log::ChangeLog;
pub use log::Changes;
pub use ltx::{PageCount, PageNo, PageSize};
pub(crate) use page::{Account, OVERRUN, OutOfMemory, Page};
pub(crate) use stage::Stage;
use sync::{AtomicU64, Mutex};
use table::Table;

/// How many commits have changed a database since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Commits(pub u64);

/// The database at one commit.
pub(crate) struct Version {
    table: Table,
    /// How many pages of the table do not count in the store's account: those that it had when the store began with it.
    foreign: u32,
    count: PageCount,
    page_size: PageSize,
    commits: Commits,
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

    /// The pages, in order, that are not the same here and there. What two versions share costs nothing to compare.
    pub(crate) fn differences(&self, other: &Self) -> Vec<PageNo> {
        self.table.differences(&other.table).into_iter().filter_map(PageNo::from_index).collect()
    }

    /// Puts the staged pages in their places. What is not used any more goes back to the stage, as far as nobody else holds it.
    fn apply(&mut self, pages: &mut Vec<(PageNo, Page)>, stage: &mut Stage, account: &Account) {
        if stage.floor() < self.count {
            let foreign = &mut self.foreign;
            self.table.truncate(stage.floor().0, |page| *foreign -= u32::from(!page.counts_in(account)));
        }
        for (number, page) in pages.drain(..) {
            // Pages that move make scans wait for memory. Page 1 changes with each commit, and no scan reads it.
            let unused = if number == PageNo::FIRST { self.table.set(0, page) } else { self.table.update(number.index(), page) };
            if let Some(unused) = unused {
                self.foreign -= u32::from(!unused.counts_in(account));
                stage.keep(unused);
            }
        }
        self.count = stage.count();
        self.commits = Commits(self.commits.0 + 1);
    }

    fn copy(&self) -> Self {
        Self { table: self.table.clone(), foreign: self.foreign, count: self.count, page_size: self.page_size, commits: self.commits }
    }
}

/// What a store costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Bytes of the pages of the newest version, with those that it shares with the store from which it was forked.
    pub live: u64,
    /// Bytes of pages that only older versions hold: those of open statements, of snapshots under way, of forks.
    pub pinned: u64,
    /// Bytes of pages that the transaction under way has written, and of a few that are kept for the next one.
    pub staged: u64,
    /// How long ago the oldest version that somebody still holds was replaced by a newer one; `None` while all hold the newest.
    pub oldest_pin: Option<Duration>,
}

/// Why a connection may not begin to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTheWriter {
    /// Another connection is writing.
    Taken,
    /// Another connection has committed since this one pinned its version.
    Stale,
}

/// Which version a connection begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sees {
    /// The newest.
    #[default]
    Newest,
    /// The newest that readers are shown.
    Shown,
}

/// The versions of one database. Its page size never changes.
pub(crate) struct PageStore {
    page_size: PageSize,
    heads: Mutex<Heads>,
    /// The one writer's place; empty while somebody is between [`PageStore::begin_write`] and [`PageStore::end_write`].
    writer: Mutex<Option<Stage>>,
    /// Locked before `heads`.
    past: Mutex<Past>,
    max_size: AtomicU64,
    account: Account,
    clock: Arc<dyn Clock>,
}

/// The versions with which connections begin.
struct Heads {
    newest: Arc<Version>,
    /// What readers see while newer versions are held back from them.
    shown: Option<Arc<Version>>,
}

/// What is known of earlier versions.
struct Past {
    log: ChangeLog,
    /// Versions that somebody held when they were replaced, and since when they are out of date.
    replaced: Vec<(Instant, Weak<Version>)>,
    /// How many of them there may be before the dead ones are looked for.
    look_at: usize,
}

/// A commit of more pages is put together beside the newest version instead of in it, so that pinning does not wait for it.
const LARGE_COMMIT: usize = 256;

impl PageStore {
    /// A store without pages.
    pub(crate) fn new(page_size: PageSize, max_size: u64, clock: Arc<dyn Clock>) -> Self {
        let empty = Version { table: Table::default(), foreign: 0, count: PageCount::default(), page_size, commits: Commits::default() };
        Self::over(empty, max_size, clock)
    }

    /// A store that begins with a version of another one, and shares its pages.
    pub(crate) fn fork(version: &Version, max_size: u64, clock: Arc<dyn Clock>) -> Self {
        let mut first = version.copy();
        first.foreign = first.table.filled();
        Self::over(first, max_size, clock)
    }

    fn over(first: Version, max_size: u64, clock: Arc<dyn Clock>) -> Self {
        let account = Account::default();
        Self {
            page_size: first.page_size,
            past: Mutex::new(Past { log: ChangeLog::new(first.commits), replaced: Vec::new(), look_at: 0 }),
            heads: Mutex::new(Heads { newest: Arc::new(first), shown: None }),
            writer: Mutex::new(Some(Stage::new(account.clone()))),
            max_size: AtomicU64::new(max_size),
            account,
            clock,
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
        Arc::clone(&self.heads.lock().newest)
    }

    /// The same of what is to be seen.
    pub(crate) fn pin_for(&self, sees: Sees) -> Arc<Version> {
        Arc::clone(self.heads.lock().of(sees))
    }

    /// Looks at a version without pinning it, while nobody can replace it.
    pub(crate) fn peek<T>(&self, sees: Sees, look: impl FnOnce(&Version) -> T) -> T {
        look(self.heads.lock().of(sees))
    }

    pub(crate) fn commits(&self) -> Commits {
        self.heads.lock().newest.commits
    }

    /// From now on readers see this version, and newer ones only when they are shown in turn. `None` shows them each as soon as it is made.
    pub(crate) fn show(&self, version: Option<Arc<Version>>) {
        let last = std::mem::replace(&mut self.heads.lock().shown, version);
        // Outside the lock: nobody else may have it any more, and then all its pages go.
        drop(last);
    }

    /// Whether readers may see another version than the newest.
    pub(crate) fn holds_back(&self) -> bool {
        self.heads.lock().shown.is_some()
    }

    pub(crate) fn memory_use(&self) -> MemoryUse {
        let mut past = self.past.lock();
        past.forget_dead();
        let (filled, foreign) = {
            let newest = &self.heads.lock().newest;
            (u64::from(newest.table.filled()), u64::from(newest.foreign))
        };
        let page = (self.page_size.len() + OVERRUN) as u64;
        let staged = self.account.in_stage();
        MemoryUse {
            live: filled * page,
            // A commit on its way counts its pages twice for a moment.
            pinned: self.account.alive().saturating_sub(filled - foreign + staged) * page,
            staged: staged * page,
            oldest_pin: past.replaced.first().map(|(since, _)| self.clock.now().saturating_duration_since(*since)),
        }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// The newest version, and what has changed in it after `commits`; `None` if that is not known any more.
    pub(crate) fn pin_with_changes(&self, commits: Commits) -> (Arc<Version>, Option<Changes>) {
        let past = self.past.lock();
        (self.pin(), past.log.since(commits))
    }

    /// Nobody will ask what changed in commits up to this one any more.
    pub(crate) fn forget_changes(&self, commits: Commits) {
        self.past.lock().log.forget(commits);
    }

    /// Takes the one writer's place, if `base` is still the newest version.
    pub(crate) fn begin_write(&self, base: &Arc<Version>) -> Result<Stage, NotTheWriter> {
        let mut place = self.writer.lock();
        let Some(mut stage) = place.take() else { return Err(NotTheWriter::Taken) };
        if !Arc::ptr_eq(&self.heads.lock().newest, base) {
            *place = Some(stage);
            return Err(NotTheWriter::Stale);
        }
        stage.begin(base);
        Ok(stage)
    }

    /// Gives the writer's place back. What is still staged is dropped.
    pub(crate) fn end_write(&self, mut stage: Stage) {
        stage.clear();
        *self.writer.lock() = Some(stage);
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writer.lock().is_none()
    }

    /// Makes the staged pages the newest version and pins it; the stage goes on over that. If the caller has let go of its own pin and
    /// there is no other, nothing but the pages themselves is replaced.
    pub(crate) fn publish(&self, stage: &mut Stage) -> Arc<Version> {
        let mut pages = stage.drain();
        let in_place = if pages.len() <= LARGE_COMMIT { self.publish_in_place(&mut pages, stage) } else { None };
        let newest = in_place.unwrap_or_else(|| self.publish_beside(&mut pages, stage));
        stage.give_back(pages);
        stage.begin(&newest);
        newest
    }

    /// Does nothing if somebody has pinned the newest version.
    fn publish_in_place(&self, pages: &mut Vec<(PageNo, Page)>, stage: &mut Stage) -> Option<Arc<Version>> {
        let mut past = self.past.lock();
        let mut heads = self.heads.lock();
        let version = Arc::get_mut(&mut heads.newest)?;
        let numbers = pages.iter().map(|(number, _)| *number);
        past.log.append(Commits(version.commits.0 + 1), stage.floor(), version.table.filled(), numbers);
        version.apply(pages, stage, &self.account);
        Some(Arc::clone(&heads.newest))
    }

    /// No lock is held while the next version is put together: only the writer makes one.
    fn publish_beside(&self, pages: &mut Vec<(PageNo, Page)>, stage: &mut Stage) -> Arc<Version> {
        let mut next = self.pin().copy();
        let (numbers, smallest): (Vec<PageNo>, _) = (pages.iter().map(|(number, _)| *number).collect(), stage.floor());
        next.apply(pages, stage, &self.account);
        self.succeed(next, smallest, numbers)
    }

    /// Makes `with` the newest version, but for its first page: another branch, another image. Open statements go on reading theirs; readers
    /// are shown it at once. The caller holds the writer's place and has staged nothing.
    pub(crate) fn replace(&self, stage: &mut Stage, with: &Version, first: Page) -> Arc<Version> {
        let last = self.pin();
        let mut next = with.copy();
        next.table.set(PageNo::FIRST.index(), first);
        next.commits = Commits(last.commits.0 + 1);
        next.foreign = 0;
        next.table.visit(|page| next.foreign += u32::from(!page.counts_in(&self.account)));
        let (differences, smallest) = (last.differences(&next), last.count.min(next.count));
        drop(last);
        let newest = self.succeed(next, smallest, differences);
        if self.holds_back() {
            self.show(Some(Arc::clone(&newest)));
        }
        stage.begin(&newest);
        newest
    }

    fn succeed(&self, next: Version, smallest: PageCount, changed: Vec<PageNo>) -> Arc<Version> {
        let next = Arc::new(next);
        let last = {
            let mut past = self.past.lock();
            past.log.append(next.commits, smallest, next.table.filled(), changed.into_iter());
            let last = std::mem::replace(&mut self.heads.lock().newest, Arc::clone(&next));
            past.remember(&last, &*self.clock);
            last
        };
        // Here, outside the locks: dropping the last reference to many pages takes a while.
        drop(last);
        next
    }
}

impl Heads {
    fn of(&self, sees: Sees) -> &Arc<Version> {
        match (sees, &self.shown) {
            (Sees::Shown, Some(shown)) => shown,
            (Sees::Shown, None) | (Sees::Newest, _) => &self.newest,
        }
    }
}

impl Past {
    /// Keeps an eye on a version that was replaced while somebody held it.
    fn remember(&mut self, version: &Arc<Version>, clock: &dyn Clock) {
        if Arc::strong_count(version) == 1 {
            return;
        }
        if self.replaced.len() >= self.look_at {
            self.forget_dead();
            self.look_at = 2 * self.replaced.len() + 8;
        }
        if self.replaced.try_reserve(1).is_ok() {
            self.replaced.push((clock.now(), Arc::downgrade(version)));
        }
    }

    fn forget_dead(&mut self) {
        self.replaced.retain(|(_, version)| version.strong_count() > 0);
    }
}
