//! A SQLite database in memory: requests in, results out; versions pinned, written out as files and read back.
//!
//! Owns: whose turn it is to write, which connections there are, and on which threads SQLite runs. Does not own: pages (`pages.rs`), file
//! calls (`vfs.rs`), what a request may do (`connection.rs`, `statement.rs`), nor buckets.
//! Invariants: SQLite never runs on an async thread. Only whoever holds the writer's place opens a transaction that writes, so no client
//! sees `SQLITE_BUSY`. A connection that a panic went through, or of which a request changed the settings, is
//! never used again.

mod readers;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, watch};

use crate::clock::{Clock, SystemClock};
use crate::connection::{self, Cancel, Role, Session};
use crate::image::{self, Image};
use crate::pages::{PageStore, Version};
use crate::sql::{QueryLimits, Request, Response, SqlError, SqlErrorKind};
use crate::statement::{self, Begin};
use crate::vfs::Registered;
use readers::Readers;

pub use crate::image::LoadError;
pub use crate::pages::{Commits, MemoryUse, PageNo, PageSize};

/// How many statements run at the same time, over all databases that share it.
#[derive(Debug, Clone)]
pub struct SqlThreads(Arc<Semaphore>);

impl SqlThreads {
    /// At most so many at once; the rest wait in order.
    pub fn new(threads: NonZeroUsize) -> Self {
        Self(Arc::new(Semaphore::new(threads.get())))
    }
}

/// How a database in memory is kept.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// Of a new database; a loaded one keeps its own.
    pub page_size: PageSize,
    /// In bytes, as a file. A commit that grows the database beyond is refused as [`SqlErrorKind::Full`].
    pub max_size: u64,
    /// How many reads run at the same time.
    pub readers: NonZeroUsize,
    /// Where SQLite runs.
    pub threads: SqlThreads,
    /// Tells when a statement has run too long.
    pub clock: Arc<dyn Clock>,
}

impl MemoryOptions {
    /// With the system's clock, 4096-byte pages, four readers, and 500 MiB.
    pub fn new(threads: SqlThreads) -> Self {
        Self {
            page_size: PageSize::DEFAULT,
            max_size: 500 << 20,
            readers: const { NonZeroUsize::new(4).expect("is not zero") },
            threads,
            clock: Arc::new(SystemClock),
        }
    }
}

/// A database in memory. Clones are the same database.
#[derive(Clone)]
pub struct MemoryDatabase(Arc<Inner>);

struct Inner {
    file: Registered,
    clock: Arc<dyn Clock>,
    threads: SqlThreads,
    /// tokio's mutex is fair: writers get it in the order in which they asked.
    writer: Arc<Mutex<Writer>>,
    readers: Readers,
    commits: watch::Sender<Commits>,
}

/// The connections of whoever has the writer's place, opened when first needed. Each is taken out while it runs, and put back if it comes
/// back whole.
#[derive(Default)]
struct Writer {
    session: Option<Session>,
    trusted: Option<Connection>,
}

impl MemoryDatabase {
    /// An empty database. It has its first page already, so that its image is a database file, too.
    pub fn new(options: MemoryOptions) -> Result<Self, SqlError> {
        let page_size = options.page_size.get();
        let database = Self::over(PageStore::new(options.page_size, options.max_size), options);
        let connection = connection::open_trusted(&database.0.file, Role::Writer)?;
        // SQLite writes the header with the first write of anything, even of what is there already.
        connection.execute_batch(&format!("PRAGMA page_size = {page_size}; PRAGMA user_version = 0;"))?;
        database.0.announce();
        Ok(database)
    }

    /// From a plain SQLite file, read page by page. A file in WAL mode becomes one in rollback mode. Blocks; the header is checked, the
    /// content is not: see [`MemoryDatabase::check`].
    pub fn load(image: impl Read, options: MemoryOptions) -> Result<Self, LoadError> {
        let database = Self::over(image::load(image, options.max_size)?, options);
        database.0.announce();
        Ok(database)
    }

    #[cfg(test)]
    pub(crate) fn file(&self) -> &Registered {
        &self.0.file
    }

    fn over(store: PageStore, options: MemoryOptions) -> Self {
        Self(Arc::new(Inner {
            file: Registered::new(store),
            clock: options.clock,
            threads: options.threads,
            writer: Arc::default(),
            readers: Readers::new(options.readers),
            commits: watch::Sender::new(Commits::default()),
        }))
    }

