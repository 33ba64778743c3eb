//! The tables of the Python package, byte for byte, so that either side finds what the other left.

use crate::error::Error;
use crate::memory::MemoryDatabase;

/// As the package's own statements create them. SQLite keeps this text in the file.
const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS bh_kv (key TEXT PRIMARY KEY, value BLOB NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS filestore (bh_key TEXT PRIMARY KEY, object_key TEXT NOT NULL, size INTEGER NOT NULL, mime TEXT, \
filename TEXT, created_at REAL NOT NULL, metadata TEXT);
CREATE INDEX IF NOT EXISTS idx_filestore_created ON filestore(created_at);
CREATE TABLE IF NOT EXISTS bh_docs (collection TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL, created_at REAL NOT NULL, \
updated_at REAL NOT NULL, PRIMARY KEY (collection, id));
CREATE INDEX IF NOT EXISTS idx_bh_docs_collection ON bh_docs(collection);";

/// Creates what is missing. Where nothing is, nothing is written, and the database stays clean.
pub(crate) async fn create_tables(memory: &MemoryDatabase) -> Result<(), Error> {
    Ok(memory.update(|transaction| transaction.execute_batch(TABLES).map_err(Into::into)).await?)
}
