//! The open of a branch that has a chain.
//!
//! Invariants: behind a file of a higher tenure nothing is put; the slot behind the state that was read is this tenure's before anything
//! else is concluded from it, unless the last tenure ended by itself and left nothing to conclude.

use chain::Level;
use ltx::Txid;

use super::outside::Standing;
use super::proof::{Accepted, Proved};
use super::{Begun, Opener, Ready, Settled, ended, fault};
use crate::base::Base;
use crate::branches;
use crate::chains::{Chain, Landing, Recalled, SlotMark, Upload, wall};
use crate::config::DatabaseConfig;
use crate::delta::{Delta, Tip};
use crate::error::Error;
use crate::facts::{Origin, Outside, SnapshotFacts};
use crate::fence::Entry;
#[cfg(test)]
use crate::flaws::Flaw;
use crate::head::{HeadRecord, PromotionEntry, SnapshotRef};
use crate::memory::{MemoryDatabase, Writes};
use crate::snapshot::Known;
use crate::tenure::Tenure;

impl Opener {
    /// `None` if the branch changed in the meantime and must be looked at again.
    pub(super) async fn resume(&self, config: &DatabaseConfig, begun: &mut Begun, first: Txid) -> Result<Option<Ready>, Error> {
        let Begun { tenure, chain, last, entry } = begun;
        let Proved { recalled, accepted } = self.proved(config, chain, first, last.as_ref()).await?;
        let Recalled { memory, mut tip, differs, epoch, kept_slots: mut slots, mut behind, mut damage, writes } = recalled;
        if epoch >= tenure.epoch() {
            // Whoever wrote that has the branch; a fence of ours behind it would end their tenure. If nobody has, the record was an old one.
            return tenure.check().await.map(|()| None).map_err(|failure| ended(config, tenure, failure));
        }
        let failed = |source| Error::Bucket { database: config.name.clone(), doing: "looking for the snapshot", source };
        let meta = self.bucket.head(&tenure.place().key).await.map_err(failed)?;
        let recorded = last.as_ref().and_then(|record| record.snapshot.clone());
        let unfinished = last.as_ref().and_then(HeadRecord::begun).cloned();
        let is_known = recorded.as_ref().zip(meta.as_ref()).is_some_and(|(recorded, meta)| recorded.etag() == meta.etag);
        let may_be_late = !(*entry == Entry::AfterRelease && is_known && unfinished.is_none());
        #[cfg(test)]
        let may_be_late = may_be_late && self.bucket.flaw() != Flaw::NoFence;
        if let Some(accepted) = &accepted {
            let Some(fenced) = self.begin_anew(config, tenure, chain, &tip, &memory.pin(), accepted.instead_of).await? else {
                return Ok(None);
            };
            tip = fenced;
            // The whole database that it begins anew with needs none of the files before it.
            damage.clear();
            behind = 0;
            slots.insert(tip.txid.get());
        } else if may_be_late {
            let fence = tip.fence(&memory.pin(), self.by(tenure));
            if !self.land(config, tenure, chain, &mut tip, &fence, SlotMark::Fence).await? {
                return Ok(None);
            }
            slots.insert(tip.txid.get());
        }
        let settled = match unfinished {
            Some(entry) => Some(self.settle(config, tenure, chain, &tip, entry).await?),
            None => None,
        };
        tip.same_since_of(recorded.as_ref());
        let mut origin = match accepted {
            Some(Accepted { state, instead_of }) => Origin::Accepted { state, instead_of },
            None => Origin::Chain { txid: tip.txid.get(), size: memory.size() },
        };
        let standing = self.look_at_snapshot(config, tenure, chain, first, &tip, &memory, recorded.as_ref(), meta).await?;
        let mut outside = None;
        // What is at `<key>`, the state that it holds, and whether the record has to be told.
        let (known, holds, told) = match standing {
            Standing::Known(meta) => (Known::Sound(meta.etag), recorded.clone().map(|recorded| (recorded.txid, recorded.content)), false),
            Standing::State { meta, txid, content } => (Known::Sound(meta.etag), Some((txid, content)), true),
            Standing::Gone => (Known::Absent, None, false),
            Standing::Damaged(meta) => (Known::NotOurs(meta.etag), None, false),
            Standing::Newer { found, meta, content } => {
                if !self.adopt(config, tenure, chain, &mut tip, &memory, &found).await? {
                    return Ok(None);
                }
                origin = Origin::Outside { etag: meta.etag.clone(), size: meta.size };
                (Known::Sound(meta.etag), Some((tip.txid.get(), content)), true)
            }
            Standing::Aside(meta) => {
                // Whoever took over since may have written it, and knows better what it is.
                tenure.check().await.map_err(|failure| ended(config, tenure, failure))?;
                let time = self.clock.wall();
                let branch = branches::keep_outside(tenure.heads(), tenure.place(), &meta.etag, time).await?;
                outside = Some(Outside { branch, time });
                (Known::NotOurs(meta.etag), None, false)
            }
        };
        let base = base_of(tenure, recorded.as_ref(), &known, holds.as_ref(), &writes);
        // What is accepted is no state behind those that the files tell of, and what was put into the memory here they do not know.
        let base = base.filter(|_| matches!(origin, Origin::Chain { .. }));
        let is_noted = !slots.is_empty() || settled.is_some() || told;
        if is_noted {
            let (txid, known, holds) = (tip.txid.get(), &known, &holds);
            let change = |record: &HeadRecord| {
                let mut next = record.at(txid).fenced_at(slots.iter().copied());
                if let (true, Known::Sound(etag), Some((txid, content))) = (told, known, holds) {
                    next = next.noted(etag, *txid, memory.size(), content.clone());
                }
                settled.as_ref().map_or_else(|| next.clone(), |settled| settled.noted(&next))
            };
            tenure.change(change).await.map_err(|failure| ended(config, tenure, failure))?;
        }
        if !may_be_late && !is_noted {
            // Nothing was written that somebody who took over since would have refused, however long this took.
            tenure.check().await.map_err(|failure| ended(config, tenure, failure))?;
        }
        let snapshot = match (&known, holds) {
            (Known::Sound(etag), Some((txid, _))) => {
                Some(SnapshotFacts { time: wall(tip.time), txid, size: memory.size(), duration: None, etag: etag.clone() })
            }
            _ => None,
        };
        let is_behind = snapshot.as_ref().is_none_or(|snapshot| snapshot.txid < tip.same_since.get());
        Ok(Some(Ready {
            durable_time: wall(tip.time),
            memory,
            tip,
            differs,
            behind,
            known,
            base,
            origin,
            snapshot,
            is_behind,
            outside,
            damage,
        }))
    }

