//! The resource is deleted; what is in the bucket stays.

use serde_json::json;

use crate::support::{DATABASE, KEY, Release, Resource, Scenario};

#[tokio::test]
async fn a_deleted_database_is_saved_once_more_and_its_object_stays() {
    let scenario = Scenario::begin("deletion").await;
    let _release = Release::install(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    database.sql("create table written (x); insert into written values (1), (2)").await;
    assert_eq!(scenario.store().find::<i64>(KEY, "select count(*) from written").await, None, "nothing has flushed it yet");

    scenario.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    assert_eq!(scenario.store().find::<i64>(KEY, "select count(*) from written").await, Some(2), "the final flush came first");
    // By the cluster's garbage collector: the resource owned it.
    scenario.wait(&format!("secret/{DATABASE}-buckethead"), "delete").await;

    let database = scenario.serve(&Resource::database(scenario.name)).await;
    assert_eq!(database.sql("select x from written order by x").await, json!([[1], [2]]));
    scenario.end().await;
}
