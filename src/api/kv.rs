//! `kv/{key}` reads and changes a value, `kv` lists keys and takes batches.

mod batch;
mod condition;
mod operations;

use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::WallTime;
use engine::kv::{Changed, Condition, Entry, Key, ValueDigest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Kind, Problem};
use crate::query::{Query, whole};
use crate::{Admitted, App, body, reply};
pub(crate) use operations::operations;

/// The key that the rest of the path spells.
pub(crate) struct KeyInPath(Key);

impl FromRequestParts<App> for KeyInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Spelled {
            key: String,
        }
        whole(parts.uri.path(), "the path")?;
        let Path(Spelled { key }) =
            Path::from_request_parts(parts, app).await.map_err(|rejection| Problem::bad_request(format!("the path: {rejection}")))?;
        Key::parse(key).map(Self).map_err(|error| Problem::bad_request(format!("the path: {error}")))
    }
}

/// The value of a key. `If-None-Match` saves whoever has it already from reading it again.
pub(crate) async fn get(admitted: Admitted, KeyInPath(key): KeyInPath, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let Condition { if_match, if_none_match } = condition::of(&headers)?;
    let entry = admitted.handle.database.kv().get(key.clone()).await?.ok_or_else(|| missing(&key))?;
    let digest = ValueDigest::of(&entry.value);
    if if_match.is_some_and(|tags| !tags.hold(Some(digest))) {
        return Err(condition_failed(&key));
    }
    if if_none_match.is_some_and(|tags| tags.hold(Some(digest))) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, condition::etag(digest))]).into_response());
    }
    Ok(show(entry, digest))
}

/// Gives the key the body as its value.
pub(crate) async fn set(admitted: Admitted, KeyInPath(key): KeyInPath, request: Request) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    reply::no_query(head.uri.query())?;
    let condition = condition::of(&head.headers)?;
    let value = body::read(&head.headers, content).await?;
    let etag = condition::etag(ValueDigest::of(&value));
    match admitted.handle.database.kv().set(key.clone(), value, condition).await? {
        Changed::Done => Ok((StatusCode::NO_CONTENT, [(header::ETAG, etag)]).into_response()),
        Changed::Missing => Err(missing(&key)),
        Changed::ConditionFailed => Err(condition_failed(&key)),
    }
}

/// Deletes the key.
pub(crate) async fn delete(admitted: Admitted, KeyInPath(key): KeyInPath, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let condition = condition::of(&headers)?;
    match admitted.handle.database.kv().delete(key.clone(), condition).await? {
        Changed::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Changed::Missing => Err(missing(&key)),
        Changed::ConditionFailed => Err(condition_failed(&key)),
    }
}

/// What is at `kv/`: it looks like a key that was forgotten.
pub(crate) async fn no_key(_admitted: Admitted) -> Problem {
    Problem::bad_request("the path: a key has at least one character; without one, ask `kv` for the list of keys")
}

#[derive(Serialize, ToSchema)]
#[schema(as = KeyCount)]
struct Count {
    count: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = KeyList)]
struct Listed<'a> {
    keys: &'a [String],
    /// To be given as `after`; null at the end.
    #[schema(required)]
    next: Option<&'a String>,
}

/// The keys with a prefix, or with `count` how many there are.
pub(crate) async fn list(admitted: Admitted, uri: Uri) -> Result<Response, Problem> {
    let query = Query::parse(uri.query(), &["prefix", "after", "limit", "count"])?;
    let (database, prefix) = (&admitted.handle.database, query.get("prefix").unwrap_or_default());
    match query.get("count") {
        None => {
            let found = database.kv().keys(prefix, query.get("after"), query.limit()?).await?;
            Ok(reply::document(&Listed { keys: &found.keys, next: found.keys.last().filter(|_| found.has_more) }))
        }
        Some("") if query.get("after").is_none() && query.get("limit").is_none() => {
            Ok(reply::document(&Count { count: database.kv().count(prefix).await? }))
        }
        Some("") => Err(Problem::bad_request("query parameter `count` counts all keys of a prefix; leave `after` and `limit` out")),
        Some(_) => Err(Problem::bad_request("query parameter `count` takes no value")),
    }
}

/// How many keys a batch changed.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyBatchDone)]
struct Batched {
    set: u64,
    deleted: u64,
}

/// Several changes, all or none.
pub(crate) async fn batch(admitted: Admitted, request: Request) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    reply::no_query(head.uri.query())?;
    let changes = batch::parse(&body::read_json(&head.headers, content).await?)?;
    let done = admitted.handle.database.kv().batch(changes).await?;
    Ok(reply::document(&Batched { set: done.set, deleted: done.deleted }))
}

fn show(entry: Entry, digest: ValueDigest) -> Response {
    const CREATED: HeaderName = HeaderName::from_static("x-buckethead-created-at");
    const UPDATED: HeaderName = HeaderName::from_static("x-buckethead-updated-at");
    let is_text = str::from_utf8(&entry.value).is_ok();
    let content_type = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let mut response = entry.value.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::ETAG, condition::etag(digest));
    // It may be kept, but whoever keeps it asks whether it is still the one.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, time) in [(CREATED, entry.created_at), (UPDATED, entry.updated_at)] {
        if let Some(time) = time {
            headers.insert(name, written(time));
        }
    }
    response
}

fn written(time: WallTime) -> HeaderValue {
    HeaderValue::from_str(&time.to_string()).expect("a time is plain ASCII")
}

fn missing(key: &Key) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no key `{key}`"))
}

fn condition_failed(key: &Key) -> Problem {
    Problem::new(Kind::PreconditionFailed, format!("the key `{key}` is not as If-Match or If-None-Match demands; read it again"))
}
