//! Past states that are read: put together once, bounded, and gone with their database.

use super::branches::orders;
use super::*;
use crate::memory::StreamLimits;
use crate::sql::{Column, Effects, Flow, Row, Rows, Script, SqlError, SqlErrorKind};

/// What a small state takes, in bytes: no test needs more than that it is the same for each.
async fn size(bench: &Bench, txid: u64) -> u64 {
    bench.at(txid).await.unwrap().size()
}

impl Bench {
    /// With as many rows as the number of the state tells, from 2 on.
    async fn with_states(states: u64, memory: u64) -> (Self, Database) {
        let mut bench = Self::start().await;
        bench.host = Host::new(HostOptions { past_memory: memory, ..options_of("pod", HOUR) });
        let mut config = bench.config("orders");
        config.durability.retention = Some(HOUR);
        let database = bench.open(config).await;
        write(&database, "create table t(x)").await;
        while database.facts().txid < states {
            let rows = database.facts().txid + 1;
            let insert = format!("with n(i) as (select 1 union all select i + 1 from n where i < {rows}) insert into t select i from n");
            write(&database, &format!("delete from t; {insert}")).await;
            database.flush(Flush::Forced).await.unwrap();
        }
        (bench, database)
    }

    async fn at(&self, txid: u64) -> Result<Database, Arc<Error>> {
        self.host.past(&orders(), Point::Txid(txid)).await
    }

    fn looks(&self) -> u64 {
        let requests = self.store.requests();
        requests.of(Operation::GetObject) + requests.of(Operation::HeadObject) + requests.of(Operation::ListBuckets)
    }
}

#[tokio::test]
async fn whoever_asks_for_the_same_state_gets_the_same_and_the_bucket_is_asked_once() {
    let (bench, database) = Bench::with_states(4, 1 << 20).await;
    let (one, other) = tokio::join!(bench.at(3), bench.at(3));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.is(&other));
    assert_eq!((count(&one).await, count(&database).await), (3, 4));
    let moment = Point::At(one.facts().durable_time.unwrap());
    assert!(bench.host.past(&orders(), moment).await.unwrap().is(&one));
    let before = bench.looks();
    for point in [moment, Point::Txid(3)] {
        assert!(bench.host.past(&orders(), point).await.unwrap().is(&one));
    }
    assert_eq!(bench.looks(), before);
    assert!(bench.host.past(&orders(), Point::Newest).await.unwrap().is(&database));
}

#[tokio::test]
async fn a_moment_after_which_nothing_is_known_is_looked_for_each_time() {
    let (bench, database) = Bench::with_states(3, 1 << 20).await;
    let now = Point::At(bench.host.options.clock.wall());
    let newest = bench.host.past(&orders(), now).await.unwrap();
    assert_eq!(newest.facts().txid, 3);
    let before = bench.looks();
    assert!(bench.host.past(&orders(), now).await.unwrap().is(&newest), "the state is the same, but that had to be seen");
    assert!(bench.looks() > before);
    write(&database, "insert into t values (7)").await;
    database.flush(Flush::Forced).await.unwrap();
    // Now something came later.
    bench.host.past(&orders(), now).await.unwrap();
    let before = bench.looks();
    assert!(bench.host.past(&orders(), now).await.unwrap().is(&newest));
    assert_eq!(bench.looks(), before);
}

/// One statement, and how it ended.
struct One(Option<Statement>, Option<Result<Effects, SqlError>>);

impl Rows for One {
    fn columns(&mut self, _: Vec<Column>) -> Result<(), SqlError> {
        Ok(())
    }

    fn row(&mut self, _: &Row<'_>) -> Result<Flow, SqlError> {
        Ok(Flow::More)
    }

    async fn room(&mut self) -> Result<(), SqlError> {
        Ok(())
    }
}

impl Script for One {
    fn next(&mut self, _: bool) -> Option<Statement> {
        self.0.take()
    }

    fn ended(&mut self, outcome: Result<Effects, SqlError>) {
        self.1 = Some(outcome);
    }
}

