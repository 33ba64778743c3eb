//! One open database: read, write, flush, pin.
//!
//! Owns: what a caller may do with it while it is open. Does not own: when it opens and closes (`host.rs`), what is uploaded
//! (`flusher.rs`).

mod listening;
mod stream;
mod usage;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::branches::Source;
use crate::clock::WallTime;
use crate::config::Limits;
use crate::durable::Durable;
use crate::error::{Error, NotServed};
use crate::facts::{Damage, Facts, Origin, SnapshotFacts, Verified};
use crate::files::{FileStore, Files};
use crate::flusher::{Command, Expected, Leaving, Ledger, Overwrite, Overwritten, Switch};
use crate::memory::{Commits, MemoryDatabase, Pin, Sees};
use crate::names::{BranchName, DatabaseName};
use crate::naming::StateId;
use crate::opening::Opened;
use crate::pasts::{Line, Room};
use crate::shown;
use crate::sql::{Holding, QueryLimits, Request, Response, SlowStatement, Spent, SqlError, SqlErrorKind};
use crate::statement::{Answered, Once};
pub use listening::{Listener, News};
pub use stream::Stream;
pub use usage::Usage;

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

/// So many requests may run or wait at a time: whoever comes then would wait for longer than it is worth.
const MOST_REQUESTS: usize = 1024;

/// Learns of which state the answers to one request tell, and what they took.
#[derive(Debug, Default)]
pub struct Witness(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    seen: Option<Seen>,
    spent: Spent,
}

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
        self.0.lock().seen
    }

    /// What the request took so far. `None` if it asked no database.
    pub fn spent(&self) -> Spent {
        self.0.lock().spent.clone()
    }
}

/// What a caller asks for besides the statements of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The request runs only if the database has one of these states when its turn comes.
    pub only_at: Option<Vec<StateId>>,
    /// It waits no longer than this for its turn to write.
    pub wait: Option<Duration>,
    /// Nobody wants the rows.
    pub without_rows: bool,
}

impl Terms {
    /// The limits that hold on these terms, where others hold without them.
    pub fn limits(&self, limits: QueryLimits) -> QueryLimits {
        QueryLimits {
            writer_wait: self.wait.map_or(limits.writer_wait, |wait| wait.min(limits.writer_wait)),
            max_rows: if self.without_rows { 0 } else { limits.max_rows },
            ..limits
        }
    }
}

/// An open database. Clones are the same database.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    witness: Option<Arc<Witness>>,
    /// Answers wait for the bucket, even if the mode does not ask for it.
    confirms: bool,
}

struct Inner {
    name: DatabaseName,
    memory: MemoryDatabase,
    origin: Origin,
    ledger: Arc<Mutex<Ledger>>,
    durable: Arc<Durable>,
    /// Those of the present where it is a past state.
    files: Arc<FileStore>,
    commands: mpsc::Sender<Command>,
    limits: RwLock<QueryLimits>,
    /// Counts the requests under way, so that the final flush comes after the last of them.
    requests: TaskTracker,
    closing: AtomicBool,
    /// Why nothing is served any more, for good.
    lost: OnceLock<Arc<Error>>,
    /// That of the present where it is a past state.
    usage: Arc<Mutex<Usage>>,
    /// Of a past state.
    _room: Option<Room>,
    /// Held by whoever puts a past state together.
    recalls: tokio::sync::Mutex<()>,
    checks: Checks,
    proofs: Mutex<Proofs>,
}

/// What is known of proofs that it can be restored.
#[derive(Default)]
struct Proofs {
    last: Option<Verified>,
    /// Why the newest came to no end.
    unfinished: Option<String>,
}

/// The database while somebody else keeps it open.
pub(crate) struct WeakDatabase(Weak<Inner>);

impl WeakDatabase {
    pub(crate) fn upgrade(&self) -> Option<Database> {
        Some(Database { inner: self.0.upgrade()?, witness: None, confirms: false })
    }
}

/// Looks whether the tenure lasts, one at a time.
#[derive(Default)]
struct Checks {
    /// How many have begun.
    begun: AtomicU64,
    last: tokio::sync::Mutex<Check>,
}

struct Check {
    number: u64,
    found: Result<(), Arc<Error>>,
}

