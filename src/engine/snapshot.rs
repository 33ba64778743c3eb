//! Brings one version into the bucket as a plain SQLite file, and finds out whether it arrived.
//!
//! Owns: the order `.prev`, then `<key>`; the conditions on both; what an unclear answer means.
//! Invariants: `<key>` is replaced only while it is the object that we know; no two PUTs have equal bytes, so no ETag returns; an
//! attempt whose answer is unclear is sent again with the same bytes and put-id until it is clear, before anything else is written.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ltx::{Checksum, PageNo};
use rand::Rng as _;
use sha2::Digest as _;

use crate::base::Base;
use crate::bucket::{self, Bucket, Condition, Content, Form, Patched, Put, ReadAt};
use crate::head::Epoch;
use crate::image;
use crate::memory::Pin;
use crate::names::{BranchName, DatabaseKey, Etag, ObjectKey};

/// Names one attempt to write, so that its author knows it again. Kept in the object's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PutId(String);

impl PutId {
    /// A fresh value for the change counters in page 1. Equal for every try of one attempt.
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
    /// Of the state that a snapshot holds, as its chain counts it.
    pub(crate) const CHECKSUM: &str = "buckethead-checksum";
    /// What the state has in page 1 where the snapshot has a stamp.
    pub(crate) const COUNTERS: &str = "buckethead-counters";
    /// Where Litestream looks for the time of a file.
    pub(crate) const LITESTREAM_TIMESTAMP: &str = "litestream-timestamp";
    /// The slot was taken so that nobody else can fill it.
    pub(crate) const FENCE: &str = "buckethead-fence";
    /// The overwrite that this object, or one before it, carried out.
    pub(crate) const PROMOTION: &str = "buckethead-promotion";
    /// The overwrite that was found not to have been carried out.
    pub(crate) const NOT_PROMOTED: &str = "buckethead-not-promoted";
}

/// What lies at `<key>`, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Absence was proved.
    Absent,
    /// A sound snapshot, which becomes `.prev`.
    Sound(Etag),
    /// To be replaced, and never copied to `.prev`: damaged, and replaced because its user said so; or somebody else's, and kept elsewhere.
    NotOurs(Etag),
}

impl Known {
    fn condition(&self) -> Condition {
        match self {
            Self::Absent => Condition::IfAbsent,
            Self::Sound(etag) | Self::NotOurs(etag) => Condition::IfUnchanged(etag.clone()),
        }
    }

    fn is(&self, etag: &Etag) -> bool {
        matches!(self, Self::Sound(known) | Self::NotOurs(known) if known == etag)
    }
}

/// One snapshot on its way. Sent again as it is until its answer is clear.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) pin: Pin,
    pub(crate) txid: u64,
    /// Of the state.
    pub(crate) checksum: Checksum,
    pub(crate) epoch: Epoch,
    pub(crate) put_id: PutId,
    pub(crate) replaces: Known,
    pub(crate) keep_previous: bool,
    /// What has most of its bytes already.
    pub(crate) base: Option<Base>,
    /// What the object says of an overwrite.
    pub(crate) promotion: Mark,
}

impl Attempt {
    /// Equal for every try.
    fn content(&self) -> Content {
        Content::new(self.pin.size(), self.pin.stamped_image(self.put_id.stamp()))
    }

    /// How the store puts it together from what it has, if that saves anything.
    fn patched(&self, bucket: &Arc<dyn Bucket>) -> Option<Patched> {
        let (base, part) = self.base.as_ref().zip(bucket.patch_size())?;
        let same = base.same_parts(part, self.pin.size(), self.pin.page_size());
        let (pin, stamp) = (self.pin.clone(), self.put_id.stamp());
        let content: ReadAt = Arc::new(move |offset| pin.stamped_image_at(stamp, offset));
        let (from, unchanged, len) = (base.key.clone(), base.etag.clone(), self.pin.size());
        (!same.is_empty()).then_some(Patched { from, unchanged, same, part, len, content })
    }

