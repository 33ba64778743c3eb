//! The overwrites that a head record remembers, so that each happens once per id. Pure.
//!
//! Invariants: an entry is never removed once it says `done`; what the record does not know for certain it does not call done.

use serde::{Deserialize, Serialize};

use super::{HeadRecord, Parent};
use crate::clock::WallTime;

/// How far an overwrite came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PromotionState {
    /// The PUT that is its commit point may or may not have been made.
    Begun,
    /// It was made.
    Done,
}

/// A branch that was overwritten with another, once per id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromotionEntry {
    pub(crate) id: String,
    /// Of what was asked for, so that the same id with another wish is refused. Empty where a lost record knew it.
    pub(crate) hash: String,
    pub(crate) state: PromotionState,
    pub(crate) from: Parent,
    /// The ETag that it replaces, where there was no chain yet.
    #[serde(default)]
    pub(crate) replaces: String,
    /// What the branch stood at before.
    pub(crate) to_txid: u64,
    /// When it began; once it is done, when its snapshot stood.
    pub(crate) time: WallTime,
}

impl PromotionEntry {
    /// The state that it makes, and the slot of it: writers wait from the one before it on, so it is the next one.
    pub(crate) fn txid(&self) -> u64 {
        self.to_txid + 1
    }

    /// One that an object tells of whose record is lost. From where its content came nobody knows.
    pub(crate) fn told_by_object(id: &str, txid: u64, time: WallTime) -> Self {
        Self {
            id: id.to_owned(),
            hash: String::new(),
            state: PromotionState::Done,
            from: Parent { branch: String::new(), txid: 0 },
            replaces: String::new(),
            to_txid: txid.saturating_sub(1),
            time,
        }
    }
}

/// What a record tells of an overwrite that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past<'a> {
    /// It was not carried out.
    Never,
    /// Whoever holds the branch knows how it ended, or whoever opens it finds out.
    Begun,
    /// It was.
    Done(&'a PromotionEntry),
    /// Its id was used for another one.
    OtherWish,
    /// A lost record may have called it done.
    Doubtful,
}

impl HeadRecord {
    /// What is known of an overwrite.
    pub(crate) fn past(&self, id: &str, hash: &str) -> Past<'_> {
        match self.promotions.iter().find(|known| known.id == id) {
            Some(known) if known.hash != hash && !known.hash.is_empty() => Past::OtherWish,
            Some(known) if known.state == PromotionState::Done => Past::Done(known),
            Some(_) => Past::Begun,
            None if self.doubtful.iter().any(|doubtful| doubtful == id) => Past::Doubtful,
            None => Past::Never,
        }
    }

    /// An overwrite begins, or ends.
    pub(crate) fn with_promotion(&self, entry: PromotionEntry) -> Self {
        let mut promotions: Vec<_> = self.promotions.iter().filter(|known| known.id != entry.id).cloned().collect();
        promotions.push(entry);
        Self { promotions, ..self.clone() }
    }

    /// An overwrite was never made.
    pub(crate) fn without_promotion(&self, id: &str) -> Self {
        let promotions = self.promotions.iter().filter(|known| known.id != id).cloned().collect();
        Self { promotions, ..self.clone() }
    }

    /// Nobody can tell whether an overwrite was made: the record that knew is lost.
    pub(crate) fn in_doubt_of(&self, id: &str) -> Self {
        Self { doubtful: vec![id.to_owned()], ..self.clone() }
    }

    /// The overwrite of which nobody has noted yet how it ended.
    pub(crate) fn begun(&self) -> Option<&PromotionEntry> {
        self.promotions.iter().find(|entry| entry.state == PromotionState::Begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Epoch;

    fn entry(state: PromotionState) -> PromotionEntry {
        PromotionEntry {
            id: "r-7".to_owned(),
            hash: "h".to_owned(),
            state,
            from: Parent { branch: "next".to_owned(), txid: 3 },
            replaces: "e".to_owned(),
            to_txid: 2,
            time: WallTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_overwrite_is_remembered_by_its_id_and_its_wish() {
        let record = HeadRecord::found(Epoch(1), 2);
        assert_eq!(record.past("r-7", "h"), Past::Never);
        let begun = record.with_promotion(entry(PromotionState::Begun));
        assert_eq!((begun.past("r-7", "h"), begun.begun().map(|entry| &*entry.id)), (Past::Begun, Some("r-7")));
        assert_eq!(begun.without_promotion("r-7").past("r-7", "h"), Past::Never);
        let done = begun.with_promotion(entry(PromotionState::Done));
        assert_eq!((done.begun(), done.promotions.len()), (None, 1));
        assert_eq!(done.past("r-7", "h"), Past::Done(&entry(PromotionState::Done)));
        assert_eq!((done.past("r-7", "other"), done.past("r-8", "h")), (Past::OtherWish, Past::Never));
    }

    #[test]
    fn of_a_lost_record_only_what_it_may_have_called_done_is_in_doubt() {
        let record = HeadRecord::found(Epoch(1), 9).in_doubt_of("r-7");
        assert_eq!((record.past("r-7", "h"), record.past("r-8", "h")), (Past::Doubtful, Past::Never));
        let told = record.with_promotion(PromotionEntry::told_by_object("r-7", 9, WallTime::UNIX_EPOCH));
        assert!(matches!(told.past("r-7", "any"), Past::Done(entry) if entry.txid() == 9), "its wish is not known any more");
    }
}
