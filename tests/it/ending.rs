//! How databases end or rest: suspended, deleted with and without their objects, with and without a store and a Secret, beside others.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{DATABASE, Namespace, Operator, Place, Resource, ServedBy, Snapshot, until};

const KEY: &str = "apps/orders.db";

async fn rows(place: &Place, key: &str) -> i64 {
    Snapshot::open(&place.find(key).await.unwrap()).value("select count(*) from t")
}

/// The note of an event about a database.
async fn note(namespace: &Namespace, reason: &str) -> String {
    namespace.wait_event(DATABASE, reason).await;
    let about = format!("involvedObject.name={DATABASE},reason={reason}");
    namespace.kubectl(&["get", "events", "--field-selector", &about, "--output=jsonpath={.items[0].message}"]).await
}

async fn delete(namespace: &Namespace, kind: &str, name: &str) {
    namespace.kubectl(&["delete", kind, name, "--timeout=60s"]).await;
}

async fn uid(namespace: &Namespace) -> String {
    namespace.get("bucketdatabase", DATABASE).await["metadata"]["uid"].as_str().unwrap().to_owned()
}

async fn annotate(namespace: &Namespace, annotation: &str) {
    namespace.kubectl(&["annotate", "bucketdatabase", DATABASE, annotation, "--overwrite"]).await;
}

/// What Kubernetes does with the objects of a resource that is gone, and the API server alone does not.
async fn collect_garbage(namespace: &Namespace) {
    delete(namespace, "secret", &format!("{DATABASE}-buckethead")).await;
}

#[tokio::test]
async fn a_suspended_database_says_how_to_resume_it_and_another_resource_may_have_its_branch_meanwhile() {
    let (namespace, place) = Namespace::with_place("suspended", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    let resource = |suspend| Resource::database(DATABASE, &place, KEY).with("/spec/suspend", suspend);
    namespace.apply(&resource(false)).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1)").await;

    namespace.apply(&resource(true)).await;
    let told = namespace.wait_not("Ready", DATABASE, "Suspended").await;
    assert!(told.message.contains("kubectl patch bdb orders"), "{told:?}");
    namespace.wait_condition(DATABASE, "Durable", "True", "Suspended").await;
    let status = namespace.get("bucketdatabase", DATABASE).await["status"].take();
    let kinds: Vec<_> = status["conditions"].as_array().unwrap().iter().map(|condition| condition["type"].clone()).collect();
    assert_eq!(kinds, ["Ready", "Restored", "Durable", "Verified", "Writable"], "neither Reconciling nor Stalled");
    assert_eq!(rows(&place, KEY).await, 1);
    let refused = database.try_sql("select 1").await;
    assert_eq!((refused.status(), refused.headers()["retry-after"].clone()), (StatusCode::SERVICE_UNAVAILABLE, "60".parse().unwrap()));
    let problem: Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("set spec.suspend to false"), "{problem}");

    namespace.apply(&Resource::database("twin", &place, KEY)).await;
    namespace.wait_ready("twin").await;
    namespace.connect(&operator, "twin").await.sql("insert into t values (2)").await;
    namespace.apply(&resource(false)).await;
    let held = namespace.wait_condition(DATABASE, "Stalled", "True", "HeldElsewhere").await;
    assert!(held.message.contains("suspended/twin"), "{held:?}");
    delete(&namespace, "bucketdatabase", "twin").await;
    namespace.wait_ready(DATABASE).await;
    assert_eq!(namespace.connect(&operator, DATABASE).await.sql("select count(*) from t").await, json!([[2]]));
}

#[tokio::test]
async fn a_namespace_that_goes_with_its_secrets_first_still_gets_its_final_flush() {
    for (name, policy, left) in [("gone-retain", "Retain", Some(1)), ("gone-delete", "Delete", None)] {
        let (namespace, place) = Namespace::with_place(name, ServedBy::Minio).await;
        let operator = Operator::start(&namespace).await;
        namespace.apply(&Resource::database(DATABASE, &place, KEY).with("/spec/deletionPolicy", policy)).await;
        namespace.wait_ready(DATABASE).await;
        namespace.connect(&operator, DATABASE).await.sql("create table t (x); insert into t values (1)").await;
        // In the order in which Kubernetes may delete what is in a namespace.
        delete(&namespace, "secret", DATABASE).await;
        delete(&namespace, "secret", &format!("{DATABASE}-buckethead")).await;
        delete(&namespace, "bucketdatabase", DATABASE).await;
        match left {
            Some(saved) => assert_eq!(rows(&place, KEY).await, saved),
            None => assert_eq!(place.list("").await, [format!("{KEY}.head/main.json")]),
        }
    }
}