    fn form(&self, branch: &BranchName) -> Form {
        let mut metadata = BTreeMap::from([
            (metadata::BRANCH.to_owned(), branch.to_string()),
            (metadata::EPOCH.to_owned(), self.epoch.to_string()),
            (metadata::TXID.to_owned(), self.txid.to_string()),
            (metadata::CHECKSUM.to_owned(), self.checksum.to_string()),
            (metadata::COUNTERS.to_owned(), self.pin.page(PageNo::FIRST).map(image::counters).unwrap_or_default()),
            (metadata::PUT_ID.to_owned(), self.put_id.to_string()),
        ]);
        match &self.promotion {
            Mark::None => {}
            Mark::Done(id) => drop(metadata.insert(metadata::PROMOTION.to_owned(), id.clone())),
            Mark::NotDone(id) => drop(metadata.insert(metadata::NOT_PROMOTED.to_owned(), id.clone())),
        }
        Form { metadata, content_type: CONTENT_TYPE }
    }
}

/// What an object says of the overwrite that its head record calls begun, so that whoever opens the branch next knows how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Mark {
    /// None is begun.
    #[default]
    None,
    /// It was carried out by this object or one before it.
    Done(String),
    /// It was not.
    NotDone(String),
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

impl Place {
    /// Of a branch of a database.
    pub(crate) fn of(key: &DatabaseKey, branch: &BranchName) -> Self {
        Self { key: key.snapshot(branch), previous: key.previous(branch), branch: branch.clone() }
    }
}

/// Of a plain SQLite file.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.sqlite3";

/// SHA-256 of a version as a file, without what only counts changes: of the file (bytes 24–27 and 92–99), and of the schema (40–43), which
/// a copy by `sqlite3_backup` counts up. It is what two objects have in common if only their writers differ.
pub(crate) async fn content_of(pin: &Pin) -> Result<String, std::io::Error> {
    const COUNTERS: [std::ops::Range<usize>; 3] = [24..28, 40..44, 92..100];
    let mut image = pin.image();
    let digest = tokio::task::spawn_blocking(move || {
        let mut digest = sha2::Sha256::new();
        let mut header = [0; 100];
        image.read_exact(&mut header)?;
        for counter in COUNTERS {
            header[counter].fill(0);
        }
        digest.update(header);
        let mut chunk = vec![0; 256 << 10];
        loop {
            match image.read(&mut chunk)? {
                0 => return Ok::<_, std::io::Error>(digest.finalize()),
                len => digest.update(&chunk[..len]),
            }
        }
    });
    Ok(hex::encode(digest.await.map_err(std::io::Error::other)??))
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
    let copied = async {
        match &attempt.replaces {
            Known::Sound(etag) if attempt.keep_previous => copy_previous(bucket, place, etag).await,
            Known::Sound(_) | Known::NotOurs(_) | Known::Absent => Ok(()),
        }
    };
    let staged = async {
        // Its parts are in the store before anybody sees them.
        if bucket.is_large(attempt.pin.size()) {
            if let Some(patched) = attempt.patched(bucket) {
                match bucket.stage_patched(&place.key, patched, attempt.form(&place.branch)).await {
                    Ok(staged) => return Ok(Some(staged)),
                    // Such as a base that is gone. All of it is here, too.
                    Err(error) => {
                        tracing::debug!(key = %place.key, %error, "a snapshot is sent whole, since the store did not put it together");
                    }
                }
            }
            bucket.stage(&place.key, attempt.content(), attempt.form(&place.branch)).await.map(Some)
        } else {
            Ok(None)
        }
    };
    // What is replaced is copied while the parts of what replaces it are on their way.
    let (copied, staged) = tokio::join!(copied, staged);
    let condition = attempt.replaces.condition();
    match (staged?, copied) {
        (Some(staged), Ok(())) => staged.publish(&condition).await,
        (Some(staged), Err(error)) => {
            staged.discard().await;
            Err(error)
        }
        (None, Ok(())) => bucket.put(&place.key, attempt.content(), Put { condition, form: attempt.form(&place.branch) }).await,
        (None, Err(error)) => Err(error),
    }
}

/// The copy can be made as often as one likes while its source is the same, so an unclear answer is simply asked again.
async fn copy_previous(bucket: &Arc<dyn Bucket>, place: &Place, etag: &Etag) -> Result<(), bucket::Error> {
    let copy = || bucket.copy(&place.key, Some(etag), &place.previous);
    match copy().await {
        Err(bucket::Error::Unclear { .. }) => copy().await.map(drop).map_err(|error| match error {
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
