//! The store ends, is killed, or is full, while a client writes: what was acknowledged stays, and what is wrong is told.

use std::time::Duration;

use engine::{Clock as _, SystemClock};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{DATABASE, Database, End, Found, Namespace, Operator, OwnStore, Resource, Rows, until};

const KEY: &str = "apps/orders.db";
const INTERVAL: Duration = Duration::from_millis(100);
const MAX_LAG: Duration = Duration::from_secs(1);

/// A database in a store that comes and goes, and what its writer knows.
struct Stage {
    store: OwnStore,
    namespace: Namespace,
    operator: Operator,
    database: Database,
    rows: Rows,
}

impl Stage {
    async fn create(name: &'static str, store: OwnStore, on_max_lag: &str) -> Self {
        let namespace = Namespace::create(name).await;
        namespace.apply(&Resource::credentials(&store.place.account)).await;
        let durability = json!({
            "streamInterval": format!("{}ms", INTERVAL.as_millis()),
            "maxLag": format!("{}s", MAX_LAG.as_secs()),
            "onMaxLag": on_max_lag,
        });
        namespace.apply(&Resource::database(DATABASE, &store.place, KEY).with("/spec/durability", durability)).await;
        let operator = Operator::start(&namespace).await;
        namespace.wait_ready(DATABASE).await;
        let database = namespace.connect(&operator, DATABASE).await;
        let mut rows = Rows::of(&database).await;
        for _ in 0..2 {
            rows.write_some(&database, 50).await;
            assert_eq!(rows.flush(&database).await.0, StatusCode::OK);
        }
        Self { store, namespace, operator, database, rows }
    }

    /// Writes until no more is taken.
    async fn write_until_refused(&mut self) {
        let end = self.rows.write(&self.database).await;
        let End::Refused(status, reply) = end else { panic!("nobody answers: {end:?}") };
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{reply}");
        assert_eq!(kind(&reply), "writes-refused");
    }

    /// Waits until writes are taken again.
    async fn write_again(&mut self) {
        let nothing = "delete from rows where false";
        until("writes are taken", async || (self.database.try_sql(nothing).await.status() == StatusCode::OK).then_some(())).await;
        self.rows.write_some(&self.database, 50).await;
    }

    /// Waits until the status says that uploads fail, in these words of whoever says so.
    async fn tells(&self, words: &str) {
        until(words, async || {
            let told = self.namespace.wait_not("Durable", DATABASE, "EndpointUnreachable").await;
            told.message.contains(words).then_some(())
        })
        .await;
    }

    /// Everything that was acknowledged gets into the bucket, and is in what is opened after a kill.
    async fn ends_well(mut self) {
        self.rows.get_durable(&self.database).await;
        until("no lag", async || lag(&self.operator).await.is_none().then_some(())).await;
        self.namespace.wait_condition(DATABASE, "Durable", "True", "SnapshotsSucceed").await;
        self.namespace.wait_condition(DATABASE, "Writable", "True", "Serving").await;
        let all = self.rows.told().len();
        self.operator.program.kill().await;
        let operator = Operator::start(&self.namespace).await;
        let database = self.namespace.connect(&operator, DATABASE).await;
        assert_eq!(self.rows.settle(Found::by(&database).await, all), 0);
        operator.end().await;
    }
}

/// What `buckethead_database_lag_seconds` says, if it is not 0, and from when to when it was asked for.
async fn lag(operator: &Operator) -> Option<Lag> {
    let asked = SystemClock.now();
    let metrics = operator.metrics().await;
    let told = SystemClock.now();
    let line = metrics.lines().find(|line| line.starts_with("buckethead_database_lag_seconds{")).unwrap();
    let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    (value > 0.0).then_some(Lag { value, asked, told })
}

#[derive(Debug, Clone, Copy)]
struct Lag {
    value: f64,
    asked: Instant,
    told: Instant,
}

fn kind(reply: &str) -> String {
    let problem: Value = serde_json::from_str(reply).unwrap();
    problem["type"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()
}

#[tokio::test]
async fn while_the_store_is_away_writes_go_on_until_max_lag_and_the_metric_says_what_the_client_sees() {
    let mut stage = Stage::create("store-away", OwnStore::start("orders-data").await, "Refuse").await;
    let (end, ()) = tokio::join!(stage.rows.write(&stage.database), stage.store.end());
    assert!(matches!(end, End::Refused(StatusCode::SERVICE_UNAVAILABLE, _)), "{end:?}");

    let first = lag(&stage.operator).await.expect("commits wait");
    assert!(first.value >= (INTERVAL + MAX_LAG).as_secs_f64(), "writes are refused, and the lag is only {first:?}");
    // What came with the delta before the last was in there before the last was begun, and everything that still waits came later.
    let before = stage.rows.told().iter().rfind(|told| told.state.txid < stage.rows.durable);
    let longest = first.told - before.expect("several deltas are in the bucket").sent;
    assert!(first.value <= longest.as_secs_f64(), "{first:?} is more than {longest:?}");
    stage.write_until_refused().await;
    let second = lag(&stage.operator).await.expect("commits wait");
    let grown = second.value - first.value;
    assert!(
        grown >= (second.asked - first.told).as_secs_f64() && grown <= (second.told - first.asked).as_secs_f64(),
        "{first:?} {second:?}"
    );

    stage.tells("cannot connect").await;
    stage.namespace.wait_not("Writable", DATABASE, "BucketBehind").await;
    assert_eq!(Found::by(&stage.database).await.count, stage.rows.count(), "reads go on, and what was refused was not written");
    stage.store.start_again().await;
    stage.write_again().await;
    stage.ends_well().await;
}

#[tokio::test]
async fn a_store_that_is_killed_again_and_again_under_load_costs_no_row_and_no_write_where_they_may_go_on() {
    let mut stage = Stage::create("store-killed", OwnStore::start("orders-data").await, "Continue").await;
    let Stage { store, operator, database, rows, .. } = &mut stage;
    let longest = (INTERVAL + MAX_LAG).as_secs_f64();
    let comes_and_goes = async {
        for _ in 0..3 {
            store.kill().await;
            until("a lag that others would refuse", async || lag(operator).await.is_some_and(|lag| lag.value > longest).then_some(()))
                .await;
            store.start_again().await;
            until("a lag that is allowed", async || lag(operator).await.is_none_or(|lag| lag.value < longest).then_some(())).await;
        }
    };
    tokio::select! {
        end = rows.write(database) => panic!("a write was refused: {end:?}"),
        () = comes_and_goes => {}
    }
    stage.ends_well().await;
}

#[tokio::test]
async fn a_full_bucket_is_told_and_loses_nothing_that_was_acknowledged() {
    let mut stage = Stage::create("store-full", OwnStore::start_small("orders-data").await, "Refuse").await;
    stage.store.fill().await;
    stage.write_until_refused().await;
    stage.tells("minimum free drive threshold").await;
    stage.namespace.wait_not("Writable", DATABASE, "BucketBehind").await;
    let (status, reply) = stage.rows.flush(&stage.database).await;
    assert_eq!((status, kind(&reply).as_str()), (StatusCode::SERVICE_UNAVAILABLE, "bucket-unavailable"), "{reply}");
    assert!(reply.contains("minimum free drive threshold"), "{reply}");
    assert_eq!(Found::by(&stage.database).await.count, stage.rows.count());

    stage.store.make_room().await;
    stage.write_again().await;
    stage.ends_well().await;
}
