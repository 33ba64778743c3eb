//! A past state of a branch, put together beside whatever is served.
//!
//! Owns: which state a moment means. Does not own: how files make it (`chains/reading.rs`).
//! Invariant: the present is not touched. A moment of which nobody can know the state yet is refused.

use std::sync::Arc;

use ltx::Txid;

use crate::bucket::Bucket;
use crate::chains::{Chain, Recalled, wall};
use crate::clock::WallTime;
use crate::error::Error;
use crate::head::{Begins, HeadRecord, HeadState};
use crate::heads::Heads;
use crate::memory::{MemoryDatabase, MemoryOptions};
use crate::names::{BranchName, DatabaseKey, DatabaseName};
use crate::restore;
use crate::snapshot::{Place, PutIds};

/// Which state of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The newest that is in the bucket.
    Newest,
    /// The one with this number.
    Txid(u64),
    /// The newest that was made no later.
    At(WallTime),
}

/// A state that was put together.
#[derive(Clone)]
pub struct PastState {
    /// Its number; 0 where its writer did not number it.
    pub txid: u64,
    /// When it was made.
    pub time: WallTime,
    /// A database of its own, which nobody else sees.
    pub memory: MemoryDatabase,
}

/// What a state is looked for with.
#[derive(Clone)]
pub(crate) struct Archive {
    pub(crate) heads: Heads,
    pub(crate) options: MemoryOptions,
    pub(crate) now: WallTime,
}

/// A state of a branch, straight from its bucket. Nothing is written there, and nobody needs to serve it.
pub async fn past_state(
    bucket: Arc<dyn Bucket>,
    key: DatabaseKey,
    branch: &BranchName,
    point: Point,
    options: MemoryOptions,
) -> Result<PastState, Error> {
    Archive::straight(bucket, key, options).state(branch, point).await
}

impl Archive {
    /// Of a bucket that nobody here serves anything of.
    pub(crate) fn straight(bucket: Arc<dyn Bucket>, key: DatabaseKey, options: MemoryOptions) -> Self {
        let now = options.clock.wall();
        let heads = Heads { database: DatabaseName::new("", key.as_str()), bucket, key, put_ids: Arc::new(PutIds::new()) };
        Self { heads, options, now }
    }

    /// A state of a branch.
    pub(crate) async fn state(&self, branch: &BranchName, point: Point) -> Result<PastState, Error> {
        let record = self.record(branch).await?;
        match record.as_ref().and_then(HeadRecord::chained_from) {
            Some(begins) => {
                let Recalled { memory, tip, .. } = self.recalled(branch, begins, point).await?;
                Ok(PastState { txid: tip.txid.get(), time: wall(tip.time), memory })
            }
            None => self.without_chain(branch, point).await,
        }
    }

    /// The record of a branch that is there.
    pub(crate) async fn record(&self, branch: &BranchName) -> Result<Option<HeadRecord>, Error> {
        let record = self.heads.read(branch).await?.map(|stored| stored.record);
        let database = || self.heads.database.clone();
        match record.as_ref().map(|record| record.state) {
            None | Some(HeadState::Ready) => Ok(record),
            Some(HeadState::Creating) => Err(Error::BranchNotFound { database: database(), branch: branch.clone() }),
            Some(HeadState::Tombstone) => Err(Error::BranchDeleted { database: database(), branch: branch.clone() }),
        }
    }

    /// A state of a branch whose chain begins here.
    pub(crate) async fn recalled(&self, branch: &BranchName, begins: Begins, point: Point) -> Result<Recalled, Error> {
        let (chain, Begins { first, horizon }) = (Chain::of(&self.heads, branch), begins);
        let none_at =
            |at: WallTime, detail: String| Error::NoStateAt { database: self.heads.database.clone(), branch: branch.clone(), at, detail };
        let (txid, refused): (_, Box<dyn Fn(String) -> Error + Send + Sync>) = match point {
            Point::Newest => return chain.newest(first, &self.options).await,
            Point::Txid(asked) => {
                let newest = chain.newest_number(first).await?;
                let (database, branch) = (self.heads.database.clone(), branch.clone());
                let refused =
                    move |detail| Error::NoSuchState { database: database.clone(), branch: branch.clone(), asked, newest, detail };
                match Txid::new(asked).filter(|txid| txid.get() <= newest) {
                    Some(txid) => (txid, Box::new(refused)),
                    None => return Err(refused(format!("the newest is {newest}"))),
                }
            }
            Point::At(at) if at > self.now => return Err(none_at(at, format!("it is in the future: now it is {}", self.now))),
            Point::At(at) => match chain.newest_at(first, at).await? {
                Some(txid) => (txid, Box::new(move |detail| none_at(at, detail))),
                None => return Err(none_at(at, "it is before the first state that can be had".to_owned())),
            },
        };
        if txid < horizon {
            // There may be files of it, from before the branch was made or until they are deleted, but nobody keeps what belongs to it.
            return Err(refused(format!("the first state that can be had is txid {}", horizon.get())));
        }
        match chain.past(first, chain::Target::Txid(txid), &self.options).await {
            Err(Error::ChainBroken { detail, .. }) => Err(refused(detail)),
            done => done,
        }
    }

    /// Of a branch before its chain: the plain file is all that there is.
    async fn without_chain(&self, branch: &BranchName, point: Point) -> Result<PastState, Error> {
        let heads = &self.heads;
        let place = Place::of(&heads.key, branch);
        let found = restore::read(&heads.database, &heads.bucket, &place, self.options.clone()).await?;
        let missing = || Error::BranchNotFound { database: heads.database.clone(), branch: branch.clone() };
        let (memory, meta) = found.ok_or_else(missing)?;
        let (txid, time) = (restore::txid_of(&meta), meta.last_modified.unwrap_or(WallTime::UNIX_EPOCH));
        let detail = "it has no deltas yet, only its newest state; opening it once begins them".to_owned();
        let (database, branch) = (heads.database.clone(), branch.clone());
        match point {
            Point::Txid(asked) if asked != txid => Err(Error::NoSuchState { database, branch, asked, newest: txid, detail }),
            Point::At(at) if at < time || at > self.now => Err(Error::NoStateAt { database, branch, at, detail }),
            Point::Newest | Point::Txid(_) | Point::At(_) => Ok(PastState { txid, time, memory }),
        }
    }
}
