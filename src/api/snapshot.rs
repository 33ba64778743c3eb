//! `GET snapshot` hands out the database as a file, `POST flush` brings it into the bucket, `POST verify` proves that it can be had from there.

use std::io::{self, Read};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{Flush, Flushed, SnapshotFacts, Verified};
use futures::{Stream, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use crate::error::{Kind, Problem};
use crate::openapi::{Family, Operation, Schema, Tag, bytes};
use crate::{Admitted, App, reply};

/// How much of the file is read at a time: all that one download holds besides its pin.
const CHUNK: usize = 256 << 10;

/// The newest version as a SQLite file, or a past state. Later commits do not disturb it.
pub(crate) async fn download(admitted: Admitted, uri: Uri) -> Result<Response, Problem> {
    if let Some((name, _)) = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).next() {
        return Err(Problem::bad_request(format!("query parameter `{name}` is unknown; there are `txid` and `at`")));
    }
    let database = admitted.handle.database;
    let pin = database.pinned().await?;
    let filename = format!("attachment; filename=\"{}.db\"", admitted.name.name());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3")),
        (header::CONTENT_LENGTH, HeaderValue::from(pin.size())),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&filename).expect("names of resources are plain ASCII")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(chunks(pin.image(), database))).into_response())
}

/// The bytes of `reader`. Each chunk is read when the client is ready for it, in a task that ends with it: a slow client holds no
/// thread, and one that went away leaves nothing behind. What belongs to them is kept until then.
fn chunks(reader: Box<dyn Read + Send>, owner: impl Send) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((reader, owner), |(mut reader, owner)| async move {
        let read = spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK);
            reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
            Ok::<_, io::Error>((Bytes::from(chunk), reader))
        });
        let (chunk, reader) = read.await.map_err(io::Error::other)??;
        Ok((!chunk.is_empty()).then_some((chunk, (reader, owner))))
    })
    .into_stream()
}

/// Brings everything that is committed into the bucket before it answers.
pub(crate) async fn flush(admitted: Admitted, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let flushed = admitted.handle.database.flush(Flush::Forced).await.map_err(|error| Problem::from(&*error))?;
    Ok(reply::document(&FlushReply::of(&flushed)))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Proof)]
struct Proved {
    #[schema(format = DateTime)]
    time: String,
    /// Of the newest state at that time.
    txid: u64,
    /// The number of a past state that was restored as well.
    #[schema(required)]
    past: Option<u64>,
    took_ms: u128,
    /// Why it cannot be restored; null if it can.
    #[schema(required)]
    failure: Option<String>,
}

/// Restores what is in the bucket beside what is served, and tells whether that was it.
pub(crate) async fn verify(State(app): State<App>, admitted: Admitted, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let proved = app.host.verify(&admitted.name).await.map_err(|why| Problem::new(Kind::NotVerified, why))?;
    let Verified { time, txid, past, took, failure } = proved;
    Ok(reply::document(&Proved { time: time.to_string(), txid, past, took_ms: took.as_millis(), failure }))
}

/// What the document tells of them.
pub(crate) fn operations() -> Family {
    let at = |method, path, id, summary| Operation::of_database(Tag::Database, method, path, id, summary).fails(&[Kind::SqlTimeout]);
    let download = at("get", "/snapshot", "downloadSnapshot", "Hands the database out as a SQLite file, as it is or as it was.")
        .more("Commits during the download neither wait for it nor show in it.")
        .gives_as(StatusCode::OK, "application/vnd.sqlite3", bytes(), "The file.")
        .telling(["Content-Disposition", "Content-Length", "Cache-Control"]);
    let flush = at("post", "/flush", "flush", "Brings everything that is committed into the bucket.")
        .gives(StatusCode::OK, Schema::of::<FlushReply<'static>>(), "Everything that was committed before is in that snapshot.")
        .fails(&[Kind::WritesRefused]);
    let verify = at("post", "/verify", "verify", "Proves that what is in the bucket can be restored.")
        .gives(StatusCode::OK, Schema::of::<Proved>(), "What was restored, and whether that went well.")
        .fails(&[Kind::NotVerified]);
    Family::of(vec![download, flush, verify])
}

#[derive(Serialize, ToSchema)]
#[schema(as = Flushed)]
struct FlushReply<'a> {
    /// None if there is none yet.
    #[schema(required)]
    snapshot: Option<SnapshotReply<'a>>,
    /// It was not there already.
    uploaded: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Snapshot)]
struct SnapshotReply<'a> {
    #[schema(format = DateTime)]
    time: String,
    txid: u64,
    size: u64,
    /// Unknown for a snapshot that an earlier process made.
    #[schema(required)]
    duration_ms: Option<u128>,
    etag: &'a str,
}

impl<'a> FlushReply<'a> {
    fn of(flushed: &'a Flushed) -> Self {
        let (facts, uploaded) = match flushed {
            Flushed::Uploaded(facts) => (Some(facts), true),
            Flushed::Unchanged(facts) => (Some(facts), false),
            Flushed::Skipped(facts) => (facts.as_ref(), false),
        };
        Self { snapshot: facts.map(SnapshotReply::of), uploaded }
    }
}

impl<'a> SnapshotReply<'a> {
    fn of(facts: &'a SnapshotFacts) -> Self {
        let SnapshotFacts { time, txid, size, duration, etag } = facts;
        Self {
            time: time.to_string(),
            txid: *txid,
            size: *size,
            duration_ms: duration.map(|duration| duration.as_millis()),
            etag: etag.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Etag, WallTime};
    use std::time::Duration;

    async fn collect(reader: impl Read + Send + 'static) -> Result<Vec<Bytes>, io::Error> {
        chunks(Box::new(reader), ()).try_collect().await
    }

    #[tokio::test]
    async fn a_file_arrives_whole_in_chunks_of_bounded_size() {
        let file: Vec<u8> = (0..CHUNK * 2 + 7).map(|place| u8::try_from(place % 251).unwrap()).collect();
        let chunks = collect(io::Cursor::new(file.clone())).await.unwrap();
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK, CHUNK, 7]);
        assert_eq!(chunks.concat(), file);
    }

    #[tokio::test]
    async fn an_empty_file_has_no_chunks() {
        assert_eq!(collect(io::empty()).await.unwrap(), Vec::<Bytes>::new());
    }

    #[tokio::test]
    async fn a_reader_that_fails_or_panics_cuts_the_download_off() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("a broken page")
            }
        }
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("a broken page"))
            }
        }
        assert!(collect(Fails).await.is_err());
        assert!(collect(Panics).await.is_err());
    }

    #[test]
    fn a_flush_tells_the_snapshot_that_holds_everything_and_whether_it_made_it() {
        let facts = SnapshotFacts {
            time: "2026-11-23T08:00:00Z".parse::<WallTime>().unwrap(),
            txid: 7,
            size: 8192,
            duration: Some(Duration::from_millis(12)),
            etag: Etag::new("abc"),
        };
        let json = |flushed: &Flushed| serde_json::to_string(&FlushReply::of(flushed)).unwrap();
        let snapshot = r#"{"time":"2026-11-23T08:00:00Z","txid":7,"size":8192,"duration_ms":12,"etag":"abc"}"#;
        assert_eq!(json(&Flushed::Uploaded(facts.clone())), format!(r#"{{"snapshot":{snapshot},"uploaded":true}}"#));
        assert_eq!(json(&Flushed::Unchanged(facts)), format!(r#"{{"snapshot":{snapshot},"uploaded":false}}"#));
        assert_eq!(json(&Flushed::Skipped(None)), r#"{"snapshot":null,"uploaded":false}"#);
    }
}
