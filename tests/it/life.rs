//! The main job: apply a database, write to it over HTTP, find it in the bucket, get it back.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{DATABASE, Namespace, Operator, Place, Resource, ServedBy, Snapshot, until};

const KEY: &str = "apps/orders.db";

#[tokio::test]
async fn a_database_on_minio_is_saved_restored_and_saved_once_more_when_deleted() {
    saves_and_restores("life-on-minio", ServedBy::Minio).await;
}

#[tokio::test]
async fn a_database_on_a_store_as_strict_as_r2_is_saved_restored_and_saved_once_more_when_deleted() {
    saves_and_restores("life-on-r2", ServedBy::EmbeddedAsR2).await;
}

async fn saves_and_restores(name: &'static str, served_by: ServedBy) {
    let (namespace, place) = Namespace::with_place(name, served_by).await;
    let resource = Resource::database(DATABASE, &place, KEY).with("/spec/interval", "1s").with("/spec/minInterval", "1s");
    namespace.apply(&resource).await;

    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table written (x); insert into written values (1)").await;
    snapshot_follows(&namespace, &place).await;
    database.sql("insert into written values (2), (3)").await;
    operator.end().await;
    assert_eq!(rows_in(&place).await, Some(3), "what was written right before SIGTERM is in the bucket");

    let operator = Operator::start(&namespace).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select x from written order by x").await, json!([[1], [2], [3]]));
    namespace.wait_event(DATABASE, "Restored").await;
    assert_eq!(Snapshot::open(&database.file().await).value::<i64>("select count(*) from written"), 3);

    database.sql("insert into written values (4)").await;
    namespace.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    assert_eq!(rows_in(&place).await, Some(4), "the final flush came before the finalizer went");
    assert!(place.find(&format!("{KEY}.prev")).await.is_some(), "keepPrevious is on by default");
}

/// Waits until the first row is in the bucket and the status tells of that very object.
async fn snapshot_follows(namespace: &Namespace, place: &Place) {
    until("the row in the bucket", async || rows_in(place).await).await;
    until("the object's ETag in status.lastSnapshot", async || {
        let status = namespace.get("bucketdatabase", DATABASE).await["status"].take();
        let told = status["lastSnapshot"]["etag"].as_str()?.trim_matches('"').to_owned();
        (told == place.etag(KEY).await).then_some(())
    })
    .await;
}

/// How many rows the snapshot in the bucket has, once it has the table.
async fn rows_in(place: &Place) -> Option<i64> {
    let snapshot = Snapshot::open(&place.find(KEY).await?);
    let has_table = snapshot.value::<bool>("select count(*) from sqlite_schema where name = 'written'");
    has_table.then(|| snapshot.value("select count(*) from written"))
}

#[tokio::test]
async fn clients_learn_where_the_database_is_and_no_other_token_opens_it() {
    let name = "connecting";
    let (namespace, place) = Namespace::with_place(name, ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;

    let url = format!("{}/{name}/{DATABASE}/", Operator::PUBLIC_URL);
    assert_eq!(namespace.secret_value("orders-buckethead", "url").await, url);
    // libSQL clients take TLS for granted, and ask for a port where there is none.
    let libsql_url = format!("{}:80/{name}/{DATABASE}/?tls=0", Operator::PUBLIC_URL.replace("http", "libsql"));
    assert_eq!(namespace.secret_value("orders-buckethead", "libsql-url").await, libsql_url);
    assert_eq!(namespace.get("bucketdatabase", DATABASE).await["status"]["url"], url);

    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select 1").await, json!([[1]]));
    for token in [None, Some("guessed")] {
        assert_eq!(database.with_token(token).try_sql("select 1").await.status(), StatusCode::UNAUTHORIZED, "{token:?}");
    }
}

#[tokio::test]
async fn edits_that_fight_each_other_end_with_the_last_and_what_is_ours_comes_back() {
    let (namespace, place) = Namespace::with_place("edits", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    namespace.connect(&operator, DATABASE).await.sql("create table written (x); insert into written values (1)").await;

    let edit = async |manager: &str, patch: serde_json::Value| {
        let (manager, patch) = (format!("--field-manager={manager}"), patch.to_string());
        namespace.kubectl(&["patch", "bucketdatabase", DATABASE, "--type=merge", &manager, "--patch", &patch]).await;
    };
    let annotate = async |round: u32| edit("one", json!({"metadata": {"annotations": {"example.com/round": round.to_string()}}})).await;
    for round in 0..10 {
        let suspends = edit("other", json!({"spec": {"suspend": round % 2 == 0, "limits": {"maxRows": 1000 + round}}}));
        tokio::join!(suspends, annotate(round), edit("third", json!({"metadata": {"finalizers": null}})));
    }
    namespace.wait_ready(DATABASE).await;
    until("the finalizer is back", async || {
        namespace.get("bucketdatabase", DATABASE).await["metadata"]["finalizers"][0].is_string().then_some(())
    })
    .await;
    assert_eq!(namespace.connect(&operator, DATABASE).await.sql("select x from written").await, json!([[1]]));

    // Each field has the manager that owns it, and the status is ours alone.
    let managers = namespace.kubectl(&["get", "bucketdatabase", DATABASE, "--output=json", "--show-managed-fields"]).await;
    let managers: serde_json::Value = serde_json::from_str(&managers).unwrap();
    let of_status = managers["metadata"]["managedFields"].as_array().unwrap().iter().filter(|entry| entry["subresource"] == "status");
    let of_status: Vec<_> = of_status.map(|entry| (&entry["manager"], &entry["operation"])).collect();
    assert_eq!(of_status, [(&json!("buckethead"), &json!("Apply"))]);
    operator.end().await;
}
