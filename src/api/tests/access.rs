//! Who may do what, over every route of a database.

use std::net::IpAddr;

use engine::{Authority, AuthorityError, Clock, WallTime};
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::*;

pub(super) const HOST: (&str, &str) = ("host", "localhost:8080");
pub(super) const READS: (&str, &str) = ("authorization", "Bearer reads");
pub(super) const WRITES: (&str, &str) = ("authorization", "Bearer writes");

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Looking,
    Changing,
}

use For::{Changing, Looking};

/// Every method of every route below a database: the template, an address of it, a body, and what it is for. Whoever may write is answered
/// with success in this order.
pub(super) const ALL: [(&str, &str, &str, &str, For); 50] = [
    ("GET", "/", "", "", Looking),
    ("GET", "/sql", "sql?q=select+1", "", Looking),
    ("POST", "/sql", "sql", "select 1", Looking),
    ("POST", "/", "", r#"{"statements":["select 1"]}"#, Looking),
    ("POST", "/v1/execute", "v1/execute", r#"{"stmt":{"sql":"select 1"}}"#, Looking),
    ("POST", "/v1/batch", "v1/batch", r#"{"batch":{"steps":[]}}"#, Looking),
    ("POST", "/v2/pipeline", "v2/pipeline", r#"{"requests":[]}"#, Looking),
    ("POST", "/v3/pipeline", "v3/pipeline", r#"{"requests":[]}"#, Looking),
    ("POST", "/v3/cursor", "v3/cursor", r#"{"batch":{"steps":[]}}"#, Looking),
    ("POST", "/v3-protobuf/pipeline", "v3-protobuf/pipeline", "", Looking),
    // A batch without steps.
    ("POST", "/v3-protobuf/cursor", "v3-protobuf/cursor", "\x12\0", Looking),
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
    ("GET", "/changes", "changes", "", Looking),
    ("GET", "/snapshot", "snapshot", "", Looking),
    ("POST", "/flush", "flush", "", Changing),
    ("POST", "/verify", "verify", "", Changing),
    ("GET", "/files", "files", "", Looking),
    ("POST", "/files", "files", "other", Changing),
    ("GET", "/files/{bh_key}", HELLO, "", Looking),
    ("HEAD", "/files/{bh_key}", HELLO, "", Looking),
    ("POST", "/files/{bh_key}/share", SHARE, "", Changing),
    ("DELETE", "/files/{bh_key}", HELLO, "", Changing),
    ("GET", "/branches", "branches", "", Looking),
    ("POST", "/branches", "branches", r#"{"name":"b"}"#, Changing),
    ("GET", "/branches/{branch}/differences", "branches/kept/differences?from=main", "", Looking),
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

const SHARE: &str = "files/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824/share";
const HELLO: &str = "files/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn grants() -> Access {
    Access::Tokens(vec![Grant::of("writes", Permission::Write), Grant::of("reads", Permission::Read)])
}

impl Server {
    /// As `dev` serves it, where branches are changed and switched over HTTP as well, with something of everything.
    pub(super) async fn with_readers() -> Self {
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

    pub(super) async fn ask_as(&self, token: (&str, &str), method: &str, path: &str, body: &str) -> Reply {
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

/// Of each route below a database.
fn declared() -> BTreeSet<(String, String)> {
    let below = |(method, template): (String, String)| Some((method, template.strip_prefix("/{namespace}/{name}")?.to_owned()));
    let mut found: BTreeSet<_> = routes().into_iter().filter_map(below).collect();
    // They are those of the base with a slash.
    assert!(["GET", "POST"].iter().all(|method| found.remove(&((*method).to_owned(), String::new()))));
    // They tell of the program, not of a database.
    assert!(["/version", "/v2", "/v3", "/v3-protobuf"].iter().all(|route| found.remove(&("GET".to_owned(), (*route).to_owned()))));
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
    // A proof changes nothing, but it costs what all databases share.
    // So does a URL for others, which outlives the token.
    let idle = ["/kv/", "/verify", "/files/{bh_key}/share"];
    for (method, template, path, body, purpose) in ALL.into_iter().filter(|(_, template, ..)| !idle.contains(template)) {
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

/// Stands still.
#[derive(Debug)]
struct Still(Instant);

impl Clock for Still {
    fn wall(&self) -> WallTime {
        SystemClock.wall()
    }

    fn now(&self) -> Instant {
        self.0
    }
}

/// Knows the tokens `writes` and `reads`; of `away` it says nothing.
#[derive(Default)]
struct Oracle {
    asked: AtomicU32,
}

impl Authority for Oracle {
    fn review<'a>(&'a self, database: &'a DatabaseName, token: &'a str) -> BoxFuture<'a, Result<Option<Permission>, AuthorityError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = match (database.name(), token) {
            (_, "away") => Err(AuthorityError { doing: "asking", source: "connection refused".into() }),
            ("orders", "writes") => Ok(Some(Permission::Write)),
            ("orders", "reads") => Ok(Some(Permission::Read)),
            _ => Ok(None),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// In a cluster, while time stands still.
async fn in_a_cluster(access: Access, authority: Option<Arc<dyn Authority>>) -> Server {
    let (host, store) = Server::host_with_database(|config| DatabaseConfig { access, ..config }).await;
    let clock = Arc::new(Still(SystemClock.now()));
    Server::configured(host, Guard::Operator, Some(store), |config| Config { authority, clock, ..config })
}

impl Server {
    async fn ask_from(&self, address: &str, token: Option<&str>, route: &str) -> Reply {
        let mut request = Request::builder().method("POST").uri(format!("/apps/orders/{route}"));
        request = request.extension(Peer(SocketAddr::new(address.parse::<IpAddr>().unwrap(), 1234)));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = if route == "sql" { "select 1" } else { r#"{"requests":[]}"# };
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn failures(&self, reason: &str) -> Option<String> {
        let metrics = String::from_utf8(self.get("/metrics").await.body).unwrap();
        let line = format!("buckethead_authentication_failures_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|found| found.strip_prefix(&line)).map(str::to_owned)
    }
}

#[tokio::test]
async fn an_address_with_too_many_failures_is_told_so_and_whoever_has_a_token_goes_on() {
    let server = in_a_cluster(grants(), None).await;
    for number in 0..20 {
        let token = (number % 2 == 0).then_some("guess");
        assert_eq!(server.ask_from("10.0.0.1", token, "sql").await.problem(), problem(401, "unauthorized"), "{number}");
    }
    for token in [Some("guess"), None] {
        let reply = server.ask_from("10.0.0.1", token, "sql").await;
        assert_eq!(reply.problem(), problem(429, "too-many-failures"));
        assert_eq!((&reply.headers[header::RETRY_AFTER], reply.json()["retryable"].take()), (&"1".parse().unwrap(), json!(true)));
    }
    let hrana = server.ask_from("10.0.0.1", Some("guess"), "v3/pipeline").await;
    assert_eq!((hrana.status.as_u16(), &hrana.json()["code"]), (429, &json!("TOO_MANY_FAILURES")));
    for token in ["writes", "reads"] {
        assert_eq!(server.ask_from("10.0.0.1", Some(token), "sql").await.rows(), json!([[1]]), "{token}");
    }
    assert_eq!(server.ask_from("10.0.0.2", Some("guess"), "sql").await.problem(), problem(401, "unauthorized"), "another address");
    assert_eq!(server.ask("PUT", "/apps/orders/kv/a", &[READS], "1").await.problem(), problem(403, "read-only-token"));
    let counted = [server.failures("missing").await, server.failures("refused").await, server.failures("read_only").await];
    assert_eq!(counted.map(Option::unwrap), ["11", "13", "1"]);
    assert_eq!(server.failures("unavailable").await, None);
}

#[tokio::test]
async fn requests_of_which_nobody_knows_whence_they_come_are_of_one_address() {
    let server = in_a_cluster(grants(), None).await;
    let mut statuses = Vec::new();
    for _ in 0..21 {
        let request = Request::builder().uri("/apps/orders/").body(Body::empty()).unwrap();
        statuses.push(server.api.clone().oneshot(request).await.unwrap().status().as_u16());
    }
    assert_eq!((&statuses[..20], statuses[20]), (&[401; 20][..], 429));
}

#[tokio::test]
async fn kubernetes_says_what_the_bearer_of_a_token_may_do() {
    let oracle = Arc::new(Oracle::default());
    let server = in_a_cluster(Access::Kubernetes, Some(Arc::clone(&oracle) as Arc<dyn Authority>)).await;
    for (token, status) in [("writes", 204), ("reads", 403), ("guess", 401)] {
        let token = format!("Bearer {token}");
        let reply = server.ask("PUT", "/apps/orders/kv/a", &[("authorization", &token)], "1").await;
        assert_eq!(reply.status.as_u16(), status, "{token}");
    }
    let refused = server.ask("PUT", "/apps/orders/kv/a", &[READS], "1").await;
    assert_eq!(refused.problem(), problem(403, "read-only-token"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("`update` `bucketdatabases/data`"), "{}", refused.json());
    assert_eq!(server.ask("GET", "/apps/orders/kv/a", &[READS], "").await.body, b"1");
    assert_eq!(oracle.asked.load(Ordering::Relaxed), 3, "each token once");
    assert_eq!(server.ask("GET", "/apps/orders/kv/a", &[], "").await.problem(), problem(401, "unauthorized"));
    assert_eq!(oracle.asked.load(Ordering::Relaxed), 3, "and nobody about none");
    assert_eq!(
        server.ask("GET", "/apps/other/kv/a", &[WRITES], "").await.problem(),
        problem(401, "unauthorized"),
        "not even of its absence"
    );
}

#[tokio::test]
async fn nobody_is_admitted_while_kubernetes_does_not_answer() {
    let server = in_a_cluster(Access::Kubernetes, Some(Arc::new(Oracle::default()))).await;
    for _ in 0..25 {
        let reply = server.ask_from("10.0.0.1", Some("away"), "sql").await;
        assert_eq!(reply.problem(), problem(503, "authority-unavailable"));
        assert_eq!(reply.headers[header::RETRY_AFTER], "5");
    }
    let hrana = server.ask_from("10.0.0.1", Some("away"), "v3/pipeline").await;
    assert_eq!((hrana.status.as_u16(), &hrana.json()["code"]), (503, &json!("AUTHORITY_UNAVAILABLE")));
    assert_eq!(server.failures("unavailable").await.as_deref(), Some("26"));
    assert_eq!(server.ask_from("10.0.0.1", Some("reads"), "sql").await.rows(), json!([[1]]), "who is answered about goes on");

    let nobody = in_a_cluster(Access::Kubernetes, None).await;
    assert_eq!(nobody.ask_from("10.0.0.1", Some("writes"), "sql").await.problem(), problem(503, "authority-unavailable"));
}

#[tokio::test]
async fn a_flood_of_tokens_does_not_reach_kubernetes() {
    let oracle = Arc::new(Oracle::default());
    let server = in_a_cluster(Access::Kubernetes, Some(Arc::clone(&oracle) as Arc<dyn Authority>)).await;
    assert_eq!(server.ask_from("10.0.0.1", Some("writes"), "sql").await.rows(), json!([[1]]));
    let mut statuses = Vec::new();
    for number in 0..50 {
        statuses.push(server.ask_from("10.0.0.1", Some(&format!("guess-{number}")), "sql").await.status.as_u16());
    }
    assert_eq!((&statuses[..20], &statuses[20..]), (&[401; 20][..], &[429; 30][..]));
    assert_eq!(oracle.asked.load(Ordering::Relaxed), 21);
    assert_eq!(server.ask_from("10.0.0.1", Some("writes"), "sql").await.rows(), json!([[1]]));
    assert_eq!(server.ask_from("10.0.0.1", Some("guess-3"), "sql").await.status.as_u16(), 429, "what is known of it is no excuse");
}

#[test]
fn a_stream_does_not_outlive_a_change_of_what_its_token_permits() {
    let identity = |permission| crate::hrana::Caller::of(Some("token"), permission).identity;
    assert_ne!(identity(Permission::Read), identity(Permission::Write), "batons are bound to it");
}
