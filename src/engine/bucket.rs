//! A bucket of an S3-compatible store: what the engine may ask of it, and what it may answer.
//!
//! Owns: the meaning of conditions and of failures. Does not own: which object means what.
//! Invariant: a failure is never read as absence. `Ok(None)` is said only where the store answered that this key does not exist
//! in a bucket that does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::clock::WallTime;
use crate::names::{BucketName, Etag, ObjectKey};

pub mod embedded;
pub mod endpoint;
pub mod s3;
pub(crate) mod unconditional;

/// Why a request to the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store answered that the bucket does not exist.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// The store refused the credentials, or they do not permit this. A retry succeeds only after somebody changed that.
    #[error("the store refused the credentials ({code}): {message}")]
    AccessDenied {
        /// The store's own word, such as `InvalidAccessKeyId`.
        code: String,
        /// The store's own sentence.
        message: String,
    },
    /// The endpoint is one that no tenant may reach. Never retried by itself.
    #[error("the endpoint is refused: {reason}")]
    EndpointRefused {
        /// Which rule, and which address.
        reason: String,
    },
    /// A condition did not hold: the object is not the one that was expected. Nothing was written, unless an earlier try of the same
    /// request was (then the object bears our put-id).
    #[error("the object changed in the meantime")]
    PreconditionFailed,
    /// The store was not reached, or said clearly that it did nothing (503, 429). Nothing was written.
    #[error("the store is unavailable: {message}")]
    Unavailable {
        /// What happened, in the words of whoever noticed.
        message: String,
    },
    /// The request may or may not have been carried out: the answer was lost or unclear. Look again before the next step.
    #[error("the store's answer is unclear: {message}")]
    Unclear {
        /// What happened, in the words of whoever noticed.
        message: String,
    },
    /// The store understood and refused for good: a retry of the same request cannot succeed.
    #[error("the store refused the request ({code}): {message}")]
    Refused {
        /// The store's own word.
        code: String,
        /// The store's own sentence.
        message: String,
    },
    /// What is to be uploaded could not be read.
    #[error("the content could not be read")]
    Content(#[source] Arc<std::io::Error>),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Content(Arc::new(error))
    }
}

/// What must hold of the object when a write reaches the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: the newest write wins. Only for objects whose name is their content.
    Always,
    /// `If-None-Match: *`: there is no such object.
    IfAbsent,
    /// `If-Match`: the object is still this one.
    IfUnchanged(Etag),
}

/// What the store tells of an object besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Identifies this state of the object.
    pub etag: Etag,
    /// In bytes.
    pub size: u64,
    /// By the store's clock.
    pub last_modified: Option<WallTime>,
    /// User metadata, keys in lower case without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// An object with its bytes still to come.
pub struct Object {
    /// As answered with the bytes.
    pub meta: ObjectMeta,
    /// In order; ends early with an error if the connection is cut, never silently.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The whole key.
    pub key: ObjectKey,
    /// Identifies this state of the object.
    pub etag: Etag,
    /// In bytes.
    pub size: u64,
    /// By the store's clock.
    pub last_modified: Option<WallTime>,
}

/// Bytes to upload, read once and in order, never held whole when large.
pub struct Content {
    len: u64,
    source: Source,
}

enum Source {
    Whole(Bytes),
    Reader(Box<dyn Read + Send>),
}

impl Content {
    /// What a reader gives, which is called from a thread that may block, and gives exactly so many bytes.
    pub fn new(len: u64, reader: impl Read + Send + 'static) -> Self {
        Self { len, source: Source::Reader(Box::new(reader)) }
    }

    /// Bytes that are in memory already.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { len: bytes.len() as u64, source: Source::Whole(bytes) }
    }

    /// In bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it at once, if it is in memory already.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Whole(bytes) => Some(bytes),
            Source::Reader(_) => None,
        }
    }

    /// Its bytes, in order. Reading them may block.
    pub fn reader(self) -> Box<dyn Read + Send> {
        match self.source {
            Source::Whole(bytes) => Box::new(std::io::Cursor::new(bytes)),
            Source::Reader(reader) => reader,
        }
    }
}

/// Bytes that can be read from any place on. Reading them may block.
pub type ReadAt = Arc<dyn Fn(u64) -> Box<dyn Read + Send> + Send + Sync>;

/// An object most of whose bytes lie in the bucket already, in another one and at the same places there.
#[derive(Clone)]
pub struct Patched {
    /// Where they lie.
    pub from: ObjectKey,
    /// As long as that is this object.
    pub unchanged: Etag,
    /// Numbers of parts, from 0, that are the same in both.
    pub same: BTreeSet<u64>,
    /// Of each part but the last, in bytes.
    pub part: u64,
    /// Of the new object, in bytes.
    pub len: u64,
    /// The new object.
    pub content: ReadAt,
}

/// How an object is written.
#[derive(Debug, Clone)]
pub struct Put {
    /// What must hold of the object.
    pub condition: Condition,
    /// What it becomes.
    pub form: Form,
}

/// What an object is besides its bytes.
#[derive(Debug, Clone)]
pub struct Form {
    /// User metadata, keys in lower case without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// The media type.
    pub content_type: &'static str,
}

impl Form {
    /// Without metadata.
    pub fn plain(content_type: &'static str) -> Self {
        Self { metadata: BTreeMap::new(), content_type }
    }
}

