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

impl PastState {
    /// As it was recalled from a chain.
    pub(crate) fn of(recalled: Recalled) -> Self {
        let Recalled { memory, tip, .. } = recalled;
        Self { txid: tip.txid.get(), time: wall(tip.time), memory }
    }
}

/// A state that somebody asked for and that can be had, as far as anybody knows before it is put together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meant {
    pub(crate) txid: Txid,
    point: Asked,
}

/// How it was asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Txid { asked: u64, newest: u64 },
    At(WallTime),
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
            Some(begins) => Ok(PastState::of(self.recalled(branch, begins, point).await?)),
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
        match self.meant(branch, begins, point).await? {
            Some(meant) => self.recall(branch, begins, meant).await,
            None => Chain::of(&self.heads, branch).newest(begins.first, &self.options).await,
        }
    }

    /// Which state a point means of a branch whose chain begins here. `None` is the newest, whichever that is.
    pub(crate) async fn meant(&self, branch: &BranchName, begins: Begins, point: Point) -> Result<Option<Meant>, Error> {
        let (chain, Begins { first, horizon }) = (Chain::of(&self.heads, branch), begins);
        let meant = match point {
            Point::Newest => return Ok(None),
            Point::Txid(asked) => {
                let newest = chain.newest_number(first).await?;
                let point = Asked::Txid { asked, newest };
                match Txid::new(asked).filter(|txid| txid.get() <= newest) {
                    Some(txid) => Meant { txid, point },
                    None => return Err(self.refused(branch, point, format!("the newest is {newest}"))),
                }
            }
            Point::At(at) if at > self.now => {
                return Err(self.refused(branch, Asked::At(at), format!("it is in the future: now it is {}", self.now)));
            }
            Point::At(at) => match chain.newest_at(first, at).await? {
                Some(txid) => Meant { txid, point: Asked::At(at) },
                None => return Err(self.refused(branch, Asked::At(at), "it is before the first state that can be had".to_owned())),
            },
        };
        if meant.txid < horizon {
            // There may be files of it, from before the branch was made or until they are deleted, but nobody keeps what belongs to it.
            return Err(self.refused(branch, meant.point, format!("the first state that can be had is txid {}", horizon.get())));
        }
        Ok(Some(meant))
    }

    /// Puts together what was meant.
    pub(crate) async fn recall(&self, branch: &BranchName, begins: Begins, meant: Meant) -> Result<Recalled, Error> {
        match Chain::of(&self.heads, branch).past(begins.first, chain::Target::Txid(meant.txid), &self.options).await {
            Err(Error::ChainBroken { detail, .. }) => Err(self.refused(branch, meant.point, detail)),
            done => done,
        }
    }

    fn refused(&self, branch: &BranchName, point: Asked, detail: String) -> Error {
        let (database, branch) = (self.heads.database.clone(), branch.clone());
        match point {
            Asked::Txid { asked, newest } => Error::NoSuchState { database, branch, asked, newest, detail },
            Asked::At(at) => Error::NoStateAt { database, branch, at, detail },
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
