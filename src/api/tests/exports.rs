//! Results as lines and as tables.

use super::*;

mod arrow;

const NDJSON: [(&str, &str); 1] = [("accept", "application/x-ndjson")];
const CSV: [(&str, &str); 1] = [("accept", "text/csv")];

async fn post(server: &Server, headers: &[(&str, &str)], sql: &str) -> Reply {
    server.ask("POST", "/apps/orders/sql", headers, sql.to_owned()).await
}

fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/x-ndjson");
    std::str::from_utf8(&reply.body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn lines_are_columns_rows_and_an_end_for_each_statement() {
    let server = Server::open().await;
    let reply =
        post(&server, &NDJSON, "create table t(a integer, b); insert into t values (1, 'x'), (2, null) returning a; select * from t").await;
    let end = |count: u64, affected: u64, rowid: Value| json!({"end": {"row_count": count, "rows_affected": affected, "last_insert_rowid": rowid}});
    assert_eq!(
        lines(&reply),
        [
            json!({"columns": []}),
            end(0, 0, Value::Null),
            json!({"columns": [{"name": "a", "type": "INTEGER"}]}),
            json!([1]),
            json!([2]),
            end(2, 2, json!(2)),
            json!({"columns": [{"name": "a", "type": "INTEGER"}, {"name": "b", "type": null}]}),
            json!([1, "x"]),
            json!([2, null]),
            end(2, 0, Value::Null),
        ]
    );
    assert!(reply.headers.contains_key("x-txid"), "{:?}", reply.headers);
}

#[tokio::test]
async fn what_fails_before_anything_is_sent_is_a_problem_and_changed_nothing() {
    let server = Server::open().await;
    server.run("create table t(a unique)").await.rows();
    for headers in [NDJSON, CSV] {
        let reply = post(&server, &headers, "insert into t values (1), (1) returning a").await;
        assert_eq!(reply.problem(), problem(409, "sql-constraint"));
    }
    let reply = post(&server, &NDJSON, "insert into t values (1); insert into t values (1)").await;
    assert_eq!(reply.problem(), problem(409, "sql-constraint"));
    assert_eq!(server.run("select count(*) from t").await.rows(), json!([[0]]));
    assert_eq!(post(&server, &NDJSON, "").await.problem(), problem(400, "sql-statement"));
    assert_eq!(post(&server, &CSV, "select 1; select 2").await.problem(), problem(400, "bad-request"));
    let reply = post(&server, &NDJSON, "select 1; select nope").await;
    assert_eq!((reply.problem(), reply.json()["offset"].clone()), (problem(400, "sql-statement"), json!(17)));
}

/// Fails at its last row, long after the first was sent.
const LATE: &str = "with recursive n(i) as (select 1 union all select i + 1 from n limit 50000) \
                    select case i when 50000 then json('{') else i end, 'some text for size' from n";

#[tokio::test]
async fn what_fails_late_is_told_by_the_last_line() {
    let server = Server::open().await;
    let lines = lines(&post(&server, &NDJSON, LATE).await);
    assert_eq!(lines.len(), 50_001);
    let error = &lines[50_000]["error"];
    assert_eq!((&error["status"], &error["code"]), (&json!(400), &json!("SQLITE_ERROR")), "{error}");
}

#[tokio::test]
async fn a_table_that_fails_late_breaks_off() {
    let server = Server::open().await;
    let request = Request::builder().method("POST").uri("/apps/orders/sql").header("accept", "text/csv").body(Body::from(LATE)).unwrap();
    let response = server.api.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(to_bytes(response.into_body(), usize::MAX).await.is_err());
}

#[tokio::test]
async fn a_large_result_comes_whole() {
    let server = Server::open().await;
    let sql = "with recursive n(i) as (select 1 union all select i + 1 from n limit 300000) select i, 'some text for size' as t from n";
    let lines = lines(&post(&server, &NDJSON, sql).await);
    assert_eq!((lines.len(), &lines[300_000]), (300_002, &json!([300_000, "some text for size"])));
    let reply = post(&server, &CSV, sql).await;
    let text = String::from_utf8(reply.body).unwrap();
    assert_eq!((text.lines().count(), text.lines().last()), (300_001, Some("300000,some text for size")));
}

#[tokio::test]
async fn a_table_has_its_names_first_and_quotes_where_they_are_needed() {
    let server = Server::open().await;
    let sql =
        "select 1 as a, -1.5 as \"b,c\", 'x' as d, '' as e, null as f, 'a \"b\", c' as g, x'00ff' as h, 'two\nlines' as i, 9e999 as j";
    let reply = post(&server, &CSV, sql).await;
    assert_eq!(reply.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8; header=present");
    let expected = "a,\"b,c\",d,e,f,g,h,i,j\r\n1,-1.5,x,\"\",,\"a \"\"b\"\", c\",AP8=,\"two\nlines\",Infinity\r\n";
    assert_eq!(String::from_utf8(reply.body).unwrap(), expected);
}

#[tokio::test]
async fn the_reading_route_exports_and_does_not_write() {
    let server = Server::open().await;
    server.run("create table t(a); insert into t values (7)").await.rows();
    let read = |q: &'static str| server.ask("GET", q, &NDJSON, "");
    assert_eq!(lines(&read("/apps/orders/sql?q=select+a+from+t").await)[1], json!([7]));
    assert_eq!(read("/apps/orders/sql?q=delete+from+t+returning+a").await.problem(), problem(403, "sql-forbidden"));
    assert_eq!(server.run("select count(*) from t").await.rows(), json!([[1]]));
}

#[tokio::test]
async fn rows_are_written_in_the_style_that_was_asked_for() {
    let server = Server::open().await;
    let sql = "select 9007199254740993 as i, 'x' as t, x'ff' as b";
    for (query, expected) in [
        ("shape=arrays", json!([9_007_199_254_740_993_i64, "x", {"base64": "/w=="}])),
        ("shape=objects", json!({"i": 9_007_199_254_740_993_i64, "t": "x", "b": {"base64": "/w=="}})),
        ("ints=string", json!(["9007199254740993", "x", {"base64": "/w=="}])),
        ("ints=string&shape=objects", json!({"i": "9007199254740993", "t": "x", "b": {"base64": "/w=="}})),
        (
            "values=tagged",
            json!([{"type": "integer", "value": "9007199254740993"}, {"type": "text", "value": "x"}, {"type": "blob", "base64": "/w"}]),
        ),
    ] {
        let path = format!("/apps/orders/sql?{query}");
        assert_eq!(server.ask("POST", &path, &[], sql).await.rows(), json!([expected]), "{query}");
        assert_eq!(lines(&server.ask("POST", &path, &NDJSON, sql).await)[1], expected, "{query}");
        let path = format!("{path}&q=select+9007199254740993+as+i,+'x'+as+t,+x'ff'+as+b");
        assert_eq!(server.get(&path).await.rows(), json!([expected]), "{query}");
    }
    for query in ["shape=rows", "ints=1", "values=x", "shape=objects&nope=1"] {
        assert_eq!(
            server.ask("POST", &format!("/apps/orders/sql?{query}"), &[], sql).await.problem(),
            problem(400, "bad-request"),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_ends_the_statement() {
    let server = Server::open().await;
    server.run("create table t(a)").await.rows();
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n";
    let body = json!({"statements": [{"sql": "insert into t values (1)"}, {"sql": endless}]}).to_string();
    let request = Request::builder().method("POST").uri("/apps/orders/sql").header("accept", "application/x-ndjson");
    let request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
    let mut body = server.api.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    futures::StreamExt::next(&mut body).await.unwrap().unwrap();
    drop(body);
    server.run("insert into t values (2)").await;
    assert_eq!(server.run("select a from t").await.rows(), json!([[2]]));
}
