use super::*;

#[tokio::test]
async fn a_message_that_breaks_the_protocol_fails_as_a_whole() {
    let server = Server::open().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"requests":{}}"#,
        r#"{"requests":[1]}"#,
        r#"{"requests":[{}]}"#,
        r#"{"requests":[{"type":"nope"}]}"#,
        r#"{"requests":[{"type":"execute"}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":1}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT 1","sql_id":1}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql_id":1}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[1]}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"integer","value":"9223372036854775808"}]}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"integer","value":"1.5"}]}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"integer"}]}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"float","value":"1"}]}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"blob","base64":"!"}]}}]}"#,
        r#"{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"date","value":"x"}]}}]}"#,
        r#"{"requests":[{"type":"store_sql","sql_id":2147483648,"sql":""}]}"#,
        r#"{"requests":[{"type":"describe"}]}"#,
        r#"{"requests":[{"type":"close"},{"type":"close"}]}"#,
        r#"{"requests":[{"type":"close"},{"type":"get_autocommit"}]}"#,
        r#"{"baton":1,"requests":[]}"#,
    ] {
        for route in ["v2/pipeline", "v3/pipeline"] {
            let reply = server.ask("POST", &format!("/apps/orders/{route}"), &[], body).await;
            assert_eq!(failure(&reply), failed(400, "BAD_REQUEST"), "{body}");
        }
    }
    for body in ["", "{}", r#"{"batch":{}}"#, r#"{"batch":{"steps":[{"stmt":{"sql_id":1}}]}}"#] {
        assert_eq!(failure(&server.ask("POST", "/apps/orders/v3/cursor", &[], body).await), failed(400, "BAD_REQUEST"), "{body}");
    }
}

#[tokio::test]
async fn nothing_of_a_request_runs_whose_end_could_be_told_to_be_wrong() {
    let server = Server::open().await;
    let create = json!({"type": "execute", "stmt": {"sql": "CREATE TABLE t(a)"}});
    let body = json!({"requests": [create, {"type": "close"}, create]});
    assert_eq!(failure(&post(&server, "v3/pipeline", &body).await), failed(400, "BAD_REQUEST"));
    assert_eq!(sql(&server, "SELECT * FROM t").await["code"], "SQLITE_ERROR");
}

#[tokio::test]
async fn deep_and_large_messages_are_refused() {
    let server = Server::open().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(failure(&server.ask("POST", "/apps/orders/v3/pipeline", &[], deep).await), failed(400, "BAD_REQUEST"));
    let large = vec![b' '; (16 << 20) + 1];
    assert_eq!(failure(&server.ask("POST", "/apps/orders/v3/pipeline", &[], large).await), failed(413, "BODY_TOO_LARGE"));
}

#[tokio::test]
async fn refusals_of_every_kind_have_the_shape_that_clients_read() {
    let none = Server::empty(Guard::Operator);
    let dev = Server::empty(dev(None));
    for (method, route) in
        [("POST", "v1/execute"), ("POST", "v3-protobuf/pipeline"), ("POST", "v2/pipeline"), ("POST", "v3/pipeline"), ("POST", "v3/cursor")]
    {
        let path = format!("/apps/orders/{route}");
        let reply = none.ask(method, &path, &[], "{}").await;
        assert_eq!(failure(&reply), failed(401, "UNAUTHORIZED"), "{route}");
        assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"buckethead\"");
        let reply = dev.ask(method, &path, &[("host", "localhost:8080")], "{}").await;
        assert_eq!(failure(&reply), failed(404, "NO_SUCH_DATABASE"), "{route}");
        assert_eq!(failure(&dev.ask(method, &path, &[("host", "evil.example")], "{}").await), failed(421, "FOREIGN_HOST"), "{route}");
    }
    assert_eq!(failure(&none.ask("PUT", "/apps/orders/v3/pipeline", &[], "{}").await), failed(405, "METHOD_NOT_ALLOWED"));
}

#[tokio::test]
async fn what_the_sandbox_refuses_is_an_error_of_its_statement() {
    let server = Server::open().await;
    for text in ["ATTACH 'x' AS y", "VACUUM", "PRAGMA journal_mode = WAL", "CREATE TEMP TABLE t(a)", "SELECT load_extension('x')"] {
        assert_eq!(sql(&server, text).await["code"], "SQLITE_AUTH", "{text}");
    }
    assert_eq!(sql(&server, "PRAGMA read_uncommitted").await["rows"][0][0]["value"], "0");
}
