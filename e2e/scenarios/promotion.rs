//! A release of data by `kubectl` alone, with the very commands of the guides.

use serde_json::json;

use crate::support::{DATABASE, Database, Release, Resource, Scenario};

#[tokio::test]
async fn a_release_is_branched_previewed_promoted_undone_and_let_go_as_the_guides_say() {
    let scenario = Scenario::begin("promotion").await;
    let release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name);
    let orders = scenario.serve(&resource).await;
    orders.sql("create table released (x); insert into released values (1)").await;
    assert!(scenario.follow("branches", "Make a branch").await.contains("release-7\t"));

    let preview = scenario.serve(&resource.with("/metadata/name", "preview").with("/spec/branch", "release-7")).await;
    preview.sql("insert into released values (7)").await;
    assert_eq!(orders.sql("select x from released").await, json!([[1]]));
    assert!(scenario.follow("promotion", "Promote").await.contains("Applied"));
    assert_eq!(orders.sql("select x from released").await, json!([[1], [7]]));

    // What comes after it stays, whatever happens to the operator.
    orders.sql("insert into released values (8)").await;
    release.kubectl(&["rollout", "restart", "deployment/buckethead"]).await;
    release.kubectl(&["rollout", "status", "deployment/buckethead", "--timeout=60s"]).await;
    assert_eq!(orders.sql_once_it_answers("select x from released").await, json!([[1], [7], [8]]));

    scenario.follow("promotion", "Undo").await;
    assert_eq!(orders.sql("select x from released").await, json!([[1]]));

    scenario.kubectl(&["delete", "bucketdatabase", "preview", "--timeout=60s"]).await;
    asking_meanwhile(&orders, scenario.follow("branches", "Serve another branch")).await;
    assert_eq!(orders.sql("select x from released").await, json!([[1], [7]]));

    scenario.follow("branches", "Let a branch go").await;
    let kept = "jsonpath={.status.branches[?(@.name==\"release-6\")].name}=release-6";
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), kept).await;
    scenario.end().await;
}

/// Asks one request after the other until the work is done. None of them may fail, also not the one under way then.
async fn asking_meanwhile(database: &Database<'_>, work: impl Future<Output = String>) {
    tokio::pin!(work);
    let mut is_done = false;
    while !is_done {
        let request = database.sql("select 1");
        tokio::pin!(request);
        tokio::select! {
            _ = &mut request => {}
            _ = &mut work => {
                is_done = true;
                request.await;
            }
        }
    }
}
