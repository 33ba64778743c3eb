//! The known faults of the Python package, one test each: none of them is ours.

use std::process::Output;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Database, Dev, Folders, Place, Resource, ServedBy, Signal, until};

const KEY: &str = "shop/orders.db";

/// A database that a process on this machine serves, in a bucket of its own.
struct Shop {
    place: Place,
    folders: Folders,
    dev: Dev,
}

impl Shop {
    async fn open(bucket: &str) -> Self {
        let place = Place::create(ServedBy::Minio, bucket).await;
        let folders = Folders::with(&Resource::credentials(&place.account));
        folders.declare("orders.yaml", &resource("orders", &place, KEY));
        let dev = folders.start("standard").await;
        Self { place, folders, dev }
    }

    fn database(&self) -> Database {
        self.dev.database("orders")
    }
}

/// Nothing of the past is kept, and contents have no grace, so gc need wait for neither.
fn resource(name: &str, place: &Place, key: &str) -> Resource {
    let resource = Resource::streaming(name, place, key, "100ms").with("/spec/durability/retention", "0s");
    resource.with("/spec/files", json!({"gc": {"graceSeconds": 0}}))
}

async fn ask(database: &Database, method: &str, route: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, reply) = database.ask(method, route, &body).await;
    (status, serde_json::from_str(&reply).unwrap_or(Value::String(reply)))
}

async fn found(database: &Database, filter: Value) -> Vec<String> {
    let (status, reply) = ask(database, "POST", "docs/things/find", json!({"filter": filter})).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    reply["documents"].as_array().unwrap().iter().map(|document| document["_id"].as_str().unwrap().to_owned()).collect()
}

/// `kv.keys(prefix)` took `%` and `_` for patterns, and ignored case.
#[tokio::test]
async fn a_prefix_of_keys_is_no_pattern() {
    let shop = Shop::open("faults-prefix").await;
    let database = shop.database();
    for key in ["a%25b", "aXb", "A%25b", "a_b", "a%25"] {
        assert!(database.ask("PUT", &format!("kv/{key}"), "1").await.0.is_success());
    }
    for (prefix, keys) in [("a%25", json!(["a%", "a%b"])), ("a_", json!(["a_b"])), ("A", json!(["A%b"]))] {
        assert_eq!(ask(&database, "GET", &format!("kv?prefix={prefix}"), Value::Null).await.1["keys"], keys, "{prefix}");
    }
    shop.dev.program.end(Signal::Int).await;
}

/// `files.gc()` counted the rows of the branch in memory alone, and so deleted what other branches and databases had.
#[tokio::test]
async fn gc_counts_the_files_of_every_branch_and_of_every_database() {
    let shop = Shop::open("faults-gc").await;
    shop.folders.declare("bills.yaml", &resource("bills", &shop.place, "shop/bills.db"));
    let bills = shop.dev.database("bills").answers().await;
    let database = shop.database();
    let kept = database.put_file("of a branch", "a.txt").await;
    database.flush().await;
    assert_eq!(ask(&database, "POST", "branches", json!({"name": "next"})).await.0, StatusCode::CREATED);
    let beside = bills.put_file("of another database", "b.txt").await;
    let orphan = database.put_file("of nobody", "c.txt").await;
    for file in [&kept, &orphan] {
        database.ask("DELETE", &format!("files/{}", file["bh_key"].as_str().unwrap()), "").await;
    }
    database.flush().await;
    bills.flush().await;
    shop.dev.program.end(Signal::Int).await;

    let place = &shop.place;
    let contents = async || place.list("files/").await.len();
    assert_eq!(contents().await, 3);
    // The first run marks. The owners' intervals are over before it is asked again.
    until("the second run of gc", async || {
        assert!(command(place, &["files", "gc", "--grace-seconds", "0"]).await.status.success());
        (contents().await < 3).then_some(())
    })
    .await;
    let left = place.list("files/").await;
    for file in [&kept, &beside] {
        assert!(left.contains(&format!("files/{}", file["bh_key"].as_str().unwrap())), "{left:?}");
    }
    let back = command(place, &["files", "get", "--branch", "next", kept["bh_key"].as_str().unwrap(), "-"]).await;
    assert_eq!(String::from_utf8(back.stdout).unwrap(), "of a branch");
}

