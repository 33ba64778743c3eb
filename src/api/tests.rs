//! The routes as a client sees them: the service over a real host, with databases in an embedded store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use engine::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore};
use engine::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use engine::{
    Access, BranchName, BucketName, DatabaseConfig, DatabaseKey, DatabaseName, Durability, FilesPolicy, FilesPrefix, Grant, Host,
    HostOptions, Limits, Location, Permission, QueryLimits, Remembered, SnapshotPolicy, Spool, State, SystemClock, TokenDigest,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::access::Peer;
use crate::{Api, Config, Guard, api};

mod access;
mod address;
mod attacks;
mod branches;
mod changes;
mod docs;
mod exports;
mod files;
mod forwarding;
mod hrana;
mod kv;
mod openapi;
mod past;
mod promises;
mod slow_readers;
mod spans;
mod terms;

/// The most that a file may have in these tests.
const SPOOL: u64 = 24 << 20;

/// The service with what lives behind it.
struct Server {
    api: Api,
    ready: watch::Sender<bool>,
    host: Arc<Host>,
    store: Option<(EmbeddedStore, TempDir)>,
    /// How many it got.
    requests: AtomicU32,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    fn rows(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        self.json()["results"][0]["rows"].clone()
    }

    /// The word at the end of a problem's type.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        let word = problem["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (self.status.as_u16(), word)
    }
}

impl Server {
    fn of(host: Arc<Host>, guard: Guard, store: Option<(EmbeddedStore, TempDir)>) -> Self {
        Self::configured(host, guard, store, |config| config)
    }

    fn configured(host: Arc<Host>, guard: Guard, store: Option<(EmbeddedStore, TempDir)>, change: impl FnOnce(Config) -> Config) -> Self {
        let (ready, is_ready) = watch::channel(true);
        let public_host = Some("databases.example".to_owned());
        let config = Config {
            host: Arc::clone(&host),
            guard,
            authority: None,
            public_host,
            peers: None,
            peer_tls: None,
            ready: is_ready,
            registry: Registry::default(),
            work: Arc::default(),
            spans: None,
            clock: Arc::new(SystemClock),
        };
        Self { api: api(change(config)), ready, host, store, requests: AtomicU32::new(0) }
    }

    /// Without any database.
    fn empty(guard: Guard) -> Self {
        Self::of(empty_host(), guard, None)
    }

    /// With the database `apps/orders`.
    async fn with_database(guard: Guard, access: Access) -> Self {
        let (host, store) = Self::host_with_database(|config| DatabaseConfig { access, ..config }).await;
        Self::of(host, guard, Some(store))
    }

    async fn host_with_database(change: impl FnOnce(DatabaseConfig) -> DatabaseConfig) -> (Arc<Host>, (EmbeddedStore, TempDir)) {
        let root = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::start(EmbeddedOptions {
            root: root.path().to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            credentials: credentials(),
            dialect: Dialect::default(),
        })
        .await
        .unwrap();
        store.create_bucket(&BucketName::parse("data").unwrap()).await.unwrap();
        let host = empty_host();
        open(&host, change(config("orders", &store))).await;
        (host, (store, root))
    }

    async fn open() -> Self {
        Self::with_database(Guard::Operator, Access::Open).await
    }

