//! Several Pods under load: a rolling restart, more and fewer of them, and one that is killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{Clock as _, SystemClock};
use serde_json::json;

use crate::support::{Database, Release, Resource, Scenario};

/// One after the other, each with its own number, until it is told to stop: how many were answered, and the longest wait for an answer.
async fn write(database: &Database<'_>, stop: &AtomicBool) -> (i64, Duration) {
    let (mut answered, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begun = SystemClock.now();
        let row = answered + 1;
        // Nobody tries again: a request that fails fails the scenario.
        database.sql(&format!("insert into written values ({row})")).await;
        (answered, longest) = (row, longest.max(begun.elapsed()));
    }
    (answered, longest)
}

async fn found(database: &Database<'_>) -> (i64, i64) {
    let rows = database.sql_once_it_answers("select count(*), coalesce(max(x), 0) from written").await;
    (rows[0][0].as_i64().unwrap(), rows[0][1].as_i64().unwrap())
}

async fn serve<'a>(scenario: &'a Scenario, name: &str, mode: &str) -> Database<'a> {
    let resource = Resource::database(scenario.name)
        .with("/metadata/name", name)
        .with("/spec/key", format!("apps/{name}.db"))
        .with("/spec/durability", json!({"mode": mode}));
    let database = scenario.serve(&resource).await;
    database.sql("create table written (x integer primary key)").await;
    database
}

#[tokio::test]
async fn planned_changes_fail_no_request_and_a_killed_pod_loses_nothing_that_was_durable() {
    let scenario = Scenario::begin("replicas").await;
    let release = Release::install(&scenario).await;
    release.set(&["--reuse-values", "--set=replicas=2"]).await;
    let (first, second) = (serve(&scenario, "first", "sync").await, serve(&scenario, "second", "stream").await);

    let stop = AtomicBool::new(false);
    let changes = async {
        release.kubectl(&["rollout", "restart", "deployment/buckethead"]).await;
        release.rolled_out().await;
        for replicas in ["--replicas=3", "--replicas=1", "--replicas=2"] {
            release.kubectl(&["scale", "deployment/buckethead", replicas]).await;
            release.rolled_out().await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (one, other, ()) = tokio::join!(write(&first, &stop), write(&second, &stop), changes);
    let what = format!("a rolling restart, more and fewer Pods: the longest wait for an answer, of {} rows", one.0 + other.0);
    scenario.took(&what, one.1.max(other.1));
    assert_eq!((found(&first).await, found(&second).await), ((one.0, one.0), (other.0, other.0)), "none is missing");
    assert!(one.0 > 10 && other.0 > 10, "they were under load: {one:?} {other:?}");

    second.saved_by_itself().await;
    // The process of one that has a database is killed: the next one in its Pod has its lease at once.
    let host = scenario.kubectl(&["get", "bucketdatabase", "first", "--output=jsonpath={.status.host}"]).await;
    let begun = SystemClock.now();
    scenario.kill(&host).await;
    release.wait_killed(&host).await;
    let (count, newest) = found(&first).await;
    scenario.took("one of two Pods' process killed: until an answer", begun.elapsed());
    assert_eq!((count, newest), (one.0, one.0), "each was in the bucket when it was answered");
    release.rolled_out().await;
    let (count, newest) = found(&second).await;
    assert_eq!((count, newest), (other.0, other.0), "what was in the bucket, too");
    first.sql(&format!("insert into written values ({})", one.0 + 1)).await;
    scenario.stop_killing().await;
    scenario.end().await;
}
