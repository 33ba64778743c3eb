//! The chart's `NetworkPolicy`, in a cluster that enforces them: whom it names gets through, and nobody else, either way.

use serde_json::json;

use crate::support::{DATABASE, KEY, Release, Resource, Scenario, until};

/// As docs/tenancy.md shows it: the apps' namespaces may ask, the API server and the store may be asked. The cluster's DNS has a port of its own.
const POLICY: &str = r#"{
    "enabled": true,
    "from": [{"namespaceSelector": {"matchLabels": {"buckethead": "client"}}}],
    "ports": [6443],
    "egress": [
        {"ports": [{"port": 1053, "protocol": "UDP"}]},
        {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "minio"}}}], "ports": [{"port": 9000}]}
    ]
}"#;

/// Whether a Pod of the store's namespace gets an answer from there.
async fn reaches(scenario: &Scenario, url: &str) -> bool {
    let curl = ["exec", "deployment/client", "--", "curl", "--silent", "--show-error", "--fail", "--max-time", "3", url];
    match scenario.try_kubectl("minio", &curl, "").await {
        Ok(_) => true,
        // It could not connect, or not in time.
        Err(said) => {
            assert!(said.contains("curl: (7)") || said.contains("curl: (28)"), "{said}");
            false
        }
    }
}

#[tokio::test]
async fn whom_the_charts_policy_names_gets_through_and_nobody_else() {
    let scenario = Scenario::begin_alone("network").await;
    let release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name);
    let database = scenario.serve(&resource).await;
    database.sql("create table orders (x); insert into orders values (1)").await;
    // No token is asked for there.
    let operator = format!("http://buckethead.{}.svc/livez", scenario.operator_namespace());
    assert!(reaches(&scenario, &operator).await, "nothing keeps the stranger out yet");

    scenario.kubectl(&["label", "namespace", scenario.name, "buckethead=client"]).await;
    let policy = format!("--set-json=networkPolicy={POLICY}");
    release.set(&["--reuse-values", &policy]).await;
    until("the stranger to be kept out", async || (!reaches(&scenario, &operator).await).then_some(())).await;
    assert_eq!(database.sql("select x from orders").await, json!([[1]]), "a namespace that is named is let in");
    scenario.kubectl(&["label", "namespace", scenario.name, "buckethead-"]).await;
    until("whoever is not named any more to be kept out", async || database.try_sql("select 1").await.err()).await;
    scenario.kubectl(&["label", "namespace", scenario.name, "buckethead=client"]).await;
    database.sql_once_it_answers("select 1").await;

    // Connections that there are may stay; a new Pod has none. Without the API server it would not get ready.
    let pod = release.pod().await;
    release.kubectl(&["delete", "pod", &pod]).await;
    release.rolled_out().await;
    assert_eq!(database.sql_once_it_answers("select x from orders").await, json!([[1]]), "it came from the bucket");
    database.flush().await;

    release.set(&["--reuse-values", r#"--set-json=networkPolicy.egress=[{"ports": [{"port": 1053, "protocol": "UDP"}]}]"#]).await;
    scenario.store().stop().await;
    scenario.store().start().await;
    let health = "http://minio:9000/minio/health/ready";
    until("others to reach the new Pod of the store", async || reaches(&scenario, health).await.then_some(())).await;
    database.sql("insert into orders values (2)").await;
    let refusal = database.try_flush().await.unwrap_err();
    assert!(refusal.contains("/problems/bucket-unavailable") || refusal.contains("curl: (28)"), "{refusal}");
    scenario.wait_reason(DATABASE, "Durable", "EndpointUnreachable").await;
    release.set(&["--reuse-values", &policy]).await;
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), "condition=Durable").await;
    database.flush().await;
    assert_eq!(scenario.store().find::<i64>(KEY, "select max(x) from orders").await, Some(2));

    release.set(&["--reuse-values", "--set=networkPolicy.enabled=false"]).await;
    until("the stranger to get through again", async || reaches(&scenario, &operator).await.then_some(())).await;
    scenario.end().await;
}
