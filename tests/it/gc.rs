//! gc as the operator has it run: a real API server makes the Jobs, `buckethead gc` runs as their container would.

use serde_json::{Value, json};

use crate::support::{DATABASE, Database, Namespace, Operator, Place, Resource, ServedBy, until};

const KEY: &str = "apps/orders.db";

/// A database whose marks are ripe after two seconds.
fn quick(name: &str, place: &Place, key: &str, gc: &Value) -> Resource {
    let resource = Resource::database(name, place, key).with("/spec/interval", "1s").with("/spec/minInterval", "1s");
    resource.with("/spec/files", json!({"gc": gc}))
}

async fn ask_for_gc(namespace: &Namespace, name: &str, value: &str) {
    let asked = format!("buckethead.dev/gc-requested-at={value}");
    namespace.kubectl(&["annotate", "--overwrite", "bucketdatabase", name, &asked]).await;
}

/// Keeps two contents, and deletes the file of the second; answers with the objects of both.
async fn used_and_unused(database: &Database) -> (String, String) {
    let mut keys = Vec::new();
    for content in ["used", "unused"] {
        keys.push(database.put_file(content, content).await["bh_key"].as_str().unwrap().to_owned());
    }
    database.ask("DELETE", &format!("files/{}", keys[1]), "").await;
    (format!("files/{}", keys[0]), format!("files/{}", keys[1]))
}

async fn last_gc(namespace: &Namespace, name: &str) -> Value {
    namespace.get("bucketdatabase", name).await["status"]["files"]["lastGc"].take()
}

fn uid(job: &Value) -> &str {
    job["metadata"]["uid"].as_str().unwrap()
}

#[tokio::test]
async fn one_request_marks_then_deletes_across_a_restart_of_the_operator() {
    let (namespace, place) = Namespace::with_place("gc-chain", ServedBy::Minio).await;
    namespace.apply(&quick(DATABASE, &place, KEY, &json!({"graceSeconds": 0, "schedule": "@daily"}))).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;
    let (used, unused) = used_and_unused(&namespace.connect(&operator, DATABASE).await).await;

    ask_for_gc(&namespace, DATABASE, "first").await;
    let first = namespace.job_after(DATABASE, None).await;
    let status = namespace.get("bucketdatabase", DATABASE).await["status"].take();
    assert!(status["files"]["nextGc"].is_string(), "{status}");
    let account = namespace.get("serviceaccount", "orders-buckethead-gc").await;
    let owner = namespace.get("bucketdatabase", DATABASE).await["metadata"]["uid"].take();
    for object in [&first, &account] {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], owner, "it goes with its resource");
    }

    // The run ends while nobody watches.
    operator.end().await;
    let log = namespace.run_job(&first).await;
    assert!(log.contains(&unused) && !log.contains(&used), "{log}");
    assert!(!log.contains('\u{1b}'), "no colours where no terminal is: {log}");
    let operator = Operator::start(&namespace).await;
    let second = namespace.job_after(DATABASE, Some(uid(&first))).await;
    let marked = last_gc(&namespace, DATABASE).await;
    assert_eq!((&marked["stage"], &marked["marked"], &marked["run"]), (&json!("marked"), &json!(1), &json!(1)));
    assert!(place.find(&unused).await.is_some(), "the first run only marks");

    namespace.run_job(&second).await;
    let done = namespace.wait_condition(DATABASE, "GarbageCollected", "True", "GcSucceeded").await;
    assert_eq!(done.message, "deleted: 1 (6 bytes)");
    namespace.wait_event(DATABASE, "GcSucceeded").await;
    let deleted = last_gc(&namespace, DATABASE).await;
    assert_eq!((&deleted["deleted"], &deleted["freed"], &deleted["run"]), (&json!(1), &json!("6"), &json!(2)));
    assert!(place.find(&unused).await.is_none() && place.find(&used).await.is_some());
    assert_eq!(namespace.get("bucketdatabase", DATABASE).await["status"]["lastHandled"]["gc"], "first");
    operator.end().await;
}

