//! From what SQLite says went wrong to what the caller may do about it.

use rusqlite::Error;
use rusqlite::ffi;

use super::{SqlError, SqlErrorKind};

impl SqlError {
    /// A refusal of ours, which SQLite knows nothing of.
    pub fn ours(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, extended_code: 0, message: message.into(), offset: None, statement_index: 0 }
    }

    pub(crate) fn result_too_large(limit: u64) -> Self {
        Self::ours(SqlErrorKind::ResultTooLarge, format!("the results are larger than {limit} bytes"))
    }

    /// Whether it may be another one where the database has other rows, or another schema.
    pub(crate) fn tells_of_data(&self) -> bool {
        match self.kind {
            SqlErrorKind::Statement
            | SqlErrorKind::Constraint
            | SqlErrorKind::Limit
            | SqlErrorKind::ResultTooLarge
            | SqlErrorKind::Full
            | SqlErrorKind::Internal => true,
            SqlErrorKind::Arguments
            | SqlErrorKind::Forbidden
            | SqlErrorKind::Busy
            | SqlErrorKind::Timeout
            | SqlErrorKind::Cancelled
            | SqlErrorKind::Crowded
            | SqlErrorKind::WritesRefused
            | SqlErrorKind::Unconfirmed
            | SqlErrorKind::TransactionEnded => false,
        }
    }

    /// SQLite's primary result code.
    pub(crate) fn primary_code(&self) -> i32 {
        self.extended_code & 0xff
    }

    /// For an entry of [`super::Request::statements`] of which the failing statement began at this byte.
    #[must_use]
    pub fn at(mut self, statement_index: usize, begin: usize) -> Self {
        self.statement_index = statement_index;
        self.offset = self.offset.map(|offset| offset + begin);
        self
    }
}

impl From<&Error> for SqlError {
    fn from(error: &Error) -> Self {
        match error {
            Error::SqliteFailure(code, message) => {
                let message = message.clone().unwrap_or_else(|| ffi::code_to_str(code.extended_code).to_owned());
                Self {
                    kind: kind(code.extended_code, &message),
                    extended_code: code.extended_code,
                    ..Self::ours(SqlErrorKind::Statement, message)
                }
            }
            Error::SqlInputError { error, msg, offset, .. } => Self {
                kind: kind(error.extended_code, msg),
                extended_code: error.extended_code,
                offset: usize::try_from(*offset).ok(),
                ..Self::ours(SqlErrorKind::Statement, msg.clone())
            },
            other => Self::ours(SqlErrorKind::Statement, other.to_string()),
        }
    }
}

impl From<Error> for SqlError {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

fn kind(extended_code: i32, message: &str) -> SqlErrorKind {
    match extended_code & 0xff {
        ffi::SQLITE_AUTH | ffi::SQLITE_READONLY => SqlErrorKind::Forbidden,
        ffi::SQLITE_CONSTRAINT => SqlErrorKind::Constraint,
        ffi::SQLITE_FULL => SqlErrorKind::Full,
        ffi::SQLITE_TOOBIG => SqlErrorKind::Limit,
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => SqlErrorKind::Busy,
        ffi::SQLITE_INTERRUPT => SqlErrorKind::Cancelled,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_IOERR | ffi::SQLITE_NOMEM | ffi::SQLITE_CANTOPEN | ffi::SQLITE_INTERNAL => {
            SqlErrorKind::Internal
        }
        ffi::SQLITE_ERROR if tells_of_limit(message) => SqlErrorKind::Limit,
        _ => SqlErrorKind::Statement,
    }
}

/// SQLite has no code for most of its limits, only these words.
fn tells_of_limit(message: &str) -> bool {
    message.starts_with("too many ")
        || message.starts_with("Expression tree is too large")
        || message.starts_with("LIKE or GLOB pattern too complex")
        || message.starts_with("parser stack overflow")
        || message.starts_with("triggers nested too deep")
        || message.starts_with("at most 64 tables in a join")
}
