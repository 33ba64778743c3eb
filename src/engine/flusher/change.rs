//! Another content for the database that is served: that of another branch, or another branch altogether.
//!
//! Writers wait meanwhile and see the new content; readers see the old one until then.
//! Invariant: what was acknowledged before is in the bucket before anything changes.

use std::sync::Arc;

use ltx::Txid;
use tokio::sync::oneshot;

use super::{Flusher, Line, OnItsWay, PAUSE};
use crate::branches::{self, Source};
use crate::chains::{Landing, SlotMark};
use crate::clock::WallTime;
use crate::error::Error;
use crate::facts::{SnapshotFacts, Uploads};
use crate::flush::Progress;
use crate::head::{HeadRecord, Parent, Past, PromotionEntry, PromotionState, parent};
use crate::memory::{PausedWriters, Pin};
use crate::names::{BranchName, DatabaseName};
use crate::naming::Naming;
use crate::opening::Opened;
use crate::snapshot::content_of;
use crate::tenure::Failure;

/// Go on with a branch that was opened for it.
pub(crate) struct Switch {
    pub(crate) to: Opened,
    pub(crate) reply: oneshot::Sender<Result<(), Arc<Error>>>,
}

/// Put the content of another branch into the one that is served.
pub(crate) struct Overwrite {
    pub(crate) id: String,
    /// Of what was asked for.
    pub(crate) hash: String,
    pub(crate) from: Source,
    /// Only if the branch still has the content of this txid.
    pub(crate) expected: Option<u64>,
    /// The content before stays as a branch of this name.
    pub(crate) keep_as: Option<BranchName>,
    pub(crate) reply: oneshot::Sender<Result<Overwritten, Arc<Error>>>,
}

/// What an overwrite did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// The state that it made.
    pub txid: u64,
    /// When that was in the bucket.
    pub time: WallTime,
    /// The branch and the state of it that the content was taken from; unknown where only the object tells that it was done.
    pub from: Option<(String, u64)>,
    /// What it stood at before.
    pub before: u64,
    /// The snapshot that it made; `None` if it was done under this id before, and nothing was done now.
    pub snapshot: Option<SnapshotFacts>,
}

impl Overwritten {
    /// As the head record remembers it.
    fn of(entry: &PromotionEntry) -> Self {
        let Parent { branch, txid } = &entry.from;
        let from = (!branch.is_empty()).then(|| (branch.clone(), *txid));
        Self { txid: entry.txid(), time: entry.time, from, before: entry.to_txid, snapshot: None }
    }

    /// It was done under this id before, and nothing was done now.
    pub fn was_done(&self) -> bool {
        self.snapshot.is_none()
    }
}

/// What a branch's record says of an overwrite that is asked for.
pub(crate) enum Remembered {
    /// It was not carried out.
    NotDone,
    /// Whoever opens the branch finds out.
    Begun,
    /// It was.
    Done(Overwritten),
}

/// What a branch's record remembers of an overwrite, or why it can never be carried out under this id.
pub(crate) fn remembered(
    database: &DatabaseName,
    branch: &BranchName,
    record: &HeadRecord,
    id: &str,
    hash: &str,
) -> Result<Remembered, Error> {
    let (database, branch, id_again) = (database.clone(), branch.clone(), id.to_owned());
    match record.past(id, hash) {
        Past::Never => Ok(Remembered::NotDone),
        Past::Begun => Ok(Remembered::Begun),
        Past::Done(entry) => Ok(Remembered::Done(Overwritten::of(entry))),
        Past::OtherWish => Err(Error::PromotionIdUsed { database, branch, id: id_again }),
        Past::Doubtful => Err(Error::HistoryLost { database, branch, id: id_again }),
    }
}

impl Flusher {
    /// Tells what ended the flusher, if anything did.
    pub(super) async fn switch(&mut self, Switch { to, reply }: Switch) -> Option<Arc<Error>> {
        let result = self.go_on_with(to).await;
        let end = result.as_ref().err().filter(|error| super::is_end(error)).cloned();
        reply.send(result).ok();
        (self.notify)();
        end
    }