async fn command(place: &Place, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buckethead"));
    command.args(words).env_clear().envs(place.settings()).env("BUCKETHEAD_KEY", KEY).env("AWS_REGION", &place.account.region);
    command.output().await.unwrap()
}

/// Paths of documents were spliced into the text of statements.
#[tokio::test]
async fn a_path_of_a_document_is_no_sql() {
    let shop = Shop::open("faults-paths").await;
    let database = shop.database();
    let things = json!([{"_id": "1", "o'brien": 1, "a\"b": {"c') or 1=1 --": 2}}, {"_id": "2", "other": 3}]);
    assert!(ask(&database, "POST", "docs/things", things).await.0.is_success());
    assert_eq!(found(&database, json!({"o'brien": 1})).await, ["1"]);
    assert_eq!(found(&database, json!({"a\"b.c') or 1=1 --": 2})).await, ["1"]);
    for path in ["x') = 1 or ('1", "x' or '1'='1", "'; drop table bh_docs; --"] {
        assert_eq!(found(&database, json!({path: 1})).await, [""; 0], "{path}");
    }
    let as_operator = ask(&database, "POST", "docs/things/find", json!({"filter": {"$') is null or (1=1 --": 1}})).await;
    assert_eq!(as_operator.0, StatusCode::BAD_REQUEST, "{as_operator:?}");
    assert_eq!(database.sql("select count(*) from bh_docs").await, json!([[2]]));
    shop.dev.program.end(Signal::Int).await;
}

/// `update` read a document and wrote it back in two steps.
#[tokio::test]
async fn updates_of_a_document_at_once_lose_none() {
    const AT_ONCE: usize = 24;
    let shop = Shop::open("faults-update").await;
    let database = shop.database();
    assert!(ask(&database, "POST", "docs/things", json!({"_id": "1"})).await.0.is_success());
    let updates = (0..AT_ONCE).map(|number| {
        let database = &database;
        async move { ask(database, "PATCH", "docs/things/1", json!({format!("of{number}"): number})).await.0 }
    });
    assert!(futures::future::join_all(updates).await.into_iter().all(|status| status.is_success()));
    let document = ask(&database, "GET", "docs/things/1", Value::Null).await.1;
    assert_eq!(document.as_object().unwrap().len(), 1 + AT_ONCE, "{document}");
    shop.dev.program.end(Signal::Int).await;
}

/// `null`, arrays and objects did not compare as one would expect.
#[tokio::test]
async fn null_arrays_and_objects_compare_by_their_value() {
    let shop = Shop::open("faults-values").await;
    let database = shop.database();
    let things = json!([
        {"_id": "null", "v": null}, {"_id": "text", "v": "null"}, {"_id": "array", "v": [1, {"a": 2}]}, {"_id": "as text", "v": "[1,{\"a\":2}]"},
        {"_id": "object", "v": {"a": 1, "b": [2]}}, {"_id": "turned", "v": {"b": [2], "a": 1}}, {"_id": "zero", "v": 0}, {"_id": "false", "v": false},
    ]);
    assert!(ask(&database, "POST", "docs/things", things).await.0.is_success());
    assert_eq!(found(&database, json!({"v": null})).await, ["null"]);
    assert_eq!(found(&database, json!({"v": "null"})).await, ["text"]);
    assert_eq!(found(&database, json!({"v": [1, {"a": 2}]})).await, ["array"]);
    assert_eq!(found(&database, json!({"v": {"a": 1, "b": [2]}})).await, ["object", "turned"]);
    assert_eq!(found(&database, json!({"v": false})).await, ["false"]);
    assert_eq!(found(&database, json!({"v": 0})).await, ["zero"]);
    assert_eq!(found(&database, json!({"v": {"$in": [null, [1, {"a": 2}]]}})).await, ["null", "array"]);
    shop.dev.program.end(Signal::Int).await;
}

