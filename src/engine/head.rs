//! The head record of a branch: what it stands at, who holds it, and how it may change. Pure.
//!
//! Owns: the record's form in the bucket and its allowed changes. Does not own: reading and writing it (`heads.rs`), nor who may take a
//! branch over (`fence.rs`).
//! Invariants: the epoch only goes up; each record differs from every other one ever written at its place, so that no ETag returns; a
//! record of a newer format is refused, never guessed at.

mod promotions;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use ltx::Txid;
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::document::Document;
use crate::names::{BranchName, Etag};

pub(crate) use promotions::{Past, PromotionEntry, PromotionState};

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

/// Where a chain begins. What lies there with lower numbers was left by somebody who came to no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainRef {
    pub(crate) first: u64,
}

/// Of what a branch was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) branch: String,
    pub(crate) txid: u64,
}

/// What happens to a branch that its maker declares no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLeave {
    /// It stays.
    #[default]
    Retain,
    /// Its objects go after a while.
    Delete,
}

/// What its maker has said of the time when a branch is declared no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// What happens then.
    pub policy: OnLeave,
    /// Since when it is declared no more, if it is to go.
    pub leaving: Option<WallTime>,
}

/// So many contents of earlier snapshots are remembered.
const EARLIER: usize = 32;

/// Of records that know no chain. Builds that know none read no others.
const BEFORE_CHAINS: u32 = 1;
/// Of records whose branch may have one.
const WITH_CHAIN: u32 = 2;

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
    /// The newest state that was noted; the branch may be further.
    pub(crate) txid: u64,
    /// From here on the chain is the branch; before, the object at its key is.
    #[serde(default)]
    pub(crate) chain: Option<ChainRef>,
    /// The first state that can be had. It never goes back.
    #[serde(default)]
    pub(crate) horizon: Option<u64>,
    /// Slots that were taken so that nobody else can fill them. They stay as long as the branch.
    #[serde(default)]
    pub(crate) fences: Vec<u64>,
    #[serde(default)]
    pub(crate) snapshot: Option<SnapshotRef>,
    /// The contents of the snapshots before it, the last ones.
    #[serde(default)]
    earlier: Vec<String>,
    #[serde(default)]
    pub(crate) parent: Option<Parent>,
    /// Which resource made the branch.
    #[serde(default)]
    pub(crate) maker: Option<String>,
    /// What its maker wants when it is declared no more.
    #[serde(default)]
    deletion_policy: OnLeave,
    /// Since when it is declared no more.
    #[serde(default)]
    leaving: Option<WallTime>,
    /// The overwrite for whose sake it was made: it holds what was overwritten.
    #[serde(default)]
    pub(crate) kept_for: Option<String>,
    #[serde(default)]
    pub(crate) promotions: Vec<PromotionEntry>,
    /// Overwrites that were asked for when this record was made anew in the place of a lost one, which may have called them done.
    #[serde(default)]
    pub(crate) doubtful: Vec<String>,
}

impl Document for HeadRecord {
    const FORMATS: RangeInclusive<u32> = BEFORE_CHAINS..=WITH_CHAIN;

    const IS_FOR_PEOPLE: bool = true;

    fn format(&self) -> u32 {
        self.format
    }
}

impl HeadRecord {
    /// A branch of which nothing is known but that nobody holds it. `txid` and `epoch` are those of its objects.
    pub(crate) fn found(epoch: Epoch, txid: u64) -> Self {
        Self {
            format: BEFORE_CHAINS,
            counter: 0,
            put_id: String::new(),
            state: HeadState::Ready,
            epoch,
            holder: None,
            released: false,
            txid,
            chain: None,
            horizon: None,
            fences: Vec::new(),
            snapshot: None,
            earlier: Vec::new(),
            parent: None,
            maker: None,
            deletion_policy: OnLeave::Retain,
            leaving: None,
            kept_for: None,
            promotions: Vec::new(),
            doubtful: Vec::new(),
        }
    }

    /// The same, made by somebody from nothing.
    pub(crate) fn made_by(self, me: &Holder) -> Self {
        Self { maker: Some(maker(me)), ..self }
    }

