//! Who is measured: databases that are opened alike.

use std::time::Duration;

use engine::{MemoryDatabase, MemoryOptions, SqlPool};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// Ours and its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    /// A private connection that nobody else can read.
    Memory,
    /// SQLite's own shared database in memory.
    Memdb,
    /// A file with a write-ahead log where files live in memory.
    Wal,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Memory => ":memory:",
            Self::Memdb => "memdb",
            Self::Wal => "WAL on tmpfs",
        }
    }
}

/// A database that can be opened again, but for `:memory:`.
pub enum Subject {
    Ours(MemoryDatabase),
    Memory,
    Memdb { name: String, _keeps: Connection },
    Wal { folder: TempDir },
}

impl Subject {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Ours => Self::Ours(MemoryDatabase::new(options()).unwrap()),
            Kind::Memory => Self::Memory,
            Kind::Memdb => {
                let name = "file:/bench?vfs=memdb".to_owned();
                Self::Memdb { _keeps: open(&name), name }
            }
            Kind::Wal => Self::Wal { folder: TempDir::new_in("/dev/shm").unwrap() },
        }
    }

    pub fn connect(&self) -> Connection {
        let connection = match self {
            Self::Ours(database) => return database.connect().unwrap(),
            Self::Memory => Connection::open_in_memory().unwrap(),
            Self::Memdb { name, .. } => open(name),
            Self::Wal { folder } => {
                let connection = open(folder.path().join("bench.db").to_str().unwrap());
                // Reads through the mapping, as ours do.
                connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA mmap_size = 1073741824;").unwrap();
                connection
            }
        };
        connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;").unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }
}

fn open(name: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).unwrap()
}

/// Ours, with room for what is measured.
pub fn options() -> MemoryOptions {
    MemoryOptions { max_size: 4 << 30, ..MemoryOptions::new(SqlPool::new(2.try_into().unwrap())) }
}
