//! A client of libSQL that others wrote, in another Pod, which connects by what the connection Secret says, over HTTP and over WebSocket. Its
//! suite is in `tests/clients/go`.

use serde_json::json;

use crate::support::{DATABASE, Release, Resource, Scenario};

#[tokio::test]
async fn a_client_of_libsql_connects_by_what_the_connection_secret_says() {
    let scenario = Scenario::begin("libsql").await;
    let _release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name).with("/spec/api", json!({"service": true}));
    scenario.apply(&resource).await;
    let url = format!("http://{DATABASE}.{}.svc/", scenario.name);
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), &format!("jsonpath={{.status.url}}={url}")).await;
    let database = scenario.serve(&resource).await;
    assert_eq!(database.url(), url, "its own Service");

    let made = "select count(*) from sqlite_schema where name like 'go%'";
    assert_eq!(database.sql(made).await, json!([[0]]));
    let printed = database.run("libsql-go").await;
    assert!(printed.trim_end().ends_with("PASS"), "{printed}");
    let after = database.sql(made).await;
    assert!(after[0][0].as_u64() > Some(0), "it was this database: {after}");
    scenario.end().await;
}
