//! `POST files` keeps a content, `files/{bh_key}` gives it back, `GET files` tells which there are, `files/{bh_key}/share` lets others have it.
//!
//! Owns: what a file looks like over HTTP. Does not own: where contents lie (`engine`), nor how headers are read (`request`, `range`).

mod disposition;
mod operations;
mod range;
mod request;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::bucket::SharedAs;
use engine::{FileKey, FileRecord};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Kind, Problem};
use crate::{Admitted, App, body, reply};
pub(crate) use operations::operations;
use range::Asked;

/// What the names of headers with a client's own metadata begin with.
const META: &str = "x-buckethead-meta-";

/// Keeps the body under its hash: 201 if the database did not have it, 200 if it had.
pub(crate) async fn put(admitted: Admitted, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    reply::no_query(head.uri.query())?;
    let description = request::description(&head.headers)?;
    let files = admitted.handle.database.files();
    request::fits(&head.headers, files.largest())?;
    let mut intake = files.intake();
    let mut arriving = body.into_data_stream();
    while let Some(chunk) = arriving.next().await {
        let chunk = chunk.map_err(|error| body::broken(&error))?;
        intake = intake.write(chunk).await.map_err(Problem::from)?;
    }
    let content = intake.finish().await.map_err(Problem::from)?;
    let (record, is_new) = files.put(&content, description).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = HeaderValue::from_str(&format!("{}files/{}", admitted.base(), record.key)).expect("names and hashes are plain ASCII");
    Ok((status, [(header::LOCATION, location)], reply::document(&FileReply::of(&record))).into_response())
}

/// The content, or a range of it. The store's connection and the client's are coupled: nothing piles up here, and a break of one is seen by
/// the other.
pub(crate) async fn get(admitted: Admitted, Path(path): Path<FilePath>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let files = admitted.handle.database.files();
    let record = files.head(path.key()?).await?;
    let described = describe(&record);
    match range::asked(&headers, &record.key, record.size) {
        Asked::Unchanged => Ok((StatusCode::NOT_MODIFIED, described).into_response()),
        Asked::Changed => Err(Problem::new(Kind::PreconditionFailed, "If-Match names another content than that of the file")),
        Asked::Nowhere => {
            let of = HeaderValue::from_str(&format!("bytes */{}", record.size)).expect("a number is plain ASCII");
            let problem = Problem::new(Kind::RangeNotSatisfiable, format!("the file has {} bytes", record.size));
            Ok(([(header::CONTENT_RANGE, of)], problem).into_response())
        }
        Asked::Whole => {
            let content = files.get(&record, None).await?;
            let length = [(header::CONTENT_LENGTH, HeaderValue::from(record.size))];
            Ok((described, length, Body::from_stream(content.body)).into_response())
        }
        Asked::Range(range) => {
            let content = files.get(&record, Some(range.clone())).await?;
            let of = format!("bytes {}-{}/{}", range.start, range.end - 1, record.size);
            let headers = [
                (header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start)),
                (header::CONTENT_RANGE, HeaderValue::from_str(&of).expect("numbers are plain ASCII")),
            ];
            Ok((StatusCode::PARTIAL_CONTENT, described, headers, Body::from_stream(content.body)).into_response())
        }
    }
}

/// What is known of a file, without a look at the bucket.
pub(crate) async fn head(admitted: Admitted, Path(path): Path<FilePath>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let record = admitted.handle.database.files().head(path.key()?).await?;
    let described = describe(&record);
    match range::asked(&headers, &record.key, record.size) {
        Asked::Unchanged => Ok((StatusCode::NOT_MODIFIED, described).into_response()),
        Asked::Changed => Err(Problem::new(Kind::PreconditionFailed, "If-Match names another content than that of the file")),
        // Ranges are of GET alone.
        Asked::Nowhere | Asked::Whole | Asked::Range(_) => {
            Ok((described, [(header::CONTENT_LENGTH, HeaderValue::from(record.size))]).into_response())
        }
    }
}

/// How long a URL may be good, in seconds; no store takes a longer one.
const LONGEST_SHARE: u64 = 7 * 24 * 3600;
const USUAL_SHARE: u64 = 3600;

/// What `POST files/{bh_key}/share` takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShareRequest {
    /// How long the URL is good.
    #[serde(default = "usual_share")]
    #[schema(minimum = 1, maximum = 604_800, default = 3600)]
    expires_seconds: u64,
}

fn usual_share() -> u64 {
    USUAL_SHARE
}

