//! What is refused for want of room or memory, at whatever page that happens: an error, the database as it was, and the connection goes on.

use super::*;

/// A transaction that writes some forty pages, as statements of which each may fail.
struct Work {
    settings: &'static str,
    statements: &'static [&'static str],
}

const GROW: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO t(b) SELECT zeroblob(1500) FROM n";

const AT_ONCE: Work = Work { settings: "PRAGMA cache_size = -8192", statements: &[GROW] };
const IN_STEPS: Work =
    Work { settings: "PRAGMA cache_size = -8192", statements: &["BEGIN", GROW, "UPDATE t SET b = 1 WHERE a < 30", "COMMIT"] };
const SPILLING: Work = Work { settings: SPILL, statements: &[GROW] };
const SPILLING_IN_STEPS: Work = Work {
    settings: SPILL,
    statements: &[
        "BEGIN IMMEDIATE",
        "UPDATE t SET b = zeroblob(1200) WHERE a < 60",
        "SAVEPOINT s",
        "UPDATE t SET b = zeroblob(900) WHERE a > 100",
        "SELECT sum(length(b)) FROM t",
        "ROLLBACK TO s",
        GROW,
        "COMMIT",
    ],
};
const REWRITING: Work = Work { settings: SPILL, statements: &["VACUUM"] };

/// The first error, after which SQLite has left the transaction, or is told to.
fn attempt(writer: &Connection, work: &Work) -> rusqlite::Result<()> {
    for sql in work.statements {
        let done = writer.prepare(sql).and_then(|mut statement| {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        });
        if done.is_err() {
            // All of it is gone, not the failed statement alone.
            assert!(writer.is_autocommit(), "{sql}");
            return done;
        }
    }
    Ok(())
}

fn primary(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().unwrap().extended_code & 0xff
}

/// Refuses each write in turn, and tells how many there were.
fn refuse_each(work: &Work, refusal: Refusal, code: i32, lasting: bool) -> usize {
    let (database, writer) = filled();
    run(&writer, "CREATE TABLE after(n); INSERT INTO after VALUES(0)");
    for nth in 1.. {
        run(&writer, work.settings);
        let before = image(&database);
        let plan = if lasting { Refusing::from_nth } else { Refusing::nth };
        let refusing = plan(Refused::Write, nth, refusal);
        let outcome = attempt(&writer, work);
        if refusing.happened() == 0 {
            outcome.unwrap();
            drop(refusing);
            assert_sound(&database);
            return nth - 1;
        }
        let error = outcome.unwrap_err();
        drop(refusing);
        assert_eq!(primary(&error), code, "at write {nth}: {error}");
        assert!(image(&database) == before, "at write {nth}");
        assert!(!database.store().is_writing());
        assert_eq!(database.store().memory_use().pinned, 0, "at write {nth}");
        // The same connection reads what was, and writes.
        assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
        run(&writer, "UPDATE after SET n = n + 1");
        assert_eq!(usize::try_from(integer(&connect(&database, Role::Reader), "SELECT n FROM after")), Ok(nth));
        assert_sound(&database);
    }
    unreachable!("each transaction ends");
}

#[test]
fn a_commit_that_is_full_at_any_page_leaves_the_database_as_it_was() {
    assert!(refuse_each(&AT_ONCE, Refusal::Full, FULL, false) > 15);
    assert!(refuse_each(&IN_STEPS, Refusal::Full, FULL, false) > 15);
}

#[test]
fn a_commit_without_memory_at_any_page_leaves_the_database_as_it_was() {
    assert!(refuse_each(&AT_ONCE, Refusal::OutOfMemory, NOMEM, false) > 15);
    assert!(refuse_each(&IN_STEPS, Refusal::OutOfMemory, NOMEM, false) > 15);
}

#[test]
fn a_spill_that_is_full_at_any_page_leaves_the_database_as_it_was() {
    assert!(refuse_each(&SPILLING, Refusal::Full, FULL, false) > 15);
    assert!(refuse_each(&SPILLING_IN_STEPS, Refusal::Full, FULL, false) > 15);
}

#[test]
fn a_spill_without_memory_at_any_page_leaves_the_database_as_it_was() {
    assert!(refuse_each(&SPILLING, Refusal::OutOfMemory, NOMEM, false) > 15);
    assert!(refuse_each(&SPILLING_IN_STEPS, Refusal::OutOfMemory, NOMEM, false) > 15);
}

#[test]
fn a_vacuum_without_memory_at_any_page_leaves_the_database_as_it_was() {
    assert!(refuse_each(&REWRITING, Refusal::OutOfMemory, NOMEM, false) > 15);
}

/// SQLite writes the old pages back, and these writes find no memory either.
#[test]
fn a_rollback_without_memory_ends_in_the_database_as_it_was() {
    for work in [&AT_ONCE, &IN_STEPS, &SPILLING, &SPILLING_IN_STEPS, &REWRITING] {
        assert!(refuse_each(work, Refusal::OutOfMemory, NOMEM, true) > 15);
    }
}

#[test]
fn at_any_size_limit_a_transaction_commits_whole_or_not_at_all() {
    for work in [&AT_ONCE, &IN_STEPS, &SPILLING, &SPILLING_IN_STEPS] {
        let (database, writer) = filled();
        run(&writer, work.settings);
        let before = image(&database);
        let mut limit = before.len() as u64;
        loop {
            database.store().set_max_size(limit);
            match attempt(&writer, work) {
                Ok(()) => break,
                Err(error) => assert_eq!(primary(&error), FULL, "{error}"),
            }
            assert!(image(&database) == before);
            assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
            limit += 4096;
        }
        assert_eq!(database.store().pin().size(), limit);
        assert!(limit > before.len() as u64 + 5 * 4096);
        assert_sound(&database);
    }
}

