//! In which order a transaction reaches the file, and where its commit point lies.

use super::*;

/// From the first lock to the last, for one that only takes SHARED in between.
const BEGIN: [&str; 3] = ["Lock(Shared)", "Lock(Reserved)", "Lock(Exclusive)"];
const END: [&str; 2] = ["Unlock(Shared)", "Unlock(None)"];

fn transaction(middle: &[&'static str]) -> Vec<&'static str> {
    [&BEGIN, middle, &END].concat()
}

#[test]
fn a_commit_writes_then_syncs_then_commits_then_unlocks() {
    let (_database, writer) = filled();
    let recording = Recording::start();
    run(&writer, "UPDATE t SET b = 1 WHERE a = 7");
    let calls = recording.calls();
    assert_eq!(outline(&calls), transaction(&["write", "Sync", "Commit"]));
    // Page 1 carries the change counter, so each commit has it.
    assert_eq!(writes(&calls)[0], 1);
    assert_eq!(writes(&calls).len(), 2);
}

#[test]
fn a_commit_writes_its_pages_in_order_and_each_once() {
    let (_database, writer) = filled();
    let recording = Recording::start();
    run(&writer, "UPDATE t SET b = zeroblob(1500)");
    let pages = writes(&recording.calls());
    assert!(pages.len() > 20);
    assert!(pages.is_sorted_by(|one, next| one < next));
}

#[test]
fn a_transaction_that_changes_nothing_is_neither_written_nor_synced() {
    let (database, writer) = filled();
    let before = database.store().commits();
    let recording = Recording::start();
    run(&writer, "BEGIN IMMEDIATE; COMMIT");
    assert_eq!(outline(&recording.calls()), transaction(&["Commit"]));
    assert_eq!(database.store().commits(), before);
}

#[test]
fn a_read_takes_shared_and_never_commits() {
    let (_database, writer) = filled();
    let recording = Recording::start();
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 200);
    assert_eq!(recording.calls(), [Call::Lock(Lock::Shared), Call::Unlock(Lock::None)]);
}

#[test]
fn commit_phasetwo_comes_with_every_commit_and_with_no_rollback() {
    let (database, writer) = filled();
    let before = database.store().commits();
    run(&writer, "BEGIN; DELETE FROM t; ROLLBACK");
    run(&writer, "BEGIN; PRAGMA cache_size = 2; UPDATE t SET b = zeroblob(900); ROLLBACK");
    run(&writer, "BEGIN IMMEDIATE; COMMIT");
    assert_eq!(database.store().commits(), before);
    run(&writer, "INSERT INTO t(b) VALUES(1)");
    assert_eq!(database.store().commits().0, before.0 + 1);
}

#[test]
fn a_commit_that_shrinks_truncates_after_sync_and_before_commit_phasetwo() {
    let (database, writer) = filled();
    let before = database.store().pin().size();
    run(&writer, "DELETE FROM t");
    let recording = Recording::start();
    run(&writer, "VACUUM");
    let calls = recording.calls();
    let end = outline(&calls).split_off(outline(&calls).len() - 6);
    assert_eq!(end, ["write", "Sync", "Truncate(2)", "Commit", "Unlock(Shared)", "Unlock(None)"]);
    assert_eq!(database.store().pin().size(), 2 * 4096);
    assert!(before > 2 * 4096);
    assert_sound(&database);
}

#[test]
fn auto_vacuum_truncates_in_the_same_place() {
    for (mode, shrink) in [("FULL", "DELETE FROM t"), ("INCREMENTAL", "DELETE FROM t; PRAGMA incremental_vacuum")] {
        let database = database();
        let writer = connect(&database, Role::Writer);
        run(&writer, &format!("PRAGMA auto_vacuum = {mode}; CREATE TABLE t(a INTEGER PRIMARY KEY, b)"));
        run(&writer, &insert(200, 1000));
        let before = database.store().pin().size();
        let recording = Recording::start();
        finish(&writer, &format!("BEGIN; {shrink}; COMMIT"));
        assert_eq!(outline(&recording.calls()), transaction(&["write", "Sync", "Truncate(3)", "Commit"]), "{mode}");
        assert!(database.store().pin().size() < before);
        assert_sound(&database);
    }
}

/// SQLite does not write a last page that has become free; so that the file has its size, it writes zeros there.
#[test]
fn a_database_that_ends_in_a_free_page_is_grown_by_writing_its_last_page() {
    let (database, writer) = filled();
    let pages = database.store().pin().count();
    let recording = Recording::start();
    run(&writer, "BEGIN; CREATE TABLE u(a); INSERT INTO u VALUES(zeroblob(20000)); DELETE FROM u; COMMIT");
    let calls = recording.calls();
    let grown = database.store().pin().count();
    assert!(grown.0 > pages.0 + 4);
    assert_eq!(writes(&calls).last(), Some(&u64::from(grown.0)));
    assert_eq!(integer(&writer, "PRAGMA page_count"), i64::from(grown.0));
    assert!(integer(&writer, "PRAGMA freelist_count") > 0);
    assert_sound(&database);
}

#[test]
fn a_commit_under_an_open_query_goes_down_to_shared_and_stays_there() {
    let (database, writer) = filled();
    run(&writer, "CREATE TABLE u(a)");
    let mut query = writer.prepare("SELECT a FROM t").unwrap();
    let mut rows = query.raw_query();
    rows.next().unwrap();
    let recording = Recording::start();
    run(&writer, "INSERT INTO u VALUES(1)");
    assert_eq!(outline(&recording.calls()), ["Lock(Reserved)", "Lock(Exclusive)", "write", "Sync", "Commit", "Unlock(Shared)"]);
    assert!(!database.store().is_writing());
    let mut seen = 1;
    while rows.next().unwrap().is_some() {
        seen += 1;
    }
    assert_eq!(seen, 200);
    drop(rows);
    assert_eq!(recording.calls(), [Call::Unlock(Lock::None)]);
}

/// The version of its own commit, which SHARED keeps, and no newer one.
#[test]
fn a_query_left_open_over_its_own_commit_is_out_of_reach_of_the_next_commit_of_another() {
    let (database, writer) = filled();
    run(&writer, "CREATE TABLE u(a)");
    let other = connect(&database, Role::Writer);
    let mut query = writer.prepare("SELECT a, length(b) FROM t").unwrap();
    let mut rows = query.raw_query();
    rows.next().unwrap();
    run(&writer, "INSERT INTO u VALUES(1)");
    run(&other, "DELETE FROM t; UPDATE u SET a = 2; VACUUM");
    assert_eq!(integer(&writer, "SELECT a FROM u"), 1);
    assert_eq!(refused(&writer, "INSERT INTO u VALUES(3)"), rusqlite::ffi::SQLITE_BUSY_SNAPSHOT);
    let mut seen = 1;
    while let Some(row) = rows.next().unwrap() {
        assert_eq!(row.get::<_, i64>(1).unwrap(), 1000);
        seen += 1;
    }
    assert_eq!(seen, 200);
    drop(rows);
    assert_eq!(integer(&writer, "SELECT a FROM u"), 2);
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
fn fcntl_sync_comes_before_the_commit_point_even_with_synchronous_off() {
    let (database, writer) = filled();
    for level in ["OFF", "NORMAL", "FULL", "EXTRA"] {
        run(&writer, &format!("PRAGMA synchronous = {level}"));
        let recording = Recording::start();
        run(&writer, "INSERT INTO t(b) VALUES(1)");
        assert_eq!(outline(&recording.calls()), transaction(&["write", "Sync", "Commit"]), "{level}");
    }
    assert_sound(&database);
}

/// Whatever is refused there is undone by writing the old pages back, and SQLite syncs that, too.
#[test]
fn a_commit_refused_in_sync_is_written_back_synced_and_unlocked_without_commit_phasetwo() {
    let (database, writer) = filled();
    let before = image(&database);
    for (refusal, code) in [(Refusal::Full, FULL), (Refusal::OutOfMemory, NOMEM)] {
        let recording = Recording::start();
        let refusing = Refusing::nth(Refused::Sync, 1, refusal);
        assert_eq!(refused(&writer, "UPDATE t SET b = 1 WHERE a = 7"), code);
        assert_eq!(outline(&recording.calls()), transaction(&["write", "Sync", "write", "Sync"]));
        drop((refusing, recording));
        assert!(image(&database) == before);
    }
    run(&writer, "UPDATE t SET b = 1 WHERE a = 7");
    assert_sound(&database);
}

#[test]
fn a_refused_commit_ends_the_transaction() {
    let (database, writer) = filled();
    run(&writer, "BEGIN; INSERT INTO t(b) VALUES(1)");
    let refusing = Refusing::nth(Refused::Sync, 1, Refusal::Full);
    assert_eq!(refused(&writer, "COMMIT"), FULL);
    drop(refusing);
    assert!(writer.is_autocommit());
    assert!(!database.store().is_writing());
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 200);
}

/// A refusal that lasts, such as for a writer that is fenced off, also meets the sync of the rollback. SQLite then drops its cache, so the
/// next commit writes what it changes and nothing else.
#[test]
fn a_sync_that_is_refused_in_the_rollback_too_leaves_the_database_as_it_was() {
    let (database, writer) = filled();
    for (refusal, code) in [(Refusal::Full, FULL), (Refusal::OutOfMemory, NOMEM), (Refusal::Misplaced, rusqlite::ffi::SQLITE_IOERR)] {
        let before = image(&database);
        let refusing = Refusing::from_nth(Refused::Sync, 1, refusal);
        for sql in ["UPDATE t SET b = 1", "BEGIN; DELETE FROM t; COMMIT"] {
            assert_eq!(refused(&writer, sql), code);
            assert!(refusing.happened() > 1);
            assert!(writer.is_autocommit());
            assert!(!database.store().is_writing());
            assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
        }
        drop(refusing);
        assert!(image(&database) == before);
        let recording = Recording::start();
        run(&writer, "UPDATE t SET b = randomblob(1000) WHERE a = 7");
        assert_eq!(writes(&recording.calls()).len(), 2);
        assert_sound(&database);
    }
}

#[test]
fn a_sync_refused_as_busy_snapshot_leaves_the_database_as_it_was() {
    let (database, writer) = filled();
    let before = image(&database);
    let refusing = Refusing::from_nth(Refused::Sync, 1, Refusal::Stale);
    assert_eq!(refused(&writer, "UPDATE t SET b = 1"), rusqlite::ffi::SQLITE_BUSY_SNAPSHOT);
    drop(refusing);
    assert!(image(&database) == before);
    let recording = Recording::start();
    run(&writer, "UPDATE t SET b = randomblob(1000) WHERE a = 7");
    assert_eq!(writes(&recording.calls()).len(), 2);
    assert_sound(&database);
}

/// Not with another code: that one ends the transaction.
#[test]
fn a_commit_refused_as_busy_in_sync_may_be_tried_again() {
    let (database, writer) = filled();
    run(&writer, "BEGIN; UPDATE t SET b = zeroblob(900)");
    let refusing = Refusing::nth(Refused::Sync, 1, Refusal::Busy);
    assert_eq!(refused(&writer, "COMMIT"), BUSY);
    drop(refusing);
    assert!(!writer.is_autocommit());
    run(&writer, "UPDATE t SET b = zeroblob(800) WHERE a = 1; COMMIT");
    assert_eq!(integer(&connect(&database, Role::Reader), "SELECT sum(length(b)) FROM t"), 179_900);
    assert_sound(&database);
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
fn bytes_24_to_39_change_with_each_commit_so_other_caches_notice() {
    let (database, writer) = filled();
    let reader = connect(&database, Role::Reader);
    for count in 200..210 {
        assert_eq!(integer(&reader, "SELECT count(*) FROM t"), count);
        run(&writer, "INSERT INTO t(b) VALUES(1)");
    }
    run(&writer, "CREATE TABLE u(a)");
    assert_eq!(integer(&reader, "SELECT count(*) FROM u"), 0);
}

/// Readers come in beside EXCLUSIVE here, so the counter has to change even where SQLite believes that nobody can look.
#[test]
fn bytes_24_to_39_change_with_each_commit_in_every_way_to_write() {
    let (database, writer) = filled();
    let version = || image(&database)[24..40].to_vec();
    let mut seen = vec![version()];
    for sql in [
        "BEGIN EXCLUSIVE; UPDATE t SET b = 2 WHERE a = 1; COMMIT",
        "CREATE VIEW v AS SELECT 1",
        "PRAGMA user_version = 7",
        "PRAGMA cache_size = 4; UPDATE t SET b = 3",
        "VACUUM",
        "BEGIN; UPDATE t SET b = zeroblob(1000); SAVEPOINT s; UPDATE t SET b = 1; ROLLBACK TO s; COMMIT",
    ] {
        run(&writer, sql);
        assert!(!seen.contains(&version()), "{sql}");
        seen.push(version());
    }
}

#[test]
fn a_commit_of_two_databases_needs_no_super_journal() {
    let (one, writer) = filled();
    let (two, _other) = filled();
    run(&writer, &format!("PRAGMA synchronous = FULL; ATTACH '{}' AS two; PRAGMA two.synchronous = FULL", two.file_name()));
    let recording = Recording::start();
    run(&writer, "BEGIN; UPDATE main.t SET b = 1 WHERE a = 1; UPDATE two.t SET b = 1 WHERE a = 1; COMMIT");
    let end: Vec<_> = outline(&recording.calls()).into_iter().filter(|call| ["Sync", "Commit"].contains(&call.as_str())).collect();
    // Both are asked before either is committed.
    assert_eq!(end, ["Sync", "Sync", "Commit", "Commit"]);
    let before = (image(&one), image(&two));
    let refusing = Refusing::nth(Refused::Sync, 2, Refusal::Full);
    assert_eq!(refused(&writer, "BEGIN; UPDATE main.t SET b = 2; UPDATE two.t SET b = 2; COMMIT"), FULL);
    drop(refusing);
    assert!((image(&one), image(&two)) == before);
}
