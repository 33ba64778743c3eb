//! Idle costs nothing.

use std::time::Duration;

use engine::BucketName;
use engine::bucket::embedded::Dialect;

use crate::support::{Namespace, Operator, Place, Resource, embedded_store};

const DATABASES: usize = 100;
const INTERVAL: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_idle_databases_ask_nothing_of_the_store() {
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

    let before = store.requests();
    // The one wait that is itself the measurement: three intervals in which nothing may happen.
    tokio::time::sleep(3 * INTERVAL).await;
    assert_eq!(store.requests(), before);

    // The count does move when there is something to save.
    databases[0].sql("insert into used values (1)").await;
    databases[0].flush().await;
    assert_ne!(store.requests(), before);
}
