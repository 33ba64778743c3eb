//! What a reply promises where a request or its database asks for more.

use super::*;
use serde_json::json;

const BASE: &str = "/apps/orders";

/// The delta that holds what the reply tells of, and the newest that is in the bucket.
fn numbers(reply: &Reply) -> (u64, u64) {
    let header = |name: &str| reply.headers[name].to_str().unwrap().to_owned();
    (header("x-txid").split('.').nth(1).unwrap().parse().unwrap(), header("x-durable-txid").parse().unwrap())
}

fn is_durable(reply: &Reply) -> bool {
    let (told, durable) = numbers(reply);
    told <= durable
}

fn inserts(values: &[i64]) -> String {
    let execute = |value: &i64| json!({"type": "execute", "stmt": {"sql": format!("insert into t values ({value})")}});
    json!({"requests": values.iter().map(execute).chain([json!({"type": "close"})]).collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn a_request_that_asks_for_it_is_answered_when_the_bucket_has_it() {
    let server = Server::open().await;
    let plain = server.run("create table t(a)").await;
    assert!(!is_durable(&plain), "the interval is an hour");
    let asked = [
        ("POST", "sql?durability=sync", "insert into t values (1)".to_owned()),
        ("POST", "v2/pipeline?durability=sync", inserts(&[2, 3])),
        ("POST", "v3/pipeline?durability=sync", inserts(&[4])),
        ("PUT", "kv/greeting?durability=sync", "hello".to_owned()),
    ];
    for (method, route, body) in asked {
        let between = server.run("insert into t values (0)").await;
        assert!(!is_durable(&between), "{route}");
        let reply = server.ask(method, &format!("{BASE}/{route}"), &[], body).await;
        assert!(reply.status.is_success() && is_durable(&reply), "{route}: {:?} {}", numbers(&reply), reply.status);
    }
    server.run("insert into t values (0)").await;
    let file = server.get(&format!("{BASE}/snapshot?durability=sync")).await;
    assert!(file.body.starts_with(b"SQLite format 3\0"));
    assert!(is_durable(&server.run("select count(*) from t").await));
    // What others have written is told of, too.
    server.run("insert into t values (0)").await;
    let read = server.get(&format!("{BASE}/sql?durability=sync&q=select+count(*)+from+t&consistency=strong")).await;
    assert!(is_durable(&read));
    assert_eq!(read.rows(), json!([[10]]));
}

#[tokio::test]
async fn rows_that_are_sent_as_they_come_may_be_promised_as_well() {
    let server = Server::open().await;
    server.run("create table t(a)").await;
    let steps = ["insert into t values (1) returning a", "select count(*) from t"].map(|sql| json!({"stmt": {"sql": sql}}));
    let body = json!({"batch": {"steps": steps}}).to_string();
    let reply = server.ask("POST", &format!("{BASE}/v3/cursor?durability=sync"), &[], body).await;
    let text = String::from_utf8(reply.body).unwrap();
    assert_eq!(text.matches("step_end").count(), 2, "{text}");
    let now = server.run("select count(*) from t").await;
    assert!(is_durable(&now), "{:?}", numbers(&now));
    let export = [("accept", "application/x-ndjson")];
    let reply = server.ask("POST", &format!("{BASE}/sql?durability=sync"), &export, "insert into t values (2); select a from t").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(is_durable(&server.run("select count(*) from t").await));
}

#[tokio::test]
async fn in_sync_every_reply_is_that_of_what_the_bucket_has() {
    let (host, store) = Server::host_with_database(|config| DatabaseConfig { durability: synced(), ..config }).await;
    let server = Server::of(host, Guard::Operator, Some(store));
    assert!(is_durable(&server.run("create table t(a)").await));
    assert!(is_durable(&server.ask("POST", &format!("{BASE}/v2/pipeline"), &[], inserts(&[1, 2])).await));
    let read = server.get(&format!("{BASE}/sql?q=select+count(*)+from+t")).await;
    assert!(is_durable(&read));
    assert_eq!(read.rows(), json!([[2]]));
}

fn synced() -> Durability {
    Durability { mode: engine::Mode::Sync, ..Durability::default() }
}

#[tokio::test]
async fn what_cannot_be_promised_is_refused_by_name() {
    let server = Server::open().await;
    for (route, word) in [
        ("sql?durability=later", "`durability`"),
        ("kv?consistency=weak", "`consistency`"),
        ("sql?durability=sync&durability=sync", "twice"),
    ] {
        let reply = server.get(&format!("{BASE}/{route}&q=select+1")).await;
        assert_eq!(reply.problem(), (400, "bad-request".to_owned()), "{route}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(word), "{route}");
    }
}
