//! What a person types: the same commands on a server and on the bucket itself.

use std::io::Read as _;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{Database, Dev, Folders, Place, Resource, ServedBy, Signal};

const KEY: &str = "shop/orders.db";

/// Where commands are to ask.
#[derive(Clone, Copy)]
enum At<'a> {
    Server(&'a Database),
    Bucket(&'a Place),
}

impl At<'_> {
    async fn output(self, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buckethead"));
        command.args(words).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match self {
            At::Server(database) => command.env("BUCKETHEAD_URL", database.address().0),
            At::Bucket(place) => command.envs(place.settings()).env("BUCKETHEAD_KEY", KEY).env("AWS_REGION", &place.account.region),
        };
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may have ended without reading.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        child.wait_with_output().await.unwrap()
    }

    /// What it says of a success.
    async fn says(self, words: &[&str]) -> String {
        let output = self.output(words, "").await;
        assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    async fn says_json(self, words: &[&str]) -> Value {
        let said = self.says(&[words, &["--output", "json"]].concat()).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
    }

    /// Its exit code, and what it complains of.
    async fn fails(self, words: &[&str]) -> (i32, String) {
        let output = self.output(words, "").await;
        assert!(!output.status.success(), "{words:?}: {}", text(&output.stdout));
        assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
        (output.status.code().unwrap(), text(&output.stderr))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned()
}

async fn shop(bucket: &str) -> (Place, Folders, Dev) {
    let place = Place::create(ServedBy::Minio, bucket).await;
    let folders = Folders::with(&Resource::credentials(&place.account));
    folders.declare("orders.yaml", &Resource::streaming("orders", &place, KEY, "100ms"));
    let dev = folders.start("standard").await;
    (place, folders, dev)
}

#[tokio::test]
async fn commands_change_and_tell_the_same_on_a_server_and_in_its_bucket() {
    let (place, folders, dev) = shop("command-both").await;
    let database = dev.database("orders");
    let server = At::Server(&database);
    fill(server, "server").await;
    look(server, "server").await;
    server.says(&["flush"]).await;
    dev.program.end(Signal::Int).await;

    let bucket = At::Bucket(&place);
    look(bucket, "server").await;
    fill(bucket, "bucket").await;
    look(bucket, "bucket").await;

    // What was written without it a server finds.
    let dev = folders.start("standard").await;
    look(At::Server(&dev.database("orders")), "bucket").await;
    dev.program.kill().await;
}

/// Leaves one of everything whose value is `by`.
async fn fill(at: At<'_>, by: &str) {
    let write: &[&str] = if let At::Bucket(_) = at { &["--write"] } else { &[] };
    at.says(
        &[
            &[
                "sql",
                "create table if not exists t(x text primary key, y); insert into t values ('x', 1) on conflict do update set y = y + 1",
            ],
            write,
        ]
        .concat(),
    )
    .await;
    at.says(&["kv", "set", "a/b c", by]).await;
    at.says(&["kv", "set", "gone", "-"]).await;
    at.says(&["kv", "delete", "gone"]).await;
    let (code, why) = at.fails(&["kv", "set", "--only-new", "a/b c", "again"]).await;
    assert_eq!(code, 1, "{why}");
    at.says(&["docs", "drop", "people"]).await;
    let ids =
        at.says(&["docs", "insert", "people", &json!([{"_id": "find", "by": by}, {"_id": "2", "n": 2}, {"_id": "3"}]).to_string()]).await;
    assert_eq!(ids, "find\n2\n3");
    at.says(&["docs", "update", "people", "2", r#"{"n": 3}"#]).await;
    at.says(&["docs", "replace", "people", "3", r#"{"n": 4}"#]).await;
    at.says(&["docs", "create-index", "people", "n"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grün.txt");
    std::fs::write(&file, by).unwrap();
    let key = at.says(&["files", "put", file.to_str().unwrap(), "--type", "text/plain", "--metadata", "color=green"]).await;
    assert_eq!(key.len(), 64, "{key}");
    let output = at.output(&["files", "put", "-"], "from a pipe").await;
    at.says(&["files", "delete", &text(&output.stdout)]).await;
}

/// Finds what `fill` left.
async fn look(at: At<'_>, by: &str) {
    assert_eq!(at.says(&["kv", "get", "a/b c"]).await, by);
    assert_eq!(at.says_json(&["kv", "get", "a/b c"]).await["value"], by);
    assert_eq!(at.says(&["kv", "list", "--prefix", "a/"]).await, "a/b c");
    assert_eq!(at.says_json(&["kv", "list"]).await, json!({"keys": ["a/b c"]}));
    assert_eq!(at.says(&["kv", "count"]).await, "1");
    let (code, why) = at.fails(&["kv", "get", "gone"]).await;
    assert_eq!((code, why.as_str()), (1, "buckethead: there is no key `gone`"));

    assert_eq!(at.says(&["docs", "get", "people", "find"]).await, json!({"_id": "find", "by": by}).to_string());
    assert_eq!(
        at.says(&["docs", "find", "people", r#"{"n": {"$gt": 2}}"#, "--sort", r#"{"n": -1}"#, "--projection", r#"{"n": 1}"#]).await,
        "{\"n\":4,\"_id\":\"3\"}\n{\"_id\":\"2\",\"n\":3}"
    );
    assert_eq!(at.says(&["docs", "count", "people"]).await, "3");
    assert!(at.says(&["docs", "collections"]).await.contains("people"));
    assert_eq!(at.says(&["docs", "indexes", "people"]).await, "n");
    assert_eq!(at.fails(&["docs", "get", "people", "nobody"]).await.0, 1);

    let listed = at.says_json(&["files", "list"]).await;
    let key = listed["files"][0]["bh_key"].as_str().unwrap();
    assert_eq!((&listed["files"][0]["filename"], &listed["files"][0]["mime"]), (&json!("grün.txt"), &json!("text/plain")), "{listed}");
    assert_eq!(at.says(&["files", "get", key, "-"]).await, by);
    let folder = tempfile::tempdir().unwrap();
    let (file, snapshot, report) = (folder.path().join("file"), folder.path().join("now.db"), folder.path().join("report.tar.gz"));
    at.says(&["files", "get", key, file.to_str().unwrap()]).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), by);
    assert_eq!(at.fails(&["files", "get", key, file.to_str().unwrap()]).await.0, 1, "it exists");
    assert!(at.says(&["files", "head", key]).await.contains("green"));
    let shared = at.says(&["files", "share", key, "--expires", "10m"]).await;
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(&shared).send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((answer.status().as_u16(), header("content-type")), (200, "text/plain".to_owned()), "{shared}");
    assert!(header("content-disposition").ends_with("filename*=UTF-8''gr%C3%BCn.txt"), "{answer:?}");
    assert_eq!(answer.text().await.unwrap(), by);
    let (code, why) = at.fails(&["files", "share", key, "--expires", "169h"]).await;
    assert!(code == 1 && why.contains("a week"), "{why}");
    let unknown = "0".repeat(64);
    assert_eq!(at.fails(&["files", "head", &unknown]).await, (1, format!("buckethead: the database has no file {unknown}")));

    let rows = if by == "server" { 1 } else { 2 };
    assert_eq!(at.says(&["sql", "select x, y from t"]).await, format!("| x | y |\n|---|---|\n| x | {rows} |"));
    assert_eq!(at.says(&["sql", "--format", "csv", "select x, y from t"]).await, format!("x,y\r\nx,{rows}"));
    assert_eq!(at.says_json(&["sql", "select y from t where x = ?", "--params", "[\"x\"]"]).await["results"][0]["rows"], json!([[rows]]));
    let output = at.output(&["sql", "--format", "ndjson"], "select 1 as one").await;
    assert!(text(&output.stdout).contains("\n[1]\n"), "{output:?}");
    let (code, why) = at.fails(&["sql", "selec 1"]).await;
    assert!(code == 1 && why.contains("syntax error"), "{why}");

    let tables = at.says_json(&["inspect"]).await;
    let table = tables["tables"].as_array().unwrap().iter().find(|table| table["name"] == "t").unwrap().clone();
    assert_eq!((&table["rows"], &table["columns"][0]["primary_key"]), (&json!(1), &json!(true)), "{table}");
    assert!(at.says(&["inspect"]).await.contains("x TEXT PRIMARY KEY, y"));
    assert!(at.says(&["status"]).await.contains("txid"));
    assert!(at.says_json(&["status"]).await["txid"].as_u64().unwrap() > 0);
    at.says(&["restore", snapshot.to_str().unwrap()]).await;
    let restored = rusqlite::Connection::open(&snapshot).unwrap();
    assert_eq!(restored.query_row("select y from t", [], |row| row.get::<_, i64>(0)).unwrap(), rows);
    assert!(at.says(&["verify"]).await.contains("sound"));

    at.says(&["report", report.to_str().unwrap()]).await;
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(&report).unwrap()).read_to_string(&mut text).unwrap();
    for part in ["about.json", "branches.json", "schema.json", "errors.json", "\"name\": \"t\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    if let At::Bucket(place) = at {
        assert!(text.contains("heads/main.json") && !text.contains(&place.account.secret_access_key), "{text}");
    }
}

#[tokio::test]
async fn branches_are_made_overwritten_and_deleted_on_either_side() {
    let (place, folders, dev) = shop("command-branches").await;
    let database = dev.database("orders");
    database.sql("create table t(x); insert into t values (1)").await;
    branches(At::Server(&database), "server").await;
    // The branch that somebody has is theirs to overwrite.
    let (code, why) = At::Bucket(&place).fails(&["promote", "server"]).await;
    assert!(code == 1 && why.contains("held by default/orders"), "{why}");
    dev.program.end(Signal::Int).await;
    branches(At::Bucket(&place), "bucket").await;
    let promoted = At::Bucket(&place).says(&["promote", "bucket", "--id", "release-1", "--keep-previous-as", "before"]).await;
    assert!(promoted.starts_with("branch main has the content of bucket at txid "), "{promoted}");
    assert!(
        At::Bucket(&place)
            .says(&["promote", "bucket", "--id", "release-1", "--keep-previous-as", "before"])
            .await
            .contains("as it was before")
    );
    let dev = folders.start("standard").await;
    let database = dev.database("orders");
    assert_eq!(database.sql("select x from t order by x").await, json!([[1], [2]]));
    At::Server(&database).says(&["branches", "switch", "before"]).await;
    assert_eq!(database.sql("select count(*) from t").await, json!([[1]]));
    dev.program.kill().await;
}

async fn branches(at: At<'_>, name: &str) {
    let brief = format!("{name}-for-a-moment");
    at.says(&["branches", "create", name]).await;
    at.says(&["branches", "create", &brief, "--from", name]).await;
    let listed = at.says_json(&["branches", "list"]).await;
    let parents: Vec<&Value> = listed["branches"].as_array().unwrap().iter().map(|branch| &branch["parent"]["branch"]).collect();
    assert!(parents.contains(&&json!(name)) && parents.contains(&&json!("main")), "{listed}");
    assert!(at.says(&["branches", "list"]).await.contains(&brief));
    at.says(&["branches", "delete", &brief]).await;
    assert_eq!(at.fails(&["branches", "create", name]).await.0, 1);
    if let At::Bucket(_) = at {
        at.says(&["sql", "--branch", name, "--write", "insert into t values (2)"]).await;
        assert_eq!(at.says(&["sql", "--branch", name, "--format", "csv", "select count(*) from t"]).await, "count(*)\r\n2");
        assert_eq!(at.says(&["sql", "--format", "csv", "select count(*) from t"]).await, "count(*)\r\n1");
    }
}

#[tokio::test]
async fn whoever_has_a_branch_keeps_it_and_everybody_may_look() {
    let (place, _folders, dev) = shop("command-held").await;
    let database = dev.database("orders");
    database.sql("create table t(x); insert into t values (1)").await;
    database.flush().await;
    let bucket = At::Bucket(&place);
    let then = bucket.says_json(&["status"]).await["txid"].as_u64().unwrap().to_string();
    database.sql("insert into t values (2)").await;
    database.flush().await;

    assert_eq!(bucket.says(&["sql", "--format", "csv", "select count(*) from t"]).await, "count(*)\r\n2");
    assert_eq!(bucket.says(&["sql", "--txid", &then, "--format", "csv", "select count(*) from t"]).await, "count(*)\r\n1");
    assert_eq!(At::Server(&database).says(&["sql", "--txid", &then, "--format", "csv", "select count(*) from t"]).await, "count(*)\r\n1");
    let objects = place.objects().await;
    let (code, why) = bucket.fails(&["sql", "insert into t values (3)"]).await;
    assert!(code == 1 && why.contains("--write"), "{why}");
    let (code, why) = bucket.fails(&["kv", "set", "a", "b"]).await;
    assert!(code == 1 && why.contains("held by default/orders") && why.contains("--url") && why.contains("--take-over"), "{why}");
    assert_eq!(place.objects().await, objects, "whoever only looks, or is refused, leaves nothing behind");
    database.sql("insert into t values (3)").await;
    database.flush().await;
    assert_eq!(bucket.says(&["sql", "--format", "csv", "select count(*) from t"]).await, "count(*)\r\n3");
    dev.program.kill().await;

    // Nobody released it. A person says that it is gone.
    let (_, why) = bucket.fails(&["kv", "set", "a", "b"]).await;
    let epoch = why.split("--take-over ").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap();
    bucket.says(&["kv", "set", "--take-over", epoch, "a", "b"]).await;
    bucket.says(&["kv", "set", "a", "c"]).await;
    assert_eq!(bucket.says(&["kv", "get", "a"]).await, "c");
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said_with_the_exit_code_of_the_seed() {
    let place = Place::create(ServedBy::Minio, "command-wrong").await;
    let bucket = At::Bucket(&place);
    for words in [&["inspect"][..], &["kv", "get", "a"], &["status"], &["restore", "x.db"], &["verify"], &["sql", "select 1"]] {
        let (code, why) = bucket.fails(words).await;
        assert!(code == 1 && why.contains("no branch main"), "{words:?}: {why}");
    }
    for (words, named) in [
        (&["kv", "set", "a"][..], "content"),
        (&["kv", "get", "--at", "yesterday", "a"], "--at"),
        (&["branches", "switch", "next"], "--url"),
        (&["docs", "find", "people", "{"], "JSON"),
        (&["sql", "--params", "[", "select 1"], "--params"),
        (&["files", "put", "--metadata", "x", "y"], "NAME=VALUE"),
        (&["completions", "tcsh"], "bash"),
    ] {
        let (code, why) = bucket.fails(words).await;
        assert!(code == 2 && why.contains(named), "{words:?}: {why}");
    }
    let mut nowhere = Command::new(env!("CARGO_BIN_EXE_buckethead"));
    let output = nowhere.args(["inspect"]).env_clear().output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("R2_BUCKET"), "{output:?}");
    assert!(bucket.says(&["completions", "bash"]).await.contains("_buckethead()"));
}
