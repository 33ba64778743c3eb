//! Whose deletion takes the objects along, and a namespace that is deleted with a database in it, by an operator for the whole cluster.

use crate::support::{DATABASE, KEY, Release, Resource, Scenario};

#[tokio::test]
async fn objects_go_with_a_database_that_says_so_and_a_namespace_that_is_deleted_is_saved_first() {
    let scenario = Scenario::begin_alone("leaving").await;
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
    let head = scenario.store().head(kept).await;
    assert!(head["released"] == true && head["state"] == "ready", "it can be served anew: {head:#}");
    scenario.end().await;
}