    /// From an address of its own, unless the request has another: what one test is refused is held against nobody else. Of a reply without end
    /// the head.
    async fn send(&self, mut request: Request<Body>) -> Reply {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        request.extensions_mut().get_or_insert_with(|| Peer(SocketAddr::from((Ipv4Addr::from(number), 80))));
        let (head, body) = self.api.clone().oneshot(request).await.unwrap().into_parts();
        let has_no_end = head.headers.get(header::CONTENT_TYPE).is_some_and(|content_type| content_type == "text/event-stream");
        let body = if has_no_end { Body::empty() } else { body };
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply { status: head.status, headers: head.headers, body }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    async fn run(&self, sql: &'static str) -> Reply {
        self.ask("POST", "/apps/orders/sql", &[], sql).await
    }

    async fn run_json(&self, body: &Value) -> Reply {
        self.ask("POST", "/apps/orders/sql", &[("content-type", "application/json")], body.to_string()).await
    }
}

/// Whoever bears one of these tokens may do everything.
fn writers(tokens: &[&str]) -> Access {
    Access::Tokens(tokens.iter().map(|token| Grant::of(token, Permission::Write)).collect())
}

fn credentials() -> Credentials {
    Credentials { access_key_id: "test".to_owned(), secret_access_key: "test-secret".to_owned(), session_token: None }
}

/// Of the database `apps/<name>`.
fn config(name: &str, store: &EmbeddedStore) -> DatabaseConfig {
    DatabaseConfig {
        name: DatabaseName::new("apps", name),
        location: Location {
            bucket: BucketName::parse("data").unwrap(),
            key: DatabaseKey::parse(&format!("{name}.db")).unwrap(),
            branch: BranchName::main(),
        },
        store: StoreConfig {
            endpoint: Some(store.endpoint()),
            region: "auto".to_owned(),
            credentials: credentials().into(),
            ca_bundle: None,
            kms_key_id: None,
        },
        snapshots: SnapshotPolicy { interval: Duration::from_hours(1), min_interval: Duration::from_secs(5), keep_previous: true },
        durability: Durability::by_snapshots(),
        files: FilesPolicy { prefix: FilesPrefix::parse("files/").unwrap(), grace: Duration::from_mins(5) },
        limits: Limits { max_size: 64 << 20, query: QueryLimits::default() },
        single_writer: false,
        access: Access::Open,
        branches_by_api: false,
        own_service: false,
        cluster: "cluster".to_owned(),
        take_over: None,
        promotion: None,
        accept_snapshot: None,
        accept_state: None,
    }
}

/// Opens a database, and waits for it.
async fn open(host: &Arc<Host>, config: DatabaseConfig) {
    let mut changes = host.changes();
    let name = config.name.clone();
    host.open(config, Remembered::default());
    loop {
        match host.state(&name) {
            State::Open(_) => break,
            State::Failed { error, .. } => panic!("{error}"),
            State::Absent | State::Opening | State::Closing | State::Suspended { .. } => drop(changes.recv().await),
        }
    }
}

fn empty_host() -> Arc<Host> {
    let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
    let sql_pool = engine::SqlPool::new(2.try_into().unwrap());
    let spool = Spool::new(std::env::temp_dir(), SPOOL);
    Host::new(HostOptions {
        parallel_restores: 2,
        verify_memory: 2 << 20,
        ..HostOptions::new("pod".to_owned(), Arc::new(Stores::new(policy)), sql_pool, spool)
    })
}

fn dev(token: Option<&str>) -> Guard {
    Guard::Dev {
        hosts: vec!["localhost:8080".to_owned()],
        origins: vec!["http://localhost:5173".to_owned()],
        token: token.map(TokenDigest::of),
    }
}

/// Method and template of each route, as the router's source declares it.
fn routes() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for line in include_str!("lib.rs").lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (template, handlers) = line.split_once("\", ").unwrap();
        for method in ["get", "head", "put", "post", "patch", "delete"] {
            if handlers.contains(&format!("{method}(")) || handlers.starts_with("any(") && method != "head" {
                found.insert((method.to_ascii_uppercase(), template.to_owned()));
            }
        }
    }
    found
}

/// Of every database.
const ROUTES: [(&str, &str); 28] = [
    ("POST", "sql"),
    ("GET", "sql?q=select+1"),
    ("GET", "snapshot"),
    ("POST", "flush"),
    ("GET", ""),
    ("GET", "kv"),
    ("POST", "kv"),
    ("PUT", "kv/a"),
    ("GET", "kv/a"),
    ("DELETE", "kv/a"),
    ("GET", "docs"),
    ("POST", "docs/c"),
    ("GET", "docs/c"),
    ("POST", "docs/c/find"),
    ("POST", "docs/c/count"),
    ("GET", "docs/c/indexes"),
    ("POST", "docs/c/indexes"),
    ("DELETE", "docs/c/indexes?path=a"),
    ("PATCH", "docs/c/a"),
    ("PUT", "docs/c/a"),
    ("DELETE", "docs/c"),
    ("GET", "branches"),
    ("GET", "changes"),
    ("POST", "branches"),
    ("DELETE", "branches/b"),
    ("GET", "branches/b/differences"),
    ("POST", "branches/b/overwrite"),
    ("POST", "branches/b/switch"),
];

