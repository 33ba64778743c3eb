//! The two sides that must agree.

use tempfile::TempDir;

use super::*;

/// What a database is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One connection, from a database without a page on, beside `:memory:`.
    Alone,
    /// Several connections, beside as many on a file in WAL mode, which has our rules: a reader keeps its version, the writer does not wait
    /// for it, a second writer is busy, and who read too early is told so.
    Several,
}

pub(super) struct Sides {
    pub(super) kind: Kind,
    page_size: PageSize,
    database: MemoryDatabase,
    ours: Vec<Connection>,
    stock: Vec<Connection>,
    folder: TempDir,
}

const SEVERAL: usize = 3;

impl Sides {
    pub(super) fn open(kind: Kind, page_size: PageSize, auto_vacuum: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stock.db");
        let (database, count) = match kind {
            Kind::Alone => (MemoryDatabase::over(PageStore::new(page_size, u64::MAX, Arc::new(SystemClock)), options()), 1),
            Kind::Several => (MemoryDatabase::new(MemoryOptions { page_size, ..options() }).unwrap(), SEVERAL),
        };
        let first = format!("PRAGMA page_size = {}; PRAGMA auto_vacuum = {auto_vacuum};", page_size.get());
        let ours = (0..count).map(|_| {
            let connection = database.connect().unwrap();
            // So few pages that most transactions spill.
            connection.execute_batch(&format!("PRAGMA cache_size = 8; {first}")).unwrap();
            connection
        });
        let stock = (0..count).map(|_| {
            let connection = match kind {
                Kind::Alone => Connection::open_in_memory().unwrap(),
                Kind::Several => Connection::open(&file).unwrap(),
            };
            // As ours: to wait would be in vain, since all run on this thread.
            connection.busy_timeout(Duration::ZERO).unwrap();
            connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; {first}")).unwrap();
            connection
        });
        let sides = Self { kind, page_size, ours: ours.collect(), stock: stock.collect(), database, folder };
        if kind == Kind::Several {
            // Our database has its first page already, so that only VACUUM changes its mode.
            sides.ours[0].execute_batch("VACUUM").unwrap();
            let mode: String = sides.stock[0].query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
            // What a connection knows of the schema, right or stale, shows in some answers.
            for connection in sides.ours.iter().chain(&sides.stock) {
                connection.execute_batch("SELECT * FROM sqlite_schema").unwrap();
            }
        }
        sides
    }

    pub(super) fn connections(&self) -> usize {
        self.ours.len()
    }

    /// Ours and stock's.
    pub(super) fn pair(&self, at: usize) -> (&Connection, &Connection) {
        (&self.ours[at], &self.stock[at])
    }

    pub(super) fn is_autocommit(&self, at: usize) -> bool {
        self.stock[at].is_autocommit()
    }

    /// What others see is what stock's others see, sound, and the same after it was written out and loaded. Nobody else can look into
    /// `:memory:`, so there the connections themselves are asked, and no statement of theirs may be open.
    pub(super) fn compare_committed(&self) {
        let expected = match self.kind {
            Kind::Alone if !self.is_autocommit(0) => return,
            Kind::Alone => {
                let (ours, stock) = self.pair(0);
                let expected = content(stock);
                assert_same("our own connection's rows", &content(ours), &expected);
                expected
            }
            Kind::Several => content(&Connection::open(self.folder.path().join("stock.db")).unwrap()),
        };
        let reader = connection::open_trusted(self.database.file(), Role::Reader).unwrap();
        assert_same("our committed rows", &content(&reader), &expected);
        assert_eq!(self.database.check(), Ok(()));
        let bytes = image(&self.database.pin());
        assert_eq!(bytes.len() as u64, pages(&reader) * u64::from(self.page_size.get()), "bytes of the image");
        if !bytes.is_empty() {
            let again = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
            assert!(image(&again.pin()) == bytes, "the image changes when it is loaded");
            assert_same("rows written out and loaded", &content(&again.connect().unwrap()), &expected);
            assert!(self.database.memory_use().live <= again.memory_use().live, "pages that were cut off are still held");
        }
    }

    /// With no statement open, nobody holds an old page, neither before the connections are closed nor after.
    pub(super) fn end(mut self) {
        self.compare_committed();
        for _ in 0..2 {
            let memory = self.database.memory_use();
            assert_eq!(memory.pinned, 0, "bytes that only older versions hold");
            self.ours.clear();
        }
    }
}

fn pages(connection: &Connection) -> u64 {
    connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
}

/// All that a statement tells.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    rows: Result<Vec<Vec<Stored>>, Failure>,
    autocommit: bool,
    changes: (u64, u64),
    last_insert_rowid: i64,
}

impl Answer {
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.rows.as_ref().err()
    }
}

/// Extended code and message.
pub(super) type Failure = (Option<i32>, String);

/// What SQLite said, so that it can be compared.
pub(super) fn told<T>(result: rusqlite::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| (error.sqlite_error().map(|error| error.extended_code), error.to_string()))
}

pub(super) fn answer(connection: &Connection, sql: &str) -> Answer {
    Answer {
        rows: told(all(connection, sql)),
        autocommit: connection.is_autocommit(),
        changes: (connection.changes(), connection.total_changes()),
        last_insert_rowid: connection.last_insert_rowid(),
    }
}

pub(super) fn values(row: &rusqlite::Row<'_>, width: usize) -> Vec<Stored> {
    (0..width).map(|at| row.get(at).unwrap()).collect()
}

fn all(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<Vec<Stored>>> {
    let mut statement = connection.prepare(sql)?;
    let width = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(values(row, width));
    }
    Ok(all)
}

/// What a SELECT or PRAGMA gives.
type Part = (String, Result<Vec<Vec<Stored>>, Failure>);

/// Every row of every table, the schema's and the shadow tables' with them, and how many pages there are.
fn content(connection: &Connection) -> Vec<Part> {
    // All of it from one version.
    connection.execute_batch("BEGIN").unwrap();
    let tables = all(connection, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let table = |row: &Vec<Stored>| match &row[..] {
        [Stored::Text(name)] => format!("SELECT * FROM \"{name}\""),
        other => panic!("{other:?}"),
    };
    let others = ["SELECT * FROM sqlite_schema", "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA auto_vacuum", "PRAGMA user_version"];
    let parts = tables.iter().map(table).chain(others.map(str::to_owned));
    let content = parts.map(|sql| {
        let rows = told(all(connection, &sql));
        (sql, rows)
    });
    let content = content.collect();
    connection.execute_batch("COMMIT").unwrap();
    content
}

/// Names the first part that differs instead of printing all of them.
fn assert_same(whose: &str, ours: &[Part], stock: &[Part]) {
    for (ours, stock) in ours.iter().zip(stock) {
        assert_eq!(ours, stock, "{whose} and stock's");
    }
    assert_eq!(ours.len(), stock.len(), "{whose} and stock's tables");
}
