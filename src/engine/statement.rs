//! Runs a request on a session: its statements one after the other, and the transaction around them.
//!
//! Owns: what is bound, what is collected, when all is rolled back. Does not own: which session, and whose turn it is.
//! Invariant: whatever a request did or failed to do, no transaction and no statement of its is open afterwards.

mod bind;
mod once;
mod prepared;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::connection::{Cancel, Session};
use crate::sql::{
    Column, Effects, Flow, Holding, Params, Piece, QueryLimits, Request, Response, ResultSet, Row, Rows, Spent, SqlError, SqlErrorKind,
    Statement, Transaction, Value, ValueRef, pieces,
};
use crate::vfs;
pub(crate) use once::run_once;
pub use once::{Answered, Once, WriteAnswer};
pub(crate) use prepared::{Prepared, refuse_if_cancelled};

/// How the engine brackets a request whose statements are all or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// For a reader: all statements see one version.
    Deferred,
    /// For a writer.
    Immediate,
}

impl Begin {
    fn sql(self) -> &'static str {
        match self {
            Self::Deferred => "BEGIN",
            Self::Immediate => "BEGIN IMMEDIATE",
        }
    }
}

/// What a request may use, and who waits for it.
pub(crate) struct Bounds<'a> {
    pub(crate) limits: &'a QueryLimits,
    pub(crate) cancel: &'a Cancel,
    /// For its results.
    pub(crate) holding: Holding,
    /// A statement that runs at least so long is told of.
    pub(crate) slow_after: Duration,
}

/// Runs all statements of a request, and adds to `spent` what they took, however they ended.
pub(crate) fn run(session: &Session, request: &Request, begin: Begin, bounds: Bounds<'_>, spent: &mut Spent) -> Result<Response, SqlError> {
    let mut run = Run::on(session, bounds);
    let outcome = match request.transaction {
        Transaction::Immediate => run.as_one(request, begin, |_| Ok(())),
        Transaction::None => run.each(request),
    };
    spent.add(std::mem::take(&mut run.spent));
    roll_back(session)?;
    outcome?;
    Ok(Response { results: run.results, seen: vfs::seen(), holding: Some(run.holding) })
}

/// Runs the one statement of a request, whose text is known to hold no other, and which is known to be all or nothing by itself.
pub(crate) fn run_one(
    session: &Session,
    (piece, params): (Piece<'_>, &Params),
    bounds: Bounds<'_>,
    spent: &mut Spent,
) -> Result<Response, SqlError> {
    let mut run = Run::on(session, bounds);
    let outcome = run.piece(piece, params);
    spent.add(std::mem::take(&mut run.spent));
    let result = outcome.map_err(|error| error.at(0, piece.offset))?;
    Ok(Response { results: vec![result], seen: vfs::seen(), holding: Some(run.holding) })
}

/// Ends a transaction that was left open.
fn roll_back(session: &Session) -> Result<(), SqlError> {
    if session.connection().is_autocommit() {
        return Ok(());
    }
    session.speak("ROLLBACK").map_err(|error| SqlError::from(&error))
}

/// A request that is running.
struct Run<'a> {
    session: &'a Session,
    limits: &'a QueryLimits,
    cancel: &'a Cancel,
    results: Vec<ResultSet>,
    /// Bytes in all results so far.
    size: u64,
    holding: Holding,
    slow_after: Duration,
    spent: Spent,
}

impl<'a> Run<'a> {
    fn on(session: &'a Session, bounds: Bounds<'a>) -> Self {
        let Bounds { limits, cancel, holding, slow_after } = bounds;
        Self { session, limits, cancel, results: Vec::new(), size: 0, holding, slow_after, spent: Spent::default() }
    }

