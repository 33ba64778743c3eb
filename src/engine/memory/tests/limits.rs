use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::*;
use crate::clock::WallTime;

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// Each look at it is a second later.
#[derive(Debug)]
struct Hasty {
    start: Instant,
    looks: AtomicU64,
}

impl Clock for Hasty {
    fn wall(&self) -> WallTime {
        WallTime::UNIX_EPOCH
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.looks.fetch_add(1, Ordering::Relaxed))
    }
}

fn hasty() -> Arc<dyn Clock> {
    Arc::new(Hasty { start: SystemClock.now(), looks: AtomicU64::new(0) })
}

#[tokio::test]
async fn a_statement_that_runs_too_long_is_stopped_and_rolled_back() {
    let database = MemoryDatabase::new(MemoryOptions { clock: hasty(), ..options() }).unwrap();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    for sql in [ENDLESS, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n"] {
        let error = write(&database, &format!("INSERT INTO t VALUES(1); {sql}")).await.unwrap_err();
        assert_eq!((error.kind, error.extended_code), (SqlErrorKind::Timeout, 9), "{error}");
    }
    assert_eq!(read(&database, ENDLESS).await.unwrap_err().kind, SqlErrorKind::Timeout);
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn a_statement_whose_time_ended_with_it_is_told_to_have_run() {
    let database = MemoryDatabase::new(MemoryOptions { clock: hasty(), ..options() }).unwrap();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    // When it is looked at first it is over.
    let limits = QueryLimits { statement_timeout: Duration::from_millis(1), ..QueryLimits::default() };
    let (mut done, mut asked) = (0, 0);
    for length in 0..10 {
        let insert = each(&format!("INSERT INTO t VALUES(1{})", " + random()".repeat(length)));
        for _ in 0..200 {
            done += i64::from(database.write(insert.clone(), &limits).await.is_ok());
            asked += 1;
        }
    }
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, done);
    assert!(done > asked / 2, "{done} of {asked}");
}

#[tokio::test]
async fn dropping_the_future_stops_the_statement_and_gives_the_turn_on() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    let sql = "INSERT INTO t VALUES(1); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let limits = QueryLimits { statement_timeout: Duration::MAX, ..QueryLimits::default() };
    let mut endless = Box::pin(database.write(request(sql), &limits));
    // The first poll takes the turn and hands the work to a thread.
    assert!(futures::poll!(&mut endless).is_pending());
    drop(endless);
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(2)]]);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_waits_too_long_is_told_that_others_were_busy() {
    let database = database();
    write(&database, "CREATE TABLE t(a)").await.unwrap();
    let turn = database.0.writers.turn().await;
    let error = write(&database, "INSERT INTO t VALUES(1)").await.unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::Busy);
    drop(turn);
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
}

#[tokio::test]
async fn a_commit_beyond_the_size_limit_is_full_and_leaves_the_database_as_it_was() {
    let database = MemoryDatabase::new(MemoryOptions { max_size: 200_000, ..options() }).unwrap();
    write(&database, "CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(50000))").await.unwrap();
    let before = image(&database.pin());
    for sql in
        ["INSERT INTO t VALUES(randomblob(500000))", "INSERT INTO t SELECT randomblob(50000) FROM t, (VALUES(1),(2),(3),(4),(5),(6))"]
    {
        let error = write(&database, sql).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Full, "{error}");
    }
    assert!(image(&database.pin()) == before);
    assert_eq!(database.check(), Ok(()));
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, 2);
}

#[tokio::test]
async fn a_database_over_a_lowered_limit_still_changes_but_does_not_grow() {
    let database = database();
    write(&database, "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, randomblob(100000)); CREATE TABLE n(a); INSERT INTO n VALUES(1)")
        .await
        .unwrap();
    database.set_max_size(1);
    write(&database, "UPDATE n SET a = 2").await.unwrap();
    assert_eq!(write(&database, "INSERT INTO t VALUES(1, randomblob(100000))").await.unwrap_err().kind, SqlErrorKind::Full);
    write(&database, "DELETE FROM t").await.unwrap();
    assert_eq!(database.check(), Ok(()));
    database.set_max_size(1 << 20);
    write(&database, "INSERT INTO t VALUES(1, randomblob(200000))").await.unwrap();
}

#[tokio::test]
async fn results_beyond_their_limits_are_cut_or_refused() {
    let database = database();
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n";
    let limits = QueryLimits { max_rows: 10, max_result_size: 1000, ..QueryLimits::default() };
    let result = database.read(request(numbers), &limits).await.unwrap().results.pop().unwrap();
    assert_eq!((result.rows.len(), result.truncated), (10, true));
    let error = database.read(request("SELECT zeroblob(600); SELECT zeroblob(600)"), &limits).await.unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::ResultTooLarge);
    let kept = "CREATE TABLE t(a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO t SELECT i FROM n RETURNING a";
    let result = database.write(request(kept), &limits).await.unwrap().results.pop().unwrap();
    assert_eq!((result.rows.len(), result.truncated, result.rows_affected), (10, true, 100));
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, 100);
}

#[tokio::test]
async fn values_and_results_that_hold_nothing_count_too() {
    let database = database();
    let limits = QueryLimits { max_result_size: 10_000, ..QueryLimits::default() };
    let empty = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) SELECT '' FROM n";
    let statements = "SELECT NULL WHERE 0;".repeat(9999);
    let columns = format!("SELECT 1 AS {}", "x".repeat(10_000));
    write(&database, &format!("CREATE TABLE t(a {})", "x".repeat(10_000))).await.unwrap();
    for sql in [empty, &empty.replace("''", "NULL"), &statements, &columns, "SELECT a FROM t"] {
        let error = database.read(request(sql), &limits).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::ResultTooLarge, "{error}");
    }
}

#[tokio::test]
async fn statements_beyond_sqlites_limits_say_so() {
    let database = database();
    let deep = format!("SELECT {}1", "1+".repeat(200));
    let wide = format!("SELECT {}1", "1,".repeat(600));
    let long = format!("SELECT '{}'", "x".repeat(300_000));
    for sql in [deep.as_str(), &wide, &long, "SELECT zeroblob(100000000)", "SELECT 'a' LIKE hex(zeroblob(1000))"] {
        let error = read(&database, sql).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Limit, "{error}");
    }
}
