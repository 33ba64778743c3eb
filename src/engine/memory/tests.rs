use std::io::Read as _;
use std::time::Duration;

use super::*;
use crate::sql::{Params, ResultSet, Statement, Transaction, Value};

mod branch;
mod brief;
mod connections;
mod isolation;
mod limits;
mod listening;
mod random;
mod sandbox;
mod scripts;
mod sharing;
mod stream;
mod views;

fn options() -> MemoryOptions {
    MemoryOptions::new(SqlPool::new(NonZeroUsize::new(4).unwrap()))
}

fn database() -> MemoryDatabase {
    MemoryDatabase::new(options()).unwrap()
}

fn request(sql: &str) -> Request {
    Request { statements: vec![Statement { sql: sql.to_owned(), params: Params::None }], transaction: Transaction::Immediate }
}

fn each(sql: &str) -> Request {
    Request { transaction: Transaction::None, ..request(sql) }
}

fn with(sql: &str, params: Params) -> Request {
    Request { statements: vec![Statement { sql: sql.to_owned(), params }], transaction: Transaction::Immediate }
}

async fn write(database: &MemoryDatabase, sql: &str) -> Result<Response, SqlError> {
    database.write(request(sql), &QueryLimits::default()).await
}

async fn read(database: &MemoryDatabase, sql: &str) -> Result<Response, SqlError> {
    database.read(request(sql), &QueryLimits::default()).await
}

async fn rows(database: &MemoryDatabase, sql: &str) -> Vec<Vec<Value>> {
    read(database, sql).await.unwrap().results.pop().unwrap().rows
}

async fn integer(database: &MemoryDatabase, sql: &str) -> i64 {
    match rows(database, sql).await[..] {
        [ref row] => match row[..] {
            [Value::Integer(integer)] => integer,
            ref other => panic!("{other:?}"),
        },
        ref other => panic!("{other:?}"),
    }
}

fn image(pin: &Pin) -> Vec<u8> {
    let mut bytes = Vec::new();
    pin.image().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, pin.size());
    bytes
}

#[tokio::test]
async fn what_is_written_is_read() {
    let database = database();
    write(&database, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)").await.unwrap();
    let insert = with("INSERT INTO t(b) VALUES(?)", Params::Positional(vec![Value::Text("x".into())]));
    let response = database.write(insert, &QueryLimits::default()).await.unwrap();
    assert_eq!(response.results, [ResultSet { rows_affected: 1, last_insert_rowid: Some(1), ..ResultSet::default() }]);
    assert_eq!(rows(&database, "SELECT a, b FROM t").await, [[Value::Integer(1), Value::Text("x".into())]]);
    assert_eq!(database.check(), Ok(()));
}

#[tokio::test]
async fn a_new_database_is_a_file_already() {
    let database = database();
    assert_eq!(database.size(), 4096);
    let bytes = image(&database.pin());
    assert_eq!(&bytes[..16], b"SQLite format 3\0");
    let again = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
    assert_eq!(again.check(), Ok(()));
}

#[tokio::test]
async fn an_image_written_out_and_loaded_is_equal() {
    let database = database();
    let fill = "CREATE TABLE t(a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i, randomblob(500) FROM n";
    write(&database, fill).await.unwrap();
    let bytes = image(&database.pin());
    let again = MemoryDatabase::load(bytes.as_slice(), options()).unwrap();
    assert_eq!(again.check(), Ok(()));
    assert_eq!(image(&again.pin()), bytes);
    assert_eq!(integer(&again, "SELECT count(*) FROM t").await, 1000);
}

#[tokio::test]
async fn a_pin_stays_as_it_is() {
    let database = database();
    write(&database, "CREATE TABLE t(a); INSERT INTO t VALUES('before')").await.unwrap();
    let pin = database.pin();
    let before = image(&pin);
    write(&database, "UPDATE t SET a = 'after'; CREATE TABLE more(a)").await.unwrap();
    assert_eq!(image(&pin), before);
    assert_ne!(image(&database.pin()), before);
    assert_eq!(database.pin().commits(), Commits(pin.commits().0 + 1));
}

#[tokio::test]
async fn stamps_differ_in_the_counter_alone() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    let pin = database.pin();
    let mut stamped = Vec::new();
    pin.stamped_image(0x0102_0304).read_to_end(&mut stamped).unwrap();
    assert_eq!(stamped[24..28], [1, 2, 3, 4]);
    assert_eq!(stamped[92..96], [1, 2, 3, 4]);
    let plain = image(&pin);
    let differing = (0..plain.len()).filter(|at| plain[*at] != stamped[*at]);
    assert!(differing.into_iter().all(|at| (24..28).contains(&at) || (92..96).contains(&at)));
    assert_eq!(MemoryDatabase::load(stamped.as_slice(), options()).unwrap().check(), Ok(()));
}

#[tokio::test]
async fn a_commit_that_changes_something_is_announced_once() {
    let database = database();
    let mut commits = database.commits();
    commits.mark_unchanged();
    write(&database, "CREATE TABLE t(a); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)").await.unwrap();
    assert!(commits.has_changed().unwrap());
    assert_eq!(*commits.borrow_and_update(), Commits(2));
    write(&database, "SELECT 1; DELETE FROM t WHERE a = 9").await.unwrap();
    write(&database, "INSERT INTO t VALUES(1); SELECT nothing").await.unwrap_err();
    read(&database, "SELECT * FROM t").await.unwrap();
    assert!(!commits.has_changed().unwrap());
}

#[tokio::test]
async fn the_engine_creates_tables_beside_the_sandbox() {
    let database = database();
    let made = database.update(|transaction| Ok(transaction.execute("CREATE TABLE seed(a)", [])?)).await;
    assert_eq!(made, Ok(0));
    let failed: Result<(), SqlError> = database
        .update(|transaction| {
            transaction.execute("INSERT INTO seed VALUES(1)", [])?;
            Err(transaction.execute("INSERT INTO nowhere VALUES(1)", []).unwrap_err().into())
        })
        .await;
    assert_eq!(failed.unwrap_err().kind, SqlErrorKind::Statement);
    assert_eq!(integer(&database, "SELECT count(*) FROM seed").await, 0);
}

#[tokio::test]
async fn a_panic_in_an_update_rolls_it_back_and_the_next_one_works() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    let panicked: Result<(), SqlError> = database
        .update(|transaction| {
            transaction.execute("INSERT INTO t VALUES(1)", [])?;
            panic!("on purpose");
        })
        .await;
    assert_eq!(panicked.unwrap_err().kind, SqlErrorKind::Internal);
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(2)]]);
}
