//! A SQLite database in memory: requests in, results out; versions pinned, written out as files and read back.
//!
//! Owns: whose turn it is to write, which connections there are, and on which threads SQLite runs. Does not own: pages (`pages.rs`), file
//! calls (`vfs.rs`), what a request may do (`connection.rs`, `statement.rs`), nor buckets.
//! Invariants: SQLite runs on an async thread only for as long as it would take to get another thread (`brief.rs`). Only whoever holds the writer's place opens a transaction that writes, so no client
//! sees `SQLITE_BUSY`. A connection that a panic went through, or of which a request changed the settings, is
//! never used again.

mod assembly;
mod beside;
mod branch;
mod brief;
mod connections;
mod listening;
mod pin;
mod queue;
mod stream;
#[cfg(test)]
mod tests;
mod views;

use std::fmt;
use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::clock::{Clock, SystemClock};
use crate::connection::threads::Threads;
use crate::connection::{self, Cancel, Role, Session};
use crate::image;
pub(crate) use crate::pages::Sees;
use crate::pages::{PageStore, Version};
use crate::sql::{Holding, QueryLimits, Request, Response, ResultMemory, Share, Spent, SqlError, SqlErrorKind};
use crate::statement::{self, Answered, Begin, Bounds, Once};
use crate::tasks::Pace;
use crate::vfs::{self, Registered};
use connections::{Connections, Open, Use};
use queue::{Turn, WritersQueue};
use stream::OpenTransactions;

pub use crate::image::LoadError;
pub use crate::pages::{Changes, Commits, MemoryUse, PageCount, PageNo, PageSize};
pub(crate) use assembly::{Assembly, Writes};
pub(crate) use branch::PausedWriters;
pub use branch::SwitchError;
pub use listening::{ChangeKind, RowChange};
pub(crate) use listening::{Heard, MemoryListener};
pub use pin::Pin;
pub use stream::{Gate, MemoryStream, StreamLimits};

/// What databases share: the threads on which statements run, and the connections that are kept meanwhile.
#[derive(Clone)]
pub struct SqlPool {
    threads: Threads,
    connections: Arc<Connections>,
    results: ResultMemory,
    slow_after: Duration,
    /// Places for statements whose rows nobody takes just now.
    slow_readers: Arc<Semaphore>,
}

impl SqlPool {
    /// At most so many statements at once; the rest wait in order.
    pub fn new(threads: NonZeroUsize) -> Self {
        let connections = Arc::new(Connections::new(CONNECTIONS_KEPT));
        Self {
            threads: Threads::new(threads),
            connections,
            results: ResultMemory::new(RESULTS),
            slow_after: Duration::from_secs(1),
            slow_readers: Arc::new(Semaphore::new(SLOW_READERS)),
        }
    }

    /// The same with so much memory for results that are collected before they are sent; 256 MiB where nobody says so.
    #[must_use]
    pub fn with_results(self, results: ResultMemory) -> Self {
        Self { results, ..self }
    }

    /// The same, where statements count as slow that run at least so long; 1 s where nobody says so.
    #[must_use]
    pub fn with_slow_after(self, slow_after: Duration) -> Self {
        Self { slow_after, ..self }
    }
}

impl fmt::Debug for SqlPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlPool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// So many statements may wait for whoever takes their rows, over all databases and of one. Each of them keeps a thread.
const SLOW_READERS: usize = 256;
const SLOW_READERS_OF_ONE: usize = 64;

/// Memory for results, in bytes.
const RESULTS: u64 = 256 << 20;

/// Connections that nobody uses just now, over all databases. Opening one takes about as long as a request does.
const CONNECTIONS_KEPT: usize = 64;

/// How a database in memory is kept.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// Of a new database; a loaded one keeps its own.
    pub page_size: PageSize,
    /// In bytes, as a file. A commit that grows the database beyond is refused as [`SqlErrorKind::Full`].
    pub max_size: u64,
    /// How many reads run at the same time.
    pub readers: NonZeroUsize,
    /// Where SQLite runs, and what it shares with other databases.
    pub pool: SqlPool,
    /// Tells when a statement has run too long.
    pub clock: Arc<dyn Clock>,
    /// Where a state is put together, and looked at as a whole.
    pub pace: Pace,
}

impl MemoryOptions {
    /// With the system's clock, 4096-byte pages, four readers, and 500 MiB.
    pub fn new(pool: SqlPool) -> Self {
        Self {
            page_size: PageSize::DEFAULT,
            max_size: 500 << 20,
            readers: const { NonZeroUsize::new(4).expect("is not zero") },
            pool,
            clock: Arc::new(SystemClock),
            pace: Pace::Usual,
        }
    }
}

/// A database in memory. Clones are the same database.
#[derive(Clone)]
pub struct MemoryDatabase(Arc<Inner>);

