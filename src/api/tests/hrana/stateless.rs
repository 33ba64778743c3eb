//! What the first clients ask for, which know no streams.

use super::*;

#[tokio::test]
async fn a_statement_is_executed_by_itself() {
    let server = Server::open().await;
    let stmt = json!({"sql": "SELECT ?1 + 1 AS n", "args": [{"type": "integer", "value": "41"}]});
    let reply = post(&server, "v1/execute", &json!({ "stmt": stmt })).await;
    assert_eq!(reply.status, StatusCode::OK);
    let expected = json!({"cols": [{"name": "n", "decltype": null}], "rows": [[{"type": "integer", "value": "42"}]],
        "affected_row_count": 0, "last_insert_rowid": null});
    assert_eq!(reply.json(), json!({ "result": expected }));
}

#[tokio::test]
async fn one_that_fails_fails_the_request() {
    let server = Server::open().await;
    let reply = post(&server, "v1/execute", &json!({"stmt": {"sql": "SELECT nope"}})).await;
    assert_eq!(failure(&reply), failed(400, "SQLITE_ERROR"));
    for body in [json!({}), json!({"stmt": {}}), json!({"stmt": {"sql_id": 1}})] {
        assert_eq!(failure(&post(&server, "v1/execute", &body).await), failed(400, "BAD_REQUEST"), "{body}");
    }
}

#[tokio::test]
async fn a_batch_tells_of_each_step_and_what_it_leaves_open_is_rolled_back() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a)").await;
    let steps = json!([
        {"stmt": {"sql": "INSERT INTO t VALUES (1)"}},
        {"stmt": {"sql": "SELECT nope"}},
        {"stmt": {"sql": "INSERT INTO t VALUES (2)"}, "condition": {"type": "ok", "step": 1}},
        {"stmt": {"sql": "BEGIN"}},
        {"stmt": {"sql": "INSERT INTO t VALUES (3)"}},
    ]);
    let result = post(&server, "v1/batch", &json!({"batch": {"steps": steps}})).await.json()["result"].take();
    let is_there = |of: &str| result[of].as_array().unwrap().iter().map(|one| !one.is_null()).collect::<Vec<_>>();
    assert_eq!(is_there("step_results"), [true, false, false, true, true]);
    assert_eq!(is_there("step_errors"), [false, true, false, false, false]);
    assert_eq!(sql(&server, "SELECT a FROM t").await["rows"], json!([[{"type": "integer", "value": "1"}]]));
}

async fn statements(server: &Server, statements: Value) -> Reply {
    server.ask("POST", "/apps/orders/", &[("content-type", "application/json")], json!({ "statements": statements }).to_string()).await
}

#[tokio::test]
async fn a_driver_of_jdbc_gets_its_results() {
    let server = Server::open().await;
    let asked = json!([
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
        {"q": "INSERT INTO t VALUES (?, ?), (2, 0.5)", "params": [1, "x"]},
        {"q": "SELECT a, b, :c AS c, x'00ff' AS d FROM t", "params": {"c": null}},
    ]);
    let reply = statements(&server, asked).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
    let mut reply = reply.json();
    for one in reply.as_array_mut().unwrap() {
        let took = one["results"].as_object_mut().unwrap().remove("query_duration_ms").unwrap();
        assert!(took.is_number(), "{took}");
    }
    let expected = json!([
        {"results": {"columns": [], "rows": [], "truncated": false, "rows_read": 0, "rows_written": 0}},
        {"results": {"columns": [], "rows": [], "truncated": false, "rows_read": 0, "rows_written": 2}},
        {"results": {"columns": ["a", "b", "c", "d"], "rows": [[1, "x", null, {"base64": "AP8="}], [2, 0.5, null, {"base64": "AP8="}]],
            "truncated": false, "rows_read": 2, "rows_written": 0}},
    ]);
    assert_eq!(reply, expected);
    // The URL is taken as it was given.
    let reply = server.ask("POST", "/apps/orders", &[], r#"{"statements":["SELECT 1"]}"#).await;
    assert_eq!(reply.json()[0]["results"]["rows"], json!([[1]]));
}

#[tokio::test]
async fn a_driver_of_jdbc_reads_why_it_was_refused_and_nothing_is_kept() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a UNIQUE)").await;
    let insert = "INSERT INTO t VALUES (1)";
    for (asked, status, says) in [
        (json!([insert, insert]), 409, "UNIQUE"),
        (json!([insert, "SELECT nope"]), 400, "nope"),
        (json!([insert, "SELECT 1; SELECT 2"]), 400, "statements[1]"),
        (json!([insert, " -- nothing"]), 400, "statements[1]"),
        (json!([insert, {"q": "SELECT ?", "params": [[]]}]), 400, "statements[1].params[0]"),
        (json!([insert, "COMMIT"]), 400, "COMMIT"),
        (json!([insert, 7]), 400, "statements[1]"),
        (json!("SELECT 1"), 400, "statements"),
    ] {
        let reply = statements(&server, asked.clone()).await;
        assert_eq!(failure(&reply).0, status, "{asked}");
        let error = reply.json()["error"].take();
        assert!(error.as_str().unwrap().contains(says), "{asked}: {error}");
    }
    assert_eq!(sql(&server, "SELECT count(*) FROM t").await["rows"][0][0]["value"], "0");
}

#[tokio::test]
async fn which_program_answers_and_what_it_speaks_is_told_without_a_token() {
    let server = Server::with_database(Guard::Operator, writers(&["secret"])).await;
    for name in ["orders", "none"] {
        for version in ["v2", "v3", "v3-protobuf"] {
            assert_eq!(server.ask("GET", &format!("/apps/{name}/{version}"), &[], "").await.status, StatusCode::OK);
        }
        let reply = server.ask("GET", &format!("/apps/{name}/version"), &[], "").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(String::from_utf8(reply.body).unwrap().starts_with("buckethead "));
    }
    assert_eq!(failure(&statements(&server, json!(["SELECT 1"])).await).0, 401);
}
