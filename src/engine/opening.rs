//! How a tenure begins: the epoch is raised, what lies in the bucket is read, and late writes of the last tenure are made harmless.
//!
//! Owns: the order of these steps. Does not own: who may take over (`fence.rs`), how files are read (`chains.rs`, `restore.rs`) and written.
//! Invariant: nothing is served before, unless the last tenure ended by itself, the slot that a late write of it would take is taken by this
//! one. Whoever had it, and however long they slept: their next write fails.

mod entry;
mod lineage;
mod outside;
mod proof;
mod rebuilt;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::Base;
use crate::bucket::{self, Bucket};
use crate::chains::Chain;
use crate::clock::{Clock, WallTime};
use crate::config::DatabaseConfig;
use crate::delta::{By, Tip};
use crate::error::Error;
use crate::facts::{Damage, Origin, Outside, SnapshotFacts};
use crate::fence::{self, Claim, Entry, Refusal};
use crate::head::{Epoch, HeadRecord, Holder, PromotionEntry, PromotionState};
use crate::heads::{Heads, Stored, Written};
use crate::liveness::{Life, Liveness};
use crate::memory::{MemoryDatabase, MemoryOptions};
use crate::names::BranchName;
use crate::past::Archive;
use crate::restore::txid_of;
use crate::snapshot::{Known, Place, PutIds};
use crate::tenure::{Failure, Tenure};

pub(crate) use proof::short_of;

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
    /// By which epochs other Pods of the resource ended tenures of this process.
    pub(crate) ousted: BTreeMap<BranchName, Epoch>,
    /// What is known of other processes.
    pub(crate) liveness: Option<Arc<dyn Liveness>>,
    /// How long one is waited for of which nothing is known.
    pub(crate) release_wait: Duration,
}

/// A branch that may be served.
pub(crate) struct Opened {
    pub(crate) tenure: Tenure,
    pub(crate) state: Ready,
}

impl Opened {
    /// Ends a tenure of which nothing was served.
    pub(crate) async fn release(&mut self) {
        self.tenure.release(self.state.tip.txid.get()).await;
    }
}

/// An opened branch without its tenure.
pub(crate) struct Ready {
    pub(crate) memory: MemoryDatabase,
    pub(crate) tip: Tip,
    /// Page 1 in memory is another one than the chain's.
    pub(crate) differs: bool,
    /// Bytes of the chain behind its newest whole database.
    pub(crate) behind: u64,
    /// What lies at `<key>`.
    pub(crate) known: Known,
    /// What lies there, as far as the next snapshot can be put together from it.
    pub(crate) base: Option<Base>,
    pub(crate) origin: Origin,
    /// When everything that is in memory was in the bucket.
    pub(crate) durable_time: WallTime,
    /// The newest snapshot at `<key>` that is one of ours.
    pub(crate) snapshot: Option<SnapshotFacts>,
    /// Whether `<key>` has another content than the branch.
    pub(crate) is_behind: bool,
    /// Somebody else's state, which was put aside.
    pub(crate) outside: Option<Outside>,
    /// Files of the chain that others were taken for.
    pub(crate) damage: Vec<Damage>,
}

