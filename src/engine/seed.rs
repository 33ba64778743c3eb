//! The tables of the Python package, byte for byte, so that either side finds what the other left.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::clock::WallTime;
use crate::error::Error;
use crate::memory::MemoryDatabase;
use crate::sql::{SqlError, SqlErrorKind};

/// As the package's own statements create them. SQLite keeps this text in the file.
pub(crate) const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS bh_kv (key TEXT PRIMARY KEY, value BLOB NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS filestore (bh_key TEXT PRIMARY KEY, object_key TEXT NOT NULL, size INTEGER NOT NULL, mime TEXT, \
filename TEXT, created_at REAL NOT NULL, metadata TEXT);
CREATE INDEX IF NOT EXISTS idx_filestore_created ON filestore(created_at);
CREATE TABLE IF NOT EXISTS bh_docs (collection TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL, created_at REAL NOT NULL, \
updated_at REAL NOT NULL, PRIMARY KEY (collection, id));
CREATE INDEX IF NOT EXISTS idx_bh_docs_collection ON bh_docs(collection);";

/// A database with the tables, for tests of what works with them.
#[cfg(test)]
pub(crate) fn tables_in_memory() -> rusqlite::Connection {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(TABLES).unwrap();
    connection
}

/// Creates what is missing. Where nothing is, nothing is written, and the database stays clean.
pub(crate) async fn create_tables(memory: &MemoryDatabase) -> Result<(), Error> {
    Ok(memory.update(|transaction| transaction.execute_batch(TABLES).map_err(Into::into)).await?)
}

/// As the package writes times.
pub(crate) fn unix_seconds(time: WallTime) -> f64 {
    time.as_duration().as_secs_f64()
}

/// A time in a row. Where SQL wrote something else than a number it is as old as can be.
pub(crate) fn seconds(row: &Row<'_>, column: usize) -> Result<f64, SqlError> {
    Ok(match row.get_ref(column)? {
        ValueRef::Real(real) => real,
        #[allow(clippy::cast_precision_loss, reason = "a time is less than 2^53 seconds")]
        ValueRef::Integer(integer) => integer as f64,
        ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => f64::NEG_INFINITY,
    })
}

/// What `count(*)` says, which SQLite's integers have a sign for.
pub(crate) fn rows_counted(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

/// Back again, to the microsecond, which is what a REAL of today tells; `None` for what is no time that a calendar knows.
#[allow(clippy::cast_possible_truncation, reason = "what does not fit becomes the farthest number, which is no time either")]
pub(crate) fn wall_time(seconds: f64) -> Option<WallTime> {
    WallTime::from_microsecond((seconds * 1e6).round() as i64).ok()
}

/// The caller of a view wrote no SQL, so an invalid statement means that its table is not as it was made: anybody may drop or alter it.
pub(crate) fn altered(table: &'static str) -> impl Fn(SqlError) -> SqlError {
    move |said| match said.kind {
        SqlErrorKind::Statement => SqlError {
            kind: SqlErrorKind::Constraint,
            message: format!(
                "the table {table} is not as it was made ({}); restore its columns and rows, or drop it and open the database again",
                said.message
            ),
            ..said
        },
        _ => said,
    }
}
