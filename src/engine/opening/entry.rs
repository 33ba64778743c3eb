//! The first open of a branch that has no chain: what lies at `<key>` becomes the beginning of one.
//!
//! Until the head record names the chain, `<key>` is the branch, and what was left of an earlier try is ignored. Each step may be the last
//! that this process does.
//! Invariants: `<key>` is this tenure's own before anything is made of it; the chain begins with the number that was reserved with the
//! epoch, above all that were ever given, and above what any process of a lower epoch can still put beside it.

use chain::Level;
use ltx::Txid;

use super::{Begun, Opener, Ready, Settled, ended, fault};
use crate::base::Base;
use crate::bucket;
use crate::chains::{Landing, SlotMark, Upload, millis};
use crate::config::DatabaseConfig;
use crate::delta;
use crate::error::Error;
use crate::facts::{Origin, SnapshotFacts};
use crate::head::{HeadRecord, PromotionEntry};
use crate::names::{BranchName, Etag};
use crate::page_set::PageSet;
use crate::restore::{self, Restored, epoch_of, txid_of};
use crate::seed;
use crate::snapshot::{self, Attempt, Known, Mark, Outcome, content_of, metadata};

impl Opener {
    /// `None` if the branch changed in the meantime and must be looked at again.
    pub(super) async fn enter(&self, config: &DatabaseConfig, begun: &mut Begun) -> Result<Option<Ready>, Error> {
        let Begun { tenure, chain, last, entry: _ } = begun;
        let failed = |doing, source| Error::Bucket { database: config.name.clone(), doing, source };
        let restored = restore::restore(config, &self.bucket, tenure.place(), self.options.clone(), last.as_ref()).await?;
        let Restored { memory, known, txid, origin, meta } = restored;
        let number = tenure.record().txid;
        if txid >= number {
            // An earlier process wrote since the number was reserved.
            return Ok(None);
        }
        if matches!(origin, Origin::Empty) {
            // With its tables, so that a new database is in the bucket as soon as it is served, and clean.
            seed::create_tables(&memory).await?;
        }
        let settled = match last.as_ref().and_then(HeadRecord::begun) {
            None => None,
            Some(entry) => {
                let unknown = || {
                    let (database, branch) = (config.name.clone(), tenure.branch().clone());
                    Error::PromotionUnknown { database, branch, id: entry.id.clone() }
                };
                Some(Settled { entry: entry.clone(), was_made: how_it_ended(entry, meta.as_ref()).ok_or_else(unknown)? })
            }
        };
        let pin = memory.pin();
        let content = content_of(&pin).await.map_err(|error| fault(config, error))?;
        let origin = match (origin, &meta, &last) {
            (Origin::Snapshot { etag, size }, Some(meta), Some(last)) if is_outside(meta, last, &content, tenure.branch()) => {
                Origin::Outside { etag, size }
            }
            (origin, ..) => origin,
        };
        let first = Txid::new(number).ok_or_else(|| fault(config, "a number above others is not zero"))?;
        let beginning = delta::beginning(pin.clone(), first, millis(self.clock.wall()), tenure.epoch()).await;
        let (mut tip, file) = beginning.map_err(|error| fault(config, error))?;
        let attempt = Attempt {
            txid: number,
            checksum: tip.checksum(),
            epoch: tenure.epoch(),
            put_id: self.put_ids.fresh(),
            replaces: known,
            keep_previous: false,
            base: None,
            promotion: match &settled {
                None => Mark::None,
                Some(Settled { entry, was_made: true }) => Mark::Done(entry.id.clone()),
                Some(Settled { entry, was_made: false }) => Mark::NotDone(entry.id.clone()),
            },
            pin: pin.clone(),
        };
        let begun = self.clock.now();
        let etag = match snapshot::upload(&self.bucket, tenure.place(), &attempt).await {
            Outcome::Stored(etag) => etag,
            Outcome::Conflict { .. } => return tenure.check().await.map(|()| None).map_err(|failure| ended(config, tenure, failure)),
            Outcome::NotWritten(source) | Outcome::Unclear(source) => return Err(failed("fencing the snapshot", source)),
        };
        let facts = SnapshotFacts {
            time: self.clock.wall(),
            txid: attempt.txid,
            size: pin.size(),
            duration: Some(self.clock.now().saturating_duration_since(begun)),
            etag: etag.clone(),
        };
        let upload = Upload { level: Level::Whole, file, put_id: self.put_ids.fresh(), mark: SlotMark::None };
        match chain.put(&upload).await {
            Landing::Stored => {}
            Landing::Taken(_) => return tenure.check().await.map(|()| None).map_err(|failure| ended(config, tenure, failure)),
            Landing::NotWritten(source) | Landing::Unclear(source) => return Err(failed("beginning the chain", source)),
        }
        let change = |record: &HeadRecord| {
            let noted = record.noted(&facts.etag, facts.txid, facts.size, content.clone()).chained(first);
            settled.as_ref().map_or_else(|| noted.clone(), |settled| settled.noted(&noted))
        };
        tenure.change(change).await.map_err(|failure| ended(config, tenure, failure))?;
        // What it is called by those who looked at it before the chain began.
        tip.same_since_of(tenure.record().snapshot.as_ref());
        let base = Base { key: tenure.place().key.clone(), etag: etag.clone(), size: pin.size(), changed: PageSet::default() };
        Ok(Some(Ready {
            base: Some(base),
            memory,
            tip,
            differs: false,
            behind: 0,
            known: Known::Sound(etag),
            origin,
            durable_time: self.clock.wall(),
            snapshot: Some(facts),
            is_behind: false,
            outside: None,
            damage: Vec::new(),
        }))
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
        && txid_of(meta) > recorded.txid
        && meta.metadata.get(metadata::BRANCH).map(String::as_str) == Some(branch.as_str());
    meta.etag != recorded.etag() && content != recorded.content && !follows
}
