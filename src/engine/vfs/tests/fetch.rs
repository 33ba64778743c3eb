//! Pages that SQLite holds by address.

use super::*;

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
    let reader = connect(&database, Role::Reader);
    assert_eq!(integer(&reader, "SELECT sum(length(b)) FROM t"), 200_000);
    run(&writer, "UPDATE t SET b = 1");
    assert_eq!(database.store().memory_use().pinned, 0);
}

fn lent(calls: &[Call]) -> Vec<u64> {
    calls.iter().filter_map(|call| if let Call::Lend(page, _, true) = call { Some(*page) } else { None }).collect()
}

#[test]
fn whole_pages_are_fetched_and_never_page_1() {
    let (_database, writer) = filled();
    let recording = Recording::start();
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
    run(&writer, "BEGIN; UPDATE t SET b = zeroblob(900)");
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 180_000);
    run(&writer, "ROLLBACK; DELETE FROM t; VACUUM");
    let calls = recording.all();
    assert!(lent(&calls).len() > 50);
    for call in calls {
        if let Call::Lend(page, len, _) = call {
            assert!(page > 1 && len == 4096, "{call:?}");
        }
    }
}

/// A reader copies nothing but the header.
#[test]
fn outside_a_write_all_pages_but_the_first_are_fetched_and_none_is_read() {
    let (database, _writer) = filled();
    let reader = connect(&database, Role::Reader);
    let recording = Recording::start();
    assert_eq!(integer(&reader, "SELECT sum(length(b)) FROM t"), 200_000);
    let calls = recording.all();
    assert!(lent(&calls).len() > 50);
    for call in calls {
        if let Call::Read(offset, len) = call {
            assert!(offset + len as u64 <= 4096, "{call:?}");
        }
    }
}

#[test]
fn any_mmap_size_above_zero_fetches_pages_of_any_offset_and_zero_fetches_none() {
    let (_database, writer) = filled();
    for (size, fetched) in [("0", false), ("1", true), ("0x7fff0000", true), ("1099511627776", true)] {
        run(&writer, &format!("PRAGMA mmap_size = {size}"));
        let recording = Recording::start();
        assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
        assert_eq!(lent(&recording.all()).len() > 50, fetched, "{size}");
    }
}

/// SQLite holds page 1 by a copy until the end, and lets go of SHARED with it.
#[test]
fn every_fetched_page_is_given_back_before_shared_is_unlocked() {
    let (database, writer) = filled();
    run(&writer, "CREATE INDEX i ON t(length(b)); CREATE TABLE u(a, b)");
    let recording = Recording::start();
    for sql in [
        "SELECT * FROM t ORDER BY b",
        "SELECT count(*) FROM t a JOIN t b USING(a) WHERE length(a.b) > 10",
        "INSERT INTO u SELECT a, b FROM t WHERE a % 3 = 0",
        "DELETE FROM t WHERE a IN (SELECT a FROM u) RETURNING a",
        "PRAGMA cache_size = 4",
        "UPDATE t SET b = (SELECT max(b) FROM u)",
        "SELECT count(*) FROM missing",
        "INSERT INTO t SELECT 1, 2 FROM u",
        "PRAGMA integrity_check",
    ] {
        let Ok(mut statement) = writer.prepare(sql) else { continue };
        let mut rows = statement.raw_query();
        // Half of them are left after their first row.
        if sql.len() % 2 == 0 {
            _ = rows.next();
        } else {
            while let Ok(Some(_)) = rows.next() {}
        }
    }
    let mut held = 0;
    for call in recording.all() {
        match call {
            Call::Lend(_, _, true) => held += 1,
            Call::GiveBack => held -= 1,
            Call::Unlock(Lock::None) => assert_eq!(held, 0),
            _ => {}
        }
    }
    assert_eq!(held, 0);
    drop(recording);
    assert_sound(&database);
}

