//! The task that brings one database's commits into its bucket.
//!
//! Owns: the place in the bucket, and the order of everything that is written there. It alone uploads, one snapshot at a time.
//! Does not own: when (`flush.rs`), how (`snapshot.rs`).
//! Invariant: with nothing to save it waits for a commit or a request, and for nothing else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::bucket::{self, Bucket};
use crate::clock::{Clock, WallTime};
use crate::config::SnapshotPolicy;
use crate::database::{Flush, Flushed};
use crate::error::Error;
use crate::facts::{SnapshotFacts, Uploads};
use crate::flush::{Next, Progress};
use crate::memory::{Commits, MemoryDatabase};
use crate::names::{DatabaseName, Etag};
use crate::snapshot::{self, Attempt, Known, Outcome, Place, PutIds};

/// What may change while the database is open.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) policy: SnapshotPolicy,
    pub(crate) bucket: Arc<dyn Bucket>,
}

/// What others may see of the flusher's work.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) durable: Option<Commits>,
    pub(crate) durable_time: Option<WallTime>,
    pub(crate) txid: u64,
    pub(crate) last_snapshot: Option<SnapshotFacts>,
    pub(crate) uploads: Uploads,
    /// For the order at shutdown.
    pub(crate) dirty_since: Option<Instant>,
}

/// A request to the flusher.
pub(crate) enum Command {
    /// Flush now, or say why not.
    Flush(Flush, oneshot::Sender<Result<Flushed, Arc<Error>>>),
    /// Flush what is left, and end if that succeeded.
    Finish(oneshot::Sender<Result<Option<SnapshotFacts>, Arc<Error>>>),
}

pub(crate) struct Flusher {
    pub(crate) name: DatabaseName,
    pub(crate) memory: MemoryDatabase,
    pub(crate) place: Place,
    pub(crate) settings: watch::Receiver<Settings>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) put_ids: Arc<PutIds>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Called when the ledger changed.
    pub(crate) notify: Box<dyn Fn() + Send + Sync>,
    pub(crate) known: Known,
    pub(crate) progress: Progress,
    /// An upload of which nobody knows whether it arrived: one under way, or one without a clear answer.
    pub(crate) unsettled: Option<Attempt>,
}

