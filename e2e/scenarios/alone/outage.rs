//! The store goes away, and comes back.

use serde_json::json;

use crate::support::{DATABASE, KEY, Release, Resource, Scenario};

#[tokio::test]
async fn writes_go_on_while_the_store_is_away_and_are_saved_once_it_is_back() {
    let scenario = Scenario::begin_alone("outage").await;
    let _release = Release::install(&scenario).await;
    let resource = Resource::database(scenario.name).with("/spec/minInterval", "1s");
    let database = scenario.serve(&resource).await;
    database.sql("create table written (x); insert into written values (1)").await;
    database.flush().await;

    scenario.store().stop().await;
    database.sql("insert into written values (2)").await;
    let message = scenario.wait_reason(DATABASE, "Durable", "EndpointUnreachable").await;
    assert!(message.contains("uploads fail since"), "{message}");
    database.sql("insert into written values (3)").await;
    let object = format!("bucketdatabase/{DATABASE}");
    for condition in ["condition=Ready", "condition=Writable", "condition=Durable=false"] {
        scenario.wait(&object, condition).await;
    }

    scenario.store().start().await;
    scenario.wait(&object, "condition=Durable").await;
    let count = "select count(*) from written";
    // All of it is in the bucket by itself; the plain file follows when somebody asks.
    database.flush().await;
    assert_eq!(scenario.store().find::<i64>(KEY, count).await, Some(3));
    assert_eq!(database.sql(count).await, json!([[3]]));
    scenario.end().await;
}
