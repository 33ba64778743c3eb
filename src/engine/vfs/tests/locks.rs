//! Which locks SQLite asks for, and what a connection is told that may not write.

use super::*;

/// Every kind of transaction, on one connection after the other.
const WORK: [&str; 12] = [
    "SELECT count(*) FROM t",
    "BEGIN; SELECT count(*) FROM t; INSERT INTO t(b) VALUES(1); COMMIT",
    "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(1); ROLLBACK",
    "BEGIN EXCLUSIVE; COMMIT",
    "BEGIN EXCLUSIVE; INSERT INTO t(b) VALUES(1); COMMIT",
    "BEGIN; SAVEPOINT s; DELETE FROM t WHERE a < 50; ROLLBACK TO s; RELEASE s; COMMIT",
    "PRAGMA cache_size = 4; BEGIN; UPDATE t SET b = zeroblob(900); ROLLBACK",
    "UPDATE t SET b = zeroblob(901)",
    "CREATE TABLE u(a); DROP TABLE u",
    "PRAGMA user_version = 3",
    "DELETE FROM t WHERE a > 100; VACUUM",
    "PRAGMA integrity_check",
];

/// SHARED goes to EXCLUSIVE without RESERVED only for a hot journal, of which there is none.
#[test]
fn locks_are_taken_one_level_after_the_other_and_given_back_down_to_shared_or_none() {
    let (_database, writer) = filled();
    let recording = Recording::start();
    for sql in WORK {
        finish(&writer, sql);
    }
    run(&writer, "BEGIN; DELETE FROM t");
    drop(writer);
    let mut level = Lock::None;
    for call in recording.calls() {
        level = match (level, call) {
            (Lock::Shared, Call::Lock(Lock::Reserved)) => Lock::Reserved,
            (Lock::Reserved, Call::Lock(Lock::Exclusive)) => Lock::Exclusive,
            (Lock::None, Call::Lock(Lock::Shared)) | (Lock::Reserved | Lock::Exclusive, Call::Unlock(Lock::Shared)) => Lock::Shared,
            (_, Call::Unlock(Lock::None)) => Lock::None,
            (Lock::Exclusive, Call::Write(_) | Call::Truncate(_) | Call::Sync) | (Lock::Reserved | Lock::Exclusive, Call::Commit) => level,
            (level, call) => panic!("{call:?} at {level:?}"),
        };
    }
    assert_eq!(level, Lock::None);
}

#[test]
fn begin_exclusive_shuts_no_reader_out() {
    let (database, writer) = filled();
    let reader = connect(&database, Role::Reader);
    run(&writer, "BEGIN EXCLUSIVE; DELETE FROM t");
    assert_eq!(integer(&reader, "SELECT count(*) FROM t"), 200);
    run(&writer, "COMMIT");
    assert_eq!(integer(&reader, "SELECT count(*) FROM t"), 0);
}

#[test]
fn a_reader_does_not_keep_a_commit_waiting() {
    let (database, writer) = filled();
    let reader = connect(&database, Role::Reader);
    run(&reader, "BEGIN");
    assert_eq!(integer(&reader, "SELECT count(*) FROM t"), 200);
    run(&writer, "DELETE FROM t");
    assert_eq!(integer(&reader, "SELECT count(*) FROM t"), 200);
    run(&reader, "COMMIT");
    assert_eq!(integer(&reader, "SELECT count(*) FROM t"), 0);
}

#[test]
fn a_reader_that_wants_to_write_after_another_committed_is_told_busy_snapshot() {
    let (database, writer) = filled();
    let mut late = connect(&database, Role::Writer);
    // With a read open the handler is not asked: waiting would not make the version newer.
    late.busy_handler(Some(|_| panic!("asked to wait"))).unwrap();
    run(&late, "BEGIN");
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 200);
    run(&writer, "INSERT INTO t(b) VALUES(1)");
    assert_eq!(refused(&late, "INSERT INTO t(b) VALUES(2)"), rusqlite::ffi::SQLITE_BUSY_SNAPSHOT);
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 200);
    run(&late, "ROLLBACK; INSERT INTO t(b) VALUES(2)");
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 202);
}

/// Between SHARED and RESERVED of one statement another connection commits.
fn overtaken(late: &Connection, winner: Connection) -> rusqlite::Result<()> {
    probe::before(Call::Lock(Lock::Reserved), move || run(&winner, "INSERT INTO t(b) VALUES(1)"));
    late.execute_batch("INSERT INTO t(b) VALUES(2)")
}

#[test]
fn a_transaction_that_begins_with_a_write_is_told_busy_where_one_that_has_read_is_told_busy_snapshot() {
    let (database, writer) = filled();
    let late = connect(&database, Role::Writer);
    let error = overtaken(&late, writer).unwrap_err();
    assert_eq!(error.sqlite_error().unwrap().extended_code, BUSY);
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 201);
}

