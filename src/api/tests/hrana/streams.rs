use super::*;

async fn next(server: &Server, baton: &Value, requests: Value) -> Value {
    pipeline(server, baton.as_str(), requests).await
}

fn run(sql: &str) -> Value {
    json!([{"type": "execute", "stmt": {"sql": sql}}])
}

/// The failure of a request with this baton.
async fn refused(server: &Server, path: &str, headers: &[(&str, &str)], baton: &str) -> (u16, String) {
    let body = json!({"baton": baton, "requests": []}).to_string();
    failure(&server.ask("POST", path, headers, body).await)
}

#[tokio::test]
async fn a_stream_goes_on_with_its_baton_until_it_is_closed() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a)").await;
    let first = pipeline(&server, None, run("BEGIN")).await;
    let second = next(&server, &first["baton"], run("INSERT INTO t VALUES(1)")).await;
    assert_ne!(first["baton"], second["baton"]);
    assert_eq!(sql(&server, "SELECT count(*) FROM t").await["rows"][0][0]["value"], "0");
    let third = next(&server, &second["baton"], json!([run("COMMIT")[0], {"type": "get_autocommit"}, {"type": "close"}])).await;
    assert_eq!(third["results"][1]["response"], json!({"type": "get_autocommit", "is_autocommit": true}));
    assert_eq!(third["baton"], Value::Null);
    assert_eq!(sql(&server, "SELECT count(*) FROM t").await["rows"][0][0]["value"], "1");
}

#[tokio::test]
async fn a_baton_is_good_once_and_not_after_close() {
    let server = Server::open().await;
    let first = pipeline(&server, None, run("SELECT 1")).await["baton"].clone();
    let second = next(&server, &first, json!([{"type": "close"}])).await;
    assert_eq!(second["baton"], Value::Null);
    let path = "/apps/orders/v3/pipeline";
    assert_eq!(refused(&server, path, &[], first.as_str().unwrap()).await, failed(400, "STREAM_NOT_FOUND"));
    let first = pipeline(&server, None, run("SELECT 1")).await["baton"].clone();
    next(&server, &first, json!([])).await;
    assert_eq!(refused(&server, path, &[], first.as_str().unwrap()).await, failed(400, "BAD_BATON"));
    for made_up in ["", "x", "AAAA", &"A".repeat(54), &"z".repeat(5000)] {
        let (status, code) = refused(&server, path, &[], made_up).await;
        assert!(status == 400 && ["BAD_BATON", "STREAM_LOST"].contains(&code.as_str()), "{made_up:?} {code}");
    }
}

#[tokio::test]
async fn a_baton_of_another_process_tells_that_the_stream_is_lost() {
    let (ours, theirs) = (Server::open().await, Server::open().await);
    let baton = pipeline(&theirs, None, run("BEGIN")).await["baton"].clone();
    assert_eq!(refused(&ours, "/apps/orders/v3/pipeline", &[], baton.as_str().unwrap()).await, failed(400, "STREAM_LOST"));
}