    /// A name that is reserved for a new branch, whose numbers begin with `first`.
    pub(crate) fn reserved(parent: Parent, first: u64, birth: &Birth) -> Self {
        let Birth { maker, policy, kept_for } = birth.clone();
        Self {
            format: WITH_CHAIN,
            state: HeadState::Creating,
            released: true,
            parent: Some(parent),
            maker,
            deletion_policy: policy,
            kept_for,
            ..Self::found(Epoch::default(), first)
        }
    }

    /// What its maker wants when it is declared no more.
    pub(crate) fn fate(&self) -> Fate {
        Fate { policy: self.deletion_policy, leaving: self.leaving }
    }

    /// Its maker wants something else, or declares it no more, or again.
    pub(crate) fn with_fate(&self, Fate { policy, leaving }: Fate) -> Self {
        Self { deletion_policy: policy, leaving, ..self.clone() }
    }

    /// The same as the successor of `before`, by an attempt of its own.
    pub(crate) fn after(self, before: Option<&Self>, put_id: impl fmt::Display) -> Self {
        let counter = before.map_or(1, |before| before.counter + 1);
        Self { counter, put_id: put_id.to_string(), ..self }
    }

    #[cfg(test)]
    pub(crate) fn with_epoch(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    /// The next tenure is above this one, too.
    pub(crate) fn after_epoch(self, epoch: Epoch) -> Self {
        Self { epoch: self.epoch.max(epoch), ..self }
    }

    /// Held by a new tenure.
    pub(crate) fn raised(&self, holder: Holder) -> Self {
        Self { format: WITH_CHAIN, epoch: self.epoch.next(), holder: Some(holder), released: false, ..self.clone() }
    }

    /// Nobody has it. What its last tenure has under way is not known.
    pub(crate) fn unheld(&self) -> Self {
        Self { holder: None, ..self.clone() }
    }

    /// Its holder has ended its tenure.
    pub(crate) fn released(&self) -> Self {
        Self { released: true, ..self.clone() }
    }

    /// The branch has come so far.
    pub(crate) fn at(&self, txid: u64) -> Self {
        Self { txid: self.txid.max(txid), ..self.clone() }
    }

    /// Its chain stands, and begins here.
    pub(crate) fn chained(&self, first: Txid) -> Self {
        let first = first.get();
        Self { format: WITH_CHAIN, chain: Some(ChainRef { first }), horizon: Some(first), fences: Vec::new(), ..self.at(first) }
    }

    /// These slots are not to be emptied.
    pub(crate) fn fenced_at(&self, slots: impl IntoIterator<Item = u64>) -> Self {
        let mut fences: BTreeSet<u64> = self.fences.iter().copied().collect();
        fences.extend(slots);
        Self { fences: fences.into_iter().collect(), ..self.clone() }
    }

    /// Earlier states than this cannot be had any more.
    pub(crate) fn with_horizon(&self, horizon: Txid) -> Self {
        Self { horizon: self.horizon.max(Some(horizon.get())), ..self.clone() }
    }

    /// Where its chain begins, if it has one.
    pub(crate) fn first(&self) -> Option<Txid> {
        Txid::new(self.chain?.first)
    }

    /// Where its chain begins, and the first state that can be had of it.
    pub(crate) fn chained_from(&self) -> Option<Begins> {
        let first = self.first()?;
        Some(Begins { first, horizon: self.horizon.and_then(Txid::new).unwrap_or(first) })
    }

    /// Slots that are never emptied: of fences and of overwrites.
    pub(crate) fn kept_slots(&self) -> BTreeSet<Txid> {
        let promotions = self.promotions.iter().map(PromotionEntry::txid);
        self.fences.iter().copied().chain(promotions).filter_map(Txid::new).collect()
    }

    /// A snapshot was put at the branch's key.
    pub(crate) fn noted(&self, etag: &Etag, txid: u64, size: u64, content: String) -> Self {
        let same_since = self.snapshot.as_ref().filter(|last| last.content == content).map_or(txid, |last| last.same_since);
        let mut earlier: Vec<String> = self.earlier.iter().filter(|earlier| **earlier != content).cloned().collect();
        earlier.extend(self.snapshot.as_ref().filter(|last| last.content != content).map(|last| last.content.clone()));
        earlier.drain(..earlier.len().saturating_sub(EARLIER));
        let snapshot = SnapshotRef { etag: etag.as_str().to_owned(), txid, size, content, same_since };
        Self { txid: self.txid.max(txid), snapshot: Some(snapshot), earlier, ..self.clone() }
    }

    /// Whether a snapshot before the newest had this content. Whoever read it then and changed nothing may bring it back.
    pub(crate) fn had(&self, content: &str) -> bool {
        self.earlier.iter().any(|earlier| earlier == content)
    }

    /// Of a reserved branch the objects stand, which begin with this number.
    pub(crate) fn made(&self, parent: Parent, first: u64) -> Self {
        Self { state: HeadState::Ready, parent: Some(parent), txid: first, ..self.clone() }
    }

    /// A reserved branch is made of something else. Its numbers begin above those of what somebody may have begun to make.
    pub(crate) fn made_of(&self, parent: Parent, first: u64) -> Self {
        Self { parent: Some(parent), txid: first.max(self.txid + 1), ..self.clone() }
    }

    /// Its object stands, and nobody compared what is in it: whoever opens it makes it their own first.
    pub(crate) fn adopted(&self, txid: u64, parent: Option<Parent>) -> Self {
        let txid = txid.max(self.txid);
        Self { state: HeadState::Ready, released: false, txid, chain: None, horizon: None, snapshot: None, parent, ..self.clone() }
    }

    /// It is deleted, and whoever holds it finds out by the epoch.
    pub(crate) fn tombstone(&self) -> Self {
        Self { state: HeadState::Tombstone, epoch: self.epoch.next(), holder: None, released: true, snapshot: None, ..self.clone() }
    }
}

/// Where a chain begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begins {
    /// The whole database before which no file counts.
    pub(crate) first: Txid,
    /// The first state that can be had.
    pub(crate) horizon: Txid,
}

