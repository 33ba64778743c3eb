use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

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
            let mut last = 0;
            loop {
                // Before the look, so that each reader has one after the last commit.
                let is_last = done.load(Ordering::Relaxed);
                let response = read(&database, "SELECT n FROM total; SELECT count(*), coalesce(sum(length(b)), 0) FROM t").await.unwrap();
                let Value::Integer(n) = response.results[0].rows[0][0] else { panic!() };
                assert_eq!(response.results[1].rows[0], [Value::Integer(n), Value::Integer(n * 700)]);
                assert!(n >= last);
                last = n;
                if is_last {
                    break n;
                }
            }
        });
    }
    for _ in 0..400 {
        write(&database, "INSERT INTO t(b) VALUES(randomblob(700)); UPDATE total SET n = n + 1").await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert_eq!(readers.join_all().await, [400, 400, 400]);
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

fn of_page_size(bytes: u32) -> MemoryDatabase {
    MemoryDatabase::new(MemoryOptions { page_size: PageSize::new(bytes).unwrap(), ..options() }).unwrap()
}

fn open(database: &MemoryDatabase, role: Role) -> Connection {
    connection::open_trusted(database.file(), role).unwrap()
}

fn one(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Says that it is over, also when it panics, so that nobody waits for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const COUNTED: &str =
    "CREATE TABLE log(n INTEGER PRIMARY KEY, writer, pad); CREATE INDEX by_pad ON log(pad); CREATE TABLE total(n, length);
    INSERT INTO total VALUES(0, 0)";

/// One more row, its number, and the sum of all lengths; a large one now and then.
fn count_up(writer: usize) -> String {
    format!(
        "INSERT INTO log(writer, pad) SELECT {writer}, zeroblob(CASE WHEN n % 20 = 0 THEN 20000 ELSE n % 300 END) FROM total;
         UPDATE total SET n = n + 1, length = length + (SELECT length(pad) FROM log WHERE log.n = total.n + 1)"
    )
}

/// The number of commits that the open transaction sees, which has to be all of the first ones and nothing of the next.
fn prefix(connection: &Connection) -> i64 {
    let (n, length): (i64, i64) = connection.query_row("SELECT n, length FROM total", [], |row| row.try_into()).unwrap();
    let log = "SELECT count(*), coalesce(max(n), 0), coalesce(sum(length(pad)), 0) FROM log";
    let log: (i64, i64, i64) = connection.query_row(log, [], |row| row.try_into()).unwrap();
    assert_eq!(log, (n, n, length));
    assert_eq!(one(connection, "SELECT count(*) FROM log INDEXED BY by_pad WHERE pad >= x''"), n);
    n
}

#[test]
fn raw_readers_on_threads_see_prefixes_of_what_queued_writers_commit() {
    const WRITERS: usize = 3;
    const EACH: usize = 80;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for page_size in [512, 4096, 65_536] {
        let database = of_page_size(page_size);
        runtime.block_on(write(&database, COUNTED)).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let readers = (0..3).map(|reader| {
                let (database, done) = (&database, &done);
                scope.spawn(move || {
                    let connection = open(database, Role::Reader);
                    if reader == 0 {
                        // This one reads pages into a cache of its own; the others get the store's.
                        connection.execute_batch("PRAGMA mmap_size = 0; PRAGMA cache_size = 4").unwrap();
                    }
                    let mut last = 0;
                    let mut is_last = false;
                    while !is_last {
                        // Asked before, so that each looks at least once.
                        is_last = done.load(Ordering::Relaxed);
                        connection.execute_batch("BEGIN").unwrap();
                        let n = prefix(&connection);
                        assert!(n >= last, "a later transaction sees an earlier version");
                        // The longer it stays open, the more others commit beside it.
                        for _ in 0..reader * 3 {
                            assert_eq!(prefix(&connection), n, "an open transaction sees another version");
                        }
                        connection.execute_batch("COMMIT").unwrap();
                        last = n;
                    }
                })
            });
            let readers: Vec<_> = readers.collect();
            let writers = (0..WRITERS).map(|writer| {
                let (database, runtime) = (&database, &runtime);
                scope.spawn(move || {
                    for _ in 0..EACH {
                        runtime.block_on(write(database, &count_up(writer))).unwrap();
                    }
                })
            });
            let writers: Vec<_> = writers.collect();
            let _over = Over(&done);
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().unwrap();
            }
        });
        assert_eq!(database.check(), Ok(()));
        let reader = open(&database, Role::Reader);
        assert_eq!(prefix(&reader), i64::try_from(WRITERS * EACH).unwrap());
        assert_eq!(one(&reader, "SELECT min(c) FROM (SELECT count(*) AS c FROM log GROUP BY writer)"), i64::try_from(EACH).unwrap());
    }
}

