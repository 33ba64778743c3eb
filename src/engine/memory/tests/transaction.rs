use super::*;

const LIMITS: TransactionLimits = TransactionLimits {
    query: QueryLimits {
        max_rows: 1000,
        max_result_size: 1 << 20,
        statement_timeout: Duration::from_secs(30),
        writer_wait: Duration::from_secs(5),
    },
    lifetime: Duration::from_secs(10),
};

async fn begin(database: &MemoryDatabase, mode: TransactionMode) -> OpenTransaction {
    database.begin(mode, &LIMITS).await.unwrap()
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
    let mut transaction = begin(&database, TransactionMode::Write).await;
    transaction.run(request("INSERT INTO t VALUES(1)")).await.unwrap();
    transaction.run(each("INSERT INTO t VALUES(2)")).await.unwrap();
    let own = transaction.run(request("SELECT count(*) FROM t")).await.unwrap();
    assert_eq!(own.results[0].rows, [[Value::Integer(2)]]);
    assert_eq!(count(&database).await, 0);
    transaction.commit().await.unwrap();
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_or_rolled_back_leaves_nothing() {
    let database = table().await;
    let mut transaction = begin(&database, TransactionMode::Write).await;
    transaction.run(request("INSERT INTO t VALUES(1)")).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = begin(&database, TransactionMode::Write).await;
    transaction.run(request("INSERT INTO t VALUES(1)")).await.unwrap();
    drop(transaction);
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(2)]]);
}

#[tokio::test]
async fn each_request_in_a_transaction_is_all_or_nothing() {
    let database = table().await;
    let mut transaction = begin(&database, TransactionMode::Write).await;
    transaction.run(request("INSERT INTO t VALUES(1)")).await.unwrap();
    let error = transaction.run(request("INSERT INTO t VALUES(2); INSERT INTO t VALUES(1)")).await.unwrap_err();
    assert_eq!((error.kind, error.statement_index), (SqlErrorKind::Constraint, 0));
    transaction.run(each("INSERT INTO t VALUES(3); INSERT INTO t VALUES(1)")).await.unwrap_err();
    transaction.run(request("COMMIT")).await.unwrap_err();
    transaction.commit().await.unwrap();
    assert_eq!(rows(&database, "SELECT a FROM t ORDER BY a").await, [[Value::Integer(1)], [Value::Integer(3)]]);
}

#[tokio::test]
async fn a_reading_transaction_sees_one_version_and_cannot_write() {
    let database = table().await;
    let mut transaction = begin(&database, TransactionMode::Read).await;
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    for _ in 0..2 {
        let seen = transaction.run(request("SELECT count(*) FROM t")).await.unwrap();
        assert_eq!(seen.results[0].rows, [[Value::Integer(0)]]);
        assert_eq!(transaction.run(request("INSERT INTO t VALUES(2)")).await.unwrap_err().kind, SqlErrorKind::Forbidden);
    }
    transaction.commit().await.unwrap();
    assert_eq!(count(&database).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_time_is_up_is_rolled_back_and_told_so() {
    let database = table().await;
    let mut transaction = begin(&database, TransactionMode::Write).await;
    transaction.run(request("INSERT INTO t VALUES(1)")).await.unwrap();
    // Time passes only while everybody waits.
    let patient = QueryLimits { writer_wait: Duration::from_mins(1), ..QueryLimits::default() };
    database.write(request("INSERT INTO t VALUES(2)"), &patient).await.unwrap();
    let error = transaction.run(request("INSERT INTO t VALUES(3)")).await.unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::TransactionEnded);
    assert_eq!(error.message, "the transaction was rolled back: it was open for longer than 10000 ms");
    assert_eq!(transaction.ended(), Some(&error));
    assert_eq!(transaction.commit().await, Err(error));
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(2)]]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_transaction_that_reads_lets_go_of_its_version() {
    let database = table().await;
    let transaction = begin(&database, TransactionMode::Read).await;
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    write(&database, "INSERT INTO t VALUES(2)").await.unwrap();
    assert!(database.memory_use().pinned > 0);
    while transaction.ended().is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    database.end_transactions("on purpose").await;
    assert_eq!(database.memory_use().pinned, 0);
}

