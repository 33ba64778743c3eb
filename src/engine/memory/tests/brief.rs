//! Statements that run at once: which they are, and that one which should not have is as if it had not begun.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::stream::Each;
use super::*;
use crate::clock::WallTime;

const BY_ID: &str = "SELECT a FROM t WHERE id <= ?";
const COPY: &str = "INSERT INTO t(a) SELECT a FROM t WHERE id <= ?";

fn up_to(sql: &str, id: i64) -> Request {
    with(sql, Params::Positional(vec![Value::Integer(id)]))
}

fn limits() -> StreamLimits {
    StreamLimits::of(QueryLimits::default())
}

/// A table of 10,000 rows: far more than a brief statement looks at.
async fn table_in(options: MemoryOptions) -> MemoryDatabase {
    let database = MemoryDatabase::new(options).unwrap();
    let fill = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); \
                INSERT INTO t(a) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT i FROM n";
    write(&database, fill).await.unwrap();
    database
}

/// The time stands still, so that nothing takes any; what threads have worked is what a test says.
#[derive(Debug)]
struct Still {
    now: Instant,
    past: AtomicU64,
    worked: AtomicU64,
}

impl Clock for Still {
    fn wall(&self) -> WallTime {
        WallTime::UNIX_EPOCH
    }

    fn now(&self) -> Instant {
        self.now + Duration::from_millis(self.past.load(Ordering::Relaxed))
    }

    /// Each look at it is two milliseconds after the last, in which the thread has worked or not.
    fn worked(&self) -> Duration {
        Duration::from_millis(self.worked.load(Ordering::Relaxed) * self.past.fetch_add(2, Ordering::Relaxed))
    }
}

fn still() -> Arc<Still> {
    Arc::new(Still { now: SystemClock.now(), past: AtomicU64::new(0), worked: AtomicU64::new(0) })
}

async fn table() -> MemoryDatabase {
    table_in(MemoryOptions { clock: still(), ..options() }).await
}

/// Runs it until it runs at once.
async fn known(database: &MemoryDatabase, sql: &str, id: i64) {
    for _ in 0..2 {
        assert!(!database.runs_at_once(sql), "{sql}");
        database.write(up_to(sql, id), &QueryLimits::default()).await.unwrap();
    }
    assert!(database.runs_at_once(sql), "{sql}");
}

async fn rows_of(database: &MemoryDatabase, id: i64) -> usize {
    database.read(up_to(BY_ID, id), &QueryLimits::default()).await.unwrap().results[0].rows.len()
}

#[tokio::test]
async fn what_ran_twice_and_was_brief_runs_at_once_and_does_the_same() {
    let database = table().await;
    known(&database, BY_ID, 2).await;
    // Readers have connections of their own, which have read the schema when they ran once.
    assert_eq!(rows_of(&database, 3).await, 3);
    assert!(futures::poll!(Box::pin(database.read(up_to(BY_ID, 3), &QueryLimits::default()))).is_ready());

    let insert = " INSERT INTO t(a) VALUES(?); -- one";
    known(&database, insert, 7).await;
    let limits = QueryLimits::default();
    let std::task::Poll::Ready(done) = futures::poll!(Box::pin(database.write(up_to(insert, 8), &limits))) else {
        panic!("it waited for a thread")
    };
    let done = done.unwrap();
    assert_eq!((done.results[0].rows_affected, done.results[0].last_insert_rowid), (1, Some(10_003)));
    assert_eq!(done.seen, Some(database.pin().commits()));
    assert_eq!(*database.commits().borrow(), database.pin().commits(), "it is announced");
    assert_eq!(rows(&database, "SELECT a FROM t WHERE id > 10000").await, [[Value::Integer(7)], [Value::Integer(7)], [Value::Integer(8)]]);
}