struct Inner {
    file: Registered,
    clock: Arc<dyn Clock>,
    pool: SqlPool,
    writers: WritersQueue,
    readers: Arc<Semaphore>,
    slow_readers: Arc<Semaphore>,
    results: Share,
    commits: watch::Sender<Commits>,
    open_transactions: parking_lot::Mutex<OpenTransactions>,
    /// How often the text encoding changed, which open connections do not see.
    encodings: AtomicU64,
    /// The statements that need no thread of their own.
    brief: brief::Known,
    listening: listening::Shared,
}

impl MemoryDatabase {
    /// An empty database. It has its first page already, so that its image is a database file, too.
    pub fn new(options: MemoryOptions) -> Result<Self, SqlError> {
        let page_size = options.page_size.get();
        let database = Self::over(PageStore::new(options.page_size, options.max_size, Arc::clone(&options.clock)), options);
        let connection = connection::open_trusted(&database.0.file, Role::Writer)?;
        // SQLite writes the header with the first write of anything, even of what is there already.
        connection.execute_batch(&format!("PRAGMA page_size = {page_size}; PRAGMA user_version = 0;"))?;
        database.0.announce();
        Ok(database)
    }

    /// From a plain SQLite file, read page by page. A file in WAL mode becomes one in rollback mode. Blocks; the header is checked, the
    /// content is not: see [`MemoryDatabase::check`].
    pub fn load(image: impl Read, options: MemoryOptions) -> Result<Self, LoadError> {
        let database = Self::over(image::load(image, options.max_size, Arc::clone(&options.clock))?, options);
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
            results: options.pool.results.share(),
            pool: options.pool,
            writers: WritersQueue::new(),
            readers: Arc::new(Semaphore::new(options.readers.get())),
            slow_readers: Arc::new(Semaphore::new(SLOW_READERS_OF_ONE)),
            commits: watch::Sender::new(Commits::default()),
            open_transactions: parking_lot::Mutex::default(),
            encodings: AtomicU64::new(0),
            brief: brief::Known::default(),
            listening: listening::Shared::default(),
        }))
    }

    /// Whether the content is sound; otherwise the first lines of what SQLite finds wrong. Blocks, and reads all of it.
    pub fn check(&self) -> Result<(), String> {
        let lines = || -> Result<Vec<String>, rusqlite::Error> {
            let connection = connection::open_trusted(&self.0.file, Role::Reader)?;
            if !image::has_names_in_utf8(&connection)? {
                return Ok(vec!["the schema holds names or SQL that are not UTF-8".to_owned()]);
            }
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
        self.read_counting(&request, limits, &mut Spent::default()).await
    }

    /// The same, and tells what it took, however it ends.
    pub(crate) async fn read_counting(&self, request: &Request, limits: &QueryLimits, spent: &mut Spent) -> Result<Response, SqlError> {
        brief::others_first().await;
        if let Some(done) = self.request_at_once(Use::Read, request, limits, spent) {
            return done;
        }
        let (request, limits, holding, slow_after, inner) =
            (request.clone(), *limits, self.hold_results(), self.0.pool.slow_after, Arc::clone(&self.0));
        self.among_readers(spent, move |session, cancel, spent| {
            let bounds = Bounds { limits: &limits, cancel, holding, slow_after };
            inner.judged(session, request.only(), || statement::run(session, &request, Begin::Deferred, bounds, spent))
        })
        .await
    }

    /// Runs statements that may write, when their turn has come. Dropping the future rolls back what is not committed yet.
    pub async fn write(&self, request: Request, limits: &QueryLimits) -> Result<Response, SqlError> {
        let mut spent = Spent::default();
        let turn = self.turn(limits, &mut spent).await?;
        self.write_in_turn(turn, request, limits, &mut spent).await
    }

    /// The same if the state before it is the right one, and otherwise nothing.
    pub(crate) async fn write_if(
        &self,
        is_right: impl FnOnce(Commits) -> bool + Send,
        request: Request,
        limits: &QueryLimits,
        spent: &mut Spent,
    ) -> Result<Option<Response>, SqlError> {
        let turn = self.turn(limits, spent).await?;
        if !is_right(self.0.file.store().commits()) {
            return Ok(None);
        }
        self.write_in_turn(turn, request, limits, spent).await.map(Some)
    }

    /// The same for a request that is run once. With what it was answered comes what the memory held then.
    pub(crate) async fn write_once_if(
        &self,
        is_right: impl FnOnce(Commits) -> bool + Send,
        request: Request,
        once: Once,
        limits: &QueryLimits,
        spent: &mut Spent,
    ) -> Result<Option<(Answered, Option<Commits>)>, SqlError> {
        let turn = self.turn(limits, spent).await?;
        if !is_right(self.0.file.store().commits()) {
            return Ok(None);
        }
        let (query, now, holding, slow_after) = (*limits, self.wall(), self.hold_results(), self.0.pool.slow_after);
        let work = move |session: &Session, cancel: &Cancel, spent: &mut Spent| {
            let bounds = Bounds { limits: &query, cancel, holding, slow_after };
            let answered = statement::run_once(session, &request, once, now, bounds, spent)?;
            Ok((answered, vfs::seen()))
        };
        self.in_turn(turn, spent, work).await.map(Some)
    }

    /// A request that may write, in its turn.
    async fn write_in_turn(&self, turn: Turn, request: Request, limits: &QueryLimits, spent: &mut Spent) -> Result<Response, SqlError> {
        if let Some(done) = self.request_at_once(Use::Write, &request, limits, spent) {
            self.0.announce();
            return done;
        }
        let (query, holding, slow_after, inner) = (*limits, self.hold_results(), self.0.pool.slow_after, Arc::clone(&self.0));
        self.in_turn(turn, spent, move |session, cancel, spent| {
            let bounds = Bounds { limits: &query, cancel, holding, slow_after };
            inner.judged(session, request.only(), || statement::run(session, &request, Begin::Immediate, bounds, spent))
        })
        .await
    }

    /// Work on a connection that reads, in one of the readers' places.
    async fn among_readers<T: Send + 'static>(
        &self,
        spent: &mut Spent,
        work: impl FnOnce(&Session, &Cancel, &mut Spent) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let asked = self.now();
        let place = self.0.reader().await;
        let inner = Arc::clone(&self.0);
        self.run(asked, spent, move |cancel, spent| {
            let _place = place;
            let session = inner.session(Use::Read)?;
            let outcome = work(&session, cancel, spent);
            inner.keep_at_rest(Use::Read, session);
            outcome
        })
        .await
    }

    /// Waits for the turn to write, and adds how long that took.
    async fn turn(&self, limits: &QueryLimits, spent: &mut Spent) -> Result<Turn, SqlError> {
        brief::others_first().await;
        let asked = self.now();
        let turn = self.0.writers.turn_within(limits.writer_wait).await;
        spent.queued += self.now().saturating_duration_since(asked);
        turn
    }

    /// Work on a connection that writes, in its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        turn: Turn,
        spent: &mut Spent,
        work: impl FnOnce(&Session, &Cancel, &mut Spent) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let inner = Arc::clone(&self.0);
        self.run(self.now(), spent, move |cancel, spent| {
            let _turn = turn;
            let session = inner.session(Use::Write)?;
            let outcome = work(&session, cancel, spent);
            inner.keep_at_rest(Use::Write, session);
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
        let asked = self.now();
        let turn = self.0.writers.turn().await;
        let inner = Arc::clone(&self.0);
        self.run(asked, &mut Spent::default(), move |_, _| {
            let _turn = turn;
            let mut connection = inner.connection()?;
            let outcome = transact(&mut connection, change);
            inner.pool.connections.put(inner.file.id(), Use::Engine, Open::Plain(connection));
            inner.announce();
            outcome
        })
        .await
    }

    /// A connection of the embedding program's own, without sandbox or limits. It takes no part in the queue: while it writes, others that
    /// want to are told `SQLITE_BUSY`, and so is it. Those who listen are told of its commits that they must read anew.
    pub fn connect(&self) -> Result<Connection, SqlError> {
        Ok(connection::open_trusted(&self.0.file, Role::Writer)?)
    }

    /// For results that are collected before they are sent.
    pub fn hold_results(&self) -> Holding {
        self.0.results.hold()
    }

    /// Freezes the newest version.
    pub fn pin(&self) -> Pin {
        Pin(self.0.file.store().pin())
    }

    /// The commits of what is to be seen.
    pub(crate) fn commits_for(&self, sees: Sees) -> Commits {
        self.0.file.store().peek(sees, Version::commits)
    }

    /// Freezes what readers see.
    pub fn pin_shown(&self) -> Pin {
        Pin(self.0.file.store().pin_for(Sees::Shown))
    }

    /// Whether readers may see another version than the newest.
    pub fn holds_back(&self) -> bool {
        self.0.file.store().holds_back()
    }

    /// From now on readers see this version, and newer ones only when they are shown in turn. `None` shows them each commit at once.
    pub fn show(&self, pin: Option<&Pin>) {
        self.0.file.store().show(pin.map(|pin| Arc::clone(&pin.0)));
        if self.0.file.feed().is_on() {
            self.0.file.feed().wake();
        }
    }

    /// The newest version, and what has changed in it after `commits`; `None` if that is not known any more, as after
    /// [`MemoryDatabase::forget_changes`], or for a commit of before it was opened.
    pub fn pin_with_changes(&self, commits: Commits) -> (Pin, Option<Changes>) {
        let (version, changes) = self.0.file.store().pin_with_changes(commits);
        (Pin(version), changes)
    }

    /// Nobody will ask what changed in commits up to this one any more.
    pub fn forget_changes(&self, commits: Commits) {
        self.0.file.store().forget_changes(commits);
    }

    /// Changes after each commit that changed something. A flusher waits on it and needs no timer while nothing happens.
    pub fn commits(&self) -> watch::Receiver<Commits> {
        self.0.commits.subscribe()
    }

    /// In bytes, as a file.
    pub fn size(&self) -> u64 {
        self.pin().size()
    }

    /// Of all its pages; it never changes.
    pub fn page_size(&self) -> PageSize {
        self.0.file.store().page_size()
    }

    /// For another database like this one.
    pub(crate) fn options(&self) -> MemoryOptions {
        MemoryOptions {
            max_size: self.0.file.store().max_size(),
            clock: Arc::clone(&self.0.clock),
            ..MemoryOptions::new(self.0.pool.clone())
        }
    }

    /// What the pages cost.
    pub fn memory_use(&self) -> MemoryUse {
        self.0.file.store().memory_use()
    }

    /// Statements that wait for whoever takes their rows.
    pub(crate) fn slow_readers(&self) -> usize {
        SLOW_READERS_OF_ONE - self.0.slow_readers.available_permits()
    }

    /// Sets the most that the database may have, in bytes, for all commits from now on. One that has more already can still shrink.
    pub fn set_max_size(&self, bytes: u64) {
        self.0.file.store().set_max_size(bytes);
    }

    /// By the clock that the database has.
    pub(crate) fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// Runs `work` on a thread that may block, for a request that came at `asked`. When the future is dropped, the work is told and ends by
    /// itself; what it owns stays with it until then.
    async fn run<T: Send + 'static>(
        &self,
        asked: Instant,
        spent: &mut Spent,
        work: impl FnOnce(&Cancel, &mut Spent) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let cancel = Cancel::default();
        let _guard = cancel.on_drop();
        let threads = self.0.pool.threads.clone();
        let (place, runtime) = (threads.place().await, tokio::runtime::Handle::current());
        let clock = Arc::clone(&self.0.clock);
        let work = tokio::task::spawn_blocking(move || {
            let now = clock.now();
            let mut spent = Spent { queued: now.saturating_duration_since(asked), ..Spent::default() };
            let outcome = threads.run(place, now, runtime, || work(&cancel, &mut spent));
            (outcome, spent)
        });
        match work.await {
            Ok((outcome, took)) => {
                spent.add(took);
                outcome
            }
            Err(error) => {
                let kind = if error.is_panic() { SqlErrorKind::Internal } else { SqlErrorKind::Cancelled };
                Err(SqlError::ours(kind, "the statement was given up"))
            }
        }
    }
}