impl Default for Check {
    fn default() -> Self {
        Self { number: 0, found: Ok(()) }
    }
}

impl Database {
    pub(crate) fn new(
        name: DatabaseName,
        memory: MemoryDatabase,
        origin: Origin,
        (ledger, durable): (Arc<Mutex<Ledger>>, Arc<Durable>),
        files: Arc<FileStore>,
        commands: mpsc::Sender<Command>,
        limits: Limits,
    ) -> Self {
        let inner = Inner {
            name,
            memory,
            origin,
            ledger,
            durable,
            files,
            commands,
            limits: RwLock::new(limits.query),
            requests: TaskTracker::new(),
            closing: AtomicBool::new(false),
            lost: OnceLock::new(),
            usage: Arc::default(),
            _room: None,
            recalls: tokio::sync::Mutex::default(),
            checks: Checks::default(),
            proofs: Mutex::default(),
        };
        Self { inner: Arc::new(inner), witness: None, confirms: false }
    }

    /// A past state of this database, which takes this room.
    pub(crate) fn past(
        &self,
        memory: MemoryDatabase,
        origin: Origin,
        ledger: (Arc<Mutex<Ledger>>, Arc<Durable>),
        commands: mpsc::Sender<Command>,
        room: Room,
    ) -> Self {
        let limits = Limits { max_size: memory.size(), query: self.limits() };
        let files = Arc::clone(&self.inner.files);
        let past = Self::new(self.inner.name.clone(), memory, origin, ledger, files, commands, limits);
        let inner = Arc::into_inner(past.inner).map(|inner| Inner { usage: Arc::clone(&self.inner.usage), _room: Some(room), ..inner });
        Self { inner: Arc::new(inner.expect("nobody has another")), witness: None, confirms: false }
    }

    /// The same database for one request, whose answers somebody watches.
    #[must_use]
    pub fn before(self, witness: Arc<Witness>) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// The same database for one request, whose answers wait until everything that they tell of is in the bucket, whatever its mode is.
    #[must_use]
    pub fn confirming(self) -> Self {
        Self { confirms: true, ..self }
    }

    /// Runs statements that may not write, on the newest version that readers see.
    pub async fn read(&self, request: Request) -> Result<Response, Error> {
        self.read_on(&request, &Terms::default()).await
    }

    /// The same on terms.
    pub async fn read_on(&self, request: &Request, terms: &Terms) -> Result<Response, Error> {
        let _under_way = self.enter()?;
        let limits = terms.limits(self.limits());
        let mut spent = Spent::default();
        let outcome = self.inner.memory.read_counting(request, &limits, &mut spent).await;
        let response = self.concluded(Sees::Shown, outcome, spent, |response| response.seen).await?;
        if let Some(only_at) = &terms.only_at {
            // What looks at nothing is true of the newest state as well.
            let now = response.seen.map_or_else(|| self.newest(), |seen| self.inner.ledger.lock().naming.of(seen));
            if !now.is_some_and(|now| only_at.contains(&now)) {
                return Err(self.changed(now));
            }
        }
        Ok(response)
    }

    /// Runs statements of which nobody said whether they write. Those that only read do not wait for writers.
    pub async fn run(&self, request: Request) -> Result<Response, Error> {
        self.run_on(request, &Terms::default()).await
    }

    /// The same on terms.
    pub async fn run_on(&self, request: Request, terms: &Terms) -> Result<Response, Error> {
        if request.looks_like_reads() || self.is_only_shown() {
            match self.read_on(&request, terms).await {
                // It writes after all. A read changes nothing, so it can simply be run again.
                Err(Error::Sql(SqlError { kind: SqlErrorKind::Forbidden, .. })) => {}
                done => return done,
            }
        }
        self.write_on(request, terms).await
    }

    /// Runs statements that may write, in the writers' queue.
    pub async fn write(&self, request: Request) -> Result<Response, Error> {
        self.write_on(request, &Terms::default()).await
    }

    /// The same on terms.
    pub async fn write_on(&self, request: Request, terms: &Terms) -> Result<Response, Error> {
        let _under_way = self.enter_to_write()?;
        let limits = terms.limits(self.limits());
        let mut spent = Spent::default();
        let mut now = None;
        let outcome = self.inner.memory.write_if(|before| self.is_at(terms, before, &mut now), request, &limits, &mut spent).await;
        let response =
            self.concluded(Sees::Newest, outcome, spent, |response| response.as_ref().and_then(|response| response.seen)).await?;
        response.ok_or_else(|| self.changed(now))
    }

