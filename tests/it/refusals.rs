//! Bad input, and what it gets: a word and a sentence for the user, and nothing lost in the bucket.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Account, DATABASE, Namespace, Operator, Place, Resource, ServedBy, Snapshot};

const KEY: &str = "apps/orders.db";

/// What a rule of the schema refuses; the unit tests of the rules read the same file.
#[derive(Deserialize)]
struct Refused {
    field: String,
    before: Option<Value>,
    spec: Value,
    message: String,
    /// What the API server says where it comes before the rule.
    server: Option<String>,
}

/// A manifest with these fields in its spec. An endpoint makes most specs whole, so it is there unless it is null.
fn manifest(name: &str, fields: &Value) -> Resource {
    let spec = json!({"bucket": "orders-data", "endpoint": "https://minio"});
    let fields = fields.as_object().unwrap();
    let resource = Resource::empty(name).with("/spec", spec);
    fields.iter().fold(resource, |resource, (field, value)| match value {
        Value::Null => resource.without(&format!("/spec/{field}")),
        value => resource.with(&format!("/spec/{field}"), value.clone()),
    })
}

#[tokio::test]
async fn the_api_server_refuses_in_our_words_what_the_rules_forbid() {
    let namespace = Namespace::create("rules").await;
    let refused: Vec<Refused> = serde_json::from_str(include_str!("../../src/controller/crd/rules/refused.json")).unwrap();
    for (number, Refused { field, before, spec, message, server }) in refused.iter().enumerate() {
        let name = format!("orders-{number}");
        if let Some(before) = before {
            namespace.apply(&manifest(&name, before)).await;
        }
        let refusal = namespace.try_apply(&manifest(&name, spec)).await.expect_err(message);
        let words = server.as_ref().unwrap_or(message);
        let says_where = refusal.replace("[0]", "").replace("[1]", "").contains(field);
        assert!(says_where && refusal.contains(words), "{field}: {spec}: {refusal}");
    }
    let refusal = namespace.try_apply(&manifest(&"a".repeat(64), &json!({}))).await.unwrap_err();
    assert!(refusal.contains("at most 63 lower-case letters"), "{refusal}");
    let refusal = namespace.try_apply(&manifest("orders", &json!({"interval": "soon"}))).await.unwrap_err();
    assert!(refusal.contains("spec.interval"), "{refusal}");
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_not_used_until_the_resource_puts_up_with_it() {
    let (namespace, place) = Namespace::with_place("unsafe-store", ServedBy::EmbeddedAsR2).await;
    place.ignore_conditions();
    let operator = Operator::start(&namespace).await;
    let resource = Resource::database(DATABASE, &place, KEY);
    namespace.apply(&resource).await;
    let stalled = namespace.wait_condition(DATABASE, "Stalled", "True", "ConditionsIgnored").await;
    assert!(stalled.message.contains("spec.durability.unsafeSingleWriter"), "{stalled:?}");
    assert_eq!(place.objects().await, []);

    namespace.apply(&resource.with("/spec/durability/unsafeSingleWriter", true)).await;
    namespace.wait_ready(DATABASE).await;
    let exposed = namespace.wait_condition(DATABASE, "SecondWriterExcluded", "False", "SingleWriterUnsafe").await;
    assert!(exposed.message.contains("If-None-Match"), "{exposed:?}");
    namespace.wait_event(DATABASE, "SingleWriterUnsafe").await;
    namespace.connect(&operator, DATABASE).await.sql("create table kept (x); insert into kept values (1)").await;
    operator.end().await;
    assert_eq!(Snapshot::open(&place.find(KEY).await.unwrap()).value::<i64>("select x from kept"), 1);
}

#[tokio::test]
async fn a_secret_without_a_key_is_named_and_the_database_is_served_once_it_has_it() {
    let (namespace, place) = Namespace::with_place("half-a-secret", ServedBy::Minio).await;
    let half = Resource::credentials(&place.account).without("/stringData/AWS_SECRET_ACCESS_KEY");
    namespace.kubectl(&["delete", "secret", DATABASE]).await;
    namespace.apply(&half).await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;

    let refused = namespace.wait_not("Ready", DATABASE, "CredentialsMissing").await;
    assert!(refused.message.contains(DATABASE) && refused.message.contains("AWS_SECRET_ACCESS_KEY"), "{refused:?}");

    namespace.apply(&Resource::credentials(&place.account)).await;
    namespace.wait_ready(DATABASE).await;
    namespace.connect(&operator, DATABASE).await.sql("select 1").await;
}

#[tokio::test]
async fn an_object_that_is_no_database_is_left_as_it_is() {
    let (namespace, place) = Namespace::with_place("no-database", ServedBy::Minio).await;
    let foreign = b"a shopping list, and by no means a database".repeat(100);
    place.put(KEY, foreign.clone()).await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;

    let refused = namespace.wait_not("Ready", DATABASE, "SnapshotCorrupt").await;
    assert!(refused.message.contains(KEY), "{refused:?}");
    operator.end().await;
    assert_eq!(place.find(KEY).await, Some(foreign));
    assert_eq!(place.find(&format!("{KEY}.prev")).await, None);
}

#[tokio::test]
async fn of_two_resources_on_one_branch_the_later_one_stalls_and_names_the_other() {
    let (namespace, place) = Namespace::with_place("twins", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    namespace.wait_ready(DATABASE).await;
    namespace.apply(&Resource::database("twin", &place, KEY)).await;

    let stalled = namespace.wait_condition("twin", "Stalled", "True", "HeldElsewhere").await;
    assert!(stalled.message.contains("twins/orders"), "{stalled:?}");
    namespace.connect(&operator, DATABASE).await.sql("create table first_come (x)").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_store_is_told_apart_and_a_healthy_database_does_not_notice() {
    let (namespace, place) = Namespace::with_place("stores", ServedBy::Minio).await;
    let strangers = Account { secret_access_key: "not-the-key".to_owned(), ..place.account.clone() };
    namespace.apply(&Resource::credentials(&strangers).with("/metadata/name", "strangers")).await;
    // The discard port: nobody listens there.
    let nowhere = Place::of(Account { endpoint: "http://127.0.0.1:9".to_owned(), ..place.account.clone() }, "stores");
    let unmade = Place::of(place.account.clone(), "never-made");
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database("stranger", &place, "a.db").with("/spec/credentials/secretRef/name", "strangers")).await;
    namespace.apply(&Resource::database("unmade", &unmade, "b.db")).await;
    namespace.apply(&Resource::database("nowhere", &nowhere, "c.db")).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;

    namespace.wait_ready(DATABASE).await;
    for (name, reason) in [("stranger", "CredentialsRejected"), ("unmade", "BucketMissing"), ("nowhere", "EndpointUnreachable")] {
        namespace.wait_not("Ready", name, reason).await;
    }
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table healthy (x)").await;
    database.flush().await;
    assert!(place.find(KEY).await.is_some());
}

#[tokio::test]
async fn a_foreign_write_is_kept_as_a_branch_and_ours_put_back() {
    let (namespace, place) = Namespace::with_place("conflict", ServedBy::Minio).await;
    let resource = Resource::database(DATABASE, &place, KEY).with("/spec/interval", "1s").with("/spec/minInterval", "1s");
    namespace.apply(&resource).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table ours (x)").await;
    database.flush().await;

    let foreign = Snapshot::bytes_of("create table theirs (x)");
    place.put(KEY, foreign.clone()).await;
    database.sql("insert into ours values (1)").await;

    let told = namespace.wait_condition(DATABASE, "Durable", "True", "OutsideSnapshotKept").await;
    namespace.wait_event(DATABASE, "OutsideSnapshotKept").await;
    let kept = told.message.split("branch ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    assert_eq!(place.find(&format!("{KEY}.branch.{kept}")).await, Some(foreign));
    assert_eq!(database.sql("select x from ours").await, json!([[1]]));
    database.flush().await;
    assert_eq!(Snapshot::open(&place.find(KEY).await.unwrap()).value::<i64>("select x from ours"), 1);
}

#[tokio::test]
async fn sql_that_fails_is_answered_with_code_and_offset_and_changes_nothing() {
    let (namespace, place) = Namespace::with_place("bad-sql", ServedBy::Minio).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table kept (x)").await;

    let text = "insert into kept values (1); select nonsense from kept";
    let refused = database.try_sql(text).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "SQLITE_ERROR", "{problem}");
    assert_eq!(problem["statement_index"], 0, "the body is one entry, whatever it holds: {problem}");
    assert_eq!(problem["offset"], json!(text.find("nonsense")), "{problem}");
    assert_eq!(database.sql("select count(*) from kept").await, json!([[0]]));
}