/// `create` and `overwrite` raced with another writer.
#[tokio::test]
async fn a_branch_is_made_once_and_overwritten_only_as_it_was_seen() {
    const AT_ONCE: usize = 8;
    let shop = Shop::open("faults-branches").await;
    let database = shop.database();
    database.sql("create table t(x); insert into t values (1)").await;
    let made = (0..AT_ONCE).map(|_| ask(&database, "POST", "branches", json!({"name": "next"})));
    let replies = futures::future::join_all(made).await;
    let made: Vec<_> = replies.iter().map(|(status, _)| *status).collect();
    // Those that ask for the same at the same moment made it together; whoever comes later made nothing.
    assert!(made.contains(&StatusCode::CREATED) && made.iter().all(|status| [201, 409].contains(&status.as_u16())), "{replies:?}");
    database.sql("insert into t values (9); delete from t where x = 9").await;
    assert_eq!(ask(&database, "POST", "branches", json!({"name": "next"})).await.0, StatusCode::CONFLICT);

    // Somebody writes between the look and the overwrite.
    let seen = database.flush().await["txid"].as_u64().unwrap();
    database.sql("insert into t values (2)").await;
    database.flush().await;
    let overwrite = |expected: u64| json!({"from": "next", "expectedTxid": expected});
    let (status, reply) = ask(&database, "POST", "branches/main/overwrite", overwrite(seen)).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{reply}");
    assert_eq!(database.sql("select count(*) from t").await, json!([[2]]));
    let seen = database.flush().await["txid"].as_u64().unwrap();
    let (status, reply) = ask(&database, "POST", "branches/main/overwrite", overwrite(seen)).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    assert_eq!(database.sql("select count(*) from t").await, json!([[1]]));
    shop.dev.program.end(Signal::Int).await;
}

/// `switch` did not make the table of documents on the other side.
#[tokio::test]
async fn after_a_switch_every_view_is_there() {
    let shop = Shop::open("faults-switch").await;
    let database = shop.database();
    // A branch as another program would leave it: a plain file without any of the tables.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("create table plain(x); insert into plain values (7)").unwrap();
    shop.place.put(&format!("{KEY}.branch.plain"), std::fs::read(&file).unwrap()).await;
    let (status, reply) = ask(&database, "POST", "branches/plain/switch", Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    assert_eq!(database.sql("select x from plain").await, json!([[7]]));
    assert!(ask(&database, "POST", "docs/things", json!({"_id": "1"})).await.0.is_success());
    assert!(database.ask("PUT", "kv/key", "1").await.0.is_success());
    database.put_file("content", "a.txt").await;
    assert_eq!(found(&database, json!({})).await, ["1"]);
    shop.dev.program.end(Signal::Int).await;
}

/// A corrupt snapshot failed the start, and nothing offered the one before it.
#[tokio::test]
async fn the_snapshot_before_a_corrupt_one_is_offered_and_never_taken_silently() {
    let place = Place::create(ServedBy::Minio, "faults-previous").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("create table t(x); insert into t values (1)").unwrap();
    place.put(&format!("{KEY}.prev"), std::fs::read(&file).unwrap()).await;
    place.put(KEY, b"rotten".repeat(1000)).await;
    let folders = Folders::with(&Resource::credentials(&place.account));
    let resource = Resource::streaming("orders", &place, KEY, "100ms");
    folders.declare("orders.yaml", &resource);
    let program = Dev::spawn(&folders.manifests, &folders.data, "standard");
    let etag = until("the offer", async || {
        let told = program.output();
        let (_, offer) = told.split_once("accept-snapshot=")?;
        offer.split([' ', '\n']).next().map(str::to_owned)
    });
    let etag = etag.await;
    assert_eq!(place.find(KEY).await.unwrap(), b"rotten".repeat(1000), "nothing is changed before somebody says so");
    folders.declare("orders.yaml", &resource.with("/metadata/annotations", json!({"buckethead.dev/accept-snapshot": etag})));
    let dev = Dev::once_ready(program).await;
    assert_eq!(dev.database("orders").answers().await.sql("select x from t").await, json!([[1]]));
    dev.program.end(Signal::Int).await;
}
