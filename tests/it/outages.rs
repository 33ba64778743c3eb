//! The API server away, or without its memory: the databases do not care, and what was asked for meanwhile is done afterwards.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{ControlPlane, DATABASE, Database, Operator, Place, Resource, ServedBy, Snapshot, until};

const KEY: &str = "apps/orders.db";

/// Saved once a second.
fn quick(place: &Place) -> Resource {
    Resource::database(DATABASE, place, KEY).with("/spec/interval", "1s").with("/spec/minInterval", "1s")
}

/// How many rows the snapshot in the bucket has, once it has the table.
async fn saved(place: &Place) -> Option<i64> {
    let snapshot = Snapshot::open(&place.find(KEY).await?);
    let has_table = snapshot.value::<bool>("select count(*) from sqlite_schema where name = 't'");
    has_table.then(|| snapshot.value("select count(*) from t"))
}

async fn saved_soon(place: &Place, rows: i64) {
    until(&format!("{rows} rows in the bucket"), async || (saved(place).await == Some(rows)).then_some(())).await;
}

/// Waits until the operator has failed to reach the API server so often that it pauses for long between two tries.
async fn failed_often(operator: &Operator) {
    until("the watch has failed five times", async || {
        let log = operator.program.output();
        (log.lines().filter(|line| line.contains("a watch failed")).count() >= 5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_the_api_server_is_away_databases_are_served_and_saved_and_changes_are_made_up_for() {
    let place = Place::create(ServedBy::Minio, "away").await;
    let mut cluster = ControlPlane::start();
    let namespace = cluster.namespace("away", &place).await;
    namespace.apply(&quick(&place)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1)").await;
    saved_soon(&place, 1).await;

    cluster.stop_server();
    database.sql("insert into t values (2)").await;
    saved_soon(&place, 2).await;
    failed_often(&operator).await;
    database.sql("insert into t values (3)").await;
    assert_eq!(operator.readiness().await, StatusCode::OK, "or its Pod would get no requests any more");

    cluster.start_server();
    namespace.apply(&quick(&place).with("/spec/suspend", true)).await;
    namespace.apply(&Resource::database("second", &place, "apps/second.db")).await;
    namespace.wait_not("Ready", DATABASE, "Suspended").await;
    namespace.wait_ready("second").await;
    assert_eq!(saved(&place).await, Some(3));
    operator.end().await;
}

#[tokio::test]
async fn an_operator_that_ends_without_the_api_server_saves_everything() {
    let place = Place::create(ServedBy::Minio, "ends-alone").await;
    let mut cluster = ControlPlane::start();
    let namespace = cluster.namespace("ends-alone", &place).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1)").await;

    cluster.stop_server();
    operator.end().await;
    assert_eq!(saved(&place).await, Some(1));

    // One that begins without it waits for it.
    let program = Operator::spawn(&namespace);
    until("the operator says what it waits for", async || program.output().contains("waiting for the API server").then_some(())).await;
    cluster.start_server();
    let operator = Operator::once_ready(program).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select x from t").await, json!([[1]]));
    operator.end().await;
}

#[tokio::test]
async fn the_same_manifests_on_an_api_server_without_its_memory_find_their_data() {
    let place = Place::create(ServedBy::Minio, "wiped").await;
    let mut cluster = ControlPlane::start();
    let namespace = cluster.namespace("wiped", &place).await;
    namespace.apply(&quick(&place)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1)").await;

    // Once the operator ends after that, as it should.
    cluster.wipe();
    operator.end().await;
    let namespace = cluster.namespace("wiped", &place).await;
    namespace.apply(&quick(&place)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select x from t").await, json!([[1]]));
    database.sql("insert into t values (2)").await;
    saved_soon(&place, 2).await;

    // Once it does not even come to that.
    drop(operator);
    cluster.wipe();
    let namespace = cluster.namespace("wiped", &place).await;
    namespace.apply(&quick(&place)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select x from t order by x").await, json!([[1], [2]]));
    operator.end().await;
}

#[tokio::test]
async fn a_resource_that_another_definition_let_in_is_named_and_its_neighbours_do_not_notice() {
    let place = Place::create(ServedBy::Minio, "malformed").await;
    let cluster = ControlPlane::start();
    let namespace = cluster.namespace("malformed", &place).await;
    cluster.let_anything_in().await;
    let malformed = Resource::database("malformed", &place, "apps/malformed.db").with("/spec/interval", 60);
    // A new definition takes effect a moment after it is taken.
    until("a malformed resource is let in", async || namespace.try_apply(&malformed).await.ok()).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    let told = namespace.wait_condition("malformed", "Stalled", "True", "InvalidSpec").await;
    assert!(told.message.contains("spec.interval: "), "{}", told.message);

    namespace.apply(&Resource::database("malformed", &place, "apps/malformed.db")).await;
    namespace.wait_ready("malformed").await;
    namespace.apply(&malformed).await;
    namespace.wait_condition("malformed", "Stalled", "True", "InvalidSpec").await;
    namespace.kubectl(&["delete", "bucketdatabase", "malformed", "--timeout=60s"]).await;
    assert!(place.find("apps/malformed.db").await.is_some(), "it was saved, whatever its spec said by then");
    database.sql("create table t (x)").await;
    operator.end().await;
}

#[tokio::test]
async fn while_the_api_server_is_away_nobody_is_admitted_whom_it_did_not_admit_just_now() {
    let place = Place::create(ServedBy::Minio, "unjudged").await;
    let mut cluster = ControlPlane::start();
    let namespace = cluster.namespace("unjudged", &place).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY).with("/spec/api", json!({"auth": "Kubernetes"}))).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    namespace.kubectl(&["create", "serviceaccount", "app"]).await;
    namespace.kubectl(&["create", "role", "app", "--verb=get", "--resource=bucketdatabases.buckethead.dev/data"]).await;
    namespace.kubectl(&["create", "rolebinding", "app", "--role=app", "--serviceaccount=unjudged:app"]).await;
    let token = async |seconds| namespace.kubectl(&["create", "token", "app", seconds]).await.trim().to_owned();
    let (known, unknown) = (token("--duration=1h").await, token("--duration=2h").await);
    let asked = async |token: &str| {
        let database = Database::new(format!("{}/unjudged/{DATABASE}/", operator.api), Some(token.to_owned()));
        database.try_sql("select 1").await.status()
    };
    assert_eq!(asked(&known).await, StatusCode::OK);

    cluster.stop_server();
    assert_eq!((asked(&known).await, asked(&unknown).await), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    cluster.start_server();
    until("the other token is judged", async || (asked(&unknown).await == StatusCode::OK).then_some(())).await;
    operator.end().await;
}
