//! Transactions that stay open from one call to the next.
//!
//! Each has a task that owns its connection and its place: the writer's, or one of the readers'. The task does what it is told, and gives
//! both back when the transaction ends: by a commit, a rollback, its time, a switch of the database, or because its caller is gone.
//! Invariant: nobody waits for a place for longer than the time limit of whoever has it, and of the statement that runs then.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::MemoryDatabase;
use super::connections::Use;
use crate::connection::{Cancel, Role, Session};
use crate::sql::{QueryLimits, Request, Response, SqlError, SqlErrorKind};
use crate::statement::{self, Begin};

/// What a transaction is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionMode {
    /// Sees the version that was the newest when it began, and cannot write.
    Read,
    /// Has the writer's place until it ends.
    Write,
}

/// What an open transaction may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionLimits {
    /// For each request in it.
    pub query: QueryLimits,
    /// How long it may stay open. Others wait meanwhile, and pages stay in memory for it.
    pub lifetime: Duration,
}

/// A transaction that stays open from one call to the next. Dropping it rolls back.
pub struct OpenTransaction {
    commands: mpsc::Sender<Command>,
    ended: Arc<OnceLock<SqlError>>,
}

enum Command {
    Run { request: Request, cancel: Cancel, reply: oneshot::Sender<Result<Response, SqlError>> },
    End { end: End, reply: oneshot::Sender<Result<(), SqlError>> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    Rollback,
}

/// Transactions that are ended together.
#[derive(Clone, Default)]
pub(super) struct OpenTransactions {
    ending: CancellationToken,
    why: Arc<OnceLock<String>>,
    tasks: TaskTracker,
}

impl MemoryDatabase {
    /// Opens a transaction that stays open from call to call. One that writes waits for its turn as any other write does.
    pub async fn begin(&self, mode: TransactionMode, limits: &TransactionLimits) -> Result<OpenTransaction, SqlError> {
        let place = match mode {
            TransactionMode::Read => Place::Reader { _permit: self.reader().await },
            TransactionMode::Write => Place::Writer { _turn: self.turn(limits.query.writer_wait).await? },
        };
        let group = self.0.open_transactions.lock().clone();
        let (inner, (purpose, role, begin)) = (Arc::clone(&self.0), mode.means());
        let opened = self.run(move |_| {
            let session = inner.session(purpose, role)?;
            statement::begin(&session, begin)?;
            // The place goes with the session: if the caller leaves now, it is free once the session is closed, and not before.
            Ok((session, place))
        });
        let (session, place) = opened.await?;
        let (commands, commanded) = mpsc::channel(1);
        let ended = Arc::new(OnceLock::new());
        let keeper = Keeper {
            database: self.clone(),
            mode,
            limits: *limits,
            // `None` lies beyond the clock's end.
            deadline: self.0.clock.now().checked_add(limits.lifetime),
            ended: Arc::clone(&ended),
            session: Some(session),
            _place: place,
        };
        group.tasks.spawn(keeper.keep(commanded, group.clone()));
        Ok(OpenTransaction { commands, ended })
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

impl TransactionMode {
    fn means(self) -> (Use, Role, Begin) {
        match self {
            Self::Read => (Use::Read, Role::Reader, Begin::Deferred),
            Self::Write => (Use::Write, Role::Writer, Begin::Immediate),
        }
    }
}

impl OpenTransaction {
    /// Runs statements in it. With [`crate::Transaction::Immediate`] all or none of the request's are done; the transaction stays open
    /// either way, unless SQLite itself rolled it back. Dropping the future stops the statement.
    pub async fn run(&mut self, request: Request) -> Result<Response, SqlError> {
        let cancel = Cancel::default();
        let _guard = cancel.on_drop();
        self.tell(|reply| Command::Run { request, cancel, reply }).await
    }

    /// Makes what it did the newest version. If that fails it is rolled back.
    pub async fn commit(self) -> Result<(), SqlError> {
        self.tell(|reply| Command::End { end: End::Commit, reply }).await
    }

    /// Forgets what it did, and returns when its place is free.
    pub async fn rollback(self) -> Result<(), SqlError> {
        self.tell(|reply| Command::End { end: End::Rollback, reply }).await
    }

    /// Why it ended by itself, if it did.
    pub fn ended(&self) -> Option<&SqlError> {
        self.ended.get()
    }

    async fn tell<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, SqlError>>) -> Command) -> Result<T, SqlError> {
        let (reply, answer) = oneshot::channel();
        let over = || self.ended().cloned().unwrap_or_else(|| SqlError::ours(SqlErrorKind::Internal, "the transaction was given up"));
        if self.commands.send(command(reply)).await.is_err() {
            return Err(over());
        }
        answer.await.unwrap_or_else(|_| Err(over()))
    }
}

/// What others may wait for; it is free again when this is dropped.
enum Place {
    Reader { _permit: OwnedSemaphorePermit },
    Writer { _turn: OwnedMutexGuard<()> },
}

/// The task of one open transaction.
struct Keeper {
    database: MemoryDatabase,
    mode: TransactionMode,
    limits: TransactionLimits,
    deadline: Option<Instant>,
    ended: Arc<OnceLock<SqlError>>,
    /// Gone if a panic went through it.
    session: Option<Session>,
    /// After the session: whoever is let in finds the old one out of the way.
    _place: Place,
}

impl Keeper {
    async fn keep(mut self, mut commands: mpsc::Receiver<Command>, group: OpenTransactions) {
        let end = loop {
            tokio::select! {
                biased;
                () = group.ending.cancelled() => {
                    let why = group.why.get().map_or("the database was closed", String::as_str);
                    break Some(over(format!("the transaction was rolled back: {why}")));
                }
                () = until(self.deadline) => break Some(self.expired()),
                command = commands.recv() => match command {
                    None => break None,
                    Some(Command::Run { request, cancel, reply }) => {
                        let outcome = self.run(request, cancel, &group.ending).await;
                        let is_open = self.session.as_ref().is_some_and(|session| !session.connection().is_autocommit());
                        if let Some(error) = outcome.as_ref().err().filter(|_| !is_open) {
                            // Before the reply: whoever has it may ask.
                            self.ended.set(over(format!("the transaction was rolled back by an earlier failure: {error}"))).ok();
                            reply.send(outcome).ok();
                            break None;
                        }
                        // Whoever asked may have gone; the next command, or their end, decides.
                        reply.send(outcome).ok();
                    }
                    Some(Command::End { end, reply }) => {
                        let outcome = self.end(end).await;
                        // The place is free before the caller goes on.
                        drop(self);
                        reply.send(outcome).ok();
                        return;
                    }
                }
            }
        };
        if let Some(error) = end {
            self.ended.set(error).ok();
        }
        if let Err(error) = self.end(End::Rollback).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "an open transaction was not rolled back but dropped");
        }
    }

    async fn run(&mut self, request: Request, cancel: Cancel, ending: &CancellationToken) -> Result<Response, SqlError> {
        let (mut query, deadline, clock) = (self.limits.query, self.deadline, Arc::clone(&self.database.0.clock));
        let told = cancel.clone();
        let work = self.with_session(move |session| {
            if let Some(deadline) = deadline {
                query.statement_timeout = query.statement_timeout.min(deadline.saturating_duration_since(clock.now()));
            }
            statement::run_within(session, &request, &query, &cancel)
        });
        let outcome = {
            tokio::pin!(work);
            tokio::select! {
                outcome = &mut work => outcome,
                () = ending.cancelled() => {
                    told.say();
                    work.await
                }
            }
        };
        match outcome {
            Err(error) if error.kind == SqlErrorKind::Timeout && self.is_over() => Err(self.expired()),
            outcome => outcome,
        }
    }

    /// Ends the transaction, and keeps the connection for others.
    async fn end(&mut self, end: End) -> Result<(), SqlError> {
        let outcome = self.with_session(move |session| statement::end(session, end == End::Commit)).await;
        if let Some(session) = self.session.take() {
            let (purpose, ..) = self.mode.means();
            self.database.0.keep(purpose, session);
            self.database.0.announce();
        }
        outcome
    }

    /// Lends the connection to a thread that may block.
    async fn with_session<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Session) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let Some(session) = self.session.take() else {
            return Err(SqlError::ours(SqlErrorKind::Internal, "the connection was lost"));
        };
        let done = self.database.run(move |_| {
            let outcome = work(&session);
            Ok((session, outcome))
        });
        let (session, outcome) = done.await?;
        self.session = Some(session);
        outcome
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.database.0.clock.now() >= deadline)
    }

    fn expired(&self) -> SqlError {
        over(format!("the transaction was rolled back: it was open for longer than {} ms", self.limits.lifetime.as_millis()))
    }
}

fn over(message: String) -> SqlError {
    SqlError::ours(SqlErrorKind::TransactionEnded, message)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
