//! A caller's own connection to an open database.

use std::sync::{Arc, OnceLock};

use super::{Database, Witness};
use crate::error::Error;
use crate::memory::{Commits, Gate, MemoryStream, StreamLimits};
use crate::sql::{Column, Effects, Flow, Holding, Row, Rows, Script, SqlError, SqlErrorKind, Statement, StatementShape};

/// A caller's own connection, from one call to the next: it may open transactions and change settings. Dropping it rolls back what is open.
pub struct Stream {
    pub(super) database: Database,
    pub(super) memory: MemoryStream,
    /// Answers are confirmed together.
    pub(super) gathers: bool,
}

impl Stream {
    /// Runs statements that are chosen as it goes; how each ended is told to `script`. Fails only if the database is not served, or if answers
    /// wait for the bucket and nobody knows whether it has what they tell of. Dropping the future stops the statement that runs.
    pub async fn run<S: Script>(&mut self, script: S, limits: &StreamLimits) -> Result<S, Error> {
        let database = &self.database;
        let _under_way = database.enter()?;
        let gate = Confirming { database, failed: OnceLock::new() };
        let Watched { script, .. } = self.memory.run(Watched { script, database: database.clone() }, limits, &gate).await;
        let script = database.settle(Ok::<_, Error>(script), self.memory.take_spent())?;
        if !self.gathers || gate.failed.get().is_some() {
            gate.confirmed(self.memory.saw()).await?;
        }
        database.still_served(script)
    }

    /// From now on answers do not wait for the bucket one by one: whoever runs several scripts must [`Stream::confirm`] before they tell what came
    /// of any.
    pub fn gather(&mut self) {
        self.gathers = true;
    }

    /// Waits until the bucket has what the answers so far tell of, if they are to wait for it; from now on each waits for itself again.
    pub async fn confirm(&mut self) -> Result<(), Error> {
        self.gathers = false;
        Ok(self.database.confirm(self.memory.saw()).await?)
    }

    /// Whether answers wait for the bucket even if the mode of its database does not ask for it.
    pub fn confirm_always(&mut self, always: bool) {
        self.database.confirms = always;
    }

    /// What a statement would take and give, as this stream sees the schema.
    pub async fn describe(&mut self, sql: String, limits: &StreamLimits) -> Result<StatementShape, Error> {
        let _under_way = self.database.enter()?;
        let description = self.memory.describe(sql, limits).await?;
        self.database.still_served(description)
    }

    /// Whether no transaction is open. One that was ended under the caller counts as open until the caller ends it.
    pub fn is_autocommit(&self) -> bool {
        self.memory.is_autocommit()
    }

    /// For results that are collected before they are sent.
    pub fn hold_results(&self) -> Holding {
        self.memory.hold_results()
    }

    /// The limits that its database has now.
    pub fn limits(&self) -> StreamLimits {
        StreamLimits::of(self.database.limits())
    }

    /// Whoever watches its next request learns of which states the answers tell.
    pub fn watched_by(&mut self, witness: Arc<Witness>) {
        self.database = self.database.clone().before(witness);
    }
}

/// What the database lets a stream do, and what its answers wait for.
struct Confirming<'a> {
    database: &'a Database,
    /// What was not confirmed once is not waited for again.
    failed: OnceLock<SqlError>,
}

impl Gate for Confirming<'_> {
    fn may_write(&self) -> Result<(), SqlError> {
        self.database.check_writable().map_err(|error| {
            let kind = if let Error::OnlyShown { .. } = error { SqlErrorKind::Forbidden } else { SqlErrorKind::WritesRefused };
            SqlError::ours(kind, error.to_string())
        })
    }

    fn confirms(&self) -> bool {
        self.database.confirms()
    }

    async fn confirmed(&self, commits: Commits) -> Result<(), SqlError> {
        if let Some(failed) = self.failed.get() {
            return Err(failed.clone());
        }
        self.database.confirm(commits).await.inspect_err(|failed| drop(self.failed.set(failed.clone())))
    }
}

/// A script, and who learns what it sees.
struct Watched<S> {
    script: S,
    database: Database,
}

impl<S: Script> Rows for Watched<S> {
    fn columns(&mut self, columns: Vec<Column>) -> Result<(), SqlError> {
        self.script.columns(columns)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        self.script.row(row)
    }

    fn room(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send {
        self.script.room()
    }
}

impl<S: Script> Script for Watched<S> {
    fn next(&mut self, is_autocommit: bool) -> Option<Statement> {
        self.script.next(is_autocommit)
    }

    fn may_begin_again(&self) -> bool {
        self.script.may_begin_again()
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        if let Ok(Effects { seen: Some(seen), .. }) = outcome {
            self.database.tell(Some(seen));
        }
        self.script.ended(outcome);
    }
}