#[tokio::test]
async fn what_fails_at_once_fails_as_it_always_did() {
    let database = table().await;
    write(&database, "CREATE TABLE u(a UNIQUE)").await.unwrap();
    let insert = "\n INSERT INTO u SELECT a FROM t WHERE id <= ?";
    let clear = "DELETE FROM u WHERE a > 0";
    for _ in 0..2 {
        database.write(up_to(insert, 3), &QueryLimits::default()).await.unwrap();
        write(&database, clear).await.unwrap();
    }
    assert!(database.runs_at_once(insert));
    write(&database, "INSERT INTO u VALUES(3)").await.unwrap();
    let error = database.write(up_to(insert, 3), &QueryLimits::default()).await.unwrap_err();
    assert_eq!((error.kind, error.extended_code, error.statement_index, error.offset), (SqlErrorKind::Constraint, 2067, 0, None));
    assert_eq!(rows(&database, "SELECT a FROM u").await, [[Value::Integer(3)]], "what it had inserted before is gone");
    assert!(database.runs_at_once(insert));
    let none = with(insert, Params::None);
    assert_eq!(database.write(none, &QueryLimits::default()).await.unwrap_err().kind, SqlErrorKind::Arguments);
}

#[tokio::test]
async fn one_that_is_not_brief_after_all_has_not_begun() {
    let database = table().await;
    known(&database, BY_ID, 2).await;
    assert_eq!(rows_of(&database, 2).await, 2);
    assert_eq!(rows_of(&database, 10_000).await, 10_000);
    assert!(!database.runs_at_once(BY_ID), "once is enough");

    known(&database, COPY, 1).await;
    let before = integer(&database, "SELECT count(*) FROM t").await;
    let done = database.write(up_to(COPY, 5000), &QueryLimits::default()).await.unwrap();
    assert_eq!(done.results[0].rows_affected, 5000);
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, before + 5000);
    assert!(!database.runs_at_once(COPY));
}

#[tokio::test]
async fn a_stream_forgets_what_a_statement_gave_that_begins_again() {
    let database = table().await;
    let few = "SELECT a FROM t WHERE id <= (SELECT a FROM t WHERE id = 20000)";
    let mut stream = database.stream(false);
    for _ in 0..2 {
        stream.run(Each::of([few]), &limits(), &|| Ok(())).await;
    }
    assert!(database.runs_at_once(few));
    let script = stream.run(Each::of([few]), &limits(), &|| Ok(())).await;
    assert_eq!(script.outcomes[0].as_ref().unwrap().0.len(), 0);
    write(&database, "INSERT INTO t(id, a) VALUES(20000, 9000)").await.unwrap();
    let script = stream.run(Each::of([few, "INSERT INTO t(id) VALUES(30000)", few]), &limits(), &|| Ok(())).await;
    let counts: Vec<_> = script.outcomes.iter().map(|outcome| outcome.as_ref().unwrap().0.len()).collect();
    assert_eq!(counts, [9000, 0, 9000]);
    assert!(!database.runs_at_once(few));
}

#[tokio::test]
async fn a_stream_that_only_reads_does_not_write_at_once_either() {
    let database = table().await;
    let insert = "INSERT INTO t(a) VALUES(1)";
    let mut stream = database.stream(false);
    for _ in 0..3 {
        let done = stream.run(Each::of([insert]), &limits(), &|| Ok(())).await;
        assert!(done.outcomes[0].is_ok());
    }
    assert!(database.runs_at_once(insert));
    let mut reader = database.stream(true);
    reader.run(Each::of([BY_ID]), &limits(), &|| Ok(())).await;
    let done = reader.run(Each::of([insert]), &limits(), &|| Ok(())).await;
    assert_eq!(done.outcomes[0].as_ref().unwrap_err().kind, SqlErrorKind::Forbidden);
    assert_eq!(database.read(request(insert), &QueryLimits::default()).await.unwrap_err().kind, SqlErrorKind::Forbidden);
    assert_eq!(integer(&database, "SELECT count(*) FROM t").await, 10_003);
}

#[tokio::test]
async fn another_schema_makes_other_statements() {
    let database = table().await;
    let insert = "INSERT INTO t(a) VALUES(?)";
    known(&database, insert, 1).await;
    let trigger = "CREATE TRIGGER loud AFTER INSERT ON t BEGIN UPDATE t SET a = length(hex(zeroblob(50))) WHERE id = new.id; END";
    write(&database, trigger).await.unwrap();
    assert!(!database.runs_at_once(insert));
    for _ in 0..3 {
        database.write(up_to(insert, 1), &QueryLimits::default()).await.unwrap();
    }
    assert!(!database.runs_at_once(insert), "a function that may take long");
    assert_eq!(rows(&database, "SELECT DISTINCT a FROM t WHERE id > 10002").await, [[Value::Integer(100)]]);
}

