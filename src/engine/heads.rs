//! Reads and writes head records.
//!
//! Owns: what a failure means for the database. Does not own: what a record says (`head.rs`), how one is swapped (`document.rs`).
//! Invariant: a record is replaced only while it is the one that was read; whoever is told that theirs was written can rely on it.

use std::sync::Arc;

use crate::bucket::{self, Bucket};
use crate::document::{self, Failure, Found, Swap, Unreadable};
use crate::error::Error;
use crate::head::HeadRecord;
use crate::names::{BranchName, DatabaseKey, DatabaseName, Etag};
use crate::snapshot::PutIds;

/// A record as it lies in the bucket.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) record: HeadRecord,
    pub(crate) etag: Etag,
}

impl From<Found<HeadRecord>> for Stored {
    fn from(found: Found<HeadRecord>) -> Self {
        Self { record: found.document, etag: found.etag }
    }
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

const READING: &str = "reading the head record";
const WRITING: &str = "writing the head record";

impl Heads {
    /// The record of a branch; `None` only if the store answered that there is none.
    pub(crate) async fn read(&self, branch: &BranchName) -> Result<Option<Stored>, Error> {
        let found = document::read(&self.bucket, &self.key.head(branch)).await;
        Ok(found.map_err(|failure| self.unreadable(READING, failure))?.map(Stored::from))
    }

    /// Writes a record in place of the one that was read, or the first one.
    pub(crate) async fn write(&self, branch: &BranchName, before: Option<&Stored>, next: HeadRecord) -> Result<Written, Error> {
        let record = next.after(before.map(|stored| &stored.record), self.put_ids.fresh());
        let known = before.map(|stored| &stored.etag);
        let swapped = document::swap(&self.bucket, &self.key.head(branch), known, record).await;
        match swapped.map_err(|failure| self.unreadable(WRITING, failure))? {
            Swap::Done(found) => Ok(Written::Ours(found.into())),
            Swap::Lost => {
                let theirs = self.read(branch).await?;
                if theirs.as_ref().map(|stored| &stored.etag) == known {
                    // Whatever refused the condition, it was not somebody else's write.
                    let message = "the condition was refused though the head record is unchanged".to_owned();
                    return Err(self.failed(WRITING, bucket::Error::Unclear { message }));
                }
                Ok(Written::Theirs(theirs))
            }
        }
    }

    fn unreadable(&self, doing: &'static str, failure: Failure) -> Error {
        let database = self.database.clone();
        match failure {
            Failure::Bucket(source) => self.failed(doing, source),
            Failure::Unreadable { object: key, problem: Unreadable::Newer { format } } => Error::NewerFormat { database, key, format },
            Failure::Unreadable { object: key, problem: Unreadable::Damaged(detail) } => Error::HeadDamaged { database, key, detail },
        }
    }

    /// What the store's error means for this database.
    pub(crate) fn failed(&self, doing: &'static str, source: bucket::Error) -> Error {
        Error::Bucket { database: self.database.clone(), doing, source }
    }
}
