//! Random statements. Nothing in them is random to SQLite itself: both sides must write the same.

use super::*;

/// What statements are about.
pub(super) const SCHEMA: [&str; 12] = [
    "CREATE TABLE IF NOT EXISTS a(k INTEGER PRIMARY KEY, v TEXT, u UNIQUE, g AS (length(v)))",
    "CREATE TABLE IF NOT EXISTS b(k PRIMARY KEY, v, u CHECK(u <> 7)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS c(k INTEGER PRIMARY KEY AUTOINCREMENT, v BLOB, u REFERENCES a(k) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(k, v, u)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS r USING rtree_i32(k, x0, x1)",
    "CREATE INDEX IF NOT EXISTS i ON a(v, u)",
    "CREATE INDEX IF NOT EXISTS j ON a(u % 10) WHERE k % 2",
    "CREATE UNIQUE INDEX IF NOT EXISTS l ON b(u, substr(v, 1, 30)) WHERE u > 20",
    "CREATE TRIGGER IF NOT EXISTS t AFTER DELETE ON a BEGIN INSERT OR IGNORE INTO b VALUES(OLD.k, OLD.v, OLD.u); END",
    "CREATE TRIGGER IF NOT EXISTS w BEFORE UPDATE ON b WHEN NEW.u % 5 = 3 BEGIN SELECT CASE NEW.u % 4 WHEN 1 THEN RAISE(ABORT, 'abort') WHEN 2 THEN RAISE(FAIL, 'fail') WHEN 3 THEN RAISE(ROLLBACK, 'rollback') ELSE RAISE(IGNORE) END; END",
    "CREATE TRIGGER IF NOT EXISTS x AFTER INSERT ON c WHEN NEW.u % 3 = 0 BEGIN UPDATE a SET v = v || NEW.k WHERE k = NEW.u; INSERT INTO c(v, u) VALUES(zeroblob(NEW.k % 900), NEW.u + 1); END",
    "CREATE VIEW IF NOT EXISTS y AS SELECT a.k, a.v, b.u FROM a LEFT JOIN b ON a.k = b.k",
];

const DROPS: [&str; 10] =
    ["TABLE a", "TABLE b", "TABLE c", "TABLE f", "TABLE r", "INDEX i", "INDEX l", "TRIGGER t", "VIEW y", "TABLE copy"];

const PRAGMAS: [&str; 10] = [
    "auto_vacuum = FULL",
    "auto_vacuum = INCREMENTAL",
    "auto_vacuum = NONE",
    "incremental_vacuum(3)",
    "incremental_vacuum",
    "foreign_keys = ON",
    "foreign_keys = OFF",
    "recursive_triggers = ON",
    "defer_foreign_keys = ON",
    "foreign_key_check",
];

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from[random.random_range(0..from.len())]
}

/// A text of some length, as an expression.
fn text(random: &mut StdRng) -> String {
    let len = match random.random_range(0..10) {
        0..6 => random.random_range(0..100),
        6..9 => random.random_range(0..3000),
        _ => random.random_range(0..30_000),
    };
    format!("printf('%.*c', {len}, 'x') || ' w{} ' || {}", random.random_range(0..20), random.random_range(0..200))
}

/// A statement that gives rows, one after the other; some of them write before the first.
pub(super) fn rows(random: &mut StdRng) -> String {
    let n = random.random_range(0..200);
    match random.random_range(0..9) {
        0 => "SELECT k, v, u FROM a".into(),
        1 => "SELECT * FROM b WHERE u >= 0 ORDER BY k DESC".into(),
        2 => "SELECT k, length(v) FROM a ORDER BY v, u".into(),
        3 => format!("SELECT rowid, k, u FROM f WHERE f MATCH 'w{}'", n % 20),
        4 => format!("SELECT * FROM r WHERE x0 < {n}"),
        5 => "SELECT * FROM y".into(),
        6 => format!("UPDATE a SET v = v || {n} WHERE k % 3 = 0 RETURNING k, v"),
        7 => format!("DELETE FROM c WHERE k % 4 = {n} % 4 RETURNING k, length(v)"),
        _ => "SELECT k, v FROM c UNION ALL SELECT k, u FROM a".into(),
    }
}

/// Any statement.
pub(super) fn statement(random: &mut StdRng, autocommit: bool) -> String {
    let name = random.random_range(0..3);
    match random.random_range(0..100) {
        0..9 => pick(random, &SCHEMA).into(),
        9..10 => format!("DROP {}", pick(random, &DROPS)),
        10..50 => change(random),
        50..54 => index(random),
        54..62 if autocommit => pick(random, &["BEGIN", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]).into(),
        54..59 => "COMMIT".into(),
        59..62 => "ROLLBACK".into(),
        62..67 => format!("SAVEPOINT s{name}"),
        67..70 => format!("ROLLBACK TO s{name}"),
        70..73 => format!("RELEASE s{name}"),
        73..75 => "VACUUM".into(),
        75..79 => format!("PRAGMA {}", pick(random, &PRAGMAS)),
        79..80 => format!("PRAGMA user_version = {}", random.random_range(0..1000)),
        80..82 => {
            pick(random, &["REINDEX", "ANALYZE", "CREATE TABLE copy AS SELECT * FROM a", "INSERT INTO copy SELECT * FROM copy LIMIT 50"])
                .into()
        }
        82..84 => alter(random),
        84..90 => rows(random),
        _ => summary(random),
    }
}

