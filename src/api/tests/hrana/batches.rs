use super::*;

/// The result of a batch of `(sql, condition)`.
async fn batch(server: &Server, steps: &[(&str, Value)]) -> Value {
    let steps: Vec<Value> = steps.iter().map(|(sql, condition)| json!({"stmt": {"sql": sql}, "condition": condition})).collect();
    let mut done = results(server, json!([{"type": "batch", "batch": {"steps": steps}}])).await;
    assert_eq!(done[0]["type"], "ok", "{done}");
    done[0]["response"]["result"].take()
}

/// How each step ended: `o`k, `e`rror, `s`kipped.
fn ended(result: &Value) -> String {
    let (results, errors) = (result["step_results"].as_array().unwrap(), result["step_errors"].as_array().unwrap());
    assert_eq!(results.len(), errors.len());
    let ended = |(result, error): (&Value, &Value)| match (result.is_null(), error.is_null()) {
        (false, true) => 'o',
        (true, false) => 'e',
        (true, true) => 's',
        (false, false) => panic!("both: {result} {error}"),
    };
    results.iter().zip(errors).map(ended).collect()
}

fn ok(step: usize) -> Value {
    json!({"type": "ok", "step": step})
}

fn error(step: usize) -> Value {
    json!({"type": "error", "step": step})
}

fn not(cond: &Value) -> Value {
    json!({"type": "not", "cond": cond})
}

#[tokio::test]
async fn conditions_look_at_how_steps_before_ended() {
    let server = Server::open().await;
    let (good, bad) = ("SELECT 1", "SELECT nope");
    for (first, condition, expected) in [
        (good, Value::Null, "oo"),
        (good, ok(0), "oo"),
        (bad, ok(0), "es"),
        (good, error(0), "os"),
        (bad, error(0), "eo"),
        (bad, not(&ok(0)), "eo"),
        (good, not(&error(0)), "oo"),
        (good, json!({"type": "and", "conds": []}), "oo"),
        (good, json!({"type": "or", "conds": []}), "os"),
        (good, json!({"type": "and", "conds": [ok(0), error(0)]}), "os"),
        (good, json!({"type": "or", "conds": [error(0), ok(0)]}), "oo"),
        (good, json!({"type": "is_autocommit"}), "oo"),
        ("BEGIN", json!({"type": "is_autocommit"}), "os"),
        (bad, json!({"type": "is_autocommit"}), "eo"),
    ] {
        let result = batch(&server, &[(first, Value::Null), (good, condition.clone())]).await;
        assert_eq!(ended(&result), expected, "{first} {condition}");
    }
}

#[tokio::test]
async fn a_skipped_step_counts_as_an_error_and_an_error_does_not_stop_what_follows() {
    let server = Server::open().await;
    let steps = [("SELECT nope", Value::Null), ("SELECT 1", ok(0)), ("SELECT 2", error(1)), ("SELECT 3", Value::Null)];
    assert_eq!(ended(&batch(&server, &steps).await), "esoo");
}

#[tokio::test]
async fn the_usual_batch_of_a_client_commits_all_or_nothing() {
    let server = Server::open().await;
    sql(&server, "CREATE TABLE t(a UNIQUE)").await;
    for (second, expected, count) in [("INSERT INTO t VALUES(1)", "ooeso", "0"), ("INSERT INTO t VALUES(2)", "oooos", "2")] {
        let steps = [
            ("BEGIN IMMEDIATE", Value::Null),
            ("INSERT INTO t VALUES(1)", ok(0)),
            (second, ok(1)),
            ("COMMIT", ok(2)),
            ("ROLLBACK", not(&ok(3))),
        ];
        assert_eq!(ended(&batch(&server, &steps).await), expected);
        assert_eq!(sql(&server, "SELECT count(*) FROM t").await["rows"][0][0]["value"], count);
    }
}

#[tokio::test]
async fn a_step_without_one_statement_fails_in_its_place() {
    let server = Server::open().await;
    let result = batch(&server, &[("", Value::Null), ("SELECT 1; SELECT 2", Value::Null), ("SELECT 1", error(1))]).await;
    assert_eq!(ended(&result), "eeo");
    assert_eq!(result["step_errors"][0]["code"], "SQL_NO_STATEMENT");
    assert_eq!(result["step_errors"][1]["code"], "SQL_MANY_STATEMENTS");
}

#[tokio::test]
async fn a_migration_turns_foreign_keys_off_and_on_again() {
    let server = Server::open().await;
    let steps = [
        ("PRAGMA foreign_keys=off", Value::Null),
        ("BEGIN", Value::Null),
        ("CREATE TABLE p(a PRIMARY KEY)", ok(1)),
        ("CREATE TABLE c(a REFERENCES p)", ok(2)),
        ("INSERT INTO c VALUES(1)", ok(3)),
        ("COMMIT", ok(4)),
        ("ROLLBACK", not(&ok(5))),
        ("PRAGMA foreign_keys=on", Value::Null),
        ("INSERT INTO c VALUES(2)", Value::Null),
    ];
    let result = batch(&server, &steps).await;
    assert_eq!(ended(&result), "oooooosoe");
    assert_eq!(result["step_errors"][8]["extended_code"], "SQLITE_CONSTRAINT_FOREIGNKEY");
}

#[tokio::test]
async fn a_condition_on_a_step_that_is_not_before_it_or_too_deep_fails_the_request() {
    let server = Server::open().await;
    let mut deep = ok(0);
    for _ in 0..40 {
        deep = not(&deep);
    }
    for condition in [ok(1), error(2), not(&ok(7)), deep, json!({"type": "nope"}), json!({"type": "ok", "step": -1}), json!({})] {
        let steps = json!([{"stmt": {"sql": "SELECT 1"}}, {"stmt": {"sql": "SELECT 2"}, "condition": condition}]);
        let body = json!({"requests": [{"type": "batch", "batch": {"steps": steps}}]});
        assert_eq!(failure(&post(&server, "v3/pipeline", &body).await), failed(400, "BAD_REQUEST"), "{condition}");
    }
}
