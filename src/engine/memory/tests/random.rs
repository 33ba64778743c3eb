//! Random SQL on our file system and on SQLite's own memory, side by side.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::types::Value as Stored;

use super::*;

/// What a statement gave, or the code with which it failed.
fn run(connection: &Connection, sql: &str) -> Result<Vec<Vec<Stored>>, Option<i32>> {
    let rows = || -> rusqlite::Result<Vec<Vec<Stored>>> {
        let mut statement = connection.prepare(sql)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((0..width).map(|at| row.get(at)).collect::<rusqlite::Result<_>>()?);
        }
        Ok(all)
    };
    rows().map_err(|error| error.sqlite_error().map(|error| error.extended_code))
}

fn statement(random: &mut StdRng, open: bool) -> String {
    let table = ["a", "b", "f"][random.random_range(0..3)];
    let (n, m) = (random.random_range(0..200), random.random_range(0..3000));
    // Both sides must write the same, so blobs are made of numbers instead of `randomblob`.
    let text = format!("printf('%.*c', {m}, 'x') || {n}");
    match random.random_range(0..22) {
        0 => "CREATE TABLE IF NOT EXISTS a(k INTEGER PRIMARY KEY, v TEXT, u UNIQUE)".into(),
        1 => "CREATE TABLE IF NOT EXISTS b(k PRIMARY KEY, v, u CHECK(u <> 7)) WITHOUT ROWID".into(),
        2 => "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(k, v, u)".into(),
        3 => "CREATE INDEX IF NOT EXISTS i ON a(v, u)".into(),
        4 => "CREATE TRIGGER IF NOT EXISTS t AFTER DELETE ON a BEGIN INSERT OR IGNORE INTO b VALUES(old.k, old.v, old.u); END".into(),
        5 => format!("DROP TABLE IF EXISTS {table}"),
        6..=9 => format!("INSERT OR REPLACE INTO {table}(k, v, u) VALUES({n}, {text}, {n} % 50)"),
        10 => format!(
            "INSERT INTO {table}(k, v, u) WITH RECURSIVE n(i) AS (SELECT {n} UNION ALL SELECT i + 1 FROM n WHERE i < {n} + 40) SELECT i, {text}, i FROM n"
        ),
        11 => format!("UPDATE {table} SET v = {text} WHERE k % 7 = {n} % 7"),
        12 => format!("UPDATE {table} SET u = u + 1 WHERE k > {n}"),
        13 => format!("DELETE FROM {table} WHERE k % 5 = {n} % 5"),
        14 if open => "COMMIT".into(),
        15 if open => "ROLLBACK".into(),
        14..=16 if !open => ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"][random.random_range(0..3)].into(),
        17 => format!("SAVEPOINT s{}", n % 3),
        18 => format!("ROLLBACK TO s{}", n % 3),
        19 => format!("RELEASE s{}", n % 3),
        20 => "VACUUM".into(),
        _ => format!("SELECT count(*), sum(length(v)), max(u) FROM {table}"),
    }
}

fn same_as_stock(seed: u64, page_size: u32) {
    let mut random = StdRng::seed_from_u64(seed);
    let page_size = PageSize::new(page_size).unwrap();
    let database = MemoryDatabase::new(MemoryOptions { page_size, ..options() }).unwrap();
    let ours = connection::open_trusted(database.file(), Role::Writer).unwrap();
    let stock = Connection::open_in_memory().unwrap();
    stock
        .execute_batch(&format!("PRAGMA page_size = {}; PRAGMA foreign_keys = OFF; PRAGMA cell_size_check = ON;", page_size.get()))
        .unwrap();
    // So small that most transactions spill.
    ours.execute_batch("PRAGMA cache_size = 8").unwrap();
    for _ in 0..120 {
        let sql = statement(&mut random, !stock.is_autocommit());
        assert_eq!(run(&ours, &sql), run(&stock, &sql), "seed {seed}: {sql}");
        assert_eq!(ours.is_autocommit(), stock.is_autocommit(), "seed {seed}: {sql}");
        if random.random_bool(0.1) {
            // A fresh connection: FTS5 keeps things in memory that its own check finds stale, on stock files as well.
            let reader = connection::open_trusted(database.file(), Role::Reader).unwrap();
            assert_eq!(run(&reader, "PRAGMA integrity_check"), Ok(vec![vec![Stored::Text("ok".into())]]), "seed {seed}: {sql}");
        }
    }
    if !stock.is_autocommit() {
        assert_eq!(run(&ours, "COMMIT"), run(&stock, "COMMIT"), "seed {seed}");
    }
    drop(ours);
    assert_eq!(database.check(), Ok(()), "seed {seed}");
    let bytes = image(&database.pin());
    let again = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
    assert!(image(&again.pin()) == bytes, "seed {seed}");
    let again = connection::open_trusted(again.file(), Role::Reader).unwrap();
    for table in ["a", "b", "f", "sqlite_schema"] {
        let sql = format!("SELECT * FROM {table} ORDER BY 1, 2, 3");
        assert_eq!(run(&again, &sql), run(&stock, &sql), "seed {seed}: {table}");
    }
}

#[test]
fn random_sql_gives_what_stock_sqlite_gives() {
    for seed in 0..60 {
        same_as_stock(seed, [512, 1024, 4096, 65_536][usize::try_from(seed % 4).unwrap()]);
    }
}