    /// Whether the content is sound; otherwise the first lines of what SQLite finds wrong. Blocks, and reads all of it.
    pub fn check(&self) -> Result<(), String> {
        let lines = || -> Result<Vec<String>, rusqlite::Error> {
            let connection = connection::open_trusted(&self.0.file, Role::Reader)?;
            // Looking at each cell of a page whenever it is fetched doubles the cost of a read; here it is looked at once.
            connection.execute_batch("PRAGMA cell_size_check = ON")?;
            let mut check = connection.prepare("PRAGMA integrity_check(5)")?;
            check.query_map([], |row| row.get(0))?.collect()
        };
        match lines() {
            Ok(lines) if lines == ["ok"] => Ok(()),
            Ok(lines) => Err(lines.join("; ")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Runs statements that may not write. With [`crate::Transaction::Immediate`] all of them see the same version.
    pub async fn read(&self, request: Request, limits: &QueryLimits) -> Result<Response, SqlError> {
        let place = self.0.readers.place().await;
        let (inner, limits) = (Arc::clone(&self.0), *limits);
        self.run(move |cancel| {
            let session = match place.take() {
                Some(session) => session,
                None => Session::open(&inner.file, Role::Reader, Arc::clone(&inner.clock))?,
            };
            let outcome = statement::run(&session, &request, Begin::Deferred, &limits, cancel);
            if session.is_reusable() {
                place.put_back(session);
            }
            outcome
        })
        .await
    }

    /// Runs statements that may write, when their turn has come. Dropping the future rolls back what is not committed yet.
    pub async fn write(&self, request: Request, limits: &QueryLimits) -> Result<Response, SqlError> {
        let mut writer = self.turn(limits.writer_wait).await?;
        let (inner, limits) = (Arc::clone(&self.0), *limits);
        self.run(move |cancel| {
            let session = match writer.session.take() {
                Some(session) => session,
                None => Session::open(&inner.file, Role::Writer, Arc::clone(&inner.clock))?,
            };
            let outcome = statement::run(&session, &request, Begin::Immediate, &limits, cancel);
            writer.session = Some(session).filter(Session::is_reusable);
            inner.announce();
            outcome
        })
        .await
    }

    /// Runs the engine's own statements in one transaction, without sandbox or deadline; an error rolls it back. Waits for its turn
    /// however long that takes: each writer before it has a deadline. Dropping the future does not stop what has begun.
    pub async fn update<T, F>(&self, change: F) -> Result<T, SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, SqlError> + Send + 'static,
    {
        let mut writer = Arc::clone(&self.0.writer).lock_owned().await;
        let inner = Arc::clone(&self.0);
        self.run(move |_| {
            let mut connection = match writer.trusted.take() {
                Some(connection) => connection,
                None => connection::open_trusted(&inner.file, Role::Writer)?,
            };
            let outcome = transact(&mut connection, change);
            writer.trusted = Some(connection);
            inner.announce();
            outcome
        })
        .await
    }

    /// A connection of the embedding program's own, without sandbox or limits. It takes no part in the queue: while it writes, others that
    /// want to are told `SQLITE_BUSY`, and so is it.
    pub fn connect(&self) -> Result<Connection, SqlError> {
        Ok(connection::open_trusted(&self.0.file, Role::Writer)?)
    }

    /// Freezes the newest version.
    pub fn pin(&self) -> Pin {
        Pin(self.0.file.store().pin())
    }

    /// Changes after each commit that changed something. A flusher waits on it and needs no timer while nothing happens.
    pub fn commits(&self) -> watch::Receiver<Commits> {
        self.0.commits.subscribe()
    }

    /// In bytes, as a file.
    pub fn size(&self) -> u64 {
        self.pin().size()
    }

    /// What the pages cost.
    pub fn memory_use(&self) -> MemoryUse {
        self.0.file.store().memory_use()
    }

    /// Sets the most that the database may have, in bytes, for all commits from now on. One that has more already can still shrink.
    pub fn set_max_size(&self, bytes: u64) {
        self.0.file.store().set_max_size(bytes);
    }

    async fn turn(&self, wait: Duration) -> Result<OwnedMutexGuard<Writer>, SqlError> {
        let turn = Arc::clone(&self.0.writer).lock_owned();
        tokio::time::timeout(wait, turn).await.map_err(|_| {
            let message = format!("other writers were busy for {} ms; a retry may succeed", wait.as_millis());
            SqlError::ours(SqlErrorKind::Busy, message)
        })
    }

    /// Runs `work` on a thread that may block. When the future is dropped, the work is told and ends by itself; what it owns stays with it
    /// until then.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Cancel) -> Result<T, SqlError> + Send + 'static) -> Result<T, SqlError> {
        let cancel = Cancel::default();
        let _guard = cancel.on_drop();
        let thread = Arc::clone(&self.0.threads.0).acquire_owned().await.expect("nobody closes the semaphore");
        let work = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            work(&cancel)
        });
        work.await.unwrap_or_else(|error| {
            let kind = if error.is_panic() { SqlErrorKind::Internal } else { SqlErrorKind::Cancelled };
            Err(SqlError::ours(kind, "the statement was given up"))
        })
    }
}

impl Inner {
    /// Tells what has been committed to whoever waits for it.
    fn announce(&self) {
        let newest = self.file.store().commits();
        self.commits.send_if_modified(|seen| std::mem::replace(seen, newest) != newest);
    }
}

fn transact<T>(connection: &mut Connection, change: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, SqlError>) -> Result<T, SqlError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // An error drops the transaction, which rolls it back.
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// A version of a database that stays as it is.
#[derive(Clone)]
pub struct Pin(Arc<Version>);

impl Pin {
    /// In bytes, as a file.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// The commits that it holds.
    pub fn commits(&self) -> Commits {
        self.0.commits()
    }

    /// The pages in which this version differs from the one before it, in order; pages cut off the end are not among them.
    pub fn changed_pages(&self) -> &[PageNo] {
        self.0.changed()
    }

    /// The version as a plain SQLite file, exactly `size` bytes.
    pub fn image(&self) -> Box<dyn Read + Send> {
        Box::new(Image::new(Arc::clone(&self.0)))
    }

    /// The same with this change counter in page 1 (bytes 24–27 and 92–95), so that no two files with different counters have equal bytes.
    pub fn stamped_image(&self, counter: u32) -> Box<dyn Read + Send> {
        Box::new(Image::stamped(Arc::clone(&self.0), counter))
    }
}
