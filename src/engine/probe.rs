//! Does the store honour the conditions that keep two writers apart? Asked once for each endpoint, bucket and credentials.
//!
//! Owns: the questions. A store that ignores a condition answers 200 where it must answer 412. One that does not know conditions refuses
//! what bears one; so that no other refusal is taken for that, the same request must then pass without.
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
    /// It ignores or refuses one.
    NotHonoured(String),
}

/// Asks. `id` is a name that nobody else uses.
pub(crate) async fn probe(bucket: &Arc<dyn Bucket>, key: &DatabaseKey, id: &str) -> Result<Verdict, Error> {
    let object = key.probe(id);
    let verdict = match ask(bucket, &object).await {
        Ok(()) => Ok(Verdict::Honoured),
        Err(Stopped::NotHonoured(detail)) => Ok(Verdict::NotHonoured(detail)),
        Err(Stopped::Failed(error)) => Err(error),
    };
    if let Err(error) = bucket.delete(&object).await {
        tracing::debug!(key = %object, %error, "a probe was not deleted");
    }
    verdict
}

/// Why no more is asked.
enum Stopped {
    NotHonoured(String),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

async fn ask(bucket: &Arc<dyn Bucket>, object: &ObjectKey) -> Result<(), Stopped> {
    let (put, complete) = (Place { bucket, object, in_parts: false }, Place { bucket, object, in_parts: true });
    let first = put.must_pass("1", Condition::IfAbsent).await?;
    put.must_not_pass("2", Condition::IfAbsent).await?;
    let second = put.must_pass("3", Condition::IfUnchanged(first.clone())).await?;
    put.must_not_pass("4", Condition::IfUnchanged(first.clone())).await?;
    complete.must_not_pass("5", Condition::IfUnchanged(first)).await?;
    complete.must_pass("6", Condition::IfUnchanged(second)).await?;
    Ok(())
}

/// One way to write the object.
#[derive(Clone, Copy)]
struct Place<'a> {
    bucket: &'a Arc<dyn Bucket>,
    object: &'a ObjectKey,
    in_parts: bool,
}

impl Place<'_> {
    async fn send(self, body: &'static str, condition: Condition) -> Result<Etag, Error> {
        let content = Content::from_bytes(Bytes::from_static(body.as_bytes()));
        let put = Put { condition, form: Form::plain("text/plain") };
        if self.in_parts {
            self.bucket.put_in_parts(self.object, content, put).await
        } else {
            self.bucket.put(self.object, content, put).await
        }
    }

    /// Of a request whose condition holds.
    async fn must_pass(self, body: &'static str, condition: Condition) -> Result<Etag, Stopped> {
        let request = self.words(&condition);
        match self.send(body, condition).await {
            Ok(etag) => Ok(etag),
            Err(Error::PreconditionFailed) => Err(Stopped::NotHonoured(format!("{request} was refused though its condition holds"))),
            Err(error) => Err(self.refused(&request, body, error).await),
        }
    }

    /// Of a request whose condition does not hold.
    async fn must_not_pass(self, body: &'static str, condition: Condition) -> Result<(), Stopped> {
        let request = self.words(&condition);
        match (self.send(body, condition.clone()).await, condition) {
            (Err(Error::PreconditionFailed), _) => Ok(()),
            (Ok(_), Condition::IfUnchanged(_)) => {
                Err(Stopped::NotHonoured(format!("{request} replaced another object than the one it named")))
            }
            (Ok(_), Condition::IfAbsent | Condition::Always) => Err(Stopped::NotHonoured(format!("{request} replaced an object"))),
            (Err(error), _) => Err(self.refused(&request, body, error).await),
        }
    }

    /// Whether it is the condition that the store refused.
    async fn refused(self, request: &str, body: &'static str, error: Error) -> Stopped {
        let Error::Refused { code, message } = error else { return Stopped::Failed(error) };
        match self.send(body, Condition::Always).await {
            Ok(_) => Stopped::NotHonoured(format!("{request} is refused ({code}: {message}), and the same without it is not")),
            Err(_) => Stopped::Failed(Error::Refused { code, message }),
        }
    }

    /// What is asked, in S3's words.
    fn words(self, condition: &Condition) -> String {
        let request = if self.in_parts { "CompleteMultipartUpload" } else { "PUT" };
        match condition {
            Condition::Always => request.to_owned(),
            Condition::IfAbsent => format!("{request} with If-None-Match: *"),
            Condition::IfUnchanged(_) => format!("{request} with If-Match"),
        }
    }
}
