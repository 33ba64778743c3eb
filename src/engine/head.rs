//! The head record of a branch: what it stands at, who holds it, and how it may change. Pure.
//!
//! Owns: the record's form in the bucket and its allowed changes. Does not own: reading and writing it (`heads.rs`), nor who may take a
//! branch over (`fence.rs`).
//! Invariants: the epoch only goes up; each record differs from every other one ever written at its place, so that no ETag returns; a
//! record of a newer format is refused, never guessed at.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::document::Document;
use crate::names::{BranchName, Etag};

/// The number of a writer's tenure over a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who has a branch, or had it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Tells one life of a resource from another: the resource's UID, or what stands for it in `dev`.
    pub cluster: String,
    /// `namespace/name`.
    pub resource: String,
    /// The process.
    pub pod: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in pod {}", self.resource, self.pod)
    }
}

/// Whether a branch is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HeadState {
    /// It is.
    Ready,
    /// Its name is reserved, its snapshot may not be there yet.
    Creating,
    /// It was deleted, and its objects are about to go or gone.
    Tombstone,
}

/// The snapshot at the branch's key, as its writer noted it. The object itself may be newer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SnapshotRef {
    pub(crate) etag: String,
    pub(crate) txid: u64,
    pub(crate) size: u64,
    /// SHA-256 of the database without its change counters.
    pub(crate) content: String,
    /// The lowest txid since when the content is this one; fences change numbers, not content.
    pub(crate) same_since: u64,
}

impl SnapshotRef {
    pub(crate) fn etag(&self) -> Etag {
        Etag::new(&self.etag)
    }
}

/// Of what a branch was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) branch: String,
    pub(crate) txid: u64,
}

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
    /// Of what was asked for, so that the same id with another wish is refused.
    pub(crate) hash: String,
    pub(crate) state: PromotionState,
    pub(crate) from: Parent,
    /// The ETag that it replaces.
    pub(crate) replaces: String,
    /// What the branch stood at before.
    pub(crate) to_txid: u64,
    pub(crate) time: WallTime,
}

/// What a branch stands at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadRecord {
    format: u32,
    /// Goes up with each write, so that no two records are equal and no ETag returns.
    counter: u64,
    /// Names the attempt that wrote it.
    put_id: String,
    pub(crate) state: HeadState,
    pub(crate) epoch: Epoch,
    #[serde(default)]
    pub(crate) holder: Option<Holder>,
    /// The last tenure ended by itself, so that nothing of it is still under way.
    pub(crate) released: bool,
    /// The number of the newest snapshot that was noted; the object itself may be newer.
    pub(crate) txid: u64,
    #[serde(default)]
    pub(crate) snapshot: Option<SnapshotRef>,
    #[serde(default)]
    pub(crate) parent: Option<Parent>,
    /// Which resource made the branch.
    #[serde(default)]
    pub(crate) maker: Option<String>,
    #[serde(default)]
    pub(crate) promotions: Vec<PromotionEntry>,
}

impl Document for HeadRecord {
    const FORMAT: u32 = 1;

    fn format(&self) -> u32 {
        self.format
    }

    /// JSON that people can read.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record has text keys and finite numbers only");
        bytes.push(b'\n');
        bytes
    }
}

impl HeadRecord {
    /// A branch of which nothing is known but that nobody holds it. `txid` and `epoch` are those of its objects.
    pub(crate) fn found(epoch: Epoch, txid: u64) -> Self {
        Self {
            format: Self::FORMAT,
            counter: 0,
            put_id: String::new(),
            state: HeadState::Ready,
            epoch,
            holder: None,
            released: false,
            txid,
            snapshot: None,
            parent: None,
            maker: None,
            promotions: Vec::new(),
        }
    }

    /// The same, made by somebody from nothing.
    pub(crate) fn made_by(self, me: &Holder) -> Self {
        Self { maker: Some(maker(me)), ..self }
    }

    /// A name that is reserved for a new branch.
    pub(crate) fn reserved(parent: Parent, maker: Option<String>) -> Self {
        Self { state: HeadState::Creating, released: true, parent: Some(parent), maker, ..Self::found(Epoch::default(), 0) }
    }

    /// The same as the successor of `before`, by an attempt of its own.
    pub(crate) fn after(self, before: Option<&Self>, put_id: impl fmt::Display) -> Self {
        let counter = before.map_or(1, |before| before.counter + 1);
        Self { format: Self::FORMAT, counter, put_id: put_id.to_string(), ..self }
    }

    /// Held by a new tenure.
    pub(crate) fn raised(&self, holder: Holder) -> Self {
        Self { epoch: self.epoch.next(), holder: Some(holder), released: false, ..self.clone() }
    }

    /// Its holder has ended its tenure.
    pub(crate) fn released(&self) -> Self {
        Self { released: true, ..self.clone() }
    }