    async fn go_on_with(&mut self, to: Opened) -> Result<(), Arc<Error>> {
        let Opened { mut tenure, state } = to;
        let txid = state.tip.txid.get();
        if self.memory.page_size() != state.memory.page_size() {
            let (database, branch) = (self.name.clone(), tenure.branch().clone());
            tenure.release(txid).await;
            let why = format!("has pages of {} bytes, not {}", state.memory.page_size(), self.memory.page_size());
            return Err(Arc::new(Error::BranchRefused { database, branch, why }));
        }
        // Most of what is not saved yet is saved before writers wait.
        if let Err(error) = self.prepare_to_leave().await {
            tenure.release(txid).await;
            return Err(error);
        }
        let paused = self.memory.pause_writers("the database was switched to another branch").await;
        let left = match self.save().await {
            Ok(pin) => pin,
            Err(error) => {
                tenure.release(txid).await;
                return Err(error);
            }
        };
        // What was made of it since it was read, such as missing tables, is not in the bucket yet, nor is the page 1 that it gets here.
        let (pin, changes) = state.memory.pin_with_changes(state.tip.commits);
        let prepared = paused.prepare(&pin).map(|prepared| prepared.pin);
        self.ledger.lock().naming.end(left.commits());
        let switched = match prepared {
            Ok(prepared) => paused.take(prepared.clone()).await.map(|()| prepared),
            Err(error) => Err(error),
        };
        let prepared = match switched {
            Ok(prepared) => prepared,
            Err(error) => {
                self.ledger.lock().naming.go_on();
                tenure.release(txid).await;
                return Err(Arc::new(Error::Internal { database: self.name.clone(), detail: error.to_string() }));
            }
        };
        let (durable_time, last_snapshot, outside) = (state.durable_time, state.snapshot.clone(), state.outside.clone());
        let damaged = super::damaged(state.damage.clone(), self.clock.wall());
        let (_, line) = Line::of(tenure, state, self.clock.now());
        let old = std::mem::replace(&mut self.line, line);
        self.progress = Progress::default();
        {
            let mut ledger = self.ledger.lock();
            ledger.branch = self.line.tenure.branch().clone();
            ledger.epoch = self.line.tenure.epoch();
            ledger.durable = None;
            ledger.durable_time = Some(durable_time);
            ledger.txid = txid;
            ledger.last_snapshot = last_snapshot;
            ledger.uploads = Uploads::Fine;
            ledger.outside = outside;
            ledger.damaged = damaged;
            ledger.naming = Naming::of_switch(self.line.tenure.epoch(), self.line.tip.next_txid(), prepared.commits());
        }
        let pinned_at = (self.clock.now(), self.clock.wall());
        let made = self.made(prepared, changes.map(super::with_first_page), SlotMark::None, pinned_at).await;
        // Without it the memory and the chain could never come together.
        self.line.on_its_way = Some(made.map_err(|error| diverged(&self.name, &error))?);
        // From the switch on nothing of the old branch is served, and what is in its chain is all of it.
        self.leave(old, left).await;
        Ok(())
    }