#[tokio::test]
async fn nothing_of_the_past_can_be_changed_and_reading_it_counts_for_its_database() {
    let (bench, database) = Bench::with_states(3, 1 << 20).await;
    let past = bench.at(2).await.unwrap();
    let refused = past.run(request("insert into t values (9)")).await.unwrap_err();
    assert!(matches!(refused, Error::OnlyShown { .. }), "{refused}");
    let mut stream = past.stream(false);
    let limits = StreamLimits::of(past.limits());
    let statement = |sql: &str| One(Some(Statement { sql: sql.to_owned(), ..Statement::default() }), None);
    let outcome = stream.run(statement("insert into t values (9)"), &limits).await.unwrap().1.unwrap();
    assert_eq!(outcome.unwrap_err().kind, SqlErrorKind::Forbidden);
    stream.run(statement("select * from t"), &limits).await.unwrap().1.unwrap().unwrap();
    let before = database.facts().usage;
    // What does not look like one that reads is one all the same.
    past.run(request("with r as (select * from t) select * from r")).await.unwrap();
    assert_ne!(database.facts().usage, before);
    assert_eq!((count(&past).await, count(&database).await), (2, 3));
}

#[tokio::test]
async fn what_nobody_reads_makes_room_and_what_is_read_does_not() {
    let (bench, _database) = Bench::with_states(4, 1 << 20).await;
    let each = size(&bench, 2).await;
    drop(bench);
    let (bench, _database) = Bench::with_states(4, 2 * each).await;
    let second = bench.at(2).await.unwrap();
    let third = bench.at(3).await.unwrap();
    assert_eq!(bench.host.pasts(), (2, 2 * each));
    let refused = bench.at(4).await.map(drop).unwrap_err();
    assert!(matches!(&*refused, Error::NoRoomForPast { needed, free: 0, limit, .. } if (*needed, *limit) == (each, 2 * each)), "{refused}");
    drop((second, third));
    // That which was asked for last stays.
    let third = bench.at(3).await.unwrap();
    let fourth = bench.at(4).await.unwrap();
    assert_eq!((count(&third).await, count(&fourth).await), (3, 4));
    assert_eq!(bench.host.pasts(), (2, 2 * each));
    let before = bench.looks();
    bench.at(3).await.unwrap();
    assert_eq!(bench.looks(), before);
    drop((third, fourth));
    assert_eq!(count(&bench.at(2).await.unwrap()).await, 2);
}

#[tokio::test]
async fn a_state_that_takes_more_than_all_may_is_refused_for_good() {
    let (bench, _database) = Bench::with_states(3, 1).await;
    let refused = bench.at(2).await.map(drop).unwrap_err();
    assert!(matches!(&*refused, Error::PastTooLarge { limit: 1, .. }), "{refused}");
    assert_eq!(bench.host.pasts(), (0, 0));
}

#[tokio::test]
async fn a_past_ends_with_the_opening_of_its_database() {
    let (bench, _) = Bench::with_states(3, 1 << 20).await;
    let past = bench.at(2).await.unwrap();
    bench.close("orders").await.unwrap();
    past.ended().await;
    let refused = loop {
        // It is told in the same moment.
        match past.read(request("select 1")).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, Error::NotServed { why: NotServed::Closing, .. }), "{refused}");
    drop(past);
    // Until its task is through.
    while bench.host.pasts() != (0, 0) {
        tokio::task::yield_now().await;
    }
    let refused = bench.at(2).await.map(drop).unwrap_err();
    assert!(matches!(&*refused, Error::NotServed { .. }), "{refused}");
}

#[tokio::test]
async fn what_nobody_reads_for_five_minutes_is_dropped() {
    let (bench, _database) = Bench::with_states(3, 1 << 20).await;
    let read = bench.at(3).await.unwrap();
    bench.at(2).await.map(drop).unwrap();
    assert_eq!(bench.host.pasts().0, 2);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(bench.host.pasts().0, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.host.pasts().0, 1, "somebody still has it");
    drop(read);
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(bench.host.pasts(), (0, 0));
}
