//! Streams: a caller's own connection, from one call to the next.
//!
//! A stream has a connection of SQLite only while something lasts on it: a transaction, or a setting that it changed. Between other
//! statements any connection does. What lasts is parked between two calls, with the writer's place if the transaction wrote, and a guard
//! that ends it: when it stays idle for too long, when others wait and it has had its time, or when the database is closed or switched.
//! Invariants: whoever waits for the writer's place waits no longer than a transaction may be idle, or run while others wait; a
//! transaction that was ended under a stream is told at each statement until the caller ends it, so that what was to follow in it never
//! runs outside of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::connections::Use;
use super::queue::Turn;
use super::{Inner, MemoryDatabase, brief};
use crate::connection::{Cancel, Session, threads};
use crate::pages::{Commits, Sees};
use crate::sql::{
    Column, Effects, Ending, Flow, Holding, Params, QueryLimits, Row, Rows, Script, Spent, SqlError, SqlErrorKind, Statement,
    StatementShape, ending, likely_writes,
};
use crate::statement::{Prepared, refuse_if_cancelled};
use crate::vfs;

/// What a stream may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// For each of its statements.
    pub query: QueryLimits,
    /// How long a transaction that wrote may be idle while others wait to write.
    pub idle_writer: Duration,
    /// How long a transaction that wrote may take in all while others wait to write. Checked when it is idle.
    pub busy_writer: Duration,
    /// How long any other transaction may be idle: it keeps old pages in memory.
    pub idle_reader: Duration,
    /// How long a statement waits for whoever takes its rows.
    pub slow_reader: Duration,
}

impl StreamLimits {
    /// With 5 s and 30 s for a transaction that wrote while others wait, 60 s for one that reads, 30 s for a slow reader.
    pub fn of(query: QueryLimits) -> Self {
        Self {
            query,
            idle_writer: Duration::from_secs(5),
            busy_writer: Duration::from_secs(30),
            idle_reader: Duration::from_mins(1),
            slow_reader: Duration::from_secs(30),
        }
    }
}

/// A caller's own connection. Dropping it rolls back what is open.
pub struct MemoryStream {
    database: MemoryDatabase,
    parked: Arc<Mutex<Parked>>,
    /// Ends what is parked.
    guard: Option<AbortOnDropHandle<()>>,
    /// Of the last INSERT, for the next connection.
    last_insert_rowid: i64,
    read_only: bool,
    spent: Spent,
    /// The newest version that its statements read or made.
    saw: Commits,
}

/// What the statements of a stream must ask for.
pub trait Gate: Sync {
    /// Whether anything may be written now. Asked before the writer's place is taken.
    fn may_write(&self) -> Result<(), SqlError>;
    /// Whether answers wait until what they tell of is in the bucket. Then so do statements whose rows are sent as they come: the rows of
    /// one that follows may be sent with its answer.
    fn confirms(&self) -> bool;
    /// Waits until everything up to here is in the bucket. An error means that nobody knows whether it is.
    fn confirmed(&self, commits: Commits) -> impl Future<Output = Result<(), SqlError>> + Send;
}

/// Nothing waits for a bucket.
impl<F: Fn() -> Result<(), SqlError> + Sync> Gate for F {
    fn may_write(&self) -> Result<(), SqlError> {
        self()
    }

    fn confirms(&self) -> bool {
        false
    }

    async fn confirmed(&self, _: Commits) -> Result<(), SqlError> {
        Ok(())
    }
}

/// What waits for the next call.
enum Parked {
    Nothing,
    Lasting(Lasting),
    /// A transaction was ended, and the caller does not know yet.
    Ended(SqlError),
}

/// Transactions that are ended together.
#[derive(Clone, Default)]
pub(super) struct OpenTransactions {
    ending: CancellationToken,
    why: Arc<std::sync::OnceLock<String>>,
    tasks: TaskTracker,
}

impl OpenTransactions {
    fn is_ending(&self) -> bool {
        self.ending.is_cancelled()
    }

    fn over(&self) -> SqlError {
        over(self.why.get().map_or("the database was closed", String::as_str))
    }
}

