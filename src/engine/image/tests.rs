use std::num::NonZeroUsize;

use rusqlite::Connection;

use super::*;
use crate::clock::SystemClock;
use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn options() -> MemoryOptions {
    MemoryOptions::new(SqlPool::new(NonZeroUsize::MIN))
}

/// A file that stock SQLite wrote.
fn file(setup: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(setup).unwrap();
    connection.close().unwrap();
    std::fs::read(path).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    match load(bytes, 1 << 20, clock()) {
        Err(LoadError::NotADatabase(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("loaded"),
    }
}

#[test]
fn files_of_every_page_size_go_in_and_come_out() {
    for size in [512, 1024, 4096, 65_536] {
        let bytes = file(&format!("PRAGMA page_size = {size}; CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(300000));"));
        let database = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
        database.check().unwrap();
        let mut out = Vec::new();
        database.pin().image().read_to_end(&mut out).unwrap();
        assert!(out == bytes, "{size}");
    }
}

#[test]
fn a_file_in_wal_mode_becomes_one_in_rollback_mode() {
    let bytes = file("PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(TRUNCATE);");
    assert_eq!(bytes[18..20], [2, 2]);
    let database = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
    database.check().unwrap();
    let mut out = Vec::new();
    database.pin().image().read_to_end(&mut out).unwrap();
    assert_eq!(out[18..20], [1, 1]);
    assert!(out[20..] == bytes[20..] && out[..18] == bytes[..18]);
}

#[test]
fn what_is_no_database_is_refused_with_its_reason() {
    let good = file("CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(9000));");
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    assert_eq!(refused(b""), "it has 0 bytes");
    assert_eq!(refused(&good[..99]), "it has 99 bytes");
    assert_eq!(refused(&with(0, b"PK")), "it does not begin with `SQLite format 3`");
    assert_eq!(refused(&with(16, &[0, 0])), "its page size is 0");
    assert_eq!(refused(&with(16, &[0x10, 0x01])), "its page size is 4097");
    assert_eq!(refused(&with(18, &[3, 1])), "its file format versions are 3 and 1");
    assert_eq!(refused(&with(21, &[0])), "its payload fractions are not 64, 32 and 32");
    assert_eq!(refused(&good[..good.len() - 1]), "its size is no multiple of its page size, 4096");
    let pages = good.len() / 4096;
    assert_eq!(refused(&good[..good.len() - 4096]), format!("it should have {pages} pages and has {}", pages - 1));
    assert_eq!(refused(&with(28, &[0xff; 4])), format!("it should have 4294967295 pages and has {pages}"));
}

#[test]
fn an_image_beyond_the_limit_is_refused_before_it_is_read_whole() {
    let start = file("CREATE TABLE t(a)");
    let endless = start.as_slice().chain(io::repeat(0));
    assert!(matches!(load(endless, 100_000, clock()), Err(LoadError::TooLarge { limit: 100_000 })));
}

#[test]
fn a_reader_that_fails_is_no_database() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the line was cut"))
        }
    }
    let start = file("CREATE TABLE t(a)");
    assert!(matches!(load(start.as_slice().chain(Broken), 1 << 20, clock()), Err(LoadError::Read(_))));
}

#[test]
fn damaged_images_give_errors_and_no_panic() {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};
    let good = file(
        "PRAGMA page_size = 1024; CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO t SELECT i, randomblob(i * 7 % 2500) FROM n;",
    );
    let mut random = StdRng::seed_from_u64(4);
    let mut sound = 0;
    for _ in 0..300 {
        let mut bytes = good.clone();
        let from = if random.random_bool(0.2) { 0 } else { 100 };
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(from..bytes.len());
            bytes[at] = random.random();
        }
        let Ok(database) = MemoryDatabase::load(bytes.as_slice(), options()) else { continue };
        sound += u32::from(database.check().is_ok());
        let file = crate::connection::open_trusted(database.file(), crate::connection::Role::Writer).unwrap();
        for sql in
            ["SELECT sum(length(b)) FROM t", "SELECT count(*) FROM t WHERE b > 'x'", "UPDATE t SET b = a RETURNING a", "DELETE FROM t"]
        {
            let Ok(mut statement) = file.prepare(sql) else { continue };
            let mut rows = statement.raw_query();
            while let Ok(Some(_)) = rows.next() {}
        }
    }
    assert!(sound < 150, "most of the damage is found");
}

#[test]
fn a_new_change_counter_does_not_make_an_old_page_count_valid() {
    let mut bytes = file("CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(50000));");
    // So an old SQLite leaves a database that it has grown: without care for the page count, nor for the counter beside it.
    bytes[28..32].copy_from_slice(&2u32.to_be_bytes());
    bytes[24..28].copy_from_slice(&77u32.to_be_bytes());
    let database = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
    database.check().unwrap();
    let mut out = Vec::new();
    database.pin().stamped_image(5).read_to_end(&mut out).unwrap();
    MemoryDatabase::load(out.as_slice(), options()).unwrap().check().unwrap();
}

#[test]
fn names_that_are_not_utf8_are_refused_by_the_check() {
    // `CREATE TABLE t(a ÿ)`, with the ÿ as one byte.
    let change = "UPDATE sqlite_schema SET sql = CAST(x'435245415445205441424c452074286120ff29' AS TEXT)";
    let bytes = file(&format!("CREATE TABLE t(a); PRAGMA writable_schema = ON; {change}"));
    let database = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
    assert_eq!(database.check(), Err("the schema holds names or SQL that are not UTF-8".to_owned()));
    let bytes = file("CREATE TABLE größe(ä); CREATE INDEX ö ON größe(ä)");
    assert_eq!(MemoryDatabase::load(bytes.as_slice(), options()).unwrap().check(), Ok(()));
}
