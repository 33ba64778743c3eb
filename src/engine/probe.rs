//! Does the store honour the conditions that keep two writers apart? Asked once for each endpoint, bucket and credentials.
//!
//! Owns: the questions. A store that ignores a condition answers 200 where it must answer 412; what is in doubt counts as ignored.
//! Invariant: only objects of its own are touched, and they are deleted again.

use std::sync::Arc;

use bytes::Bytes;

use crate::bucket::{Bucket, Condition, Content, Error, Form, Put};
use crate::names::{DatabaseKey, Etag, ObjectKey};

/// What the store does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It honours all of them.
    Honoured,
    /// It ignores one.
    Ignored(String),
}

/// Asks. `id` is a name that nobody else uses.
pub(crate) async fn probe(bucket: &Arc<dyn Bucket>, key: &DatabaseKey, id: &str) -> Result<Verdict, Error> {
    let object = key.probe(id);
    let verdict = ask(bucket, &object).await;
    if let Err(error) = bucket.delete(&object).await {
        tracing::debug!(key = %object, %error, "a probe was not deleted");
    }
    verdict
}

async fn ask(bucket: &Arc<dyn Bucket>, object: &ObjectKey) -> Result<Verdict, Error> {
    let first = put(bucket, object, "1", Condition::IfAbsent, false).await?;
    if passes(put(bucket, object, "2", Condition::IfAbsent, false).await)? {
        return Ok(Verdict::Ignored("PUT with If-None-Match: * replaced an object".to_owned()));
    }
    let second = put(bucket, object, "3", Condition::IfUnchanged(first.clone()), false).await?;
    if passes(put(bucket, object, "4", Condition::IfUnchanged(first.clone()), false).await)? {
        return Ok(Verdict::Ignored("PUT with If-Match replaced another object than the one it named".to_owned()));
    }
    if passes(put(bucket, object, "5", Condition::IfUnchanged(first), true).await)? {
        return Ok(Verdict::Ignored("CompleteMultipartUpload with If-Match replaced another object than the one it named".to_owned()));
    }
    put(bucket, object, "6", Condition::IfUnchanged(second), true).await?;
    Ok(Verdict::Honoured)
}

async fn put(bucket: &Arc<dyn Bucket>, key: &ObjectKey, body: &'static str, condition: Condition, in_parts: bool) -> Result<Etag, Error> {
    let content = Content::from_bytes(Bytes::from_static(body.as_bytes()));
    let put = Put { condition, form: Form::plain("text/plain") };
    if in_parts { bucket.put_in_parts(key, content, put).await } else { bucket.put(key, content, put).await }
}

/// Whether a request that must be refused was carried out.
fn passes(answer: Result<Etag, Error>) -> Result<bool, Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(Error::PreconditionFailed) => Ok(false),
        Err(error) => Err(error),
    }
}