/// A connection, with what came about on it. Whatever is open is rolled back when it is dropped, on a thread that may block.
struct Lasting {
    inner: Arc<Inner>,
    /// Gone if a panic went through it.
    session: Option<Session>,
    /// The count of encodings when the connection was opened.
    encodings: u64,
    purpose: Use,
    in_transaction: bool,
    writer: Option<Writer>,
    group: OpenTransactions,
    /// Present while a transaction is open: whoever ends all of them waits for it.
    tracked: Option<TaskTrackerToken>,
}

/// The writer's place in the hands of a stream.
struct Writer {
    since: Instant,
    has_written: bool,
    _turn: Turn,
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let (inner, purpose, writer, tracked) = (Arc::clone(&self.inner), self.purpose, self.writer.take(), self.tracked.take());
        let end = move || {
            // Before the place is free, and before whoever waits for the end goes on.
            inner.keep_at_rest(purpose, session);
            drop((writer, tracked));
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

impl MemoryDatabase {
    /// A stream, which costs nothing before it is used. One that is `read_only` never writes.
    pub fn stream(&self, read_only: bool) -> MemoryStream {
        let parked = Arc::new(Mutex::new(Parked::Nothing));
        let saw = Commits::default();
        MemoryStream { database: self.clone(), parked, guard: None, last_insert_rowid: 0, read_only, spent: Spent::default(), saw }
    }

    /// Rolls back every open transaction, tells its caller why, and waits until all have ended.
    pub async fn end_transactions(&self, why: &str) {
        let group = std::mem::take(&mut *self.0.open_transactions.lock());
        // Nobody else has this group to end it.
        group.why.set(why.to_owned()).ok();
        group.ending.cancel();
        group.tasks.close();
        group.tasks.wait().await;
    }
}

/// What a thread brings back.
struct Played<S> {
    lasting: Lasting,
    script: S,
    last_insert_rowid: i64,
    /// It has not run.
    waiting: Option<Statement>,
    /// It needs the writer's place.
    writes: bool,
    spent: Spent,
    saw: Commits,
}

impl MemoryStream {
    /// Runs the statements of `script`; their outcomes are told to it. It ends before the script does where `gate` confirms nothing: whoever
    /// asks it afterwards hears so. Dropping the future stops the statement that runs, and rolls back.
    pub async fn run<S: Script>(&mut self, mut script: S, limits: &StreamLimits, gate: &impl Gate) -> S {
        let confirms_each = gate.confirms() && !script.may_begin_again();
        let mut waiting = None;
        let mut writes = false;
        loop {
            // Before anything is taken for which others may wait.
            brief::others_first().await;
            let mut lasting = match self.take() {
                Ok(lasting) => lasting,
                Err(error) => {
                    if !self.is_over(&mut waiting, &mut script, &error) {
                        return script;
                    }
                    continue;
                }
            };
            let Some(statement) = waiting.take().or_else(|| script.next(!lasting.in_transaction)) else {
                self.park(lasting, limits);
                return script;
            };
            if lasting.writer.is_none() && (writes || (!lasting.in_transaction && likely_writes(&statement.sql))) {
                let asked = self.database.now();
                let turn = match gate.may_write() {
                    Ok(()) => self.database.0.writers.turn_within(limits.query.writer_wait).await,
                    Err(refused) => Err(refused),
                };
                self.spent.queued += self.database.now().saturating_duration_since(asked);
                match turn.and_then(|turn| lasting.begin_writing(turn)) {
                    Ok(()) => {
                        // Nobody else makes another version now, and it writes over this one.
                        self.saw = self.saw.max(self.database.0.file.store().commits());
                    }
                    Err(error) => {
                        writes = false;
                        script.ended(Err(error));
                        self.park(lasting, limits);
                        continue;
                    }
                }
            }
            if confirms_each && gate.confirmed(self.saw).await.is_err() {
                self.park(lasting, limits);
                return script;
            }
            if script.may_begin_again()
                && let Some(outcome) = self.at_once(&mut lasting, &mut script, &statement, limits)
            {
                writes = false;
                script.ended(outcome);
                continue;
            }
            match self.play(lasting, script, statement, limits, confirms_each).await {
                Ok(Played { lasting, script: same, last_insert_rowid, waiting: left, writes: needs_place, spent, saw }) => {
                    self.spent.add(spent);
                    self.saw = self.saw.max(saw);
                    self.last_insert_rowid = last_insert_rowid;
                    writes = needs_place;
                    waiting = left;
                    script = same;
                    let is_done = waiting.is_none();
                    self.park(lasting, limits);
                    if is_done {
                        return script;
                    }
                }
                // The thread is gone with the script in it: a panic. Whoever asked learns it from the script's other end.
                Err(lost) => std::panic::resume_unwind(lost),
            }
        }
    }

    /// What a statement would take and give, as this stream sees the schema.
    pub async fn describe(&mut self, sql: String, limits: &StreamLimits) -> Result<StatementShape, SqlError> {
        let mut lasting = self.take()?;
        let (query, asked) = (limits.query, self.database.now());
        let work = self.database.run(asked, &mut self.spent, move |cancel, _| {
            let description = match lasting.session(0) {
                Ok(session) => Prepared::describe(session, &sql, &query, cancel),
                Err(error) => Err(error),
            };
            lasting.give_back();
            Ok((lasting, description))
        });
        let (lasting, description) = work.await?;
        self.park(lasting, limits);
        description
    }

    /// Whether no transaction is open. One that was ended under the caller counts as open, until the caller ends it.
    pub fn is_autocommit(&self) -> bool {
        match &*self.parked.lock() {
            Parked::Nothing => true,
            Parked::Lasting(lasting) => !lasting.in_transaction,
            Parked::Ended(_) => false,
        }
    }

    /// Whether it has a connection of its own now.
    #[cfg(test)]
    pub(crate) fn has_connection(&self) -> bool {
        matches!(&*self.parked.lock(), Parked::Lasting(_))
    }

    /// For results that are collected before they are sent.
    pub fn hold_results(&self) -> Holding {
        self.database.hold_results()
    }

    /// The newest version that its statements read or made so far.
    pub(crate) fn saw(&self) -> Commits {
        self.saw
    }

    /// What its calls took since this was asked last.
    pub(crate) fn take_spent(&mut self) -> Spent {
        std::mem::take(&mut self.spent)
    }

    /// Takes what is parked, or something new.
    fn take(&mut self) -> Result<Lasting, SqlError> {
        self.guard = None;
        let mut parked = self.parked.lock();
        match std::mem::replace(&mut *parked, Parked::Nothing) {
            Parked::Lasting(lasting) => Ok(lasting),
            Parked::Nothing => Ok(Lasting {
                inner: Arc::clone(&self.database.0),
                session: None,
                encodings: 0,
                purpose: Use::Stream { read_only: self.read_only },
                in_transaction: false,
                writer: None,
                group: self.database.0.open_transactions.lock().clone(),
                tracked: None,
            }),
            Parked::Ended(error) => {
                *parked = Parked::Ended(error.clone());
                Err(error)
            }
        }
    }

    /// Tells the next statement that its transaction was ended before, and goes on after one that ends it. `false` at the script's end.
    fn is_over<S: Script>(&mut self, waiting: &mut Option<Statement>, script: &mut S, error: &SqlError) -> bool {
        let Some(statement) = waiting.take().or_else(|| script.next(false)) else { return false };
        let ending = ending(&statement.sql);
        // What a ROLLBACK wants has happened.
        script.ended(if ending == Some(Ending::Rollback) { Ok(Effects::default()) } else { Err(error.clone()) });
        if ending.is_some() {
            *self.parked.lock() = Parked::Nothing;
        }
        true
    }

    /// Keeps what lasts until the next call, under a guard; gives the rest back.
    fn park(&mut self, mut lasting: Lasting, limits: &StreamLimits) {
        if lasting.session.is_none() {
            return;
        }
        if lasting.in_transaction && lasting.group.is_ending() {
            *self.parked.lock() = Parked::Ended(lasting.group.over());
            return;
        }
        lasting.track();
        let guard = lasting.in_transaction.then(|| Guard::over(&lasting, limits));
        *self.parked.lock() = Parked::Lasting(lasting);
        self.guard = guard.map(|guard| crate::tasks::spawn_owned(guard.watch(Arc::clone(&self.parked))));
    }

    /// Runs a statement by itself at once, on a connection that anybody may have. `None` if that cannot be.
    fn at_once<S: Script>(
        &mut self,
        lasting: &mut Lasting,
        script: &mut S,
        statement: &Statement,
        limits: &StreamLimits,
    ) -> Option<Result<Effects, SqlError>> {
        if lasting.session.is_some() {
            return None;
        }
        let (last_insert_rowid, may_write, slow_after) =
            (self.last_insert_rowid, lasting.writer.is_some(), self.database.0.pool.slow_after);
        let done = self.database.at_once(lasting.purpose, &statement.sql, &mut self.spent, |session, piece, spent| {
            session.set_last_insert_rowid(last_insert_rowid);
            let one = One { sql: piece.sql, params: &statement.params, limits: &limits.query, may_write, slow_after };
            let outcome = one.run(session, script, &Cancel::default(), spent, |_, _| (Duration::ZERO, Ok(()))).0?;
            Ok(outcome.map(|effects| Effects { seen: vfs::seen(), ..effects }))
        })?;
        let outcome = done.transpose()?;
        // What failed tells of what it read, too.
        let seen = outcome.as_ref().map_or_else(|_| vfs::seen(), |effects| effects.seen);
        self.saw = self.saw.max(seen.unwrap_or_default());
        lasting.settle(&outcome);
        if let Ok(Effects { last_insert_rowid: Some(rowid), .. }) = outcome {
            self.last_insert_rowid = rowid;
        }
        Some(outcome)
    }

    /// Runs statements on a thread until one needs the writer's place, or just the first.
    async fn play<S: Script>(
        &mut self,
        lasting: Lasting,
        script: S,
        first: Statement,
        limits: &StreamLimits,
        only_first: bool,
    ) -> Result<Played<S>, Box<dyn std::any::Any + Send>> {
        let asked = self.database.now();
        let reader = if lasting.writer.is_none() { Some(self.database.0.reader().await) } else { None };
        let cancel = Cancel::default();
        let _guard = cancel.on_drop();
        let threads = self.database.0.pool.threads.clone();
        let place = threads.place().await;
        self.spent.queued += self.database.now().saturating_duration_since(asked);
        let (group, told) = (lasting.group.clone(), cancel.clone());
        let in_transaction = Arc::new(AtomicBool::new(lasting.in_transaction));
        let runtime = tokio::runtime::Handle::current();
        let work = Player {
            lasting,
            seat: Seat { inner: Arc::clone(&self.database.0), reader, limits: *limits, runtime: runtime.clone() },
            cancel,
            in_transaction: Arc::clone(&in_transaction),
            last_insert_rowid: self.last_insert_rowid,
            only_first,
            spent: Spent::default(),
            saw: Commits::default(),
        };
        let now = self.database.now();
        let work = tokio::task::spawn_blocking(move || threads.run(place, now, runtime, || work.play(script, first)));
        tokio::pin!(work);
        let done = tokio::select! {
            biased;
            done = &mut work => done,
            () = group.ending.cancelled() => {
                // A statement by itself may end in peace: whoever ends all transactions waits for the writer, too.
                if in_transaction.load(Ordering::Relaxed) {
                    told.say();
                }
                work.await
            }
        };
        done.map_err(|error| error.try_into_panic().unwrap_or_else(|error| Box::new(error.to_string())))
    }
}

impl Lasting {
    /// The connection; a new one is told which row was inserted last.
    fn session(&mut self, last_insert_rowid: i64) -> Result<&Session, SqlError> {
        let encodings = self.inner.encodings.load(Ordering::Relaxed);
        if self.encodings != encodings && !self.in_transaction {
            // It would read text in the encoding of another branch; a setting that it had is lost.
            self.session = None;
        }
        if self.session.is_none() {
            self.encodings = encodings;
            let session = self.inner.session(self.purpose)?;
            session.set_last_insert_rowid(last_insert_rowid);
            self.session = Some(session);
        }
        self.session.as_ref().ok_or_else(|| SqlError::ours(SqlErrorKind::Internal, "the connection was lost"))
    }

    /// Lets others have a connection on which nothing lasts.
    fn give_back(&mut self) {
        if let Some(session) = self.session.take_if(|session| session.is_reusable()) {
            self.inner.keep(self.purpose, session);
        }
    }

    fn begin_writing(&mut self, turn: Turn) -> Result<(), SqlError> {
        if let Some(session) = &self.session {
            self.inner.listened(self.purpose, session)?;
        }
        if !self.in_transaction {
            // Transactions of before may have been ended while we waited.
            self.group = self.inner.open_transactions.lock().clone();
        }
        self.writer = Some(Writer { since: self.inner.clock.now(), has_written: false, _turn: turn });
        self.track();
        Ok(())
    }

    fn track(&mut self) {
        if (self.in_transaction || self.writer.is_some()) && self.tracked.is_none() {
            self.tracked = Some(self.group.tasks.token());
        }
    }

    /// What the last statement read or made, at most.
    fn seen(&self) -> Option<Commits> {
        if !self.in_transaction {
            return vfs::seen();
        }
        // Its version is none that was made later. The writer's is known, and what readers are shown needs no more.
        let store = self.inner.file.store();
        (self.writer.is_none() && !store.holds_back()).then(|| store.commits())
    }

    /// After a statement: outside of a transaction nothing is kept from others, and nothing either for one that could not write because
    /// its version is old.
    fn settle(&mut self, outcome: &Result<Effects, SqlError>) {
        self.in_transaction = self.session.as_ref().is_some_and(|session| !session.connection().is_autocommit());
        if let Some(writer) = &mut self.writer {
            let is_too_late = !writer.has_written && outcome.as_ref().is_err_and(|error| error.kind == SqlErrorKind::Busy);
            writer.has_written |= outcome.is_ok();
            if !self.in_transaction || is_too_late {
                self.inner.announce();
                self.writer = None;
            }
        }
        if !self.in_transaction {
            self.tracked = None;
        }
    }
}

/// What plays a script on a thread.
struct Player {
    lasting: Lasting,
    seat: Seat,
    cancel: Cancel,
    in_transaction: Arc<AtomicBool>,
    last_insert_rowid: i64,
    only_first: bool,
    spent: Spent,
    saw: Commits,
}

impl Player {
    /// Runs statements until the end, or until one needs the writer's place.
    fn play<S: Script>(mut self, mut script: S, first: Statement) -> Played<S> {
        let mut next = Some(first);
        while let Some(statement) = next {
            vfs::forget_seen();
            let Some(mut outcome) = self.one(&mut script, &statement).transpose() else {
                return self.played(script, Some(statement), true);
            };
            self.lasting.settle(&outcome);
            self.in_transaction.store(self.lasting.in_transaction, Ordering::Relaxed);
            let seen = self.lasting.seen();
            self.saw = self.saw.max(seen.unwrap_or_default());
            if let Ok(effects) = &mut outcome {
                effects.seen = if self.lasting.in_transaction { None } else { seen };
                self.last_insert_rowid = effects.last_insert_rowid.unwrap_or(self.last_insert_rowid);
            }
            script.ended(outcome);
            if self.cancel.is_said() {
                break;
            }
            next = script.next(!self.lasting.in_transaction);
            if self.only_first {
                return self.played(script, next, false);
            }
        }
        self.played(script, None, false)
    }

    fn played<S>(mut self, script: S, waiting: Option<Statement>, writes: bool) -> Played<S> {
        self.lasting.give_back();
        let Self { lasting, last_insert_rowid, spent, saw, .. } = self;
        Played { lasting, script, last_insert_rowid, waiting, writes, spent, saw }
    }

    /// Runs one statement; `None` if it would write and has not the writer's place.
    fn one<S: Script>(&mut self, script: &mut S, statement: &Statement) -> Result<Option<Effects>, SqlError> {
        let has_place = self.lasting.writer.is_some();
        let session = self.lasting.session(self.last_insert_rowid)?;
        if statement.sql.contains('\0') {
            return Err(SqlError::ours(SqlErrorKind::Statement, "the SQL text holds a NUL byte"));
        }
        let (inner, seat, cancel) = (Arc::clone(&self.seat.inner), &mut self.seat, &self.cancel);
        let limits = seat.limits.query;
        let one = One {
            sql: &statement.sql,
            params: &statement.params,
            limits: &limits,
            may_write: has_place,
            slow_after: inner.pool.slow_after,
        };
        let away = |session: &Session, rows: &mut Counted<'_, S>| seat.away(session, has_place, cancel, rows.room());
        let (outcome, took) = one.run(session, script, cancel, &mut self.spent, away);
        let Some(effects) = outcome? else { return Ok(None) };
        // Statements of a few steps end before SQLite asks whether anybody waits for them.
        refuse_if_cancelled(cancel)?;
        if session.is_reusable() {
            inner.judge(session, &statement.sql, took);
        }
        Ok(Some(effects))
    }
}

/// A statement that runs once on a stream's connection.
struct One<'a> {
    sql: &'a str,
    params: &'a Params,
    limits: &'a QueryLimits,
    /// The writer's place is held.
    may_write: bool,
    slow_after: Duration,
}

impl One<'_> {
    /// Runs it and adds what that took to `spent`, which it returns as well: without the time that `away` waited for whoever takes the rows.
    /// `None` if it would write and may not.
    fn run<S: Script>(
        &self,
        session: &Session,
        script: &mut S,
        cancel: &Cancel,
        spent: &mut Spent,
        mut away: impl FnMut(&Session, &mut Counted<'_, S>) -> (Duration, Result<(), SqlError>),
    ) -> (Result<Option<Effects>, SqlError>, Duration) {
        let begun = session.now();
        let (mut counted, mut idle) = (Counted { rows: 0, script }, Duration::ZERO);
        // What it writes must follow the newest version.
        let sees = if self.may_write { Sees::Newest } else { Sees::Shown };
        let seeing = session.see(sees).map_err(|error| session.explain(&error));
        let prepared = seeing.and_then(|()| Prepared::new(session, self.sql, self.params, self.limits, cancel));
        let outcome = prepared.and_then(|prepared| {
            if prepared.writes() && !self.may_write {
                return Ok(None);
            }
            let wait = |session: &Session, rows: &mut Counted<'_, S>| {
                let (waited, outcome) = away(session, rows);
                idle += waited;
                outcome
            };
            prepared.run(&mut counted, wait).map(Some)
        });
        let took = session.now().saturating_duration_since(begun).saturating_sub(idle);
        let changed = match &outcome {
            Ok(None) => return (outcome, took),
            Ok(Some(effects)) => effects.rows_affected,
            Err(_) => 0,
        };
        spent.statement(self.sql, took, counted.rows, changed, self.slow_after);
        (outcome, took)
    }
}

