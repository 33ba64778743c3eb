//! Who may do what, over every route of a database.

use std::collections::BTreeSet;

use super::*;

const HOST: (&str, &str) = ("host", "localhost:8080");
const READS: (&str, &str) = ("authorization", "Bearer reads");
const WRITES: (&str, &str) = ("authorization", "Bearer writes");

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Looking,
    Changing,
}

use For::{Changing, Looking};

/// Every method of every route below a database: the template, an address of it, a body, and what it is for. Whoever may write is answered
/// with success in this order.
const ALL: [(&str, &str, &str, &str, For); 43] = [
    ("GET", "/", "", "", Looking),
    ("GET", "/sql", "sql?q=select+1", "", Looking),
    ("POST", "/sql", "sql", "select 1", Looking),
    ("GET", "/v2", "v2", "", Looking),
    ("POST", "/v2/pipeline", "v2/pipeline", r#"{"requests":[]}"#, Looking),
    ("GET", "/v3", "v3", "", Looking),
    ("POST", "/v3/pipeline", "v3/pipeline", r#"{"requests":[]}"#, Looking),
    ("POST", "/v3/cursor", "v3/cursor", r#"{"batch":{"steps":[]}}"#, Looking),
    ("GET", "/kv", "kv", "", Looking),
    ("POST", "/kv", "kv", r#"{"operations":[{"set":"b","value":"1"}]}"#, Changing),
    ("PUT", "/kv/{*key}", "kv/a", "2", Changing),
    ("GET", "/kv/{*key}", "kv/a", "", Looking),
    ("DELETE", "/kv/{*key}", "kv/a", "", Changing),
    ("GET", "/docs", "docs", "", Looking),
    ("POST", "/docs/{collection}", "docs/c", r#"{"_id":"b"}"#, Changing),
    ("GET", "/docs/{collection}", "docs/c", "", Looking),
    ("POST", "/docs/{collection}/find", "docs/c/find", "{}", Looking),
    ("POST", "/docs/{collection}/count", "docs/c/count", "{}", Looking),
    ("GET", "/docs/{collection}/indexes", "docs/c/indexes", "", Looking),
    ("POST", "/docs/{collection}/indexes", "docs/c/indexes", r#"{"path":"other"}"#, Changing),
    ("DELETE", "/docs/{collection}/indexes", "docs/c/indexes?path=age", "", Changing),
    ("GET", "/docs/{collection}/{id}", "docs/c/a", "", Looking),
    ("PUT", "/docs/{collection}/{id}", "docs/c/a", r#"{"n":2}"#, Changing),
    ("PATCH", "/docs/{collection}/{id}", "docs/c/a", r#"{"m":2}"#, Changing),
    ("DELETE", "/docs/{collection}/{id}", "docs/c/a", "", Changing),
    ("DELETE", "/docs/{collection}", "docs/c", "", Changing),
    ("GET", "/snapshot", "snapshot", "", Looking),
    ("POST", "/flush", "flush", "", Changing),
    ("GET", "/files", "files", "", Looking),
    ("POST", "/files", "files", "other", Changing),
    ("GET", "/files/{bh_key}", HELLO, "", Looking),
    ("HEAD", "/files/{bh_key}", HELLO, "", Looking),
    ("DELETE", "/files/{bh_key}", HELLO, "", Changing),
    ("GET", "/branches", "branches", "", Looking),
    ("POST", "/branches", "branches", r#"{"name":"b"}"#, Changing),
    ("POST", "/branches/{branch}/overwrite", "branches/b/overwrite", r#"{"from":"main"}"#, Changing),
    ("DELETE", "/branches/{branch}", "branches/b", "", Changing),
    ("POST", "/branches/{branch}/switch", "branches/kept/switch", "", Changing),
    // Nothing is there, but the token is looked at.
    ("GET", "/kv/", "kv/", "", Looking),
    ("PUT", "/kv/", "kv/", "1", Changing),
    ("POST", "/kv/", "kv/", "1", Changing),
    ("PATCH", "/kv/", "kv/", "1", Changing),
    ("DELETE", "/kv/", "kv/", "1", Changing),
];

const HELLO: &str = "files/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn grants() -> Access {
    Access::Tokens(vec![Grant::of("writes", Permission::Write), Grant::of("reads", Permission::Read)])
}

impl Server {
    /// As `dev` serves it, where branches are changed and switched over HTTP as well, with something of everything.
    async fn with_readers() -> Self {
        let server = Self::with_database(dev(None), grants()).await;
        for (method, path, body) in [
            ("POST", "sql", "create table t(a)"),
            ("PUT", "kv/a", "1"),
            ("POST", "docs/c", r#"{"_id":"a","age":1}"#),
            ("POST", "docs/c/indexes", r#"{"path":"age"}"#),
            ("POST", "files", "hello"),
            ("POST", "branches", r#"{"name":"kept"}"#),
        ] {
            let reply = server.ask_as(WRITES, method, path, body).await;
            assert!(reply.status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&reply.body));
        }
        server
    }

    async fn ask_as(&self, token: (&str, &str), method: &str, path: &str, body: &str) -> Reply {
        let json = body.starts_with('{').then_some(("content-type", "application/json"));
        let headers: Vec<_> = [HOST, token].into_iter().chain(json).collect();
        self.ask(method, &format!("/apps/orders/{path}"), &headers, body.to_owned()).await
    }

    /// All that a request could change.
    async fn everything(&self) -> [Vec<u8>; 3] {
        let of = async |path| self.ask_as(WRITES, "GET", path, "").await.body;
        [of("snapshot").await, of("branches").await, of("files").await]
    }
}

/// Of each route below a database, as the router's source declares it.
fn declared() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let lines = include_str!("../lib.rs").lines().filter_map(|line| line.trim().strip_prefix(".route(\"/{namespace}/{name}"));
    for line in lines {
        let (template, handlers) = line.split_once("\", ").unwrap();
        for method in ["get", "head", "put", "post", "patch", "delete"] {
            if handlers.contains(&format!("{method}(")) || handlers.starts_with("any(") && method != "head" {
                found.insert((method.to_ascii_uppercase(), template.to_owned()));
            }
        }
    }
    // It leads on to the base with a slash alone.
    assert!(found.remove(&("GET".to_owned(), String::new())));
    found
}

#[test]
fn no_route_is_missing_here() {
    let here: BTreeSet<_> = ALL.iter().map(|(method, template, ..)| ((*method).to_owned(), (*template).to_owned())).collect();
    assert_eq!(here, declared());
    assert_eq!(here.len(), ALL.len());
}

#[tokio::test]
async fn whoever_may_only_read_changes_nothing_on_any_route() {
    let server = Server::with_readers().await;
    let before = server.everything().await;
    for (method, template, path, body, purpose) in ALL {
        let reply = server.ask_as(READS, method, path, body).await;
        match purpose {
            Changing => assert_eq!(reply.problem(), problem(403, "read-only-token"), "{method} {path}"),
            Looking if template == "/kv/" => assert_eq!(reply.problem(), problem(400, "bad-request")),
            Looking => assert!(reply.status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&reply.body)),
        }
        assert!(server.everything().await == before, "{method} {path} changed something");
    }
}

#[tokio::test]
async fn the_same_requests_of_whoever_may_write_do_change_something() {
    let server = Server::with_readers().await;
    for (method, template, path, body, purpose) in ALL.into_iter().filter(|(_, template, ..)| *template != "/kv/") {
        let before = server.everything().await;
        let reply = server.ask_as(WRITES, method, path, body).await;
        assert!(reply.status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&reply.body));
        // A switch to a branch of the same content shows in what is served, which `branches` names.
        assert_eq!(server.everything().await != before, purpose == Changing, "{method} {template}");
    }
}

#[tokio::test]
async fn a_readers_statements_run_as_reads_whatever_the_method_is() {
    let server = Server::with_readers().await;
    let reply = server.ask_as(READS, "POST", "sql", "select count(*) from t").await;
    assert_eq!(reply.rows(), json!([[0]]));
    let before = server.everything().await;
    for sql in ["insert into t values (1)", "select 1; insert into t values (1)", "create table u(a)", "pragma user_version = 3"] {
        assert_eq!(server.ask_as(READS, "POST", "sql", sql).await.problem(), problem(403, "sql-forbidden"), "{sql}");
        for accept in ["application/x-ndjson", "text/csv"] {
            let headers = [HOST, READS, ("accept", accept)];
            let reply = server.ask("POST", "/apps/orders/sql", &headers, sql).await;
            let text = String::from_utf8(reply.body).unwrap();
            // A table has one statement's rows.
            let is_refused = text.contains("problems/sql-forbidden") || accept == "text/csv" && text.contains("problems/bad-request");
            assert!(is_refused, "{sql} {accept}: {} {text}", reply.status);
        }
        let body = json!({"sql": sql, "transaction": "none"}).to_string();
        assert_eq!(server.ask_as(READS, "POST", "sql", &body).await.problem(), problem(403, "sql-forbidden"), "{sql}");
    }
    assert!(server.everything().await == before);
}

#[tokio::test]
async fn a_readers_stream_does_not_write() {
    let server = Server::with_readers().await;
    let before = server.everything().await;
    let insert = json!({"sql": "insert into t values (1)"});
    let requests =
        json!({"requests": [{"type": "execute", "stmt": {"sql": "select 1"}}, {"type": "execute", "stmt": insert}, {"type": "close"}]});
    for route in ["v2/pipeline", "v3/pipeline"] {
        let results = server.ask_as(READS, "POST", route, &requests.to_string()).await.json()["results"].take();
        assert_eq!((&results[0]["type"], &results[1]["type"]), (&json!("ok"), &json!("error")), "{results}");
    }
    let batch = json!({"batch": {"steps": [{"stmt": insert}]}}).to_string();
    let entries = String::from_utf8(server.ask_as(READS, "POST", "v3/cursor", &batch).await.body).unwrap();
    assert!(entries.contains("step_error") && !entries.contains("step_end"), "{entries}");
    assert!(server.everything().await == before);
}

#[tokio::test]
async fn a_reader_is_told_which_token_writes() {
    let server = Server::with_readers().await;
    let reply = server.ask_as(READS, "PUT", "kv/a", "2").await;
    assert!(reply.json()["detail"].as_str().unwrap().contains("under the key `token`"), "{}", reply.json());
    assert_eq!(reply.json()["retryable"], false);
}
