//! Databases whose replies mean that the bucket has what they tell of.

use std::collections::VecDeque;

use futures::FutureExt as _;

use super::*;
use crate::config::Mode;
use crate::database::{News, Stream};
use crate::sql::{Column, Effects, Flow, Params, Row, Rows, Script, SqlError, SqlErrorKind};
use crate::tasks::spawn_owned;

impl Bench {
    fn synced(&self) -> DatabaseConfig {
        let mut config = self.config("orders");
        config.durability.mode = Mode::Sync;
        config
    }

    /// No delta arrives from now on.
    fn keep_deltas_out(&self) {
        self.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key.contains("/0000/")));
    }

    async fn with_table(config: impl FnOnce(&Self) -> DatabaseConfig) -> (Self, Database) {
        let bench = Self::start().await;
        let database = bench.open(config(&bench)).await;
        write(&database, "create table t(x)").await;
        (bench, database)
    }
}

/// Returns when the memory holds another commit.
async fn committed(database: &Database, work: impl Future<Output = ()> + Send + 'static) -> tokio_util::task::AbortOnDropHandle<()> {
    let mut commits = database.memory().commits();
    commits.mark_unchanged();
    let work = spawn_owned(work);
    commits.changed().await.unwrap();
    work
}

fn unconfirmed(error: &Error) -> bool {
    matches!(error, Error::Sql(SqlError { kind: SqlErrorKind::Unconfirmed, .. }))
}

#[tokio::test]
async fn a_reply_means_that_the_bucket_has_it_and_readers_see_nothing_else() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    assert!(!database.facts().pending);
    bench.keep_deltas_out();
    let writer = database.clone();
    let writing = committed(&database, async move { write(&writer, "insert into t values (1)").await }).await;
    assert_eq!(count(&database).await, 0, "it is not in the bucket");
    assert_eq!(database.pin().size(), database.memory().pin_shown().size());
    // What looks at nothing, and what fails whatever there is, waits for nothing.
    database.read(request("select 1")).await.unwrap();
    assert!(database.read(request("select * from nothing")).await.is_err_and(|error| !unconfirmed(&error)));
    assert!(database.write(request("pragma journal_mode = wal")).await.is_err_and(|error| !unconfirmed(&error)));
    assert!(!writing.is_finished());
    bench.store.faults().clear();
    writing.await.unwrap();
    assert_eq!((count(&database).await, database.facts().pending), (1, false));
}

#[tokio::test]
async fn a_commit_is_told_to_listeners_once_the_bucket_has_it() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    let mut listener = database.listen(None).unwrap();
    assert!(matches!(listener.next().await, Some(News::Begun(_))));
    bench.keep_deltas_out();
    let writer = database.clone();
    let writing = committed(&database, async move { write(&writer, "insert into t values (1)").await }).await;
    assert_eq!(listener.next().now_or_never(), None);
    bench.store.faults().clear();
    let Some(News::Commit { state, changes, .. }) = listener.next().await else { panic!("a commit") };
    assert_eq!((changes.len(), count(&database).await), (1, 1));
    writing.await.unwrap();
    assert_eq!(state, database.newest());
    bench.close("orders").await.unwrap();
    assert_eq!(listener.next().await, None);
}

#[tokio::test]
async fn many_commits_share_one_delta() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    let before = bench.store.requests().of(Operation::PutObject);
    let writing = (0..200).map(|n| {
        let database = database.clone();
        async move { write(&database, &format!("insert into t values ({n})")).await }
    });
    futures::future::join_all(writing).await;
    assert_eq!(count(&database).await, 200);
    let puts = bench.store.requests().of(Operation::PutObject) - before;
    assert!(puts < 100, "{puts} PUTs");
}

#[tokio::test]
async fn whoever_writes_when_the_tenure_ends_hears_that_nobody_knows() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    let slot = database.facts().txid + 1;
    bench.overwrite(&format!("apps/orders.db.ltx/main/0000/{slot:016x}-{slot:016x}.ltx"), b"of somebody else").await;
    let error = database.write(request("insert into t values (1)")).await.unwrap_err();
    assert!(unconfirmed(&error), "{error}");
    assert!(error.to_string().contains("may or may not"), "{error}");
    let error = database.read(request("select * from t")).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "what is read was in the bucket, but nothing is served any more: {error}");
}

