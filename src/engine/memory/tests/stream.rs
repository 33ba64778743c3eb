use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;

use super::*;
use crate::sql::{Column, Effects, Flow, Row, Rows, Script};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

fn limits() -> StreamLimits {
    StreamLimits::of(QueryLimits { writer_wait: Duration::from_mins(1), ..QueryLimits::default() })
}

/// The rows of a statement, and what else it did.
pub(super) type Outcome = Result<(Vec<Vec<Value>>, Effects), SqlError>;

/// Statements one after the other, whatever becomes of them.
#[derive(Default)]
pub(super) struct Each {
    statements: VecDeque<Statement>,
    rows: Vec<Vec<Value>>,
    pub(super) outcomes: Vec<Outcome>,
    was_autocommit: Vec<bool>,
}

impl Each {
    pub(super) fn of<'a>(statements: impl IntoIterator<Item = &'a str>) -> Self {
        let statement = |sql: &str| Statement { sql: sql.to_owned(), params: Params::None };
        Self { statements: statements.into_iter().map(statement).collect(), ..Self::default() }
    }
}

impl Rows for Each {
    fn columns(&mut self, _: Vec<Column>) -> Result<(), SqlError> {
        self.rows.clear();
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> Result<Flow, SqlError> {
        self.rows.push((0..row.len()).map(|at| row.value(at).map(Value::from)).collect::<Result<_, _>>()?);
        Ok(Flow::More)
    }
}

impl Script for Each {
    fn next(&mut self, is_autocommit: bool) -> Option<Statement> {
        let next = self.statements.pop_front();
        self.was_autocommit.extend(next.is_some().then_some(is_autocommit));
        next
    }

    fn may_begin_again(&self) -> bool {
        true
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        let rows = std::mem::take(&mut self.rows);
        self.outcomes.push(outcome.map(|effects| (rows, effects)));
    }
}

async fn run<'a>(stream: &mut MemoryStream, statements: impl IntoIterator<Item = &'a str>) -> Each {
    stream.run(Each::of(statements), &limits(), &|| Ok(())).await
}

/// The rows of the one statement.
async fn one(stream: &mut MemoryStream, sql: &str) -> Result<Vec<Vec<Value>>, SqlError> {
    let mut outcomes = run(stream, [sql]).await.outcomes;
    assert_eq!(outcomes.len(), 1, "{sql}");
    outcomes.remove(0).map(|(rows, _)| rows)
}

async fn table() -> MemoryDatabase {
    let database = database();
    write(&database, "CREATE TABLE t(a UNIQUE)").await.unwrap();
    database
}

async fn count(database: &MemoryDatabase) -> i64 {
    integer(database, "SELECT count(*) FROM t").await
}

#[tokio::test]
async fn what_a_transaction_does_is_seen_after_its_commit_and_not_before() {
    let database = table().await;
    for begin in ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "SAVEPOINT s"] {
        let mut stream = database.stream(false);
        write(&database, "DELETE FROM t").await.unwrap();
        one(&mut stream, begin).await.unwrap();
        assert!(!stream.is_autocommit());
        one(&mut stream, "INSERT INTO t VALUES(1)").await.unwrap();
        one(&mut stream, "INSERT INTO t VALUES(2)").await.unwrap();
        assert_eq!(one(&mut stream, "SELECT count(*) FROM t").await.unwrap(), [[Value::Integer(2)]]);
        assert_eq!(count(&database).await, 0, "{begin}");
        one(&mut stream, if begin.starts_with('S') { "RELEASE s" } else { "COMMIT" }).await.unwrap();
        assert_eq!(count(&database).await, 2, "{begin}");
        assert!(stream.is_autocommit());
    }
}

#[tokio::test]
async fn a_stream_without_transaction_or_setting_has_no_connection_of_its_own() {
    let database = table().await;
    let mut stream = database.stream(false);
    assert!(!stream.has_connection());
    for (sql, lasts) in [
        ("INSERT INTO t VALUES(1)", false),
        ("SELECT * FROM t", false),
        ("BEGIN", true),
        ("SELECT * FROM t", true),
        ("ROLLBACK", false),
        ("PRAGMA foreign_keys = ON", true),
        ("SELECT * FROM t", true),
    ] {
        one(&mut stream, sql).await.unwrap();
        assert_eq!(stream.has_connection(), lasts, "{sql}");
    }
    assert_eq!(one(&mut stream, "PRAGMA foreign_keys").await.unwrap(), [[Value::Integer(1)]]);
    assert_eq!(one(&mut database.stream(false), "PRAGMA foreign_keys").await.unwrap(), [[Value::Integer(0)]]);
}

