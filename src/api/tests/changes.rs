//! What commits change, as it is told to whoever listens.

use axum::body::BodyDataStream;
use axum::response::Response;
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::hrana::sockets::Listening;
use super::*;

const CHANGES: &str = "/apps/orders/changes";

/// A reply whose events are read one by one, as a browser reads them.
pub(super) struct Events {
    pub(super) pieces: BodyDataStream,
    pub(super) headers: HeaderMap,
    /// Of the last event.
    pub(super) id: String,
    comments: usize,
}

impl Events {
    pub(super) fn of(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        let (head, body) = response.into_parts();
        Self { pieces: body.into_data_stream(), headers: head.headers, id: String::new(), comments: 0 }
    }

    async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::of(server.begin(path, headers).await)
    }

    /// From now on.
    async fn begin(server: &Server, path: &str) -> Self {
        let mut events = Self::ask(server, path, &[]).await;
        assert_eq!(events.next().await, Some(("begin".to_owned(), json!({}))));
        events
    }

    /// Name and data of the next event. `None` at the end, which must be one in order.
    pub(super) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let piece = self.pieces.next().await?.unwrap();
            let text = str::from_utf8(&piece).unwrap();
            assert!(text.ends_with("\n\n") && text.matches("\n\n").count() == 1, "{text:?}");
            let (mut name, mut data) = (String::new(), None);
            for line in text.trim_end().lines() {
                match line.split_once(": ").unwrap() {
                    ("id", id) => id.clone_into(&mut self.id),
                    ("event", event) => event.clone_into(&mut name),
                    ("data", json) => data = Some(serde_json::from_str(json).unwrap()),
                    ("", "keep-alive") => self.comments += 1,
                    ("retry", "1000") => {}
                    other => panic!("{other:?}"),
                }
            }
            if let Some(data) = data {
                return Some((name, data));
            }
        }
    }

    /// What the next commit changed.
    pub(super) async fn changes(&mut self) -> Value {
        let (name, mut data) = self.next().await.unwrap();
        assert_eq!(name, "change", "{data}");
        data["changes"].take()
    }

    async fn name(&mut self) -> String {
        self.next().await.unwrap().0
    }

    fn hears_nothing(&mut self) -> bool {
        self.next().now_or_never().is_none()
    }
}

