//! Keys and values over HTTP.

use super::*;

const KV: &str = "/apps/orders/kv";

impl Server {
    async fn put(&self, key: &str, value: impl Into<Body>) -> Reply {
        self.ask("PUT", &format!("{KV}/{key}"), &[], value).await
    }
}

fn etag(reply: &Reply) -> String {
    reply.headers[header::ETAG].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_value_comes_back_with_its_type_its_etag_and_its_times() {
    let server = Server::open().await;
    let put = server.put("user/123", "grüße").await;
    assert_eq!((put.status, put.body.len()), (StatusCode::NO_CONTENT, 0));
    let reply = server.get("/apps/orders/kv/user/123").await;
    assert_eq!((reply.status, reply.body.as_slice()), (StatusCode::OK, "grüße".as_bytes()));
    assert_eq!(reply.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(etag(&reply), etag(&put));
    assert_eq!(etag(&reply).len(), 66);
    assert_eq!(reply.headers["x-buckethead-created-at"], reply.headers["x-buckethead-updated-at"]);
    server.put("bytes", &b"\xff\0"[..]).await;
    let reply = server.get("/apps/orders/kv/bytes").await;
    assert_eq!(
        (reply.headers[header::CONTENT_TYPE].to_str().unwrap(), reply.body.as_slice()),
        ("application/octet-stream", &b"\xff\0"[..])
    );
    assert_eq!(
        server.run("select key, typeof(key), typeof(value), typeof(created_at) from bh_kv order by key").await.rows(),
        json!([["bytes", "text", "blob", "real"], ["user/123", "text", "blob", "real"]])
    );
}

#[tokio::test]
async fn head_tells_the_same_without_the_value() {
    let server = Server::open().await;
    server.put("a", "value").await;
    let reply = server.ask("HEAD", "/apps/orders/kv/a", &[], "").await;
    assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
    assert_eq!(reply.headers[header::CONTENT_LENGTH], "5");
    assert_eq!(server.ask("HEAD", "/apps/orders/kv/b", &[], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_rest_of_the_path_is_the_key() {
    let server = Server::open().await;
    for (path, key) in [
        ("a/b/c", "a/b/c"),
        ("d%2Fe", "d/e"),
        ("f%20g%25", "f g%"),
        ("%C3%BC", "ü"),
        ("x/", "x/"),
        ("..", ".."),
        ("a'%3B--", "a';--"),
        ("h+i", "h+i"),
    ] {
        assert_eq!(server.put(path, key).await.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(server.get(&format!("{KV}/{path}")).await.body, key.as_bytes(), "{path}");
    }
    let keys = server.get(KV).await.json();
    assert_eq!(keys, json!({"keys": ["..", "a';--", "a/b/c", "d/e", "f g%", "h+i", "x/", "ü"], "next": null}));
    assert_eq!(server.get("/apps/orders/kv/a%2Fb%2fc").await.body, b"a/b/c");
}

#[tokio::test]
async fn what_is_no_key_is_refused_with_a_word_on_why() {
    let server = Server::open().await;
    let long = "k".repeat(1025);
    for (path, word) in
        [("a%00b", "NUL"), ("%zz", "%25"), ("a%", "%25"), ("%ff", "UTF-8"), (long.as_str(), "1024 bytes"), ("", "at least one")]
    {
        for method in ["GET", "PUT", "DELETE"] {
            let reply = server.ask(method, &format!("{KV}/{path}"), &[], "x").await;
            assert_eq!(reply.problem(), problem(400, "bad-request"), "{method} {path}");
            assert!(reply.json()["detail"].as_str().unwrap().contains(word), "{}", reply.json());
        }
    }
    let reply = server.ask("POST", "/apps/orders/kv/a", &[], "").await;
    assert_eq!(reply.problem(), problem(405, "method-not-allowed"));
    assert_eq!(reply.headers[header::ALLOW], "GET,HEAD,PUT,DELETE");
    assert_eq!(server.get("/apps/orders/kv/a?x=1").await.problem(), problem(400, "bad-request"));
    assert_eq!(server.put("a", vec![b'x'; (16 << 20) + 1]).await.problem(), problem(413, "body-too-large"));
}

#[tokio::test]
async fn what_is_missing_is_not_found_and_what_is_deleted_is_missing() {
    let server = Server::open().await;
    server.put("a", "1").await;
    let delete = || server.ask("DELETE", "/apps/orders/kv/a", &[], "");
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    assert_eq!(delete().await.problem(), problem(404, "not-found"));
    assert_eq!(server.get("/apps/orders/kv/a").await.problem(), problem(404, "not-found"));
}

#[tokio::test]
async fn conditions_guard_a_value_against_whoever_was_faster() {
    let server = Server::open().await;
    let path = "/apps/orders/kv/a";
    let create = [("if-none-match", "*")];
    let first = etag(&server.ask("PUT", path, &create, "1").await);
    assert_eq!(server.ask("PUT", path, &create, "2").await.problem(), problem(412, "precondition-failed"));
    assert_eq!(server.ask("GET", path, &[("if-none-match", &first)], "").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(server.ask("GET", path, &[("if-none-match", "\"x\"")], "").await.body, b"1");
    assert_eq!(server.ask("GET", path, &[("if-match", "\"x\"")], "").await.problem(), problem(412, "precondition-failed"));
    let second = etag(&server.ask("PUT", path, &[("if-match", &first)], "2").await);
    assert_eq!(server.ask("PUT", path, &[("if-match", &first)], "3").await.problem(), problem(412, "precondition-failed"));
    assert_eq!(server.ask("DELETE", path, &[("if-match", &first)], "").await.problem(), problem(412, "precondition-failed"));
    assert_eq!(server.get(path).await.body, b"2");
    assert_eq!(server.ask("DELETE", path, &[("if-match", &second)], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.ask("PUT", path, &[("if-match", "*")], "3").await.problem(), problem(412, "precondition-failed"));
    assert_eq!(server.ask("PUT", path, &[("if-match", "abc")], "3").await.problem(), problem(400, "bad-request"));
}

#[tokio::test]
async fn keys_are_listed_by_prefix_in_pages_and_counted() {
    let server = Server::open().await;
    let operations: Vec<_> = ["a%", "a_", "ab", "B"].iter().map(|key| json!({"set": key, "value": ""})).collect();
    let body = json!({"operations": operations}).to_string();
    assert_eq!(server.ask("POST", KV, &[], body).await.json(), json!({"set": 4, "deleted": 0}));
    assert_eq!(server.get("/apps/orders/kv?prefix=a%25").await.json(), json!({"keys": ["a%"], "next": null}));
    assert_eq!(server.get("/apps/orders/kv?prefix=a&limit=2").await.json(), json!({"keys": ["a%", "a_"], "next": "a_"}));
    assert_eq!(server.get("/apps/orders/kv?prefix=a&limit=2&after=a_").await.json(), json!({"keys": ["ab"], "next": null}));
    assert_eq!(server.get("/apps/orders/kv?count").await.json(), json!({"count": 4}));
    assert_eq!(server.get("/apps/orders/kv?count&prefix=a").await.json(), json!({"count": 3}));
    for query in ["limit=0", "limit=x", "prefx=a", "prefix=%", "count=1", "count&limit=1", "count&after=a", "prefix=a&prefix=b"] {
        assert_eq!(server.get(&format!("{KV}?{query}")).await.problem(), problem(400, "bad-request"), "{query}");
    }
}

#[tokio::test]
async fn a_batch_that_fails_changes_nothing() {
    let server = Server::open().await;
    server.put("keep", "1").await;
    let trigger = "create trigger no before insert on bh_kv when new.key = 'bad' begin select raise(abort, 'no'); end";
    server.run(trigger).await.rows();
    let operations = json!([{"delete": "keep"}, {"set": "new", "value": {"base64": "AP8="}}, {"set": "bad", "value": "x"}]);
    let reply = server.ask("POST", KV, &[], json!({"operations": operations}).to_string()).await;
    assert_eq!(reply.problem(), problem(409, "sql-constraint"));
    assert_eq!(server.get(KV).await.json()["keys"], json!(["keep"]));
    let reply = server.ask("POST", KV, &[], r#"{"operations": [{"set": "a"}]}"#).await;
    assert_eq!(reply.problem(), problem(400, "bad-request"));
    assert!(reply.json()["detail"].as_str().unwrap().starts_with("operations[0]: "));
    let xml = [("content-type", "application/xml")];
    assert_eq!(server.ask("POST", KV, &xml, "<a/>").await.problem(), problem(415, "unsupported-media-type"));
}

#[tokio::test]
async fn a_table_that_was_dropped_is_named() {
    let server = Server::open().await;
    server.run("drop table bh_kv").await;
    for (method, path) in [("GET", "kv/a"), ("PUT", "kv/a"), ("DELETE", "kv/a"), ("GET", "kv"), ("GET", "kv?count")] {
        let reply = server.ask(method, &format!("/apps/orders/{path}"), &[], "x").await;
        assert_eq!(reply.problem(), problem(409, "sql-constraint"), "{method} {path}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("bh_kv"), "{}", reply.json());
    }
}

#[tokio::test]
async fn each_reply_names_the_state_that_it_tells_of() {
    let server = Server::open().await;
    let state = |reply: &Reply| {
        let text = |name: &str| reply.headers[name].to_str().unwrap().to_owned();
        let parts: Vec<u64> = text("x-txid").split('.').map(|part| part.parse().unwrap()).collect();
        (<[u64; 3]>::try_from(parts).unwrap(), text("x-durable-txid").parse::<u64>().unwrap())
    };
    let (set, durable) = state(&server.put("a", "1").await);
    assert!(set[1] > durable, "it is in memory alone");
    assert_eq!(state(&server.get("/apps/orders/kv/a").await), (set, durable));
    assert_eq!(state(&server.get("/apps/orders/kv/none").await), (set, durable), "absence is a state, too");
    let (inserted, _) = state(&server.ask("POST", "/apps/orders/docs/people", &[("content-type", "application/json")], "{}").await);
    assert!(inserted > set);
    let (kept, _) = state(&server.ask("POST", "/apps/orders/files", &[], "content").await);
    assert!(kept > inserted);
    assert_eq!(state(&server.get("/apps/orders/files").await), (kept, durable));
    assert_eq!(server.ask("POST", "/apps/orders/flush", &[], "").await.status, StatusCode::OK);
    assert_eq!(state(&server.run("select count(*) from bh_kv").await), (kept, kept[1]));
}
