//! What the document tells of `sql`, and of the first API of sqld.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::format::ARROW;
use crate::error::Kind;
use crate::openapi::problems::{OF_READS, OF_STATEMENTS, OF_WRITES};
use crate::openapi::{Family, Operation, Tag, bytes, named, text};

/// Their operations, and the schemas of what `request`, `answer` and `export` read and write.
pub(crate) fn operations() -> Family {
    Family {
        operations: vec![query(), run(), run_for_sqld(""), run_for_sqld("/")],
        schemas: requests().into_iter().chain(replies()).map(|(name, schema)| (name.to_owned(), schema)).collect(),
    }
}

fn query() -> Operation {
    let params = json!({"type": "string", "contentMediaType": "application/json", "contentSchema": named("SqlParams")});
    Operation::of_database(Tag::Sql, "get", "/sql", "querySql", "Runs statements that only read.")
        .more(
            "`QUERY` (RFC 10008), which this version of OpenAPI has no word for, takes the body of a `POST` and reads like `GET`. A past state is \
             put together from the bucket, beside the present; `X-Durable-Txid` is its number then. For a table of Arrow's the statement runs twice.",
        )
        .needs_query("q", json!({"type": "string", "examples": ["select 1"]}), "The SQL to run.")
        .query("params", params, "The values of its parameters, as JSON: an array by position, or an object by name.")
        .with(["shape", "ints", "values", "if-match", "if-none-match", "prefer"])
        .results()
        .telling(["ETag", "Cache-Control"])
        .gives_nothing(StatusCode::NOT_MODIFIED, "The state is still that of one of the ETags. Nothing ran.")
        .telling(["ETag", "Cache-Control"])
        .of_a_state()
        .fails(&[Kind::NotAcceptable, Kind::PreconditionFailed])
        .fails(OF_READS)
        .fails(OF_STATEMENTS)
}

fn run() -> Operation {
    let key = json!({"type": "string", "pattern": "^(\"[!-~]{1,255}\"|[!-~]{1,255})$"});
    Operation::of_database(Tag::Sql, "post", "/sql", "runSql", "Runs statements, as one transaction unless it says otherwise.")
        .more(
            "Those of a token that permits reading alone run as reads. Without a `Content-Type`, and with `application/x-www-form-urlencoded`, the \
             body is SQL: nothing is decoded.",
        )
        .only_reads()
        .takes("application/json", named("SqlRequest"))
        .such_as("application/json", &json!({"sql": "select ? + 1 as n", "params": [41]}))
        .takes("text/plain", text())
        .such_as("text/plain", &json!("select 1"))
        .with(["shape", "ints", "values", "if-match", "if-none-match", "prefer"])
        .header("Idempotency-Key", key, "Makes the request run once, however often it is sent. The answer is kept for 24 hours.")
        .results()
        .telling(["Idempotent-Replayed"])
        .fails(&[Kind::NotAcceptable, Kind::PreconditionFailed, Kind::UnsupportedMediaType])
        .fails(&[Kind::IdempotencyKeyReused, Kind::IdempotencyKeyInUse])
        .fails(OF_READS)
        .fails(OF_STATEMENTS)
        .fails(OF_WRITES)
        .fails(&[Kind::SqlTransactionEnded, Kind::DatabaseReadOnly])
}

impl Operation {
    fn results(self) -> Self {
        self.gives_nothing(StatusCode::NO_CONTENT, "It is done; `Prefer: return=minimal` wants no rows.")
            .telling(["Preference-Applied"])
            .of_a_state()
            .gives(
                StatusCode::OK,
                named("SqlResults"),
                "A result for each statement, in the form that `Accept` asks for, which is JSON where it is absent.",
            )
            .gives_as(StatusCode::OK, "application/x-ndjson", named("SqlLines"), "")
            .gives_as(StatusCode::OK, "text/csv", text(), "")
            .gives_as(StatusCode::OK, ARROW, bytes(), "")
            .telling(["Preference-Applied"])
            .of_a_state()
    }
}

fn run_for_sqld(path: &str) -> Operation {
    let id = if path.is_empty() { "runSqldAtBase" } else { "runSqld" };
    Operation::of_database(Tag::Hrana, "post", path, id, "Runs statements as the first API of sqld has it, which drivers of JDBC speak.")
        .more("All are one transaction, and each is one statement. The body is JSON, whatever its `Content-Type`.")
        .speaks_hrana()
        .takes("application/json", named("SqldRequest"))
        .such_as("application/json", &json!({"statements": ["select 1 as one", {"q": "select :a as a", "params": {"a": 2}}]}))
        .gives(StatusCode::OK, json!({"type": "array", "items": named("SqldResult")}), "A result for each statement, in their order.")
        .of_a_state()
        .fails(OF_READS)
        .fails(OF_STATEMENTS)
        .fails(OF_WRITES)
        .fails(&[Kind::DatabaseReadOnly])
}

/// An object with one member.
fn only(name: &str, of: &Value) -> Value {
    json!({"type": "object", "required": [name], "additionalProperties": false, "properties": {name: of}})
}