/// `xUnfetch` without a page says that all mappings are stale; it gives none back.
#[test]
fn a_reader_that_finds_its_cache_stale_gives_back_exactly_what_it_fetched() {
    let (database, writer) = filled();
    let reader = connect(&database, Role::Reader);
    let recording = Recording::start();
    for _ in 0..3 {
        assert_eq!(integer(&reader, "SELECT count(*) FROM t WHERE length(b) > 0"), 200);
        let calls = recording.all();
        assert_eq!(calls.iter().filter(|call| **call == Call::GiveBack).count(), lent(&calls).len());
        run(&writer, "UPDATE t SET b = zeroblob(900)");
        recording.all();
    }
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
fn a_lent_staged_page_outlives_the_rollback_that_drops_it() {
    let (database, _writer) = filled();
    let mut file = file(&database, Lock::Exclusive);
    file.write(4096, &[7; 4096]).unwrap();
    file.lend(4096, 4096).unwrap();
    file.unlock(Lock::Shared);
    assert_eq!(file.lent.pages[0].bytes()[0], 7);
    assert_ne!(file.lend(4096, 4096).unwrap()[0], 7);
}

#[test]
fn a_page_beyond_the_end_or_never_written_is_not_fetched_but_read() {
    let (database, _writer) = filled();
    let mut file = file(&database, Lock::Exclusive);
    let end = file.size();
    assert!(file.lend(end, 4096).is_none());
    file.write(end + 4096, &[1; 4096]).unwrap();
    assert!(file.lend(end, 4096).is_none());
    assert!(file.lend(end + 4096, 4096).is_some());
    file.truncate(4096).unwrap();
    assert!(file.lend(4096, 4096).is_none());
    assert!(file.lend(0, 100).is_none());
}

/// In a write, SQLite fetches a page that it has written out and dropped from its cache.
#[test]
fn a_query_in_a_write_fetches_pages_as_they_were_spilled() {
    let (_database, writer) = filled();
    run(&writer, &format!("{SPILL}; BEGIN; UPDATE t SET b = zeroblob(900) WHERE a > 100"));
    let recording = Recording::start();
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 190_000);
    assert!(!lent(&recording.all()).is_empty());
    run(&writer, "UPDATE t SET b = zeroblob(800) WHERE a > 100");
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 180_000);
    run(&writer, "ROLLBACK");
    assert_eq!(integer(&writer, "SELECT sum(length(b)) FROM t"), 200_000);
}

/// SQLite moves a query off its pages before it changes a table or cuts the file under it.
#[test]
fn a_query_goes_on_while_its_own_connection_moves_and_cuts_its_pages() {
    let database = database();
    let writer = connect(&database, Role::Writer);
    run(&writer, "PRAGMA auto_vacuum = FULL; CREATE TABLE u(a INTEGER PRIMARY KEY, b); CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    run(&writer, "INSERT INTO u(b) VALUES(zeroblob(300000))");
    run(&writer, &insert(200, 1000));
    let mut query = writer.prepare("SELECT a, length(b) FROM t").unwrap();
    let mut rows = query.raw_query();
    let mut seen = 0;
    while let Some(row) = rows.next().unwrap() {
        assert_eq!(row.get::<_, i64>(1).unwrap(), 1000);
        seen += 1;
        // The first of these moves the pages of `t` into the room of `u`.
        run(&writer, "DELETE FROM u WHERE a = 1; UPDATE t SET b = randomblob(1000) WHERE a = 3");
    }
    assert_eq!(seen, 200);
    drop(rows);
    assert_sound(&database);
}

/// Fetched pages are the store's own: were SQLite to write into one, a pinned version would change.
#[test]
fn sqlite_never_writes_into_a_fetched_page() {
    let (database, writer) = filled();
    run(&writer, "CREATE INDEX i ON t(length(b)); CREATE TABLE u(a, b)");
    let pinned = database.store().pin();
    let bytes = image(&database);
    for sql in [
        "UPDATE t SET b = zeroblob(a * 10)",
        "PRAGMA cache_size = 4; BEGIN; INSERT INTO u SELECT * FROM t; UPDATE t SET b = 1; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT",
        "BEGIN; DELETE FROM t WHERE a % 2; ROLLBACK",
        "PRAGMA secure_delete = ON; DELETE FROM u; DROP TABLE u",
        "REINDEX; ANALYZE; VACUUM",
    ] {
        run(&writer, sql);
        let mut now = Vec::new();
        Image::new(Arc::clone(&pinned)).read_to_end(&mut now).unwrap();
        assert!(now == bytes, "{sql}");
    }
    assert_sound(&database);
}

#[test]
fn a_statement_that_is_open_across_commits_reads_its_own_version() {
    let (database, writer) = filled();
    let reader = connect(&database, Role::Reader);
    let mut open_query = reader.prepare("SELECT a, length(b) FROM t").unwrap();
    let mut rows = open_query.raw_query();
    let mut seen = 0;
    while let Some(row) = rows.next().unwrap() {
        assert_eq!(row.get::<_, i64>(1).unwrap(), 1000);
        seen += 1;
        if seen % 10 == 0 {
            run(&writer, "UPDATE t SET b = zeroblob(500); DELETE FROM t WHERE a % 2 = 0; INSERT INTO t(b) VALUES(1)");
        }
    }
    assert_eq!(seen, 200);
}

#[test]
fn commits_under_an_open_query_keep_the_version_that_it_reads_and_none_between() {
    let (database, writer) = filled();
    let mut open_query = writer.prepare("SELECT a, length(b) FROM t").unwrap();
    let mut rows = open_query.raw_query();
    assert!(rows.next().unwrap().is_some());
    for n in 0..300 {
        writer.execute("UPDATE t SET b = ?1 WHERE a = 150", [n]).unwrap();
    }
    let page = 4096 + 256;
    assert!(database.store().memory_use().pinned <= 4 * page, "{:?}", database.store().memory_use());
    drop(rows);
    assert_eq!(integer(&writer, "SELECT b FROM t WHERE a = 150"), 299);
    assert_eq!(database.store().memory_use().pinned, 0);
}