#[tokio::test]
async fn a_stream_knows_its_own_last_row_id_and_no_other() {
    let database = table().await;
    let (mut ours, mut theirs) = (database.stream(false), database.stream(false));
    one(&mut ours, "INSERT INTO t VALUES('a')").await.unwrap();
    one(&mut theirs, "INSERT INTO t VALUES('b')").await.unwrap();
    let last = "SELECT last_insert_rowid()";
    assert_eq!(one(&mut ours, last).await.unwrap(), [[Value::Integer(1)]]);
    assert_eq!(one(&mut theirs, last).await.unwrap(), [[Value::Integer(2)]]);
    assert_eq!(one(&mut database.stream(false), last).await.unwrap(), [[Value::Integer(0)]]);
}

#[tokio::test]
async fn a_dropped_stream_leaves_nothing_of_its_transaction() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "INSERT INTO t VALUES(1)"]).await;
    drop(stream);
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(2)]]);
}

#[tokio::test]
async fn a_script_is_asked_with_the_state_after_the_statement_before() {
    let database = table().await;
    let mut stream = database.stream(false);
    let script = run(&mut stream, ["BEGIN", "INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(1)", "COMMIT", "SELECT 1"]).await;
    assert_eq!(script.was_autocommit, [true, false, false, false, true]);
    let failed = script.outcomes[2].as_ref().unwrap_err();
    assert_eq!((failed.kind, failed.extended_code), (SqlErrorKind::Constraint, 2067));
    let (_, effects) = script.outcomes[1].as_ref().unwrap();
    assert_eq!((effects.rows_affected, effects.last_insert_rowid, effects.seen), (1, Some(1), None));
    let (_, effects) = script.outcomes[3].as_ref().unwrap();
    assert_eq!((effects.rows_affected, effects.seen.is_some()), (0, true));
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_transaction_that_read_before_another_committed_cannot_write_any_more() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "SELECT * FROM t"]).await;
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    let error = one(&mut stream, "INSERT INTO t VALUES(2)").await.unwrap_err();
    assert_eq!((error.kind, error.extended_code), (SqlErrorKind::Busy, rusqlite::ffi::SQLITE_BUSY_SNAPSHOT));
    // It does not keep the place that it could not use.
    write(&database, "INSERT INTO t VALUES(3)").await.unwrap();
    assert_eq!(one(&mut stream, "SELECT count(*) FROM t").await.unwrap(), [[Value::Integer(0)]]);
    one(&mut stream, "ROLLBACK").await.unwrap();
    one(&mut stream, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(count(&database).await, 3);
}

#[tokio::test]
async fn writers_wait_for_one_another_and_none_is_told_busy() {
    let database = table().await;
    let writer = |at: i64| {
        let database = database.clone();
        async move {
            let mut stream = database.stream(false);
            for round in 0..20 {
                let insert = format!("INSERT INTO t VALUES({})", at * 1000 + round);
                let begin = if round % 2 == 0 { "BEGIN" } else { "BEGIN IMMEDIATE" };
                for outcome in run(&mut stream, [begin, &insert, "COMMIT"]).await.outcomes {
                    outcome.unwrap();
                }
            }
        }
    };
    futures::future::join_all((0..8).map(writer)).await;
    assert_eq!(count(&database).await, 160);
}