#[tokio::test]
async fn databases_of_one_prefix_are_all_flushed_and_run_one_after_the_other() {
    let (namespace, place) = Namespace::with_place("gc-shared", ServedBy::Minio).await;
    // The second one would be flushed in an hour only.
    let dry = json!({"gc": {"graceSeconds": 0, "dryRun": true}});
    namespace.apply(&quick(DATABASE, &place, KEY, &dry["gc"])).await;
    namespace.apply(&Resource::database("other", &place, "apps/other.db").with("/spec/files", dry)).await;
    let operator = Operator::start(&namespace).await;
    for name in [DATABASE, "other"] {
        namespace.wait_ready(name).await;
    }
    used_and_unused(&namespace.connect(&operator, DATABASE).await).await;
    namespace.connect(&operator, "other").await.put_file("only in memory so far", "other").await;

    ask_for_gc(&namespace, DATABASE, "now").await;
    let job = namespace.job_after(DATABASE, None).await;
    ask_for_gc(&namespace, "other", "now").await;
    let waits = namespace.wait_condition("other", "GarbageCollected", "Unknown", "GcWaiting").await;
    assert!(waits.message.contains("gc-shared/orders"), "{}", waits.message);
    namespace.run_job(&job).await;
    let done = namespace.wait_condition(DATABASE, "GarbageCollected", "True", "GcDryRun").await;
    assert!(done.message.ends_with("and mark 1"), "only the file that was deleted is unused: {}", done.message);

    let others = namespace.job_after("other", None).await;
    namespace.run_job(&others).await;
    namespace.wait_condition("other", "GarbageCollected", "True", "GcDryRun").await;

    // A database that rests has nothing to flush, and hinders nobody.
    namespace.kubectl(&["patch", "bucketdatabase", "other", "--type=merge", "--patch", r#"{"spec": {"suspend": true}}"#]).await;
    namespace.wait_not("Ready", "other", "Suspended").await;
    ask_for_gc(&namespace, DATABASE, "again").await;
    namespace.job_after(DATABASE, Some(uid(&job))).await;
    operator.end().await;
}

#[tokio::test]
async fn a_run_that_fails_is_told_with_its_reason_and_the_next_request_begins_anew() {
    let (namespace, place) = Namespace::with_place("gc-failing", ServedBy::Minio).await;
    namespace.apply(&quick(DATABASE, &place, KEY, &json!({"graceSeconds": 0}))).await;
    let operator = Operator::start(&namespace).await;
    namespace.wait_ready(DATABASE).await;

    ask_for_gc(&namespace, DATABASE, "first").await;
    let killed = namespace.job_after(DATABASE, None).await;
    namespace.kill_job(&killed).await;
    let told = namespace.wait_not("GarbageCollected", DATABASE, "GcFailed").await;
    assert!(told.message.contains("gcJob.resources.limits.memory"), "{}", told.message);
    namespace.wait_event(DATABASE, "GcFailed").await;
    namespace.wait_ready(DATABASE).await;

    // A database under the prefix that nobody can read.
    place.put("apps/orders.db.branch.broken", b"no database".to_vec()).await;
    ask_for_gc(&namespace, DATABASE, "second").await;
    let stopped = namespace.job_after(DATABASE, Some(uid(&killed))).await;
    namespace.run_job(&stopped).await;
    let told = namespace.wait_not("GarbageCollected", DATABASE, "GcStopped").await;
    assert!(told.message.contains("broken"), "{}", told.message);
    assert_eq!(last_gc(&namespace, DATABASE).await, Value::Null, "no run came to its end");
    let runs = until("both runs in the metrics", async || {
        let metrics = operator.metrics().await;
        metrics.lines().find(|line| line.starts_with("buckethead_gc_runs_total{outcome=\"failed\"}")).map(str::to_owned)
    })
    .await;
    assert!(runs.ends_with(" 2"), "{runs}");
    operator.end().await;
}