#[test]
fn a_busy_handler_that_says_again_gets_the_newest_version() {
    let (database, writer) = filled();
    let mut late = connect(&database, Role::Writer);
    late.busy_handler(Some(|_| true)).unwrap();
    let recording = Recording::start();
    overtaken(&late, writer).unwrap();
    // The overtaken one lets go of its version before it tries again.
    let calls = recording.calls();
    let again = &calls[calls.iter().rposition(|call| *call == Call::Lock(Lock::Shared)).unwrap() - 1..];
    assert_eq!(again[..3], [Call::Unlock(Lock::None), Call::Lock(Lock::Shared), Call::Lock(Lock::Reserved)]);
    assert_eq!(integer(&late, "SELECT count(*) FROM t"), 202);
}

#[test]
fn a_second_writer_is_busy_and_closing_the_first_lets_it_in() {
    let (database, writer) = filled();
    let second = connect(&database, Role::Writer);
    run(&writer, "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(1)");
    assert_eq!(refused(&second, "BEGIN IMMEDIATE"), BUSY);
    assert_eq!(integer(&second, "SELECT count(*) FROM t"), 200);
    drop(writer);
    run(&second, "BEGIN IMMEDIATE; COMMIT");
    assert_eq!(integer(&second, "SELECT count(*) FROM t"), 200);
}

#[test]
fn a_connection_that_closes_in_a_transaction_rolls_it_back_and_unlocks() {
    for spill in ["PRAGMA cache_spill = OFF", SPILL] {
        let (database, writer) = filled();
        let before = image(&database);
        run(&writer, spill);
        run(&writer, "BEGIN; UPDATE t SET b = zeroblob(900)");
        assert!(database.store().is_writing());
        let recording = Recording::start();
        drop(writer);
        assert_eq!(recording.calls().last(), Some(&Call::Unlock(Lock::None)));
        assert!(!database.store().is_writing());
        assert!(image(&database) == before);
        assert_eq!(database.store().memory_use().pinned, 0);
    }
}

/// While nothing is read, nothing is pinned: a version lives as long as a transaction.
#[test]
fn a_connection_at_rest_holds_no_version() {
    let (database, writer) = filled();
    let reader = connect(&database, Role::Reader);
    assert_eq!(integer(&reader, "SELECT count(*) FROM t"), 200);
    let version = Arc::downgrade(&database.store().pin());
    assert_eq!(version.strong_count(), 1);
    run(&reader, "BEGIN");
    assert_eq!(version.strong_count(), 1);
    assert_eq!(integer(&reader, "SELECT count(*) FROM t"), 200);
    assert_eq!(version.strong_count(), 2);
    run(&reader, "COMMIT");
    run(&writer, "BEGIN IMMEDIATE; ROLLBACK");
    assert_eq!(version.strong_count(), 1);
}

#[test]
fn without_the_writers_lock_nothing_is_written() {
    let (database, _writer) = filled();
    let mut file = file(&database, Lock::Shared);
    assert_eq!(file.write(0, &[0; 4096]), Err(Refusal::Misplaced));
    assert_eq!(file.truncate(0), Err(Refusal::Misplaced));
}

/// SQLite's interface hands a file over as a pointer, so the compiler does not see it move.
#[test]
fn a_connection_may_go_to_another_thread_in_the_middle_of_a_transaction() {
    fn may_move<T: Send>() {}
    may_move::<File>();
    let (database, writer) = filled();
    run(&writer, "PRAGMA cache_size = 4; BEGIN; UPDATE t SET b = zeroblob(900)");
    let writer = std::thread::spawn(move || {
        run(&writer, "UPDATE t SET b = zeroblob(800); COMMIT");
        writer
    });
    assert_eq!(integer(&writer.join().unwrap(), "SELECT sum(length(b)) FROM t"), 160_000);
    assert_sound(&database);
}

/// In that mode SQLite leaves the change counter alone after the first commit, for nobody else could look, and makes do without shared
/// memory for a WAL, of which it then finds no file.
#[test]
fn exclusive_locking_mode_is_refused_and_with_it_the_way_into_wal() {
    let (database, writer) = filled();
    for sql in ["PRAGMA locking_mode = EXCLUSIVE", "PRAGMA main.Locking_Mode(exclusive)"] {
        assert_eq!(refused(&writer, sql), rusqlite::ffi::SQLITE_AUTH);
    }
    assert_eq!(text(&writer, "PRAGMA locking_mode"), "normal");
    assert_eq!(text(&writer, "PRAGMA journal_mode = WAL"), "memory");
    assert_eq!(image(&database)[18..20], [1, 1]);
    let plain = connect(&database, Role::Writer);
    run(&plain, "PRAGMA mmap_size = 0");
    for number in 0..3 {
        run(&writer, &format!("UPDATE t SET b = {number} WHERE a = 1"));
        assert_eq!(integer(&plain, "SELECT b FROM t WHERE a = 1"), number);
    }
}