/// Counts rows on their way.
struct Counted<'a, S> {
    rows: u64,
    script: &'a mut S,
}

impl<S: Script> Rows for Counted<'_, S> {
    fn columns(&mut self, columns: Vec<Column>) -> Result<(), SqlError> {
        self.script.columns(columns)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        self.rows += 1;
        self.script.row(row)
    }

    fn room(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send {
        self.script.room()
    }
}

/// What a statement holds while SQLite works on it, besides what lasts.
struct Seat {
    inner: Arc<Inner>,
    /// A reader's place, unless the writer's is held.
    reader: Option<OwnedSemaphorePermit>,
    limits: StreamLimits,
    runtime: tokio::runtime::Handle,
}

impl Seat {
    /// Waits for whoever takes the rows, and lets others work meanwhile. The statement's deadline stands still. Who has the writer's place
    /// waits no longer than an idle transaction may. Tells how long it waited, whatever came of it.
    fn away(
        &mut self,
        session: &Session,
        is_writer: bool,
        cancel: &Cancel,
        room: impl Future<Output = Result<(), SqlError>>,
    ) -> (Duration, Result<(), SqlError>) {
        let places = (self.inner.slow_readers.try_acquire(), self.inner.pool.slow_readers.try_acquire());
        let (Ok(_of_one), Ok(_of_all)) = places else {
            let message = "too many results wait to be read; take them faster, or ask for fewer at a time";
            return (Duration::ZERO, Err(SqlError::ours(SqlErrorKind::Crowded, message)));
        };
        let (pause, since) = (session.pause(), session.now());
        threads::leave();
        let is_reader = self.reader.take().is_some();
        let (inner, limits) = (&self.inner, &self.limits);
        let others_wait = async {
            tokio::time::sleep(limits.idle_writer).await;
            inner.writers.somebody_waits().await;
        };
        let slow = |limit: Duration, meanwhile: &str| {
            let message = format!("nobody took the rows for {} ms{meanwhile}", limit.as_millis());
            Err(SqlError::ours(SqlErrorKind::Timeout, message))
        };
        let (waited, place) = self.runtime.block_on(async {
            let waited = tokio::select! {
                biased;
                waited = room => waited,
                () = tokio::time::sleep(limits.slow_reader) => slow(limits.slow_reader, ""),
                () = others_wait, if is_writer => slow(limits.idle_writer, " while others waited to write"),
            };
            if is_reader {
                self.reader = Some(inner.reader().await);
            }
            (waited, inner.pool.threads.place().await)
        });
        threads::go_on(place, session.now());
        drop(pause);
        (session.now().saturating_duration_since(since), waited.and_then(|()| refuse_if_cancelled(cancel)))
    }
}

