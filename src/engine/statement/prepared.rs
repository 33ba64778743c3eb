//! One statement, from its text to what it has changed.

use rusqlite::CachedStatement;

use super::bind;
use crate::connection::{Cancel, Session};
use crate::sql::{Column, Effects, Flow, Params, QueryLimits, Row, Rows, SqlError, SqlErrorKind, StatementShape, Verb, verb};

/// A statement that is ready to run; its deadline runs already.
pub(crate) struct Prepared<'a> {
    session: &'a Session,
    statement: CachedStatement<'a>,
    sql: &'a str,
}

const SAVEPOINT: &str = "SAVEPOINT buckethead_statement";
const RELEASE: &str = "RELEASE buckethead_statement";
const ROLLBACK: &str = "ROLLBACK TO buckethead_statement; RELEASE buckethead_statement";

impl<'a> Prepared<'a> {
    /// `sql` holds one statement.
    pub(crate) fn new(
        session: &'a Session,
        sql: &'a str,
        params: &Params,
        limits: &QueryLimits,
        cancel: &Cancel,
    ) -> Result<Self, SqlError> {
        let mut prepared = Self::unbound(session, sql, limits, cancel)?;
        bind::all(&mut prepared.statement, params)?;
        Ok(prepared)
    }

    fn unbound(session: &'a Session, sql: &'a str, limits: &QueryLimits, cancel: &Cancel) -> Result<Self, SqlError> {
        refuse_if_cancelled(cancel)?;
        session.begin(limits.statement_timeout, cancel);
        let statement = session.connection().prepare_cached(sql).map_err(|error| session.explain(&error))?;
        Ok(Self { session, statement, sql })
    }

    /// What the statement would take and give; it does not run.
    pub(crate) fn describe(session: &'a Session, sql: &'a str, limits: &QueryLimits, cancel: &Cancel) -> Result<StatementShape, SqlError> {
        let Self { statement, .. } = Self::unbound(session, sql, limits, cancel)?;
        let params = (1..=statement.parameter_count()).map(|at| statement.parameter_name(at).map(str::to_owned)).collect();
        let (is_explain, is_readonly) = (statement.is_explain() != 0, statement.readonly());
        Ok(StatementShape { params, columns: columns(&statement), is_explain, is_readonly })
    }

    /// Whether it may change the database. SQLite says so, and whoever has not the writer's place must not run it.
    pub(crate) fn writes(&self) -> bool {
        !self.statement.readonly()
    }

    /// Runs the statement to its end: one that writes has not written before. A query may be left as soon as `rows` has enough. Whenever
    /// `rows` has no room for more, `wait` is called, while the deadline stands still.
    pub(crate) fn run<R: Rows>(
        mut self,
        rows: &mut R,
        wait: impl FnMut(&Session, &mut R) -> Result<(), SqlError>,
    ) -> Result<Effects, SqlError> {
        // A statement that has written and is left before its end has written all the same.
        let guarded = self.writes() && self.statement.column_count() > 0;
        if guarded {
            self.session.speak_within(SAVEPOINT)?;
        }
        let outcome = self.step(rows, wait);
        // Values can be large and would stay with the cached statement.
        self.statement.clear_bindings();
        let Self { session, statement, sql } = self;
        drop(statement);
        let outcome = outcome.map(|()| effects(session, verb(sql)));
        if !guarded || session.connection().is_autocommit() {
            return outcome;
        }
        // Outside of a transaction this is the commit.
        let outcome = outcome.and_then(|effects| session.speak(RELEASE).map(|()| effects).map_err(SqlError::from));
        if outcome.is_err() {
            session.speak(ROLLBACK)?;
        }
        outcome
    }

    fn step<R: Rows>(&mut self, rows: &mut R, mut wait: impl FnMut(&Session, &mut R) -> Result<(), SqlError>) -> Result<(), SqlError> {
        let columns = columns(&self.statement);
        let width = columns.len();
        rows.columns(columns)?;
        let may_stop = self.statement.readonly();
        let session = self.session;
        let mut enough = false;
        let mut running = self.statement.raw_query();
        while let Some(row) = running.next().map_err(|error| session.explain(&error))? {
            if enough {
                continue;
            }
            match rows.row(&Row::new(row, width))? {
                Flow::More => {}
                Flow::Full => wait(session, rows)?,
                Flow::Enough if may_stop => break,
                Flow::Enough => enough = true,
            }
        }
        Ok(())
    }
}

/// A statement of a few steps ends before SQLite asks whether anybody waits for it.
pub(crate) fn refuse_if_cancelled(cancel: &Cancel) -> Result<(), SqlError> {
    if cancel.is_said() { Err(SqlError::ours(SqlErrorKind::Cancelled, "nobody waits for the request")) } else { Ok(()) }
}

fn columns(statement: &rusqlite::Statement<'_>) -> Vec<Column> {
    let column = |column: rusqlite::Column<'_>| Column { name: column.name().to_owned(), decltype: column.decl_type().map(str::to_owned) };
    statement.columns().map(column).collect()
}

/// SQLite remembers counts and row ids of earlier statements; only what this one did is told.
fn effects(session: &Session, verb: Verb) -> Effects {
    if verb == Verb::Other {
        return Effects::default();
    }
    let connection = session.connection();
    let rows_affected = connection.changes();
    let inserted = verb == Verb::Insert && rows_affected > 0 && session.has_inserted();
    Effects { rows_affected, last_insert_rowid: inserted.then(|| connection.last_insert_rowid()), seen: None }
}
