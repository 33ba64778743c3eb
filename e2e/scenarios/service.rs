//! An app in another Pod reaches its database by the database's own Service, whoever serves it, and by whichever of two tokens.

use serde_json::{Value, json};

use crate::support::{DATABASE, Release, Resource, Scenario, until};

const SLICE: &str = "endpointslice/orders-buckethead";

async fn address(scenario: &Scenario) -> Value {
    scenario.get(SLICE).await["endpoints"][0]["addresses"][0].take()
}

#[tokio::test]
async fn a_database_is_reached_by_its_own_service_across_a_new_pod_and_a_new_token() {
    let scenario = Scenario::begin("service").await;
    let release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name).with("/spec/api", json!({"service": true}));
    scenario.apply(&resource).await;
    let url = format!("http://{DATABASE}.{}.svc/", scenario.name);
    let told = format!("jsonpath={{.status.url}}={url}");
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), &told).await;
    // By what the connection Secret tells, which is the Service's name.
    let database = scenario.serve(&resource).await;
    assert_eq!(database.url(), url);
    database.sql("create table written (x)").await;
    let slices = format!("kubernetes.io/service-name={DATABASE}");
    let slices = scenario.kubectl(&["get", "endpointslices", "--selector", &slices, "--output=name"]).await;
    assert_eq!(slices.lines().count(), 1, "no controller of the cluster adds its own: {slices}");

    let before = address(&scenario).await;
    let pod = release.pod().await;
    scenario.kubectl_in(&scenario.operator_namespace(), &["delete", "pod", &pod]).await;
    until("the endpoints name the next Pod", async || (address(&scenario).await != before).then_some(())).await;
    database.sql_once_it_answers("select count(*) from written").await;

    scenario.kubectl(&["annotate", "bucketdatabase", DATABASE, "buckethead.dev/rotate-token-at=noon"]).await;
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), "jsonpath={.status.lastHandled.rotate}=noon").await;
    database.sql("insert into written values ('by the token before')").await;
    scenario.serve(&resource).await.sql("insert into written values ('by the new one')").await;
    assert_eq!(database.sql("select count(*) from written").await, json!([[2]]));

    // By the cluster's garbage collector: the resource owned them.
    scenario.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    for object in [&format!("service/{DATABASE}"), SLICE, "secret/orders-buckethead"] {
        scenario.wait(object, "delete").await;
    }
    scenario.end().await;
}
