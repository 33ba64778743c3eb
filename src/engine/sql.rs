//! SQL as it is asked and answered: values, statements, results, and the limits that hold for them. No I/O.

mod failure;
mod holding;
mod row;
mod script;
mod spent;
mod values;

use std::time::Duration;

use crate::memory::Commits;

pub(crate) use holding::Share;
pub use holding::{Holding, ResultMemory};
pub use row::{Effects, Flow, Row, Rows, Script, StatementShape, ValueRef};
pub(crate) use script::{Ending, Verb, ending, likely_writes, verb};
pub use script::{Piece, is_whole, pieces};
pub use spent::{SlowStatement, Spent};
pub(crate) use values::without_values;

/// A value as SQLite stores it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// 64 bits, exact.
    Integer(i64),
    /// May be infinite; SQLite stores NaN as NULL.
    Real(f64),
    /// UTF-8.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What is bound to a statement's parameters.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Params {
    /// Nothing is bound; a statement with parameters is refused.
    #[default]
    None,
    /// The n-th value goes to parameter n. Missing and surplus values are refused.
    Positional(Vec<Value>),
    /// By name, with or without its `:`, `@` or `$`. Missing and unknown names are refused.
    Named(Vec<(String, Value)>),
}

/// SQL text with what is bound to it. The text may hold several statements, but then nothing may be bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statement {
    /// One or more statements, separated by semicolons.
    pub sql: String,
    /// What is bound.
    pub params: Params,
}

/// How the statements of a request hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transaction {
    /// All or nothing; takes its place in the writers' queue before the first statement.
    #[default]
    Immediate,
    /// Each statement commits by itself.
    None,
}

/// Statements that are run one after the other. BEGIN, COMMIT, ROLLBACK and SAVEPOINT are refused: the request is the transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// In this order.
    pub statements: Vec<Statement>,
    /// How they hang together.
    pub transaction: Transaction,
}

impl Request {
    /// Its text, if there is but one.
    pub(crate) fn only(&self) -> Option<&str> {
        if let [Statement { sql, .. }] = &self.statements[..] { Some(sql) } else { None }
    }

    /// Whether each of its texts begins as a read does. Only a guess at which way is worth trying first: SQLite decides what writes.
    pub fn looks_like_reads(&self) -> bool {
        self.statements.iter().all(|statement| {
            let text = statement.sql.trim_start();
            let word = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
            ["select", "values", "with", "explain"].iter().any(|read| word.eq_ignore_ascii_case(read))
        })
    }
}

/// What one request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Rows of one result; what lies beyond is cut off and the result marked `truncated`.
    pub max_rows: u64,
    /// Bytes of all results of one request together: 8 for each value, column and result, and what texts, blobs and names hold. Beyond it
    /// the request fails.
    pub max_result_size: u64,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// How long a request waits for its turn to write.
    pub writer_wait: Duration,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            max_rows: 100_000,
            max_result_size: 10 << 20,
            statement_timeout: Duration::from_secs(30),
            writer_wait: Duration::from_secs(15),
        }
    }
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As in the query; names need not be unique.
    pub name: String,
    /// The declared type of the table's column it comes from, if it comes from one.
    pub decltype: Option<String>,
}

/// What one statement gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResultSet {
    /// Empty for a statement that returns no rows.
    pub columns: Vec<Column>,
    /// In order.
    pub rows: Vec<Vec<Value>>,
    /// There were more rows than `max_rows`.
    pub truncated: bool,
    /// By INSERT, UPDATE and DELETE; 0 for anything else.
    pub rows_affected: u64,
    /// Only after an INSERT that inserted.
    pub last_insert_rowid: Option<i64>,
}

/// What a whole request gave: one result for each statement in its texts.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// In the order of the statements.
    pub results: Vec<ResultSet>,
    /// What the memory held when the last of them ended; unknown within a transaction that stays open.
    pub seen: Option<Commits>,
    /// The memory that the results may take. Whoever copies them to somewhere else keeps it as long.
    pub holding: Option<Holding>,
}

/// What went wrong with a statement, as far as the caller does something different about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SqlErrorKind {
    /// The text is no valid SQL, or names what is not there.
    Statement,
    /// What is bound does not fit the parameters.
    Arguments,
    /// The sandbox or a read-only route forbids it.
    Forbidden,
    /// A constraint of the schema.
    Constraint,
    /// A limit: rows, bytes, depth of expressions, length of a value.
    Limit,
    /// The results are larger than `max_result_size`.
    ResultTooLarge,
    /// The writer was busy for longer than the request may wait. A retry may succeed.
    Busy,
    /// The statement ran longer than it may.
    Timeout,
    /// The database would grow past `limits.maxSize`.
    Full,
    /// The caller went away.
    Cancelled,
    /// The results of all requests together take too much memory just now. A retry may succeed.
    Crowded,
    /// The bucket is too far behind: nothing more is taken that could be lost.
    WritesRefused,
    /// It is committed in memory, and nobody knows whether it is in the bucket: this is no failure, and no success either.
    Unconfirmed,
    /// The open transaction had been rolled back before: by its time limit, by a failure, by a switch of the database.
    TransactionEnded,
    /// The database is damaged, or SQLite failed in a way that is not the caller's doing.
    Internal,
}

/// A statement that failed. Its transaction was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What the caller may do about it.
    pub kind: SqlErrorKind,
    /// SQLite's extended result code, such as 2067; its low byte is the primary one. 0 where the refusal is ours alone.
    pub extended_code: i32,
    /// In SQLite's words, or ours.
    pub message: String,
    /// Byte offset into the text of the failing statement's `sql`, where SQLite tells one.
    pub offset: Option<usize>,
    /// Which entry of [`Request::statements`], from 0.
    pub statement_index: usize,
}
