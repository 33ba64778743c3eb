//! What can be opened, and what SQLite never opens because it keeps it in memory.

use super::*;

#[test]
fn a_name_that_stands_for_no_database_cannot_be_opened() {
    let (database, writer) = filled();
    let name = database.file_name();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_CREATE;
    let vfs = vfs_name().unwrap();
    for wrong in ["/0", "x", "/x", "/1/2", &format!("{name}-journal"), &format!("/{}", "1".repeat(100))] {
        assert!(Connection::open_with_flags_and_vfs(wrong, flags, vfs).is_err(), "{wrong}");
    }
    drop(writer);
    drop(database);
    assert!(Connection::open_with_flags_and_vfs(&name, flags, vfs).is_err());
}

/// SQLite refuses a name to which it could not append `-journal`.
#[test]
fn the_longest_name_leaves_room_for_a_suffix() {
    let longest = format!("/{}", u64::MAX);
    let store = Arc::new(PageStore::new(PageSize::DEFAULT, u64::MAX, clock()));
    let feed = Arc::new(Feed::new(clock()));
    REGISTRY.lock().insert(u64::MAX, Named { store: Arc::downgrade(&store), feed: Arc::downgrade(&feed) });
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let opened = Connection::open_with_flags_and_vfs(&longest, flags, vfs_name().unwrap());
    REGISTRY.lock().remove(&u64::MAX);
    run(&opened.unwrap(), "CREATE TABLE t(a)");
}

#[test]
fn a_connection_keeps_a_database_that_has_lost_its_name() {
    let (database, writer) = filled();
    drop(database);
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 200);
    run(&writer, "DELETE FROM t");
}

/// Between threads SQLite guards nothing here: connections are opened without its mutexes.
#[test]
fn several_threads_open_use_and_close_at_once() {
    let (shared, _writer) = filled();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(integer(&connect(&shared, Role::Reader), "SELECT count(*) FROM t"), 200);
                    let own = database();
                    run(&connect(&own, Role::Writer), "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
                    assert_eq!(integer(&connect(&own, Role::Reader), "SELECT a FROM t"), 1);
                }
            });
        }
    });
}

#[test]
fn open_memory_keeps_the_journal_in_memory_and_wal_away() {
    let (_database, writer) = filled();
    assert_eq!(text(&writer, "PRAGMA journal_mode"), "memory");
    assert_eq!(text(&writer, "PRAGMA journal_mode = WAL"), "memory");
    // Without a journal a failed statement could not be undone; defensive connections keep theirs.
    assert_eq!(text(&writer, "PRAGMA journal_mode = OFF"), "memory");
}

/// Other journal modes can be chosen, and need a file that nobody can open.
#[test]
fn a_write_with_a_journal_outside_memory_is_refused_and_changes_nothing() {
    let (database, writer) = filled();
    let before = image(&database);
    for mode in ["delete", "truncate", "persist"] {
        assert_eq!(text(&writer, &format!("PRAGMA journal_mode = {mode}")), mode);
        assert_eq!(refused(&writer, "DELETE FROM t"), rusqlite::ffi::SQLITE_CANTOPEN);
        assert!(!database.store().is_writing());
        assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 200);
    }
    assert!(image(&database) == before);
    assert_eq!(text(&writer, "PRAGMA journal_mode = MEMORY"), "memory");
    run(&writer, "DELETE FROM t");
    assert_sound(&database);
}

/// Statements for which SQLite would open a temporary file, if it were not told to keep them in memory.
const TEMPORARY: [&str; 6] = [
    "SELECT count(*) FROM (SELECT a.b FROM t a, t b ORDER BY a.b || b.a)",
    "SELECT count(DISTINCT a.a || b.a || hex(a.b)) FROM t a, t b",
    "CREATE TEMP TABLE w AS SELECT a.a, b.b FROM t a, t b; DROP TABLE w",
    "CREATE INDEX i ON t(b, a); DROP INDEX i",
    "INSERT INTO t SELECT a + 1000, b FROM t; DELETE FROM t WHERE a > 1000",
    "VACUUM",
];

#[test]
fn no_statement_needs_a_temporary_file() {
    let (database, writer) = filled();
    run(&writer, "PRAGMA cache_size = 10; PRAGMA temp.cache_size = 10; PRAGMA threads = 2");
    for sql in TEMPORARY {
        finish(&writer, sql);
    }
    assert_sound(&database);
}

/// What `temp_store` spares us: a file system of ours has no place for them.
#[test]
fn a_temporary_file_cannot_be_opened() {
    let (database, writer) = filled();
    run(&writer, "PRAGMA cache_size = 10; PRAGMA temp_store = FILE");
    let sql = "SELECT count(*) FROM (SELECT a.b FROM t a, t b ORDER BY a.b || b.a)";
    let error = writer.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::CannotOpen));
    assert_sound(&database);
}

#[test]
fn pragmas_are_left_to_sqlite() {
    let (_database, writer) = filled();
    run(&writer, "PRAGMA nobody_knows_this = 1");
    assert_eq!(integer(&writer, "PRAGMA page_size"), 4096);
    // What the file answers, if it answers.
    assert!(writer.query_row("PRAGMA mmap_size", [], |row| row.get::<_, i64>(0)).is_err());
}

#[test]
fn the_time_and_the_dice_are_the_hosts() {
    let (_database, writer) = filled();
    assert!(integer(&writer, "SELECT unixepoch('now')") > 1_700_000_000);
    assert_ne!(integer(&writer, "SELECT random()"), integer(&writer, "SELECT random()"));
}