/// Not first at the commit: an endless transaction must not fill the memory.
#[test]
fn a_statement_is_refused_at_the_first_page_that_it_spills_beyond_the_limit() {
    let (database, writer) = filled();
    let before = database.store().memory_use();
    database.store().set_max_size(database.store().pin().size() + 20 * 4096);
    run(&writer, &format!("{SPILL}; BEGIN"));
    let recording = Recording::start();
    assert_eq!(refused(&writer, &insert(20_000, 1000)), FULL);
    // The pages that fit, some of them more than once; then what was is written back.
    assert!(writes(&recording.calls()).len() < 200);
    assert!(writer.is_autocommit());
    let after = database.store().memory_use();
    assert_eq!((after.live, after.pinned), (before.live, before.pinned));
}

#[test]
fn a_full_database_still_changes_and_shrinks() {
    let (database, writer) = filled();
    let before = database.store().commits();
    database.store().set_max_size(0);
    assert_eq!(refused(&writer, "INSERT INTO t(b) VALUES(zeroblob(100000))"), FULL);
    assert_eq!(database.store().commits(), before);
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 200);
    run(&writer, "UPDATE t SET b = 1 WHERE a = 7; DELETE FROM t WHERE a > 100; VACUUM");
    database.store().set_max_size(u64::MAX);
    run(&writer, "INSERT INTO t(b) VALUES(zeroblob(100000))");
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 101);
}

/// SQLite may write a page for a query, to make room in its cache; a query that is refused that ends the transaction, too.
#[test]
fn a_query_that_spills_and_is_refused_ends_the_transaction() {
    let (database, writer) = filled();
    run(&writer, "CREATE TABLE u(a INTEGER PRIMARY KEY, b)");
    run(&writer, "INSERT INTO u SELECT a, b FROM t");
    let before = image(&database);
    for (refusal, code) in [(Refusal::Full, FULL), (Refusal::OutOfMemory, NOMEM)] {
        run(&writer, "PRAGMA mmap_size = 0; PRAGMA cache_size = -8192; BEGIN; UPDATE t SET b = zeroblob(900) WHERE a < 100");
        run(&writer, SPILL);
        let refusing = Refusing::nth(Refused::Write, 1, refusal);
        let error = writer.query_row("SELECT sum(length(b)) FROM u", [], |row| row.get::<_, i64>(0)).unwrap_err();
        assert!(refusing.happened() > 0);
        drop(refusing);
        assert_eq!(primary(&error), code);
        assert!(writer.is_autocommit());
        assert!(image(&database) == before);
        assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
    }
}

/// A failed statement is undone by writing pages back, some of which may lie beyond the limit: the stage had no say while they were in
/// SQLite's cache only.
#[test]
fn a_failed_statement_that_cannot_be_written_back_ends_the_transaction() {
    let (database, writer) = filled();
    run(&writer, "CREATE TRIGGER r AFTER UPDATE ON t WHEN new.a = 150 AND length(new.b) = 800 BEGIN SELECT raise(ABORT, 'no'); END");
    run(&writer, SPILL);
    let before = image(&database);
    for (refusal, code) in [(Refusal::Full, FULL), (Refusal::OutOfMemory, NOMEM)] {
        for nth in 1.. {
            run(&writer, "BEGIN; UPDATE t SET b = zeroblob(900)");
            let refusing = Refusing::nth(Refused::Write, nth, refusal);
            let said = refused(&writer, "UPDATE t SET b = zeroblob(800)");
            if refusing.happened() == 0 {
                assert!(nth > 15);
                assert_eq!(said, rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER);
                assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 180_000);
                run(&writer, "ROLLBACK");
                break;
            }
            drop(refusing);
            assert_eq!(said & 0xff, code, "at write {nth}");
            assert!(writer.is_autocommit());
            assert!(image(&database) == before);
            assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
        }
    }
    assert_sound(&database);
}

/// SQLite goes on holding what a query has open, and with it the lock, where it could not even write the old pages back.
#[test]
fn a_query_left_open_over_a_failed_rollback_fails_too_and_only_then_the_lock_is_given_back() {
    let (database, writer) = filled();
    run(&writer, "CREATE TABLE u(a)");
    let before = image(&database);
    for (refusal, code) in [(Refusal::Full, FULL), (Refusal::OutOfMemory, NOMEM)] {
        for (plan, recovers) in [(Refusing::nth as fn(_, _, _) -> _, true), (Refusing::from_nth, false)] {
            let mut query = writer.prepare("SELECT a FROM t").unwrap();
            let mut rows = query.raw_query();
            rows.next().unwrap();
            run(&writer, &format!("{SPILL}; BEGIN; INSERT INTO u SELECT b FROM t"));
            let refusing = plan(Refused::Write, 1, refusal);
            assert_eq!(refused(&writer, "COMMIT") & 0xff, code);
            drop(refusing);
            assert!(writer.is_autocommit());
            assert_eq!(database.store().is_writing(), !recovers);
            match rows.next() {
                Ok(row) => assert!(recovers && row.is_some()),
                Err(error) => assert_eq!((recovers, primary(&error)), (false, code)),
            }
            drop(rows);
            assert!(!database.store().is_writing());
            assert!(image(&database) == before);
            assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
        }
    }
    run(&writer, "INSERT INTO u VALUES(1)");
    assert_sound(&database);
}