impl Server {
    /// An answer whose body nobody has read.
    pub(super) async fn begin(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.api.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn with_table() -> Self {
        let server = Self::open().await;
        server.run("create table t(a); create table u(a)").await.rows();
        server
    }
}

#[tokio::test]
async fn each_commit_is_an_event_that_names_the_state_and_the_rows() {
    let server = Server::with_table().await;
    let mut events = Events::ask(&server, CHANGES, &[("accept-encoding", "gzip")]).await;
    assert_eq!(events.headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(events.headers[header::CACHE_CONTROL], "no-store");
    assert!(!events.headers.contains_key(header::CONTENT_ENCODING));
    assert_eq!(events.name().await, "begin");
    let written = server.run("insert into t values (1), (2); update t set a = 3 where rowid = 1").await;
    let (name, data) = events.next().await.unwrap();
    let row = |kind, rowid| json!({"table": "t", "kind": kind, "rowid": rowid});
    assert_eq!((name.as_str(), &data["changes"]), ("change", &json!([row("insert", 1), row("insert", 2), row("update", 1)])));
    assert_eq!(data["state"], written.headers["x-txid"].to_str().unwrap());
    server.ask("PUT", "/apps/orders/kv/a", &[], "1").await;
    assert_eq!(events.changes().await, json!([{"table": "bh_kv", "kind": "insert", "rowid": 1}]));
    server.run("create table w(a primary key) without rowid; insert into w values ('x')").await;
    assert_eq!(
        events.changes().await,
        json!([{"table": null, "kind": "schema", "rowid": null}, {"table": "w", "kind": "insert", "rowid": null}])
    );
    let keyed = [("idempotency-key", "one")];
    server.ask("POST", "/apps/orders/sql", &keyed, "insert into t values (4)").await.rows();
    assert_eq!(events.changes().await, json!([{"table": null, "kind": "schema", "rowid": null}, row("insert", 3)]));
    assert!(events.hears_nothing());
}

#[tokio::test]
async fn whoever_connects_again_goes_on_where_they_were() {
    let server = Server::with_table().await;
    let mut events = Events::begin(&server, CHANGES).await;
    let begun = events.id.clone();
    server.run("insert into t values (1)").await.rows();
    events.changes().await;
    let first = events.id.clone();
    drop(events);
    server.run("insert into t values (2)").await.rows();

    let second = json!([{"table": "t", "kind": "insert", "rowid": 2}]);
    let mut events = Events::ask(&server, CHANGES, &[("last-event-id", &first)]).await;
    assert_eq!((events.name().await, &events.id), ("begin".to_owned(), &first));
    assert_eq!(events.changes().await, second);
    let mut events = Events::ask(&server, &format!("{CHANGES}?after={first}"), &[]).await;
    assert_eq!((events.name().await, events.changes().await), ("begin".to_owned(), second.clone()));
    // A browser asks with the address that it had at first.
    let mut events = Events::ask(&server, &format!("{CHANGES}?after={begun}"), &[("last-event-id", &first)]).await;
    assert_eq!((events.name().await, events.changes().await), ("begin".to_owned(), second));
}

#[tokio::test]
async fn a_position_that_is_not_known_is_answered_with_a_reset_behind_which_all_is_told() {
    let server = Server::with_table().await;
    for after in ["0000000000000007.3", "ffffffffffffffff.0"] {
        let mut events = Events::ask(&server, &format!("{CHANGES}?after={after}"), &[]).await;
        assert_eq!(events.next().await, Some(("reset".to_owned(), json!({}))));
        assert_ne!(events.id, after);
        server.run("insert into t values (1)").await.rows();
        assert_eq!(events.changes().await[0]["kind"], "insert");
    }
    for query in ["after=1", "after=", "since=1", "after=0000000000000007.3&after=0000000000000007.3", "durability=sync"] {
        assert_eq!(server.get(&format!("{CHANGES}?{query}")).await.problem(), problem(400, "bad-request"), "{query}");
    }
    let reply = server.ask("GET", CHANGES, &[("last-event-id", "1")], "").await;
    assert_eq!(reply.problem(), problem(400, "bad-request"));
    let reply = server.ask("POST", CHANGES, &[], "").await;
    assert_eq!(reply.problem(), problem(405, "method-not-allowed"));
    assert_eq!(server.ask("HEAD", CHANGES, &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_tables_that_a_client_does_not_ask_for_only_the_position_is_told() {
    let server = Server::with_table().await;
    let mut events = Events::begin(&server, &format!("{CHANGES}?table=T&table=nothing")).await;
    let begun = events.id.clone();
    server.run("insert into u values (1)").await.rows();
    assert!(events.hears_nothing());
    // From here on nothing waits for sockets, and the time goes by itself.
    tokio::time::pause();
    assert!(tokio::time::timeout(Duration::from_secs(31), events.next()).await.is_err());
    tokio::time::resume();
    assert_eq!(events.comments, 2);
    assert_ne!(events.id, begun, "whoever connects again need not be told to read anew because of others");
    server.run("insert into t values (1); insert into u values (2)").await.rows();
    assert_eq!(events.changes().await, json!([{"table": "t", "kind": "insert", "rowid": 1}]));
    server.run("create index i on u(a)").await.rows();
    assert_eq!(events.changes().await, json!([{"table": null, "kind": "schema", "rowid": null}]), "that may concern any table");
}

#[tokio::test]
async fn a_client_that_takes_its_events_too_slowly_is_told_to_read_anew() {
    let server = Server::with_table().await;
    let mut events = Events::begin(&server, CHANGES).await;
    // More than the ring holds.
    for _ in 0..140 {
        let many = "with recursive n(i) as (select 1 union all select i + 1 from n limit 9000) insert into t select i from n";
        server.run(many).await.rows();
    }
    assert_eq!(events.name().await, "reset");
    assert!(events.hears_nothing());
    server.run("insert into u values (1)").await.rows();
    assert_eq!(events.changes().await, json!([{"table": "u", "kind": "insert", "rowid": 1}]));
}

#[tokio::test]
async fn a_switch_is_told_and_the_end_of_the_database_ends_the_events() {
    let server = Server::with_database(dev(None), Access::Open).await;
    let local = [("host", "localhost:8080")];
    let ask = async |method, path: &str, body: &'static str| {
        let json = ("content-type", if body.starts_with('{') { "application/json" } else { "text/plain" });
        let reply = server.ask(method, &format!("/apps/orders/{path}"), &[local[0], json], body).await;
        assert!(reply.status.is_success(), "{path}");
    };
    ask("POST", "sql", "create table t(a)").await;
    ask("POST", "branches", r#"{"name":"next"}"#).await;
    let mut events = Events::ask(&server, CHANGES, &local).await;
    assert_eq!(events.name().await, "begin");
    ask("POST", "branches/next/switch", "").await;
    assert_eq!(events.name().await, "reset");
    ask("POST", "sql", "insert into t values (1)").await;
    assert_eq!(events.changes().await[0]["rowid"], 1);
    server.host.close(&DatabaseName::new("apps", "orders")).await.unwrap();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn so_many_may_listen_to_a_database() {
    let server = Server::with_table().await;
    let mut listening = Vec::new();
    for _ in 0..100 {
        listening.push(Events::ask(&server, CHANGES, &[]).await);
    }
    let reply = server.get(CHANGES).await;
    assert_eq!(reply.problem(), problem(429, "too-many-listeners"));
    assert_eq!(reply.headers[header::RETRY_AFTER], "10");
    listening.pop();
    Events::begin(&server, CHANGES).await;
}

#[tokio::test]
async fn a_server_that_stops_ends_the_events_and_waits_for_nobody() {
    let listening = Listening::over(Server::with_table().await).await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(format!("GET {CHANGES} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"data: {}\n\n\r\n") {
        heard.push(stream.read_u8().await.unwrap());
    }
    listening.stop.cancel();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard.ends_with(b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&heard));
    listening.serving.await.unwrap();
}
