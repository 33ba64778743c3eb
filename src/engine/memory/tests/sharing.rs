//! What databases share, and that none takes it from the others.

use super::*;
use crate::sql::{ResultMemory, Spent};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

fn over(pool: &SqlPool) -> MemoryDatabase {
    MemoryDatabase::new(MemoryOptions::new(pool.clone())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_run_for_long_let_those_of_another_database_run() {
    let pool = SqlPool::new(NonZeroUsize::MIN);
    let (busy, other) = (over(&pool), over(&pool));
    write(&other, "CREATE TABLE t(a)").await.unwrap();
    let limits = QueryLimits { statement_timeout: Duration::from_hours(1), ..QueryLimits::default() };
    let long: Vec<_> = (0..3)
        .map(|_| {
            let busy = busy.clone();
            crate::tasks::spawn_owned(async move { busy.read(request(ENDLESS), &limits).await })
        })
        .collect();
    for value in 0..10 {
        write(&other, &format!("INSERT INTO t VALUES({value})")).await.unwrap();
        assert_eq!(integer(&other, "SELECT count(*) FROM t").await, value + 1);
    }
    assert!(long.iter().all(|long| !long.is_finished()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_let_others_go_first_ends_at_its_deadline_all_the_same() {
    let pool = SqlPool::new(NonZeroUsize::MIN);
    let busy = over(&pool);
    let limits = QueryLimits { statement_timeout: Duration::from_millis(50), ..QueryLimits::default() };
    let both = tokio::join!(busy.read(request(ENDLESS), &limits), busy.read(request(ENDLESS), &limits));
    assert_eq!(both.0.unwrap_err().kind, SqlErrorKind::Timeout);
    assert_eq!(both.1.unwrap_err().kind, SqlErrorKind::Timeout);
}

#[tokio::test]
async fn results_of_all_requests_have_one_bound() {
    let pool = SqlPool::new(NonZeroUsize::MIN).with_results(ResultMemory::new(2 << 20));
    let (one, other) = (over(&pool), over(&pool));
    let large = "SELECT zeroblob(700000)";
    let kept = read(&one, large).await.unwrap();
    let crowded = read(&one, large).await.unwrap_err();
    assert_eq!(crowded.kind, SqlErrorKind::Crowded);
    read(&one, "SELECT zeroblob(1000)").await.unwrap();
    write(&one, "CREATE TABLE t(a)").await.unwrap();
    let crowded = write(&one, "INSERT INTO t VALUES(zeroblob(700000)) RETURNING a").await.unwrap_err();
    assert_eq!(crowded.kind, SqlErrorKind::Crowded);
    assert_eq!(integer(&one, "SELECT count(*) FROM t").await, 0, "it was rolled back");
    read(&other, large).await.unwrap();
    drop(kept);
    read(&one, large).await.unwrap();
}

#[tokio::test]
async fn what_a_request_took_is_told_however_it_ends() {
    let pool = SqlPool::new(NonZeroUsize::MIN).with_slow_after(Duration::ZERO);
    let database = over(&pool);
    let limits = QueryLimits::default();
    let mut spent = Spent::default();
    let sql = "CREATE TABLE t(a); INSERT INTO t VALUES('secret'), (2); SELECT a FROM t WHERE a = 'secret' OR a = 2";
    database.write_if(|_| true, request(sql), &limits, &mut spent).await.unwrap();
    assert_eq!((spent.rows, spent.changed), (2, 2));
    let shown: Vec<_> = spent.slow.iter().map(|slow| (slow.sql.as_str(), slow.rows)).collect();
    assert_eq!(shown, [("CREATE TABLE t (a)", 0), ("INSERT INTO t VALUES (?)", 0), ("SELECT a FROM t WHERE a = ? OR a = ?", 2)]);
    let mut spent = Spent::default();
    let failed = database.read_counting(&request("SELECT a, json(a) FROM t"), &limits, &mut spent).await;
    assert!(failed.is_err());
    assert_eq!((spent.slow.len(), spent.slow[0].sql.as_str()), (1, "SELECT a, json (a) FROM t"));
    let mut spent = Spent::default();
    let mut turn = database.stream(false);
    turn.run(stream::Each::of(["BEGIN IMMEDIATE"]), &StreamLimits::of(limits), &|| Ok(())).await;
    let hurried = QueryLimits { writer_wait: Duration::from_millis(20), ..limits };
    let busy = database.write_if(|_| true, request("DELETE FROM t"), &hurried, &mut spent).await;
    assert_eq!(busy.unwrap_err().kind, SqlErrorKind::Busy);
    assert!(spent.queued >= hurried.writer_wait, "{spent:?}");
}

#[tokio::test]
async fn a_stream_counts_what_it_took_without_values() {
    let pool = SqlPool::new(NonZeroUsize::MIN).with_slow_after(Duration::ZERO);
    let database = over(&pool);
    let mut stream = database.stream(false);
    let limits = StreamLimits::of(QueryLimits::default());
    let statements = ["CREATE TABLE t(a)", "INSERT INTO t VALUES('secret'), (2)", "SELECT * FROM t", "SELECT nowhere"];
    stream.run(stream::Each::of(statements), &limits, &|| Ok(())).await;
    let spent = stream.take_spent();
    assert_eq!((spent.rows, spent.changed, spent.slow.len()), (2, 2, 4));
    assert_eq!(spent.slow[1].sql, "INSERT INTO t VALUES (?)");
    assert_eq!(stream.take_spent(), Spent::default());
}
