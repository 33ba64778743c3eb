//! From nothing to a row in the bucket, as the README tells it.

use serde_json::json;

use crate::support::{Release, Resource, Scenario};

const QUICKSTART: &str = "quickstart.db";

#[tokio::test]
async fn the_chart_serves_the_quickstart_to_other_pods_where_pods_are_restricted() {
    let scenario = Scenario::begin_alone("install").await;
    let release = Release::install_for_the_cluster(&scenario).await;
    let unrestricted = ["run", "unrestricted", "--image=buckethead.test/shell:test"];
    let refusal = scenario.try_kubectl(&scenario.operator_namespace(), &unrestricted, "").await.expect_err("the standard is enforced");
    assert!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");

    let database = scenario.serve(&Resource::quickstart(scenario.name, scenario.name)).await;
    database.sql("create table greetings (text)").await;
    database.sql("insert into greetings values ('hello')").await;
    assert_eq!(database.sql("select text from greetings").await, json!([["hello"]]));

    // Nobody asks for it: a second later the row is in the bucket.
    database.saved_by_itself().await;
    // And in the plain file when somebody wants it there.
    database.flush().await;
    let saved: Option<String> = scenario.store().find(QUICKSTART, "select text from greetings").await;
    assert_eq!(saved.as_deref(), Some("hello"));
    let resource = scenario.get("bucketdatabase/quickstart").await;
    assert_eq!(resource["status"]["host"], release.pod().await, "{resource:#}");
    scenario.end().await;
}
