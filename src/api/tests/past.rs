//! Every way to read a past state.

use super::hrana::sockets::Listening;
use super::*;

/// A database that has had several states, and one of them.
struct Then {
    server: Server,
    txid: u64,
    /// When it was the newest.
    at: String,
}

impl Then {
    async fn begin() -> Self {
        let server = Server::open().await;
        for (method, path, body) in [
            ("POST", "sql", "create table t(a); insert into t values ('then')"),
            ("PUT", "kv/k", "\"then\""),
            ("POST", "docs/c", r#"{"_id":"d","when":"then"}"#),
            ("POST", "files", "then"),
            ("POST", "flush", ""),
        ] {
            server.does(method, path, body).await;
        }
        let state = server.get("/apps/orders/").await.json();
        let (txid, at) = (state["txid"].as_u64().unwrap(), state["durable_time"].as_str().unwrap().to_owned());
        for (method, path, body) in [
            ("POST", "sql", "update t set a = 'now'"),
            ("PUT", "kv/k", "\"now\""),
            ("PUT", "docs/c/d", r#"{"when":"now"}"#),
            ("POST", "files", "now"),
            ("POST", "flush", ""),
        ] {
            server.does(method, path, body).await;
        }
        Self { server, txid, at }
    }

    fn headers(&self) -> [(&'static str, String); 1] {
        [("x-buckethead-at", self.txid.to_string())]
    }

    /// As the past has it, asked for by the header.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let [(name, value)] = &self.headers();
        let json = body.starts_with('{').then_some(("content-type", "application/json"));
        let headers: Vec<_> = [(*name, value.as_str())].into_iter().chain(json).collect();
        self.server.ask(method, &format!("/apps/orders/{path}"), &headers, body.to_owned()).await
    }

    async fn pipeline(&self, baton: Option<&str>, headers: &[(&str, &str)], sql: &str) -> Reply {
        let body = json!({"baton": baton, "requests": [{"type": "execute", "stmt": {"sql": sql}}]}).to_string();
        self.server.ask("POST", "/apps/orders/v3/pipeline", headers, body).await
    }
}

impl Server {
    async fn past_states(&self) -> String {
        let text = String::from_utf8(self.get("/metrics").await.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("buckethead_past_states "));
        line.unwrap().to_owned()
    }

    async fn does(&self, method: &str, path: &str, body: &'static str) {
        let headers: &[(&str, &str)] = if body.starts_with('{') { &[("content-type", "application/json")] } else { &[] };
        let reply = self.ask(method, &format!("/apps/orders/{path}"), headers, body).await;
        assert!(reply.status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&reply.body));
    }
}

const STMT: &str = r#"{"stmt":{"sql":"select a from t"}}"#;
const BATCH: &str = r#"{"batch":{"steps":[{"stmt":{"sql":"select a from t"}}]}}"#;

#[tokio::test]
async fn every_route_that_reads_reads_the_state_that_is_asked_for() {
    let then = Then::begin().await;
    let listed = then.server.get("/apps/orders/files").await.json().to_string();
    for (method, path, body) in [
        ("GET", "sql?q=select+a+from+t", ""),
        ("QUERY", "sql", "select a from t"),
        ("POST", "sql", "select a from t"),
        // What may write, and does not.
        ("POST", "sql", "with r as (select a from t) select * from r"),
        ("POST", "", r#"{"statements":["select a from t"]}"#),
        ("POST", "v1/execute", STMT),
        ("POST", "v1/batch", BATCH),
        ("POST", "v2/pipeline", r#"{"requests":[{"type":"execute","stmt":{"sql":"select a from t"}},{"type":"close"}]}"#),
        ("POST", "v3/pipeline", r#"{"requests":[{"type":"execute","stmt":{"sql":"select a from t"}}]}"#),
        ("POST", "v3/cursor", BATCH),
        ("GET", "kv/k", ""),
        ("GET", "docs/c/d", ""),
        ("POST", "docs/c/find", "{}"),
    ] {
        let text = |reply: Reply| String::from_utf8(reply.body).unwrap();
        let past = text(then.ask(method, path, body).await);
        assert!(past.contains("then") && !past.contains("now"), "{method} {path}: {past}");
        let separator = if path.contains('?') { '&' } else { '?' };
        let json: &[(&str, &str)] = if body.starts_with('{') { &[("content-type", "application/json")] } else { &[] };
        for point in [format!("txid={}", then.txid), format!("at={}", then.at)] {
            let same = text(then.server.ask(method, &format!("/apps/orders/{path}{separator}{point}"), json, body).await);
            assert!(same.contains("then") && !same.contains("now"), "{method} {path} {point}: {same}");
        }
        let present = text(then.server.ask(method, &format!("/apps/orders/{path}"), json, body).await);
        assert!(present.contains("now"), "{method} {path}: {present}");
    }
    let files = then.ask("GET", "files", "").await.json().to_string();
    assert_eq!((files.matches("bh_key").count(), listed.matches("bh_key").count()), (1, 2), "{files}");
    let file = then.ask("GET", "snapshot", "").await;
    let has = |word: &[u8]| file.body.windows(word.len()).any(|bytes| bytes == word);
    assert!(file.body.starts_with(b"SQLite format 3\0") && has(b"then") && !has(b"\x0fnow"));
    assert_eq!(then.server.past_states().await, "1.0", "all of that was one state in memory");
    let told = then.ask("GET", "", "").await.json();
    assert_eq!(told["txid"], then.txid);
    let time = told["durable_time"].as_str().unwrap().trim_end_matches('Z');
    assert!(then.at.starts_with(time), "{time} {}", then.at);
}

#[tokio::test]
async fn a_reply_names_the_state_by_its_number_and_a_key_is_not_needed_to_read() {
    let then = Then::begin().await;
    let reply = then.ask("GET", "sql?q=select+a+from+t", "").await;
    assert_eq!(reply.headers["x-durable-txid"], then.txid.to_string());
    assert!(!reply.headers.contains_key("etag"));
    let [(name, value)] = &then.headers();
    let once = [(*name, value.as_str()), ("idempotency-key", "k")];
    let reply = then.server.ask("POST", "/apps/orders/sql", &once, "select a from t").await;
    assert_eq!(reply.rows(), json!([["then"]]));
    let csv = [(*name, value.as_str()), ("accept", "text/csv")];
    let reply = then.server.ask("POST", "/apps/orders/sql?durability=sync", &csv, "select a from t").await;
    assert_eq!(reply.body, b"a\r\nthen\r\n");
}

#[tokio::test]
async fn the_past_cannot_be_changed_and_what_is_not_about_it_says_so() {
    let then = Then::begin().await;
    assert_eq!(then.ask("POST", "sql", "delete from t").await.problem(), problem(403, "database-read-only"));
    for (method, path, body) in [
        ("PUT", "kv/k", "1"),
        ("POST", "kv", r#"{"operations":[]}"#),
        ("DELETE", "docs/c", ""),
        ("POST", "files", "more"),
        ("POST", "flush", ""),
        ("POST", "verify", ""),
        ("GET", "branches", ""),
        ("GET", "changes", ""),
    ] {
        let reply = then.ask(method, path, body).await;
        assert_eq!(reply.problem(), problem(400, "bad-request"), "{method} {path}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("X-Buckethead-At"), "{method} {path}");
    }
    assert_eq!(then.server.get("/apps/orders/changes?txid=1").await.problem(), problem(400, "bad-request"));
    let never = [("x-buckethead-at", "1000000")];
    let reply = then.server.ask("GET", "/apps/orders/kv/k", &never, "").await;
    assert_eq!(reply.problem(), problem(409, "branch-refused"));
    let reply = then.pipeline(None, &never, "select 1").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (409, &json!("BRANCH_REFUSED")));
    assert_eq!(then.server.run("select a from t").await.rows(), json!([["now"]]));
}

#[tokio::test]
async fn a_stream_stays_in_the_state_in_which_it_began() {
    let then = Then::begin().await;
    let [(name, value)] = &then.headers();
    let header = [(*name, value.as_str())];
    let first = then.pipeline(None, &header, "begin").await.json();
    let baton = first["baton"].as_str();
    let reply = then.pipeline(baton, &[], "select a from t").await.json();
    assert!(reply.to_string().contains("then"), "{reply}");
    let reply = then.pipeline(reply["baton"].as_str(), &header, "insert into t values (1)").await.json();
    assert_eq!(reply["results"][0]["type"], "error", "{reply}");
    let other = then.pipeline(reply["baton"].as_str(), &[("x-buckethead-at", "1")], "select 1").await;
    assert_eq!((other.status.as_u16(), &other.json()["code"]), (400, &json!("BAD_REQUEST")));
    // That one cannot go into the past.
    let present = then.pipeline(None, &[], "begin").await.json();
    let other = then.pipeline(present["baton"].as_str(), &header, "select 1").await;
    assert_eq!(other.status.as_u16(), 400);
}

#[tokio::test]
async fn a_socket_reads_the_state_that_its_address_names() {
    let Then { server, txid, .. } = Then::begin().await;
    let server = Listening::over(server).await;
    for (query, word) in [(format!("?txid={txid}"), "then"), (String::new(), "now")] {
        let (mut socket, _) = server.connect(&format!("/apps/orders/{query}"), Some("hrana3")).await.unwrap();
        socket.say(&json!({"type": "hello", "jwt": null})).await;
        assert_eq!(socket.hear().await["type"], "hello_ok");
        socket.tell(json!({"type": "open_stream", "stream_id": 0})).await;
        assert_eq!(socket.hear().await["type"], "response_ok");
        let rows = socket.sql("select a from t").await.unwrap();
        assert!(rows.to_string().contains(word), "{rows}");
    }
    let (mut socket, _) = server.connect("/apps/orders/?txid=1000000", Some("hrana3")).await.unwrap();
    socket.say(&json!({"type": "hello", "jwt": null})).await;
    let refused = socket.hear().await;
    assert_eq!((&refused["type"], &refused["error"]["code"]), (&json!("hello_error"), &json!("BRANCH_REFUSED")));
}
