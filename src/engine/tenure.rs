//! One writer's term over a branch: from the moment at which its epoch stands in the head record until it is released or lost.
//!
//! Owns: the head record while the tenure lasts. Does not own: how a tenure begins (`opening.rs`), nor what is uploaded.
//! Invariant: a tenure that finds a higher epoch in the record is over, whatever else it knows.

use crate::error::Error;
use crate::head::{Epoch, HeadRecord, HeadState, Holder};
use crate::heads::{Heads, Stored, Written};
use crate::names::BranchName;
use crate::snapshot::Place;

/// Why a change of the record was not made.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The tenure is over.
    Ended(Ended),
    /// The store, or the record. The change may or may not have been made; making it again does no harm.
    Head(Error),
}

/// Who has the branch now.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) epoch: Epoch,
    /// Nobody, if the branch was deleted.
    pub(crate) by: Option<Holder>,
}

/// A tenure that lasts.
#[derive(Debug)]
pub(crate) struct Tenure {
    heads: Heads,
    place: Place,
    me: Holder,
    epoch: Epoch,
    /// `None` if somebody deleted the record; the next change makes it anew.
    stored: Option<Stored>,
    /// What it said last.
    record: HeadRecord,
}

/// How often a change is tried again because an earlier try of ours arrived late.
const TRIES: u32 = 4;

impl Tenure {
    /// `stored` bears our epoch.
    pub(crate) fn new(heads: Heads, place: Place, me: Holder, stored: Stored) -> Self {
        Self { heads, place, me, epoch: stored.record.epoch, record: stored.record.clone(), stored: Some(stored) }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn branch(&self) -> &BranchName {
        &self.place.branch
    }

    pub(crate) fn heads(&self) -> &Heads {
        &self.heads
    }

    pub(crate) fn me(&self) -> &Holder {
        &self.me
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The record as it is known.
    pub(crate) fn record(&self) -> &HeadRecord {
        &self.record
    }

    /// New credentials reach the store by another client.
    pub(crate) fn reach_by(&mut self, bucket: std::sync::Arc<dyn crate::bucket::Bucket>) {
        self.heads.bucket = bucket;
    }

    /// Changes the record, if the tenure still lasts.
    pub(crate) async fn change(&mut self, change: impl Fn(&HeadRecord) -> HeadRecord) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let next = change(&self.record);
            match self.heads.write(&self.place.branch, self.stored.as_ref(), next).await.map_err(Failure::Head)? {
                Written::Ours(stored) => {
                    self.take(stored);
                    return Ok(());
                }
                // An earlier try of ours arrived late, or the record was deleted by hand.
                Written::Theirs(found) => self.consider(found).map_err(Failure::Ended)?,
            }
        }
        let source = crate::bucket::Error::Unavailable { message: "the head record keeps changing".to_owned() };
        Err(Failure::Head(Error::Bucket { database: self.heads.database.clone(), doing: "writing the head record", source }))
    }

    /// Looks whether the tenure still lasts.
    pub(crate) async fn check(&mut self) -> Result<(), Failure> {
        let found = self.heads.read(&self.place.branch).await.map_err(Failure::Head)?;
        self.consider(found).map_err(Failure::Ended)
    }

    fn consider(&mut self, found: Option<Stored>) -> Result<(), Ended> {
        match found {
            Some(stored) if stored.record.epoch == self.epoch && stored.record.holder.as_ref() == Some(&self.me) => self.take(stored),
            Some(stored) => {
                let by = stored.record.holder.filter(|_| stored.record.state != HeadState::Tombstone);
                return Err(Ended { epoch: stored.record.epoch, by });
            }
            None => self.stored = None,
        }
        Ok(())
    }

    fn take(&mut self, stored: Stored) {
        self.record = stored.record.clone();
        self.stored = Some(stored);
    }

    /// Says that nothing of it is under way any more. Nothing may be served or written after this began, whatever its outcome: without
    /// it, whoever comes next fences. `txid` is the newest state.
    pub(crate) async fn release(&mut self, txid: u64) {
        match self.change(|record| record.at(txid).released()).await {
            Ok(()) => {}
            Err(Failure::Ended(Ended { epoch, .. })) => {
                tracing::info!(database = %self.heads.database, branch = %self.place.branch, %epoch, "somebody took over before the release");
            }
            Err(Failure::Head(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(database = %self.heads.database, branch = %self.place.branch, error, "the release was not noted; the next open fences");
            }
        }
    }
}
