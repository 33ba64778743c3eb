use super::*;
use crate::sql::{Spent, SqlErrorKind};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

async fn insert(database: &MemoryDatabase, value: i64) -> Result<usize, SqlError> {
    let limits = QueryLimits::default();
    let mut spent = Spent::default();
    let change = database.change(&limits, &mut spent, move |sql| Ok(sql.execute("INSERT INTO t VALUES(?)", [value])?));
    change.await.map(|(changed, _)| changed)
}

async fn table() -> MemoryDatabase {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    database
}

#[tokio::test]
async fn a_change_is_seen_by_whoever_asks_next() {
    let database = table().await;
    insert(&database, 7).await.unwrap();
    let found: i64 = database
        .ask(&QueryLimits::default(), &mut Spent::default(), |sql| Ok(sql.query_row("SELECT a FROM t", [], |row| row.get(0))?))
        .await
        .unwrap()
        .0;
    assert_eq!(found, 7);
}

#[tokio::test]
async fn an_error_takes_back_all_of_a_change_and_leaves_the_connection_usable() {
    let database = table().await;
    let refusal = SqlError::ours(SqlErrorKind::Constraint, "no");
    let (commits, refused) = (*database.commits().borrow(), refusal.clone());
    let limits = QueryLimits::default();
    let mut spent = Spent::default();
    let change = database.change(&limits, &mut spent, move |sql| {
        sql.execute("INSERT INTO t VALUES(1)", [])?;
        Err::<(), _>(refused)
    });
    assert_eq!(change.await, Err(refusal));
    assert_eq!(*database.commits().borrow(), commits);
    insert(&database, 2).await.unwrap();
    assert_eq!(integer(&database, "SELECT sum(a) FROM t").await, 2);
}

#[tokio::test]
async fn whoever_asks_cannot_write() {
    let database = table().await;
    let written = database.ask(&QueryLimits::default(), &mut Spent::default(), |sql| Ok(sql.execute("INSERT INTO t VALUES(1)", [])?)).await;
    assert_eq!(written.unwrap_err().kind, SqlErrorKind::Forbidden);
}

#[tokio::test]
async fn the_statement_timeout_ends_a_change_and_a_question() {
    let database = table().await;
    let limits = QueryLimits { statement_timeout: Duration::ZERO, ..QueryLimits::default() };
    let count = |sql: &Connection| Ok(sql.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?);
    assert_eq!(database.ask(&limits, &mut Spent::default(), count).await.unwrap_err().kind, SqlErrorKind::Timeout);
    assert_eq!(database.change(&limits, &mut Spent::default(), count).await.unwrap_err().kind, SqlErrorKind::Timeout);
    insert(&database, 1).await.unwrap();
}

#[tokio::test]
async fn a_change_nobody_waits_for_is_not_made() {
    let database = table().await;
    let (entered, has_entered) = std::sync::mpsc::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let limits = QueryLimits::default();
    let mut spent = Spent::default();
    let mut change = Box::pin(database.change(&limits, &mut spent, move |sql| {
        sql.execute("INSERT INTO t VALUES(1)", [])?;
        entered.send(()).ok();
        goes_on.recv().ok();
        Ok(())
    }));
    assert!(futures::poll!(&mut change).is_pending());
    tokio::task::spawn_blocking(move || has_entered.recv()).await.unwrap().unwrap();
    drop(change);
    go_on.send(()).unwrap();
    insert(&database, 2).await.unwrap();
    assert_eq!(integer(&database, "SELECT sum(a) FROM t").await, 2);
}
