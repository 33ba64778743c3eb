//! What SQLite promises to its file systems, as far as we rely on it. Each test names the promise.

use std::ops::Deref;

use rusqlite::Connection;

use super::*;
use crate::clock::SystemClock;
use crate::connection::{self, Role};
use crate::pages::PageSize;

struct Database(Registered);

impl Deref for Database {
    type Target = Registered;

    fn deref(&self) -> &Registered {
        &self.0
    }
}

fn database() -> Database {
    Database(Registered::new(PageStore::new(PageSize::DEFAULT, u64::MAX, Arc::new(SystemClock))))
}

fn open(database: &Database, role: Role) -> Connection {
    connection::open_trusted(database, role).unwrap()
}

fn filled() -> (Database, Connection) {
    let database = database();
    let writer = open(&database, Role::Writer);
    writer
        .execute_batch(
            "CREATE TABLE t(a INTEGER PRIMARY KEY, b);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t(b) SELECT zeroblob(1000) FROM n;",
        )
        .unwrap();
    (database, writer)
}

fn integer(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn code(result: rusqlite::Result<()>) -> i32 {
    result.unwrap_err().sqlite_error().unwrap().extended_code
}

/// The file of a connection of its own, at this lock.
fn file(database: &Database, lock: Lock) -> File {
    let mut file = super::open(&database.file_name()).unwrap();
    if lock > Lock::None {
        file.lock(Lock::Shared).unwrap();
        file.lock(lock).unwrap();
    }
    file
}

#[test]
fn commit_phasetwo_comes_with_every_commit_and_with_no_rollback() {
    let (database, writer) = filled();
    let before = database.store().commits();
    writer.execute_batch("BEGIN; DELETE FROM t; ROLLBACK").unwrap();
    writer.execute_batch("BEGIN; PRAGMA cache_size = 2; UPDATE t SET b = zeroblob(900); ROLLBACK").unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
    assert_eq!(database.store().commits(), before);
    writer.execute_batch("INSERT INTO t(b) VALUES(1)").unwrap();
    assert_eq!(database.store().commits().0, before.0 + 1);
}

#[test]
fn commit_phasetwo_comes_after_the_truncate() {
    let (database, writer) = filled();
    let before = database.store().pin().size();
    writer.execute_batch("DELETE FROM t; VACUUM").unwrap();
    assert_eq!(database.store().pin().size(), 2 * 4096);
    assert!(before > 2 * 4096);
}

#[test]
fn open_memory_keeps_the_journal_in_memory_and_wal_away() {
    let (_database, writer) = filled();
    let mode: String = writer.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "memory");
    let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "memory");
}

#[test]
fn fcntl_sync_comes_before_the_commit_point_even_with_synchronous_off() {
    let (database, writer) = filled();
    let before = database.store().commits();
    database.store().set_max_size(0);
    // SQLITE_FULL
    assert_eq!(code(writer.execute_batch("INSERT INTO t(b) VALUES(zeroblob(100000))")), 13);
    assert_eq!(database.store().commits(), before);
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 200);
    writer.execute_batch("UPDATE t SET b = 1 WHERE a = 7").unwrap();
    database.store().set_max_size(u64::MAX);
    writer.execute_batch("INSERT INTO t(b) VALUES(zeroblob(100000))").unwrap();
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 201);
}

#[test]
fn a_commit_that_ends_beyond_the_limit_is_refused_in_sync() {
    let (database, _writer) = filled();
    let mut file = file(&database, Lock::Exclusive);
    let size = file.size();
    file.write(size, &[1; 4096]).unwrap();
    assert_eq!(file.sync(), Ok(()));
    database.store().set_max_size(size);
    assert_eq!(file.sync(), Err(Refusal::Full));
    file.truncate(size).unwrap();
    assert_eq!(file.sync(), Ok(()));
}

#[test]
fn a_reader_that_wants_to_write_after_another_committed_is_told_busy_snapshot() {
    let (database, writer) = filled();
    let late = open(&database, Role::Writer);
    late.execute_batch("BEGIN").unwrap();
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 200);
    writer.execute_batch("INSERT INTO t(b) VALUES(1)").unwrap();
    // SQLITE_BUSY_SNAPSHOT
    assert_eq!(code(late.execute_batch("INSERT INTO t(b) VALUES(2)")), 517);
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 200);
    late.execute_batch("ROLLBACK; INSERT INTO t(b) VALUES(2)").unwrap();
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 202);
}

#[test]
fn a_second_writer_is_busy_and_closing_the_first_lets_it_in() {
    let (database, writer) = filled();
    let second = open(&database, Role::Writer);
    writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(1)").unwrap();
    // SQLITE_BUSY
    assert_eq!(code(second.execute_batch("BEGIN IMMEDIATE")), 5);
    assert_eq!(integer(&second, "SELECT count(*) FROM t"), 200);
    drop(writer);
    second.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
}

#[test]
fn bytes_24_to_39_change_with_each_commit_so_other_caches_notice() {
    let (database, writer) = filled();
    let reader = open(&database, Role::Reader);
    for count in 200..210 {
        assert_eq!(integer(&reader, "SELECT count(*) FROM t"), count);
        writer.execute_batch("INSERT INTO t(b) VALUES(1)").unwrap();
    }
    writer.execute_batch("CREATE TABLE u(a)").unwrap();
    assert_eq!(integer(&reader, "SELECT count(*) FROM u"), 0);
}

