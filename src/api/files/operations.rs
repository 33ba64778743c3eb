//! What the document tells of files.

use axum::http::StatusCode;
use serde_json::json;

use super::request::LARGEST_PAGE;
use super::{FileReply, ListReply, ShareReply, ShareRequest};
use crate::error::Kind;
use crate::openapi::problems::{OF_JSON, OF_READS, OF_WRITES};
use crate::openapi::{Family, Operation, Schema, Tag, bytes, named, text};

/// Their operations.
pub(crate) fn operations() -> Family {
    Family::of(vec![put(), list(), get(), head(), share(), delete()])
}

fn operation(method: &'static str, path: &str, id: &'static str, summary: &'static str) -> Operation {
    Operation::of_database(Tag::Files, method, path, id, summary).fails(OF_READS)
}

fn put() -> Operation {
    let disposition = json!({"type": "string", "minLength": 1, "examples": ["attachment; filename=\"hello.txt\""]});
    operation("post", "/files", "putFile", "Keeps the body as a file, under its SHA-256.")
        .more(
            "Each header may be left out. Headers `X-Buckethead-Meta-…` are kept as metadata. `application/x-www-form-urlencoded`, which `curl` \
             sends by itself, counts as no type.",
        )
        .header("Content-Disposition", disposition, "The file's name, as `filename` or `filename*`, of at most 1024 bytes.")
        .takes("*/*", bytes())
        .without_body_too()
        .gives(StatusCode::CREATED, Schema::of::<FileReply<'static>>(), "The database has it from now on.")
        .telling(["Location"])
        .of_a_state()
        .gives(StatusCode::OK, Schema::of::<FileReply<'static>>(), "The database had it; nothing about it changes.")
        .telling(["Location"])
        .of_a_state()
        .fails(OF_WRITES)
        .fails(&[Kind::UnsupportedMediaType, Kind::SpoolFull, Kind::FileBusy])
}

fn list() -> Operation {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": super::request::PAGE});
    operation("get", "/files", "listFiles", "Lists files, the newest first.")
        .query("limit", limit, "How many are wanted.")
        .query("after", named("Sha256"), "Files behind this one: the `next` of a page.")
        .gives(StatusCode::OK, Schema::of::<ListReply<'static>>(), "A page of files.")
        .of_a_state()
}

fn at_key(method: &'static str, path: &str, id: &'static str, summary: &'static str) -> Operation {
    operation(method, path, id, summary).with(["bh_key"]).fails(&[Kind::NoSuchFile])
}

impl Operation {
    /// Unlike those of other routes they are not refused where they are malformed: then they name no content.
    fn conditions(self) -> Self {
        self.header("If-Match", text(), "Only if the file has one of these ETags; otherwise 412.").header(
            "If-None-Match",
            text(),
            "Only if the file has none of these ETags; otherwise 304.",
        )
    }
}

const DESCRIBED: [&str; 4] = ["ETag", "Accept-Ranges", "Content-Disposition", "Cache-Control"];

fn get() -> Operation {
    at_key("get", "/files/{bh_key}", "getFile", "Reads a file, or a range of it.")
        .more(
            "Metadata come back as headers `X-Buckethead-Meta-…`. Several ranges, and what is no range, are answered with the whole file.",
        )
        .conditions()
        .header("Range", json!({"type": "string", "examples": ["bytes=1-3"]}), "The bytes that are wanted.")
        .header("If-Range", text(), "The ETag of the content of which the range is wanted.")
        .gives_as(StatusCode::OK, "*/*", bytes(), "The content.")
        .telling(DESCRIBED)
        .of_a_state()
        .gives_as(StatusCode::PARTIAL_CONTENT, "*/*", bytes(), "A range of the content.")
        .telling(DESCRIBED)
        .telling(["Content-Range"])
        .of_a_state()
        .gives_nothing(StatusCode::NOT_MODIFIED, "The client has it.")
        .telling(DESCRIBED)
        .of_a_state()
        .fails(&[Kind::PreconditionFailed, Kind::RangeNotSatisfiable, Kind::FileLost])
}

fn head() -> Operation {
    at_key("head", "/files/{bh_key}", "headFile", "Tells what is known of a file, without a look at the bucket.")
        .conditions()
        .gives_nothing(StatusCode::OK, "The database has it.")
        .telling(DESCRIBED)
        .of_a_state()
        .gives_nothing(StatusCode::NOT_MODIFIED, "The client has it.")
        .telling(DESCRIBED)
        .of_a_state()
        .fails(&[Kind::PreconditionFailed])
}

fn share() -> Operation {
    at_key(
        "post",
        "/files/{bh_key}/share",
        "shareFile",
        "Gives a URL of the store's, by which others get the content without a token until it expires.",
    )
    .more("It cannot be taken back. Deleting the file does not end it before gc has deleted the content.")
    .takes("application/json", Schema::of::<ShareRequest>())
    .such_as("application/json", &json!({"expires_seconds": 600}))
    .without_body_too()
    .gives(StatusCode::OK, Schema::of::<ShareReply<'static>>(), "The URL.")
    .of_a_state()
    .fails(&[Kind::FileLost])
    .fails(OF_JSON)
}

fn delete() -> Operation {
    at_key("delete", "/files/{bh_key}", "deleteFile", "Removes a file from the database; its content goes when nobody uses it.")
        .gives_nothing(StatusCode::NO_CONTENT, "The database does not have it any more.")
        .of_a_state()
        .fails(OF_WRITES)
}
