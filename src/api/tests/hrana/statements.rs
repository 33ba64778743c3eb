use super::*;

#[tokio::test]
async fn both_versions_are_supported_and_no_other() {
    let server = Server::open().await;
    for version in ["v2", "v3"] {
        assert!(server.get(&format!("/apps/orders/{version}")).await.status.is_success());
    }
    assert_eq!(server.get("/apps/orders/v4").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_pipeline_of_a_statement_and_close_is_answered_as_the_protocol_shows() {
    let server = Server::open().await;
    let requests = json!([
        {"type": "execute", "stmt": {"sql": "SELECT ?1 + 1 AS n", "args": [{"type": "integer", "value": "41"}]}},
        {"type": "close"}
    ]);
    for route in ["v2/pipeline", "v3/pipeline"] {
        let reply = post(&server, route, &json!({"baton": null, "requests": requests})).await;
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(
            reply.json(),
            json!({"baton": null, "base_url": null, "results": [
                {"type": "ok", "response": {"type": "execute", "result": {
                    "cols": [{"name": "n", "decltype": null}],
                    "rows": [[{"type": "integer", "value": "42"}]],
                    "affected_row_count": 0,
                    "last_insert_rowid": null
                }}},
                {"type": "ok", "response": {"type": "close"}}
            ]})
        );
    }
}

#[tokio::test]
async fn each_type_of_value_comes_back_as_it_was_bound() {
    let server = Server::open().await;
    let values = json!([
        {"type": "null"},
        {"type": "integer", "value": "-9223372036854775808"},
        {"type": "integer", "value": "9223372036854775807"},
        {"type": "float", "value": -1.5e300},
        {"type": "float", "value": 0.1},
        {"type": "text", "value": "ä\u{0}\u{1f600}"},
        {"type": "text", "value": ""},
        {"type": "blob", "base64": "3q2+7w"},
        {"type": "blob", "base64": ""}
    ]);
    let result = execute(&server, json!({"sql": "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?", "args": values})).await;
    assert_eq!(result["rows"][0], values);
}

#[tokio::test]
async fn padded_blobs_and_bare_numbers_are_taken_and_infinity_becomes_null() {
    let server = Server::open().await;
    let args = json!([{"type": "blob", "base64": "3q2+7w=="}, {"type": "integer", "value": 7}, {"type": "float", "value": 2}]);
    let result = execute(&server, json!({"sql": "SELECT ?, ?, ?, 9e999", "args": args})).await;
    let expected = json!([
        {"type": "blob", "base64": "3q2+7w"}, {"type": "integer", "value": "7"}, {"type": "float", "value": 2.0}, {"type": "float", "value": null}
    ]);
    assert_eq!(result["rows"][0], expected);
}

#[tokio::test]
async fn optional_members_may_be_null_and_unknown_ones_are_ignored() {
    let server = Server::open().await;
    let stmt = json!({"sql": "SELECT 1", "sql_id": null, "args": null, "named_args": null, "want_rows": null, "replication_index": 7});
    assert_eq!(execute(&server, stmt).await["rows"], json!([[{"type": "integer", "value": "1"}]]));
    let body = json!({"requests": [{"type": "batch", "batch": {"steps": [{"stmt": {"sql": "SELECT 1"}, "condition": null}]}, "more": {}}], "x": 1});
    assert_eq!(post(&server, "v3/pipeline", &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn no_content_type_is_asked_for_and_none_is_refused() {
    let server = Server::open().await;
    let body = json!({"requests": [{"type": "close"}]}).to_string();
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/json; charset=utf-8")]] {
        assert_eq!(server.ask("POST", "/apps/orders/v2/pipeline", headers, body.clone()).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn arguments_are_bound_by_their_place_in_the_statement() {
    let server = Server::open().await;
    let args = json!([{"type": "text", "value": "a"}, {"type": "text", "value": "b"}]);
    let result = execute(&server, json!({"sql": "SELECT ?2, ?1, :x", "args": [args[0], args[1], args[0]]})).await;
    assert_eq!(result["rows"][0], json!([args[1], args[0], args[0]]));
}

#[tokio::test]
async fn names_match_with_their_sign_and_without() {
    let server = Server::open().await;
    for name in ["a", ":a", "@a", "$a"] {
        for sql in ["SELECT :a", "SELECT @a", "SELECT $a"] {
            let stmt = json!({"sql": sql, "named_args": [{"name": name, "value": {"type": "integer", "value": "1"}}]});
            assert_eq!(execute(&server, stmt).await["rows"], json!([[{"type": "integer", "value": "1"}]]), "{name} {sql}");
        }
    }
}

#[tokio::test]
async fn missing_surplus_and_mixed_arguments_have_their_codes() {
    let server = Server::open().await;
    let one = json!({"type": "integer", "value": "1"});
    let named = json!([{"name": "a", "value": one}]);
    for stmt in [
        json!({"sql": "SELECT ?"}),
        json!({"sql": "SELECT ?", "args": [one, one]}),
        json!({"sql": "SELECT 1", "args": [one]}),
        json!({"sql": "SELECT :b", "named_args": named}),
        json!({"sql": "SELECT :a, :b", "named_args": named}),
        json!({"sql": "SELECT :a", "named_args": [named[0], {"name": ":a", "value": one}]}),
    ] {
        assert_eq!(execute(&server, stmt.clone()).await["code"], "ARGS_INVALID", "{stmt}");
    }
    let both = execute(&server, json!({"sql": "SELECT ?", "args": [one], "named_args": named})).await;
    assert_eq!(both["code"], "ARGS_BOTH_POSITIONAL_AND_NAMED");
}

#[tokio::test]
async fn a_statement_is_one_and_may_have_blanks_and_comments_around_it() {
    let server = Server::open().await;
    for text in ["SELECT 1;", "  SELECT 1 ; ; ", "/* a; */ SELECT 1 -- b;", "\u{feff}SELECT 1"] {
        assert_eq!(sql(&server, text).await["rows"], json!([[{"type": "integer", "value": "1"}]]), "{text:?}");
    }
    for text in ["", " ; ", "-- nothing", "/* open"] {
        assert_eq!(sql(&server, text).await["code"], "SQL_NO_STATEMENT", "{text:?}");
    }
    assert_eq!(sql(&server, "SELECT 1; SELECT 2").await["code"], "SQL_MANY_STATEMENTS");
}

#[tokio::test]
async fn counts_and_row_ids_are_those_of_the_statement_itself() {
    let server = Server::open().await;
    let effects = |result: &Value| (result["affected_row_count"].clone(), result["last_insert_rowid"].clone());
    let done = results(
        &server,
        json!(
            [
                "CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
                "INSERT INTO t(b) VALUES (1), (2), (3)",
                "SELECT * FROM t",
                "UPDATE t SET b = 0 WHERE a > 1",
                "DELETE FROM t WHERE a = 1",
                "INSERT INTO t VALUES (9007199254740993, 1)",
                "INSERT OR IGNORE INTO t VALUES (2, 1)",
                "DELETE FROM t WHERE 0",
                "PRAGMA user_version = 3"
            ]
            .map(|sql| json!({"type": "execute", "stmt": {"sql": sql}}))
        ),
    )
    .await;
    let expected = [
        (0, Value::Null),
        (3, json!("3")),
        (0, Value::Null),
        (2, Value::Null),
        (1, Value::Null),
        (1, json!("9007199254740993")),
        (0, Value::Null),
        (0, Value::Null),
        (0, Value::Null),
    ];
    for (at, (count, rowid)) in expected.into_iter().enumerate() {
        assert_eq!(effects(&done[at]["response"]["result"]), (json!(count), rowid), "{at}");
    }
}

#[tokio::test]
async fn columns_have_names_and_declared_types() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a INTEGER PRIMARY KEY, b VARCHAR(9), c)").await;
    let result = sql(&server, "SELECT a, b AS x, c, a + 1, a FROM t").await;
    let expected = json!([
        {"name": "a", "decltype": "INTEGER"}, {"name": "x", "decltype": "VARCHAR(9)"}, {"name": "c", "decltype": null},
        {"name": "a + 1", "decltype": null}, {"name": "a", "decltype": "INTEGER"}
    ]);
    assert_eq!((&result["cols"], &result["rows"]), (&expected, &json!([])));
}

#[tokio::test]
async fn unwanted_rows_are_not_sent_and_the_statement_runs_to_its_end() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a)").await;
    let stmt = json!({"sql": "INSERT INTO t VALUES (1), (2) RETURNING a", "want_rows": false});
    let result = execute(&server, stmt).await;
    assert_eq!((&result["rows"], &result["affected_row_count"]), (&json!([]), &json!(2)));
    assert_eq!(sql(&server, "SELECT count(*) FROM t").await["rows"][0][0]["value"], "2");
}

#[tokio::test]
async fn a_failing_request_is_told_in_its_place_and_the_rest_still_run() {
    let server = Server::open().await;
    let done = results(
        &server,
        json!([
            {"type": "execute", "stmt": {"sql": "CREATE TABLE t(a UNIQUE)"}},
            {"type": "execute", "stmt": {"sql": "INSERT INTO t VALUES (1), (1)"}},
            {"type": "execute", "stmt": {"sql": "INSERT INTO t VALUES (2)"}},
            {"type": "execute", "stmt": {"sql": "SELECT nope"}}
        ]),
    )
    .await;
    assert_eq!(
        done[1],
        json!({"type": "error", "error": {
            "message": "UNIQUE constraint failed: t.a", "code": "SQLITE_CONSTRAINT", "extended_code": "SQLITE_CONSTRAINT_UNIQUE"
        }})
    );
    assert_eq!(done[2]["type"], "ok");
    assert_eq!(done[3]["error"]["code"], "SQLITE_ERROR");
    assert!(done[3]["error"]["message"].as_str().unwrap().contains("no such column: nope"), "{done}");
}

#[tokio::test]
async fn text_that_is_not_utf_8_fails_its_statement_alone() {
    let server = Server::open().await;
    let done = results(
        &server,
        json!([
            {"type": "execute", "stmt": {"sql": "SELECT CAST(x'ff' AS TEXT)"}},
            {"type": "execute", "stmt": {"sql": "SELECT CAST(CAST(x'ff' AS TEXT) AS BLOB)"}}
        ]),
    )
    .await;
    assert_eq!(done[0]["error"]["code"], "SQLITE_ERROR");
    assert_eq!(done[1]["response"]["result"]["rows"][0][0]["base64"], "/w");
}

#[tokio::test]
async fn a_sequence_runs_all_statements_up_to_the_first_that_fails() {
    let server = Server::open().await;
    let done = results(
        &server,
        json!([
            {"type": "sequence", "sql": "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES(1); SELECT * FROM t;"},
            {"type": "sequence", "sql": "INSERT INTO t VALUES(2); INSERT INTO t VALUES(1); INSERT INTO t VALUES(3)"},
            {"type": "sequence", "sql": " -- nothing \n"},
            {"type": "execute", "stmt": {"sql": "SELECT group_concat(a) FROM t"}}
        ]),
    )
    .await;
    assert_eq!(done[0], json!({"type": "ok", "response": {"type": "sequence"}}));
    assert_eq!(done[1]["error"]["code"], "SQLITE_CONSTRAINT");
    assert_eq!(done[2]["type"], "ok");
    assert_eq!(done[3]["response"]["result"]["rows"][0][0]["value"], "1,2");
}

#[tokio::test]
async fn a_description_tells_parameters_columns_and_what_a_statement_does() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a INTEGER, b)").await;
    let describe = |sql: &str| json!({"type": "describe", "sql": sql});
    let texts = [
        "SELECT a FROM t WHERE a = ? OR b = :name OR b = ?5 OR b = @at",
        "INSERT INTO t VALUES ($x, 1)",
        "EXPLAIN SELECT 1",
        "EXPLAIN QUERY PLAN SELECT 1",
        "COMMIT",
        "SELECT nope",
        "",
    ];
    let done = results(&server, json!(texts.map(describe))).await;
    let told = |at: usize| done[at]["response"]["result"].clone();
    assert_eq!(
        told(0),
        json!({
            "params": [{"name": null}, {"name": ":name"}, {"name": null}, {"name": null}, {"name": "?5"}, {"name": "@at"}],
            "cols": [{"name": "a", "decltype": "INTEGER"}], "is_explain": false, "is_readonly": true
        })
    );
    assert_eq!(told(1), json!({"params": [{"name": "$x"}], "cols": [], "is_explain": false, "is_readonly": false}));
    assert_eq!((told(2)["is_explain"].clone(), told(3)["is_explain"].clone()), (json!(true), json!(true)));
    assert_eq!((told(4)["is_readonly"].clone(), told(4)["is_explain"].clone()), (json!(true), json!(false)));
    assert_eq!(done[5]["error"]["code"], "SQLITE_ERROR");
    assert_eq!(done[6]["error"]["code"], "SQL_NO_STATEMENT");
}

#[tokio::test]
async fn results_beyond_the_limit_fail_their_statement() {
    let limits = QueryLimits { max_result_size: 10_000, ..QueryLimits::default() };
    let (host, store) =
        Server::host_with_database(|config| DatabaseConfig { limits: Limits { max_size: 64 << 20, query: limits }, ..config }).await;
    let server = Server::of(host, Guard::Operator, Some(store));
    let half = json!({"type": "execute", "stmt": {"sql": "SELECT hex(zeroblob(3000))"}});
    let done = results(&server, json!([half, half, {"type": "execute", "stmt": {"sql": "SELECT 1"}}])).await;
    assert_eq!(done[0]["type"], "ok");
    assert_eq!(done[1]["error"]["code"], "RESPONSE_TOO_LARGE");
    assert_eq!(done[2]["type"], "ok");
}