impl Inner {
    /// One of the readers' places.
    async fn reader(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.readers).acquire_owned().await.expect("nobody closes the semaphore")
    }

    /// A sandboxed connection: one that was kept, or a new one.
    fn session(&self, purpose: Use) -> Result<Session, SqlError> {
        // What it has read when its next statement has run, or more.
        let schema = self.schema(purpose);
        let session = match self.pool.connections.take(self.file.id(), purpose) {
            Some(Open::Session(session)) => session,
            Some(Open::Plain(_)) | None => Session::open(&self.file, purpose.role(), purpose.rules(), Arc::clone(&self.clock))?,
        };
        session.set_schema(schema);
        self.listened(purpose, &session)?;
        Ok(session)
    }

    /// Before a session writes: those who listen are told of what it does.
    fn listened(&self, purpose: Use, session: &Session) -> Result<(), SqlError> {
        Ok(session.record(purpose.role() == Role::Writer && self.file.feed().is_on())?)
    }

    /// One for the engine's own statements.
    fn connection(&self) -> Result<Connection, SqlError> {
        let connection = match self.pool.connections.take(self.file.id(), Use::Engine) {
            Some(Open::Plain(connection)) => connection,
            Some(Open::Session(_)) | None => connection::open_trusted(&self.file, Role::Writer)?,
        };
        connection::record(&connection, self.file.feed().is_on())?;
        Ok(connection)
    }

    /// Keeps a session for later requests, if it is as it was.
    fn keep(&self, purpose: Use, session: Session) {
        if session.is_reusable() {
            self.pool.connections.put(self.file.id(), purpose, Open::Session(session));
        }
    }

    /// Tells what has been committed to whoever waits for it.
    fn announce(&self) {
        let newest = self.file.store().commits();
        self.commits.send_if_modified(|seen| std::mem::replace(seen, newest) != newest);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.connections.forget(self.file.id());
    }
}

fn transact<T>(connection: &mut Connection, change: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, SqlError>) -> Result<T, SqlError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // An error drops the transaction, which rolls it back.
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}
