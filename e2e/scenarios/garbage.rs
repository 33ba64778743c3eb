//! A content that nobody uses any more goes by Jobs, with the database's credentials and no rights at all.

use serde_json::{Value, json};

use crate::support::{DATABASE, Release, Resource, Scenario};

async fn ask_for_gc(scenario: &Scenario, value: &str) {
    let asked = format!("buckethead.dev/gc-requested-at={value}");
    scenario.kubectl(&["annotate", "--overwrite", "bucketdatabase", DATABASE, &asked]).await;
    // Before that the condition tells of an earlier request.
    scenario.wait(&format!("bucketdatabase/{DATABASE}"), &format!("jsonpath={{.status.lastHandled.gc}}={value}")).await;
}

#[tokio::test]
async fn a_dry_run_takes_nothing_and_a_real_one_what_nobody_uses() {
    let scenario = Scenario::begin("garbage").await;
    let _release = Release::install(&scenario).await;
    // Marks are ripe after twice the interval.
    let resource = Resource::database(scenario.name).with("/spec/durability", json!({"retention": "0s"})).with("/spec/minInterval", "1s");
    let with_gc = |dry_run: bool| resource.clone().with("/spec/files", json!({"gc": {"graceSeconds": 0, "dryRun": dry_run}}));
    let database = scenario.serve(&with_gc(true)).await;
    let mut objects = Vec::new();
    for content in ["used", "unused"] {
        let kept: Value = serde_json::from_str(&database.ask("POST", "files", content).await).unwrap();
        objects.push(format!("files/{}", kept["bh_key"].as_str().unwrap()));
    }
    let [used, unused] = &objects[..] else { panic!("two were put") };
    database.ask("DELETE", unused, "").await;

    ask_for_gc(&scenario, "dry").await;
    let message = scenario.wait_reason(DATABASE, "GarbageCollected", "GcDryRun").await;
    assert!(message.ends_with("and mark 1"), "{message}");
    assert!(scenario.store().has(unused).await);

    scenario.apply(&with_gc(false)).await;
    ask_for_gc(&scenario, "real").await;
    let message = scenario.wait_reason(DATABASE, "GarbageCollected", "GcSucceeded").await;
    assert_eq!(message, "deleted: 1 (6 bytes)");
    assert!(!scenario.store().has(unused).await && scenario.store().has(used).await);
    assert_eq!(database.ask("GET", used, "").await, "used");

    let jobs = format!("buckethead.dev/database={DATABASE}");
    let log = scenario.kubectl(&["logs", "--selector", &format!("{jobs},app.kubernetes.io/component=gc")]).await;
    assert!(log.contains(unused) && !log.contains(used), "the log has the names: {log}");

    // By the cluster's garbage collector: the resource owned them.
    scenario.kubectl(&["delete", "bucketdatabase", DATABASE, "--timeout=60s"]).await;
    scenario.kubectl(&["wait", "job", "--selector", &jobs, "--for=delete", "--timeout=60s"]).await;
    scenario.wait(&format!("serviceaccount/{DATABASE}-buckethead-gc"), "delete").await;
    scenario.end().await;
}
