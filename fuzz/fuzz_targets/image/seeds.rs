//! Small databases of every kind, for the fuzzer to damage. Stock SQLite writes them.

use std::path::Path;

use memory::rusqlite::{Connection, Result};

const CONTENTS: [(&str, &str); 6] = [
    (
        "tables",
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c DEFAULT 'x'); CREATE INDEX i ON t(b); CREATE INDEX part ON t(c) WHERE a > 4;
         CREATE TABLE w(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID; CREATE TABLE auto(a INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO t(b) SELECT hex(i * i * 7919) FROM n;
         INSERT INTO w SELECT a % 5, b FROM t; INSERT INTO auto(b) SELECT b FROM t WHERE a < 20;",
    ),
    (
        "overflow",
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b);
         INSERT INTO t VALUES(1, zeroblob(3000)), (2, hex(zeroblob(2500))), (3, 'short'), (4, zeroblob(7000)); DELETE FROM t WHERE a = 4;",
    ),
    (
        "schema",
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b CHECK(b IS NOT 7), c AS (b || 'x') STORED, d REFERENCES t(a) ON DELETE CASCADE);
         CREATE VIEW v AS SELECT a, c FROM t WHERE b > 1; CREATE INDEX e ON t(length(b)); CREATE TABLE log(a, b NOT NULL DEFAULT 1);
         CREATE TRIGGER after_insert AFTER INSERT ON t BEGIN INSERT INTO log(a) VALUES(new.a); END;
         CREATE TRIGGER instead INSTEAD OF DELETE ON v BEGIN DELETE FROM t WHERE a = old.a; END;
         INSERT INTO t(b) VALUES(1), ('two'), (3.5), (x'04'), (NULL); CREATE TABLE s(a INTEGER, b TEXT) STRICT;
         ALTER TABLE log ADD COLUMN c DEFAULT 5; ANALYZE;",
    ),
    (
        "fts5",
        "CREATE VIRTUAL TABLE f USING fts5(a, b, prefix='2'); INSERT INTO f VALUES('a few words', 'about boats'), ('and bees', 'a bone');
         INSERT INTO f VALUES('more', 'words about bones'); DELETE FROM f WHERE rowid = 2; INSERT INTO f(f) VALUES('optimize');",
    ),
    (
        "rtree",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) INSERT INTO r SELECT i, i, i + 2, -i, i FROM n;",
    ),
    ("empty", "CREATE TABLE t(a); DROP TABLE t;"),
];

const MODES: [(&str, &str); 4] = [
    ("plain", ""),
    ("full", "PRAGMA auto_vacuum = FULL;"),
    ("incremental", "PRAGMA auto_vacuum = INCREMENTAL;"),
    ("utf16", "PRAGMA encoding = 'UTF-16le';"),
];

/// Writes them into the folder that `SEEDS` names, if it is set. libFuzzer reads its corpus after that.
pub fn write() {
    if let Some(folder) = std::env::var_os("SEEDS") {
        databases(Path::new(&folder)).expect("stock SQLite writes its files");
    }
}

fn databases(folder: &Path) -> Result<()> {
    for page_size in [512, 1024, 4096] {
        for (mode, setup) in MODES {
            for (content, sql) in CONTENTS {
                let file = folder.join(format!("{content}-{mode}-{page_size}"));
                database(&file, &format!("PRAGMA page_size = {page_size}; {setup} {sql}"))?;
            }
        }
    }
    // The header of a file in WAL mode, of which the WAL is gone.
    database(&folder.join("wal"), &format!("PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; {}", CONTENTS[0].1))
}

fn database(file: &Path, sql: &str) -> Result<()> {
    // One that is left from an earlier run would make the statements fail.
    _ = std::fs::remove_file(file);
    let connection = Connection::open(file)?;
    connection.execute_batch(sql)?;
    connection.close().map_err(|(_, error)| error)
}
