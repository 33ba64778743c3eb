//! Proves that what lies in the bucket can be restored: by restoring it.
//!
//! Owns: which states are restored for a proof, and what makes one sound. Does not own: when (`host/verify.rs`), how files make a state
//! (`chains`).
//! Invariants: nothing is written, and nothing that is served is touched; a store that fails proves nothing, neither way.

use std::sync::Arc;

use ltx::{Checksum, Txid};

use crate::bucket::Bucket;
use crate::chains::{Chain, Recalled, wall};
use crate::clock::WallTime;
use crate::error::Error;
use crate::facts::Damage;
use crate::head::HeadRecord;
use crate::memory::{MemoryDatabase, MemoryOptions};
use crate::names::{BranchName, DatabaseKey};
use crate::opening::short_of;
use crate::past::{Archive, Point};

/// A state that was restored and found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Its number; 0 where its writer did not number it.
    pub txid: u64,
    /// When it was made.
    pub time: WallTime,
    /// In bytes, as a file.
    pub size: u64,
    /// As the chain counts it; `None` before there is one.
    pub checksum: Option<String>,
    /// Files that others were taken for.
    pub damage: Vec<Damage>,
}

/// What was restored for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The newest state, or the one that was asked for.
    pub state: Sound,
    /// A past one, chosen by chance, or why it is lost; `None` where there is no other, or where a certain one was asked for.
    pub past: Result<Option<Sound>, String>,
}

/// Restores a branch straight from its bucket: its newest state and a past one, or the one that is asked for.
pub async fn verify(
    bucket: Arc<dyn Bucket>,
    key: DatabaseKey,
    branch: &BranchName,
    point: Point,
    options: MemoryOptions,
) -> Result<Verification, Error> {
    let archive = Archive::straight(bucket, key, options);
    let record = archive.record(branch).await?;
    let Some(begins) = record.as_ref().and_then(HeadRecord::chained_from) else {
        let state = archive.state(branch, point).await?;
        let (size, txid, time) = (state.memory.size(), state.txid, state.time);
        archive.look_at(branch, txid, state.memory).await?;
        return Ok(Verification { state: Sound { txid, time, size, checksum: None, damage: Vec::new() }, past: Ok(None) });
    };
    let noted = record.as_ref().map_or(0, |record| record.txid);
    let recalled = archive.recalled(branch, begins, point).await?;
    if point == Point::Newest && recalled.tip.txid.get() < noted {
        return Err(archive.broken(branch, short_of(noted, recalled.tip.txid)));
    }
    let newest = recalled.tip.txid;
    let state = archive.sound(branch, recalled).await?;
    let past = match point {
        Point::Newest => archive.some_past(branch, begins.first, newest).await?,
        Point::Txid(_) | Point::At(_) => Ok(None),
    };
    Ok(Verification { state, past })
}

impl Archive {
    /// The state that a branch must have, as its host knows.
    pub(crate) async fn sound_as(&self, branch: &BranchName, first: Txid, txid: Txid, checksum: Checksum) -> Result<Sound, Error> {
        let recalled = Chain::of(&self.heads, branch).past(first, chain::Target::Txid(txid), &self.options).await?;
        let found = recalled.tip.checksum();
        if found != checksum {
            let detail = format!("txid {} has checksum {found} in the bucket, and what was committed has {checksum}", txid.get());
            return Err(self.broken(branch, detail));
        }
        self.sound(branch, recalled).await
    }

    /// A state before the newest, chosen by chance. `None` if there is none, or if it was retired meanwhile. The inner error says why it is lost.
    pub(crate) async fn some_past(&self, branch: &BranchName, first: Txid, newest: Txid) -> Result<Result<Option<Sound>, String>, Error> {
        let chain = Chain::of(&self.heads, branch);
        let horizon = self.horizon(branch).await?.unwrap_or(first);
        let Some(txid) = chain.some_state(first, horizon..newest, self.now.as_nanosecond()).await? else { return Ok(Ok(None)) };
        let restored = match chain.past(first, chain::Target::Txid(txid), &self.options).await {
            Ok(recalled) => self.sound(branch, recalled).await,
            Err(error) => Err(error),
        };
        match restored {
            Ok(sound) => Ok(Ok(Some(sound))),
            Err(Error::ChainBroken { .. }) if self.is_retired(branch, txid).await? => Ok(Ok(None)),
            Err(Error::ChainBroken { detail, .. }) => Ok(Err(format!("a past state, txid {}, cannot be restored: {detail}", txid.get()))),
            Err(error) => Err(error),
        }
    }

    /// Whether a state was let go.
    pub(crate) async fn is_retired(&self, branch: &BranchName, txid: Txid) -> Result<bool, Error> {
        Ok(self.horizon(branch).await?.is_some_and(|horizon| horizon > txid))
    }

    /// The first state of a branch that can be had.
    async fn horizon(&self, branch: &BranchName) -> Result<Option<Txid>, Error> {
        Ok(self.record(branch).await?.and_then(|record| record.horizon).and_then(Txid::new))
    }

    async fn sound(&self, branch: &BranchName, recalled: Recalled) -> Result<Sound, Error> {
        let Recalled { memory, tip, damage, .. } = recalled;
        let (txid, size) = (tip.txid.get(), memory.size());
        self.look_at(branch, txid, memory).await?;
        Ok(Sound { txid, time: wall(tip.time), size, checksum: Some(tip.checksum().to_string()), damage })
    }

    /// SQLite looks at all of it.
    async fn look_at(&self, branch: &BranchName, txid: u64, memory: MemoryDatabase) -> Result<(), Error> {
        let looked = self.options.pace.run(move || memory.check()).await;
        let fault = |panic: tokio::task::JoinError| Error::Internal { database: self.heads.database.clone(), detail: panic.to_string() };
        looked.map_err(fault)?.map_err(|detail| self.broken(branch, format!("txid {txid} is no sound database: {detail}")))
    }

    fn broken(&self, branch: &BranchName, detail: String) -> Error {
        Chain::of(&self.heads, branch).broken(detail)
    }
}