    /// The same for a request that is run once, however often it is sent: what it was answered is kept in its own transaction.
    pub async fn write_once(&self, request: Request, once: Once, terms: &Terms) -> Result<Answered, Error> {
        let _under_way = self.enter_to_write()?;
        let limits = terms.limits(self.limits());
        let mut spent = Spent::default();
        let mut now = None;
        let asked = self.inner.memory.write_once_if(|before| self.is_at(terms, before, &mut now), request, once, &limits, &mut spent);
        let outcome = asked.await;
        let answered = self.concluded(Sees::Newest, outcome, spent, |answered| answered.as_ref().and_then(|(_, seen)| *seen)).await?;
        answered.map(|(answered, _)| answered).ok_or_else(|| self.changed(now))
    }

    /// The name of the newest state that readers see, if it is known.
    pub fn newest(&self) -> Option<StateId> {
        let newest = self.inner.memory.commits_for(Sees::Shown);
        self.inner.ledger.lock().naming.of(newest)
    }

    /// Whether the terms allow a request to run now, and the name of the state that there is.
    fn is_at(&self, terms: &Terms, commits: Commits, now: &mut Option<StateId>) -> bool {
        let Some(only_at) = &terms.only_at else { return true };
        *now = self.inner.ledger.lock().naming.of(commits);
        now.is_some_and(|now| only_at.contains(&now))
    }

    fn changed(&self, now: Option<StateId>) -> Error {
        Error::StateChanged { database: self.inner.name.clone(), now }
    }

    /// Adds what a request took to what is known of it and of the database, however it ended.
    fn settle<T, E>(&self, outcome: Result<T, E>, spent: Spent) -> Result<T, E> {
        self.inner.usage.lock().add(&spent);
        for slow in &spent.slow {
            let SlowStatement { sql, took, rows } = slow;
            tracing::warn!(database = %self.inner.name, statement = sql, took_ms = took.as_millis(), rows, "slow statement");
        }
        if let Some(witness) = &self.witness {
            witness.0.lock().spent.add(spent);
        }
        outcome
    }

    /// The same, and tells it when it may be told: `seen` finds the state of which it tells, which is no newer than what it had in `view`.
    async fn concluded<T>(
        &self,
        view: Sees,
        outcome: Result<T, SqlError>,
        spent: Spent,
        seen: impl FnOnce(&T) -> Option<Commits>,
    ) -> Result<T, Error> {
        let outcome = self.settle(outcome, spent);
        let seen = outcome.as_ref().map_or(None, seen);
        let tells = outcome.as_ref().map_or_else(SqlError::tells_of_data, |_| true);
        if tells {
            let at_most = seen.unwrap_or_else(|| self.inner.memory.commits_for(view));
            self.confirm(at_most).await.map_err(|unknown| match &outcome {
                Ok(_) => unknown,
                Err(_) => SqlError { message: format!("{}; nothing was changed, so send it again", unknown.message), ..unknown },
            })?;
        }
        let answer = outcome?;
        self.tell(seen);
        self.still_served(answer)
    }

    /// The same for an answer that comes with the state of which it tells.
    async fn answered<T>(&self, view: Sees, outcome: Result<(T, Option<Commits>), SqlError>, spent: Spent) -> Result<T, Error> {
        Ok(self.concluded(view, outcome, spent, |(_, seen)| *seen).await?.0)
    }

    /// Whether answers wait until everything that they tell of is in the bucket.
    fn confirms(&self) -> bool {
        self.confirms || self.inner.durable.is_promised()
    }

    /// Waits until everything up to here is in the bucket, if answers do. An error means that nobody knows whether it is.
    async fn confirm(&self, seen: Commits) -> Result<(), SqlError> {
        if !self.confirms() {
            return Ok(());
        }
        self.inner.durable.reached(seen).await.map_err(|unknown| {
            let message = format!(
                "{unknown}: what is told of is in memory, and may or may not be in the bucket later; read before you write it again"
            );
            SqlError::ours(SqlErrorKind::Unconfirmed, message)
        })?;
        self.tell_durable();
        Ok(())
    }