fn base64() -> Value {
    only("base64", &json!({"type": "string", "contentEncoding": "base64"}))
}

fn float() -> Value {
    only("float", &json!({"enum": ["Infinity", "-Infinity"]}))
}

fn integer() -> Value {
    json!({"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX})
}

fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

/// What `request` reads.
fn requests() -> Vec<(&'static str, Value)> {
    let params = || json!({"anyOf": [named("SqlParams"), {"type": "null"}]});
    let transaction = || json!({"enum": ["immediate", "none", null], "description": "`none` lets each commit by itself."});
    vec![
        (
            "SqlArgument",
            json!({
                "description": "A value to bind. `true` and `false` are 1 and 0.",
                "anyOf": [{"type": "null"}, {"type": "boolean"}, integer(), {"type": "number"}, {"type": "string"}, base64(), float()],
            }),
        ),
        (
            "SqlParams",
            json!({
                "description": "By position or by name.",
                "anyOf": [{"type": "array", "items": named("SqlArgument")}, {"type": "object", "additionalProperties": named("SqlArgument")}],
            }),
        ),
        (
            "SqlStatement",
            json!({
                "type": "object", "required": ["sql"], "additionalProperties": false, "properties": {"sql": {"type": "string"}, "params": params()},
            }),
        ),
        (
            "SqlRequest",
            json!({
                "anyOf": [
                    {"type": "object", "required": ["sql"], "additionalProperties": false,
                        "properties": {"sql": {"type": "string"}, "params": params(), "statements": {"type": "null"}, "transaction": transaction()}},
                    {"type": "object", "required": ["statements"], "additionalProperties": false,
                        "properties": {
                        "statements": list(&named("SqlStatement")), "sql": {"type": "null"}, "params": {"type": "null"},
                        "transaction": transaction(),
                    }},
                ],
            }),
        ),
        (
            "SqldRequest",
            json!({
                "type": "object", "required": ["statements"],
                "properties": {"statements": list(&json!({"anyOf": [
                    {"type": "string"},
                    {"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}, "params": params()}},
                ]}))},
            }),
        ),
    ]
}

/// What `answer`, `export` and `sqld` write.
fn replies() -> Vec<(&'static str, Value)> {
    let done = json!({"rows_affected": {"type": "integer", "minimum": 0}, "last_insert_rowid": {"type": ["integer", "null"]}});
    let count = || json!({"type": "integer", "minimum": 0});
    vec![
        (
            "SqlColumn",
            json!({
                "type": "object", "required": ["name", "type"], "additionalProperties": false,
                "properties": {
                "name": {"type": "string"},
                "type": {"type": ["string", "null"], "description": "The declared type, if the column comes from a table."},
            },
            }),
        ),
        (
            "SqlValue",
            json!({
                "description": "An INTEGER is in digits alone, a REAL has a point or an exponent, a BLOB is `base64`. With `values=tagged` it is a `HranaValue`.",
                "anyOf": [{"type": "null"}, integer(), {"type": "number"}, {"type": "string"}, base64(), float(), named("HranaValue")],
            }),
        ),
        (
            "SqlRow",
            json!({
                "description": "With `shape=objects` an object.",
                "anyOf": [list(&named("SqlValue")), {"type": "object", "additionalProperties": named("SqlValue")}],
            }),
        ),
        (
            "SqlResult",
            json!({
                "type": "object", "additionalProperties": false,
                "required": ["columns", "rows", "row_count", "truncated", "rows_affected", "last_insert_rowid"],
                "properties": {
                    "columns": list(&named("SqlColumn")), "rows": list(&named("SqlRow")), "row_count": count(),
                    "truncated": {"type": "boolean", "description": "There were more rows than `limits.maxRows`."},
                    "rows_affected": done["rows_affected"], "last_insert_rowid": done["last_insert_rowid"],
                },
            }),
        ),
        (
            "SqlResults",
            json!({
                "type": "object", "required": ["results", "time_ms"], "additionalProperties": false,
                "properties": {"results": list(&named("SqlResult")), "time_ms": {"type": "number", "minimum": 0}},
            }),
        ),
        (
            "SqlLines",
            json!({
                "type": "string",
                "description": "Lines of JSON, for each statement: `{columns: [SqlColumn]}`, each row as a `SqlRow`, and \
                                `{end: {row_count, rows_affected, last_insert_rowid}}`. What fails late ends with `{error: Problem}`.",
            }),
        ),
        (
            "SqldResult",
            json!({
                "type": "object", "required": ["results"], "additionalProperties": false,
                "properties": {"results": {
                    "type": "object", "additionalProperties": false,
                "required": ["columns", "rows", "truncated", "rows_read", "rows_written", "query_duration_ms"],
                    "properties": {
                        "columns": list(&json!({"type": "string"})), "rows": list(&list(&named("SqlValue"))), "truncated": {"type": "boolean"},
                        "rows_read": count(), "rows_written": count(), "query_duration_ms": {"type": "number", "minimum": 0},
                    },
                }},
            }),
        ),
    ]
}
