//! Two databases read side by side.

use std::sync::Arc;

use rusqlite::Connection;

use super::MemoryDatabase;
use super::connections::Use;
use crate::connection::{Cancel, Session};
use crate::sql::{QueryLimits, Spent, SqlError};

impl MemoryDatabase {
    /// Asks this database and another on one thread. Each shows one version throughout, and `statement_timeout` holds for all of `ask`.
    ///
    /// It takes a reader's place of this one alone, so that two that are compared with each other never wait in a circle.
    pub(crate) async fn ask_beside<T, F>(&self, other: &Self, limits: &QueryLimits, ask: F) -> Result<T, SqlError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Connection) -> Result<T, SqlError> + Send + 'static,
    {
        let (limits, other) = (*limits, Arc::clone(&other.0));
        self.among_readers(&mut Spent::default(), move |session, cancel, _| {
            let beside = other.session(Use::Read)?;
            let told = watched(session, &beside, &limits, cancel, ask);
            other.keep_at_rest(Use::Read, beside);
            told
        })
        .await
    }
}

/// Whoever ran this brings both sessions to rest.
fn watched<T>(
    one: &Session,
    other: &Session,
    limits: &QueryLimits,
    cancel: &Cancel,
    ask: impl FnOnce(&Connection, &Connection) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    for session in [one, other] {
        session.speak("BEGIN")?;
        session.begin(limits.statement_timeout, cancel);
    }
    let told = ask(one.connection(), other.connection());
    told.map_err(|said| if other.was_stopped() { other.refine(said) } else { one.refine(said) })
}
