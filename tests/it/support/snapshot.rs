//! An object of the bucket, opened by plain SQLite.

use rusqlite::Connection;
use rusqlite::types::FromSql;
use tempfile::TempDir;

/// A database file on disk, gone with this value.
pub(crate) struct Snapshot {
    connection: Connection,
    _folder: TempDir,
}

impl Snapshot {
    /// Fails the test unless the bytes are a sound database.
    pub(crate) fn open(bytes: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("snapshot.db");
        std::fs::write(&path, bytes).unwrap();
        let snapshot = Self { connection: Connection::open(path).unwrap(), _folder: folder };
        assert_eq!(snapshot.value::<String>("pragma integrity_check"), "ok");
        snapshot
    }

    /// A database that these statements make, as a file.
    pub(crate) fn bytes_of(sql: &str) -> Vec<u8> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("made.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        std::fs::read(path).unwrap()
    }

    /// The first column of the first row.
    pub(crate) fn value<T: FromSql>(&self, sql: &str) -> T {
        self.connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}