impl Flusher {
    /// Runs until it is told to finish, or until nobody can tell it any more. A panic, which is a fault of ours, counts as a failed
    /// upload, after which the work goes on: what the panic interrupted is settled by the conditions of the next attempt.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Err(panic) = AssertUnwindSafe(self.serve(&mut commands)).catch_unwind().await {
            let detail = panic.downcast_ref::<&str>().map_or_else(|| "a panic".to_owned(), |text| (*text).to_owned());
            tracing::error!(database = %self.name, detail, "the flusher failed and starts again");
            let fault = Error::Internal { database: self.name.clone(), detail };
            self.note_failure(fault);
            (self.notify)();
        }
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) {
        let mut commits = self.memory.commits();
        loop {
            let newest = *commits.borrow_and_update();
            self.progress.observe(newest, self.clock.now());
            self.ledger.lock().dirty_since = self.progress.dirty_since;
            let policy = self.settings.borrow_and_update().policy;
            let due: OptionFuture<_> = match self.progress.next(&policy) {
                Next::Idle => None.into(),
                Next::At(moment) => Some(tokio::time::sleep_until(moment)).into(),
            };
            // Once dirty, further commits change nothing about the next moment, so they need not wake anybody.
            let clean = self.progress.dirty_since.is_none();
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Flush(flush, reply)) => {
                        let result = self.flush(flush).await;
                        // Nobody may be waiting any more.
                        reply.send(result).ok();
                    }
                    Some(Command::Finish(reply)) => {
                        let result = self.finish().await;
                        let done = result.is_ok();
                        reply.send(result).ok();
                        if done { return }
                    }
                },
                Some(()) = due => {
                    if let Err(error) = self.flush(Flush::Forced).await {
                        tracing::warn!(database = %self.name, error = &*error as &dyn std::error::Error, "snapshot failed");
                    }
                }
                changed = commits.changed(), if clean => if changed.is_err() { return },
                changed = self.settings.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn finish(&mut self) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        self.flush(Flush::Forced).await?;
        Ok(self.ledger.lock().last_snapshot.clone())
    }

    async fn flush(&mut self, flush: Flush) -> Result<Flushed, Arc<Error>> {
        let policy = self.settings.borrow().policy;
        if flush == Flush::Manual && self.progress.is_debounced(&policy, self.clock.now()) {
            return Ok(Flushed::Skipped(self.ledger.lock().last_snapshot.clone()));
        }
        self.refuse_after_conflict()?;
        // What an unclear attempt left behind is settled before anything else is written.
        if let Some(attempt) = self.unsettled.clone() {
            // Whether to copy first is no part of what is sent, and a copy that is not permitted must not hold it up for ever.
            self.store(Attempt { keep_previous: policy.keep_previous, ..attempt }).await?;
        }
        let newest = *self.memory.commits().borrow();
        if !self.progress.is_dirty(newest) {
            let last = self.ledger.lock().last_snapshot.clone();
            return Ok(last.map_or(Flushed::Skipped(None), Flushed::Unchanged));
        }
        let attempt = Attempt {
            pinned_at: self.clock.wall(),
            pin: self.memory.pin(),
            txid: self.ledger.lock().txid + 1,
            put_id: self.put_ids.fresh(),
            replaces: self.known.clone(),
            keep_previous: policy.keep_previous,
        };
        self.store(attempt).await.map(Flushed::Uploaded)
    }

    fn refuse_after_conflict(&self) -> Result<(), Arc<Error>> {
        match &self.ledger.lock().uploads {
            Uploads::Conflict { error } => Err(Arc::clone(error)),
            Uploads::Fine | Uploads::Failing { .. } => Ok(()),
        }
    }

    async fn store(&mut self, attempt: Attempt) -> Result<SnapshotFacts, Arc<Error>> {
        let begun = self.clock.now();
        self.progress.last_begun = Some(begun);
        let bucket = Arc::clone(&self.settings.borrow().bucket);
        let unclear_before = self.unsettled.replace(attempt.clone()).is_some();
        let outcome = snapshot::upload(&bucket, &self.place, &attempt).await;
        // A clear refusal of this try says nothing about an unclear one before it, which may still arrive.
        let stays_unclear = unclear_before && matches!(outcome, Outcome::NotWritten(_));
        if !stays_unclear && !matches!(outcome, Outcome::Unclear(_)) {
            self.unsettled = None;
        }
        let result = match outcome {
            Outcome::Stored(etag) => Ok(self.stored(&attempt, etag, begun)),
            Outcome::Conflict { theirs } => Err(self.lost_to(theirs.map_or_else(|| "none".to_owned(), |etag| etag.to_string()))),
            Outcome::NotWritten(source) | Outcome::Unclear(source) => Err(self.failed(source)),
        };
        (self.notify)();
        result
    }

    fn stored(&mut self, attempt: &Attempt, etag: Etag, begun: Instant) -> SnapshotFacts {
        let facts = SnapshotFacts {
            time: self.clock.wall(),
            txid: attempt.txid,
            size: attempt.pin.size(),
            duration: Some(self.clock.now().saturating_duration_since(begun)),
            etag: etag.clone(),
        };
        self.known = Known::Sound(etag);
        self.progress.succeeded(attempt.pin.commits(), *self.memory.commits().borrow(), begun);
        let mut ledger = self.ledger.lock();
        ledger.durable = self.progress.durable;
        ledger.durable_time = Some(attempt.pinned_at);
        ledger.txid = attempt.txid;
        ledger.last_snapshot = Some(facts.clone());
        ledger.uploads = Uploads::Fine;
        facts
    }

    fn lost_to(&mut self, theirs: String) -> Arc<Error> {
        let error = Arc::new(Error::SnapshotConflict {
            database: self.name.clone(),
            key: self.place.key.clone(),
            ours: self.known.describe(),
            theirs,
        });
        self.progress.conflict = true;
        self.ledger.lock().uploads = Uploads::Conflict { error: Arc::clone(&error) };
        error
    }

    fn failed(&mut self, source: bucket::Error) -> Arc<Error> {
        self.note_failure(Error::Bucket { database: self.name.clone(), doing: "writing a snapshot", source })
    }

    fn note_failure(&mut self, error: Error) -> Arc<Error> {
        self.progress.failed(self.clock.now());
        let error = Arc::new(error);
        let mut ledger = self.ledger.lock();
        let (since, attempts) = match &ledger.uploads {
            Uploads::Failing { since, attempts, .. } => (*since, attempts.saturating_add(1)),
            Uploads::Fine | Uploads::Conflict { .. } => (self.clock.wall(), 1),
        };
        ledger.uploads = Uploads::Failing { error: Arc::clone(&error), since, attempts };
        error
    }
}
