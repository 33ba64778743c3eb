//! The commands of the guides, as they are written. Those of branches and promotion are in `promotion`.

use serde_json::{Value, json};

use crate::support::{DATABASE, Release, Resource, Scenario};

#[tokio::test]
async fn credentials_gc_and_deletion_are_as_their_guides_say() {
    let scenario = Scenario::begin("guides").await;
    let _release = Release::install(&scenario).await;
    // gc waits for twice the interval.
    let quick = Resource::database(scenario.name).with("/spec/durability", json!({"retention": "0s"})).with("/spec/minInterval", "1s");
    let resource = quick.with("/spec/files", json!({"gc": {"graceSeconds": 0}}));
    let database = scenario.serve(&resource).await;
    database.sql("create table kept (x); insert into kept values (1)").await;

    credentials(&scenario).await;
    let database = scenario.serve(&resource).await;
    assert_eq!(database.sql("select x from kept").await, json!([[1]]));

    let unused: Value = serde_json::from_str(&database.ask("POST", "files", "unused").await).unwrap();
    let unused = format!("files/{}", unused["bh_key"].as_str().unwrap());
    database.ask("DELETE", &unused, "").await;
    let next = scenario.follow("gc", "By a schedule").await;
    assert!(next.contains("T03:0"), "it prints a moment soon after three: {next}");
    assert!(scenario.follow("gc", "When you ask").await.contains(r#""deleted":1"#));
    let printed = scenario.follow("gc", "What happens then").await;
    assert!(printed.contains(&unused) && printed.contains("GcSucceeded"), "{printed}");

    scenario.follow("deletion", "Suspend").await;
    let database = scenario.serve(&resource).await;
    assert_eq!(database.sql("select x from kept").await, json!([[1]]));
    let printed = scenario.follow("deletion", "Delete the data, too").await;
    assert!(printed.contains("ObjectsDeleted"), "{printed}");
    scenario.end().await;
}

async fn credentials(scenario: &Scenario) {
    let printed = scenario.follow("credentials", "The connection Secret").await;
    assert!(printed.starts_with("orders-buckethead") && printed.contains("libsql-url: "), "{printed}");
    let secret = format!("secret/{DATABASE}-buckethead");
    let token = async || scenario.get(&secret).await["data"]["token"].take();
    let first = token().await;
    let reads = scenario.follow("credentials", "A token that only reads").await;
    assert!(!reads.is_empty() && printed.contains(&format!("read-only-token: {reads}\n")), "{reads}");
    scenario.follow("credentials", "A new token").await;
    assert_ne!(token().await, first);
    scenario.follow("credentials", "A token of your own").await;
    let printed = scenario.follow("credentials", "A Service of its own").await;
    assert!(printed.contains(&format!("service/{DATABASE}")) && printed.contains("endpointslice"), "{printed}");
    let own = scenario.get("secret/orders-token").await["data"]["token"].take();
    let repeats = format!("jsonpath={{.data.token}}={}", own.as_str().unwrap());
    scenario.wait(&secret, &repeats).await;
}
