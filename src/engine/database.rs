//! One open database: read, write, flush, pin.
//!
//! Owns: what a caller may do with it while it is open. Does not own: when it opens and closes (`host.rs`), what is uploaded
//! (`flusher.rs`).

mod stream;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::branches::Source;
use crate::clock::WallTime;
use crate::config::Limits;
use crate::error::{Error, NotServed};
use crate::facts::{Facts, Origin, SnapshotFacts};
use crate::files::{FileStore, Files};
use crate::flusher::{Command, Ledger, Overwrite, Overwritten, Switch};
use crate::memory::{Commits, MemoryDatabase, Pin};
use crate::names::{BranchName, DatabaseName};
use crate::naming::StateId;
use crate::opening::Opened;
use crate::sql::{QueryLimits, Request, Response, SqlError, SqlErrorKind};
pub use stream::Stream;

/// Whether a flush may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Skipped within `minInterval` of the last one, as in the seed.
    Manual,
    /// Never skipped for its time; still nothing is uploaded when nothing changed.
    Forced,
}

/// What a flush did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flushed {
    /// Everything committed before the call is in this snapshot, which this call made.
    Uploaded(SnapshotFacts),
    /// Everything committed before the call was in this snapshot already.
    Unchanged(SnapshotFacts),
    /// The last one is younger than `minInterval`; what was committed since will be in the next.
    Skipped(Option<SnapshotFacts>),
}

/// What is told to open transactions when the database is closed under them.
const CLOSED: &str = "the database was closed";

/// Learns of which state the answers to one request tell.
#[derive(Debug, Default)]
pub struct Witness(Mutex<Option<Seen>>);

/// A state that an answer tells of, and how far the bucket was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its name, if that is known.
    pub state: Option<StateId>,
    /// The newest state in the bucket.
    pub durable: u64,
}

impl Witness {
    /// What it saw last.
    pub fn seen(&self) -> Option<Seen> {
        *self.0.lock()
    }
}

/// An open database. Clones are the same database.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    witness: Option<Arc<Witness>>,
}

struct Inner {
    name: DatabaseName,
    memory: MemoryDatabase,
    origin: Origin,
    ledger: Arc<Mutex<Ledger>>,
    files: FileStore,
    commands: mpsc::Sender<Command>,
    limits: RwLock<QueryLimits>,
    /// Counts the requests under way, so that the final flush comes after the last of them.
    requests: TaskTracker,
    closing: AtomicBool,
    /// Why nothing is served any more, for good.
    lost: OnceLock<Arc<Error>>,
}

