//! Brings one version into the bucket as a plain SQLite file, and finds out whether it arrived.
//!
//! Owns: the order `.prev`, then `<key>`; the conditions on both; what an unclear answer means.
//! Invariants: `<key>` is replaced only while it is the object that we know; no two PUTs have equal bytes, so no ETag returns; an
//! attempt whose answer is unclear is sent again with the same bytes and put-id until it is clear, before anything else is written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng as _;
use sha2::Digest as _;

use crate::bucket::{self, Bucket, Condition, Content, Put};
use crate::clock::WallTime;
use crate::memory::Pin;
use crate::names::{BranchName, Etag, ObjectKey};

/// Names one attempt to write, so that its author knows it again. Kept in the object's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PutId(String);

impl PutId {
    /// A fresh value for the change counters in page 1 (PROTOCOL §14). Equal for every try of one attempt.
    fn stamp(&self) -> u32 {
        let digest = sha2::Sha256::digest(self.0.as_bytes());
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }
}

impl fmt::Display for PutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes put-ids: a random number for this process, and a count.
#[derive(Debug)]
pub(crate) struct PutIds {
    process: u128,
    next: AtomicU64,
}

impl PutIds {
    /// Draws the process's number.
    pub(crate) fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the one place that draws an identity for this process")]
        let process = rand::rng().random();
        Self { process, next: AtomicU64::new(0) }
    }

    /// One that nobody had before.
    pub(crate) fn fresh(&self) -> PutId {
        PutId(format!("{:032x}-{}", self.process, self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// The keys of an object's metadata.
pub(crate) mod metadata {
    pub(crate) const BRANCH: &str = "buckethead-branch";
    pub(crate) const EPOCH: &str = "buckethead-epoch";
    pub(crate) const TXID: &str = "buckethead-txid";
    pub(crate) const PUT_ID: &str = "buckethead-put-id";
}

/// What lies at `<key>`, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Absence was proved.
    Absent,
    /// A sound snapshot, which becomes `.prev`.
    Sound(Etag),
    /// Damaged, and to be replaced because its user said so. It is never copied to `.prev`.
    Damaged(Etag),
}

impl Known {
    fn condition(&self) -> Condition {
        match self {
            Self::Absent => Condition::IfAbsent,
            Self::Sound(etag) | Self::Damaged(etag) => Condition::IfUnchanged(etag.clone()),
        }
    }

    fn is(&self, etag: &Etag) -> bool {
        matches!(self, Self::Sound(known) | Self::Damaged(known) if known == etag)
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Absent => "none".to_owned(),
            Self::Sound(etag) | Self::Damaged(etag) => etag.to_string(),
        }
    }
}

/// One snapshot on its way. Sent again as it is until its answer is clear.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) pin: Pin,
    /// When the pin was taken: everything committed before is in it.
    pub(crate) pinned_at: WallTime,
    pub(crate) txid: u64,
    pub(crate) put_id: PutId,
    pub(crate) replaces: Known,
    pub(crate) keep_previous: bool,
}

/// How an upload ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is there.
    Stored(Etag),
    /// The object is neither what we knew nor ours.
    Conflict { theirs: Option<Etag> },
    /// Nothing was written. A later attempt may be another one.
    NotWritten(bucket::Error),
    /// Nobody knows. The next attempt is this one again.
    Unclear(bucket::Error),
}

/// Where a branch's snapshots lie.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) key: ObjectKey,
    pub(crate) previous: ObjectKey,
    pub(crate) branch: BranchName,
}

/// How often one upload looks again before it leaves the rest to the next.
const TRIES: u32 = 3;

/// Sends an attempt, and finds out what became of it.
pub(crate) async fn upload(bucket: &Arc<dyn Bucket>, place: &Place, attempt: &Attempt) -> Outcome {
    let mut unclear = None;
    for _ in 0..TRIES {
        match send(bucket, place, attempt).await {
            Ok(etag) => return Outcome::Stored(etag),
            Err(bucket::Error::PreconditionFailed) => match settle(bucket, place, attempt).await {
                Ok(outcome) => return outcome,
                Err(error) => unclear = Some(error),
            },
            Err(error @ bucket::Error::Unclear { .. }) => unclear = Some(error),
            Err(error) => {
                // A clear refusal of this try says nothing about an unclear one before it.
                return unclear.map_or_else(|| Outcome::NotWritten(error), Outcome::Unclear);
            }
        }
    }
    Outcome::Unclear(unclear.expect("the loop ends here only after an unclear try"))
}

async fn send(bucket: &Arc<dyn Bucket>, place: &Place, attempt: &Attempt) -> Result<Etag, bucket::Error> {
    if let (true, Known::Sound(etag)) = (attempt.keep_previous, &attempt.replaces) {
        copy_previous(bucket, place, etag).await?;
    }
    let content = Content { len: attempt.pin.size(), reader: attempt.pin.stamped_image(attempt.put_id.stamp()) };
    let put = Put {
        condition: attempt.replaces.condition(),
        metadata: BTreeMap::from([
            (metadata::BRANCH.to_owned(), place.branch.to_string()),
            // Tenures are counted from the issue that brings head records on; until then every object belongs to none.
            (metadata::EPOCH.to_owned(), "0".to_owned()),
            (metadata::TXID.to_owned(), attempt.txid.to_string()),
            (metadata::PUT_ID.to_owned(), attempt.put_id.to_string()),
        ]),
        content_type: "application/vnd.sqlite3",
    };
    bucket.put(&place.key, content, put).await
}

/// The copy can be made as often as one likes while its source is the same, so an unclear answer is simply asked again.
async fn copy_previous(bucket: &Arc<dyn Bucket>, place: &Place, etag: &Etag) -> Result<(), bucket::Error> {
    match bucket.copy(&place.key, etag, &place.previous).await {
        Err(bucket::Error::Unclear { .. }) => bucket.copy(&place.key, etag, &place.previous).await.map(drop).map_err(|error| match error {
            // The snapshot itself was not touched yet.
            bucket::Error::Unclear { message } => bucket::Error::Unavailable { message },
            other => other,
        }),
        other => other.map(drop),
    }
}

/// After a refused condition: is it our own earlier try that stands there, or somebody else's work?
async fn settle(bucket: &Arc<dyn Bucket>, place: &Place, attempt: &Attempt) -> Result<Outcome, bucket::Error> {
    Ok(match bucket.head(&place.key).await? {
        Some(found) if found.metadata.get(metadata::PUT_ID) == Some(&attempt.put_id.0) => Outcome::Stored(found.etag),
        // The object that we know still stands there: whatever refused the condition, it was not somebody else's write.
        Some(found) if attempt.replaces.is(&found.etag) => {
            return Err(bucket::Error::Unclear { message: "the condition was refused though the object is unchanged".to_owned() });
        }
        Some(found) => Outcome::Conflict { theirs: Some(found.etag) },
        None => Outcome::Conflict { theirs: None },
    })
}
