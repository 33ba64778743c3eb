use std::num::NonZeroUsize;
use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;
use crate::connection::{Role, Rules};
use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};
use crate::sql::ResultMemory;

async fn ask(sql: &str, params: Params) -> Result<Vec<ResultSet>, SqlError> {
    let database = MemoryDatabase::new(MemoryOptions::new(SqlPool::new(NonZeroUsize::MIN))).unwrap();
    let setup = "CREATE TABLE t(a INTEGER PRIMARY KEY, b VARCHAR(9) UNIQUE); INSERT INTO t VALUES(5, 'five'); CREATE TABLE w(a PRIMARY KEY) WITHOUT ROWID";
    database.write(request(setup, Params::None), &QueryLimits::default()).await.unwrap();
    database.write(request(sql, params), &QueryLimits::default()).await.map(|response| response.results)
}

fn request(sql: &str, params: Params) -> Request {
    Request { statements: vec![Statement { sql: sql.into(), params }], transaction: Transaction::Immediate }
}

async fn one(sql: &str) -> ResultSet {
    ask(sql, Params::None).await.unwrap().pop().unwrap()
}

fn named(values: &[(&str, i64)]) -> Params {
    Params::Named(values.iter().map(|(name, value)| ((*name).to_owned(), Value::Integer(*value))).collect())
}

fn positional(values: &[i64]) -> Params {
    Params::Positional(values.iter().map(|value| Value::Integer(*value)).collect())
}

#[tokio::test]
async fn every_statement_of_a_text_has_its_result() {
    let results = ask(" ; SELECT 1 AS one; -- no statement\n SELECT a, b, b || '' FROM t; /* end */ ", Params::None).await.unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].columns, [Column { name: "one".into(), decltype: None }]);
    let decltypes: Vec<_> = results[1].columns.iter().map(|column| column.decltype.as_deref()).collect();
    assert_eq!(decltypes, [Some("INTEGER"), Some("VARCHAR(9)"), None]);
    for nothing in ["", " ; -- only a comment"] {
        assert_eq!(ask(nothing, Params::None).await.unwrap_err().kind, SqlErrorKind::Statement);
    }
}

#[tokio::test]
async fn counts_and_row_ids_are_those_of_the_statement_itself() {
    let of = async |sql: &str| {
        let result = one(sql).await;
        (result.rows_affected, result.last_insert_rowid)
    };
    assert_eq!(of("INSERT INTO t(b) VALUES('x'), ('y')").await, (2, Some(7)));
    assert_eq!(of("INSERT INTO t(b) VALUES('x'); SELECT 1").await, (0, None));
    assert_eq!(of("INSERT INTO t(b) VALUES('x'); UPDATE t SET b = b").await, (2, None));
    assert_eq!(of("INSERT INTO t(b) VALUES('x'); CREATE TABLE u(a)").await, (0, None));
    assert_eq!(of("INSERT INTO t(b) VALUES('x'); INSERT OR IGNORE INTO t(b) VALUES('x')").await, (0, None));
    assert_eq!(of("INSERT INTO t(b) VALUES('five') ON CONFLICT(b) DO UPDATE SET b = 'new'").await, (1, None));
    assert_eq!(of("INSERT INTO w VALUES('x')").await, (1, None));
    assert_eq!(of("WITH x(y) AS (SELECT 'z') INSERT INTO t(b) SELECT y FROM x RETURNING a").await, (1, Some(6)));
    assert_eq!(of("DELETE FROM t").await, (1, None));
}

#[tokio::test]
async fn parameters_fit_exactly_or_are_refused() {
    let row = |results: Result<Vec<ResultSet>, SqlError>| results.unwrap()[0].rows[0].clone();
    let integers = |values: &[i64]| values.iter().map(|value| Value::Integer(*value)).collect::<Vec<_>>();
    assert_eq!(row(ask("SELECT ?, ?2", positional(&[1, 2])).await), integers(&[1, 2]));
    assert_eq!(row(ask("SELECT :a, @b, $c, :a", named(&[("a", 1), ("@b", 2), ("$c", 3)])).await), integers(&[1, 2, 3, 1]));
    for (sql, params) in [
        ("SELECT ?", Params::None),
        ("SELECT ?", positional(&[1, 2])),
        ("SELECT ?, ?", positional(&[1])),
        ("SELECT ?2", positional(&[1])),
        ("SELECT 1", named(&[("a", 1)])),
        ("SELECT :a, :b", named(&[("a", 1)])),
        ("SELECT :a", named(&[("a", 1), (":a", 2)])),
        ("SELECT ?, :a", named(&[("a", 1)])),
        ("SELECT ?; SELECT 1", positional(&[1])),
    ] {
        let error = ask(sql, params.clone()).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Arguments, "{sql} {params:?}: {error}");
    }
}

