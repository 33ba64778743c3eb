//! How a tenure begins: the epoch is raised, what lies in the bucket is read, and late writes of the last tenure are made harmless.
//!
//! Owns: the order of these steps. Does not own: who may take over (`fence.rs`), how objects are read (`restore.rs`) and written
//! (`snapshot.rs`).
//! Invariant: nothing is served before, unless the last tenure ended by itself, the object that was read is replaced by one of this
//! tenure. Whoever wrote it, and however long they slept: their next conditional write fails.

mod rebuilt;

use std::sync::Arc;
use std::time::Duration;

use crate::bucket::{self, Bucket};
use crate::clock::{Clock, WallTime};
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::facts::{Origin, SnapshotFacts};
use crate::fence::{self, Claim, Entry, Refusal};
use crate::head::{Epoch, HeadRecord, Holder, PromotionEntry, PromotionState};
use crate::heads::{Heads, Stored, Written};
use crate::memory::{Commits, MemoryDatabase, MemoryOptions};
use crate::names::{BranchName, Etag};
use crate::restore::{self, Restored, epoch_of};
use crate::seed;
use crate::snapshot::{self, Attempt, Known, Mark, Outcome, Place, PutIds, content_of, metadata};
use crate::tenure::{Failure, Tenure};

/// What it takes to open a branch.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) put_ids: Arc<PutIds>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: MemoryOptions,
    /// Who opens.
    pub(crate) me: Holder,
    /// The epoch that this resource has held, as far as anybody remembers.
    pub(crate) held: Option<Epoch>,
}

/// A branch that may be served.
pub(crate) struct Opened {
    pub(crate) memory: MemoryDatabase,
    pub(crate) tenure: Tenure,
    pub(crate) known: Known,
    pub(crate) txid: u64,
    pub(crate) origin: Origin,
    /// The commits that `<key>` holds.
    pub(crate) durable: Commits,
    /// When they were all in.
    pub(crate) durable_time: WallTime,
    pub(crate) snapshot: SnapshotFacts,
}

/// Between two looks at whether a branch was released.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the object may change between reading and replacing it.
const ROUNDS: u32 = 5;

impl Opener {
    /// The head records of a configuration's database.
    pub(crate) fn heads(&self, config: &DatabaseConfig) -> Heads {
        Heads {
            database: config.name.clone(),
            bucket: Arc::clone(&self.bucket),
            key: config.location.key.clone(),
            put_ids: Arc::clone(&self.put_ids),
        }
    }