#[tokio::test(start_paused = true)]
async fn an_idle_writer_is_rolled_back_only_while_others_wait() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN IMMEDIATE", "INSERT INTO t VALUES(1)"]).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    run(&mut stream, ["INSERT INTO t VALUES(2)", "ROLLBACK"]).await.outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    run(&mut stream, ["BEGIN IMMEDIATE", "INSERT INTO t VALUES(1)"]).await;
    let patient = QueryLimits { writer_wait: Duration::from_mins(1), ..QueryLimits::default() };
    database.write(request("INSERT INTO t VALUES(3)"), &patient).await.unwrap();
    assert!(!stream.is_autocommit());
    let script = run(&mut stream, ["INSERT INTO t VALUES(4)", "INSERT INTO t VALUES(5)", "COMMIT", "INSERT INTO t VALUES(6)"]).await;
    for outcome in &script.outcomes[..3] {
        let error = outcome.as_ref().unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::TransactionEnded);
        assert_eq!(error.message, "the transaction was rolled back: it was idle for 5000 ms while others waited to write");
    }
    script.outcomes[3].as_ref().unwrap();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(3)], [Value::Integer(6)]]);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_of_what_was_rolled_back_already_succeeds() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN IMMEDIATE", "INSERT INTO t VALUES(1)"]).await;
    let patient = QueryLimits { writer_wait: Duration::from_mins(1), ..QueryLimits::default() };
    database.write(request("INSERT INTO t VALUES(3)"), &patient).await.unwrap();
    let outcomes = run(&mut stream, ["ROLLBACK TO s", "rollback", "INSERT INTO t VALUES(2)"]).await.outcomes;
    assert!(outcomes[0].is_err() && outcomes[1].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert_eq!(count(&database).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_never_rests_ends_when_it_took_too_long() {
    let database = table().await;
    let mut stream = database.stream(false);
    one(&mut stream, "BEGIN IMMEDIATE").await.unwrap();
    let waiting = {
        let database = database.clone();
        async move { database.write(request("INSERT INTO t VALUES('other')"), &limits().query).await }
    };
    let busy = async {
        let mut written = 0;
        while one(&mut stream, "INSERT INTO t VALUES(random())").await.is_ok() {
            written += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        written
    };
    let (waited, written) = tokio::join!(waiting, busy);
    waited.unwrap();
    assert!((29..=31).contains(&written), "{written}");
    assert_eq!(count(&database).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_transaction_that_reads_lets_go_of_its_version() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "SELECT * FROM t"]).await;
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert!(database.memory_use().pinned > 0);
    tokio::time::sleep(Duration::from_secs(61)).await;
    database.end_transactions("on purpose").await;
    let error = one(&mut stream, "SELECT 1").await.unwrap_err();
    assert_eq!(error.message, "the transaction was rolled back: it was idle for 60000 ms");
    assert_eq!(database.memory_use().pinned, 0);
}

#[tokio::test]
async fn a_switch_ends_open_transactions_and_tells_them() {
    let database = table().await;
    let branch = MemoryDatabase::fork(&database.pin(), options());
    let (mut writing, mut reading, mut idle) = (database.stream(false), database.stream(false), database.stream(false));
    run(&mut writing, ["BEGIN", "INSERT INTO t VALUES(1)"]).await;
    run(&mut reading, ["BEGIN", "SELECT * FROM t"]).await;
    one(&mut idle, "SELECT * FROM t").await.unwrap();
    database.switch(&branch.pin()).await.unwrap();
    for stream in [&mut writing, &mut reading] {
        let error = one(stream, "SELECT 1").await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::TransactionEnded);
        assert_eq!(error.message, "the transaction was rolled back: the database was switched");
        one(stream, "ROLLBACK").await.unwrap();
        one(stream, "SELECT 1").await.unwrap();
    }
    one(&mut idle, "SELECT * FROM t").await.unwrap();
    assert_eq!(count(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_stops_a_statement_in_an_open_transaction() {
    let database = table().await;
    let branch = MemoryDatabase::fork(&database.pin(), options());
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "INSERT INTO t VALUES(1)"]).await;
    let (ended, switched) = tokio::join!(one(&mut stream, ENDLESS), async { database.switch(&branch.pin()).await });
    switched.unwrap();
    assert!(matches!(ended.unwrap_err().kind, SqlErrorKind::Cancelled | SqlErrorKind::TransactionEnded));
    assert_eq!(one(&mut stream, "SELECT 1").await.unwrap_err().kind, SqlErrorKind::TransactionEnded);
    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_of_a_statement_stops_it_and_loses_the_transaction() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "INSERT INTO t VALUES(1)"]).await;
    let mut endless = Box::pin(run(&mut stream, [ENDLESS]));
    assert!(futures::poll!(&mut endless).is_pending());
    drop(endless);
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(2)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_while_a_transaction_opens_makes_nobody_busy() {
    let database = table().await;
    for n in 0..300 {
        let mut stream = database.stream(false);
        let mut opening = Box::pin(run(&mut stream, ["BEGIN IMMEDIATE"]));
        // The first poll takes the place and hands the work to a thread, which may even be done by now.
        drop(futures::poll!(&mut opening));
        drop(opening);
        drop(stream);
        write(&database, &format!("INSERT INTO t VALUES({n})")).await.unwrap();
    }
    assert_eq!(count(&database).await, 300);
}

#[tokio::test]
async fn a_failure_of_sqlite_that_ends_the_transaction_lets_others_write() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "INSERT INTO t VALUES(1)"]).await;
    assert_eq!(one(&mut stream, "INSERT OR ROLLBACK INTO t VALUES(1)").await.unwrap_err().kind, SqlErrorKind::Constraint);
    assert!(stream.is_autocommit());
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    let error = one(&mut stream, "COMMIT").await.unwrap_err();
    assert_eq!(error.message, "cannot commit - no transaction is active");
}