#[tokio::test]
async fn a_statement_that_outlasts_its_transaction_is_stopped() {
    let database = table().await;
    let limits = TransactionLimits { lifetime: Duration::from_millis(200), ..LIMITS };
    let mut transaction = database.begin(TransactionMode::Write, &limits).await.unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let error = transaction.run(request(endless)).await.unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::TransactionEnded);
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
}

#[tokio::test]
async fn a_failure_that_rolls_back_everything_ends_the_transaction() {
    let database = table().await;
    write(&database, "INSERT INTO t VALUES(1)").await.unwrap();
    let mut transaction = begin(&database, TransactionMode::Write).await;
    transaction.run(request("INSERT INTO t VALUES(2)")).await.unwrap();
    let error = transaction.run(request("INSERT OR ROLLBACK INTO t VALUES(1)")).await.unwrap_err();
    assert_eq!(error.kind, SqlErrorKind::Constraint);
    let later = transaction.run(request("INSERT INTO t VALUES(3)")).await.unwrap_err();
    assert_eq!(later.kind, SqlErrorKind::TransactionEnded);
    assert!(later.message.contains("UNIQUE constraint failed"), "{later}");
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_commit_that_fails_rolls_back_and_says_why() {
    let database = database();
    write(&database, "CREATE TABLE p(a PRIMARY KEY); CREATE TABLE c(a REFERENCES p DEFERRABLE INITIALLY DEFERRED)").await.unwrap();
    let mut transaction = begin(&database, TransactionMode::Write).await;
    // SQLite ignores the setting within a transaction, so this one is not enforced.
    transaction.run(request("PRAGMA foreign_keys = ON; INSERT INTO c VALUES(1)")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(integer(&database, "SELECT count(*) FROM c").await, 1);
    let mut transaction = begin(&database, TransactionMode::Write).await;
    transaction.run(request("INSERT INTO c VALUES(zeroblob(20000))")).await.unwrap();
    database.set_max_size(1);
    assert_eq!(transaction.commit().await.unwrap_err().kind, SqlErrorKind::Full);
    assert_eq!(integer(&database, "SELECT count(*) FROM c").await, 1);
    database.set_max_size(1 << 20);
    write(&database, "INSERT INTO c VALUES(2)").await.unwrap();
}

#[tokio::test]
async fn a_switch_ends_open_transactions_and_tells_them() {
    let database = table().await;
    let branch = MemoryDatabase::fork(&database.pin(), options());
    let mut writing = begin(&database, TransactionMode::Write).await;
    let mut reading = begin(&database, TransactionMode::Read).await;
    writing.run(request("INSERT INTO t VALUES(1)")).await.unwrap();
    database.switch(&branch.pin()).await.unwrap();
    for transaction in [&mut writing, &mut reading] {
        let error = transaction.run(request("SELECT 1")).await.unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::TransactionEnded);
        assert_eq!(error.message, "the transaction was rolled back: the database was switched");
    }
    assert_eq!(count(&database).await, 0);
    begin(&database, TransactionMode::Write).await.commit().await.unwrap();
}

#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_of_a_statement_stops_it() {
    let database = table().await;
    let mut transaction = begin(&database, TransactionMode::Write).await;
    let mut endless =
        Box::pin(transaction.run(request("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")));
    assert!(futures::poll!(&mut endless).is_pending());
    drop(endless);
    let outcome = transaction.run(request("INSERT INTO t VALUES(1)")).await;
    outcome.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(count(&database).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_while_a_transaction_opens_makes_nobody_busy() {
    let database = table().await;
    for n in 0..300 {
        let mut opening = Box::pin(database.begin(TransactionMode::Write, &LIMITS));
        // The first poll takes the place and hands the work to a thread, which may even be done by now.
        drop(futures::poll!(&mut opening));
        drop(opening);
        write(&database, &format!("INSERT INTO t VALUES({n})")).await.unwrap();
    }
    assert_eq!(count(&database).await, 300);
}