#[tokio::test]
async fn objects_that_cannot_be_deleted_because_the_secret_is_gone_are_told_and_left_by_force_alone() {
    let (namespace, place) = Namespace::with_place("no-secret", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY).with("/spec/deletionPolicy", "Delete")).await;
    namespace.wait_ready(DATABASE).await;
    operator.end().await;
    delete(&namespace, "secret", DATABASE).await;
    namespace.kubectl(&["delete", "bucketdatabase", DATABASE, "--wait=false"]).await;
    let _operator = Operator::start(&namespace).await;
    let told = namespace.wait_not("Ready", DATABASE, "CredentialsMissing").await;
    assert!(told.message.contains("are not deleted") && told.message.contains("force-delete="), "{told:?}");
    let force = format!("buckethead.dev/force-delete={}", uid(&namespace).await);
    annotate(&namespace, &force).await;
    namespace.kubectl(&["wait", "--for=delete", &format!("bucketdatabase/{DATABASE}"), "--timeout=60s"]).await;
    let left = note(&namespace, "ForceDeleted").await;
    assert!(left.contains(&format!("{KEY}.branch.*")), "{left}");
    assert!(place.find(KEY).await.is_some());
}

#[tokio::test]
async fn a_store_that_is_gone_holds_a_deletion_up_until_somebody_gives_the_data_up() {
    let (namespace, place) = Namespace::with_place("stuck-store", ServedBy::EmbeddedAsR2).await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    namespace.wait_ready(DATABASE).await;
    namespace.connect(&operator, DATABASE).await.sql("create table t (x)").await;
    drop(place);
    namespace.kubectl(&["delete", "bucketdatabase", DATABASE, "--wait=false"]).await;
    let told = namespace.wait_not("Ready", DATABASE, "EndpointUnreachable").await;
    let force = format!("buckethead.dev/force-delete={}", uid(&namespace).await);
    assert!(told.message.contains("the final flush failed") && told.message.contains(&force), "{told:?}");
    namespace.wait_event(DATABASE, "FinalFlushFailed").await;
    annotate(&namespace, "buckethead.dev/force-delete=another").await;
    namespace.kubectl(&["get", "bucketdatabase", DATABASE]).await;
    annotate(&namespace, &force).await;
    namespace.kubectl(&["wait", "--for=delete", &format!("bucketdatabase/{DATABASE}"), "--timeout=60s"]).await;
    let given_up = note(&namespace, "ForceDeleted").await;
    assert!(given_up.contains("is lost"), "{given_up}");
}