    /// A snapshot was put at the branch's key.
    pub(crate) fn noted(&self, etag: &Etag, txid: u64, size: u64, content: String) -> Self {
        let same_since = self.snapshot.as_ref().filter(|last| last.content == content).map_or(txid, |last| last.same_since);
        let snapshot = SnapshotRef { etag: etag.as_str().to_owned(), txid, size, content, same_since };
        Self { txid: self.txid.max(txid), snapshot: Some(snapshot), ..self.clone() }
    }

    /// Its snapshot stands.
    pub(crate) fn ready(&self) -> Self {
        Self { state: HeadState::Ready, ..self.clone() }
    }

    /// A reserved branch is made of something else.
    pub(crate) fn made_of(&self, parent: Parent) -> Self {
        Self { parent: Some(parent), ..self.clone() }
    }

    /// Its object stands, and nobody compared what is in it: whoever opens it makes it their own first.
    pub(crate) fn adopted(&self, txid: u64, parent: Option<Parent>) -> Self {
        Self { state: HeadState::Ready, released: false, txid, parent, ..self.clone() }
    }

    /// It is deleted, and whoever holds it finds out by the epoch.
    pub(crate) fn tombstone(&self) -> Self {
        Self { state: HeadState::Tombstone, epoch: self.epoch.next(), holder: None, released: true, snapshot: None, ..self.clone() }
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

    /// The overwrite of which nobody has noted yet how it ended.
    pub(crate) fn begun(&self) -> Option<&PromotionEntry> {
        self.promotions.iter().find(|entry| entry.state == PromotionState::Begun)
    }

    /// Whether the branch still has the content that it had at `txid`.
    pub(crate) fn is_as_at(&self, txid: u64) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| (snapshot.same_since..=snapshot.txid).contains(&txid))
    }
}

/// Who makes a branch, as its record tells.
pub(crate) fn maker(holder: &Holder) -> String {
    format!("{} ({})", holder.resource, holder.cluster)
}

/// Of a branch and a number.
pub(crate) fn parent(branch: &BranchName, txid: u64) -> Parent {
    Parent { branch: branch.as_str().to_owned(), txid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Unreadable, parse};

    fn holder(pod: &str) -> Holder {
        Holder { cluster: "c".to_owned(), resource: "apps/orders".to_owned(), pod: pod.to_owned() }
    }

    fn written(record: HeadRecord, before: Option<&HeadRecord>) -> HeadRecord {
        record.after(before, "put-1")
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let record = written(HeadRecord::found(Epoch(3), 7), None).raised(holder("a")).noted(&Etag::new("e"), 8, 4096, "x".to_owned());
        assert_eq!(parse::<HeadRecord>(&record.to_bytes()), Ok(record));
    }

    #[test]
    fn a_newer_format_is_refused_and_damage_is_told() {
        assert_eq!(parse::<HeadRecord>(br#"{"format": 2, "else": []}"#), Err(Unreadable::Newer { format: 2 }));
        assert!(matches!(parse::<HeadRecord>(b"{}"), Err(Unreadable::Damaged(_))));
        assert!(matches!(parse::<HeadRecord>(b"\xff"), Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn no_two_records_of_one_place_are_equal() {
        let first = written(HeadRecord::found(Epoch(1), 0), None);
        let second = first.released().after(Some(&first), "put-2");
        let third = first.clone().after(Some(&second), "put-1");
        assert_ne!(first.to_bytes(), second.to_bytes());
        assert_ne!(first.to_bytes(), third.to_bytes(), "A, then B, then A again");
    }

    #[test]
    fn a_fence_changes_the_number_and_not_the_content() {
        let record = HeadRecord::found(Epoch(1), 0).noted(&Etag::new("a"), 4, 1, "x".to_owned());
        let fenced = record.noted(&Etag::new("b"), 5, 1, "x".to_owned());
        assert!(fenced.is_as_at(4) && fenced.is_as_at(5) && !fenced.is_as_at(3) && !fenced.is_as_at(6));
        assert!(!fenced.noted(&Etag::new("c"), 6, 1, "y".to_owned()).is_as_at(5));
    }

    #[test]
    fn a_tombstone_ends_whoever_holds_the_branch() {
        let record = HeadRecord::found(Epoch(4), 9).raised(holder("a"));
        let deleted = record.tombstone();
        assert!(deleted.epoch > record.epoch && deleted.holder.is_none());
        assert_eq!(deleted.txid, 9);
    }

    #[test]
    fn an_overwrite_is_remembered_by_its_id() {
        let entry = |state| PromotionEntry {
            id: "r-7".to_owned(),
            hash: "h".to_owned(),
            state,
            from: Parent { branch: "next".to_owned(), txid: 3 },
            replaces: "e".to_owned(),
            to_txid: 2,
            time: WallTime::UNIX_EPOCH,
        };
        let begun = HeadRecord::found(Epoch(1), 2).with_promotion(entry(PromotionState::Begun));
        assert_eq!(begun.begun().map(|entry| &*entry.id), Some("r-7"));
        let done = begun.with_promotion(entry(PromotionState::Done));
        assert_eq!((done.begun(), done.promotions.len()), (None, 1));
        assert!(begun.without_promotion("r-7").promotions.is_empty());
    }
}