#[test]
fn a_read_transaction_sees_its_version_however_much_is_committed_after_it() {
    for page_size in [512, 1024, 65_536] {
        let database = of_page_size(page_size);
        let writer = open(&database, Role::Writer);
        writer.execute_batch(COUNTED).unwrap();
        let mut old = Vec::new();
        for n in 1..=120 {
            writer.execute_batch(&format!("BEGIN IMMEDIATE; {}; COMMIT", count_up(0))).unwrap();
            if n % 12 == 0 {
                let reader = open(&database, Role::Reader);
                reader.execute_batch("BEGIN").unwrap();
                assert_eq!(prefix(&reader), n);
                old.push((reader, n));
            }
        }
        writer.execute_batch("DELETE FROM log WHERE n > 3; VACUUM; DROP INDEX by_pad; DROP TABLE log").unwrap();
        // All at the same time, while another goes on.
        thread::scope(|scope| {
            for (reader, n) in old {
                scope.spawn(move || {
                    (0..5).for_each(|_| assert_eq!(prefix(&reader), n));
                    assert_eq!(reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)), Ok("ok".to_owned()));
                });
            }
            for n in 0..40 {
                writer.execute_batch(&format!("CREATE TABLE t{n}(a); INSERT INTO t{n} VALUES(zeroblob(5000)); DROP TABLE t{n}")).unwrap();
            }
        });
        drop(writer);
        let memory = database.memory_use();
        assert_eq!(memory.pinned, 0, "bytes that only older versions hold");
    }
}

/// So many rows the database has after commit `n`; each of them says `n`.
fn rows_at(n: i64) -> i64 {
    n * 37 % 150 + 1
}

#[test]
fn a_statement_that_is_half_read_gives_the_rows_of_one_version_while_another_shrinks_and_vacuums() {
    for auto_vacuum in ["NONE", "FULL", "INCREMENTAL"] {
        let database = of_page_size(512);
        let writer = open(&database, Role::Writer);
        writer
            .execute_batch(&format!(
                "PRAGMA auto_vacuum = {auto_vacuum}; VACUUM; CREATE TABLE t(k INTEGER PRIMARY KEY, n, pad); INSERT INTO t VALUES(1, 0, '')"
            ))
            .unwrap();
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| (0..10).for_each(|_| read_slowly(&database)))).collect();
            let mut n = 0;
            // Until all have read enough, because a busy machine may let them run late.
            while n < 60 || readers.iter().any(|reader| !reader.is_finished()) {
                n += 1;
                replace_all(&writer, n);
                match n % 10 {
                    3 => writer.execute_batch("VACUUM").unwrap(),
                    6 => writer.execute_batch("PRAGMA incremental_vacuum").unwrap(),
                    _ => {}
                }
            }
        });
        assert_eq!(database.check(), Ok(()));
    }
}

fn letter_at(n: i64) -> char {
    char::from(b'a' + u8::try_from(n % 26).unwrap())
}

fn replace_all(writer: &Connection, n: i64) {
    let change = format!(
        "BEGIN IMMEDIATE; DELETE FROM t;
         INSERT INTO t(n, pad) WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < {}) SELECT {n}, printf('%.*c', i * 17 % 1500, '{}') FROM i;
         COMMIT",
        rows_at(n),
        letter_at(n)
    );
    writer.execute_batch(&change).unwrap();
}

fn read_slowly(database: &MemoryDatabase) {
    let connection = open(database, Role::Reader);
    let mut select = connection.prepare("SELECT n, pad FROM t").unwrap();
    let mut rows = select.raw_query();
    let mut seen = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let n = row.get(0).unwrap();
        let pad = row.get_ref(1).unwrap().as_str().unwrap();
        assert!(pad.chars().all(|letter| letter == letter_at(n)), "bytes of another version");
        seen.push(n);
        // Lets the writer go on under the open statement, even on one processor.
        if seen.len() % 8 == 1 {
            thread::yield_now();
        }
    }
    assert_eq!(seen, vec![seen[0]; usize::try_from(rows_at(seen[0])).unwrap()]);
}

/// Whoever read first and writes later is refused exactly if somebody committed in between, and in no other way.
#[test]
fn only_who_read_before_anothers_commit_and_then_writes_is_told_busy_snapshot() {
    const SQLITE_BUSY_SNAPSHOT: i32 = 517;
    let database = database();
    open(&database, Role::Writer).execute_batch("CREATE TABLE total(n); INSERT INTO total VALUES(0)").unwrap();
    // Instead of the queue, in which these connections take no part: one writes at a time.
    let turn = parking_lot::Mutex::new(());
    // All have read before the first writes, so that at least the others come too late.
    let all_have_read = Barrier::new(4);
    let outcomes = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (database, turn, all_have_read) = (&database, &turn, &all_have_read);
                scope.spawn(move || {
                    let (connection, other) = (open(database, Role::Writer), open(database, Role::Reader));
                    let (mut committed, mut refused) = (0, 0);
                    while committed < 30 {
                        connection.execute_batch("BEGIN").unwrap();
                        let seen = one(&connection, "SELECT n FROM total");
                        if committed + refused == 0 {
                            all_have_read.wait();
                        }
                        thread::yield_now();
                        let _turn = turn.lock();
                        let stale = one(&other, "SELECT n FROM total") != seen;
                        match connection.execute("UPDATE total SET n = n + 1", []) {
                            Ok(_) => {
                                assert!(!stale, "a stale transaction wrote");
                                connection.execute_batch("COMMIT").unwrap();
                                committed += 1;
                            }
                            Err(error) => {
                                assert!(stale, "{error}");
                                assert_eq!(error.sqlite_error().unwrap().extended_code, SQLITE_BUSY_SNAPSHOT);
                                // It still reads what it read before.
                                assert_eq!(one(&connection, "SELECT n FROM total"), seen);
                                connection.execute_batch("ROLLBACK").unwrap();
                                refused += 1;
                            }
                        }
                    }
                    (committed, refused)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(one(&open(&database, Role::Reader), "SELECT n FROM total"), outcomes.iter().map(|(committed, _)| committed).sum::<i64>());
    assert!(outcomes.iter().map(|(_, refused)| refused).sum::<i64>() >= 3, "{outcomes:?}");
}
