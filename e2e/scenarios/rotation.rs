//! The keys of the bucket change under load: in good order, and by somebody who takes the old ones away first.

use engine::{Clock as _, SystemClock};
use serde_json::Value;

use crate::support::{DATABASE, KEY, Load, Release, Resource, Scenario};

const FIRST: (&str, &str) = ("rotation-first", "first-secret-key");
const SECOND: (&str, &str) = ("rotation-second", "second-secret-key");
const THIRD: (&str, &str) = ("rotation-third", "third-secret-key");

fn secret((name, key): (&str, &str)) -> Resource {
    Resource::credentials().with("/stringData/AWS_ACCESS_KEY_ID", name).with("/stringData/AWS_SECRET_ACCESS_KEY", key)
}

async fn tenure(scenario: &Scenario) -> Value {
    let status = scenario.get(&format!("bucketdatabase/{DATABASE}")).await["status"].take();
    assert!(status["epoch"].is_number(), "{status:#}");
    Value::from_iter([status["epoch"].clone(), status["host"].clone()])
}

#[tokio::test]
async fn keys_of_the_bucket_change_under_a_database_that_goes_on() {
    let scenario = Scenario::begin("rotation").await;
    let store = scenario.store();
    store.add_account(FIRST.0, FIRST.1).await;
    let _release = Release::install(&scenario).await;
    scenario.apply(&secret(FIRST)).await;
    let database = scenario.serve(&Resource::database(scenario.name)).await;
    let before = tenure(&scenario).await;
    let object = format!("bucketdatabase/{DATABASE}");
    let load = Load::begin(&database, "load").await;

    store.add_account(SECOND.0, SECOND.1).await;
    scenario.apply(&secret(SECOND)).await;
    // Any change of the resource has its Secrets read at once.
    scenario.kubectl(&["annotate", &object, "example.com/keys-changed=once"]).await;
    database.flush().await;
    store.remove_account(FIRST.0).await;
    assert!(!store.admits(FIRST.0, FIRST.1).await && store.admits(SECOND.0, SECOND.1).await);
    load.goes_on().await;
    // By the new ones alone.
    database.flush().await;

    store.remove_account(SECOND.0).await;
    let message = scenario.wait_reason(DATABASE, "Durable", "CredentialsRejected").await;
    assert!(message.contains("InvalidAccessKeyId"), "{message}");
    load.goes_on().await;
    store.add_account(THIRD.0, THIRD.1).await;
    scenario.apply(&secret(THIRD)).await;
    let begun = SystemClock.now();
    // Nobody says that the Secret is another one.
    scenario.wait(&object, "condition=Durable").await;
    scenario.took("keys put right after the store refused the old ones: until all is durable", begun.elapsed());

    let written = load.end().await;
    assert_eq!(written.refused, 0, "{written:?}");
    assert_eq!(tenure(&scenario).await, before, "it was not opened again");
    database.flush().await;
    assert_eq!(store.find::<i64>(KEY, "select count(*) from written").await, Some(written.rows));
    scenario.end().await;
}