#[tokio::test]
async fn a_commit_that_fails_for_its_size_can_be_rolled_back() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "INSERT INTO t VALUES(zeroblob(20000))"]).await;
    database.set_max_size(1);
    assert_eq!(one(&mut stream, "COMMIT").await.unwrap_err().kind, SqlErrorKind::Full);
    // SQLite leaves it open: the caller decides.
    one(&mut stream, "ROLLBACK").await.ok();
    database.set_max_size(1 << 20);
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_stream_that_only_reads_writes_nothing() {
    let database = table().await;
    let mut stream = database.stream(true);
    for sql in ["INSERT INTO t VALUES(1)", "BEGIN IMMEDIATE", "CREATE TABLE u(a)", "PRAGMA user_version = 1", "DROP TABLE t"] {
        assert_eq!(one(&mut stream, sql).await.unwrap_err().kind, SqlErrorKind::Forbidden, "{sql}");
    }
    run(&mut stream, ["BEGIN", "SELECT * FROM t", "COMMIT"]).await.outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn a_refusal_to_write_is_told_at_the_statement_and_reads_go_on() {
    let database = table().await;
    let mut stream = database.stream(false);
    let refuse = &|| Err(SqlError::ours(SqlErrorKind::WritesRefused, "too far behind"));
    let script = Each::of(["INSERT INTO t VALUES(1)", "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "SELECT count(*) FROM t"]);
    let outcomes = stream.run(script, &limits(), refuse).await.outcomes;
    for refused in &outcomes[..2] {
        assert_eq!(refused.as_ref().unwrap_err().kind, SqlErrorKind::WritesRefused);
    }
    assert_eq!(outcomes[2].as_ref().unwrap().0, [[Value::Integer(0)]]);
}

#[tokio::test]
async fn a_statement_is_described_as_the_stream_sees_the_schema() {
    let database = table().await;
    let mut stream = database.stream(false);
    run(&mut stream, ["BEGIN", "CREATE TABLE u(x INTEGER, y TEXT)"]).await;
    let described = stream.describe("SELECT x, y AS z FROM u WHERE x = ?2 OR y = :name".to_owned(), &limits()).await.unwrap();
    assert_eq!(described.params, [None, Some("?2".to_owned()), Some(":name".to_owned())]);
    let column = |name: &str, decltype: &str| Column { name: name.to_owned(), decltype: Some(decltype.to_owned()) };
    assert_eq!(described.columns, [column("x", "INTEGER"), column("z", "TEXT")]);
    assert!(described.is_readonly && !described.is_explain);
    let insert = stream.describe("EXPLAIN INSERT INTO u VALUES(?, ?)".to_owned(), &limits()).await.unwrap();
    assert!(insert.is_explain);
    assert!(!stream.describe("INSERT INTO u VALUES(1, 2)".to_owned(), &limits()).await.unwrap().is_readonly);
    let other = database.stream(false).describe("SELECT * FROM u".to_owned(), &limits()).await;
    assert_eq!(other.unwrap_err().message, "no such table: u");
}

/// Takes rows only as somebody lets it.
struct Slow {
    statement: Option<Statement>,
    room: Arc<Semaphore>,
    taken: Arc<AtomicUsize>,
    outcome: Option<Result<Effects, SqlError>>,
}

impl Rows for Slow {
    fn columns(&mut self, _: Vec<Column>) -> Result<(), SqlError> {
        Ok(())
    }

    fn row(&mut self, _: &Row<'_>) -> Result<Flow, SqlError> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(Flow::Full)
    }

    async fn room(&mut self) -> Result<(), SqlError> {
        self.room.acquire().await.unwrap().forget();
        Ok(())
    }
}

impl Script for Slow {
    fn next(&mut self, _: bool) -> Option<Statement> {
        self.statement.take()
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        self.outcome = Some(outcome);
    }
}

fn slow(room: &Arc<Semaphore>) -> Slow {
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10) SELECT i FROM n".to_owned();
    let statement = Some(Statement { sql, params: Params::None });
    Slow { statement, room: Arc::clone(room), taken: Arc::default(), outcome: None }
}

#[tokio::test]
async fn readers_that_are_slow_leave_threads_and_places_to_others() {
    let pool = SqlPool::new(NonZeroUsize::MIN);
    let database = MemoryDatabase::new(MemoryOptions { readers: NonZeroUsize::MIN, ..MemoryOptions::new(pool) }).unwrap();
    let room = Arc::new(Semaphore::new(0));
    let reading = (0..5).map(|_| {
        let (database, script) = (database.clone(), slow(&room));
        async move { database.stream(false).run(script, &limits(), &|| Ok(())).await.outcome }
    });
    let others = async {
        write(&database, "CREATE TABLE t(a)").await.unwrap();
        assert_eq!(count(&database).await, 0);
        room.add_permits(50);
    };
    let (outcomes, ()) = tokio::join!(futures::future::join_all(reading), others);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Some(Ok(_)))), "{outcomes:?}");
}

