//! Runs a request on a session: its statements one after the other, and the transaction around them.
//!
//! Owns: what is bound, what is collected, when all is rolled back. Does not own: which session, and whose turn it is.
//! Invariant: whatever a request did or failed to do, no transaction and no statement of its is open afterwards.

mod bind;
#[cfg(test)]
mod tests;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Row};

use crate::connection::{Cancel, Session};
use crate::sql::{
    Column, Params, Piece, QueryLimits, Request, Response, ResultSet, SqlError, SqlErrorKind, Statement, Transaction, Value, Verb, pieces,
    verb,
};
use crate::vfs;

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

/// Runs all statements of a request.
pub(crate) fn run(session: &Session, request: &Request, begin: Begin, limits: &QueryLimits, cancel: &Cancel) -> Result<Response, SqlError> {
    let mut run = Run { session, limits, cancel, results: Vec::new(), size: 0 };
    let outcome = match request.transaction {
        Transaction::Immediate => run.as_one(request, begin),
        Transaction::None => run.each(request),
    };
    if !session.connection().is_autocommit() {
        session.speak("ROLLBACK").map_err(|error| SqlError::from(&error))?;
    }
    outcome?;
    Ok(Response { results: run.results, seen: vfs::seen() })
}

/// Opens a transaction that stays open.
pub(crate) fn begin(session: &Session, begin: Begin) -> Result<(), SqlError> {
    session.speak(begin.sql())?;
    if begin == Begin::Deferred {
        // SQLite takes its version with the first statement that looks at the database.
        session.speak("SELECT 1 FROM sqlite_schema")?;
    }
    Ok(())
}

/// Ends it. A commit that fails rolls back.
pub(crate) fn end(session: &Session, commit: bool) -> Result<(), SqlError> {
    let ended = if commit { session.speak("COMMIT").map_err(SqlError::from) } else { Ok(()) };
    if !session.connection().is_autocommit() {
        session.speak("ROLLBACK")?;
    }
    ended
}

/// Runs all statements of a request in the transaction that is open.
pub(crate) fn run_within(session: &Session, request: &Request, limits: &QueryLimits, cancel: &Cancel) -> Result<Response, SqlError> {
    let mut run = Run { session, limits, cancel, results: Vec::new(), size: 0 };
    match request.transaction {
        Transaction::Immediate => {
            session.speak("SAVEPOINT request")?;
            let outcome = run.each(request).and_then(|()| run.refuse_if_cancelled());
            // SQLite may have rolled back everything.
            if !session.connection().is_autocommit() {
                session.speak(if outcome.is_ok() { "RELEASE request" } else { "ROLLBACK TO request; RELEASE request" })?;
            }
            outcome?;
        }
        Transaction::None => run.each(request)?,
    }
    Ok(Response { results: run.results, seen: None })
}

/// A request that is running.
struct Run<'a> {
    session: &'a Session,
    limits: &'a QueryLimits,
    cancel: &'a Cancel,
    results: Vec<ResultSet>,
    /// Bytes in all results so far.
    size: u64,
}

impl Run<'_> {
    fn as_one(&mut self, request: &Request, begin: Begin) -> Result<(), SqlError> {
        self.session.speak(begin.sql()).map_err(|error| SqlError::from(&error))?;
        self.each(request)?;
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
        self.refuse_if_cancelled()?;
        self.session.begin(self.limits.statement_timeout, self.cancel);
        let explain = |error: rusqlite::Error| self.session.explain(&error);
        let mut statement = self.session.connection().prepare_cached(piece.sql).map_err(explain)?;
        bind::all(&mut statement, params)?;
        self.charge(EACH)?;
        let mut result = ResultSet { columns: self.columns(&statement)?, ..ResultSet::default() };
        let outcome = self.collect(&mut statement, &mut result);
        // Values can be large and would stay with the cached statement.
        statement.clear_bindings();
        outcome?;
        drop(statement);
        self.count(verb(piece.sql), &mut result);
        Ok(result)
    }

    /// Runs the statement to its end: one that writes has not written before. A query may be left as soon as its rows are full.
    fn collect(&mut self, statement: &mut CachedStatement<'_>, result: &mut ResultSet) -> Result<(), SqlError> {
        let may_stop = statement.readonly();
        let width = result.columns.len();
        let session = self.session;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(|error| session.explain(&error))? {
            if result.rows.len() as u64 >= self.limits.max_rows {
                result.truncated = true;
                if may_stop {
                    break;
                }
                continue;
            }
            let row = self.row(row, &result.columns, width)?;
            result.rows.push(row);
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>, columns: &[Column], width: usize) -> Result<Vec<Value>, SqlError> {
        let mut values = Vec::with_capacity(width);
        for (at, column) in columns.iter().enumerate() {
            let value = row.get_ref(at).map_err(|error| self.session.explain(&error))?;
            self.charge(size(value))?;
            values.push(owned(value, column)?);
        }
        Ok(values)
    }

    fn columns(&mut self, statement: &rusqlite::Statement<'_>) -> Result<Vec<Column>, SqlError> {
        let column = |column: rusqlite::Column<'_>| {
            let (name, decltype) = (column.name(), column.decl_type());
            self.charge((name.len() + decltype.map_or(0, str::len)) as u64 + EACH)?;
            Ok(Column { name: name.to_owned(), decltype: decltype.map(str::to_owned) })
        };
        statement.columns().map(column).collect()
    }

    /// Counts bytes of results before they are copied.
    fn charge(&mut self, bytes: u64) -> Result<(), SqlError> {
        self.size += bytes;
        if self.size > self.limits.max_result_size {
            let message = format!("the results are larger than {} bytes", self.limits.max_result_size);
            return Err(SqlError::ours(SqlErrorKind::ResultTooLarge, message));
        }
        Ok(())
    }

    /// A statement of a few steps ends before SQLite asks whether anybody waits for it.
    fn refuse_if_cancelled(&self) -> Result<(), SqlError> {
        if self.cancel.is_said() { Err(SqlError::ours(SqlErrorKind::Cancelled, "nobody waits for the request")) } else { Ok(()) }
    }

    /// SQLite remembers counts and row ids of earlier statements; only what this one did is told.
    fn count(&self, verb: Verb, result: &mut ResultSet) {
        if verb == Verb::Other {
            return;
        }
        let connection = self.session.connection();
        result.rows_affected = connection.changes();
        if verb == Verb::Insert && result.rows_affected > 0 && self.session.has_inserted() {
            result.last_insert_rowid = Some(connection.last_insert_rowid());
        }
    }
}

/// What each value, column and result counts even if it holds nothing: it takes memory, too.
const EACH: u64 = 8;

/// What a value counts against [`QueryLimits::max_result_size`].
fn size(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => EACH,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64 + EACH,
    }
}

fn owned(value: ValueRef<'_>, column: &Column) -> Result<Value, SqlError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        ValueRef::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| {
                let message = format!("column {} holds TEXT that is not UTF-8; CAST it to BLOB", column.name);
                SqlError::ours(SqlErrorKind::Statement, message)
            })?;
            Value::Text(text.to_owned())
        }
    })
}
