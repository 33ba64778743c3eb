//! The operator ends without a word: SIGKILL, as by the kernel when memory runs out.

use engine::{Clock as _, SystemClock};
use serde_json::json;

use crate::support::{DATABASE, Release, Resource, Scenario};

const DURABLE: i64 = 50;
const MORE: i64 = 10;

#[tokio::test]
async fn after_sigkill_every_row_that_was_in_the_bucket_is_there_and_the_database_takes_writes() {
    let scenario = Scenario::begin("kill").await;
    let release = Release::install(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    database.sql("create table written (x)").await;
    for row in 1..=DURABLE {
        database.sql(&format!("insert into written values ({row})")).await;
    }
    // Nobody flushes: a second later they are in the bucket by themselves.
    database.saved_by_itself().await;
    for row in DURABLE + 1..=DURABLE + MORE {
        database.sql(&format!("insert into written values ({row})")).await;
    }

    let pod = release.pod().await;
    scenario.kill(&pod).await;
    let begun = SystemClock.now();
    release.wait_killed(&pod).await;
    let rows = database.sql_once_it_answers("select count(*), max(x) from written").await;
    scenario.took("the only Pod's process killed: until an answer", begun.elapsed());
    let (count, newest) = (rows[0][0].as_i64().unwrap(), rows[0][1].as_i64().unwrap());
    // The last ones were in memory alone, but nobody promises that they are lost.
    assert!((DURABLE..=DURABLE + MORE).contains(&count) && newest == count, "{rows}: none is missing before one that is there");
    database.sql(&format!("insert into written values ({})", count + 1)).await;
    database.flush().await;
    assert_eq!(database.sql("select count(*) from written").await, json!([[count + 1]]));
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), "condition=Ready").await;
    scenario.stop_killing().await;
    scenario.end().await;
}
