//! An operator for teams that do not trust one another: what each may have, and in whose name it is served.

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use crate::support::{DATABASE, Namespace, Operator, Place, Resource, ServedBy};

async fn with_quota(namespace: &Namespace, quota: &Value) -> Operator {
    let quotas = json!({"namespaces": {namespace.name(): quota}}).to_string();
    Operator::once_ready(Operator::spawn_with(namespace, &["--quotas", &quotas])).await
}

fn sized(name: &str, place: &Place, size: &str) -> Resource {
    Resource::database(name, place, &format!("apps/{name}.db")).with("/spec/limits", json!({"maxSize": size}))
}

#[tokio::test]
async fn what_does_not_fit_into_a_quota_waits_and_is_opened_as_soon_as_there_is_room() {
    let (namespace, place) = Namespace::with_place("quotas", ServedBy::Minio).await;
    let operator = with_quota(&namespace, &json!({"databases": 3, "bytes": "20Mi"})).await;
    for (name, size) in [("first", "12Mi"), ("second", "8Mi")] {
        namespace.apply(&sized(name, &place, size)).await;
        namespace.wait_ready(name).await;
    }
    namespace.apply(&sized("third", &place, "8Mi")).await;
    let refused = namespace.wait_condition("third", "Stalled", "True", "QuotaExceeded").await;
    assert!(refused.message.contains("20Mi together, others have 20Mi"), "{}", refused.message);
    namespace.wait_not("WithinQuota", "third", "QuotaExceeded").await;
    namespace.wait_ready("first").await;

    // Growth that does not fit is not taken over, and says so.
    namespace.apply(&sized("first", &place, "16Mi")).await;
    let told = namespace.wait_not("Ready", "first", "QuotaExceeded").await;
    assert!(told.message.contains("It goes on with 12Mi"), "{}", told.message);
    assert_eq!(namespace.get("bucketdatabase", "first").await["status"]["maxSize"], "12Mi");
    namespace.connect(&operator, "first").await.sql("select 1").await;

    // Each of them makes room at once: one that is made smaller, one that rests, one that goes.
    namespace.apply(&sized("first", &place, "4Mi")).await;
    namespace.wait_ready("third").await;
    namespace.apply(&sized("fourth", &place, "1Mi")).await;
    let refused = namespace.wait_condition("fourth", "Stalled", "True", "QuotaExceeded").await;
    assert!(refused.message.contains("may have 3 BucketDatabases"), "{}", refused.message);
    namespace.kubectl(&["delete", "bucketdatabase", "first", "--timeout=60s"]).await;
    namespace.wait_ready("fourth").await;
    namespace.patch("bucketdatabase", "fourth", &json!({"spec": {"limits": {"maxSize": "12Mi"}}})).await;
    namespace.wait_not("Ready", "fourth", "QuotaExceeded").await;
    namespace.patch("bucketdatabase", "second", &json!({"spec": {"suspend": true}})).await;
    namespace.wait_ready("fourth").await;
    operator.end().await;

    // A quota that shrinks closes nothing, not even across a restart.
    let operator = with_quota(&namespace, &json!({"bytes": "1Mi"})).await;
    for name in ["third", "fourth"] {
        namespace.wait_not("WithinQuota", name, "QuotaExceeded").await;
        namespace.wait_ready(name).await;
        namespace.connect(&operator, name).await.sql("select 1").await;
    }
    namespace.patch("bucketdatabase", "second", &json!({"spec": {"suspend": false}})).await;
    namespace.wait_condition("second", "Stalled", "True", "QuotaExceeded").await;
    operator.end().await;
}

/// Of a database that names no credentials.
fn bare(place: &Place, key: &str) -> Resource {
    Resource::database(DATABASE, place, key).without("/spec/credentials").with("/spec/files", json!({"prefix": "apps/files/"}))
}

async fn lending(namespace: &Namespace, place: &Place, environment: &[(&str, &str)]) -> Operator {
    let room = json!({"bucket": place.bucket, "prefix": "apps/", "endpoint": place.account.endpoint});
    let lent = json!([{"namespace": namespace.name(), "buckets": [room]}]).to_string();
    Operator::once_ready(Operator::spawn_in(namespace, &["--ambient-credentials", &lent], environment)).await
}

#[tokio::test]
async fn the_operators_own_identity_serves_what_lies_where_it_is_lent_and_nothing_else() {
    let (namespace, place) = Namespace::with_place("ambient", ServedBy::Minio).await;
    let keys = [("AWS_ACCESS_KEY_ID", &*place.account.access_key_id), ("AWS_SECRET_ACCESS_KEY", &*place.account.secret_access_key)];
    let operator = lending(&namespace, &place, &keys).await;
    namespace.apply(&bare(&place, "apps/orders.db")).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1)").await;
    database.put_file("a file", "content").await;
    namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, "buckethead.dev/gc-requested-at=now"]).await;
    let told = namespace.wait_not("GarbageCollected", DATABASE, "AmbientCredentialsNotAllowed").await;
    assert!(told.message.contains("spec.credentials.secretRef"), "{}", told.message);

    let elsewhere = bare(&place, "apps-evil/orders.db").with("/metadata/name", "elsewhere");
    namespace.apply(&elsewhere).await;
    let refused = namespace.wait_condition("elsewhere", "Stalled", "True", "AmbientCredentialsNotAllowed").await;
    assert!(refused.message.contains("spec.key") && refused.message.contains("`apps/`"), "{}", refused.message);
    let foreign = bare(&place, "apps/foreign.db").with("/metadata/name", "foreign").with("/spec/endpoint", "http://evil.example");
    namespace.apply(&foreign).await;
    let refused = namespace.wait_condition("foreign", "Stalled", "True", "AmbientCredentialsNotAllowed").await;
    assert!(refused.message.contains("spec.endpoint"), "{}", refused.message);
    operator.end().await;
    let objects = place.list("").await;
    assert!(objects.len() > 3 && objects.iter().all(|key| key.starts_with("apps/")), "{objects:?}");
}

#[tokio::test]
async fn the_identity_of_a_pod_is_asked_for_at_the_address_that_its_environment_names() {
    let (namespace, place) = Namespace::with_place("pod-identity", ServedBy::EmbeddedAsR2).await;
    let keys = json!({
        "AccessKeyId": place.account.access_key_id, "SecretAccessKey": place.account.secret_access_key, "Token": "of-the-session",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    let agent = Router::new().route("/identity", get(async move || keys.to_string()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/identity", listener.local_addr().unwrap());
    let mut served = tokio::task::JoinSet::new();
    served.spawn(async move { axum::serve(listener, agent).await });
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*address), ("AWS_REGION", "us-east-1"), ("HOME", "/nonexistent")];
    let operator = lending(&namespace, &place, &environment).await;
    namespace.apply(&bare(&place, "apps/orders.db")).await;
    namespace.wait_ready(DATABASE).await;
    namespace.connect(&operator, DATABASE).await.sql("create table t (x)").await;
    operator.end().await;
    assert!(place.find("apps/orders.db").await.is_some());
}