/// What a new branch's record says from its beginning.
#[derive(Debug, Clone, Default)]
pub(crate) struct Birth {
    pub(crate) maker: Option<String>,
    pub(crate) policy: OnLeave,
    pub(crate) kept_for: Option<String>,
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
    fn a_record_that_was_changed_is_none_unless_somebody_took_its_checksum_out() {
        let record = written(HeadRecord::found(Epoch(3), 7).fenced_at([5]), None);
        let text = String::from_utf8(record.to_bytes()).unwrap();
        let changed = text.replace("\"txid\": 7", "\"txid\": 3");
        assert!(matches!(parse::<HeadRecord>(changed.as_bytes()), Err(Unreadable::Damaged(detail)) if detail.contains("`checksum`")));
        let mut by_hand: serde_json::Value = serde_json::from_str(&changed).unwrap();
        by_hand.as_object_mut().unwrap().remove("checksum");
        assert_eq!(parse::<HeadRecord>(by_hand.to_string().as_bytes()).map(|record| record.txid), Ok(3));
    }

    #[test]
    fn a_newer_format_is_refused_and_damage_is_told() {
        assert_eq!(parse::<HeadRecord>(br#"{"format": 3, "else": []}"#), Err(Unreadable::Newer { format: 3 }));
        let builds_before_chains = 1..=BEFORE_CHAINS;
        let raised = HeadRecord::found(Epoch(1), 1).raised(holder("a"));
        assert!(!builds_before_chains.contains(&raised.format), "an earlier build must not take part any more");
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
        let since = |record: &HeadRecord| record.snapshot.as_ref().map(|snapshot| (snapshot.same_since, snapshot.txid));
        assert_eq!(since(&fenced), Some((4, 5)));
        assert_eq!(since(&fenced.noted(&Etag::new("c"), 6, 1, "y".to_owned())), Some((6, 6)));
    }

    #[test]
    fn a_tombstone_ends_whoever_holds_the_branch() {
        let record = HeadRecord::found(Epoch(4), 9).raised(holder("a"));
        let deleted = record.tombstone();
        assert!(deleted.epoch > record.epoch && deleted.holder.is_none());
        assert_eq!(deleted.txid, 9);
    }
}