#[tokio::test]
async fn a_baton_is_bound_to_its_caller() {
    let tokens = writers(&["one", "two"]);
    let server = Server::with_database(Guard::Operator, tokens).await;
    let path = "/apps/orders/v3/pipeline";
    let body = json!({"requests": []}).to_string();
    let baton = server.ask("POST", path, &[("authorization", "Bearer one")], body).await.json()["baton"].clone();
    let baton = baton.as_str().unwrap();
    assert_eq!(refused(&server, path, &[("authorization", "Bearer two")], baton).await, failed(400, "BAD_BATON"));
    assert_eq!(refused(&server, path, &[("authorization", "Bearer three")], baton).await, failed(401, "UNAUTHORIZED"));
    let body = json!({"baton": baton, "requests": []}).to_string();
    assert_eq!(server.ask("POST", path, &[("authorization", "bearer one")], body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_dropped_stream_is_rolled_back_and_lets_others_write() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a)").await;
    let requests = json!([run("BEGIN IMMEDIATE")[0], run("INSERT INTO t VALUES(1)")[0]]);
    let baton = pipeline(&server, None, requests).await["baton"].clone();
    // Fails as a whole, so its stream ends.
    let body = json!({"baton": baton, "requests": [{"type": "execute", "stmt": {"sql_id": 7}}]});
    assert_eq!(failure(&post(&server, "v3/pipeline", &body).await), failed(400, "BAD_REQUEST"));
    sql(&server, "INSERT INTO t VALUES(2)").await;
    assert_eq!(sql(&server, "SELECT group_concat(a) FROM t").await["rows"][0][0]["value"], "2");
    assert_eq!(refused(&server, "/apps/orders/v3/pipeline", &[], baton.as_str().unwrap()).await, failed(400, "STREAM_NOT_FOUND"));
}

#[tokio::test]
async fn texts_are_stored_with_the_stream() {
    let server = Server::open().await;
    let store = |id: i32, sql: &str| json!({"type": "store_sql", "sql_id": id, "sql": sql});
    let by_id = |id: i32| json!({"type": "execute", "stmt": {"sql_id": id}});
    let first = pipeline(&server, None, json!([store(1, "SELECT 'a'"), by_id(1), store(1, "SELECT 'b'")])).await;
    assert_eq!(first["results"][1]["response"]["result"]["rows"][0][0]["value"], "a");
    let requests = json!([by_id(1), {"type": "describe", "sql_id": 1}, {"type": "sequence", "sql_id": 1}, {"type": "close_sql", "sql_id": 1},
        {"type": "close_sql", "sql_id": 99}]);
    let second = next(&server, &first["baton"], requests).await;
    assert_eq!(second["results"][0]["response"]["result"]["rows"][0][0]["value"], "b");
    assert!(second["results"].as_array().unwrap().iter().all(|result| result["type"] == "ok"), "{second}");
    let body = json!({"baton": second["baton"], "requests": [by_id(1)]});
    assert_eq!(failure(&post(&server, "v3/pipeline", &body).await), failed(400, "BAD_REQUEST"));
}

#[tokio::test]
async fn stored_texts_are_bounded() {
    let server = Server::open().await;
    let many: Vec<Value> = (0..151).map(|id| json!({"type": "store_sql", "sql_id": id, "sql": "SELECT 1"})).collect();
    let done = results(&server, json!(many)).await;
    assert_eq!(done[149]["type"], "ok");
    assert_eq!(done[150]["error"]["code"], "SQL_STORE_TOO_MANY");
    let large = format!("SELECT '{}'", "x".repeat(600_000));
    let requests = json!([{"type": "store_sql", "sql_id": 1, "sql": large}, {"type": "store_sql", "sql_id": 2, "sql": large},
        {"type": "store_sql", "sql_id": 1, "sql": large}]);
    let done = results(&server, requests).await;
    assert_eq!(
        (&done[0]["type"], &done[1]["error"]["code"], &done[2]["type"]),
        (&json!("ok"), &json!("SQL_STORE_TOO_LARGE"), &json!("ok"))
    );
}

#[tokio::test]
async fn a_database_has_a_thousand_streams_and_no_more() {
    let server = Server::open().await;
    let mut batons = Vec::new();
    for _ in 0..1000 {
        batons.push(pipeline(&server, None, json!([])).await["baton"].clone());
    }
    let reply = post(&server, "v3/pipeline", &json!({"requests": []})).await;
    assert_eq!(failure(&reply), failed(429, "TOO_MANY_STREAMS"));
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
    next(&server, &batons[500], json!([{"type": "close"}])).await;
    assert_eq!(post(&server, "v3/pipeline", &json!({"requests": []})).await.status, StatusCode::OK);
    // None of them has a connection.
    next(&server, &batons[0], run("SELECT 1")).await;
}

#[tokio::test]
async fn a_stream_that_waited_too_long_has_expired_and_its_transaction_is_gone() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a)").await;
    let requests = json!([run("BEGIN IMMEDIATE")[0], run("INSERT INTO t VALUES(1)")[0]]);
    let baton = pipeline(&server, None, requests).await["baton"].clone();
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(11)).await;
    tokio::time::resume();
    sql(&server, "INSERT INTO t VALUES(2)").await;
    let reply = post(&server, "v3/pipeline", &json!({"baton": baton, "requests": []})).await;
    assert_eq!(failure(&reply), failed(400, "STREAM_EXPIRED"));
    assert_eq!(reply.json()["message"], "the stream has expired due to inactivity");
    assert_eq!(sql(&server, "SELECT group_concat(a) FROM t").await["rows"][0][0]["value"], "2");
    tokio::time::pause();
    tokio::time::sleep(Duration::from_mins(6)).await;
    tokio::time::resume();
    let reply = post(&server, "v3/pipeline", &json!({"baton": baton, "requests": []})).await;
    assert_eq!(failure(&reply), failed(400, "STREAM_NOT_FOUND"));
}

#[tokio::test]
async fn a_transaction_that_idles_while_another_waits_is_told_so_until_it_is_ended() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a)").await;
    let requests = json!([run("BEGIN IMMEDIATE")[0], run("INSERT INTO t VALUES(1)")[0]]);
    let baton = pipeline(&server, None, requests).await["baton"].clone();
    let other = sql(&server, "INSERT INTO t VALUES(2)").await;
    assert_eq!(other["affected_row_count"], 1, "{other}");
    let requests = json!([run("INSERT INTO t VALUES(3)")[0], {"type": "get_autocommit"}, run("COMMIT")[0], {"type": "get_autocommit"}]);
    let done = next(&server, &baton, requests).await;
    assert_eq!(done["results"][0]["error"]["code"], "TRANSACTION_TIMEOUT");
    assert_eq!(done["results"][1]["response"]["is_autocommit"], false);
    assert_eq!(done["results"][2]["error"]["code"], "TRANSACTION_TIMEOUT");
    assert_eq!(done["results"][3]["response"]["is_autocommit"], true);
    assert_eq!(sql(&server, "SELECT group_concat(a) FROM t").await["rows"][0][0]["value"], "2");
}

#[tokio::test]
async fn replies_name_the_state_that_they_tell_of() {
    let server = Server::open().await;
    let reply = post(&server, "v3/pipeline", &json!({"requests": run("CREATE TABLE t(a)")})).await;
    assert!(reply.headers.contains_key("x-txid") && reply.headers.contains_key("x-durable-txid"), "{:?}", reply.headers);
    let baton = pipeline(&server, None, json!([])).await["baton"].clone();
    let reply = post(&server, "v3/pipeline", &json!({"baton": baton, "requests": run("INSERT INTO t VALUES(1)")})).await;
    assert!(reply.headers.contains_key("x-txid"), "{:?}", reply.headers);
}