#[test]
fn pages_are_fetched_and_all_of_them_given_back() {
    let (database, writer) = filled();
    let mut file = file(&database, Lock::Shared);
    let address = file.lend(4096, 4096).unwrap().as_ptr();
    assert_eq!(address, database.store().pin().page(page(2)).unwrap().bytes().as_ptr());
    file.give_back();
    assert_eq!(file.lent.count, 0);
    drop(file);
    // A reader that fetched pages and returned them pins nothing.
    let reader = open(&database, Role::Reader);
    assert_eq!(integer(&reader, "SELECT sum(length(b)) FROM t"), 200_000);
    writer.execute_batch("UPDATE t SET b = 1").unwrap();
    assert_eq!(database.store().memory_use().pinned, 0);
}

fn page(number: u64) -> PageNo {
    PageNo::at((number - 1) * 4096, PageSize::DEFAULT).unwrap()
}

#[test]
fn a_lent_page_outlives_the_commit_that_replaces_it() {
    let (database, _writer) = filled();
    let mut file = file(&database, Lock::Exclusive);
    let lent = file.lend(4096, 4096).unwrap().as_ptr();
    let weak = Arc::downgrade(file.base.as_ref().unwrap());
    file.write(4096, &[7; 4096]).unwrap();
    file.commit();
    file.unlock(Lock::None);
    assert!(weak.upgrade().is_some_and(|version| version.page(page(2)).unwrap().bytes().as_ptr() == lent));
    file.give_back();
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_lent_staged_page_keeps_its_bytes_when_it_is_staged_again() {
    let (database, _writer) = filled();
    let mut file = file(&database, Lock::Exclusive);
    file.write(4096, &[7; 4096]).unwrap();
    file.lend(4096, 4096).unwrap();
    file.write(4096, &[8; 4096]).unwrap();
    assert_eq!(file.lent.pages[0].bytes()[0], 7);
    assert_eq!(file.lend(4096, 4096).unwrap()[0], 8);
    file.give_back();
    assert_eq!(file.lent.pages.len(), 2);
    file.give_back();
    assert!(file.lent.pages.is_empty());
}

#[test]
fn a_statement_that_is_open_across_commits_reads_its_own_version() {
    let (database, writer) = filled();
    let reader = open(&database, Role::Reader);
    let mut open_query = reader.prepare("SELECT a, length(b) FROM t").unwrap();
    let mut rows = open_query.raw_query();
    let mut seen = 0;
    while let Some(row) = rows.next().unwrap() {
        assert_eq!(row.get::<_, i64>(1).unwrap(), 1000);
        seen += 1;
        if seen % 10 == 0 {
            writer.execute_batch("UPDATE t SET b = zeroblob(500); DELETE FROM t WHERE a % 2 = 0; INSERT INTO t(b) VALUES(1)").unwrap();
        }
    }
    assert_eq!(seen, 200);
}

#[test]
fn a_connection_that_commits_under_its_own_open_query_keeps_reading() {
    let (_database, writer) = filled();
    let mut open_query = writer.prepare("SELECT a, length(b) FROM t WHERE a <= 200").unwrap();
    let mut rows = open_query.raw_query();
    let mut seen = 0;
    while let Some(row) = rows.next().unwrap() {
        assert_eq!(row.get::<_, i64>(1).unwrap(), 1000);
        seen += 1;
        writer.execute("INSERT INTO t(b) VALUES(zeroblob(3000))", []).unwrap();
    }
    drop(rows);
    assert_eq!(seen, 200);
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 400);
}

#[test]
fn a_short_read_is_filled_with_zeros() {
    let database = database();
    let file = file(&database, Lock::None);
    let mut out = [MaybeUninit::new(0xee); 100];
    assert_eq!(file.read(0, &mut out), Err(Refusal::ShortRead));
    let (filled, _writer) = filled();
    let file = super::open(&filled.file_name()).unwrap();
    assert_eq!(file.read(file.size() - 10, &mut out), Err(Refusal::ShortRead));
}

#[test]
fn only_whole_pages_are_written() {
    let (database, writer) = filled();
    let mut file = file(&database, Lock::Exclusive);
    assert_eq!(file.write(0, &[0; 512]), Err(Refusal::Misplaced));
    assert_eq!(file.write(100, &[0; 4096]), Err(Refusal::Misplaced));
    drop(file);
    // The page size is fixed for a database.
    writer.execute_batch("PRAGMA page_size = 1024; VACUUM").unwrap();
    assert_eq!(integer(&writer, "PRAGMA page_size"), 4096);
}

#[test]
fn without_the_writers_lock_nothing_is_written() {
    let (database, _writer) = filled();
    let mut file = file(&database, Lock::Shared);
    assert_eq!(file.write(0, &[0; 4096]), Err(Refusal::Misplaced));
    assert_eq!(file.truncate(0), Err(Refusal::Misplaced));
}

#[test]
fn a_name_that_stands_for_no_database_cannot_be_opened() {
    let (database, writer) = filled();
    let name = database.file_name();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_CREATE;
    let vfs = vfs_name().unwrap();
    for wrong in ["/0", "x", "/x", "/1/2", &format!("{name}-journal")] {
        assert!(Connection::open_with_flags_and_vfs(wrong, flags, vfs).is_err(), "{wrong}");
    }
    drop(writer);
    drop(database);
    assert!(Connection::open_with_flags_and_vfs(&name, flags, vfs).is_err());
}

#[test]
fn the_time_is_the_hosts() {
    let (_database, writer) = filled();
    assert!(integer(&writer, "SELECT unixepoch('now')") > 1_700_000_000);
}
