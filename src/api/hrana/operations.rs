//! What the document tells of Hrana over HTTP.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Refused;
use super::message::Failure;
use crate::error::Kind;
use crate::openapi::problems::{OF_READS, OF_STATEMENTS, OF_WRITES};
use crate::openapi::{Family, Operation, Schema, Tag, bytes, named, text};

/// Of requests to a stream.
const OF_STREAMS: &[Kind] = &[
    Kind::BadBaton,
    Kind::StreamExpired,
    Kind::StreamLost,
    Kind::StreamNotFound,
    Kind::StreamBusy,
    Kind::TooManyStreams,
    Kind::SqlTransactionEnded,
];

/// Their operations, and the schemas of what `message` and `encode` read and write.
pub(crate) fn operations() -> Family {
    let operations = vec![
        supported("/v2", "supportsHrana2"),
        supported("/v3", "supportsHrana3"),
        supported("/v3-protobuf", "supportsHrana3InProtobuf"),
        socket(),
        alone("/v1/execute", "executeAlone", "Runs a statement without a stream.", "HranaOneStmt", "HranaOneResult"),
        alone("/v1/batch", "batchAlone", "Runs a batch without a stream.", "HranaOneBatch", "HranaOneBatchResult"),
        pipeline("/v2/pipeline", "pipeline2"),
        pipeline("/v3/pipeline", "pipeline3"),
        cursor(),
        protobuf("/v3-protobuf/pipeline", "pipeline3InProtobuf", "Sends requests to a stream, in Protocol Buffers."),
        protobuf("/v3-protobuf/cursor", "cursor3InProtobuf", "Runs a batch whose rows are sent as they come, in Protocol Buffers."),
    ];
    let mut family = Family::of_types(operations, [Schema::of::<Failure>(), Schema::of::<Refused<'static>>()]);
    family.schemas.extend(messages().into_iter().chain(replies()).map(|(name, schema)| (name.to_owned(), schema)));
    family
}

fn supported(path: &str, id: &'static str) -> Operation {
    Operation::of_any(Tag::Hrana, "get", path, id, "Says that this version is spoken.").gives_nothing(StatusCode::OK, "It is.")
}

fn socket() -> Operation {
    Operation::of_any(Tag::Hrana, "get", "", "openSocket", "Opens a socket; clients take its URL as it was given to them.")
        .with(["durability"])
        .more("Without `Upgrade: websocket` nothing is here. Subprotocols are `hrana1`, `hrana2`, `hrana3` and `hrana3-protobuf`.")
        .gives_nothing(StatusCode::SWITCHING_PROTOCOLS, "A socket of libSQL's clients.")
        .telling(["Upgrade"])
        .fails(&[Kind::NoSuchRoute])
}

fn operation(path: &str, id: &'static str, summary: &'static str) -> Operation {
    Operation::of_database(Tag::Hrana, "post", path, id, summary)
        .speaks_hrana()
        .fails(OF_READS)
        .fails(OF_STATEMENTS)
        .fails(OF_WRITES)
        .fails(&[Kind::TooManyStreams])
}

fn alone(path: &str, id: &'static str, summary: &'static str, takes: &str, gives: &str) -> Operation {
    let stmt = json!({"sql": "select 1 as one"});
    let example = if path.ends_with("batch") { json!({"batch": {"steps": [{"stmt": stmt}]}}) } else { json!({"stmt": stmt}) };
    operation(path, id, summary)
        .more("What it leaves open is rolled back. A statement that fails is 400, with SQLite's code.")
        .takes("application/json", named(takes))
        .such_as("application/json", &example)
        .gives(StatusCode::OK, named(gives), "What came of it.")
}

const PIPELINE: &str =
    "Without a baton they go to a new stream; each reply has the baton for the next. The body is JSON, whatever its `Content-Type`.";

fn pipeline(path: &str, id: &'static str) -> Operation {
    operation(path, id, "Sends requests to a stream, one after the other.")
        .more(PIPELINE)
        .fails(OF_STREAMS)
        .takes("application/json", named("HranaPipeline"))
        .such_as("application/json", &json!({"requests": [{"type": "execute", "stmt": {"sql": "select 1 as one"}}, {"type": "close"}]}))
        .gives(StatusCode::OK, named("HranaPipelineReply"), "What came of each request.")
}

fn cursor() -> Operation {
    operation("/v3/cursor", "cursor3", "Runs a batch whose rows are sent as they come.")
        .fails(OF_STREAMS)
        .takes("application/json", named("HranaCursor"))
        .such_as("application/json", &json!({"batch": {"steps": [{"stmt": {"sql": "select 1 as one"}}]}}))
        .gives_as(
            StatusCode::OK,
            "application/x-ndjson",
            text(),
            "A line with the baton, and a line for each entry: `step_begin`, `row`, `step_end`, `step_error`, `error`.",
        )
        .telling(["Cache-Control"])
}

fn protobuf(path: &str, id: &'static str, summary: &'static str) -> Operation {
    operation(path, id, summary)
        .more("The messages are those of Hrana 3. The body is read as one, whatever its `Content-Type`; what fails is JSON.")
        .fails(OF_STREAMS)
        .takes("application/x-protobuf", bytes())
        .without_body_too()
        .gives_as(StatusCode::OK, "application/x-protobuf", bytes(), "The reply; entries of a cursor have their lengths before them.")
}

/// What clients send. Unknown members are ignored, and each that may be left out may be null.
fn messages() -> Vec<(&'static str, Value)> {
    let number = || json!({"type": ["integer", "null"], "format": "int32"});
    let text = || json!({"type": ["string", "null"]});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let tagged = |word: &str, members: Value| {
        let mut required: Vec<String> = members.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        required.push("type".to_owned());
        let mut properties = members;
        properties["type"] = json!({"const": word});
        json!({"type": "object", "required": required, "properties": properties})
    };
    let either = |word: &str| {
        let properties = json!({"type": {"const": word}, "sql": text(), "sql_id": number()});
        json!({"type": "object", "required": ["type"], "properties": properties, "description": "`sql`, or `sql_id`."})
    };
    let step = || json!({"type": "integer", "minimum": 0});
    let conditions = || json!({"type": "array", "items": named("HranaCondition")});
    let stored = || json!({"type": "integer", "format": "int32"});
    vec![
        (
            "HranaArgument",
            json!({"oneOf": [
                tagged("null", json!({})),
                tagged("integer", json!({"value": {"anyOf": [
                    {"type": "string", "pattern": "^[+-]?[0-9]+$"}, {"type": "integer", "format": "int64"},
                ]}})),
                tagged("float", json!({"value": {"type": "number"}})),
                tagged("text", json!({"value": {"type": "string"}})),
                tagged("blob", json!({"base64": {"type": "string", "contentEncoding": "base64"}})),
            ]}),
        ),
        (
            "HranaStmt",
            json!({
                "type": "object", "description": "`sql`, or `sql_id` of a text that was stored; `args` by position or `named_args` by name.",
                "properties": {
                    "sql": text(), "sql_id": number(), "want_rows": {"type": ["boolean", "null"]},
                    "args": {"type": ["array", "null"], "items": named("HranaArgument")},
                    "named_args": {"type": ["array", "null"], "items": {"type": "object", "required": ["name", "value"],
                        "properties": {"name": {"type": "string"}, "value": named("HranaArgument")}}},
                },
            }),
        ),
        (
            "HranaCondition",
            json!({"description": "Whether a step runs: at most 32 levels, and about steps before it.", "oneOf": [
                tagged("ok", json!({"step": step()})), tagged("error", json!({"step": step()})), tagged("not", json!({"cond": named("HranaCondition")})),
                tagged("and", json!({"conds": conditions()})), tagged("or", json!({"conds": conditions()})), tagged("is_autocommit", json!({})),
            ]}),
        ),
        (
            "HranaBatch",
            object(
                &["steps"],
                json!({"steps": {"type": "array", "items": {"type": "object", "required": ["stmt"],
            "properties": {"stmt": named("HranaStmt"), "condition": {"anyOf": [named("HranaCondition"), {"type": "null"}]}}}}}),
            ),
        ),
        (
            "HranaRequest",
            json!({"oneOf": [
                tagged("execute", json!({"stmt": named("HranaStmt")})), tagged("batch", json!({"batch": named("HranaBatch")})),
                either("sequence"), either("describe"),
                tagged("store_sql", json!({"sql_id": stored(), "sql": {"type": "string"}})), tagged("close_sql", json!({"sql_id": stored()})),
                tagged("get_autocommit", json!({})), tagged("close", json!({})),
            ]}),
        ),
        (
            "HranaPipeline",
            object(
                &["requests"],
                json!({"baton": text(), "requests": {"type": "array", "items": named("HranaRequest"), "description": "Nothing follows `close`."}}),
            ),
        ),
        ("HranaCursor", object(&["batch"], json!({"baton": text(), "batch": named("HranaBatch")}))),
        ("HranaOneStmt", object(&["stmt"], json!({"stmt": named("HranaStmt")}))),
        ("HranaOneBatch", object(&["batch"], json!({"batch": named("HranaBatch")}))),
    ]
}

/// What they are sent.
fn replies() -> Vec<(&'static str, Value)> {
    let object = |properties: Value| {
        let required: Vec<_> = properties.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
    };
    let list = |items: Value| json!({"type": "array", "items": items});
    let or_null = |name: &str| json!({"anyOf": [named(name), {"type": "null"}]});
    let of = |word: &str, mut members: Value| {
        members["type"] = json!({"const": word});
        object(members)
    };
    vec![
        (
            "HranaValue",
            json!({"oneOf": [
                of("null", json!({})), of("integer", json!({"value": {"type": "string", "pattern": "^-?[0-9]+$"}})),
                of("float", json!({"value": {"type": ["number", "null"], "description": "Infinity, which JSON has not, is null."}})),
                of("text", json!({"value": {"type": "string"}})),
                of("blob", json!({"base64": {"type": "string", "contentEncoding": "base64", "description": "Without padding."}})),
            ]}),
        ),
        ("HranaColumn", object(json!({"name": {"type": "string"}, "decltype": {"type": ["string", "null"]}}))),
        (
            "HranaResult",
            object(json!({
                "cols": list(named("HranaColumn")), "rows": list(list(named("HranaValue"))),
                "affected_row_count": {"type": "integer", "minimum": 0}, "last_insert_rowid": {"type": ["string", "null"], "pattern": "^-?[0-9]+$"},
            })),
        ),
        ("HranaBatchResult", object(json!({"step_results": list(or_null("HranaResult")), "step_errors": list(or_null("HranaFailure"))}))),
        (
            "HranaDescription",
            object(json!({
                "params": list(object(json!({"name": {"type": ["string", "null"]}}))), "cols": list(named("HranaColumn")),
                "is_explain": {"type": "boolean"}, "is_readonly": {"type": "boolean"},
            })),
        ),
        (
            "HranaResponse",
            json!({"oneOf": [
                of("execute", json!({"result": named("HranaResult")})), of("batch", json!({"result": named("HranaBatchResult")})),
                of("sequence", json!({})),
                of("describe", json!({"result": named("HranaDescription")})), of("store_sql", json!({})), of("close_sql", json!({})),
                of("get_autocommit", json!({"is_autocommit": {"type": "boolean"}})), of("close", json!({})),
            ]}),
        ),
        (
            "HranaPipelineReply",
            object(json!({
                "results": list(json!({"oneOf": [
                    of("ok", json!({"response": named("HranaResponse")})), of("error", json!({"error": named("HranaFailure")})),
                ]})),
                "baton": {"type": ["string", "null"]}, "base_url": {"type": ["string", "null"]},
            })),
        ),
        ("HranaOneResult", object(json!({"result": named("HranaResult")}))),
        ("HranaOneBatchResult", object(json!({"result": named("HranaBatchResult")}))),
    ]
}
