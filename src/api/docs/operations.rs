//! What the document tells of collections and documents.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Cleared, Collections, Counted, Created, Indexes, InsertedOne, InsertedSeveral, request};
use crate::error::Kind;
use crate::openapi::problems::{OF_JSON, OF_READS, OF_WRITES};
use crate::openapi::{Family, Operation, Schema, Tag, named};

/// Their operations, and the schemas of what the engine reads by itself.
pub(crate) fn operations() -> Family {
    let mut family = Family::of_types(
        [vec![collections()], of_collection(), searches(), indexes(), of_document()].concat(),
        [Schema::of::<InsertedOne<'static>>(), Schema::of::<InsertedSeveral<'static>>()],
    );
    family.schemas.extend(schemas());
    family
}

fn operation(method: &'static str, path: &str, id: &'static str, summary: &'static str) -> Operation {
    Operation::of_database(Tag::Documents, method, path, id, summary).fails(OF_READS)
}

fn collections() -> Operation {
    operation("get", "/docs", "listCollections", "Lists collections, and how many documents each has.")
        .gives(StatusCode::OK, Schema::of::<Collections<'static>>(), "All collections.")
        .of_a_state()
}

fn of_collection() -> Vec<Operation> {
    let at = |method, id, summary| operation(method, "/docs/{collection}", id, summary).with(["collection"]);
    vec![
        at("post", "insertDocuments", "Inserts one document, or several of which all or none are inserted.")
            .more("Without an `_id`, with `null` or with `\"\"`, a document is given one.")
            .takes("application/json", json!({"anyOf": [named("NewDocument"), {"type": "array", "items": named("NewDocument")}]}))
            .such_as("application/json", &json!({"_id": "ada", "name": "Ada", "age": 36}))
            .gives(StatusCode::CREATED, json!({"anyOf": [named("InsertedDocument"), named("InsertedDocuments")]}), "The ids.")
            .of_a_state()
            .fails(OF_WRITES)
            .fails(OF_JSON),
        at("get", "listDocuments", "Lists documents by their age.")
            .with(["limit"])
            .query("after", json!({"type": "string"}), "Documents behind this one: the `next` of a page.")
            .gives(StatusCode::OK, found("next", &json!({"type": ["string", "null"]})), "A page of documents.")
            .of_a_state(),
        at("delete", "deleteDocuments", "Deletes all documents of a collection.")
            .gives(StatusCode::OK, Schema::of::<Cleared>(), "How many there were.")
            .of_a_state()
            .fails(OF_WRITES),
    ]
}

fn searches() -> Vec<Operation> {
    let at = |path, id, summary| operation("post", path, id, summary).with(["collection"]).only_reads().fails(OF_JSON);
    vec![
        at("/docs/{collection}/find", "findDocuments", "Finds documents.")
            .takes("application/json", Schema::of::<request::FindBody<'static>>())
            .such_as("application/json", &json!({"filter": {"age": {"$gte": 18}}, "sort": {"age": -1}, "limit": 10}))
            .without_body_too()
            .gives(StatusCode::OK, found("truncated", &json!({"type": "boolean"})), "The documents that the filter means.")
            .of_a_state(),
        at("/docs/{collection}/count", "countDocuments", "Counts documents.")
            .takes("application/json", Schema::of::<request::CountBody<'static>>())
            .such_as("application/json", &json!({"filter": {"tags": "maths"}}))
            .without_body_too()
            .gives(StatusCode::OK, Schema::of::<Counted>(), "How many documents the filter means.")
            .of_a_state(),
    ]
}

fn indexes() -> Vec<Operation> {
    let at = |method, id, summary| operation(method, "/docs/{collection}/indexes", id, summary).with(["collection"]);
    vec![
        at("get", "listIndexes", "Lists the paths that have an index, which serves every collection.")
            .gives(StatusCode::OK, Schema::of::<Indexes>(), "The paths.")
            .of_a_state(),
        at("post", "createIndex", "Makes an index on a path.")
            .takes("application/json", Schema::of::<request::IndexBody>())
            .such_as("application/json", &json!({"path": "address.city"}))
            .gives(StatusCode::CREATED, Schema::of::<Created>(), "It is made.")
            .of_a_state()
            .gives(StatusCode::OK, Schema::of::<Created>(), "It was there.")
            .of_a_state()
            .fails(OF_WRITES)
            .fails(OF_JSON),
        at("delete", "dropIndex", "Drops the index on a path.")
            .needs_query("path", json!({"type": "string", "examples": ["address.city"]}), "The path of the index.")
            .gives_nothing(StatusCode::NO_CONTENT, "It is gone.")
            .of_a_state()
            .fails(OF_WRITES)
            .fails(&[Kind::NotFound]),
    ]
}

fn of_document() -> Vec<Operation> {
    let at =
        |method, id, summary| operation(method, "/docs/{collection}/{id}", id, summary).with(["collection", "id"]).fails(&[Kind::NotFound]);
    vec![
        at("get", "getDocument", "Reads a document.")
            .gives(StatusCode::OK, named("Document"), "The document, as it was written.")
            .of_a_state(),
        at("put", "replaceDocument", "Puts another document in the place of one that is there.")
            .takes("application/json", named("DocumentContent"))
            .such_as("application/json", &json!({"name": "Ada", "age": 38}))
            .gives_nothing(StatusCode::NO_CONTENT, "It is replaced.")
            .of_a_state()
            .fails(OF_WRITES)
            .fails(OF_JSON),
        at("patch", "updateDocument", "Replaces members of a document, each as a whole.")
            .takes("application/json", named("DocumentContent"))
            .such_as("application/json", &json!({"age": 37}))
            .gives(StatusCode::OK, named("Document"), "What became of the document.")
            .of_a_state()
            .fails(OF_WRITES)
            .fails(OF_JSON),
        at("delete", "deleteDocument", "Deletes a document.")
            .gives_nothing(StatusCode::NO_CONTENT, "It is deleted.")
            .of_a_state()
            .fails(OF_WRITES),
    ]
}

/// Documents, and what tells of more.
fn found(more: &str, schema: &Value) -> Value {
    json!({
        "type": "object", "required": ["documents", more], "additionalProperties": false,
        "properties": {"documents": {"type": "array", "items": named("Document")}, more: schema},
    })
}

fn schemas() -> Vec<(String, Value)> {
    let rows = [
        (
            "NewDocument",
            json!({
                "type": "object", "additionalProperties": true,
                "properties": {"_id": {"type": ["string", "null"], "maxLength": 1024}},
                "description": "An object that names no member twice, with at most 127 levels.",
            }),
        ),
        (
            "DocumentContent",
            json!({"type": "object", "additionalProperties": true, "description": "A `NewDocument`, whose `_id` counts for nothing."}),
        ),
        ("Document", json!({"type": "object", "additionalProperties": true, "properties": {"_id": {"type": "string"}}})),
        (
            "Filter",
            json!({
                "type": "object", "additionalProperties": true,
                "description": "Paths with values, or with operators: `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`, `$nin`, `$exists`, \
                                `$regex` with `$options`, `$elemMatch`, `$not`; and `$and`, `$or`, `$nor` in the place of a path.",
            }),
        ),
        (
            "Sort",
            json!({
                "type": "object", "maxProperties": 16, "additionalProperties": {"enum": [1, -1]},
                "description": "Paths in their order, upwards or downwards.",
            }),
        ),
        (
            "Projection",
            json!({"type": "object", "additionalProperties": {"enum": [0, 1, false, true]}, "description": "Paths, all with 1 or all with 0; `_id` may differ."}),
        ),
    ];
    rows.map(|(name, schema)| (name.to_owned(), schema)).into()
}