#[tokio::test]
async fn of_two_resources_on_two_branches_each_takes_its_own_along() {
    let (namespace, place) = Namespace::with_place("two-branches", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    let owned = |name| Resource::database(name, &place, KEY).with("/spec/deletionPolicy", "Delete");
    namespace.apply(&owned(DATABASE).with("/spec/branches", json!([{"name": "preview"}, {"name": "old"}]))).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    until("its branches", async || place.find(&format!("{KEY}.branch.old")).await).await;
    database.sql("create table t (x)").await;
    namespace.apply(&owned("preview").with("/spec/branch", "preview")).await;
    namespace.wait_ready("preview").await;
    let preview = namespace.connect(&operator, "preview").await;

    delete(&namespace, "bucketdatabase", DATABASE).await;
    let deleted = note(&namespace, "ObjectsDeleted").await;
    assert!(deleted.ends_with("branch old"), "{deleted}");
    let kept = note(&namespace, "ObjectsKept").await;
    for part in
        ["branch preview, because two-branches/preview serves it", "branch main, because branch preview of the same database is kept"]
    {
        assert!(kept.contains(part), "{kept}");
    }
    assert_eq!(rows(&place, KEY).await, 0);
    preview.sql("create table still_served (x)").await;
    delete(&namespace, "bucketdatabase", "preview").await;
    assert!(place.find(&format!("{KEY}.branch.preview")).await.is_some(), "its maker was the other one");

    namespace.apply(&owned("anew").with("/spec/branch", "old")).await;
    namespace.wait_condition("anew", "Stalled", "True", "BranchDeleted").await;
}

#[tokio::test]
async fn a_key_whose_database_was_deleted_is_not_used_again_until_somebody_says_so() {
    let (namespace, place) = Namespace::with_place("deleted-key", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    let resource = Resource::database(DATABASE, &place, KEY).with("/spec/deletionPolicy", "Delete");
    namespace.apply(&resource).await;
    namespace.wait_ready(DATABASE).await;
    namespace.connect(&operator, DATABASE).await.sql("create table t (x)").await;
    delete(&namespace, "bucketdatabase", DATABASE).await;
    assert_eq!(place.list("").await, [format!("{KEY}.head/main.json")]);
    collect_garbage(&namespace).await;

    namespace.apply(&resource).await;
    let stalled = namespace.wait_condition(DATABASE, "Stalled", "True", "BranchDeleted").await;
    assert!(stalled.message.contains("another spec.key") && stalled.message.contains(".head/main.json"), "{stalled:?}");
    place.delete(&format!("{KEY}.head/main.json")).await;
    delete(&namespace, "bucketdatabase", DATABASE).await;
    collect_garbage(&namespace).await;
    namespace.apply(&resource).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select count(*) from sqlite_schema where name = 't'").await, json!([[0]]));
}

#[tokio::test]
async fn a_branch_of_another_operator_is_taken_over_when_an_annotation_names_its_epoch() {
    let (theirs, place) = Namespace::with_place("taken-from", ServedBy::Minio).await;
    let ours = Namespace::create("taken-by").await;
    ours.apply(&Resource::credentials(&place.account)).await;
    let resource = Resource::database(DATABASE, &place, KEY).with("/spec/interval", "1s").with("/spec/minInterval", "1s");
    let their_operator = Operator::start(&theirs).await;
    theirs.apply(&resource).await;
    theirs.wait_ready(DATABASE).await;
    let database = theirs.connect(&their_operator, DATABASE).await;
    database.sql("create table t (x); insert into t values (1)").await;
    database.flush().await;

    let our_operator = Operator::start(&ours).await;
    ours.apply(&resource).await;
    let held = ours.wait_condition(DATABASE, "Stalled", "True", "HeldElsewhere").await;
    let command = "buckethead.dev/take-over=";
    let epoch: String = held.message.split(command).nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    annotate(&ours, &format!("{command}{epoch}")).await;
    ours.wait_ready(DATABASE).await;
    let taken = ours.connect(&our_operator, DATABASE).await;
    assert_eq!(taken.sql("select count(*) from t").await, json!([[1]]));
    // The other notices at its next flush, and does not take it back.
    database.try_sql("insert into t values (2)").await;
    theirs.wait_condition(DATABASE, "Stalled", "True", "HeldElsewhere").await;
    taken.sql("insert into t values (3)").await;
    taken.flush().await;
    assert_eq!(taken.sql("select x from t order by x").await, json!([[1], [3]]));
}

#[tokio::test]
async fn the_snapshot_before_a_damaged_one_is_taken_when_an_annotation_names_it() {
    let (namespace, place) = Namespace::with_place("accepted", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    namespace.apply(&Resource::database(DATABASE, &place, KEY)).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    for (number, sql) in ["create table t (x)", "insert into t values (1)", "insert into t values (2)"].into_iter().enumerate() {
        database.sql(sql).await;
        annotate(&namespace, &format!("buckethead.dev/flush-requested-at=time-{number}")).await;
        until("the flush", async || {
            let handled = namespace.get("bucketdatabase", DATABASE).await["status"]["lastHandled"]["flush"].take();
            (handled == format!("time-{number}")).then_some(())
        })
        .await;
    }
    operator.end().await;
    // As the Python package would have left it: with a chain a damaged snapshot is put back.
    for object in place.list(&format!("{KEY}.")).await {
        if object.strip_suffix(".prev").is_none() {
            place.delete(&object).await;
        }
    }
    place.put(KEY, b"damaged".repeat(100)).await;
    let operator = Operator::start(&namespace).await;
    let told = namespace.wait_condition(DATABASE, "Stalled", "True", "SnapshotCorrupt").await;
    let etag = place.etag(&format!("{KEY}.prev")).await;
    let accept = format!("buckethead.dev/accept-snapshot={etag}");
    assert!(told.message.contains(&accept), "{told:?}");
    annotate(&namespace, &accept).await;
    namespace.wait_condition(DATABASE, "Restored", "True", "PreviousAccepted").await;
    let database = namespace.connect(&operator, DATABASE).await;
    assert_eq!(database.sql("select count(*) from t").await, json!([[1]]));
}
