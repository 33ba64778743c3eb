//! What SQLite promises to its file systems, as far as we rely on it, and what we promise in turn. Each test names the promise.

mod commit;
mod fetch;
mod limits;
mod locks;
mod names;
pub(super) mod probe;
mod scarce;
mod sizes;
mod spill;

use std::io::Read;
use std::ops::Deref;

use rusqlite::Connection;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::connection::{self, Role};
use crate::image::Image;
use crate::pages::PageSize;
use probe::{Call, Recording, Refused, Refusing};

const BUSY: i32 = rusqlite::ffi::SQLITE_BUSY;
const FULL: i32 = rusqlite::ffi::SQLITE_FULL;
const NOMEM: i32 = rusqlite::ffi::SQLITE_NOMEM;

/// Makes SQLite write pages out before the commit.
const SPILL: &str = "PRAGMA cache_size = 4";

struct Database(Registered);

impl Deref for Database {
    type Target = Registered;

    fn deref(&self) -> &Registered {
        &self.0
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn database_of(store: PageStore) -> Database {
    Database(Registered::new(store))
}

fn database() -> Database {
    database_of(PageStore::new(PageSize::DEFAULT, u64::MAX, clock()))
}

fn connect(database: &Database, role: Role) -> Connection {
    connection::open_trusted(database, role).unwrap()
}

/// With 200 rows of 1000 bytes in table `t`.
fn filled() -> (Database, Connection) {
    let database = database();
    let writer = connect(&database, Role::Writer);
    run(&writer, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    run(&writer, &insert(200, 1000));
    (database, writer)
}

fn insert(rows: u32, bytes: u32) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t(b) SELECT zeroblob({bytes}) FROM n"
    )
}

fn run(connection: &Connection, sql: &str) {
    connection.execute_batch(sql).unwrap();
}

/// Runs statements that may have rows, to the last row.
fn finish(connection: &Connection, statements: &str) {
    for sql in statements.split("; ") {
        let mut statement = connection.prepare(sql).unwrap();
        let mut rows = statement.raw_query();
        while rows.next().unwrap().is_some() {}
    }
}

/// The extended code with which SQLite refuses this.
fn refused(connection: &Connection, sql: &str) -> i32 {
    connection.execute_batch(sql).unwrap_err().sqlite_error().unwrap().extended_code
}

fn integer(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn text(connection: &Connection, sql: &str) -> String {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The newest version as a file.
fn image(database: &Database) -> Vec<u8> {
    let mut bytes = Vec::new();
    Image::new(database.store().pin()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn assert_sound(database: &Database) {
    assert_eq!(text(&connect(database, Role::Reader), "PRAGMA integrity_check"), "ok");
}

/// A file of our own, at this lock.
fn file(database: &Database, lock: Lock) -> File {
    let mut file = open(&database.file_name()).unwrap();
    if lock > Lock::None {
        file.lock(Lock::Shared).unwrap();
        file.lock(lock).unwrap();
    }
    file
}

fn page(number: u64) -> PageNo {
    PageNo::at((number - 1) * 4096, PageSize::DEFAULT).unwrap()
}

/// The calls without the writes, which are told by how many there were in a row.
fn outline(calls: &[Call]) -> Vec<String> {
    let mut outline = Vec::new();
    for run in calls.chunk_by(|one, next| matches!((one, next), (Call::Write(_), Call::Write(_)))) {
        match run {
            [Call::Write(_), ..] => outline.push("write".to_owned()),
            [call, ..] => outline.push(format!("{call:?}")),
            [] => {}
        }
    }
    outline
}

fn writes(calls: &[Call]) -> Vec<u64> {
    calls.iter().filter_map(|call| if let Call::Write(page) = call { Some(*page) } else { None }).collect()
}
