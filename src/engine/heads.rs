//! Reads and writes head records.
//!
//! Owns: the conditions on them, and what an unclear answer means. Does not own: what a record says (`head.rs`).
//! Invariant: a record is replaced only while it is the one that was read; whoever is told that theirs was written can rely on it.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::bucket::{self, Bucket, Condition, Content, Put};
use crate::error::Error;
use crate::head::{HeadRecord, Unreadable};
use crate::names::{BranchName, DatabaseKey, DatabaseName, Etag, ObjectKey};
use crate::snapshot::PutIds;

/// A record as it lies in the bucket.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) record: HeadRecord,
    pub(crate) etag: Etag,
}

/// Whose record stands there after a write.
#[derive(Debug)]
pub(crate) enum Written {
    Ours(Stored),
    /// Somebody was faster.
    Theirs(Option<Stored>),
}

/// The head records of a database.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) database: DatabaseName,
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) key: DatabaseKey,
    pub(crate) put_ids: Arc<PutIds>,
}

/// How often one write looks again before it leaves the rest to whoever asked.
const TRIES: u32 = 3;
/// Records are small; what is larger is none.
const LARGEST: usize = 4 << 20;

impl Heads {
    /// The record of a branch; `None` only if the store answered that there is none.
    pub(crate) async fn read(&self, branch: &BranchName) -> Result<Option<Stored>, Error> {
        let key = self.key.head(branch);
        let Some((bytes, etag)) = self.bytes(&key).await.map_err(|error| self.failed("reading the head record", error))? else {
            return Ok(None);
        };
        let record = self.parse(key, &bytes)?;
        Ok(Some(Stored { record, etag }))
    }

    fn parse(&self, key: ObjectKey, bytes: &[u8]) -> Result<HeadRecord, Error> {
        let database = self.database.clone();
        HeadRecord::parse(bytes).map_err(|unreadable| match unreadable {
            Unreadable::Newer { format } => Error::NewerFormat { database, key, format },
            Unreadable::Damaged(detail) => Error::HeadDamaged { database, key, detail },
        })
    }

    /// Writes a record in place of the one that was read, or the first one.
    pub(crate) async fn write(&self, branch: &BranchName, before: Option<&Stored>, next: HeadRecord) -> Result<Written, Error> {
        let key = self.key.head(branch);
        let record = next.after(before.map(|stored| &stored.record), self.put_ids.fresh());
        let bytes = Bytes::from(record.to_bytes());
        let condition = before.map_or(Condition::IfAbsent, |stored| Condition::IfUnchanged(stored.etag.clone()));
        let doing = "writing the head record";
        let mut unclear = None;
        for _ in 0..TRIES {
            let put = Put { condition: condition.clone(), metadata: std::collections::BTreeMap::new(), content_type: "application/json" };
            match self.bucket.put(&key, Content::from_bytes(bytes.clone()), put).await {
                Ok(etag) => return Ok(Written::Ours(Stored { record, etag })),
                Err(bucket::Error::PreconditionFailed) => {
                    let found = self.bytes(&key).await.map_err(|error| self.failed(doing, unclear.clone().unwrap_or(error)))?;
                    match found {
                        Some((found, etag)) if found == bytes => return Ok(Written::Ours(Stored { record, etag })),
                        // What was read still stands there: whatever refused the condition, it was not somebody else's write.
                        Some((_, etag)) if before.is_some_and(|before| before.etag == etag) => {
                            let message = "the condition was refused though the head record is unchanged".to_owned();
                            unclear = Some(bucket::Error::Unclear { message });
                        }
                        Some((found, etag)) => {
                            return Ok(Written::Theirs(Some(Stored { record: self.parse(key, &found)?, etag })));
                        }
                        None if before.is_none() => {
                            let message = "the condition was refused though there is no head record".to_owned();
                            unclear = Some(bucket::Error::Unclear { message });
                        }
                        None => return Ok(Written::Theirs(None)),
                    }
                }
                Err(error @ bucket::Error::Unclear { .. }) => unclear = Some(error),
                // A clear refusal of this try says nothing about an unclear one before it.
                Err(error) => return Err(self.failed(doing, unclear.unwrap_or(error))),
            }
        }
        Err(self.failed(doing, unclear.expect("the loop ends here only after an unclear try")))
    }

    async fn bytes(&self, key: &ObjectKey) -> Result<Option<(Bytes, Etag)>, bucket::Error> {
        let Some(object) = self.bucket.get(key, None).await? else { return Ok(None) };
        if object.meta.size > LARGEST as u64 {
            return Err(bucket::Error::Refused {
                code: "TooLarge".to_owned(),
                message: format!("{key} has {} bytes, which no head record has", object.meta.size),
            });
        }
        let parts: Vec<Bytes> = object.body.try_collect().await?;
        Ok(Some((Bytes::from(parts.concat()), object.meta.etag)))
    }

    fn failed(&self, doing: &'static str, source: bucket::Error) -> Error {
        Error::Bucket { database: self.database.clone(), doing, source }
    }
}
