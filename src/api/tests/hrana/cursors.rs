use super::*;

/// The lines of a cursor's reply, the first of which has the baton.
async fn lines(server: &Server, baton: Option<&str>, steps: Value) -> Vec<Value> {
    let reply = post(server, "v3/cursor", &json!({"baton": baton, "batch": {"steps": steps}})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
    let text = String::from_utf8(reply.body).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn entries_come_as_lines_in_the_order_of_the_steps() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(id INTEGER PRIMARY KEY)").await;
    let steps = json!([
        {"stmt": {"sql": "INSERT INTO t VALUES (1), (2)"}},
        {"stmt": {"sql": "SELECT id FROM t"}},
        {"stmt": {"sql": "SELECT 1"}, "condition": {"type": "error", "step": 1}},
        {"stmt": {"sql": "SELECT nope"}},
        {"stmt": {"sql": "SELECT id FROM t", "want_rows": false}, "condition": {"type": "is_autocommit"}}
    ]);
    let lines = lines(&server, None, steps).await;
    assert!(lines[0]["baton"].is_string() && lines[0]["base_url"].is_null(), "{}", lines[0]);
    let error = &lines[7]["error"];
    assert_eq!(error["code"], "SQLITE_ERROR");
    let cols = json!([{"name": "id", "decltype": "INTEGER"}]);
    let row = |id: &str| json!({"type": "row", "row": [{"type": "integer", "value": id}]});
    let expected = [
        json!({"type": "step_begin", "step": 0, "cols": []}),
        json!({"type": "step_end", "affected_row_count": 2, "last_insert_rowid": "2"}),
        json!({"type": "step_begin", "step": 1, "cols": cols}),
        row("1"),
        row("2"),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": null}),
        json!({"type": "step_error", "step": 3, "error": error}),
        json!({"type": "step_begin", "step": 4, "cols": cols}),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": null}),
    ];
    assert_eq!(lines[1..], expected);
}

#[tokio::test]
async fn a_step_that_fails_after_it_began_is_told_as_an_error() {
    let server = Server::open().await;
    let failing = "SELECT CASE value WHEN 3 THEN json('{') ELSE value END FROM json_each('[1,2,3]')";
    let lines = lines(&server, None, json!([{"stmt": {"sql": failing}}, {"stmt": {"sql": "SELECT 1"}}])).await;
    let types: Vec<_> = lines[1..].iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["step_begin", "row", "row", "step_error", "step_begin", "row", "step_end"]);
}

#[tokio::test]
async fn the_stream_of_a_cursor_goes_on_with_the_baton_of_its_first_line() {
    let server = Server::open().await;
    let first = lines(&server, None, json!([{"stmt": {"sql": "BEGIN"}}, {"stmt": {"sql": "CREATE TABLE t(a)"}}])).await;
    let second = lines(&server, first[0]["baton"].as_str(), json!([{"stmt": {"sql": "SELECT * FROM t"}}])).await;
    let third = pipeline(&server, second[0]["baton"].as_str(), json!([{"type": "get_autocommit"}, {"type": "close"}])).await;
    assert_eq!(third["results"][0]["response"]["is_autocommit"], false);
    assert_eq!(sql(&server, "SELECT * FROM t").await["code"], "SQLITE_ERROR");
}

#[tokio::test]
async fn a_large_result_comes_whole_and_is_held_by_no_limit_of_results() {
    let server = Server::open().await;
    let million = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT i, 'some text for size' FROM n";
    let lines = lines(&server, None, json!([{"stmt": {"sql": million}}])).await;
    assert_eq!(lines.len(), 300_003);
    assert_eq!(lines[300_001]["row"][0]["value"], "300000");
    assert_eq!(lines[300_002]["type"], "step_end");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_ends_the_statement_and_the_stream() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a)").await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let steps = json!([{"stmt": {"sql": "BEGIN IMMEDIATE"}}, {"stmt": {"sql": endless}}]);
    let request = Request::builder().method("POST").uri("/apps/orders/v3/cursor");
    let request = request.body(Body::from(json!({"batch": {"steps": steps}}).to_string())).unwrap();
    let mut body = server.api.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    let first = futures::StreamExt::next(&mut body).await.unwrap().unwrap();
    let baton: Value = serde_json::from_slice(first.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    drop(body);
    // The writer's place is free again.
    assert_eq!(sql(&server, "INSERT INTO t VALUES(1)").await["affected_row_count"], 1);
    let reply = post(&server, "v3/pipeline", &json!({"baton": baton["baton"], "requests": []})).await;
    assert_eq!(failure(&reply), failed(400, "STREAM_NOT_FOUND"));
}

#[tokio::test]
async fn a_request_that_comes_while_a_cursor_still_runs_waits_for_it() {
    let server = Server::open().await;
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT i FROM n";
    let request = Request::builder().method("POST").uri("/apps/orders/v3/cursor");
    let steps = json!([{"stmt": {"sql": slow}}, {"stmt": {"sql": "BEGIN"}}]);
    let request = request.body(Body::from(json!({"batch": {"steps": steps}}).to_string())).unwrap();
    let mut body = server.api.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    let first = futures::StreamExt::next(&mut body).await.unwrap().unwrap();
    let head: Value = serde_json::from_slice(first.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let going_on = pipeline(&server, head["baton"].as_str(), json!([{"type": "get_autocommit"}]));
    let rest = async { while futures::StreamExt::next(&mut body).await.is_some() {} };
    let (reply, ()) = tokio::join!(going_on, rest);
    assert_eq!(reply["results"][0]["response"]["is_autocommit"], false);
}
