//! Idle costs nothing, neither the store nor the API server.

use std::time::Duration;

use engine::BucketName;
use engine::bucket::embedded::Dialect;

use crate::support::{Namespace, Operator, Place, Resource, embedded_store};

const DATABASES: usize = 100;
const INTERVAL: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_idle_databases_ask_nothing_of_the_store_nor_of_the_api_server() {
    let (store, account, _folder) = embedded_store(Dialect::Standard).await;
    store.create_bucket(&BucketName::parse("idle").unwrap()).await.unwrap();
    let place = Place::of(account, "idle");
    let namespace = Namespace::create("idle").await;
    let operator = Operator::start(&namespace).await;
    let declared = (0..DATABASES).map(|number| {
        Resource::database(&format!("idle-{number}"), &place, &format!("{number}.db")).with("/spec/interval", format!("{INTERVAL:?}"))
    });
    namespace.apply(&Resource::list(declared.chain([Resource::credentials(&place.account)]))).await;
    namespace.kubectl(&["wait", "--for=condition=Ready", "bucketdatabase", "--all", "--timeout=120s"]).await;

    // Each has something to save and saves it, so that idle means "all saved", not "never used".
    let databases = namespace.connect_all(&operator).await;
    assert_eq!(databases.len(), DATABASES);
    for database in &databases {
        database.sql("create table used (x)").await;
        database.flush().await;
    }

    let saved = databases[0].flush().await["txid"].as_u64().unwrap();
    let told = format!("--for=jsonpath={{.status.txid}}={saved}");
    namespace.kubectl(&["wait", &told, "bucketdatabase", "--all", "--timeout=60s"]).await;

    at_rest(&operator).await;

    let before = (store.requests(), operator.requests().await);
    let all_before = operator.all_requests().await;
    // The one wait that is itself the measurement: three intervals in which nothing may happen.
    tokio::time::sleep(3 * INTERVAL).await;
    assert_eq!((store.requests(), operator.requests().await), before);
    let renewals = operator.all_requests().await - all_before;
    assert!((1..=5).contains(&renewals), "one lease for all of them, renewed each five seconds: {renewals}");

    // The count does move when there is something to save.
    databases[0].sql("insert into used values (1)").await;
    databases[0].flush().await;
    assert_ne!(store.requests(), before.0);
}

/// Waits until the looks that the last statuses made are over: for two seconds the API server is asked nothing.
async fn at_rest(operator: &Operator) {
    let mut before = operator.requests().await;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = operator.requests().await;
        if after == before {
            return;
        }
        before = after;
    }
}