fn problem(status: u16, word: &str) -> (u16, String) {
    (status, word.to_owned())
}

mod without_a_database {
    use super::*;

    #[tokio::test]
    async fn an_unknown_route_is_a_problem_with_a_hint() {
        let server = Server::empty(Guard::Operator);
        for path in ["/nothing", "/apps/orders/nothing", "/apps/orders", "/apps/orders/sql/"] {
            assert_eq!(server.get(path).await.problem(), problem(404, "no-such-route"), "{path}");
        }
    }

    #[tokio::test]
    async fn a_method_that_a_route_does_not_know_is_told_which_it_knows() {
        let server = Server::empty(Guard::Operator);
        let reply = server.ask("PUT", "/apps/orders/sql", &[], "").await;
        assert_eq!(reply.problem(), problem(405, "method-not-allowed"));
        assert_eq!(reply.headers[header::ALLOW], "GET,HEAD,POST,QUERY");
        let reply = server.get("/apps/orders/flush").await;
        assert_eq!(reply.problem(), problem(405, "method-not-allowed"));
        assert_eq!(reply.headers[header::ALLOW], "POST");
    }

    #[tokio::test]
    async fn each_reply_bears_the_callers_id_or_a_fresh_one() {
        let server = Server::empty(Guard::Operator);
        assert_eq!(server.ask("GET", "/livez", &[("x-request-id", "abc-1")], "").await.headers["x-request-id"], "abc-1");
        assert_eq!(server.get("/livez").await.headers["x-request-id"].len(), 16);
        assert_eq!(server.ask("GET", "/no", &[("x-request-id", "abc-1")], "").await.json()["request_id"], "abc-1");
    }