#[tokio::test]
async fn only_so_many_results_may_wait_for_their_readers() {
    let database = table().await;
    let room = Arc::new(Semaphore::new(0));
    let mut reading: futures::stream::FuturesUnordered<_> = (0..=SLOW_READERS_OF_ONE)
        .map(|_| {
            let (database, script) = (database.clone(), slow(&room));
            async move { database.stream(false).run(script, &limits(), &|| Ok(())).await.outcome.unwrap() }
        })
        .collect();
    let refused = reading.next().await.unwrap().unwrap_err();
    assert_eq!(refused.kind, SqlErrorKind::Crowded);
    room.add_permits(10 * (SLOW_READERS_OF_ONE + 1));
    while let Some(outcome) = reading.next().await {
        outcome.unwrap();
    }
    // All places are free again.
    database.stream(false).run(slow(&room), &limits(), &|| Ok(())).await.outcome.unwrap().unwrap();
}

#[tokio::test]
async fn a_statement_whose_rows_nobody_takes_ends() {
    let database = table().await;
    let room = Arc::new(Semaphore::new(3));
    let script = slow(&room);
    let taken = Arc::clone(&script.taken);
    let impatient = StreamLimits { slow_reader: Duration::from_millis(50), ..limits() };
    let outcome = database.stream(false).run(script, &impatient, &|| Ok(())).await.outcome;
    let error = outcome.unwrap().unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (SqlErrorKind::Timeout, "nobody took the rows for 50 ms"));
    assert_eq!(taken.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_writer_whose_rows_nobody_takes_ends_when_another_waits() {
    let database = table().await;
    let room = Arc::new(Semaphore::new(0));
    let mut script = slow(&room);
    script.statement = Some(Statement { sql: "INSERT INTO t VALUES(1) RETURNING a".to_owned(), params: Params::None });
    let impatient = StreamLimits { idle_writer: Duration::from_millis(50), ..limits() };
    let mut stream = database.stream(false);
    let (script, other) = tokio::join!(stream.run(script, &impatient, &|| Ok(())), write(&database, "INSERT INTO t VALUES(1)"));
    let error = script.outcome.unwrap().unwrap_err();
    assert_eq!(error.message, "nobody took the rows for 50 ms while others waited to write");
    other.unwrap();
    assert_eq!(count(&database).await, 1);
}
