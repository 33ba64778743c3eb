//! A branch without head record: what its objects tell of the one that was there, if one was.
//!
//! An object that bears an epoch was written under a head record, so that record is lost. Those of the Python package bear none; it copies
//! the object that it replaces to `.prev`, with its metadata, so that one is asked, too.
//! Invariant: an overwrite that a lost record may have called done is not carried out again.

use super::Opener;
use crate::bucket::ObjectMeta;
use crate::chains::{Chain, SlotMark, Told};
use crate::clock::WallTime;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::head::{Epoch, HeadRecord, PromotionEntry};
use crate::names::ObjectKey;
use crate::restore::{epoch_of, txid_of};
use crate::snapshot::{Place, metadata};

impl Opener {
    /// The record that stands for the one that is not there. `None` if there is no object either, which only `main` may begin with.
    pub(super) async fn unrecorded(&self, config: &DatabaseConfig, place: &Place, chain: &Chain) -> Result<Option<HeadRecord>, Error> {
        if let Some(told) = chain.told().await? {
            return Ok(Some(rebuilt_from_chain(&told, asked_of(config, place))));
        }
        let Some(newest) = self.look_at(config, &place.key).await? else {
            let (database, branch) = (config.name.clone(), place.branch.clone());
            return if branch.is_main() { Ok(None) } else { Err(Error::BranchNotFound { database, branch }) };
        };
        let asked = asked_of(config, place);
        let before = match asked {
            Some(_) if !is_ours(&newest) => self.look_at(config, &place.previous).await?,
            Some(_) | None => None,
        };
        Ok(Some(rebuilt(&newest, before.as_ref(), asked)))
    }

    async fn look_at(&self, config: &DatabaseConfig, key: &ObjectKey) -> Result<Option<ObjectMeta>, Error> {
        let found = self.bucket.head(key).await;
        found.map_err(|source| Error::Bucket { database: config.name.clone(), doing: "looking for the snapshot", source })
    }
}

/// The overwrite that the branch's resource asks for.
fn asked_of<'a>(config: &'a DatabaseConfig, place: &Place) -> Option<&'a str> {
    config.promotion.as_ref().filter(|asked| asked.to == place.branch).map(|asked| &*asked.id)
}

/// What the files of a chain tell. Slots of overwrites are never emptied, but one of before the chain has none.
fn rebuilt_from_chain(told: &Told, asked: Option<&str>) -> HeadRecord {
    let mut record = HeadRecord::found(told.epoch, told.newest).chained(told.oldest);
    for (txid, mark, time) in &told.slots {
        match mark {
            SlotMark::None => {}
            SlotMark::Fence => record = record.fenced_at([*txid]),
            SlotMark::Promotion(id) => record = record.with_promotion(PromotionEntry::told_by_object(id, *txid, *time)),
        }
    }
    match asked {
        Some(asked) if !record.promotions.iter().any(|entry| entry.id == asked) => record.in_doubt_of(asked),
        Some(_) | None => record,
    }
}

fn is_ours(meta: &ObjectMeta) -> bool {
    meta.metadata.contains_key(metadata::EPOCH)
}

/// What the objects tell: the newest, and the one before it. `asked` is the overwrite that the branch's resource asks for.
fn rebuilt(newest: &ObjectMeta, before: Option<&ObjectMeta>, asked: Option<&str>) -> HeadRecord {
    let epoch = before.map_or(Epoch::default(), epoch_of).max(epoch_of(newest));
    let record = HeadRecord::found(epoch, txid_of(newest));
    let of_ours = [Some(newest), before].into_iter().flatten().find(|meta| is_ours(meta));
    let Some(ours) = of_ours else { return record };
    if let Some(id) = ours.metadata.get(metadata::PROMOTION) {
        let time = ours.last_modified.unwrap_or(WallTime::UNIX_EPOCH);
        let told = record.with_promotion(PromotionEntry::told_by_object(id, txid_of(ours), time));
        return match asked {
            Some(asked) if asked != id => told.in_doubt_of(asked),
            Some(_) | None => told,
        };
    }
    match asked {
        Some(asked) if ours.metadata.get(metadata::NOT_PROMOTED).map(String::as_str) != Some(asked) => record.in_doubt_of(asked),
        Some(_) | None => record,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Past;
    use crate::names::Etag;

    fn object(said: &[(&str, &str)]) -> ObjectMeta {
        let metadata = said.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta { etag: Etag::new("e"), size: 4096, last_modified: None, metadata }
    }

    const OURS: (&str, &str) = (metadata::EPOCH, "4");

    #[test]
    fn only_a_record_that_is_lost_leaves_a_doubt() {
        let ours = object(&[OURS, (metadata::TXID, "9")]);
        let table = [
            // The Python package's, alone or over its own.
            (object(&[]), None, Past::Never),
            (object(&[]), Some(object(&[])), Past::Never),
            // Ours; or the Python package's over ours.
            (ours.clone(), None, Past::Doubtful),
            (object(&[]), Some(ours.clone()), Past::Doubtful),
            // The object itself tells.
            (object(&[OURS, (metadata::NOT_PROMOTED, "r-7")]), None, Past::Never),
            (object(&[OURS, (metadata::NOT_PROMOTED, "r-6")]), None, Past::Doubtful),
            (object(&[OURS, (metadata::PROMOTION, "r-6")]), None, Past::Doubtful),
        ];
        for (newest, before, past) in table {
            let record = rebuilt(&newest, before.as_ref(), Some("r-7"));
            assert_eq!(record.past("r-7", "h"), past, "{newest:?} {before:?}");
            assert_eq!(record.past("r-8", "h"), Past::Never, "an id that was not in the spec then is no old one");
        }
        assert_eq!(rebuilt(&ours, None, None).past("r-7", "h"), Past::Never, "nobody asked for it before the record was lost");
        assert_eq!(rebuilt(&object(&[]), Some(&ours), Some("r-7")).epoch, Epoch(4), "above any that is found");
    }

    #[test]
    fn the_slots_of_a_chain_tell_what_its_record_knew() {
        let time = WallTime::UNIX_EPOCH;
        let slots = vec![(5, SlotMark::Fence, time), (7, SlotMark::Promotion("r-7".to_owned()), time), (8, SlotMark::None, time)];
        let told = Told { oldest: ltx::Txid::new(4).unwrap(), newest: 8, epoch: Epoch(3), slots };
        let record = rebuilt_from_chain(&told, Some("r-7"));
        assert_eq!((record.first().map(ltx::Txid::get), record.horizon, record.txid, record.epoch), (Some(4), Some(4), 8, Epoch(3)));
        assert_eq!(record.kept_slots().into_iter().map(ltx::Txid::get).collect::<Vec<_>>(), [5, 7]);
        assert!(matches!(record.past("r-7", "any"), Past::Done(entry) if entry.txid() == 7));
        assert_eq!(rebuilt_from_chain(&told, Some("r-8")).past("r-8", "any"), Past::Doubtful);
    }

    #[test]
    fn what_the_object_calls_done_is_done() {
        let record = rebuilt(&object(&[OURS, (metadata::TXID, "9"), (metadata::PROMOTION, "r-7")]), None, Some("r-7"));
        assert!(matches!(record.past("r-7", "h"), Past::Done(entry) if entry.txid() == 9));
    }
}
