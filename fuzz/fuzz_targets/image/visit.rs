//! What is done with a database that came from hostile bytes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use memory::rusqlite::limits::Limit;
use memory::rusqlite::{Connection, Error};
use memory::{MemoryDatabase, QueryLimits, Request, Statement, Transaction};
use tokio::runtime::{Builder, Runtime};

/// Virtual machine steps between two looks at what is left.
const STEPS: i32 = 1000;
/// Looks that one statement has. A damaged tree can lead round in a circle for ever.
const LOOKS: u32 = 100;
/// Rows that are read of one query.
const ROWS: usize = 40;
/// Tables and views of the image that are visited.
const TABLES: i64 = 3;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("there is memory for a runtime"));

/// A connection to the database, as the engine's own code has one.
pub struct Visit<'a> {
    database: &'a MemoryDatabase,
    connection: Connection,
    looks: Arc<AtomicU32>,
    tables: Vec<String>,
}

impl<'a> Visit<'a> {
    /// `None` where the damage keeps SQLite from opening it.
    pub fn new(database: &'a MemoryDatabase) -> Option<Self> {
        let mut connection = database.connect().ok()?;
        // An image may name `zeroblob(1000000000)` as a default. Requests have such a limit, too.
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 1 << 20).expect("is a valid limit");
        let looks = Arc::new(AtomicU32::new(0));
        let left = Arc::clone(&looks);
        let must_stop = move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        connection.progress_handler(STEPS, Some(must_stop)).expect("the connection is ours");
        let mut visit = Self { database, connection, looks, tables: Vec::new() };
        visit.tables = visit.tables();
        Some(visit)
    }

    /// What the schema lists; nothing where it cannot be read.
    fn tables(&self) -> Vec<String> {
        self.looks.store(LOOKS, Ordering::Relaxed);
        let names = || -> Result<Vec<String>, Error> {
            let mut query = self.connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') LIMIT ?")?;
            let names = query.query_map([TABLES], |row| row.get::<_, String>(0))?;
            names.map(|name| Ok(format!("\"{}\"", name?.replace('"', "\"\"")))).collect()
        };
        names().unwrap_or_default()
    }

    /// Reads change nothing.
    pub fn read(&self) {
        let before = self.database.pin().commits();
        for sql in ["SELECT * FROM sqlite_schema", "PRAGMA quick_check(5)", "PRAGMA foreign_key_check", "PRAGMA table_list"] {
            _ = self.run(sql);
        }
        for table in &self.tables {
            for rest in ["", " ORDER BY 1 DESC", " WHERE rowid > 3 ORDER BY rowid DESC", "('a* OR b')"] {
                _ = self.run(&format!("SELECT * FROM {table}{rest}"));
            }
            _ = self.run(&format!("SELECT count(*), sum(length(quote(t))) FROM (SELECT {table} AS t FROM {table})"));
            _ = self.run(&format!("PRAGMA index_list({table})"));
        }
        assert_eq!(self.database.pin().commits(), before, "a read committed");
    }

    pub fn write(&self) {
        for table in &self.tables {
            for sql in [
                format!("INSERT INTO {table} DEFAULT VALUES"),
                format!("INSERT OR REPLACE INTO {table} SELECT * FROM {table} ORDER BY 1 LIMIT 3"),
                format!("UPDATE {table} SET rowid = rowid + 100 WHERE rowid % 2"),
                format!("INSERT INTO {table}({table}) VALUES('integrity-check')"),
                format!("DELETE FROM {table} WHERE rowid % 3 = 0"),
            ] {
                self.commit(&sql);
            }
        }
        self.roll_back();
        for sql in [
            "CREATE TABLE of_ours(a INTEGER PRIMARY KEY, b, c)",
            "CREATE INDEX of_ours_too ON of_ours(c)",
            "INSERT INTO of_ours(b, c) VALUES(zeroblob(3000), 1), (2, 'x'), (zeroblob(10), 3)",
            "PRAGMA incremental_vacuum(2)",
            "DELETE FROM of_ours WHERE a = 1",
            "REINDEX",
            "VACUUM",
            "DROP TABLE of_ours",
        ] {
            self.commit(sql);
        }
    }

    /// What is rolled back leaves no trace, whatever failed on the way.
    fn roll_back(&self) {
        let before = self.database.pin().commits();
        if self.run("BEGIN IMMEDIATE").is_ok() {
            for table in &self.tables {
                _ = self.run(&format!("DELETE FROM {table}"));
            }
            _ = self.run("SAVEPOINT s");
            _ = self.run("CREATE TABLE of_ours AS SELECT zeroblob(2000), * FROM sqlite_schema");
            _ = self.run("ROLLBACK TO s");
            // An error may have rolled back already.
            _ = self.run("ROLLBACK");
        }
        assert!(self.connection.is_autocommit(), "a transaction stays open after ROLLBACK");
        assert_eq!(self.database.pin().commits(), before, "what was rolled back was committed");
    }

    /// A statement that fails has changed nothing.
    fn commit(&self, sql: &str) {
        let before = self.database.pin().commits();
        let outcome = self.run(sql);
        assert!(self.connection.is_autocommit(), "{sql} leaves a transaction open");
        let committed = self.database.pin().commits() != before;
        assert!(!committed || outcome.is_ok(), "{sql} failed with {outcome:?} and committed");
    }

    fn run(&self, sql: &str) -> Result<(), Error> {
        self.looks.store(LOOKS, Ordering::Relaxed);
        let mut statement = self.connection.prepare(sql)?;
        let writes = !statement.readonly();
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                _ = row.get_ref(column)?;
            }
            seen += 1;
            if seen == ROWS && !writes {
                break;
            }
        }
        Ok(())
    }

    /// As clients do it: in the sandbox, with its limits.
    pub fn request(&self) {
        let limits = QueryLimits {
            max_rows: ROWS as u64,
            max_result_size: 1 << 20,
            statement_timeout: Duration::from_secs(1),
            writer_wait: Duration::from_secs(1),
        };
        let request =
            |sql: String| Request { statements: vec![Statement { sql, ..Statement::default() }], transaction: Transaction::Immediate };
        RUNTIME.block_on(async {
            for table in &self.tables {
                _ = self.database.read(request(format!("SELECT * FROM {table}")), &limits).await;
                _ = self.database.write(request(format!("DELETE FROM {table} WHERE rowid = 2; SELECT * FROM {table}")), &limits).await;
            }
        });
    }
}