    async fn prepare_to_leave(&mut self) -> Result<(), Arc<Error>> {
        self.save().await?;
        if !self.line.copy.is_settled() {
            // Whoever leaves the branch begins with what certainly stands there.
            match self.copy_now().await {
                Err(error) if super::is_end(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(database = %self.name, error = &*error as &dyn std::error::Error, "the snapshot was not renewed");
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Tells what ended the flusher, if anything did.
    pub(crate) async fn overwrite(&mut self, overwrite: Overwrite) -> Option<Arc<Error>> {
        let Overwrite { reply, .. } = &overwrite;
        if reply.is_closed() {
            return None;
        }
        let (result, end) = match self.overwritten(&overwrite).await {
            Ok(done) => (Ok(done), None),
            Err(Failed::Refused(error)) => {
                let end = super::is_end(&error).then(|| Arc::clone(&error));
                (Err(error), end)
            }
            Err(Failed::Diverged(error)) => (Err(Arc::clone(&error)), Some(error)),
        };
        overwrite.reply.send(result).ok();
        (self.notify)();
        end
    }

    async fn overwritten(&mut self, asked: &Overwrite) -> Result<Overwritten, Failed> {
        let branch = self.line.tenure.branch().clone();
        match remembered(&self.name, &branch, self.line.tenure.record(), &asked.id, &asked.hash).map_err(Failed::refused)? {
            Remembered::Done(done) => {
                self.show(done.txid).await?;
                return Ok(done);
            }
            // One that this tenure began and found not to be made, which the record could not be told.
            Remembered::Begun | Remembered::NotDone => {}
        }
        if self.memory.page_size() != asked.from.pin.page_size() {
            let why = format!("has pages of {} bytes, not {}", self.memory.page_size(), asked.from.pin.page_size());
            return Err(Failed::refused(Error::BranchRefused { database: self.name.clone(), branch: asked.from.branch.clone(), why }));
        }
        let done = self.overwritten_from(asked).await?;
        let snapshot = self.show(done.txid).await?;
        Ok(Overwritten { snapshot, ..done })
    }

    /// Readers of the plain file see it from here on.
    async fn show(&mut self, txid: u64) -> Result<Option<SnapshotFacts>, Failed> {
        if self.line.copy.txid >= txid {
            return Ok(None);
        }
        self.copy_now().await?;
        Ok(self.ledger.lock().last_snapshot.clone())
    }

    async fn overwritten_from(&mut self, asked: &Overwrite) -> Result<Overwritten, Failed> {
        let branch = self.line.tenure.branch().clone();
        // Most of what is not saved yet is saved before writers wait.
        self.save().await?;
        let paused = self.memory.pause_writers("the branch was overwritten").await;
        let before = self.save().await?;
        let to_txid = self.line.tip.txid.get();
        if let Some(expected) = asked.expected
            && !self.is_as_at(expected).await?
        {
            return Err(Failed::refused(Error::ContentChanged { database: self.name.clone(), branch, expected, found: to_txid }));
        }
        if let Some(name) = &asked.keep_as {
            self.keep_before(name, before, &asked.id).await?;
        }
        let prepared = paused.prepare(&asked.from.pin).map_err(|error| self.fault(&error))?;
        let pinned_at = (self.clock.now(), self.clock.wall());
        let mark = SlotMark::Promotion(asked.id.clone());
        let made = self.made(prepared.pin.clone(), Some(prepared.changes), mark, pinned_at).await.map_err(Failed::refused)?;
        let entry = PromotionEntry {
            id: asked.id.clone(),
            hash: asked.hash.clone(),
            state: PromotionState::Begun,
            from: parent(&asked.from.branch, asked.from.txid),
            replaces: String::new(),
            to_txid,
            time: self.clock.wall(),
        };
        // From here on the record may say `begun`.
        self.line.not_done = Some(asked.id.clone());
        self.change(|record| record.with_promotion(entry.clone()).at(to_txid)).await?;
        self.commit(made, &entry).await?;
        let done = PromotionEntry { state: PromotionState::Done, time: self.clock.wall(), ..entry };
        self.take_over(paused, prepared.pin, &done).await?;
        Ok(Overwritten::of(&done))
    }

    /// Whether the branch has the content that it had at a state.
    async fn is_as_at(&self, txid: u64) -> Result<bool, Failed> {
        let tip = Arc::clone(&self.line.tip);
        if (tip.same_since.get()..=tip.txid.get()).contains(&txid) {
            return Ok(true);
        }
        let (first, asked) = (self.line.tenure.record().first(), Txid::new(txid).filter(|asked| *asked < tip.txid));
        let Some((first, asked)) = first.zip(asked) else { return Ok(false) };
        let then = self.line.chain.checksum_at(first, asked, &self.memory.options()).await.map_err(Failed::refused)?;
        Ok(then == Some(tip.checksum()))
    }

    fn fault(&self, error: &dyn std::fmt::Display) -> Failed {
        Failed::refused(Error::Internal { database: self.name.clone(), detail: error.to_string() })
    }

    /// The content before becomes a branch of its own.
    async fn keep_before(&mut self, name: &BranchName, pin: Pin, id: &str) -> Result<(), Failed> {
        let source = self.line.source(pin);
        let content = content_of(&source.pin).await.map_err(|error| self.fault(&error))?;
        let tenure = &self.line.tenure;
        branches::keep(tenure.heads(), name, &source, &content, id, tenure.me()).await.map_err(Failed::refused)
    }

    /// The PUT that is the commit point, again and again until its answer is clear. Writers wait; nothing else could be right for them.
    async fn commit(&mut self, made: OnItsWay, entry: &PromotionEntry) -> Result<(), Failed> {
        let mut was_unclear = false;
        loop {
            match self.line.chain.put(&made.upload).await {
                Landing::Stored => {
                    self.line.arrived(&made.delta, made.upload.file.len, self.clock.now());
                    return Ok(());
                }
                Landing::Taken(theirs) => return Err(Failed::Refused(self.slot_taken(&theirs).await)),
                Landing::NotWritten(source) if !was_unclear => {
                    self.drop_begun(&entry.id).await?;
                    return Err(Failed::refused(Error::Bucket { database: self.name.clone(), doing: "overwriting the branch", source }));
                }
                Landing::NotWritten(source) | Landing::Unclear(source) => {
                    was_unclear = true;
                    tracing::warn!(database = %self.name, error = %source, "whether the branch is overwritten is not clear yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn drop_begun(&mut self, id: &str) -> Result<(), Failed> {
        self.change(|record| record.without_promotion(id)).await?;
        self.line.not_done = None;
        Ok(())
    }

    /// It is in the bucket: the memory follows. If it cannot, it must not be served any more.
    async fn take_over(&mut self, paused: PausedWriters, prepared: Pin, done: &PromotionEntry) -> Result<(), Failed> {
        let commits = prepared.commits();
        paused.take(prepared).await.map_err(|error| Failed::Diverged(diverged(&self.name, &error)))?;
        self.line.not_done = None;
        self.memory.forget_changes(commits);
        self.ledger.lock().naming.delta(self.line.tip.txid, commits);
        self.progress = Progress { durable: Some(commits), ..Progress::default() };
        let txid = self.line.tip.txid.get();
        {
            let mut ledger = self.ledger.lock();
            ledger.durable = Some(commits);
            ledger.durable_time = Some(done.time);
            ledger.txid = txid;
            ledger.uploads = Uploads::Fine;
        }
        self.durable.reach(commits);
        match self.line.tenure.change(|record| record.with_promotion(done.clone()).at(txid)).await {
            Ok(()) => Ok(()),
            Err(Failure::Ended(ended)) => Err(Failed::Refused(self.ended(ended))),
            // The slot itself tells whoever opens the branch.
            Err(Failure::Head(error)) => Err(Failed::Diverged(Arc::new(error))),
        }
    }

    async fn change(&mut self, change: impl Fn(&HeadRecord) -> HeadRecord) -> Result<(), Failed> {
        Ok(self.line.tenure.change(change).await.map_err(|failure| self.error_of(failure))?)
    }
}

/// The memory and the bucket are not the same any more.
fn diverged(database: &DatabaseName, detail: &dyn std::fmt::Display) -> Arc<Error> {
    Arc::new(Error::Internal { database: database.clone(), detail: detail.to_string() })
}

/// Why an overwrite was not carried out, or not to its end.
enum Failed {
    /// The branch is as it was.
    Refused(Arc<Error>),
    /// The bucket and the memory are not the same any more: the database is opened anew.
    Diverged(Arc<Error>),
}

impl Failed {
    fn refused(error: Error) -> Self {
        Self::Refused(Arc::new(error))
    }
}

impl From<Arc<Error>> for Failed {
    fn from(error: Arc<Error>) -> Self {
        Self::Refused(error)
    }
}
