//! Results on their way: rows as SQLite has them, and who takes them.

use super::{Column, SqlError, SqlErrorKind, Statement, Value};
use crate::memory::Commits;

/// A value that still lies with SQLite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL's NULL.
    Null,
    /// 64 bits, exact.
    Integer(i64),
    /// May be infinite.
    Real(f64),
    /// UTF-8.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(integer) => Self::Integer(integer),
            ValueRef::Real(real) => Self::Real(real),
            ValueRef::Text(text) => Self::Text(text.to_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(*integer),
            Value::Real(real) => Self::Real(*real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

/// A row of a statement that runs.
#[derive(Debug)]
pub struct Row<'a> {
    row: &'a rusqlite::Row<'a>,
    len: usize,
}

impl<'a> Row<'a> {
    pub(crate) fn new(row: &'a rusqlite::Row<'a>, len: usize) -> Self {
        Self { row, len }
    }

    /// How many values it has.
    #[allow(clippy::len_without_is_empty, reason = "a row has at least one value")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The value of a column. Fails for TEXT that is not UTF-8.
    pub fn value(&self, at: usize) -> Result<ValueRef<'_>, SqlError> {
        use rusqlite::types::ValueRef as Raw;
        Ok(match self.row.get_ref(at)? {
            Raw::Null => ValueRef::Null,
            Raw::Integer(integer) => ValueRef::Integer(integer),
            Raw::Real(real) => ValueRef::Real(real),
            Raw::Blob(bytes) => ValueRef::Blob(bytes),
            Raw::Text(bytes) => ValueRef::Text(std::str::from_utf8(bytes).map_err(|_| {
                let name = self.row.as_ref().column_name(at).unwrap_or_default();
                SqlError::ours(SqlErrorKind::Statement, format!("column {name} holds TEXT that is not UTF-8; CAST it to BLOB"))
            })?),
        })
    }
}

/// Whether somebody takes more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// At once.
    More,
    /// When there is room again: see [`Rows::room`].
    Full,
    /// None. A statement that writes goes on to its end all the same.
    Enough,
}

/// Takes what a statement gives.
pub trait Rows {
    /// Before the first row, also if there is none. A statement that returns no rows has no columns.
    fn columns(&mut self, columns: Vec<Column>) -> Result<(), SqlError>;

    /// The next row. An error ends the statement.
    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError>;

    /// Ends when rows are taken again after [`Flow::Full`]. An error ends the statement.
    fn room(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// What a statement did besides giving rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects {
    /// By INSERT, UPDATE and DELETE; 0 for anything else.
    pub rows_affected: u64,
    /// Only after an INSERT that inserted.
    pub last_insert_rowid: Option<i64>,
    /// What the memory held when it ended; unknown within a transaction that is open.
    pub seen: Option<Commits>,
}

/// What a stream is to do: statements that are chosen as it goes, and where their results go.
pub trait Script: Rows + Send + 'static {
    /// The next statement, which holds one and no more; `None` at the end. `is_autocommit` tells that no transaction is open.
    fn next(&mut self, is_autocommit: bool) -> Option<Statement>;

    /// Whether a statement may begin again, with [`Rows::columns`], after it gave rows: what it gave is forgotten then.
    fn may_begin_again(&self) -> bool {
        false
    }

    /// How it ended.
    fn ended(&mut self, outcome: Result<Effects, SqlError>);
}

/// What a statement would take and give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementShape {
    /// The names of its parameters with their `:`, `@`, `$` or `?`; those written as a plain `?`, and numbers that are left out, have none.
    pub params: Vec<Option<String>>,
    /// Of its rows.
    pub columns: Vec<Column>,
    /// It begins with EXPLAIN.
    pub is_explain: bool,
    /// It does not change the database; COMMIT counts as such, too.
    pub is_readonly: bool,
}
