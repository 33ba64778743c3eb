//! `buckethead dev`: no cluster, an embedded store, a folder of manifests.

use std::fs;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Dev, Folders, Place, Resource, Signal, Snapshot, until};

fn notes() -> Resource {
    Resource::local("notes", "notes-data")
}

#[tokio::test]
async fn rows_survive_ctrl_c_and_lie_in_the_store_as_a_plain_database() {
    survives("standard").await;
}

#[tokio::test]
async fn rows_survive_in_a_store_as_strict_as_r2() {
    survives("r2").await;
}

async fn survives(dialect: &str) {
    let folders = Folders::with(&notes());
    let dev = folders.start(dialect).await;
    dev.database("notes").sql("create table written (x); insert into written values (1), (2)").await;
    let status = dev.program.end(Signal::Int).await;
    assert!(status.success(), "{status}");

    let dev = folders.start(dialect).await;
    let database = dev.database("notes");
    assert_eq!(database.sql("select x from written order by x").await, json!([[1], [2]]));
    let place = Place::of(dev.s3.clone(), "notes-data");
    let snapshot = Snapshot::open(&place.find("app.db").await.unwrap());
    assert_eq!(snapshot.value::<i64>("select count(*) from written"), 2);

    database.sql("insert into written values (3)").await;
    database.flush().await;
    let snapshot = Snapshot::open(&place.find("app.db").await.unwrap());
    assert_eq!(snapshot.value::<i64>("select count(*) from written"), 3);
    assert!(dev.program.end(Signal::Term).await.success());
}

#[tokio::test]
async fn manifests_take_effect_while_it_runs() {
    let folders = Folders::with(&notes());
    let dev = folders.start("standard").await;
    let two_rows = "values (1), (2)";

    folders.declare("second.yaml", &Resource::local("second", "second-data"));
    let second = dev.database("second").answers().await;
    assert_eq!(second.sql(two_rows).await, json!([[1], [2]]));

    folders.declare("second.yaml", &Resource::local("second", "second-data").with("/spec/limits", json!({"maxRows": 1})));
    until("the new limit", async || (second.sql(two_rows).await == json!([[1]])).then_some(())).await;

    fs::remove_file(folders.manifests.join("second.yaml")).unwrap();
    until("the end of the second database", async || (second.try_sql(two_rows).await.status() == StatusCode::NOT_FOUND).then_some(()))
        .await;
    dev.database("notes").sql("select 1").await;
}

#[tokio::test]
async fn a_manifest_that_breaks_the_rules_is_named_and_the_others_are_served() {
    let folders = Folders::with(&notes());
    folders.declare("wrong.yaml", &Resource::local("wrong", "wrong-data").with("/spec/key", "app.db.prev"));
    let dev = folders.start("standard").await;
    dev.database("notes").sql("select 1").await;
    let said = until("a word on the wrong manifest", async || {
        let output = dev.program.output();
        output.lines().find(|line| line.contains("may not end in .prev")).map(str::to_owned)
    })
    .await;
    assert!(said.contains("wrong"), "{said}");
}

#[tokio::test]
async fn data_that_cannot_be_written_is_said_at_once() {
    let folders = Folders::with(&notes());
    // Not a matter of permissions: root would pass those.
    fs::write(&folders.data, "a file where the folder should be").unwrap();
    let data = folders.data.join("inside");
    let (status, output) = Dev::spawn(&folders.manifests, &data, "standard").exit().await;
    assert!(!status.success());
    assert!(output.contains(data.to_str().unwrap()) && output.contains("--data"), "{output}");
}

#[tokio::test]
async fn a_foreign_host_and_a_foreign_page_are_refused() {
    let folders = Folders::with(&notes());
    let dev = folders.start("standard").await;
    let database = dev.database("notes");
    assert_eq!(database.read_with_header("x-nothing", "special").await, StatusCode::OK);
    assert_eq!(database.read_with_header("host", "rebound.example").await, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(database.read_with_header("origin", "https://elsewhere.example").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn gc_runs_in_the_process_when_the_manifest_asks_and_ends_with_what_nobody_uses_gone() {
    let quick = notes().with("/spec/interval", "1s").with("/spec/minInterval", "1s");
    let quick = quick.with("/spec/files", json!({"gc": {"graceSeconds": 0}}));
    let folders = Folders::with(&quick);
    let dev = folders.start("standard").await;
    let (database, place) = (dev.database("notes"), Place::of(dev.s3.clone(), "notes-data"));
    let mut objects = Vec::new();
    for content in ["used", "unused"] {
        objects.push(format!("files/{}", database.put_file(content, content).await["bh_key"].as_str().unwrap()));
    }
    database.ask("DELETE", &objects[1], "").await;
    folders.declare("first.yaml", &quick.with("/metadata/annotations", json!({"buckethead.dev/gc-requested-at": "now"})));
    until("the end of the unused content", async || place.find(&objects[1]).await.is_none().then_some(())).await;
    assert!(place.find(&objects[0]).await.is_some());
    until("the condition", async || dev.program.output().contains("deleted: 1 (6 bytes)").then_some(())).await;
}