    /// Whoever watches this request learns of which state the answer tells.
    fn tell(&self, seen: Option<Commits>) {
        let Some(witness) = &self.witness else { return };
        let seen = {
            let ledger = self.inner.ledger.lock();
            Seen { state: seen.and_then(|seen| ledger.naming.of(seen)), durable: ledger.txid }
        };
        witness.0.lock().seen = Some(seen);
    }

    /// Whoever watches this request learns how far the bucket is by now.
    fn tell_durable(&self) {
        let Some(witness) = &self.witness else { return };
        let durable = self.inner.ledger.lock().txid;
        if let Some(seen) = &mut witness.0.lock().seen {
            seen.durable = durable;
        }
    }

    /// A connection of the caller's own. It costs nothing until it is used; one that is `read_only` never writes.
    pub fn stream(&self, read_only: bool) -> Stream {
        Stream { database: self.clone(), memory: self.inner.memory.stream(read_only), gathers: false }
    }

    /// For results that are collected before they are sent.
    pub fn hold_results(&self) -> Holding {
        self.inner.memory.hold_results()
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

    /// Its name.
    pub fn name(&self) -> &DatabaseName {
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
        let mut spent = Spent::default();
        let outcome = self.inner.memory.ask(&limits, &mut spent, ask).await;
        self.answered(Sees::Shown, outcome, spent).await
    }

    /// For the typed views: this statement of the engine's own and no other, which reads.
    pub(crate) async fn ask_one<T, F>(&self, sql: &'static str, ask: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&rusqlite::Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let _under_way = self.enter()?;
        let limits = self.limits();
        let mut spent = Spent::default();
        let outcome = self.inner.memory.ask_one(sql, &limits, &mut spent, ask).await;
        self.answered(Sees::Shown, outcome, spent).await
    }

    /// For the typed views: this statement of the engine's own and no other, which writes.
    pub(crate) async fn change_one<T, F>(&self, sql: &'static str, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&rusqlite::Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let _under_way = self.enter_to_write()?;
        let limits = self.limits();
        let mut spent = Spent::default();
        let outcome = self.inner.memory.change_one(sql, &limits, &mut spent, change).await;
        self.answered(Sees::Newest, outcome, spent).await
    }

    /// For the typed views: statements of the engine's own in one transaction.
    pub(crate) async fn change<T, F>(&self, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let _under_way = self.enter_to_write()?;
        let limits = self.limits();
        let mut spent = Spent::default();
        let outcome = self.inner.memory.change(&limits, &mut spent, change).await;
        self.answered(Sees::Newest, outcome, spent).await
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

    /// Freezes what readers see.
    pub fn pin(&self) -> Pin {
        self.inner.memory.pin_shown()
    }

    /// The same for a caller, who gets it when it may be told.
    pub async fn pinned(&self) -> Result<Pin, Error> {
        let pin = self.pin();
        self.confirm(pin.commits()).await?;
        self.still_served(pin)
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
        let (verified, unverified) = {
            let proofs = self.inner.proofs.lock();
            (proofs.last.clone(), proofs.unfinished.clone())
        };
        Facts {
            size: self.inner.memory.size(),
            memory: self.inner.memory.memory_use(),
            txid: ledger.txid,
            branch: ledger.branch,
            // The host knows these, and both intervals.
            by_hand: false,
            unconditional: None,
            epoch: ledger.epoch,
            origin: self.inner.origin.clone(),
            durable_time: ledger.durable_time,
            lag: ledger.dirty_since.map(|since| self.inner.memory.now().saturating_duration_since(since)),
            interval: Duration::ZERO,
            refuses_writes,
            pending: ledger.durable != Some(newest),
            last_snapshot: ledger.last_snapshot,
            uploads: ledger.uploads,
            outside: ledger.outside,
            damaged: ledger.damaged,
            verified,
            unverified,
            verify_interval: Duration::ZERO,
            slow_readers: self.inner.memory.slow_readers(),
            usage: *self.inner.usage.lock(),
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

    /// Ends everything: from now on requests are refused, and open transactions are rolled back by what is returned.
    pub(crate) fn lose(&self, why: Arc<Error>) -> impl Future<Output = ()> + Send + use<> {
        let (database, told) = (self.clone(), why.to_string());
        // The first reason is the one.
        self.inner.lost.set(why).ok();
        async move { database.inner.memory.end_transactions(&told).await }
    }

    /// Returns once nothing is served from it any more, for good: it was closed, here or for another process, or lost.
    pub async fn ended(&self) {
        self.inner.commands.closed().await;
    }

    /// A state that is in the bucket, after a flush.
    pub(crate) async fn source(&self) -> Result<Source, Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Pin(reply)).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Which state its branch's chain must lead to.
    pub(crate) async fn expected(&self) -> Result<Expected, Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Tell(reply)).await?;
        answer.await.map_err(|_| self.gone())
    }

    /// Has the newest state need none of the files that are in the bucket now, among which there is damage.
    pub(crate) async fn renew(&self, damage: Vec<Damage>) -> Result<(), Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Renew(damage, reply)).await?;
        answer.await.map_err(|_| self.gone())
    }

    /// How a proof that it can be restored ended.
    pub(crate) fn note_proof(&self, proved: Result<&Verified, String>) {
        let mut proofs = self.inner.proofs.lock();
        match proved {
            Ok(verified) => *proofs = Proofs { last: Some(verified.clone()), unfinished: None },
            Err(why) => proofs.unfinished = Some(why),
        }
    }

    /// The tenure that it has.
    pub(crate) fn line(&self) -> Line {
        let ledger = self.inner.ledger.lock();
        Line { database: self.inner.name.clone(), branch: ledger.branch.clone(), epoch: ledger.epoch }
    }

    /// In bytes, as it is now.
    pub(crate) fn size(&self) -> u64 {
        self.inner.memory.size()
    }

    /// The turn of whoever puts a past state of it together.
    pub(crate) async fn turn_to_recall(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.recalls.lock().await
    }

    /// Whether both are the same.
    #[cfg(test)]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether somebody else has it as well.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.inner) > 1
    }

    pub(crate) fn downgrade(&self) -> WeakDatabase {
        WeakDatabase(Arc::downgrade(&self.inner))
    }

    /// Goes on with a branch that was opened for it.
    pub(crate) async fn switch(&self, to: Opened) -> Result<(), Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Switch(Box::new(Switch { to, reply }))).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// The branch that was served before, if something may be left to be done of it.
    pub(crate) fn leaving(&self) -> Option<Leaving> {
        self.inner.ledger.lock().leaving.clone()
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
        if self.inner.requests.len() > MOST_REQUESTS {
            return Err(Error::TooManyRequests { database: self.inner.name.clone(), most: MOST_REQUESTS });
        }
        if self.inner.closing.load(Ordering::SeqCst) {
            return Err(Error::NotServed { database: self.inner.name.clone(), why: NotServed::Closing });
        }
        Ok(token)
    }

    /// The same for who wants to write: while the bucket is too far behind nothing more is taken that could be lost.
    fn enter_to_write(&self) -> Result<TaskTrackerToken, Error> {
        let token = self.enter()?;
        self.check_writable()?;
        Ok(token)
    }

    fn check_writable(&self) -> Result<(), Error> {
        let ledger = self.inner.ledger.lock();
        if ledger.only_shown {
            return Err(shown::refused(&self.inner.name));
        }
        let lag = self.lagging(&ledger);
        lag.map_or(Ok(()), |lag| Err(Error::Lagging { database: self.inner.name.clone(), lag }))
    }

    /// Whether it is a state as it lies in the bucket, which nobody changes.
    pub(crate) fn is_only_shown(&self) -> bool {
        self.inner.ledger.lock().only_shown
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

    /// Reads the head record, and learns whether somebody else has the branch by now. Those who ask at the same time are answered together, by a
    /// look that began after each of them asked.
    pub async fn check_tenure(&self) -> Result<(), Arc<Error>> {
        let _under_way = self.enter().map_err(Arc::new)?;
        let checks = &self.inner.checks;
        let before = checks.begun.load(Ordering::SeqCst);
        let mut last = checks.last.lock().await;
        if last.number <= before {
            let number = checks.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let (reply, answer) = oneshot::channel();
            let found = match self.send(Command::Check(reply)).await {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(self.gone())),
                Err(error) => Err(error),
            };
            *last = Check { number, found };
        }
        last.found.clone()
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