#[derive(Serialize, ToSchema)]
#[schema(as = SharedFile)]
struct ShareReply<'a> {
    url: &'a str,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// A URL of the store's that needs no token. Whoever may only read cannot have one, since it outlives their token.
pub(crate) async fn share(
    State(app): State<App>,
    admitted: Admitted,
    Path(path): Path<FilePath>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    reply::no_query(head.uri.query())?;
    let wish = body::read_json(&head.headers, content).await?;
    let wish = if wish.is_empty() { "{}" } else { &wish };
    let ShareRequest { expires_seconds } =
        serde_json::from_str(wish).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    if !(1..=LONGEST_SHARE).contains(&expires_seconds) {
        return Err(Problem::bad_request(format!("expires_seconds: must be 1 to {LONGEST_SHARE}, which is a week")));
    }
    let files = admitted.handle.database.files();
    let record = files.head(path.key()?).await?;
    let lasts = Duration::from_secs(expires_seconds);
    let described = describe(&record);
    let text = |name| described.get(name).and_then(|value| value.to_str().ok()).unwrap_or("attachment").to_owned();
    let shared = SharedAs { content_type: text(header::CONTENT_TYPE), content_disposition: text(header::CONTENT_DISPOSITION) };
    // Taken first, so that it is never told to be good for longer than it is.
    let expires_at = app.clock.wall() + lasts;
    let url = files.share(&record, lasts, shared).await?;
    let reply = reply::document(&ShareReply { url: &url, expires_at: expires_at.to_string() });
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], reply).into_response())
}

/// Removes the file from the database. Its content goes when nobody uses it.
pub(crate) async fn delete(admitted: Admitted, Path(path): Path<FilePath>, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    admitted.handle.database.files().delete(path.key()?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Newest first.
pub(crate) async fn list(admitted: Admitted, uri: Uri) -> Result<Response, Problem> {
    let page = request::page(uri.query().unwrap_or_default())?;
    let records = admitted.handle.database.files().list(page.limit, page.after).await?;
    let is_full = u32::try_from(records.len()).is_ok_and(|len| len == page.limit);
    let next = records.last().filter(|_| is_full).map(|record| record.key.to_string());
    Ok(reply::document(&ListReply { files: records.iter().map(FileReply::of).collect(), next }))
}

/// The last part of the path.
#[derive(Deserialize)]
pub(crate) struct FilePath {
    bh_key: String,
}

impl FilePath {
    /// What can be no key names no file.
    fn key(&self) -> Result<FileKey, Problem> {
        FileKey::parse(&self.bh_key).map_err(|error| Problem::new(Kind::NoSuchFile, error.to_string()))
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = FileList)]
struct ListReply<'a> {
    files: Vec<FileReply<'a>>,
    /// The cursor of the next page, if there may be one.
    #[schema(required)]
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = File)]
struct FileReply<'a> {
    #[schema(pattern = "^[0-9a-f]{64}$")]
    bh_key: String,
    size: u64,
    #[schema(required)]
    mime: Option<&'a str>,
    #[schema(required)]
    filename: Option<&'a str>,
    /// In Unix seconds.
    created_at: f64,
    metadata: &'a std::collections::BTreeMap<String, String>,
}

impl<'a> FileReply<'a> {
    fn of(record: &'a FileRecord) -> Self {
        let engine::Description { mime, filename, metadata } = &record.description;
        let (mime, filename) = (mime.as_deref(), filename.as_deref());
        Self { bh_key: record.key.to_string(), size: record.size, mime, filename, created_at: record.created_at, metadata }
    }
}

/// What the headers tell of a file. Its client chose the type and the names, so a browser must neither guess nor show it: it is saved.
fn describe(record: &FileRecord) -> HeaderMap {
    let engine::Description { mime, filename, metadata } = &record.description;
    let mime = mime.as_deref().filter(|mime| request::is_media_type(mime)).and_then(|mime| HeaderValue::from_str(mime).ok());
    let etag = HeaderValue::from_str(&format!("\"{}\"", record.key)).expect("a hash is plain ASCII");
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, mime.unwrap_or(HeaderValue::from_static("application/octet-stream"))),
        (header::CONTENT_DISPOSITION, disposition::attachment(filename.as_deref())),
        (header::ETAG, etag),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // The content never changes, but the file may go: whoever keeps it asks again.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ]);
    for (name, value) in metadata {
        // What cannot be a header is in the listing alone.
        let name = HeaderName::try_from(format!("{META}{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    }
    headers
}
