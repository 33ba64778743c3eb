//! What a client asks for in headers.

use super::*;

const SQL: &str = "/apps/orders/sql";

async fn post(server: &Server, headers: &[(&str, &str)], sql: &str) -> Reply {
    server.ask("POST", SQL, headers, sql.to_owned()).await
}

fn text<'a>(reply: &'a Reply, header: &str) -> &'a str {
    reply.headers.get(header).unwrap_or_else(|| panic!("no {header} in {:?}", reply.headers)).to_str().unwrap()
}

async fn with_table() -> Server {
    let server = Server::open().await;
    assert_eq!(server.run("create table t(a); insert into t values (1)").await.status, StatusCode::OK);
    server
}

async fn count(server: &Server) -> Value {
    server.run("select count(*) from t").await.rows()[0][0].clone()
}

#[tokio::test]
async fn a_write_on_a_state_is_done_on_that_state_alone() {
    let server = with_table().await;
    let read = server.run("select count(*) from t").await;
    let state = format!("\"{}\"", text(&read, "x-txid"));
    let wrote = post(&server, &[("if-match", &state)], "insert into t values (2)").await;
    assert_eq!(wrote.status, StatusCode::OK);
    let refused = post(&server, &[("if-match", &state)], "insert into t values (3)").await;
    assert_eq!(refused.problem(), (412, "precondition-failed".to_owned()));
    assert!(refused.json()["detail"].as_str().unwrap().contains(text(&wrote, "x-txid")), "it tells the state that there is");
    assert_eq!(count(&server).await, 2);
    let weak = format!("W/{state}");
    for tag in [weak.as_str(), "\"other\""] {
        assert_eq!(post(&server, &[("if-match", tag)], "insert into t values (3)").await.problem().0, 412, "{tag}");
    }
    let now = format!("\"7.7.7\", \"{}\"", text(&wrote, "x-txid"));
    assert_eq!(post(&server, &[("if-match", &now)], "select 1").await.status, StatusCode::OK, "a read by POST, too");
    assert_eq!(server.ask("GET", "/apps/orders/sql?q=select+1", &[("if-match", &now)], "").await.status, StatusCode::OK);
    assert_eq!(server.ask("GET", "/apps/orders/sql?q=select+1", &[("if-match", &state)], "").await.problem().0, 412);
    assert_eq!(post(&server, &[("if-match", "*")], "insert into t values (3)").await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_two_that_write_on_the_same_state_one_does() {
    let server = with_table().await;
    let state = format!("\"{}\"", text(&server.run("select count(*) from t").await, "x-txid"));
    let given = [("if-match", state.as_str())];
    let all = (0..8).map(|_| post(&server, &given, "insert into t values (2)"));
    let done: Vec<_> = futures::future::join_all(all).await.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(done.iter().filter(|status| **status == 200).count(), 1, "{done:?}");
    assert_eq!(done.iter().filter(|status| **status == 412).count(), 7, "{done:?}");
}

#[tokio::test]
async fn a_result_that_the_client_has_is_not_sent_again() {
    let server = with_table().await;
    let get = async |headers: &[(&str, &str)]| server.ask("GET", "/apps/orders/sql?q=select+*+from+t", headers, "").await;
    let first = get(&[]).await;
    let etag = text(&first, "etag").to_owned();
    assert_eq!(etag, format!("W/\"{}\"", text(&first, "x-txid")));
    assert_eq!(text(&first, "cache-control"), "private, no-cache");
    let known = get(&[("if-none-match", &etag)]).await;
    assert_eq!((known.status, known.body.len(), text(&known, "etag")), (StatusCode::NOT_MODIFIED, 0, etag.as_str()));
    let other = get(&[("if-none-match", &etag), ("accept", "text/csv")]).await;
    assert_eq!((other.status, text(&other, "etag").to_owned()), (StatusCode::OK, etag.replace('"', "").replace("W/", "W/\"") + "-csv\""));
    server.run("insert into t values (2)").await;
    let anew = get(&[("if-none-match", &etag)]).await;
    assert_eq!((anew.status, anew.rows()), (StatusCode::OK, json!([[1], [2]])));
    assert!(server.run("select 1").await.headers.get("etag").is_none(), "a POST is no cacheable read");
}

#[tokio::test]
async fn a_request_with_a_key_runs_once() {
    let server = with_table().await;
    let key = [("idempotency-key", "\"k-1\"")];
    let first = post(&server, &key, "insert into t values (2) returning a").await;
    assert_eq!(first.rows(), json!([[2]]));
    assert!(first.headers.get("idempotent-replayed").is_none());
    let again = post(&server, &[("idempotency-key", "k-1")], "insert into t values (2) returning a").await;
    assert_eq!((&again.body, text(&again, "idempotent-replayed")), (&first.body, "true"));
    assert_eq!(count(&server).await, 2);
    assert_eq!(post(&server, &key, "insert into t values (3)").await.problem(), (422, "idempotency-key-reused".to_owned()));
    let shaped = server.ask("POST", "/apps/orders/sql?shape=objects", &key, "insert into t values (2) returning a").await;
    assert_eq!(shaped.problem().0, 422, "another answer is asked for");
    post(&server, &[("idempotency-key", "k-2")], "insert into t values (2) returning a").await;
    assert_eq!(count(&server).await, 3);
    let kept = server.run("select key from bh_idempotency order by key").await;
    assert_eq!(kept.rows(), json!([["k-1"], ["k-2"]]));
}

#[tokio::test]
async fn what_failed_is_not_kept_and_what_is_kept_was_committed() {
    let server = with_table().await;
    let key = [("idempotency-key", "k")];
    assert_eq!(post(&server, &key, "insert into t values (2); select nowhere").await.problem().0, 400);
    assert_eq!(count(&server).await, 1);
    assert_eq!(post(&server, &key, "insert into t values (2); insert into t values (3)").await.status, StatusCode::OK, "the key is free");
    let large = "insert into t select 4; select zeroblob(900000)";
    assert_eq!(post(&server, &[("idempotency-key", "large")], large).await.problem(), (413, "sql-result-too-large".to_owned()));
    assert_eq!(count(&server).await, 3, "rolled back with the answer that could not be kept");
    let minimal = [("idempotency-key", "large"), ("prefer", "return=minimal")];
    assert_eq!(post(&server, &minimal, large).await.status, StatusCode::NO_CONTENT);
    let again = post(&server, &minimal, large).await;
    assert_eq!((again.status, text(&again, "idempotent-replayed")), (StatusCode::NO_CONTENT, "true"));
    assert_eq!(count(&server).await, 4);
    let each = json!({"sql": "insert into t values (5)", "transaction": "none"}).to_string();
    let reply = server.ask("POST", SQL, &[("content-type", "application/json"), ("idempotency-key", "n")], each).await;
    assert_eq!(reply.problem().0, 400);
    let lost = server.run("drop table bh_idempotency; create table bh_idempotency(x)").await;
    assert_eq!(lost.status, StatusCode::OK);
    let altered = post(&server, &key, "insert into t values (6)").await;
    assert_eq!(altered.problem(), (409, "sql-constraint".to_owned()));
    assert!(altered.json()["detail"].as_str().unwrap().contains("bh_idempotency"));
}

#[tokio::test]
async fn a_key_that_is_under_way_is_told_and_its_request_runs_once() {
    let server = with_table().await;
    let key = [("idempotency-key", "k")];
    let slow =
        "insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) select i from n where i = 300000";
    let (first, second) = tokio::join!(post(&server, &key, slow), post(&server, &key, slow));
    let mut both = [first.status.as_u16(), second.status.as_u16()];
    both.sort_unstable();
    assert_eq!(both, [200, 409]);
    let refused = if first.status == StatusCode::OK { second } else { first };
    assert_eq!(refused.problem(), (409, "idempotency-key-in-use".to_owned()));
    assert_eq!(text(&refused, "retry-after"), "1");
    assert_eq!(text(&post(&server, &key, slow).await, "idempotent-replayed"), "true");
    assert_eq!(count(&server).await, 2);
}

#[tokio::test]
async fn preferences_are_followed_and_told() {
    let server = with_table().await;
    let minimal = post(&server, &[("prefer", "return=minimal, wait=3")], "insert into t values (2) returning a").await;
    assert_eq!((minimal.status, minimal.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(text(&minimal, "preference-applied"), "wait=3, return=minimal");
    assert!(minimal.headers.contains_key("x-txid"));
    assert_eq!(count(&server).await, 2);
    // A stream has the writer's place.
    let database = server.host.get(&DatabaseName::new("apps", "orders")).unwrap().database;
    let mut stream = database.stream(false);
    let limits = stream.limits();
    stream.run(Holds(Some("begin immediate")), &limits).await.unwrap();
    for accept in ["application/json", "application/x-ndjson"] {
        let busy = post(&server, &[("prefer", "wait=0"), ("accept", accept)], "insert into t values (3)").await;
        assert_eq!(busy.problem(), (503, "sql-busy".to_owned()), "{accept}");
    }
}

/// One statement, and no interest in its results.
struct Holds(Option<&'static str>);

impl engine::Rows for Holds {
    fn columns(&mut self, _: Vec<engine::Column>) -> Result<(), engine::SqlError> {
        Ok(())
    }
    fn row(&mut self, _: &engine::Row<'_>) -> Result<engine::Flow, engine::SqlError> {
        Ok(engine::Flow::More)
    }
}

impl engine::Script for Holds {
    fn next(&mut self, _: bool) -> Option<engine::Statement> {
        self.0.take().map(|sql| engine::Statement { sql: sql.to_owned(), ..engine::Statement::default() })
    }
    fn ended(&mut self, outcome: Result<engine::Effects, engine::SqlError>) {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_reply_tells_where_its_time_went() {
    let server = with_table().await;
    for reply in [server.run("select 1").await, server.get("/apps/orders/kv").await] {
        let timing = text(&reply, "server-timing");
        let names: Vec<_> = timing.split(", ").map(|part| part.split(';').next().unwrap()).collect();
        assert_eq!(names, ["queue", "sql", "total"], "{timing}");
    }
    assert!(server.get("/livez").await.headers.get("server-timing").is_none());
}

#[tokio::test]
async fn what_cannot_hold_for_rows_on_their_way_is_refused_by_name() {
    let server = with_table().await;
    for (name, value) in [("if-match", "\"1.1.1\""), ("idempotency-key", "k"), ("prefer", "return=minimal")] {
        let reply = post(&server, &[("accept", "application/x-ndjson"), (name, value)], "insert into t values (9)").await;
        assert_eq!(reply.problem().0, 400, "{name}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(name), "{name}");
    }
    assert_eq!(count(&server).await, 1);
}

#[tokio::test]
async fn query_reads_by_its_body() {
    let server = with_table().await;
    let asked = server
        .ask("QUERY", SQL, &[("content-type", "application/json")], json!({"sql": "select a + ? from t", "params": [41]}).to_string())
        .await;
    assert_eq!(asked.rows(), json!([[42]]));
    let etag = text(&asked, "etag").to_owned();
    assert_eq!(server.ask("QUERY", SQL, &[("if-none-match", &etag)], "select a from t").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(server.ask("QUERY", SQL, &[], "insert into t values (2)").await.problem().1, "sql-forbidden");
    let csv = server.ask("QUERY", SQL, &[("accept", "text/csv")], "select a from t").await;
    assert_eq!(csv.body, b"a\r\n1\r\n");
    assert_eq!(
        server.ask("QUERY", "/apps/orders/sql?q=select+1", &[], "select 1").await.problem().0,
        400,
        "the statements are in the body"
    );
    let refused = server.ask("DELETE", SQL, &[], "").await;
    assert_eq!((refused.problem().0, text(&refused, "allow")), (405, "GET,HEAD,POST,QUERY"));
}

#[tokio::test]
async fn a_database_shows_what_it_was_asked() {
    let server = with_table().await;
    server.run("select a from t union all select 2").await;
    server.run("select nowhere").await;
    server.get("/apps/nobody/sql?q=select+1").await;
    let shown = String::from_utf8(server.get("/metrics").await.body).unwrap();
    let value = |series: &str| {
        let line = shown.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series} in\n{shown}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let of = "namespace=\"apps\",name=\"orders\"";
    assert!((value(&format!("buckethead_database_requests_total{{{of},status=\"2xx\"}}")) - 2.0).abs() < 1e-9);
    assert!((value(&format!("buckethead_database_requests_total{{{of},status=\"4xx\"}}")) - 1.0).abs() < 1e-9);
    assert!((value(&format!("buckethead_database_rows_returned_total{{{of}}}")) - 2.0).abs() < 1e-9);
    assert!((value(&format!("buckethead_database_rows_changed_total{{{of}}}")) - 1.0).abs() < 1e-9);
    assert!((value(&format!("buckethead_database_request_duration_seconds_count{{{of}}}")) - 3.0).abs() < 1e-9);
    assert!((value(&format!("buckethead_database_queue_duration_seconds_count{{{of}}}")) - 3.0).abs() < 1e-9);
    assert!(value(&format!("buckethead_database_response_bytes_total{{{of}}}")) > 300.0);
    assert!(value(&format!("buckethead_database_statement_seconds_total{{{of}}}")) > 0.0);
    assert!(!shown.contains("nobody"), "nobody's invention is a series");
}

#[tokio::test]
async fn documents_are_compressed_for_whoever_accepts_it_and_nothing_else_is() {
    let server = with_table().await;
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000) select i from n";
    let gzip = ("accept-encoding", "gzip");
    let plain = post(&server, &[], many).await;
    let packed = post(&server, &[gzip], many).await;
    assert_eq!(text(&packed, "content-encoding"), "gzip");
    assert!(packed.body.len() * 2 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
    assert!(packed.body.starts_with(&[0x1f, 0x8b]));
    for (headers, sql) in
        [(&[gzip, ("accept", "application/x-ndjson")][..], many), (&[gzip], "select 1"), (&[("accept-encoding", "br")], many)]
    {
        assert!(post(&server, headers, sql).await.headers.get("content-encoding").is_none(), "{headers:?}");
    }
}
