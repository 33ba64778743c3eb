//! What the document tells of keys and values.

use axum::http::StatusCode;
use serde_json::json;

use super::batch::Batch;
use super::{Batched, Count, Listed};
use crate::error::Kind;
use crate::openapi::problems::{OF_JSON, OF_READS, OF_WRITES};
use crate::openapi::{Family, Operation, Schema, Tag, bytes, text};

/// Their operations.
pub(crate) fn operations() -> Family {
    let list = Operation::of_database(Tag::Keys, "get", "/kv", "listKeys", "Lists or counts keys, in the order of their bytes.")
        .query("prefix", text(), "Keys that begin with this; every character means itself.")
        .query("after", text(), "Keys behind this one: the `next` of a page. Not with `count`.")
        .with(["limit"])
        .query("count", json!({"type": "string", "enum": [""]}), "Their number is wanted, not the keys.")
        .gives(
            StatusCode::OK,
            json!({"anyOf": [crate::openapi::named("KeyList"), crate::openapi::named("KeyCount")]}),
            "A page of keys, or with `count` how many there are.",
        )
        .of_a_state()
        .fails(OF_READS);
    let batch = Operation::of_database(Tag::Keys, "post", "/kv", "changeKeys", "Sets and deletes several keys, all or none.")
        .takes("application/json", Schema::of::<Batch>())
        .such_as("application/json", &json!({"operations": [{"set": "user/1", "value": "Ada"}, {"delete": "lock"}]}))
        .gives(StatusCode::OK, Schema::of::<Batched>(), "How many were set, and how many deleted.")
        .of_a_state()
        .fails(OF_READS)
        .fails(OF_WRITES)
        .fails(OF_JSON);
    let at_key = |method, id, summary| {
        Operation::of_database(Tag::Keys, method, "/kv/{*key}", id, summary)
            .with(["key", "if-match", "if-none-match"])
            .fails(OF_READS)
            .fails(&[Kind::PreconditionFailed])
    };
    let get = at_key("get", "getValue", "Reads the value of a key.")
        .gives_as(StatusCode::OK, "text/plain", text(), "The value.")
        .gives_as(StatusCode::OK, "application/octet-stream", bytes(), "")
        .telling(["ETag", "Cache-Control", "X-Buckethead-Created-At", "X-Buckethead-Updated-At"])
        .of_a_state()
        .gives_nothing(StatusCode::NOT_MODIFIED, "The value is still that of one of the ETags.")
        .telling(["ETag"])
        .of_a_state()
        .fails(&[Kind::NotFound]);
    let set = at_key("put", "setValue", "Gives a key the body as its value.")
        .more("The `Content-Type` does not matter. A key and its value have less than 16 MiB together.")
        .takes("application/octet-stream", bytes())
        .without_body_too()
        .gives_nothing(StatusCode::NO_CONTENT, "It is set.")
        .telling(["ETag"])
        .of_a_state()
        .fails(OF_WRITES);
    let delete = at_key("delete", "deleteKey", "Deletes a key.")
        .gives_nothing(StatusCode::NO_CONTENT, "It is deleted.")
        .of_a_state()
        .fails(OF_WRITES)
        .fails(&[Kind::NotFound]);
    Family::of_types(vec![list, batch, get, set, delete], [Schema::of::<Listed<'static>>(), Schema::of::<Count>()])
}
