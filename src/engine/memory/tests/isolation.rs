use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Each commit adds a row and counts it, so that a reader who sees part of a commit is found out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_writer_see_whole_commits_in_order_and_are_never_busy() {
    let database = database();
    write(&database, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE total(n); INSERT INTO total VALUES(0)").await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (database, done) = (database.clone(), Arc::clone(&done));
        readers.spawn(async move {
            let (mut last, mut looks) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let response = read(&database, "SELECT n FROM total; SELECT count(*), coalesce(sum(length(b)), 0) FROM t").await.unwrap();
                let Value::Integer(n) = response.results[0].rows[0][0] else { panic!() };
                assert_eq!(response.results[1].rows[0], [Value::Integer(n), Value::Integer(n * 700)]);
                assert!(n >= last);
                last = n;
                looks += 1;
            }
            looks
        });
    }
    for _ in 0..400 {
        write(&database, "INSERT INTO t(b) VALUES(randomblob(700)); UPDATE total SET n = n + 1").await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(readers.join_all().await.into_iter().all(|looks| looks > 0));
    assert_eq!(database.check(), Ok(()));
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_take_turns_and_none_is_busy() {
    let database = database();
    write(&database, "CREATE TABLE total(n); INSERT INTO total VALUES(0)").await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        writers.spawn(async move {
            for _ in 0..50 {
                write(&database, "UPDATE total SET n = n + 1").await.unwrap();
                database.update(|transaction| Ok(transaction.execute("UPDATE total SET n = n + 1", [])?)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(integer(&database, "SELECT n FROM total").await, 400);
}

#[tokio::test]
async fn a_request_is_all_or_nothing() {
    let database = database();
    write(&database, "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES(1)").await.unwrap();
    let error = write(&database, "INSERT INTO t VALUES(2); INSERT INTO t VALUES(1)").await.unwrap_err();
    assert_eq!((error.kind, error.extended_code), (SqlErrorKind::Constraint, 2067));
    write(&database, "INSERT OR ROLLBACK INTO t VALUES(1); INSERT INTO t VALUES(3)").await.unwrap_err();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(1)]]);
    let apart = each("INSERT INTO t VALUES(2); INSERT INTO t VALUES(1); INSERT INTO t VALUES(3)");
    database.write(apart, &QueryLimits::default()).await.unwrap_err();
    assert_eq!(rows(&database, "SELECT a FROM t").await, [[Value::Integer(1)], [Value::Integer(2)]]);
}

#[tokio::test]
async fn a_transaction_larger_than_the_cache_is_written_and_rolled_back() {
    let database = database();
    write(&database, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b)").await.unwrap();
    let fill = |transaction: &rusqlite::Transaction<'_>| -> Result<(), SqlError> {
        transaction.execute_batch(
            "PRAGMA cache_size = 5; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t(b) SELECT randomblob(900) FROM n;
             SAVEPOINT s; UPDATE t SET b = randomblob(1200); DELETE FROM t WHERE a % 3 = 0; ROLLBACK TO s; DELETE FROM t WHERE a % 2 = 0;",
        )?;
        let sound: String = transaction.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        assert_eq!(sound, "ok");
        Ok(())
    };
    let before = image(&database.pin());
    let refused: Result<(), SqlError> = database
        .update(move |transaction| {
            fill(transaction)?;
            Err(SqlError::ours(SqlErrorKind::Cancelled, "on purpose"))
        })
        .await;
    assert_eq!(refused.unwrap_err().kind, SqlErrorKind::Cancelled);
    assert!(image(&database.pin()) == before);
    database.update(fill).await.unwrap();
    assert_eq!(database.check(), Ok(()));
    assert_eq!(rows(&database, "SELECT count(*), sum(length(b)) FROM t").await, [[Value::Integer(250), Value::Integer(225_000)]]);
}

#[tokio::test]
async fn large_blobs_go_in_and_come_out() {
    let database = database();
    let blob: Vec<u8> = (0..9_000_000u32).map(|at| at.to_le_bytes()[(at % 3) as usize]).collect();
    let insert = with("CREATE TABLE t(a)", Params::None);
    database.write(insert, &QueryLimits::default()).await.unwrap();
    let insert = with("INSERT INTO t VALUES(?)", Params::Positional(vec![Value::Blob(blob.clone())]));
    database.write(insert, &QueryLimits::default()).await.unwrap();
    assert!(rows(&database, "SELECT a FROM t").await == [[Value::Blob(blob)]]);
}