#[tokio::test]
async fn whoever_takes_the_time_of_others_waits_a_hundred_times_as_long() {
    let clock = still();
    let database = table_in(MemoryOptions { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..options() }).await;
    known(&database, BY_ID, 2).await;
    clock.worked.store(1, Ordering::Relaxed);
    assert_eq!(rows_of(&database, 2).await, 2);
    assert_eq!(rows_of(&database, 2).await, 2);
    assert!(!database.runs_at_once(BY_ID), "it worked for two milliseconds");
    clock.worked.store(0, Ordering::Relaxed);
    clock.past.fetch_add(190, Ordering::Relaxed);
    assert!(!database.runs_at_once(BY_ID));
    clock.past.fetch_add(10, Ordering::Relaxed);
    assert!(database.runs_at_once(BY_ID));
}

#[tokio::test]
async fn texts_that_come_once_are_not_looked_at_and_do_not_pile_up() {
    let database = table().await;
    for number in 0..600 {
        write(&database, &format!("INSERT INTO t(a) VALUES({number})")).await.unwrap();
    }
    assert!(database.known_statements() <= 256);
    assert!(!database.runs_at_once("INSERT INTO t(a) VALUES(599)"));
    let long = format!("SELECT '{}'", "x".repeat(5000));
    for _ in 0..3 {
        assert_eq!(rows(&database, &long).await.len(), 1);
    }
    assert!(!database.runs_at_once(&long));
}

#[tokio::test]
async fn what_failed_before_on_the_same_thread_was_not_seen_by_whoever_looks_at_nothing() {
    let database = table().await;
    let select = "SELECT 1";
    // The first ones read the schema.
    for _ in 0..2 {
        read(&database, select).await.unwrap();
    }
    assert!(database.runs_at_once(select));
    assert_eq!(read(&database, select).await.unwrap().seen, None);
    let other = table().await;
    write(&other, "CREATE UNIQUE INDEX u ON t(a)").await.unwrap();
    let copy = "INSERT INTO t(a) SELECT a FROM t WHERE id <= ?";
    known(&other, copy, 0).await;
    assert_eq!(other.write(up_to(copy, 5), &QueryLimits::default()).await.unwrap_err().kind, SqlErrorKind::Constraint);
    assert_eq!(read(&database, select).await.unwrap().seen, None);
}

#[tokio::test]
async fn a_statement_that_was_to_stop_when_it_had_ended_ran_once() {
    let clock = still();
    let database = table_in(MemoryOptions { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..options() }).await;
    let mut done = 0;
    // Programs of other lengths meet the end of the steps after which SQLite asks elsewhere, mostly at their own end.
    for length in 0..20 {
        let insert = format!("INSERT INTO t(a) VALUES(?{})", " + random()".repeat(length));
        clock.past.fetch_add(10_000, Ordering::Relaxed);
        known(&database, &insert, 1).await;
        // Each look shows that the thread has worked for long.
        clock.worked.store(1, Ordering::Relaxed);
        for _ in 0..40 {
            clock.past.fetch_add(10_000, Ordering::Relaxed);
            database.write(up_to(&insert, 1), &QueryLimits::default()).await.unwrap();
        }
        clock.worked.store(0, Ordering::Relaxed);
        done += 42;
        assert_eq!(integer(&database, "SELECT count(*) FROM t").await, 10_000 + done, "{insert}");
    }
}

#[tokio::test]
async fn whoever_runs_statements_at_once_lets_others_run() {
    let database = table().await;
    known(&database, BY_ID, 2).await;
    let is_done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (asked, said) = (database.clone(), Arc::clone(&is_done));
    let requests = crate::tasks::spawn_owned(async move {
        for _ in 0..10_000 {
            if said.load(Ordering::Relaxed) {
                return true;
            }
            assert_eq!(rows_of(&asked, 2).await, 2);
        }
        false
    });
    tokio::task::yield_now().await;
    is_done.store(true, Ordering::Relaxed);
    assert!(requests.await.unwrap());

    let (mut stream, limits) = (database.stream(true), limits());
    stream.run(Each::of(["SELECT 1"; 3]), &limits, &|| Ok(())).await;
    let mut many = Box::pin(stream.run(Each::of(vec!["SELECT 1"; 1000]), &limits, &|| Ok(())));
    assert!(futures::poll!(&mut many).is_pending());
}