#[tokio::test]
async fn a_statement_that_fails_tells_of_rows_only_when_the_bucket_has_them() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    write(&database, "create unique index one on t(x)").await;
    bench.keep_deltas_out();
    let writer = database.clone();
    let writing = committed(&database, async move { write(&writer, "insert into t values (1)").await }).await;
    let other = database.clone();
    let mut failing = spawn_owned(async move { other.write(request("insert into t values (1)")).await.map(drop) });
    tokio::select! {
        biased;
        failed = &mut failing => panic!("{failed:?} tells that there is a row, which may still be lost"),
        () = bench.store.faults().happened(2) => {}
    }
    bench.store.faults().clear();
    writing.await.unwrap();
    let error = failing.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Sql(SqlError { kind: SqlErrorKind::Constraint, .. })), "{error}");
}

#[tokio::test]
async fn one_request_may_wait_for_the_bucket_where_others_do_not() {
    let (bench, database) = Bench::with_table(|bench| bench.config("orders")).await;
    let before = database.facts().txid;
    database.clone().confirming().write(request("insert into t values (1)")).await.unwrap();
    assert_eq!((database.facts().txid, database.facts().pending), (before + 1, false), "the interval is an hour");
    write(&database, "insert into t values (2)").await;
    assert!(database.facts().pending);
    // What it tells of must be there, whoever wrote it.
    assert_eq!(count(&database.clone().confirming()).await, 2);
    assert!(!database.facts().pending);
    drop(bench);
}

#[tokio::test]
async fn the_mode_may_change_while_the_database_is_open() {
    let (bench, database) = Bench::with_table(|bench| bench.config("orders")).await;
    write(&database, "insert into t values (1)").await;
    bench.host.reconfigure(bench.synced());
    write(&database, "insert into t values (2)").await;
    while !database.memory().holds_back() {
        write(&database, "insert into t values (3)").await;
    }
    assert!(!database.facts().pending);
    bench.keep_deltas_out();
    bench.host.reconfigure(bench.config("orders"));
    while database.memory().holds_back() {
        bench.host.changes().recv().await.unwrap();
    }
    write(&database, "delete from t").await;
    assert_eq!(count(&database).await, 0, "in memory at once");
}

#[tokio::test]
async fn a_branch_that_is_switched_to_is_seen_at_once_and_writes_to_it_wait_as_before() {
    let (bench, database) = Bench::with_table(|bench| DatabaseConfig { branches_by_api: true, ..bench.synced() }).await;
    write(&database, "insert into t values (1)").await;
    let (name, next) = (DatabaseName::new("apps", "orders"), BranchName::parse("next").unwrap());
    bench.host.create_branch_of(&name, &next, None, Point::Newest).await.unwrap();
    write(&database, "insert into t values (2)").await;
    bench.host.switch_branch(&name, &next).await.unwrap();
    assert_eq!(count(&database).await, 1);
    write(&database, "insert into t values (3)").await;
    assert_eq!((count(&database).await, database.facts().pending), (2, false));
}

#[tokio::test]
async fn whoever_asks_for_it_learns_that_somebody_else_has_the_branch() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    let before = bench.store.requests().of(Operation::GetObject);
    let checks = futures::future::join_all((0..50).map(|_| database.check_tenure())).await;
    assert!(checks.into_iter().all(|check| check.is_ok()));
    assert!(bench.store.requests().of(Operation::GetObject) - before <= 2, "they are answered together");
    let other = new_host();
    let mut changes = other.changes();
    other.open(bench.synced(), Remembered::default());
    let name = DatabaseName::new("apps", "orders");
    while !matches!(other.state(&name), State::Open(_)) {
        changes.recv().await.unwrap();
    }
    assert!(matches!(&*database.check_tenure().await.unwrap_err(), Error::Fenced { .. }));
}

