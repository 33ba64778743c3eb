//! Another content for the database that is served: that of another branch, or another branch altogether.
//!
//! Writers wait meanwhile and see the new content; readers see the old one until then.
//! Invariant: what was acknowledged before is in the bucket before anything changes.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Flusher, PAUSE};
use crate::branches::{self, Source};
use crate::bucket::Staged;
use crate::clock::WallTime;
use crate::database::Flush;
use crate::error::Error;
use crate::facts::{SnapshotFacts, Uploads};
use crate::flush::Progress;
use crate::head::{HeadRecord, Parent, Past, PromotionEntry, PromotionState, parent};
use crate::memory::PausedWriters;
use crate::names::{BranchName, DatabaseName};
use crate::opening::Opened;
use crate::snapshot::{self, Attempt, Known, Mark, Outcome, PutId, content_of, upload_staged};
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

    async fn go_on_with(&mut self, mut to: Opened) -> Result<(), Arc<Error>> {
        let refused = |error: Error| Arc::new(error);
        if self.memory.page_size() != to.memory.page_size() {
            let (database, branch) = (self.name.clone(), to.tenure.branch().clone());
            to.tenure.release().await;
            let why = format!("has pages of {} bytes, not {}", to.memory.page_size().get(), self.memory.page_size().get());
            return Err(refused(Error::BranchRefused { database, branch, why }));
        }
        let paused = self.memory.pause_writers("the database was switched to another branch").await;
        if let Err(error) = self.flush(Flush::Forced).await {
            to.tenure.release().await;
            return Err(error);
        }
        let pin = to.memory.pin();
        if let Err(error) = paused.switch(&pin).await {
            to.tenure.release().await;
            return Err(refused(Error::Internal { database: self.name.clone(), detail: error.to_string() }));
        }
        let mut old = std::mem::replace(&mut self.tenure, to.tenure);
        self.known = to.known;
        self.unsettled = None;
        self.not_done = None;
        // What was made of it since it was read, such as missing tables, is not in the bucket yet.
        let is_saved = pin.commits() == to.durable;
        let durable = is_saved.then(|| *self.memory.commits().borrow());
        self.progress = Progress { durable, ..Progress::default() };
        {
            let mut ledger = self.ledger.lock();
            ledger.branch = self.tenure.branch().clone();
            ledger.epoch = self.tenure.epoch();
            ledger.durable = durable;
            ledger.durable_time = Some(to.durable_time);
            ledger.txid = to.txid;
            ledger.last_snapshot = Some(to.snapshot);
            ledger.uploads = Uploads::Fine;
            ledger.outside = None;
        }
        // From the switch on nothing of the old branch is served.
        old.release().await;
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
        let branch = self.tenure.branch().clone();
        match remembered(&self.name, &branch, self.tenure.record(), &asked.id, &asked.hash).map_err(Failed::refused)? {
            Remembered::Done(done) => return Ok(done),
            // One that this tenure began and found not to be made, which the record could not be told.
            Remembered::Begun | Remembered::NotDone => {}
        }
        if self.memory.page_size() != asked.from.pin.page_size() {
            let why = format!("has pages of {} bytes, not {}", self.memory.page_size().get(), asked.from.pin.page_size().get());
            return Err(Failed::refused(Error::BranchRefused { database: self.name.clone(), branch: asked.from.branch.clone(), why }));
        }
        // What takes long is done before writers wait.
        let content = content_of(&asked.from.pin).await.map_err(|error| self.fault(&error))?;
        let mut ahead = self.stage(asked).await;
        let done = self.overwritten_from(asked, &content, &mut ahead).await;
        if let Some(Ahead { staged, .. }) = ahead {
            staged.discard().await;
        }
        done
    }

    /// Brings the new content into the store before anything is changed, if that takes long. Not having done so costs time, and nothing else.
    async fn stage(&self, asked: &Overwrite) -> Option<Ahead> {
        let bucket = self.bucket();
        if !bucket.is_large(asked.from.pin.size()) {
            return None;
        }
        let attempt = self.attempt_of(asked);
        // What is not saved yet is saved first, under a number of its own. Whoever writes goes on until they must wait.
        let txid = attempt.txid + u64::from(self.progress.is_dirty(*self.memory.commits().borrow()));
        let attempt = Attempt { txid, ..attempt };
        match snapshot::stage(&bucket, self.tenure.place(), &attempt).await {
            Ok(staged) => Some(Ahead { put_id: attempt.put_id, txid, staged }),
            Err(error) => {
                tracing::debug!(database = %self.name, %error, "the new content could not be uploaded ahead");
                None
            }
        }
    }

    async fn overwritten_from(&mut self, asked: &Overwrite, content: &str, ahead: &mut Option<Ahead>) -> Result<Overwritten, Failed> {
        let branch = self.tenure.branch().clone();
        let paused = self.memory.pause_writers("the branch was overwritten").await;
        // Writers wait, and the overwrite itself keeps what it replaces: a copy of the snapshot before this one would not outlive it.
        self.save(false).await?;
        self.note_newest().await?;
        let before = self.ledger.lock().txid;
        if let Some(expected) = asked.expected.filter(|expected| !self.tenure.record().is_as_at(*expected)) {
            return Err(Failed::refused(Error::ContentChanged { database: self.name.clone(), branch, expected, found: before }));
        }
        if let Some(name) = &asked.keep_as {
            self.keep_before(name, &branch, before, &asked.id).await?;
        }
        let entry = PromotionEntry {
            id: asked.id.clone(),
            hash: asked.hash.clone(),
            state: PromotionState::Begun,
            from: parent(&asked.from.branch, asked.from.txid),
            replaces: self.known.describe(),
            to_txid: before,
            time: self.clock.wall(),
        };
        // From here on the record may say `begun`.
        self.not_done = Some(asked.id.clone());
        self.change(|record| record.with_promotion(entry.clone())).await?;
        let snapshot = self.commit(asked, &entry, ahead).await?;
        let done = PromotionEntry { state: PromotionState::Done, time: snapshot.time, ..entry };
        self.take_over(paused, asked, snapshot.clone(), content, &done).await?;
        Ok(Overwritten { snapshot: Some(snapshot), ..Overwritten::of(&done) })
    }

    /// Noting a snapshot in the head record may fail without harm for the data, but not for what is compared with the record next.
    async fn note_newest(&mut self) -> Result<(), Failed> {
        let Some(facts) = self.ledger.lock().last_snapshot.clone() else { return Ok(()) };
        if self.tenure.record().snapshot.as_ref().is_some_and(|noted| noted.etag() == facts.etag) {
            return Ok(());
        }
        let content = content_of(&self.memory.pin()).await.map_err(|error| self.fault(&error))?;
        self.change(|record| record.noted(&facts.etag, facts.txid, facts.size, content.clone())).await
    }

    fn fault(&self, error: &std::io::Error) -> Failed {
        Failed::refused(Error::Internal { database: self.name.clone(), detail: error.to_string() })
    }

    /// The content before becomes a branch of its own.
    async fn keep_before(&mut self, name: &BranchName, branch: &BranchName, txid: u64, id: &str) -> Result<(), Failed> {
        let source = Source { branch: branch.clone(), txid, same_since: txid, pin: self.memory.pin() };
        let noted = self.tenure.record().snapshot.as_ref().map(|snapshot| snapshot.content.clone());
        let content = match noted {
            Some(content) => content,
            None => content_of(&source.pin).await.map_err(|error| self.fault(&error))?,
        };
        branches::keep(self.tenure.heads(), name, &source, &content, id, self.tenure.me()).await.map_err(Failed::refused)
    }

    /// The PUT that is the commit point, again and again until its answer is clear. Writers wait; nothing else could be right for them.
    async fn commit(&mut self, asked: &Overwrite, entry: &PromotionEntry, ahead: &mut Option<Ahead>) -> Result<SnapshotFacts, Failed> {
        let attempt = self.attempt_of(asked);
        // Its bytes and metadata are those that were staged, or it is another attempt.
        let (attempt, mut staged) = match ahead.take_if(|ahead| ahead.txid == attempt.txid) {
            Some(Ahead { put_id, staged, .. }) => (Attempt { put_id, ..attempt }, Some(staged)),
            None => (attempt, None),
        };
        let begun = self.clock.now();
        let mut was_unclear = false;
        loop {
            match upload_staged(&self.bucket(), self.tenure.place(), &attempt, staged.take()).await {
                Outcome::Stored(etag) => {
                    return Ok(SnapshotFacts {
                        time: self.clock.wall(),
                        txid: attempt.txid,
                        size: attempt.pin.size(),
                        duration: Some(self.clock.now().saturating_duration_since(begun)),
                        etag,
                    });
                }
                // What it replaces is gone, and no ETag returns, so it can never be made any more.
                Outcome::Conflict { theirs } => {
                    self.put_aside(theirs).await?;
                    self.drop_begun(&entry.id).await?;
                    let source = crate::bucket::Error::Unavailable { message: "the branch changed under the overwrite".to_owned() };
                    return Err(Failed::refused(Error::Bucket { database: self.name.clone(), doing: "overwriting the branch", source }));
                }
                Outcome::NotWritten(source) if !was_unclear => {
                    self.drop_begun(&entry.id).await?;
                    return Err(Failed::refused(Error::Bucket { database: self.name.clone(), doing: "overwriting the branch", source }));
                }
                Outcome::NotWritten(source) | Outcome::Unclear(source) => {
                    was_unclear = true;
                    tracing::warn!(database = %self.name, error = %source, "whether the branch is overwritten is not clear yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// The PUT of an overwrite, by what is known now.
    fn attempt_of(&self, asked: &Overwrite) -> Attempt {
        let keep_previous = self.settings.borrow().policy.keep_previous;
        Attempt { pin: asked.from.pin.clone(), promotion: Mark::Done(asked.id.clone()), ..self.attempt(keep_previous) }
    }

    async fn drop_begun(&mut self, id: &str) -> Result<(), Failed> {
        self.change(|record| record.without_promotion(id)).await?;
        self.not_done = None;
        Ok(())
    }

    /// It is in the bucket: the memory follows. If it cannot, it must not be served any more.
    async fn take_over(
        &mut self,
        paused: PausedWriters,
        asked: &Overwrite,
        snapshot: SnapshotFacts,
        content: &str,
        done: &PromotionEntry,
    ) -> Result<(), Failed> {
        let diverged = |database, detail| Failed::Diverged(Arc::new(Error::Internal { database, detail }));
        paused.switch(&asked.from.pin).await.map_err(|error| diverged(self.name.clone(), error.to_string()))?;
        self.known = Known::Sound(snapshot.etag.clone());
        self.not_done = None;
        let durable = Some(*self.memory.commits().borrow());
        self.progress = Progress { durable, last_begun: Some(self.clock.now()), ..Progress::default() };
        {
            let mut ledger = self.ledger.lock();
            ledger.durable = durable;
            ledger.durable_time = Some(snapshot.time);
            ledger.txid = snapshot.txid;
            ledger.last_snapshot = Some(snapshot.clone());
            ledger.uploads = Uploads::Fine;
        }
        let noted = self
            .tenure
            .change(|record| record.noted(&snapshot.etag, snapshot.txid, snapshot.size, content.to_owned()).with_promotion(done.clone()));
        match noted.await {
            Ok(()) => Ok(()),
            Err(Failure::Ended(ended)) => Err(Failed::Refused(self.ended(ended))),
            // The object itself tells; until the record says so each later snapshot must.
            Err(Failure::Head(error)) => Err(Failed::Diverged(Arc::new(error))),
        }
    }

    async fn change(&mut self, change: impl Fn(&HeadRecord) -> HeadRecord) -> Result<(), Failed> {
        match self.tenure.change(change).await {
            Ok(()) => Ok(()),
            Err(Failure::Ended(ended)) => Err(Failed::Refused(self.ended(ended))),
            Err(Failure::Head(error)) => Err(Failed::refused(error)),
        }
    }

    fn bucket(&self) -> Arc<dyn crate::bucket::Bucket> {
        Arc::clone(&self.settings.borrow().bucket)
    }
}

/// The new content, which lies in the store and which nobody sees.
struct Ahead {
    put_id: PutId,
    txid: u64,
    staged: Box<dyn Staged>,
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