impl Database {
    pub(crate) fn new(
        name: DatabaseName,
        memory: MemoryDatabase,
        origin: Origin,
        ledger: Arc<Mutex<Ledger>>,
        files: FileStore,
        commands: mpsc::Sender<Command>,
        limits: Limits,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                memory,
                origin,
                ledger,
                files,
                commands,
                limits: RwLock::new(limits.query),
                requests: TaskTracker::new(),
                closing: AtomicBool::new(false),
                lost: OnceLock::new(),
            }),
            witness: None,
        }
    }

    /// The same database for one request, whose answers somebody watches.
    #[must_use]
    pub fn before(&self, witness: Arc<Witness>) -> Self {
        Self { inner: Arc::clone(&self.inner), witness: Some(witness) }
    }

    /// Runs statements that may not write, on the newest version.
    pub async fn read(&self, request: Request) -> Result<Response, Error> {
        let _under_way = self.enter()?;
        let limits = self.limits();
        let response = self.inner.memory.read(request, &limits).await?;
        self.tell(response.seen);
        self.still_served(response)
    }

    /// Runs statements of which nobody said whether they write. Those that only read do not wait for writers.
    pub async fn run(&self, request: Request) -> Result<Response, Error> {
        if request.looks_like_reads() {
            match self.read(request.clone()).await {
                // It writes after all. A read changes nothing, so it can simply be run again.
                Err(Error::Sql(SqlError { kind: SqlErrorKind::Forbidden, .. })) => {}
                done => return done,
            }
        }
        self.write(request).await
    }

    /// Runs statements that may write, in the writers' queue.
    pub async fn write(&self, request: Request) -> Result<Response, Error> {
        let _under_way = self.enter_to_write()?;
        let limits = self.limits();
        let response = self.inner.memory.write(request, &limits).await?;
        self.tell(response.seen);
        self.still_served(response)
    }

    /// Whoever watches this request learns of which state the answer tells.
    fn tell(&self, seen: Option<Commits>) {
        let Some(witness) = &self.witness else { return };
        let ledger = self.inner.ledger.lock();
        *witness.0.lock() = Some(Seen { state: seen.and_then(|seen| ledger.naming.of(seen)), durable: ledger.txid });
    }

    /// A connection of the caller's own. It costs nothing until it is used; one that is `read_only` never writes.
    pub fn stream(&self, read_only: bool) -> Stream {
        Stream { database: self.clone(), memory: self.inner.memory.stream(read_only) }
    }

    /// Its files.
    pub fn files(&self) -> Files<'_> {
        Files::of(self)
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> &MemoryDatabase {
        &self.inner.memory
    }

    pub(crate) fn file_store(&self) -> &FileStore {
        &self.inner.files
    }

    pub(crate) fn name(&self) -> &DatabaseName {
        &self.inner.name
    }

    /// For the typed views: statements of the engine's own that read.
    pub(crate) async fn ask<T, F>(&self, ask: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let _under_way = self.enter()?;
        let limits = self.limits();
        let (answer, seen) = self.inner.memory.ask(&limits, ask).await?;
        self.tell(seen);
        self.still_served(answer)
    }

    /// For the typed views: statements of the engine's own in one transaction.
    pub(crate) async fn change<T, F>(&self, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let _under_way = self.enter_to_write()?;
        let limits = self.limits();
        let (answer, seen) = self.inner.memory.change(&limits, change).await?;
        self.tell(seen);
        self.still_served(answer)
    }

    /// For the typed views: the time that rows are given.
    pub(crate) fn wall(&self) -> WallTime {
        self.inner.memory.wall()
    }

    /// Brings what is committed into the bucket.
    pub async fn flush(&self, flush: Flush) -> Result<Flushed, Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Flush(flush, reply)).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Freezes the newest version.
    pub fn pin(&self) -> Pin {
        self.inner.memory.pin()
    }

    /// The limits in force.
    pub fn limits(&self) -> QueryLimits {
        *self.inner.limits.read()
    }

    /// The branch that is served.
    pub(crate) fn branch(&self) -> BranchName {
        self.inner.ledger.lock().branch.clone()
    }

    /// What is known of it.
    pub fn facts(&self) -> Facts {
        let newest = *self.inner.memory.commits().borrow();
        let ledger = self.inner.ledger.lock().clone();
        let refuses_writes = self.lagging(&ledger).is_some();
        Facts {
            size: self.inner.memory.size(),
            memory: self.inner.memory.memory_use(),
            txid: ledger.txid,
            branch: ledger.branch,
            // The host knows.
            by_hand: false,
            epoch: ledger.epoch,
            origin: self.inner.origin.clone(),
            durable_time: ledger.durable_time,
            lag: ledger.dirty_since.map(|since| self.inner.memory.now().saturating_duration_since(since)),
            refuses_writes,
            pending: ledger.durable != Some(newest),
            last_snapshot: ledger.last_snapshot,
            uploads: ledger.uploads,
            outside: ledger.outside,
        }
    }

    /// Brings what is committed into the chain; `<key>` may follow later.
    pub(crate) async fn save(&self) -> Result<(), Arc<Error>> {
        self.source().await.map(drop)
    }

    /// Refuses new requests, ends open transactions, waits for requests under way, and flushes. After it succeeded nothing is flushed any more; if it fails the
    /// database goes on as before.
    pub(crate) async fn finish(&self) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.inner.requests.close();
        // Requests may wait for an open transaction to end, and a request under way may be to open one.
        self.inner.memory.end_transactions(CLOSED).await;
        self.inner.requests.wait().await;
        self.inner.memory.end_transactions(CLOSED).await;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Finish(reply)).await?;
        let result = answer.await.map_err(|_| self.gone())?;
        if result.is_err() {
            self.inner.requests.reopen();
            self.inner.closing.store(false, Ordering::SeqCst);
        }
        result
    }

    /// Ends everything at once: requests are refused, open transactions rolled back.
    pub(crate) async fn lose(&self, why: Arc<Error>) {
        let told = why.to_string();
        // The first reason is the one.
        self.inner.lost.set(why).ok();
        self.inner.memory.end_transactions(&told).await;
    }

    /// A state that is in the bucket, after a flush.
    pub(crate) async fn source(&self) -> Result<Source, Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Pin(reply)).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Goes on with a branch that was opened for it.
    pub(crate) async fn switch(&self, to: Opened) -> Result<(), Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Switch(Box::new(Switch { to, reply }))).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Puts other content into the branch that is served.
    pub(crate) async fn overwrite(
        &self,
        overwrite: impl FnOnce(oneshot::Sender<Result<Overwritten, Arc<Error>>>) -> Overwrite,
    ) -> Result<Overwritten, Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Overwrite(Box::new(overwrite(reply)))).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// The count comes before the look at the flag: whoever is not counted sees it set.
    fn enter(&self) -> Result<TaskTrackerToken, Error> {
        let token = self.inner.requests.token();
        if let Some(error) = self.inner.lost.get() {
            return Err(Error::clone(error));
        }
        if self.inner.closing.load(Ordering::SeqCst) {
            return Err(Error::NotServed { database: self.inner.name.clone(), why: NotServed::Closing });
        }
        Ok(token)
    }

    /// The same for who wants to write: while the bucket is too far behind nothing more is taken that could be lost.
    fn enter_to_write(&self) -> Result<TaskTrackerToken, Error> {
        let token = self.enter()?;
        match self.lagging(&self.inner.ledger.lock()) {
            Some(lag) => Err(Error::Lagging { database: self.inner.name.clone(), lag }),
            None => Ok(token),
        }
    }

    /// How old the oldest commit is that is not in the bucket, if that is too old.
    fn lagging(&self, ledger: &Ledger) -> Option<Duration> {
        let lag = self.inner.memory.now().saturating_duration_since(ledger.dirty_since?);
        (lag > ledger.longest_lag?).then_some(lag)
    }

    /// An answer that was on its way when the database was lost tells of what nobody else can see.
    fn still_served<T>(&self, answer: T) -> Result<T, Error> {
        self.inner.lost.get().map_or(Ok(answer), |error| Err(Error::clone(error)))
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.inner.limits.write() = limits.query;
        self.inner.memory.set_max_size(limits.max_size);
    }

    /// For the order at shutdown: those that wait longest come first, those with nothing to save last.
    pub(crate) fn dirty_since(&self) -> Option<tokio::time::Instant> {
        self.inner.ledger.lock().dirty_since
    }

    async fn send(&self, command: Command) -> Result<(), Arc<Error>> {
        self.inner.commands.send(command).await.map_err(|_| self.gone())
    }

    /// Why nobody answers.
    fn gone(&self) -> Arc<Error> {
        if let Some(error) = self.inner.lost.get() {
            return Arc::clone(error);
        }
        Arc::new(Error::NotServed { database: self.inner.name.clone(), why: NotServed::Closing })
    }
}
