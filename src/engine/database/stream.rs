//! A caller's own connection to an open database.

use std::sync::Arc;

use super::{Database, Witness};
use crate::error::Error;
use crate::memory::{MemoryStream, StreamLimits};
use crate::sql::{Column, Effects, Flow, Holding, Row, Rows, Script, SqlError, SqlErrorKind, Statement, StatementShape};

/// A caller's own connection, from one call to the next: it may open transactions and change settings. Dropping it rolls back what is open.
pub struct Stream {
    pub(super) database: Database,
    pub(super) memory: MemoryStream,
}

impl Stream {
    /// Runs statements that are chosen as it goes; how each ended is told to `script`. Fails only if the database is not served. Dropping the
    /// future stops the statement that runs.
    pub async fn run<S: Script>(&mut self, script: S, limits: &StreamLimits) -> Result<S, Error> {
        let database = &self.database;
        let _under_way = database.enter()?;
        let may_write = || database.check_lag().map_err(|error| SqlError::ours(SqlErrorKind::WritesRefused, error.to_string()));
        let Watched { script, .. } = self.memory.run(Watched { script, database: database.clone() }, limits, may_write).await;
        let script = database.settle(Ok::<_, Error>(script), self.memory.take_spent())?;
        database.still_served(script)
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
