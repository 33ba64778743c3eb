//! A small JSON object that several processes change, each by compare and swap.
//!
//! Owns: what an unclear answer to such a change means. Does not own: what the documents say (`head.rs`, `files/marks.rs`,
//! `files/owners.rs`), nor for how long they are kept.
//! Invariants: a document is replaced only while it is the one that was read. No two writes of one have equal bytes, because each bears a
//! put-id of its own, so no ETag returns and a stale condition cannot pass. One of a newer format is left alone.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::bucket::{self, Bucket, Condition, Content, Form, Put};
use crate::clock::WallTime;
use crate::names::{Etag, ObjectKey};

/// More than any document of ours has. What is larger is somebody else's, and is not read into memory.
const LARGEST: u64 = 16 << 20;
/// How often an unclear answer is looked into before it is passed on.
const TRIES: u32 = 4;

/// What a document of ours can say.
pub(crate) trait Document: Serialize + DeserializeOwned + PartialEq + Clone + Send + Sync {
    /// The formats that this build reads.
    const FORMATS: RangeInclusive<u32>;

    /// The number of its format.
    fn format(&self) -> u32;

    /// Whether people read it, too.
    const IS_FOR_PEOPLE: bool = false;

    /// The bytes of the object.
    fn to_bytes(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).expect(SERIALIZES);
        let sealed = Sealed { document: self, checksum: checksum(&value) };
        if !Self::IS_FOR_PEOPLE {
            return serde_json::to_vec(&sealed).expect(SERIALIZES);
        }
        let mut bytes = serde_json::to_vec_pretty(&sealed).expect(SERIALIZES);
        bytes.push(b'\n');
        bytes
    }
}

const SERIALIZES: &str = "documents have names for keys and no failing parts";
/// The field that a document ends with. One without it was written by an earlier build, or by hand.
const CHECKSUM: &str = "checksum";

#[derive(Serialize)]
struct Sealed<'a, T> {
    #[serde(flatten)]
    document: &'a T,
    checksum: String,
}

/// SHA-256 of what a document says, in whatever order and with whatever spaces.
fn checksum(value: &Value) -> String {
    let mut digest = Sha256::new();
    digest_of(value, &mut digest);
    hex::encode(&digest.finalize()[..16])
}

fn digest_of(value: &Value, digest: &mut Sha256) {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            digest.update(b"{");
            for (name, value) in sorted {
                digest_of(&Value::String(name.clone()), digest);
                digest_of(value, digest);
            }
            digest.update(b"}");
        }
        Value::Array(values) => {
            digest.update(b"[");
            for value in values {
                digest_of(value, digest);
            }
            digest.update(b"]");
        }
        leaf => {
            digest.update(leaf.to_string());
            digest.update(b",");
        }
    }
}

/// Why bytes are no document for this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("has format {format}, which this build does not know: use a newer buckethead")]
    Newer { format: u64 },
    #[error("{0}")]
    Damaged(String),
}

/// A document as it was found or written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found<T> {
    pub(crate) document: T,
    pub(crate) etag: Etag,
    /// By the store's clock; unknown for one that we have just written.
    pub(crate) last_modified: Option<WallTime>,
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Swap<T> {
    /// It is there.
    Done(Found<T>),
    /// Somebody else changed the document first. Nothing of ours was written.
    Lost,
}

/// Why a document could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    /// It is none of ours, or of a newer build.
    #[error("{object} {problem}")]
    Unreadable { object: ObjectKey, problem: Unreadable },
}

/// What the bytes of an object say.
pub(crate) fn parse<T: Document>(bytes: &[u8]) -> Result<T, Unreadable> {
    // The format is read first, since a newer one may hold what this build cannot read.
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| Unreadable::Damaged(format!("is no JSON: {error}")))?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if u32::try_from(format).is_ok_and(|format| T::FORMATS.contains(&format)) => {}
        Some(format) => return Err(Unreadable::Newer { format }),
        None => return Err(Unreadable::Damaged("names no format, so buckethead did not write it".to_owned())),
    }
    if let Some(said) = value.as_object_mut().and_then(|fields| fields.remove(CHECKSUM)) {
        let found = checksum(&value);
        if said != found {
            return Err(Unreadable::Damaged(format!(
                "is damaged: its checksum is {found}, it says {said}; remove `checksum` if you changed it by hand"
            )));
        }
    }
    T::deserialize(value).map_err(|error| Unreadable::Damaged(format!("is damaged: {error}")))
}

/// The document at `key`; `None` only if the store answered that there is none.
pub(crate) async fn read<T: Document>(bucket: &Arc<dyn Bucket>, key: &ObjectKey) -> Result<Option<Found<T>>, Failure> {
    let unreadable = |problem| Failure::Unreadable { object: key.clone(), problem };
    let Some(object) = bucket.get(key, None).await? else { return Ok(None) };
    if object.meta.size > LARGEST {
        let problem = format!("has {} bytes, more than any that buckethead writes", object.meta.size);
        return Err(unreadable(Unreadable::Damaged(problem)));
    }
    let parts: Vec<Bytes> = object.body.try_collect().await?;
    let document = parse(&parts.concat()).map_err(unreadable)?;
    Ok(Some(Found { document, etag: object.meta.etag, last_modified: object.meta.last_modified }))
}

/// Puts `next` in the place of what is known to be there, and finds out whether that happened.
pub(crate) async fn swap<T: Document>(
    bucket: &Arc<dyn Bucket>,
    key: &ObjectKey,
    known: Option<&Etag>,
    next: T,
) -> Result<Swap<T>, Failure> {
    debug_assert!(T::FORMATS.contains(&next.format()));
    let bytes = Bytes::from(next.to_bytes());
    let condition = known.map_or(Condition::IfAbsent, |etag| Condition::IfUnchanged(etag.clone()));
    let mut unclear = None;
    for _ in 0..TRIES {
        let put = Put { condition: condition.clone(), form: Form::plain("application/json") };
        match bucket.put(key, Content::from_bytes(bytes.clone()), put).await {
            Ok(etag) => return Ok(Swap::Done(Found { document: next, etag, last_modified: None })),
            // An earlier try whose answer was lost may be what stands there.
            Err(bucket::Error::PreconditionFailed) if unclear.is_none() => return Ok(Swap::Lost),
            Err(error @ (bucket::Error::PreconditionFailed | bucket::Error::Unclear { .. })) => {
                match read::<T>(bucket, key).await {
                    Ok(Some(found)) if found.document == next => return Ok(Swap::Done(found)),
                    // As it was before: that very change may go again.
                    Ok(found) if found.as_ref().map(|found| &found.etag) == known => unclear = Some(as_unclear(error)),
                    // Either ours was never there, or others have built on it. In both cases what stands there decides.
                    Ok(_) => return Ok(Swap::Lost),
                    Err(Failure::Bucket(_)) => unclear = Some(as_unclear(error)),
                    Err(unreadable) => return Err(unreadable),
                }
            }
            // A clear refusal of this try says nothing about an unclear one before it.
            Err(error) => return Err(unclear.unwrap_or(error).into()),
        }
    }
    Err(unclear.expect("the loop ends here only after an unclear try").into())
}

fn as_unclear(error: bucket::Error) -> bucket::Error {
    match error {
        bucket::Error::PreconditionFailed => {
            bucket::Error::Unclear { message: "a condition was refused, and nobody knows whether by our own earlier try".to_owned() }
        }
        other => other,
    }
}
