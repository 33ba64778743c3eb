//! The resource is deleted, and then its namespace: what is in the bucket stays.

use serde_json::json;

use crate::support::{DATABASE, KEY, Release, Resource, Scenario, until};

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

    // An operator with Roles alone loses them with the namespace. It saves all the same, and somebody else may have to let the resource go.
    database.sql("insert into written values (3)").await;
    scenario.kubectl(&["delete", "namespace", scenario.name, "--wait=false"]).await;
    until("the final flush", async || (scenario.store().find::<i64>(KEY, "select count(*) from written").await == Some(3)).then_some(()))
        .await;
    let let_go = ["patch", "bucketdatabase", DATABASE, "--type=merge", "--patch", r#"{"metadata":{"finalizers":null}}"#];
    if let Err(said) = scenario.try_kubectl(scenario.name, &let_go, "").await {
        assert!(said.contains("NotFound"), "it had gone by itself: {said}");
    }
    scenario.kubectl(&["wait", &format!("namespace/{}", scenario.name), "--for=delete", "--timeout=90s"]).await;
    scenario.end().await;
}
