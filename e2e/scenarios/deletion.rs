//! The resource is deleted, alone or with its namespace; what is in the bucket stays, unless the resource says otherwise.

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

#[tokio::test]
async fn objects_go_with_a_database_that_says_so_and_a_namespace_that_is_deleted_is_saved_first() {
    let scenario = Scenario::begin("leaving").await;
    let _release = Release::install_for_the_cluster(&scenario).await;
    let resource = Resource::database(scenario.name);
    let database = scenario.serve(&resource.clone().with("/spec/deletionPolicy", "Delete")).await;
    database.sql("create table written (x); insert into written values (1)").await;
    database.flush().await;
    assert_eq!(scenario.store().find::<i64>(KEY, "select count(*) from written").await, Some(1));
    scenario.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    assert_eq!(scenario.store().find::<i64>(KEY, "select count(*) from written").await, None, "it went with its resource");

    let kept = "apps/kept.db";
    let database = scenario.serve(&resource.with("/metadata/name", "kept").with("/spec/key", kept)).await;
    database.sql("create table written (x); insert into written values (1), (2)").await;
    scenario.kubectl(&["delete", "namespace", scenario.name, "--timeout=90s"]).await;
    assert_eq!(scenario.store().find::<i64>(kept, "select count(*) from written").await, Some(2), "the final flush came first");
    scenario.end().await;
}
