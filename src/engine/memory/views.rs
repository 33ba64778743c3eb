//! Statements of the engine's own that a caller asked for in other words than SQL: what the typed views run.
//!
//! They run on the same sandboxed connections, in the same queue and under the same limits as the caller's own SQL.
//! Invariant: a change is all or nothing, and nobody's statements run in its transaction but its own.

use std::sync::Arc;

use rusqlite::Connection;

use super::connections::Use;
use super::{Commits, Inner, MemoryDatabase};
use crate::clock::WallTime;
use crate::connection::{Cancel, Session};
use crate::sql::{QueryLimits, SqlError, SqlErrorKind};
use crate::vfs;

impl MemoryDatabase {
    /// The time that rows are given.
    pub(crate) fn wall(&self) -> WallTime {
        self.0.clock.wall()
    }

    /// Asks the newest version, and tells which that was. `statement_timeout` holds for all of `ask`; statements that must see the same version are one statement.
    pub(crate) async fn ask<T, F>(&self, limits: &QueryLimits, ask: F) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let place = self.0.reader().await;
        let (inner, limits) = (Arc::clone(&self.0), *limits);
        self.run(move |cancel| {
            let _place = place;
            let session = inner.session(Use::Read)?;
            let outcome = watched(&session, &limits, cancel, ask).map(|value| (value, vfs::seen()));
            inner.keep_at_rest(Use::Read, session);
            outcome
        })
        .await
    }

    /// Changes the newest version in one transaction, when its turn has come, and tells which it made; an error of `change` rolls all of it back.
    /// `statement_timeout` holds for all of it.
    pub(crate) async fn change<T, F>(&self, limits: &QueryLimits, change: F) -> Result<(T, Option<Commits>), SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let turn = self.0.writers.turn_within(limits.writer_wait).await?;
        let (inner, limits) = (Arc::clone(&self.0), *limits);
        self.run(move |cancel| {
            let _turn = turn;
            let session = inner.session(Use::Write)?;
            let outcome = in_transaction(&session, &limits, cancel, change).map(|value| (value, vfs::seen()));
            inner.keep_at_rest(Use::Write, session);
            inner.announce();
            outcome
        })
        .await
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
