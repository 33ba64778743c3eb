use super::*;

#[tokio::test]
async fn what_leaves_the_database_or_changes_its_rules_is_forbidden() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    for sql in [
        "ATTACH ':memory:' AS other",
        "ATTACH '/etc/passwd' AS other",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '/tmp/stolen.db'",
        "SELECT load_extension('evil.so')",
        "CREATE TEMP TABLE x(a)",
        "CREATE TABLE temp.x(a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE x USING dbstat",
        "CREATE VIRTUAL TABLE x USING fts3(a)",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = WAL",
        "PRAGMA journal_mode = OFF",
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA synchronous = OFF",
        "PRAGMA mmap_size = 0",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA hard_heap_limit = 1",
        "PRAGMA trusted_schema = ON",
        "PRAGMA query_only = OFF",
        "PRAGMA max_page_count = 1",
        "PRAGMA cache_size = 1",
        "SELECT * FROM pragma_hard_heap_limit",
    ] {
        let error = database.write(each(sql), &QueryLimits::default()).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Forbidden, "{sql}: {error}");
        assert!(!error.message.contains("not authorized"), "{sql}: {error}");
    }
    for sql in
        ["SELECT readfile('/etc/passwd')", "SELECT writefile('/tmp/x', 'y')", "SELECT edit('x')", "CREATE VIRTUAL TABLE x USING csv(a)"]
    {
        assert!(database.write(each(sql), &QueryLimits::default()).await.is_err(), "{sql}");
    }
    assert_eq!(database.check(), Ok(()));
}

#[tokio::test]
async fn the_schema_table_cannot_be_written() {
    let database = database();
    write(&database, "CREATE TABLE t(a); CREATE VIRTUAL TABLE f USING fts5(a)").await.unwrap();
    for sql in ["DELETE FROM sqlite_schema", "UPDATE sqlite_schema SET sql = ''", "DELETE FROM f_data", "DROP TABLE f_content"] {
        write(&database, sql).await.unwrap_err();
    }
    assert_eq!(integer(&database, "SELECT count(*) FROM f").await, 0);
}

#[tokio::test]
async fn the_request_is_the_transaction() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    for sql in ["BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "ROLLBACK TO a"] {
        for request in [request(sql), each(sql)] {
            let error = database.write(request.clone(), &QueryLimits::default()).await.unwrap_err();
            assert_eq!(error.kind, SqlErrorKind::Statement, "{sql}");
            assert!(error.message.contains("the request is the transaction"), "{sql}: {error}");
            database.read(request, &QueryLimits::default()).await.unwrap_err();
        }
    }
    write(&database, "INSERT INTO t VALUES(1); COMMIT").await.unwrap_err();
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn a_read_cannot_write() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    for sql in
        ["INSERT INTO t VALUES(1)", "CREATE TABLE u(a)", "PRAGMA user_version = 7", "DROP TABLE t", "SELECT 1; DELETE FROM t RETURNING a"]
    {
        for request in [request(sql), each(sql)] {
            let error = database.read(request, &QueryLimits::default()).await.unwrap_err();
            assert_eq!(error.kind, SqlErrorKind::Forbidden, "{sql}: {error}");
        }
    }
}

#[tokio::test]
async fn settings_end_with_their_request() {
    let database = database();
    write(&database, "CREATE TABLE p(a PRIMARY KEY); CREATE TABLE c(a REFERENCES p)").await.unwrap();
    let checked = each("PRAGMA foreign_keys = ON; INSERT INTO c VALUES(1)");
    let error = database.write(checked, &QueryLimits::default()).await.unwrap_err();
    assert_eq!((error.kind, error.extended_code), (SqlErrorKind::Constraint, 787));
    // Again, now that the statements have been prepared once.
    let checked = each("PRAGMA foreign_keys = ON; INSERT INTO c VALUES(1)");
    assert_eq!(database.write(checked, &QueryLimits::default()).await.unwrap_err().extended_code, 787);
    // Off, as in stock SQLite.
    write(&database, "INSERT INTO c VALUES(1)").await.unwrap();
    write(&database, "PRAGMA recursive_triggers = ON; SELECT 1").await.unwrap();
    let settings = write(&database, "PRAGMA foreign_keys; PRAGMA recursive_triggers").await.unwrap().results;
    assert_eq!([&settings[0].rows, &settings[1].rows], [&[[Value::Integer(0)]], &[[Value::Integer(0)]]]);
}

#[tokio::test]
async fn what_tells_of_the_database_is_allowed() {
    let database = database();
    write(&database, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b); PRAGMA user_version = 5").await.unwrap();
    for (sql, count) in [
        ("PRAGMA table_info(t)", 2),
        ("SELECT * FROM pragma_table_xinfo('t')", 2),
        ("PRAGMA index_list('t')", 1),
        ("PRAGMA user_version", 1),
        ("PRAGMA journal_mode", 1),
        ("PRAGMA integrity_check", 1),
        ("SELECT * FROM json_each('[1,2,3]')", 3),
        ("SELECT * FROM json_tree('[1]')", 2),
        ("SELECT * FROM sqlite_schema", 2),
        ("EXPLAIN QUERY PLAN SELECT * FROM t WHERE b = 'x'", 1),
    ] {
        assert_eq!(rows(&database, sql).await.len(), count, "{sql}");
    }
    assert_eq!(rows(&database, "PRAGMA journal_mode").await, [[Value::Text("memory".into())]]);
}

#[tokio::test]
async fn full_text_and_spatial_indexes_work() {
    let database = database();
    write(&database, "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES('the quick fox'), ('a lazy dog')").await.unwrap();
    write(&database, "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 0, 10), (2, 20, 30)").await.unwrap();
    write(&database, "CREATE VIRTUAL TABLE v USING fts5vocab(f, row)").await.unwrap();
    assert_eq!(integer(&database, "SELECT rowid FROM f WHERE f MATCH 'lazy'").await, 2);
    assert_eq!(integer(&database, "SELECT id FROM r WHERE x0 > 15").await, 2);
    assert_eq!(integer(&database, "SELECT count(*) FROM v").await, 6);
    write(&database, "INSERT INTO f(f) VALUES('optimize'); DELETE FROM r; DROP TABLE v; DROP TABLE f; DROP TABLE r").await.unwrap();
    assert_eq!(database.check(), Ok(()));
}

#[tokio::test]
async fn tables_and_columns_are_renamed_and_dropped() {
    let database = database();
    write(&database, "CREATE TABLE t(a, b); CREATE INDEX i ON t(b); CREATE VIEW v AS SELECT a FROM t").await.unwrap();
    write(&database, "ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME COLUMN a TO c; ALTER TABLE u ADD COLUMN d").await.unwrap();
    write(&database, "DROP INDEX i; ALTER TABLE u DROP COLUMN b; DROP VIEW v; INSERT INTO u(c, d) VALUES(1, 2)").await.unwrap();
    assert_eq!(integer(&database, "SELECT c + d FROM u").await, 3);
    for schema in ["sqlite_temp_master", "sqlite_temp_schema"] {
        let error = write(&database, &format!("UPDATE {schema} SET sql = ''")).await.unwrap_err();
        assert!(error.message.contains("may not be modified"), "{error}");
    }
}