/// Between two looks at whether a branch was released.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the branch may change between reading it and taking its next slot.
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

    fn claim(&self, config: &DatabaseConfig) -> Claim<'_> {
        let ousted = self.ousted.get(&config.location.branch).copied();
        Claim { me: &self.me, held: self.held, take_over: config.take_over, ousted }
    }

    /// The past of a configuration's database.
    pub(crate) fn archive(&self, config: &DatabaseConfig) -> Archive {
        Archive { heads: self.heads(config), options: self.options.clone(), now: self.clock.wall() }
    }

    /// Waits until a predecessor in another Pod has released the branch, since it may still be saving, or is known to have ended. One of
    /// which nothing is known is waited for as long as saving may take; an earlier process of this very Pod not at all, since it is gone.
    pub(crate) async fn await_release(&self, config: &DatabaseConfig) -> Result<(), Error> {
        let heads = self.heads(config);
        let deadline = self.clock.now() + self.release_wait;
        let mut pause = FIRST_PAUSE;
        loop {
            let found = heads.read(&config.location.branch).await?;
            match self.predecessor(config, found.as_ref()).await {
                None => return Ok(()),
                Some(Life::Unknown) if self.clock.now() >= deadline => return Ok(()),
                Some(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// How it stands with the other Pod that holds a branch by this record and may still use it. `None` if there is none, or it has ended.
    async fn predecessor(&self, config: &DatabaseConfig, found: Option<&Stored>) -> Option<Life> {
        let record = found.map(|stored| &stored.record);
        let holder = record.filter(|record| fence::may_still_save(Some(record), self.claim(config)))?.holder.as_ref()?;
        let Some(liveness) = &self.liveness else { return Some(Life::Unknown) };
        #[cfg(test)]
        if self.bucket.flaw() == crate::flaws::Flaw::LeaseNotAwaited {
            return None;
        }
        Some(liveness.of(&holder.pod).await).filter(|life| *life != Life::Ended)
    }

    /// Opens the branch that a configuration names.
    pub(crate) async fn open(&self, config: &DatabaseConfig) -> Result<Opened, Error> {
        let branch = &config.location.branch;
        let place = Place::of(&config.location.key, branch);
        let heads = self.heads(config);
        for _ in 0..ROUNDS {
            let Some(mut begun) = self.begin(config, &heads, &place).await? else {
                self.await_release(config).await?;
                continue;
            };
            let state = match begun.last.as_ref().and_then(HeadRecord::first) {
                Some(first) => Box::pin(self.resume(config, &mut begun, first)).await?,
                None => Box::pin(self.enter(config, &mut begun)).await?,
            };
            if let Some(state) = state {
                return Ok(Opened { tenure: begun.tenure, state });
            }
        }
        let source = bucket::Error::Unavailable { message: "the branch changed whenever it was looked at".to_owned() };
        Err(Error::Bucket { database: config.name.clone(), doing: "opening the branch", source })
    }

    /// Raises the epoch. `None` if somebody was faster, or lives and holds the branch.
    async fn begin(&self, config: &DatabaseConfig, heads: &Heads, place: &Place) -> Result<Option<Begun>, Error> {
        let found = heads.read(&place.branch).await?;
        if self.predecessor(config, found.as_ref()).await == Some(Life::Lives) {
            return Ok(None);
        }
        let claim = self.claim(config);
        let entry = fence::enter(found.as_ref().map(|stored| &stored.record), claim).map_err(|refusal| refused(config, refusal))?;
        let chain = Chain::of(heads, &place.branch);
        let last = match &found {
            Some(stored) => Some(stored.record.clone()),
            None => self.unrecorded(config, place, &chain).await?,
        };
        let next = match &last {
            Some(last) => last.clone(),
            None => self.first_record(config, place).await?,
        };
        let next = match next.first() {
            Some(_) => next.raised(self.me.clone()),
            None => next.raised(self.me.clone()).at(self.free_number(config, place, &chain, &next).await?),
        };
        #[cfg(test)]
        let next = match &last {
            Some(last) if self.bucket.flaw() == crate::flaws::Flaw::EpochNotRaised => next.with_epoch(last.epoch.max(Epoch(1))),
            _ => next,
        };
        Ok(match heads.write(&place.branch, found.as_ref(), next).await? {
            Written::Ours(stored) => {
                let last = found.map(|found: Stored| found.record).or(last);
                Some(Begun { tenure: Tenure::new(heads.clone(), place.clone(), self.me.clone(), stored), chain, last, entry })
            }
            Written::Theirs(_) => None,
        })
    }

    /// Above all numbers that were ever given to a branch without a chain. It is reserved together with the epoch, so that what a process
    /// of a lower epoch still begins has a lower number than the chain.
    async fn free_number(&self, config: &DatabaseConfig, place: &Place, chain: &Chain, record: &HeadRecord) -> Result<u64, Error> {
        let failed = |source| Error::Bucket { database: config.name.clone(), doing: "looking for what is there of the branch", source };
        let snapshot = self.bucket.head(&place.key).await.map_err(failed)?.map_or(0, |meta| txid_of(&meta));
        let highest = chain.highest().await.map_err(failed)?;
        Ok(record.txid.max(snapshot).max(highest).saturating_add(1))
    }

    /// The record of a `main` that has none and no object. Only where nothing came before is it made by whoever opens it.
    async fn first_record(&self, config: &DatabaseConfig, place: &Place) -> Result<HeadRecord, Error> {
        let before = self.bucket.head(&place.previous).await;
        let before = before.map_err(|source| Error::Bucket { database: config.name.clone(), doing: "looking for the snapshot", source })?;
        let record = HeadRecord::found(Epoch::default(), 0);
        Ok(if before.is_none() { record.made_by(&self.me) } else { record })
    }

    /// Who writes, and when.
    fn by(&self, tenure: &Tenure) -> By {
        By { epoch: tenure.epoch(), time: crate::chains::millis(self.clock.wall()) }
    }
}

/// A tenure whose fence does not stand yet.
struct Begun {
    tenure: Tenure,
    chain: Chain,
    /// The record before, or what its objects tell of it.
    last: Option<HeadRecord>,
    entry: Entry,
}

/// An overwrite that was begun, and how it ended.
struct Settled {
    entry: PromotionEntry,
    was_made: bool,
}

impl Settled {
    fn noted(&self, record: &HeadRecord) -> HeadRecord {
        if self.was_made {
            record.with_promotion(PromotionEntry { state: PromotionState::Done, ..self.entry.clone() })
        } else {
            record.without_promotion(&self.entry.id)
        }
    }
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

fn fault(config: &DatabaseConfig, detail: impl std::fmt::Display) -> Error {
    Error::Internal { database: config.name.clone(), detail: detail.to_string() }
}