    /// Waits until a predecessor in another Pod has released the branch: it may still be saving. Not for longer than `limit`, since it may
    /// be gone, and not at all for an earlier process of this very Pod, which is.
    pub(crate) async fn await_release(&self, config: &DatabaseConfig, limit: Duration) -> Result<(), Error> {
        let heads = self.heads(config);
        let deadline = self.clock.now() + limit;
        let mut pause = FIRST_PAUSE;
        loop {
            let found = heads.read(&config.location.branch).await?;
            let record = found.as_ref().map(|stored| &stored.record);
            let claim = Claim { me: &self.me, held: self.held, take_over: config.take_over };
            if !fence::may_still_save(record, claim) || self.clock.now() >= deadline {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Opens the branch that a configuration names.
    pub(crate) async fn open(&self, config: &DatabaseConfig) -> Result<Opened, Error> {
        let branch = &config.location.branch;
        let place = Place::of(&config.location.key, branch);
        let heads = self.heads(config);
        for _ in 0..ROUNDS {
            let Some(begun) = self.begin(config, &heads, &place).await? else { continue };
            let Begun { mut tenure, last, entry } = begun;
            let restored = restore::restore(config, &self.bucket, &place, self.options.clone(), last.as_ref()).await?;
            if let Some(opened) = self.settle(config, &mut tenure, restored, last.as_ref(), entry).await? {
                return Ok(opened.with(tenure));
            }
        }
        let source = bucket::Error::Unavailable { message: "the branch changed whenever it was looked at".to_owned() };
        Err(Error::Bucket { database: config.name.clone(), doing: "opening the branch", source })
    }

    /// Raises the epoch. `None` if somebody was faster.
    async fn begin(&self, config: &DatabaseConfig, heads: &Heads, place: &Place) -> Result<Option<Begun>, Error> {
        let found = heads.read(&place.branch).await?;
        let claim = Claim { me: &self.me, held: self.held, take_over: config.take_over };
        let entry = fence::enter(found.as_ref().map(|stored| &stored.record), claim).map_err(|refusal| refused(config, refusal))?;
        let last = match &found {
            Some(stored) => Some(stored.record.clone()),
            None => self.unrecorded(config, place).await?,
        };
        let next = match &last {
            Some(last) => last.clone(),
            None => self.first_record(config, place).await?,
        };
        let next = next.raised(self.me.clone());
        Ok(match heads.write(&place.branch, found.as_ref(), next).await? {
            Written::Ours(stored) => {
                let last = found.map(|found: Stored| found.record);
                Some(Begun { tenure: Tenure::new(heads.clone(), place.clone(), self.me.clone(), stored), last, entry })
            }
            Written::Theirs(_) => None,
        })
    }

    /// The record of a `main` that has none and no object. Only where nothing came before is it made by whoever opens it.
    async fn first_record(&self, config: &DatabaseConfig, place: &Place) -> Result<HeadRecord, Error> {
        let before = self.bucket.head(&place.previous).await;
        let before = before.map_err(|source| Error::Bucket { database: config.name.clone(), doing: "looking for the snapshot", source })?;
        let record = HeadRecord::found(Epoch::default(), 0);
        Ok(if before.is_none() { record.made_by(&self.me) } else { record })
    }

    /// Makes what was read this tenure's own. `None` if it changed in the meantime and must be read again.
    async fn settle(
        &self,
        config: &DatabaseConfig,
        tenure: &mut Tenure,
        restored: Restored,
        last: Option<&HeadRecord>,
        entry: Entry,
    ) -> Result<Option<Ready>, Error> {
        let Restored { memory, known, txid, origin, meta } = restored;
        if matches!(origin, Origin::Empty) {
            // With its tables, so that a new database is in the bucket as soon as it is served, and clean.
            seed::create_tables(&memory).await?;
        }
        let fault = |error: std::io::Error| Error::Internal { database: config.name.clone(), detail: error.to_string() };
        let pin = memory.pin();
        let recorded = last.and_then(|record| record.snapshot.as_ref());
        let unchanged = recorded.filter(|snapshot| meta.as_ref().is_some_and(|meta| meta.etag == snapshot.etag()));
        let promotion = last.and_then(HeadRecord::begun).map(|entry| (entry.clone(), how_it_ended(entry, meta.as_ref())));
        let ready = |known, txid, origin, snapshot| Ready {
            memory: memory.clone(),
            known,
            txid,
            origin,
            durable: pin.commits(),
            durable_time: self.clock.wall(),
            snapshot,
        };
        if let (Entry::AfterRelease, Some(_), None, Some(meta)) = (entry, unchanged, &promotion, &meta) {
            let time = meta.last_modified.unwrap_or_else(|| self.clock.wall());
            let facts = SnapshotFacts { time, txid, size: meta.size, duration: None, etag: meta.etag.clone() };
            let txid = txid.max(tenure.record().txid);
            return Ok(Some(ready(known, txid, origin, facts)));
        }
        let content = content_of(&pin).await.map_err(fault)?;
        let origin = match (origin, &meta, last) {
            (Origin::Snapshot { etag, size }, Some(meta), Some(last)) if is_outside(meta, last, &content, tenure.branch()) => {
                Origin::Outside { etag, size }
            }
            (origin, ..) => origin,
        };
        let mark = match &promotion {
            None => Mark::None,
            Some((entry, Some(true))) => Mark::Done(entry.id.clone()),
            Some((entry, Some(false))) => Mark::NotDone(entry.id.clone()),
            Some((entry, None)) => {
                return Err(Error::PromotionUnknown {
                    database: config.name.clone(),
                    branch: tenure.branch().clone(),
                    id: entry.id.clone(),
                });
            }
        };
        let attempt = Attempt {
            pinned_at: self.clock.wall(),
            txid: txid.max(tenure.record().txid) + 1,
            epoch: tenure.epoch(),
            put_id: self.put_ids.fresh(),
            replaces: known,
            keep_previous: false,
            promotion: mark,
            pin: pin.clone(),
        };
        let begun = self.clock.now();
        let etag = match snapshot::upload(&self.bucket, tenure.place(), &attempt).await {
            Outcome::Stored(etag) => etag,
            Outcome::Conflict { .. } => return tenure.check().await.map(|()| None).map_err(|failure| ended(config, tenure, failure)),
            Outcome::NotWritten(source) | Outcome::Unclear(source) => {
                return Err(Error::Bucket { database: config.name.clone(), doing: "fencing the snapshot", source });
            }
        };
        let facts = SnapshotFacts {
            time: self.clock.wall(),
            txid: attempt.txid,
            size: pin.size(),
            duration: Some(self.clock.now().saturating_duration_since(begun)),
            etag: etag.clone(),
        };
        self.note(config, tenure, &facts, content, promotion).await?;
        Ok(Some(ready(Known::Sound(etag), attempt.txid, origin, facts)))
    }

    async fn note(
        &self,
        config: &DatabaseConfig,
        tenure: &mut Tenure,
        facts: &SnapshotFacts,
        content: String,
        promotion: Option<(PromotionEntry, Option<bool>)>,
    ) -> Result<(), Error> {
        let change = |record: &HeadRecord| {
            let noted = record.noted(&facts.etag, facts.txid, facts.size, content.clone());
            match &promotion {
                Some((entry, Some(true))) => noted.with_promotion(PromotionEntry { state: PromotionState::Done, ..entry.clone() }),
                Some((entry, _)) => noted.without_promotion(&entry.id),
                None => noted,
            }
        };
        tenure.change(change).await.map_err(|failure| ended(config, tenure, failure))
    }
}

/// A tenure whose fence does not stand yet.
struct Begun {
    tenure: Tenure,
    /// The record before.
    last: Option<HeadRecord>,
    entry: Entry,
}

/// An opened branch without its tenure.
struct Ready {
    memory: MemoryDatabase,
    known: Known,
    txid: u64,
    origin: Origin,
    durable: Commits,
    durable_time: WallTime,
    snapshot: SnapshotFacts,
}

impl Ready {
    fn with(self, tenure: Tenure) -> Opened {
        let Self { memory, known, txid, origin, durable, durable_time, snapshot } = self;
        Opened { memory, tenure, known, txid, origin, durable, durable_time, snapshot }
    }
}

/// Whether an overwrite that was begun was carried out, as the object tells that the opener read; `None` if it does not tell.
fn how_it_ended(entry: &PromotionEntry, meta: Option<&bucket::ObjectMeta>) -> Option<bool> {
    let meta = meta?;
    let says = |key| meta.metadata.get(key) == Some(&entry.id);
    if says(metadata::PROMOTION) {
        Some(true)
    } else if meta.etag == Etag::new(&entry.replaces) || says(metadata::NOT_PROMOTED) {
        Some(false)
    } else {
        None
    }
}

/// Whether an object that its head record does not know comes from somebody who has no tenure.
fn is_outside(meta: &bucket::ObjectMeta, last: &HeadRecord, content: &str, branch: &BranchName) -> bool {
    let Some(recorded) = &last.snapshot else { return false };
    // A tenure notes its snapshots after they stand, so it may have ended in between.
    let follows = epoch_of(meta) == last.epoch
        && restore::txid_of(meta) > recorded.txid
        && meta.metadata.get(metadata::BRANCH).map(String::as_str) == Some(branch.as_str());
    meta.etag != recorded.etag() && content != recorded.content && !follows
}

fn refused(config: &DatabaseConfig, refusal: Refusal) -> Error {
    let (database, branch) = (config.name.clone(), config.location.branch.clone());
    match refusal {
        Refusal::Deleted => Error::BranchDeleted { database, branch },
        Refusal::NotMadeYet => Error::BranchNotFound { database, branch },
        Refusal::Held { by, epoch } => Error::HeldByOther { database, branch, by: Box::new(by), epoch },
    }
}

fn ended(config: &DatabaseConfig, tenure: &Tenure, failure: Failure) -> Error {
    match failure {
        Failure::Ended(ended) => Error::Fenced {
            database: config.name.clone(),
            branch: tenure.branch().clone(),
            ours: tenure.epoch(),
            theirs: ended.epoch,
            by: ended.by.map(Box::new),
            lost: 0,
        },
        Failure::Head(error) => error,
    }
}
