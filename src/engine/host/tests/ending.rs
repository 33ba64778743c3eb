//! Closing and shutting down: every acknowledged commit is saved, or named.

use super::*;
use crate::database::Stream;
use crate::sql::{Column, Effects, Flow, Params, Row, Rows, Script, SqlError};

#[tokio::test]
async fn rows_written_before_a_close_are_there_after_the_next_open() {
    for dialect in [Dialect::Standard, Dialect::R2] {
        let mut bench = Bench::with(dialect).await;
        let database = bench.open(bench.config("orders")).await;
        write(&database, "create table t(x); insert into t values (1), (2)").await;
        bench.close("orders").await.unwrap();
        bench.restart();
        let database = bench.open(bench.config("orders")).await;
        assert_eq!(count(&database).await, 2);
    }
}

#[tokio::test]
async fn a_close_that_cannot_flush_leaves_the_database_open() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    let config = bench.config("orders");
    bench.store.faults().add(Fault::new(FaultEffect::Refuse));
    bench.host.close(&config.name).await.unwrap_err();
    assert_eq!(count(&bench.host.get(&config.name).unwrap().database).await, 1);
    assert!(matches!(bench.host.state(&config.name), State::Open(Facts { uploads: Uploads::Failing { attempts: 1, .. }, .. })));
    assert!(bench.host.abandon(&config.name), "the rows are told to be lost");
}

#[tokio::test]
async fn whoever_holds_on_to_an_abandoned_database_gets_nothing_from_it_and_nothing_of_it_is_saved() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    bench.host.abandon(&bench.config("orders").name);
    database.ended().await;
    for refused in [database.write(request("insert into t values (1)")).await, database.read(request("select * from t")).await] {
        assert!(matches!(refused, Err(Error::NotServed { why: NotServed::Unknown, .. })), "{refused:?}");
    }
    assert!(database.flush(Flush::Forced).await.is_err());
}

#[tokio::test]
async fn writes_acknowledged_while_a_close_is_asked_for_are_in_the_final_flush() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        writers.spawn(async move {
            let mut acknowledged = 0;
            while database.write(request("insert into t values (1)")).await.is_ok() {
                acknowledged += 1;
            }
            acknowledged
        });
    }
    while count(&database).await < 20 {}
    bench.close("orders").await.unwrap();
    let acknowledged: i64 = writers.join_all().await.into_iter().sum();
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, acknowledged);
}

#[tokio::test]
async fn a_shutdown_saves_everything_and_names_what_it_could_not() {
    let mut bench = Bench::start().await;
    let saved = bench.open(bench.config("orders")).await;
    write(&saved, "create table t(x)").await;
    let mut other = bench.config("carts");
    other.location.key = DatabaseKey::parse("apps/carts.db").unwrap();
    let fenced = bench.open(other.clone()).await;
    write(&fenced, "create table t(x)").await;
    // Another process of the same resource takes over.
    let host = new_host();
    let mut changes = host.changes();
    host.open(other, Remembered::default());
    changes.recv().await.unwrap();
    let mut results = bench.host.shutdown(Duration::from_secs(30)).await;
    results.sort_by_key(|(name, _)| name.clone());
    assert!(matches!(&results[0], (name, Err(_)) if name.name() == "carts"), "{results:?}");
    assert!(matches!(&results[1], (name, Ok(())) if name.name() == "orders"), "{results:?}");
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 0);
}

#[tokio::test]
async fn a_close_goes_on_when_nobody_waits_for_it() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    let name = DatabaseName::new("apps", "orders");
    let host = Arc::clone(&bench.host);
    let mut close = Box::pin(host.close(&name));
    assert!(futures::poll!(&mut close).is_pending());
    drop(close);
    let results = bench.host.shutdown(Duration::from_secs(30)).await;
    assert!(matches!(&results[..], [(_, Ok(()))]), "{results:?}");
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 1);
}

#[tokio::test]
async fn a_shutdown_tries_again_while_there_is_time() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).times(1));
    let results = bench.host.shutdown(Duration::from_secs(30)).await;
    assert!(matches!(&results[..], [(_, Ok(()))]), "{results:?}");
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 1);
}

#[tokio::test]
async fn a_close_ends_open_transactions_and_saves_those_that_had_committed() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    let mut committed = database.stream(false);
    run(&mut committed, ["begin", "insert into t values (1)", "commit"]).await.unwrap();
    let mut open = database.stream(false);
    run(&mut open, ["begin", "insert into t values (2)"]).await.unwrap();
    // It waits behind the open one, and is under way when the close begins.
    let waiting = database.write(request("insert into t values (3)"));
    let (waiting, closed) = tokio::join!(waiting, bench.close("orders"));
    waiting.unwrap();
    closed.unwrap();
    for stream in [&mut open, &mut committed, &mut database.stream(false)] {
        assert!(matches!(run(stream, ["select 1"]).await, Err(Error::NotServed { .. })));
    }
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    let rows = database.read(request("select x from t order by x")).await.unwrap().results.remove(0).rows;
    assert_eq!(rows, [[Value::Integer(1)], [Value::Integer(3)]]);
}

/// Statements one after the other; the last failure.
struct Each {
    statements: std::collections::VecDeque<&'static str>,
    outcome: Result<(), SqlError>,
}

async fn run<const N: usize>(stream: &mut Stream, statements: [&'static str; N]) -> Result<(), Error> {
    let limits = stream.limits();
    Ok(stream.run(Each { statements: statements.into(), outcome: Ok(()) }, &limits).await?.outcome?)
}

impl Rows for Each {
    fn columns(&mut self, _: Vec<Column>) -> Result<(), SqlError> {
        Ok(())
    }

    fn row(&mut self, _: &Row<'_>) -> Result<Flow, SqlError> {
        Ok(Flow::More)
    }
}

impl Script for Each {
    fn next(&mut self, _: bool) -> Option<Statement> {
        let sql = self.statements.pop_front()?.to_owned();
        Some(Statement { sql, params: Params::None })
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        self.outcome = std::mem::replace(&mut self.outcome, Ok(())).and(outcome.map(drop));
    }
}
