//! Without memory in the middle of anything: an error, a sound database, and a connection that goes on.

use super::*;
use crate::pages::OutOfMemory;
use crate::vfs::ffi::scarce::{self, Plan};

/// Tables whose changes take new pages, freed pages and pages of indexes.
const SETUP: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b); CREATE TABLE log(x);
    CREATE TRIGGER changed AFTER UPDATE ON t BEGIN INSERT INTO log VALUES(old.b); END;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO t(b) SELECT printf('%.300c', i) FROM n;";

const CHANGE: &str = "BEGIN; INSERT INTO t(b) SELECT zeroblob(1500) FROM t LIMIT 20; SAVEPOINT s; UPDATE t SET b = b || 'x' WHERE a < 30;
    ROLLBACK TO s; DELETE FROM t WHERE a % 3 = 0; CREATE TABLE later(y); INSERT INTO later VALUES(zeroblob(9000)); COMMIT";

const SMALL_CHANGE: &str = "UPDATE t SET b = 'changed' WHERE a = 7";

fn set_up() -> Database {
    let database = database();
    run(&connect(&database, Role::Writer), SETUP);
    database
}

/// Another database that begins as this one.
fn fork(database: &Database) -> Database {
    database_of(PageStore::fork(&database.store().pin(), u64::MAX, clock()))
}

/// Runs `change` with every allocation in turn refused, on a new fork each time. Tells how many there were.
fn with_each_allocation_refused(change: &str, settings: &str, lasting: bool) -> usize {
    let origin = set_up();
    let before = image(&origin);
    let changed = fork(&origin);
    run(&connect(&changed, Role::Writer), change);
    let after = image(&changed);
    // Not each of thousands: the later ones lie far apart.
    let mut nth = 1;
    loop {
        let database = fork(&origin);
        let writer = connect(&database, Role::Writer);
        run(&writer, settings);
        scarce::replace(Plan { nth, lasting, asked: 0 });
        let outcome = writer.execute_batch(change);
        let plan = scarce::replace(Plan::default());
        if let Err(error) = &outcome {
            let code = error.sqlite_error().map(|error| error.extended_code & 0xff);
            assert!(matches!(code, Some(NOMEM | rusqlite::ffi::SQLITE_IOERR)), "allocation {nth}: {error}");
            if !writer.is_autocommit() {
                run(&writer, "ROLLBACK");
            }
        }
        let now = image(&database);
        // A failure of what comes after the commit point tells nothing and undoes nothing.
        assert!(now == if outcome.is_ok() { &after[..] } else { &before[..] }, "allocation {nth}: {outcome:?}");
        assert_sound(&database);
        if outcome.is_err() {
            run(&writer, change);
            assert!(image(&database) == after, "allocation {nth}, the second time");
        }
        if plan.asked < nth {
            return nth;
        }
        nth += 1 + nth / 150;
    }
}

#[test]
fn a_small_commit_survives_the_refusal_of_each_of_sqlites_allocations() {
    assert!(with_each_allocation_refused(SMALL_CHANGE, "", false) > 5);
    with_each_allocation_refused(SMALL_CHANGE, "", true);
}

#[test]
fn a_large_commit_survives_the_refusal_of_sqlites_allocations() {
    assert!(with_each_allocation_refused(CHANGE, "", false) > 50);
    with_each_allocation_refused(CHANGE, "", true);
}

#[test]
fn a_commit_that_spills_survives_the_refusal_of_sqlites_allocations() {
    with_each_allocation_refused(CHANGE, SPILL, false);
    with_each_allocation_refused(CHANGE, SPILL, true);
}

#[test]
fn a_commit_survives_the_refusal_of_each_page() {
    let origin = set_up();
    let before = image(&origin);
    for settings in ["", SPILL] {
        let mut refusals = 0;
        loop {
            let database = fork(&origin);
            let writer = connect(&database, Role::Writer);
            run(&writer, settings);
            database.store().account().set_pages_left(Some(refusals));
            let outcome = writer.execute_batch(CHANGE);
            database.store().account().set_pages_left(None);
            let Err(error) = outcome else { break };
            assert_eq!(error.sqlite_error().unwrap().extended_code & 0xff, NOMEM, "page {refusals}: {error}");
            if !writer.is_autocommit() {
                run(&writer, "ROLLBACK");
            }
            assert!(image(&database) == before, "page {refusals}");
            assert_sound(&database);
            run(&writer, CHANGE);
            refusals += 1;
        }
        assert!(refusals > 10, "{refusals}");
    }
    assert_eq!(OutOfMemory.to_string(), "out of memory");
}

#[test]
fn a_read_survives_the_refusal_of_each_of_sqlites_allocations() {
    let database = set_up();
    let sum = "SELECT count(*), sum(length(b)) FROM (SELECT b FROM t ORDER BY b DESC)";
    for nth in 1.. {
        let reader = connect(&database, Role::Reader);
        scarce::replace(Plan { nth, lasting: true, asked: 0 });
        let outcome = reader.query_row(sum, [], |row| row.get::<_, i64>(0));
        let plan = scarce::replace(Plan::default());
        if let Err(error) = outcome {
            assert_eq!(error.sqlite_error().unwrap().extended_code & 0xff, NOMEM, "allocation {nth}");
        }
        assert_eq!(integer(&reader, sum), 60, "allocation {nth}");
        drop(reader);
        assert_eq!(database.store().memory_use().pinned, 0);
        if plan.asked < nth {
            return;
        }
    }
}