/// Rows put in, changed and taken out, with every way of meeting a conflict, often in the middle of many rows.
fn change(random: &mut StdRng) -> String {
    let table = pick(random, &["a", "b", "c", "f"]);
    let conflict = pick(random, &["", "", "OR ABORT", "OR FAIL", "OR IGNORE", "OR REPLACE", "OR REPLACE", "OR ROLLBACK"]);
    let (n, m) = (random.random_range(0..200), random.random_range(0..60));
    let text = text(random);
    match random.random_range(0..18) {
        0..4 => format!("INSERT {conflict} INTO {table}(k, v, u) VALUES({n}, {text}, {n} % 50)"),
        4..7 => format!(
            "INSERT {conflict} INTO {table}(k, v, u) WITH RECURSIVE n(i) AS (SELECT {n} UNION ALL SELECT i + 1 FROM n WHERE i < {n} + {m}) SELECT i, substr({text}, 1, i * 10), i % 77 FROM n"
        ),
        7..9 => format!("UPDATE {conflict} {table} SET v = {text} WHERE k % 7 = {n} % 7"),
        9 => format!("UPDATE {conflict} {table} SET u = u + 1 WHERE k > {n}"),
        10 => format!("UPDATE {conflict} {table} SET k = k + 5 WHERE k < {n}"),
        11 => format!("DELETE FROM {table} WHERE k % 5 = {n} % 5"),
        12 => format!("DELETE FROM {table}"),
        13 => format!(
            "INSERT INTO a(k, v, u) VALUES({m}, {text}, {n}), ({n}, 'x', {m}) ON CONFLICT(k) DO UPDATE SET v = substr(v || excluded.v, 1, 9000) ON CONFLICT DO NOTHING RETURNING k, u"
        ),
        14 => format!("INSERT INTO c(v, u) VALUES(zeroblob({}), {n})", n * m * 9),
        15 => format!("UPDATE c SET v = CAST(substr({text} || v, 1, 60000) AS BLOB) WHERE k % 6 = {n} % 6"),
        16 => format!("INSERT {conflict} INTO c(v, u) SELECT v, u FROM a WHERE k < {m}"),
        _ => format!("UPDATE a SET v = b.v FROM b WHERE a.k = b.k AND b.u < {m}"),
    }
}

/// Changes to the full-text and the spatial index.
fn index(random: &mut StdRng) -> String {
    let (n, m) = (random.random_range(0..200), random.random_range(1..60));
    match random.random_range(0..8) {
        0..3 => format!(
            "INSERT OR REPLACE INTO r WITH RECURSIVE n(i) AS (SELECT {n} UNION ALL SELECT i + 1 FROM n WHERE i < {n} + {m}) SELECT i, i * 7 % 90, i * 7 % 90 + {m} FROM n"
        ),
        3 => format!("INSERT INTO r VALUES({n}, {n}, {m})"),
        4 => format!("DELETE FROM r WHERE x0 BETWEEN {m} AND {n}"),
        5 => format!("UPDATE r SET x1 = x1 + {m} WHERE k % 3 = 0"),
        6 => format!("INSERT INTO f(f) VALUES('{}')", pick(random, &["optimize", "rebuild", "integrity-check"])),
        _ => format!("INSERT INTO f(f, rank) VALUES('{}', {m})", pick(random, &["merge", "usermerge", "crisismerge", "pgsz"])),
    }
}

fn alter(random: &mut StdRng) -> String {
    let table = pick(random, &["a", "b", "c", "copy"]);
    pick(
        random,
        &[
            "ALTER TABLE # ADD COLUMN extra DEFAULT 'extra'",
            "ALTER TABLE # DROP COLUMN extra",
            "ALTER TABLE # RENAME COLUMN extra TO other",
            "ALTER TABLE # DROP COLUMN other",
        ],
    )
    .replace('#', table)
}

/// A question with a short answer.
fn summary(random: &mut StdRng) -> String {
    let table = pick(random, &["a", "b", "c", "f", "y"]);
    let n = random.random_range(0..200);
    match random.random_range(0..7) {
        0..3 => format!("SELECT count(*), sum(length(v)), max(u), min(k) FROM {table}"),
        3 => format!("SELECT count(*), sum(rowid) FROM f WHERE f MATCH 'w{} OR w{}'", n % 20, n % 7),
        4 => format!("SELECT count(*), sum(x0), max(x1) FROM r WHERE x0 <= {n} AND x1 >= {n}"),
        5 => "SELECT type, name, rootpage, sql FROM sqlite_schema".into(),
        _ => "SELECT * FROM pragma_page_count, pragma_freelist_count, pragma_user_version, pragma_auto_vacuum".into(),
    }
}