/// An object that lies in the store, and that nobody sees. One that is dropped takes up room there until the bucket's lifecycle rules end
/// its upload.
#[async_trait]
pub trait Staged: Send {
    /// Makes it visible, if the condition holds. It is given up if that fails in any way.
    async fn publish(self: Box<Self>, condition: &Condition) -> Result<Etag, Error>;

    /// Gives it up.
    async fn discard(self: Box<Self>);
}

/// Where buckets come from.
pub trait BucketSource: Send + Sync + std::fmt::Debug {
    /// A bucket of a store. Does no request yet; fails if what it takes to reach the store cannot be used.
    fn bucket(&self, store: &s3::StoreConfig, bucket: &BucketName) -> Result<Arc<dyn Bucket>, Error>;
}

/// What whoever follows a URL is told of the object, whatever its metadata say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedAs {
    /// The media type.
    pub content_type: String,
    /// How it is saved.
    pub content_disposition: String,
}

/// A bucket. Requests that carry a condition are sent once: the caller settles unclear answers.
#[async_trait]
pub trait Bucket: Send + Sync + std::fmt::Debug {
    /// What the store tells of an object; `None` only if the store answered that the key does not exist.
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, Error>;

    /// The object and its bytes; `None` only if the store answered that the key does not exist. With `unchanged`, a different object
    /// is [`Error::PreconditionFailed`].
    async fn get(&self, key: &ObjectKey, unchanged: Option<&Etag>) -> Result<Option<Object>, Error>;

    /// Some of the bytes of an object that is still `unchanged`, as [`Bucket::get`]; `range` lies within its size, which `meta` tells as
    /// ever. A store that cannot give ranges gives all, and what lies around the range is dropped.
    async fn get_range(&self, key: &ObjectKey, unchanged: &Etag, range: Range<u64>) -> Result<Option<Object>, Error> {
        let object = self.get(key, Some(unchanged)).await?;
        Ok(object.map(|Object { meta, body }| Object { meta, body: cut(body, range) }))
    }

    /// All objects whose keys begin with `prefix`, in the order of their keys, up to `limit`.
    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Vec<Listed>, Error>;

    /// Writes an object whole: readers see all of it or nothing. Above 8 MiB by parts, with bounded memory.
    async fn put(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error>;

    /// The same by parts, whatever its size.
    async fn put_in_parts(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error>;

    /// Whether an object of so many bytes is better staged, so that making it visible takes one short request.
    fn is_large(&self, len: u64) -> bool;

    /// Brings an object into the store where nobody sees it yet. The condition is told when it is published.
    async fn stage(&self, key: &ObjectKey, content: Content, form: Form) -> Result<Box<dyn Staged>, Error>;

    /// How large the parts are of which an object can be put together from another one, if it can.
    fn patch_size(&self) -> Option<u64> {
        None
    }

    /// The same as [`Bucket::stage`] of an object that has bytes in common with another. Only where there is a [`Bucket::patch_size`].
    async fn stage_patched(&self, _key: &ObjectKey, _patched: Patched, _form: Form) -> Result<Box<dyn Staged>, Error> {
        Err(Error::Refused { code: "NotImplemented".to_owned(), message: "this bucket puts nothing together".to_owned() })
    }

    /// Copies within the bucket, on the server, if the source is still `unchanged`; metadata goes along.
    async fn copy(&self, from: &ObjectKey, unchanged: Option<&Etag>, to: &ObjectKey) -> Result<Etag, Error>;

    /// Deletes an object; one that is not there is fine.
    async fn delete(&self, key: &ObjectKey) -> Result<(), Error>;

    /// A URL that gives an object to whoever has it, for so long: signed here, so the store is not asked whether there is one. A bucket
    /// without URLs refuses.
    async fn share(&self, _key: &ObjectKey, _lasts: Duration, _shared: SharedAs) -> Result<String, Error> {
        Err(Error::Refused { code: "NotImplemented".to_owned(), message: "this bucket has no URLs".to_owned() })
    }

    /// What the store does instead of honouring conditions on writes, if it is only looked before each of them whether they hold.
    fn unconditional(&self) -> Option<Arc<str>> {
        None
    }

    /// What whoever works with it does wrong.
    #[cfg(test)]
    fn flaw(&self) -> crate::flaws::Flaw {
        crate::flaws::Flaw::None
    }
}

/// What the listing tells of one object. Of all keys that begin with its own it is the first, however many lie beside it.
pub(crate) async fn listed(bucket: &Arc<dyn Bucket>, key: &ObjectKey) -> Result<Option<Listed>, Error> {
    Ok(bucket.list(key.as_str(), None, 1).await?.into_iter().find(|object| object.key == *key))
}

/// The bytes of a body, for a thread that may block. To be called on the runtime.
pub(crate) fn reader(body: BoxStream<'static, Result<Bytes, Error>>) -> impl Read + Send + 'static {
    SyncIoBridge::new(StreamReader::new(body.map_err(std::io::Error::other)))
}

/// The bytes of `body` that lie in `range`.
fn cut(body: BoxStream<'static, Result<Bytes, Error>>, range: Range<u64>) -> BoxStream<'static, Result<Bytes, Error>> {
    let pieces = body.scan(0_u64, move |at, piece| {
        let begin = *at;
        if begin >= range.end {
            return std::future::ready(None);
        }
        let piece = piece.map(|bytes| {
            *at += bytes.len() as u64;
            let within = |place: u64| usize::try_from(place.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len());
            bytes.slice(within(range.start)..within(range.end))
        });
        std::future::ready(Some(piece))
    });
    pieces.try_filter(|bytes| std::future::ready(!bytes.is_empty())).boxed()
}
