//! Branches in memory: a version becomes a database of its own, or takes the place of another one's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::queue::Turn;
use super::{Changes, Inner, MemoryDatabase, MemoryOptions, Pin};
use crate::image;
use crate::pages::{Page, PageNo, PageStore, Version};
use crate::sql::Spent;

/// Why a database does not switch to another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// A database keeps its page size for life.
    #[error("its pages have {theirs} bytes, those of this database {ours}")]
    PageSize {
        /// In bytes.
        ours: u32,
        /// In bytes.
        theirs: u32,
    },
    /// Someone writes on a connection of [`MemoryDatabase::connect`].
    #[error("a transaction outside the queue is writing")]
    Busy,
    /// There is no memory for it.
    #[error("out of memory")]
    OutOfMemory,
    /// The work did not come to its end.
    #[error("the switch was given up")]
    GivenUp,
}

/// How long the writer's place is waited for before transactions are ended again.
const AGAIN: Duration = Duration::from_millis(100);

impl MemoryDatabase {
    /// A database that begins as this version and goes its own way. It shares all pages until one side writes them, so it costs the same
    /// for any size. It keeps the page size of the version, and counts commits on from there.
    pub fn fork(pin: &Pin, options: MemoryOptions) -> Self {
        let store = PageStore::fork(&pin.0, options.max_size, Arc::clone(&options.clock));
        let database = Self::over(store, options);
        database.0.announce();
        database
    }

    /// Makes another version the newest of this database, when its turn to write has come: that of a fork, or of an image that was just
    /// loaded. Connections stay open and see it with their next statement; statements that run read theirs to the end; open transactions
    /// are rolled back and told so. It counts as one commit, whose changes are the pages that differ.
    pub async fn switch(&self, to: &Pin) -> Result<(), SwitchError> {
        // Before anybody is disturbed.
        self.fits(to)?;
        self.pause_writers("the database was switched").await.switch(to).await
    }

    /// Takes the writer's place and keeps it: of those who come later, none is let in before. Open transactions are rolled back and told
    /// `why`.
    pub(crate) async fn pause_writers(&self, why: &str) -> PausedWriters {
        let turn = {
            let turn = self.0.writers.turn();
            tokio::pin!(turn);
            loop {
                // One that began since then may have the place.
                self.end_transactions(why).await;
                if let Ok(turn) = tokio::time::timeout(AGAIN, &mut turn).await {
                    break turn;
                }
            }
        };
        // Those that read since then.
        self.end_transactions(why).await;
        PausedWriters { database: self.clone(), turn }
    }

    fn fits(&self, to: &Pin) -> Result<(), SwitchError> {
        let (ours, theirs) = (self.page_size(), to.page_size());
        if ours == theirs { Ok(()) } else { Err(SwitchError::PageSize { ours: ours.get(), theirs: theirs.get() }) }
    }
}

/// Nobody writes as long as this lives.
pub(crate) struct PausedWriters {
    database: MemoryDatabase,
    turn: Turn,
}

/// The version that a switch will make, before anybody sees it.
pub(crate) struct Prepared {
    pub(crate) pin: Pin,
    /// What differs from the version that it follows.
    pub(crate) changes: Changes,
}

impl PausedWriters {
    /// As [`MemoryDatabase::switch`]; then writers go on.
    pub(crate) async fn switch(self, to: &Pin) -> Result<(), SwitchError> {
        let prepared = self.prepare(to)?;
        self.take(prepared.pin).await
    }

    /// What [`PausedWriters::take`] would make of another version.
    pub(crate) fn prepare(&self, to: &Pin) -> Result<Prepared, SwitchError> {
        self.database.fits(to)?;
        let ours = self.database.0.file.store();
        let last = ours.pin();
        let (Some(first), Some(last_first)) = (to.page(PageNo::FIRST), last.page(PageNo::FIRST)) else {
            // A database has a first page from its beginning.
            return Err(SwitchError::GivenUp);
        };
        let bytes = image::succeeding(first, to.count(), last_first.bytes());
        let beside = PageStore::fork(&last, ours.max_size(), Arc::clone(&self.database.0.clock));
        let first = Page::copy_of(&bytes, beside.account()).map_err(|_| SwitchError::OutOfMemory)?;
        let mut stage = beside.begin_write(&beside.pin()).map_err(|_| SwitchError::Busy)?;
        beside.replace(&mut stage, &to.0, first);
        beside.end_write(stage);
        let (pin, changes) = beside.pin_with_changes(last.commits());
        Ok(Prepared { pin: Pin(pin), changes: changes.ok_or(SwitchError::OutOfMemory)? })
    }

    /// Makes a version that was prepared the newest; then writers go on.
    pub(crate) async fn take(self, prepared: Pin) -> Result<(), SwitchError> {
        let Self { database, turn } = self;
        let inner = Arc::clone(&database.0);
        let mut spent = Spent::default();
        let switched = database.run(database.now(), &mut spent, move |_, _| {
            // With the work, which goes on if the caller leaves: nobody else may write before it has ended.
            let _turn = turn;
            Ok(inner.switch(&prepared.0))
        });
        switched.await.unwrap_or(Err(SwitchError::GivenUp))
    }
}

impl Inner {
    fn switch(&self, to: &Version) -> Result<(), SwitchError> {
        let store = self.file.store();
        let last = store.pin();
        let (Some(first), Some(last_first)) = (to.page(PageNo::FIRST), last.page(PageNo::FIRST)) else {
            return Err(SwitchError::GivenUp);
        };
        let same_encoding = image::encoding(first.bytes()) == image::encoding(last_first.bytes());
        let mut stage = store.begin_write(&last).map_err(|_| SwitchError::Busy)?;
        drop(last);
        store.replace(&mut stage, to, first.clone());
        store.end_write(stage);
        self.file.feed().begin_again(store.commits());
        if !same_encoding {
            // The encoding of its first database stays with a connection.
            self.encodings.fetch_add(1, Ordering::Relaxed);
            self.pool.connections.forget(self.file.id());
        }
        self.announce();
        Ok(())
    }
}