    /// `last` runs in the same transaction, behind the statements.
    fn as_one(&mut self, request: &Request, begin: Begin, last: impl FnOnce(&mut Self) -> Result<(), SqlError>) -> Result<(), SqlError> {
        self.session.speak(begin.sql()).map_err(|error| SqlError::from(&error))?;
        self.each(request)?;
        last(self)?;
        self.refuse_if_cancelled()?;
        let last = request.statements.len().saturating_sub(1);
        self.session.speak("COMMIT").map_err(|error| SqlError::from(&error).at(last, 0))
    }

    fn each(&mut self, request: &Request) -> Result<(), SqlError> {
        for (index, statement) in request.statements.iter().enumerate() {
            self.text(statement).map_err(|(error, begin)| error.at(index, begin))?;
        }
        if self.results.is_empty() {
            return Err(SqlError::ours(SqlErrorKind::Statement, "the request holds no statement"));
        }
        Ok(())
    }

    /// An error comes with the byte at which its statement begins.
    fn text(&mut self, statement: &Statement) -> Result<(), (SqlError, usize)> {
        let refuse = |kind, message: &str| Err((SqlError::ours(kind, message), 0));
        if statement.sql.contains('\0') {
            return refuse(SqlErrorKind::Statement, "the SQL text holds a NUL byte");
        }
        let pieces = pieces(&statement.sql);
        if pieces.len() > 1 && statement.params != Params::None {
            return refuse(SqlErrorKind::Arguments, "values can be bound to a text with one statement only");
        }
        for piece in pieces {
            let result = self.piece(piece, &statement.params).map_err(|error| (error, piece.offset))?;
            self.results.push(result);
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>, params: &Params) -> Result<ResultSet, SqlError> {
        let begun = self.session.now();
        let mut result = ResultSet::default();
        let outcome = Prepared::new(self.session, piece.sql, params, self.limits, self.cancel)
            .and_then(|prepared| prepared.run(&mut Collect { result: &mut result, run: self }, |_, _| Ok(())));
        let took = self.session.now().saturating_duration_since(begun);
        let changed = outcome.as_ref().map_or(0, |effects| effects.rows_affected);
        self.spent.statement(piece.sql, took, result.rows.len() as u64, changed, self.slow_after);
        let Effects { rows_affected, last_insert_rowid, .. } = outcome?;
        Ok(ResultSet { rows_affected, last_insert_rowid, ..result })
    }

    fn refuse_if_cancelled(&self) -> Result<(), SqlError> {
        refuse_if_cancelled(self.cancel)
    }

    /// Counts bytes of results before they are copied.
    fn charge(&mut self, bytes: u64) -> Result<(), SqlError> {
        self.size += bytes;
        if self.size > self.limits.max_result_size {
            return Err(SqlError::result_too_large(self.limits.max_result_size));
        }
        self.holding.add(bytes)
    }
}

/// Keeps what a statement gives.
struct Collect<'a, 'b> {
    result: &'a mut ResultSet,
    run: &'a mut Run<'b>,
}

impl Rows for Collect<'_, '_> {
    fn columns(&mut self, columns: Vec<Column>) -> Result<(), SqlError> {
        let names = columns.iter().map(|column| (column.name.len() + column.decltype.as_ref().map_or(0, String::len)) as u64 + EACH);
        self.run.charge(EACH + names.sum::<u64>())?;
        self.result.columns = columns;
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        if self.result.rows.len() as u64 >= self.run.limits.max_rows {
            self.result.truncated = true;
            return Ok(Flow::Enough);
        }
        let mut values = Vec::with_capacity(row.len());
        for at in 0..row.len() {
            let value = row.value(at)?;
            self.run.charge(size(value))?;
            values.push(Value::from(value));
        }
        self.result.rows.push(values);
        Ok(Flow::More)
    }
}

/// What each value, column and result counts even if it holds nothing: it takes memory, too.
const EACH: u64 = 8;

/// What a value counts against [`QueryLimits::max_result_size`].
fn size(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => EACH,
        ValueRef::Text(text) => text.len() as u64 + EACH,
        ValueRef::Blob(bytes) => bytes.len() as u64 + EACH,
    }
}
