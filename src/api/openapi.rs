//! The API as a document by the rules of OpenAPI, and as a page that is made of it.
//!
//! Owns: how the document is put together and served. Does not own: what each family of routes takes and gives, which it tells beside its
//! handlers; types that are read and written by serde describe themselves.
//! Invariant: the document is made once, when somebody asks for it first, and the same bytes are served from then on.

mod operation;
mod page;
pub(crate) mod problems;
mod shared;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::{Kind, Problem};
use crate::tags::{self, Named};
use crate::{branches, changes, describe, docs, files, health, hrana, kv, metrics, reply, snapshot, sql};

pub(crate) use operation::{Operation, Schema, Tag};
pub(crate) use shared::{bytes, named, text};

/// What the document tells of some routes, and the schemas that they name.
pub(crate) struct Family {
    pub(crate) operations: Vec<Operation>,
    pub(crate) schemas: Vec<(String, Value)>,
}

impl Family {
    /// Of operations whose schemas are those of types.
    pub(crate) fn of(operations: Vec<Operation>) -> Self {
        Self { operations, schemas: Vec::new() }
    }

    /// With types that only other schemas name.
    pub(crate) fn of_types<const N: usize>(operations: Vec<Operation>, types: [Schema; N]) -> Self {
        Self { operations, schemas: types.into_iter().flat_map(Schema::into_named).collect() }
    }
}

fn families() -> [Family; 12] {
    [
        describe::operations(),
        health::operations(),
        metrics::operations(),
        operations(),
        sql::operations(),
        kv::operations(),
        docs::operations(),
        files::operations(),
        changes::operations(),
        hrana::operations(),
        snapshot::operations(),
        branches::operations(),
    ]
}

/// The document, as it is published.
pub fn openapi() -> Value {
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    schemas.extend(shared::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(problems::schemas().into_iter().flat_map(Schema::into_named));
    let (mut paths, mut responses) = (Map::new(), Map::new());
    for Family { operations, schemas: named } in families() {
        schemas.extend(named);
        for operation in operations {
            schemas.extend(operation.schemas.clone());
            let (method, path) = (operation.method, operation.path.clone());
            let item = paths.entry(path).or_insert_with(|| json!({}));
            item[method] = operation.written(&mut responses);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "buckethead",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "SQLite databases in memory, kept in a bucket.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this document was read."}],
        "tags": shared::TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "parameters": shared::parameters(),
            "headers": shared::headers(),
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer", "description": "A token of the database; none where it asks for none.",
            }},
        },
    })
}

const DESCRIPTION: &str = "Paths are those of the operator's own Service and of `dev`; by the Service of a single database they lack \
    `/{namespace}/{name}`. Each `GET` is answered for `HEAD` as well. Unknown members and query parameters are refused by name. A path that is not \
    here is 404, `no-such-route`, and a method that is not, 405, `method-not-allowed`. Errors are problem documents (RFC 9457), but on the routes of \
    libSQL's clients.";

/// What is served, made once.
struct Served {
    body: Bytes,
    etag: HeaderValue,
    /// For browsers, of the page alone.
    policy: Option<HeaderValue>,
}

impl Served {
    fn new(body: String, policy: Option<String>) -> Self {
        // A weak one: the same document may be compressed.
        let etag = format!("W/\"{}\"", digest(body.as_bytes()));
        let plain = |text: String| HeaderValue::try_from(text).expect("digits, letters and marks of ASCII");
        Self { body: body.into(), etag: plain(etag), policy: policy.map(plain) }
    }

    /// Whoever keeps it asks again after some minutes: another version of the program may answer by then.
    fn reply(&self, headers: &HeaderMap, uri: &Uri, content_type: &'static str) -> Result<Response, Problem> {
        reply::no_query(uri.query())?;
        let known = match tags::named(headers, &header::IF_NONE_MATCH)? {
            None => false,
            Some(Named::Any) => true,
            Some(Named::Tags(tags)) => tags.iter().any(|tag| self.etag.as_bytes() == format!("W/\"{}\"", tag.opaque).as_bytes()),
        };
        let kept = [(header::ETAG, self.etag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))];
        let policy = self.policy.clone().map(|policy| [(header::CONTENT_SECURITY_POLICY, policy)]);
        let body = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        let mut response =
            if known { (StatusCode::NOT_MODIFIED, kept).into_response() } else { (kept, body, self.body.clone()).into_response() };
        response.headers_mut().extend(policy.into_iter().flatten());
        Ok(response)
    }
}

/// The document for programs: `GET /openapi.json`.
pub(crate) async fn document(headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    static DOCUMENT: OnceLock<Served> = OnceLock::new();
    DOCUMENT.get_or_init(|| Served::new(openapi().to_string(), None)).reply(&headers, &uri, "application/json")
}

/// The same for people: `GET /reference`.
pub(crate) async fn reference(headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    static PAGE: OnceLock<Served> = OnceLock::new();
    let page = PAGE.get_or_init(|| Served::new(page::of(&openapi()), Some(page::policy())));
    page.reply(&headers, &uri, "text/html; charset=utf-8")
}

fn digest(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// What the document tells of itself.
fn operations() -> Family {
    let of = |path, id, summary| {
        Operation::of_server(Tag::Server, "get", path, id, summary)
            .with(["if-none-match"])
            .gives_nothing(StatusCode::NOT_MODIFIED, "The client has it.")
            .telling(["ETag", "Cache-Control"])
            .fails(&[Kind::BadRequest])
    };
    let document = of("/openapi.json", "showDocument", "Shows this document.")
        .gives(StatusCode::OK, json!({"type": "object", "required": ["openapi", "info", "paths"]}), "The document.")
        .telling(["ETag", "Cache-Control"]);
    let reference = of("/reference", "showReference", "Shows this document as a page, which loads nothing from anywhere.")
        .gives_as(StatusCode::OK, "text/html", text(), "The page.")
        .telling(["ETag", "Cache-Control", "Content-Security-Policy"]);
    Family::of(vec![document, reference])
}

#[cfg(test)]
mod tests;
