//! The operator's Pod is deleted, as a drained node or an impatient user does it.

use serde_json::json;

use crate::support::{Release, Resource, Scenario};

#[tokio::test]
async fn rows_that_nobody_flushed_are_there_after_the_operators_pod_was_deleted() {
    let scenario = Scenario::begin("restart").await;
    let release = Release::install(&scenario).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    database.sql("create table written (x); insert into written values (1), (2)").await;

    let first = release.pod().await;
    release.kubectl(&["delete", "pod", &first, "--timeout=60s"]).await;

    assert_eq!(database.sql_once_it_answers("select x from written order by x").await, json!([[1], [2]]));
    assert_ne!(release.pod().await, first);
    database.sql("insert into written values (3)").await;
    database.flush().await;
    scenario.end().await;
}