#[tokio::test]
async fn an_error_tells_where_in_the_text_it_is() {
    let sql = "SELECT 1; /* ä */ SELECT nowhere FROM t";
    let error = ask(sql, Params::None).await.unwrap_err();
    assert_eq!((error.kind, error.extended_code, error.offset), (SqlErrorKind::Statement, 1, sql.find("nowhere")));
    let error = ask("SELECT 1; SELEC 2", Params::None).await.unwrap_err();
    assert_eq!(error.offset, Some(10));
    assert_eq!(ask("SELECT 1\0; DROP TABLE t", Params::None).await.unwrap_err().kind, SqlErrorKind::Statement);
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let values = vec![
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Integer(i64::MAX),
        Value::Real(f64::INFINITY),
        Value::Real(0.1),
        Value::Text("ä\0b".into()),
        Value::Text(String::new()),
        Value::Blob(vec![0, 255]),
        Value::Blob(vec![]),
    ];
    let sql = format!("SELECT ?{}", ", ?".repeat(values.len() - 1));
    let results = ask(&sql, Params::Positional(values.clone())).await.unwrap();
    assert_eq!(results[0].rows, [values]);
    assert_eq!(ask("SELECT ?", Params::Positional(vec![Value::Real(f64::NAN)])).await.unwrap()[0].rows, [[Value::Null]]);
}

#[tokio::test]
async fn text_that_is_not_utf8_fails_its_statement() {
    let error = ask("SELECT CAST(x'ff' AS TEXT) AS bad", Params::None).await.unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::Statement);
    assert!(error.message.contains("column bad"), "{error}");
}

#[test]
fn a_request_that_nobody_waits_for_begins_no_statement_and_commits_nothing() {
    let database = MemoryDatabase::new(MemoryOptions::new(SqlPool::new(NonZeroUsize::MIN))).unwrap();
    let session = Session::open(database.file(), Role::Writer, Rules::Request, Arc::new(SystemClock)).unwrap();
    let limits = QueryLimits::default();
    let bounds =
        |cancel| Bounds { limits: &limits, cancel, holding: ResultMemory::new(1 << 20).share().hold(), slow_after: Duration::from_secs(1) };
    let cancel = Cancel::default();
    drop(cancel.on_drop());
    let short = request("CREATE TABLE t(a)", Params::None);
    let error = run(&session, &short, Begin::Immediate, bounds(&cancel), &mut Spent::default()).unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::Cancelled);
    run(&session, &short, Begin::Immediate, bounds(&Cancel::default()), &mut Spent::default()).unwrap();
}

#[tokio::test]
async fn a_statement_that_fails_while_it_gives_rows_has_changed_nothing() {
    let database = MemoryDatabase::new(MemoryOptions::new(SqlPool::new(NonZeroUsize::MIN))).unwrap();
    database.write(request("CREATE TABLE t(a)", Params::None), &QueryLimits::default()).await.unwrap();
    let limits = QueryLimits { max_result_size: 1000, ..QueryLimits::default() };
    let sql = "INSERT INTO t VALUES (1), (2), (zeroblob(2000)), (4) RETURNING a";
    for transaction in [Transaction::None, Transaction::Immediate] {
        let error = database.write(Request { transaction, ..request(sql, Params::None) }, &limits).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::ResultTooLarge);
        let count = database.read(request("SELECT count(*) FROM t", Params::None), &limits).await.unwrap();
        assert_eq!(count.results[0].rows, [[Value::Integer(0)]], "{transaction:?}");
    }
    let limits = QueryLimits { max_rows: 2, ..QueryLimits::default() };
    let few = database.write(Request { transaction: Transaction::None, ..request(sql, Params::None) }, &limits).await.unwrap();
    assert_eq!((few.results[0].rows.len(), few.results[0].truncated, few.results[0].rows_affected), (2, true, 4));
}