/// Statements whose rows are sent as they come, or collected, and how many have begun.
struct Sent {
    statements: VecDeque<&'static str>,
    collected: bool,
    begun: watch::Sender<usize>,
    outcomes: Vec<Result<Effects, SqlError>>,
}

impl Rows for Sent {
    fn columns(&mut self, _: Vec<Column>) -> Result<(), SqlError> {
        self.begun.send_modify(|begun| *begun += 1);
        Ok(())
    }

    fn row(&mut self, _: &Row<'_>) -> Result<Flow, SqlError> {
        Ok(Flow::More)
    }
}

impl Script for Sent {
    fn next(&mut self, _: bool) -> Option<Statement> {
        Some(Statement { sql: self.statements.pop_front()?.to_owned(), params: Params::None })
    }

    fn may_begin_again(&self) -> bool {
        self.collected
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        self.outcomes.push(outcome);
    }
}

impl Sent {
    fn of(statements: &[&'static str]) -> (Self, watch::Receiver<usize>) {
        let (begun, seen) = watch::channel(0);
        (Self { statements: statements.iter().copied().collect(), collected: false, begun, outcomes: Vec::new() }, seen)
    }
}

/// Collects what they give; how many succeed.
async fn run(stream: &mut Stream, statements: &[&'static str]) -> Result<usize, Error> {
    let (script, limits) = (Sent { collected: true, ..Sent::of(statements).0 }, stream.limits());
    Ok(stream.run(script, &limits).await?.outcomes.into_iter().flatten().count())
}

#[tokio::test]
async fn rows_that_are_sent_as_they_come_tell_of_nothing_that_the_bucket_has_not() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    bench.keep_deltas_out();
    let (script, mut begun) = Sent::of(&["insert into t values (1)", "select x from t", "select 1"]);
    let mut stream = database.stream(false);
    let limits = stream.limits();
    let running = spawn_owned(async move { stream.run(script, &limits).await.unwrap().outcomes.len() });
    begun.wait_for(|begun| *begun == 1).await.unwrap();
    bench.store.faults().happened(2).await;
    assert_eq!(*begun.borrow(), 1, "the next one would send with its rows that the first is done");
    bench.store.faults().clear();
    assert_eq!(running.await.unwrap(), 3);
}

#[tokio::test]
async fn a_transaction_over_several_calls_tells_nothing_that_the_bucket_has_not() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    let mut stream = database.stream(false);
    assert_eq!(run(&mut stream, &["begin immediate", "insert into t values (1)"]).await.unwrap(), 2);
    assert_eq!(count(&database).await, 0);
    assert_eq!(run(&mut stream, &["commit"]).await.unwrap(), 1);
    assert_eq!((count(&database).await, database.facts().pending), (1, false));
    // It reads what another has committed and the bucket has not.
    bench.keep_deltas_out();
    let writer = database.clone();
    let writing = committed(&database, async move { write(&writer, "insert into t values (2)").await }).await;
    let reading = spawn_owned(async move { run(&mut stream, &["begin immediate", "select x from t", "rollback"]).await.unwrap() });
    bench.store.faults().happened(2).await;
    assert!(!reading.is_finished());
    bench.store.faults().clear();
    writing.await.unwrap();
    assert_eq!(reading.await.unwrap(), 3);
}

#[tokio::test]
async fn answers_that_are_gathered_wait_once() {
    let (bench, database) = Bench::with_table(Bench::synced).await;
    bench.keep_deltas_out();
    let mut stream = database.stream(false);
    stream.gather();
    for _ in 0..3 {
        assert_eq!(run(&mut stream, &["insert into t values (1)"]).await.unwrap(), 1);
    }
    let confirming = spawn_owned(async move { stream.confirm().await.unwrap() });
    bench.store.faults().happened(2).await;
    assert!(!confirming.is_finished());
    bench.store.faults().clear();
    confirming.await.unwrap();
    assert_eq!((count(&database).await, database.facts().pending), (3, false));
}
