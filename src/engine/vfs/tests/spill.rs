//! Pages that are written before the commit, and how they are undone.

use super::*;

fn truncates(calls: &[Call]) -> usize {
    calls.iter().filter(|call| matches!(call, Call::Truncate(_))).count()
}

#[test]
fn a_spill_takes_exclusive_and_writes_without_sync() {
    let (database, writer) = filled();
    let reader = connect(&database, Role::Reader);
    run(&writer, SPILL);
    let recording = Recording::start();
    run(&writer, "BEGIN; UPDATE t SET b = zeroblob(900)");
    assert_eq!(outline(&recording.calls()), ["Lock(Shared)", "Lock(Reserved)", "Lock(Exclusive)", "write"]);
    // What is spilled is seen by its own transaction only.
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 180_000);
    assert_eq!(integer(&reader, "SELECT sum(length(b)) FROM t"), 200_000);
    recording.calls();
    run(&writer, "COMMIT");
    assert_eq!(outline(&recording.calls()), ["write", "Sync", "Commit", "Unlock(Shared)", "Unlock(None)"]);
    assert_eq!(integer(&reader, "SELECT sum(length(b)) FROM t"), 180_000);
}

#[test]
fn a_rollback_without_spill_touches_no_page() {
    let (database, writer) = filled();
    let before = image(&database);
    let recording = Recording::start();
    run(&writer, "BEGIN; UPDATE t SET b = zeroblob(900); INSERT INTO t(b) VALUES(zeroblob(9000)); ROLLBACK");
    assert_eq!(outline(&recording.calls()), ["Lock(Shared)", "Lock(Reserved)", "Unlock(Shared)", "Unlock(None)"]);
    assert!(image(&database) == before);
}

/// Dropping the stage at the unlock would do, but SQLite does not know.
#[test]
fn a_rollback_after_a_spill_truncates_writes_the_old_pages_and_syncs_before_it_unlocks() {
    let (database, writer) = filled();
    let before = image(&database);
    let pages = database.store().pin().count().0;
    run(&writer, SPILL);
    run(&writer, "BEGIN; UPDATE t SET b = zeroblob(3000)");
    let recording = Recording::start();
    run(&writer, "ROLLBACK");
    let calls = recording.calls();
    assert_eq!(outline(&calls), [&format!("Truncate({pages})"), "write", "Sync", "Unlock(Shared)", "Unlock(None)"]);
    assert!(writes(&calls).iter().all(|page| *page <= u64::from(pages)));
    drop(recording);
    assert!(image(&database) == before);
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
    assert_eq!(database.store().memory_use().pinned, 0);
}

#[test]
fn a_failed_statement_after_a_spill_is_written_back_within_the_transaction() {
    let (database, writer) = filled();
    run(&writer, &format!("CREATE TABLE u(a CHECK(a < 200)); {SPILL}; BEGIN; UPDATE t SET b = zeroblob(900)"));
    let recording = Recording::start();
    let failing = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO u SELECT i FROM n";
    run(&writer, "CREATE TRIGGER r AFTER INSERT ON u BEGIN UPDATE t SET b = zeroblob(10) WHERE a = new.a; END");
    recording.calls();
    assert_eq!(refused(&writer, failing), rusqlite::ffi::SQLITE_CONSTRAINT_CHECK);
    let calls = recording.calls();
    // Pages only: no truncate, no sync, and the lock stays.
    assert_eq!(outline(&calls), ["write"]);
    assert_eq!(truncates(&calls), 0);
    assert!(!writer.is_autocommit());
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 180_000);
    assert_eq!(integer(&writer, "SELECT count(*) FROM u"), 0);
    run(&writer, "COMMIT");
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 180_000);
    assert_sound(&database);
}

/// Rolling back to a savepoint makes the database smaller for SQLite only; the file is cut when the transaction commits.
#[test]
fn rollback_to_after_a_spill_leaves_the_cut_to_the_commit() {
    let (database, writer) = filled();
    let pages = database.store().pin().count().0;
    run(&writer, &format!("{SPILL}; BEGIN; UPDATE t SET b = randomblob(1000) WHERE a = 1; SAVEPOINT s"));
    run(&writer, &insert(300, 1000));
    let recording = Recording::start();
    run(&writer, "ROLLBACK TO s");
    assert_eq!(truncates(&recording.calls()), 0);
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 200);
    recording.calls();
    run(&writer, "COMMIT");
    let calls = outline(&recording.calls());
    assert_eq!(calls, ["write", "Sync", &format!("Truncate({pages})"), "Commit", "Unlock(Shared)", "Unlock(None)"]);
    assert_eq!(database.store().pin().count().0, pages);
    assert_sound(&database);
}

#[test]
fn rollback_to_and_on_after_a_spill_commits_what_came_before_and_after() {
    let (database, writer) = filled();
    run(&writer, &format!("{SPILL}; BEGIN; DELETE FROM t WHERE a > 150; SAVEPOINT s"));
    run(&writer, &insert(100, 2000));
    run(&writer, "SAVEPOINT u; DELETE FROM t; ROLLBACK TO u; UPDATE t SET b = 1; ROLLBACK TO s");
    run(&writer, &insert(10, 500));
    run(&writer, "RELEASE s; COMMIT");
    let reader = connect(&database, Role::Reader);
    assert_eq!(integer(&reader, "SELECT count(*) * 1000000 + sum(length(b)) FROM t"), 160_155_000);
    assert_sound(&database);
}

#[test]
fn a_flushed_cache_is_a_spill() {
    let (database, writer) = filled();
    run(&writer, "BEGIN; UPDATE t SET b = zeroblob(900)");
    let recording = Recording::start();
    writer.cache_flush().unwrap();
    assert_eq!(outline(&recording.calls()), ["Lock(Exclusive)", "write"]);
    run(&writer, "ROLLBACK");
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
    assert_sound(&database);
}

/// A page that was free at the beginning is not in the journal: a rollback leaves it to the file, which has it as it was.
#[test]
fn a_rollback_brings_back_pages_that_are_not_in_the_journal() {
    let (database, writer) = filled();
    run(&writer, "DELETE FROM t WHERE a > 50");
    let before = image(&database);
    assert!(integer(&writer, "PRAGMA freelist_count") > 10);
    run(&writer, SPILL);
    run(&writer, "BEGIN");
    run(&writer, &insert(300, 1000));
    run(&writer, "ROLLBACK");
    assert!(image(&database) == before);
    assert_sound(&database);
    run(&writer, &insert(300, 1000));
    assert_sound(&database);
}
