//! Statements of the engine's own that a caller asked for in other words than SQL: what the typed views run.
//!
//! They run on the same sandboxed connections, in the same queue and under the same limits as the caller's own SQL.
//! Invariant: a change is all or nothing, and nobody's statements run in its transaction but its own.

use std::sync::Arc;

use rusqlite::Connection;

use super::connections::Use;
use super::queue::Turn;
use super::{Commits, Inner, MemoryDatabase, brief};
use crate::clock::WallTime;
use crate::connection::{Cancel, Session};
use crate::sql::{QueryLimits, Spent, SqlError, SqlErrorKind};
use crate::vfs;

impl MemoryDatabase {
    /// The time that rows are given.
    pub(crate) fn wall(&self) -> WallTime {
        self.0.clock.wall()
    }

    /// Asks the newest version, and tells which that was. `statement_timeout` holds for all of `ask`; statements that must see the same version are one statement.
    pub(crate) async fn ask<T, F>(&self, limits: &QueryLimits, spent: &mut Spent, ask: F) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        self.ask_on_thread(None, limits, spent, ask).await
    }

    /// The same with nothing but this statement, which runs at once where it may.
    pub(crate) async fn ask_one<T, F>(
        &self,
        sql: &'static str,
        limits: &QueryLimits,
        spent: &mut Spent,
        ask: F,
    ) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        brief::others_first().await;
        if let Some(done) = self.view_at_once(Use::Read, sql, limits, spent, &ask) {
            return done;
        }
        self.ask_on_thread(Some(sql), limits, spent, ask).await
    }

    /// Changes the newest version in one transaction, when its turn has come, and tells which it made; an error of `change` rolls all of it back.
    /// `statement_timeout` holds for all of it.
    pub(crate) async fn change<T, F>(&self, limits: &QueryLimits, spent: &mut Spent, change: F) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let turn = self.turn(limits, spent).await?;
        self.change_on_thread(None, turn, limits, spent, change).await
    }

    /// The same with nothing but this statement, which runs at once where it may.
    pub(crate) async fn change_one<T, F>(
        &self,
        sql: &'static str,
        limits: &QueryLimits,
        spent: &mut Spent,
        change: F,
    ) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let turn = self.turn(limits, spent).await?;
        if let Some(done) = self.view_at_once(Use::Write, sql, limits, spent, &change) {
            self.0.announce();
            return done;
        }
        self.change_on_thread(Some(sql), turn, limits, spent, change).await
    }

    /// `only` is the one statement of `ask`, if it has but one.
    async fn ask_on_thread<T, F>(
        &self,
        only: Option<&'static str>,
        limits: &QueryLimits,
        spent: &mut Spent,
        ask: F,
    ) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let (limits, inner) = (*limits, Arc::clone(&self.0));
        self.among_readers(spent, move |session, cancel, spent| {
            inner.judged(session, only, || told(session, spent, || watched(session, &limits, cancel, ask)))
        })
        .await
    }

    async fn change_on_thread<T, F>(
        &self,
        only: Option<&'static str>,
        turn: Turn,
        limits: &QueryLimits,
        spent: &mut Spent,
        change: F,
    ) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let (limits, inner) = (*limits, Arc::clone(&self.0));
        self.in_turn(turn, spent, move |session, cancel, spent| {
            inner.judged(session, only, || told(session, spent, || in_transaction(session, &limits, cancel, change)))
        })
        .await
    }

    /// By itself the statement is all or nothing.
    fn view_at_once<T>(
        &self,
        purpose: Use,
        sql: &str,
        limits: &QueryLimits,
        spent: &mut Spent,
        work: impl Fn(&Connection) -> Result<T, SqlError>,
    ) -> Option<Result<(T, Option<Commits>), SqlError>> {
        self.at_once(purpose, sql, spent, |session, _, spent| told(session, spent, || watched(session, limits, &Cancel::default(), work)))
    }
}

impl Inner {
    /// Keeps a session whose transaction has ended, whatever ended it.
    pub(super) fn keep_at_rest(&self, purpose: Use, session: Session) {
        let at_rest = session.connection().is_autocommit() || session.speak("ROLLBACK").is_ok();
        if at_rest {
            self.keep(purpose, session);
        }
    }
}

fn in_transaction<T>(
    session: &Session,
    limits: &QueryLimits,
    cancel: &Cancel,
    change: impl FnOnce(&Connection) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    session.speak("BEGIN IMMEDIATE")?;
    let value = watched(session, limits, cancel, change)?;
    // Statements of a few steps end before SQLite asks whether anybody waits for them.
    if cancel.is_said() {
        return Err(SqlError::ours(SqlErrorKind::Cancelled, "nobody waits for the request"));
    }
    session.speak("COMMIT")?;
    Ok(value)
}

/// Adds the time that `work` takes, and tells what it saw.
fn told<T>(session: &Session, spent: &mut Spent, work: impl FnOnce() -> Result<T, SqlError>) -> Result<(T, Option<Commits>), SqlError> {
    let begun = session.now();
    let done = work();
    spent.ran += session.now().saturating_duration_since(begun);
    Ok((done?, vfs::seen()))
}

/// Under the deadline, and only as long as somebody waits.
fn watched<T>(
    session: &Session,
    limits: &QueryLimits,
    cancel: &Cancel,
    work: impl FnOnce(&Connection) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    session.begin(limits.statement_timeout, cancel);
    work(session.connection()).map_err(|said| session.refine(said))
}
