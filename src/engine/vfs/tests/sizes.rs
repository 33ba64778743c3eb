//! How large a database is, and pages that lie far out.

use super::*;
use crate::pages::PageCount;

const LARGEST: u32 = 65_536;

/// The page that holds the byte at 1 GiB, on which other file systems keep their locks.
const LOCK_PAGE: u32 = 0x4000_0000 / LARGEST + 1;

/// A database with an empty table `t` that says it has so many pages, most of which were never written.
fn stretched(pages: u32) -> (Database, Connection) {
    let size = PageSize::new(LARGEST).unwrap();
    let database = database_of(PageStore::new(size, u64::MAX, clock()));
    let writer = connect(&database, Role::Writer);
    run(&writer, "PRAGMA page_size = 65536; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    let base = database.store().pin();
    let mut first = base.page(PageNo::FIRST).unwrap().bytes().to_vec();
    first[28..32].copy_from_slice(&pages.to_be_bytes());
    // As after a change.
    first[27] += 1;
    first[95] += 1;
    let mut stage = database.store().begin_write(&base).unwrap();
    let last = PageNo::at(u64::from(pages - 1) * u64::from(LARGEST), size).unwrap();
    stage.write(PageNo::FIRST, &first).unwrap();
    stage.write(last, &vec![0; LARGEST as usize]).unwrap();
    drop(base);
    database.store().publish(&mut stage);
    database.store().end_write(stage);
    (database, writer)
}

#[test]
fn sqlite_never_writes_the_page_at_one_gib() {
    let (database, writer) = stretched(LOCK_PAGE - 2);
    run(&writer, "INSERT INTO t(b) VALUES('near')");
    let recording = Recording::start();
    run(&writer, "INSERT INTO t(b) VALUES(zeroblob(400000))");
    let written = writes(&recording.calls());
    let pages = database.store().pin().count().0;
    assert!(pages > LOCK_PAGE + 3);
    assert!(written.contains(&u64::from(LOCK_PAGE - 1)) && written.contains(&u64::from(LOCK_PAGE + 1)));
    assert!(!written.contains(&u64::from(LOCK_PAGE)));
    assert!(database.store().pin().page(PageNo::at(0x4000_0000, PageSize::new(LARGEST).unwrap()).unwrap()).is_none());
    // It counts all the same, in the header and in the file.
    assert_eq!(integer(&writer, "PRAGMA page_count"), i64::from(pages));
    assert_eq!(integer(&connect(&database, Role::Reader), "SELECT sum(length(b)) FROM t"), 400_004);
    // It misses the pages left out on purpose, behind its first line, and nothing else.
    let missed = text(&writer, "PRAGMA integrity_check(100000)");
    let missed = missed.lines().skip(1);
    assert!(missed.eq((3..LOCK_PAGE - 1).map(|page| format!("Page {page}: never used"))));
}

#[test]
fn the_lock_page_is_the_one_at_one_gib_for_every_page_size() {
    for bytes in (9..=16).map(|power| 1 << power) {
        let size = PageSize::new(bytes).unwrap();
        let lock = PageNo::at(1 << 30, size).unwrap();
        assert_eq!(lock.get(), (1 << 30) / bytes + 1);
        assert!(lock.is_lock_page(size));
        assert!(![lock.get() - 1, lock.get() + 1, 1].iter().any(|number| PageNo::new(*number).unwrap().is_lock_page(size)));
    }
}

#[test]
fn an_image_beyond_one_gib_has_the_length_that_sqlite_counts() {
    let (database, writer) = stretched(LOCK_PAGE - 1);
    run(&writer, "INSERT INTO t(b) VALUES(zeroblob(100000))");
    let version = database.store().pin();
    assert_eq!(version.count().0, LOCK_PAGE + 1);
    let mut image = Image::new(Arc::clone(&version));
    let length = std::io::copy(&mut image, &mut std::io::sink()).unwrap();
    assert_eq!(length, u64::from(LOCK_PAGE + 1) * u64::from(LARGEST));
    let few = (u64::from(LARGEST) + 256) * 6;
    assert!(database.store().memory_use().live <= few);
}

/// SQLite's own file systems map no more than 2 GiB. A file that answers gets asked, however far out the page lies.
#[test]
fn pages_beyond_two_gib_and_four_gib_are_fetched() {
    for pages in [0x7fff_0000 / LARGEST + 2, 70_000, 200_000] {
        let (database, writer) = stretched(pages);
        run(&writer, "INSERT INTO t(b) VALUES(zeroblob(300000))");
        let reader = connect(&database, Role::Reader);
        let recording = Recording::start();
        assert_eq!(integer(&reader, "SELECT sum(length(hex(b))) FROM t"), 600_000);
        let far = recording.all().into_iter().filter(|call| matches!(call, Call::Lend(page, _, true) if *page > u64::from(pages))).count();
        assert_eq!(far, 4);
    }
}

/// Where the header's count is in force, it is believed as long as the file has so many pages.
#[test]
fn a_database_has_the_pages_that_its_header_says_if_the_file_has_them() {
    let (database, writer) = filled();
    let pages = database.store().pin().count().0;
    let mut longer = file(&database, Lock::Exclusive);
    longer.write(u64::from(pages + 4) * 4096, &[9; 4096]).unwrap();
    longer.commit();
    drop(longer);
    let fresh = connect(&database, Role::Writer);
    assert_eq!(integer(&fresh, "PRAGMA page_count"), i64::from(pages));
    assert_sound(&database);
    drop((writer, fresh));
    let mut shorter = file(&database, Lock::Exclusive);
    shorter.truncate(u64::from(pages - 1) * 4096).unwrap();
    shorter.commit();
    drop(shorter);
    let error = connection::open_trusted(&database, Role::Reader).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseCorrupt));
}