/// Ends a transaction that nobody goes on with.
struct Guard {
    inner: Arc<Inner>,
    group: OpenTransactions,
    /// When it was parked.
    idle_since: Instant,
    writing_since: Option<Instant>,
    limits: StreamLimits,
}

impl Guard {
    fn over(lasting: &Lasting, limits: &StreamLimits) -> Self {
        Self {
            inner: Arc::clone(&lasting.inner),
            group: lasting.group.clone(),
            idle_since: lasting.inner.clock.now(),
            writing_since: lasting.writer.as_ref().map(|writer| writer.since),
            limits: *limits,
        }
    }

    async fn watch(self, parked: Arc<Mutex<Parked>>) {
        let error = tokio::select! {
            biased;
            () = self.group.ending.cancelled() => self.group.over(),
            error = self.overtime() => error,
        };
        let mut parked = parked.lock();
        // Somebody may have gone on with it in the last moment.
        if let Parked::Lasting(lasting) = std::mem::replace(&mut *parked, Parked::Ended(error)) {
            drop(parked);
            drop(lasting);
        }
    }

    async fn overtime(&self) -> SqlError {
        let Some(writing_since) = self.writing_since else {
            until(self.idle_since.checked_add(self.limits.idle_reader)).await;
            return over(&format!("it was idle for {} ms", self.limits.idle_reader.as_millis()));
        };
        let (idle, busy) = (self.limits.idle_writer, self.limits.busy_writer);
        let (by_idle, by_busy) = (self.idle_since.checked_add(idle), writing_since.checked_add(busy));
        tokio::select! {
            () = until(by_idle) => {
                self.inner.writers.somebody_waits().await;
                over(&format!("it was idle for {} ms while others waited to write", idle.as_millis()))
            }
            () = until(by_busy) => {
                self.inner.writers.somebody_waits().await;
                over(&format!("it took longer than {} ms while others waited to write", busy.as_millis()))
            }
        }
    }
}

fn over(why: &str) -> SqlError {
    SqlError::ours(SqlErrorKind::TransactionEnded, format!("the transaction was rolled back: {why}"))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        // It lies beyond the clock's end.
        None => std::future::pending().await,
    }
}