    /// Takes an outside state for the next one. `false` if the branch must be looked at again.
    async fn adopt(
        &self,
        config: &DatabaseConfig,
        tenure: &mut Tenure,
        chain: &Chain,
        tip: &mut Tip,
        memory: &MemoryDatabase,
        found: &MemoryDatabase,
    ) -> Result<bool, Error> {
        let before = memory.pin().commits();
        memory.switch(&found.pin()).await.map_err(|error| fault(config, error))?;
        let (pin, changes) = memory.pin_with_changes(before);
        let (by, state) = (self.by(tenure), tip.clone());
        let delta = tokio::task::spawn_blocking(move || state.delta(&pin, changes, by));
        let delta = delta.await.map_err(|panic| fault(config, panic))?;
        self.land(config, tenure, chain, tip, &delta, SlotMark::None).await
    }

    /// Puts a delta into the next slot. `false` if somebody's late one is there, and this tenure still lasts.
    pub(super) async fn land(
        &self,
        config: &DatabaseConfig,
        tenure: &mut Tenure,
        chain: &Chain,
        tip: &mut Tip,
        delta: &Delta,
        mark: SlotMark,
    ) -> Result<bool, Error> {
        let draft = delta.draft.clone();
        let file = tokio::task::spawn_blocking(move || draft.encoded());
        let file = file.await.map_err(|panic| fault(config, panic))?.map_err(|error| fault(config, error))?;
        let upload = Upload { level: Level::Delta, file, put_id: self.put_ids.fresh(), mark };
        match chain.put(&upload).await {
            Landing::Stored => {
                tip.follow(delta);
                Ok(true)
            }
            Landing::Taken(_) => tenure.check().await.map(|()| false).map_err(|failure| ended(config, tenure, failure)),
            Landing::NotWritten(source) | Landing::Unclear(source) => {
                Err(Error::Bucket { database: config.name.clone(), doing: "fencing the branch", source })
            }
        }
    }

    /// Finds out whether an overwrite that the record calls begun was made. The fence stands, so nobody makes it any more.
    async fn settle(
        &self,
        config: &DatabaseConfig,
        tenure: &Tenure,
        chain: &Chain,
        tip: &Tip,
        entry: PromotionEntry,
    ) -> Result<Settled, Error> {
        let failed = |source| Error::Bucket { database: config.name.clone(), doing: "looking for the overwrite", source };
        let slot = Txid::new(entry.txid()).filter(|slot| *slot <= tip.txid);
        let found = match slot {
            Some(slot) => chain.slot(slot).await.map_err(failed)?,
            None => None,
        };
        match found {
            Some(meta) if SlotMark::of(&meta) == SlotMark::Promotion(entry.id.clone()) => {
                let time = meta.last_modified.unwrap_or(entry.time);
                Ok(Settled { entry: PromotionEntry { time, ..entry }, was_made: true })
            }
            // It was not emptied by us.
            None if slot.is_some() => {
                Err(Error::PromotionUnknown { database: config.name.clone(), branch: tenure.branch().clone(), id: entry.id })
            }
            Some(_) | None => Ok(Settled { entry, was_made: false }),
        }
    }
}

/// What the next snapshot can be put together from, if the record and the files tell what lies there and what has changed since.
fn base_of(tenure: &Tenure, recorded: Option<&SnapshotRef>, known: &Known, holds: Option<&(u64, String)>, writes: &Writes) -> Option<Base> {
    let (Known::Sound(etag), Some((txid, _))) = (known, holds) else { return None };
    let recorded = recorded.filter(|recorded| recorded.txid == *txid && recorded.etag() == *etag)?;
    let changed = writes.since(Txid::new(*txid)?)?;
    Some(Base { key: tenure.place().key.clone(), etag: etag.clone(), size: recorded.size, changed })
}