#[test]
fn a_short_read_is_filled_with_zeros() {
    let database = database();
    let short = file(&database, Lock::None);
    let mut out = [MaybeUninit::new(0xee); 100];
    assert_eq!(short.read(0, &mut out), Err(Refusal::ShortRead));
    let (filled, _writer) = filled();
    let file = file(&filled, Lock::None);
    assert_eq!(file.read(file.size() - 10, &mut out), Err(Refusal::ShortRead));
    // SQLite takes an empty file for an empty database.
    assert_eq!(integer(&connect(&database, Role::Reader), "SELECT count(*) FROM sqlite_schema"), 0);
}

#[test]
fn a_connection_that_opens_reads_the_header_before_it_has_a_lock() {
    let (database, _writer) = filled();
    let recording = Recording::start();
    let reader = connect(&database, Role::Reader);
    assert_eq!(recording.all().first(), Some(&Call::Read(0, 100)));
    assert_eq!(integer(&reader, "PRAGMA page_size"), 4096);
}

#[test]
fn only_page_1_is_read_in_part() {
    let (_database, writer) = filled();
    run(&writer, "PRAGMA mmap_size = 0");
    let recording = Recording::start();
    run(&writer, "INSERT INTO t(b) VALUES(zeroblob(100000)); UPDATE t SET b = zeroblob(900)");
    assert_eq!(integer(&writer, "SELECT sum(length(hex(b))) FROM t"), 361_800);
    run(&writer, "VACUUM");
    for call in recording.all() {
        if let Call::Read(offset, len) = call {
            assert!((offset, len) == (24, 16) || len == 4096 && offset % 4096 == 0, "{call:?}");
        }
    }
}

#[test]
fn only_whole_pages_are_written() {
    let (database, writer) = filled();
    let mut file = file(&database, Lock::Exclusive);
    assert_eq!(file.write(0, &[0; 512]), Err(Refusal::Misplaced));
    assert_eq!(file.write(100, &[0; 4096]), Err(Refusal::Misplaced));
    drop(file);
    // The page size is fixed for a database.
    run(&writer, "PRAGMA page_size = 1024; VACUUM");
    assert_eq!(integer(&writer, "PRAGMA page_size"), 4096);
    // After a VACUUM SQLite takes it for changeable, until it reads the header.
    run(&writer, "VACUUM; PRAGMA page_size = 1024; DELETE FROM t WHERE a < 50; PRAGMA page_size = 8192; VACUUM");
    assert_eq!(integer(&writer, "SELECT count(*) FROM t"), 151);
    assert_sound(&database);
}

/// A sector larger than a page would make SQLite journal and write the pages beside it, too.
#[test]
fn small_pages_are_written_one_by_one() {
    let database = database_of(PageStore::new(PageSize::new(512).unwrap(), u64::MAX, clock()));
    let writer = connect(&database, Role::Writer);
    run(&writer, "PRAGMA page_size = 512; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    run(&writer, &insert(50, 300));
    let recording = Recording::start();
    run(&writer, "UPDATE t SET b = 1 WHERE a = 20");
    assert_eq!(writes(&recording.calls()).len(), 2);
    assert_sound(&database);
}

#[test]
fn a_new_database_gets_its_page_size_from_the_first_write_only() {
    for size in [512, 1024, 4096, 16_384, LARGEST] {
        let database = database_of(PageStore::new(PageSize::new(size).unwrap(), u64::MAX, clock()));
        let writer = connect(&database, Role::Writer);
        run(&writer, &format!("PRAGMA page_size = {size}; CREATE TABLE t(a INTEGER PRIMARY KEY, b)"));
        run(&writer, &insert(100, 1000));
        run(&writer, "PRAGMA page_size = 2048; VACUUM");
        assert_eq!(integer(&connect(&database, Role::Reader), "PRAGMA page_size"), i64::from(size));
        assert_eq!(database.store().pin().count(), PageCount(u32::try_from(image(&database).len()).unwrap() / size));
        assert_sound(&database);
    }
}