    #[tokio::test]
    async fn readiness_follows_what_it_is_told_and_liveness_does_not() {
        let server = Server::empty(Guard::Operator);
        assert_eq!(server.get("/readyz").await.status, StatusCode::OK);
        server.ready.send(false).unwrap();
        assert_eq!(server.get("/readyz").await.problem(), problem(503, "not-ready"));
        assert_eq!(server.get("/livez").await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn in_a_cluster_a_name_that_does_not_exist_needs_a_token_like_any_other() {
        let server = Server::empty(Guard::Operator);
        for (method, route) in ROUTES {
            let path = format!("/apps/orders/{route}");
            for headers in [&[][..], &[("authorization", "Bearer guess")]] {
                assert_eq!(server.ask(method, &path, headers, "select 1").await.problem(), problem(401, "unauthorized"), "{method} {path}");
            }
        }
    }

    #[tokio::test]
    async fn dev_says_which_database_does_not_exist() {
        let reply = Server::empty(dev(None)).ask("POST", "/apps/orders/sql", &[("host", "localhost:8080")], "select 1").await;
        assert_eq!(reply.problem(), problem(404, "no-such-database"));
        assert!(reply.json()["detail"].as_str().unwrap().contains("apps/orders"));
    }

    #[tokio::test]
    async fn dev_refuses_foreign_hosts_and_pages_on_every_route() {
        let server = Server::empty(dev(None));
        for path in ["/", "/livez", "/metrics", "/nothing", "/apps/orders/sql"] {
            assert_eq!(server.ask("GET", path, &[("host", "evil.example")], "").await.problem(), problem(421, "foreign-host"), "{path}");
            let page = [("host", "localhost:8080"), ("origin", "https://evil.example")];
            let reply = server.ask("GET", path, &page, "").await;
            assert_eq!(reply.problem(), problem(403, "foreign-origin"), "{path}");
            assert!(!reply.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        }
    }

    #[tokio::test]
    async fn an_allowed_page_gets_its_preflight_answered_and_may_read_failures() {
        let server = Server::empty(dev(None));
        let page = [("host", "localhost:8080"), ("origin", "http://localhost:5173"), ("access-control-request-method", "POST")];
        let reply = server.ask("OPTIONS", "/apps/orders/sql", &page, "").await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:5173");
        assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, PUT, PATCH, DELETE, QUERY");
        let reply = server.ask("POST", "/apps/orders/sql", &page, "select 1").await;
        assert_eq!(reply.problem(), problem(404, "no-such-database"));
        assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:5173");
        assert_eq!(reply.headers[header::VARY], "Origin");
    }

    #[tokio::test]
    async fn the_index_lists_databases_in_dev_alone() {
        let headers = [("host", "localhost:8080")];
        assert_eq!(Server::empty(dev(None)).ask("GET", "/", &headers, "").await.json()["databases"], json!([]));
        assert!(Server::empty(Guard::Operator).get("/").await.json().get("databases").is_none());
    }

    #[tokio::test]
    async fn where_dev_has_a_token_metrics_need_it() {
        let server = Server::empty(dev(Some("mine")));
        assert_eq!(server.get("/metrics").await.problem(), problem(401, "unauthorized"));
        assert_eq!(server.ask("GET", "/metrics", &[("authorization", "Bearer mine")], "").await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn requests_are_counted_by_template_and_never_by_path() {
        let server = Server::empty(Guard::Operator);
        server.run("select 1").await;
        server.get("/private/words/of/mine").await;
        let text = String::from_utf8(server.get("/metrics").await.body).unwrap();
        let counted = "buckethead_http_requests_total{route=\"/{namespace}/{name}/sql\",method=\"POST\",status=\"4xx\"} 1";
        assert!(text.contains(counted), "{text}");
        assert!(text.contains("buckethead_http_requests_total{route=\"none\",method=\"GET\",status=\"4xx\"} 1"), "{text}");
        assert!(text.contains("buckethead_build_info{version="), "{text}");
        assert!(text.contains("# TYPE buckethead_http_request_duration_seconds histogram"), "{text}");
        assert!(!text.contains("private") && !text.contains("orders"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}

mod with_a_database {
    use super::*;

    #[tokio::test]
    async fn rows_written_by_text_are_read_by_json_and_by_query() {
        let server = Server::open().await;
        server
            .run("create table t(a integer primary key, b); insert into t values (1, 'x'), (2, 2.0), (3, x'00ff'), (4, null)")
            .await
            .rows();
        let all = json!([[1, "x"], [2, 2.0], [3, {"base64": "AP8="}], [4, null]]);
        assert_eq!(server.run("select * from t order by a").await.rows(), all);
        let one = json!({"sql": "select b from t where a = :id", "params": {"id": 2}});
        assert!(String::from_utf8(server.run_json(&one).await.body).unwrap().contains("\"rows\":[[2.0]]"));
        let reply = server.get("/apps/orders/sql?q=select+b+from+t+where+a=?&params=%5B1%5D").await;
        assert_eq!(reply.rows(), json!([["x"]]));
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "private, no-cache");
    }

    #[tokio::test]
    async fn a_constraint_fails_by_its_name_and_takes_the_whole_request_back() {
        let server = Server::open().await;
        server.run("create table t(a unique)").await.rows();
        let body =
            json!({"statements": [{"sql": "insert into t values (?)", "params": [1]}, {"sql": "insert into t values (?)", "params": [1]}]});
        let reply = server.run_json(&body).await;
        assert_eq!(reply.problem(), problem(409, "sql-constraint"));
        let document = reply.json();
        assert_eq!(document["extended_code"], "SQLITE_CONSTRAINT_UNIQUE");
        assert_eq!(document["extended_errno"], 2067);
        assert_eq!(document["statement_index"], 1);
        assert_eq!(document["retryable"], false);
        assert_eq!(server.run("select count(*) from t").await.rows(), json!([[0]]));
    }

    #[tokio::test]
    async fn bad_sql_is_told_by_its_offset() {
        let reply = Server::open().await.run("select nope").await;
        assert_eq!(reply.problem(), problem(400, "sql-statement"));
        assert_eq!(reply.json()["offset"], 7);
    }

    #[tokio::test]
    async fn the_reading_route_does_not_write() {
        let server = Server::open().await;
        server.run("create table t(a)").await.rows();
        let reply = server.get("/apps/orders/sql?q=insert+into+t+values(1)").await;
        assert_eq!(reply.problem(), problem(403, "sql-forbidden"));
        assert_eq!(server.run("select count(*) from t").await.rows(), json!([[0]]));
    }

    #[tokio::test]
    async fn what_a_route_does_not_know_is_refused() {
        let server = Server::open().await;
        assert_eq!(server.ask("POST", "/apps/orders/sql?ints=text", &[], "select 1").await.problem(), problem(400, "bad-request"));
        assert_eq!(
            server.ask("POST", "/apps/orders/sql", &[("accept", "text/html")], "select 1").await.problem(),
            problem(406, "not-acceptable")
        );
        let xml = [("content-type", "application/xml")];
        assert_eq!(server.ask("POST", "/apps/orders/sql", &xml, "<a/>").await.problem(), problem(415, "unsupported-media-type"));
        let huge = vec![b' '; (16 << 20) + 1];
        assert_eq!(server.ask("POST", "/apps/orders/sql", &[], huge).await.problem(), problem(413, "body-too-large"));
    }

    #[tokio::test]
    async fn a_snapshot_is_a_database_file_of_the_announced_length() {
        let server = Server::open().await;
        server.run("create table t(a); insert into t values (1)").await.rows();
        let reply = server.get("/apps/orders/snapshot").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/vnd.sqlite3");
        assert_eq!(reply.headers[header::CONTENT_DISPOSITION], "attachment; filename=\"orders.db\"");
        assert_eq!(reply.headers[header::CONTENT_LENGTH], reply.body.len().to_string().as_str());
        assert!(reply.body.starts_with(b"SQLite format 3\0"));
    }

    #[tokio::test]
    async fn a_flush_uploads_what_changed_and_only_then() {
        let server = Server::open().await;
        server.run("create table t(a)").await.rows();
        let first = server.ask("POST", "/apps/orders/flush", &[], "").await.json();
        assert_eq!(first["uploaded"], true);
        assert!(!first["snapshot"]["etag"].as_str().unwrap().is_empty());
        let again = server.ask("POST", "/apps/orders/flush", &[], "").await.json();
        assert_eq!(again["uploaded"], false);
        assert_eq!(again["snapshot"]["etag"], first["snapshot"]["etag"]);
        assert_eq!(server.get("/apps/orders/").await.json()["pending"], false);
    }

    #[tokio::test]
    async fn a_proof_tells_what_was_restored_or_why_nothing_was() {
        let server = Server::open().await;
        server.run("create table t(a)").await.rows();
        server.ask("POST", "/apps/orders/flush", &[], "").await.json();
        let proof = server.ask("POST", "/apps/orders/verify", &[], "").await.json();
        let newest = server.get("/apps/orders/").await.json()["txid"].clone();
        assert_eq!((&proof["failure"], &proof["txid"]), (&Value::Null, &newest), "{proof}");
        let asked = server.ask("POST", "/apps/orders/verify?deep=1", &[], "").await.problem();
        assert_eq!(asked, (400, "bad-request".to_owned()));
        // More than what is set aside for proofs.
        server.run("create table large as select randomblob(3000000)").await.rows();
        let refused = server.ask("POST", "/apps/orders/verify", &[], "").await.problem();
        assert_eq!(refused, (503, "not-verified".to_owned()));
    }

    #[tokio::test]
    async fn every_route_of_a_database_needs_its_token() {
        let server = Server::with_database(Guard::Operator, writers(&["secret"])).await;
        for (method, route) in ROUTES {
            let path = format!("/apps/orders/{route}");
            for (token, is_admitted) in [(None, false), (Some("Bearer guess"), false), (Some("Bearer secret"), true)] {
                let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
                let reply = server.ask(method, &path, &headers, "select 1").await;
                assert_eq!(reply.status != StatusCode::UNAUTHORIZED, is_admitted, "{method} {path} {token:?}");
            }
        }
    }

    #[tokio::test]
    async fn metrics_tell_of_each_database() {
        let server = Server::open().await;
        let text = String::from_utf8(server.get("/metrics").await.body).unwrap();
        assert!(text.contains("buckethead_database_up{namespace=\"apps\",name=\"orders\"} 1.0"), "{text}");
        assert!(text.contains("buckethead_database_streams{namespace=\"apps\",name=\"orders\"} 0.0"), "{text}");
    }
}
