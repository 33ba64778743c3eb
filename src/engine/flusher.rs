//! The task that brings one database's commits into its bucket.
//!
//! Owns: the tenure, and the order of everything that is written to the branch. It alone uploads, one snapshot at a time.
//! Does not own: when (`flush.rs`), how (`snapshot.rs`), what is done about somebody else's object (`outside.rs`).
//! Invariant: with nothing to save it waits for a commit or a request, and for nothing else.

mod change;
mod outside;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::branches::Source;
use crate::bucket::{self, Bucket};
use crate::clock::{Clock, WallTime};
use crate::config::SnapshotPolicy;
use crate::database::{Flush, Flushed};
use crate::error::Error;
use crate::facts::{Outside, SnapshotFacts, Uploads};
use crate::flush::{Next, Progress};
use crate::head::{Epoch, HeadRecord};
use crate::memory::{Commits, MemoryDatabase, Pin};
use crate::names::{BranchName, DatabaseName, Etag};
use crate::opening::Opened;
use crate::snapshot::{self, Attempt, Known, Mark, Outcome, PutIds, content_of};
use crate::tenure::{Ended, Failure, Tenure};

pub use change::Overwritten;
pub(crate) use change::{Overwrite, Remembered, Switch, remembered};

/// What may change while the database is open.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) policy: SnapshotPolicy,
    pub(crate) bucket: Arc<dyn Bucket>,
}

/// What others may see of the flusher's work.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) branch: BranchName,
    pub(crate) epoch: Epoch,
    pub(crate) durable: Option<Commits>,
    pub(crate) durable_time: Option<WallTime>,
    pub(crate) txid: u64,
    pub(crate) last_snapshot: Option<SnapshotFacts>,
    pub(crate) uploads: Uploads,
    pub(crate) outside: Option<Outside>,
    /// For the order at shutdown.
    pub(crate) dirty_since: Option<Instant>,
}

/// A request to the flusher.
pub(crate) enum Command {
    /// Flush now, or say why not.
    Flush(Flush, oneshot::Sender<Result<Flushed, Arc<Error>>>),
    /// Say what is in the bucket, after a flush: a version, its number, and its branch.
    Pin(oneshot::Sender<Result<Source, Arc<Error>>>),
    /// Go on with another branch.
    Switch(Box<Switch>),
    /// Put other content into the branch that is served.
    Overwrite(Box<Overwrite>),
    /// Flush what is left, release the branch, and end if the flush succeeded.
    Finish(oneshot::Sender<Result<Option<SnapshotFacts>, Arc<Error>>>),
}

/// What ends a flusher.
enum End {
    /// It was told to, or nobody can tell it anything any more.
    Told,
    /// Its tenure is over, or its memory is not what lies in the bucket.
    Lost(Arc<Error>),
}

pub(crate) struct Flusher {
    name: DatabaseName,
    pub(crate) memory: MemoryDatabase,
    tenure: Tenure,
    settings: watch::Receiver<Settings>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    put_ids: Arc<PutIds>,
    clock: Arc<dyn Clock>,
    notify: Box<dyn Fn() + Send + Sync>,
    lost: Box<dyn Fn(Arc<Error>) + Send + Sync>,
    known: Known,
    progress: Progress,
    /// An upload of which nobody knows whether it arrived: one under way, or one without a clear answer.
    unsettled: Option<Attempt>,
    /// The overwrite that the head record may call begun although it was not carried out. Each snapshot says so until the record is right.
    not_done: Option<String>,
}

/// What a flusher works with besides the branch itself.
pub(crate) struct Surroundings {
    pub(crate) name: DatabaseName,
    pub(crate) settings: watch::Receiver<Settings>,
    pub(crate) put_ids: Arc<PutIds>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Called when the ledger changed.
    pub(crate) notify: Box<dyn Fn() + Send + Sync>,
    /// Called when the database must not be served any more.
    pub(crate) lost: Box<dyn Fn(Arc<Error>) + Send + Sync>,
}

/// How often one flush puts its state back in the place of somebody else's.
const CONFLICTS: u32 = 3;

impl Flusher {
    /// For a branch that was just opened.
    pub(crate) fn new(surroundings: Surroundings, opened: Opened) -> Self {
        let Surroundings { name, settings, put_ids, clock, notify, lost } = surroundings;
        let Opened { memory, tenure, known, txid, origin: _, durable, durable_time, snapshot } = opened;
        let ledger = Ledger {
            branch: tenure.branch().clone(),
            epoch: tenure.epoch(),
            durable: Some(durable),
            durable_time: Some(durable_time),
            txid,
            last_snapshot: Some(snapshot),
            uploads: Uploads::Fine,
            outside: None,
            dirty_since: None,
        };
        Self {
            name,
            memory,
            tenure,
            settings,
            ledger: Arc::new(Mutex::new(ledger)),
            put_ids,
            clock,
            notify,
            lost,
            known,
            progress: Progress { durable: Some(durable), ..Progress::default() },
            unsettled: None,
            not_done: None,
        }
    }

    /// Ends a tenure of which nothing was served.
    pub(crate) async fn release(mut self) {
        self.tenure.release().await;
    }

    /// Runs until it is told to finish, until its tenure is over, or until nobody can tell it anything any more. A panic, which is a fault
    /// of ours, counts as a failed upload, after which the work goes on: what the panic interrupted is settled by the conditions of the
    /// next attempt.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let panic = match AssertUnwindSafe(self.serve(&mut commands)).catch_unwind().await {
                Ok(End::Told) => {
                    // Whatever asked for the end: nothing is served any more, so nobody needs to fence us.
                    return;
                }
                Ok(End::Lost(error)) => {
                    tracing::error!(database = %self.name, error = &*error as &dyn std::error::Error, "the database is not served any more");
                    (self.lost)(error);
                    return;
                }
                Err(panic) => panic,
            };
            let detail = panic.downcast_ref::<&str>().map_or_else(|| "a panic".to_owned(), |text| (*text).to_owned());
            tracing::error!(database = %self.name, detail, "the flusher failed and starts again");
            let fault = Error::Internal { database: self.name.clone(), detail };
            self.note_failure(fault);
            (self.notify)();
        }
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> End {
        let mut commits = self.memory.commits();
        loop {
            let newest = *commits.borrow_and_update();
            self.progress.observe(newest, self.clock.now());
            self.ledger.lock().dirty_since = self.progress.dirty_since;
            let Settings { policy, bucket } = self.settings.borrow_and_update().clone();
            self.tenure.reach_by(bucket);
            let due: OptionFuture<_> = match self.progress.next(&policy) {
                Next::Idle => None.into(),
                Next::At(moment) => Some(tokio::time::sleep_until(moment)).into(),
            };
            // Once dirty, further commits change nothing about the next moment, so they need not wake anybody.
            let clean = self.progress.dirty_since.is_none();
            tokio::select! {
                command = commands.recv() => match command {
                    None => return End::Told,
                    Some(command) => if let Some(end) = self.obey(command).await { return end },
                },
                Some(()) = due => match self.flush(Flush::Forced).await {
                    Ok(_) => {}
                    Err(error) if is_end(&error) => return End::Lost(error),
                    Err(error) => tracing::warn!(database = %self.name, error = &*error as &dyn std::error::Error, "snapshot failed"),
                },
                changed = commits.changed(), if clean => if changed.is_err() { return End::Told },
                changed = self.settings.changed() => if changed.is_err() { return End::Told },
            }
        }
    }

    /// Does what it is told, and tells whether that was the last.
    async fn obey(&mut self, command: Command) -> Option<End> {
        // Nobody may be waiting for an answer any more.
        match command {
            Command::Flush(flush, reply) => {
                let result = self.flush(flush).await;
                let end = result.as_ref().err().filter(|error| is_end(error)).cloned();
                reply.send(result).ok();
                end.map(End::Lost)
            }
            Command::Pin(reply) => {
                let branch = self.tenure.branch().clone();
                let result = self.durable_pin().await.map(|(pin, txid)| {
                    // A snapshot that could not be noted is known by its own number alone.
                    let noted = self.tenure.record().snapshot.as_ref().filter(|noted| noted.txid == txid);
                    Source { branch, txid, same_since: noted.map_or(txid, |noted| noted.same_since), pin }
                });
                let end = result.as_ref().err().filter(|error| is_end(error)).cloned();
                reply.send(result).ok();
                end.map(End::Lost)
            }
            Command::Switch(switch) => self.switch(*switch).await.map(End::Lost),
            Command::Overwrite(overwrite) => self.overwrite(*overwrite).await.map(End::Lost),
            Command::Finish(reply) => {
                let result = self.finish().await;
                let end = match &result {
                    Ok(_) => Some(End::Told),
                    Err(error) if is_end(error) => Some(End::Lost(Arc::clone(error))),
                    Err(_) => None,
                };
                reply.send(result).ok();
                end
            }
        }
    }

    /// Everything was refused and awaited before, so after the flush nothing is served.
    async fn finish(&mut self) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        self.flush(Flush::Forced).await?;
        self.tenure.release().await;
        Ok(self.ledger.lock().last_snapshot.clone())
    }

    async fn flush(&mut self, flush: Flush) -> Result<Flushed, Arc<Error>> {
        let policy = self.settings.borrow().policy;
        if flush == Flush::Manual && self.progress.is_debounced(&policy, self.clock.now()) {
            return Ok(Flushed::Skipped(self.ledger.lock().last_snapshot.clone()));
        }
        self.save(policy.keep_previous).await
    }

    async fn save(&mut self, keep_previous: bool) -> Result<Flushed, Arc<Error>> {
        // What an unclear attempt left behind is settled before anything else is written.
        if let Some(attempt) = self.unsettled.clone() {
            // Whether to copy first is no part of what is sent, and a copy that is not permitted must not hold it up for ever.
            self.store(Attempt { keep_previous, ..attempt }).await?;
        }
        let newest = *self.memory.commits().borrow();
        if !self.progress.is_dirty(newest) {
            let last = self.ledger.lock().last_snapshot.clone();
            return Ok(last.map_or(Flushed::Skipped(None), Flushed::Unchanged));
        }
        let attempt = self.attempt(keep_previous);
        self.store(attempt).await.map(Flushed::Uploaded)
    }

    /// The newest version, to be put in the place of the snapshot that we know.
    fn attempt(&self, keep_previous: bool) -> Attempt {
        Attempt {
            pinned_at: self.clock.wall(),
            pin: self.memory.pin(),
            txid: self.ledger.lock().txid + 1,
            epoch: self.tenure.epoch(),
            put_id: self.put_ids.fresh(),
            replaces: self.known.clone(),
            keep_previous,
            promotion: self.not_done.clone().map_or(Mark::None, Mark::NotDone),
        }
    }

    /// A version that is in the bucket as it is, with its number, after whatever it takes to have one.
    async fn durable_pin(&mut self) -> Result<(Pin, u64), Arc<Error>> {
        self.flush(Flush::Forced).await?;
        let pin = self.memory.pin();
        if Some(pin.commits()) == self.progress.durable {
            // Without an upload nothing has told yet whether it is still the newest state of the branch.
            match self.tenure.check().await {
                Ok(()) => return Ok((pin, self.ledger.lock().txid)),
                Err(Failure::Ended(ended)) => return Err(self.ended(ended)),
                Err(Failure::Head(error)) => return Err(Arc::new(error)),
            }
        }
        // Somebody commits all the time: what is uploaded now is the version that is meant.
        let attempt = self.attempt(self.settings.borrow().policy.keep_previous);
        let pin = attempt.pin.clone();
        let facts = self.store(attempt).await?;
        Ok((pin, facts.txid))
    }

    /// Uploads an attempt. Somebody else's object in the place is put aside, unless that somebody has ended our tenure.
    async fn store(&mut self, mut attempt: Attempt) -> Result<SnapshotFacts, Arc<Error>> {
        for _ in 0..CONFLICTS {
            match self.send(&attempt).await? {
                Sent::Stored(facts) => return Ok(facts),
                Sent::Conflict(theirs) => {
                    self.put_aside(theirs).await?;
                    attempt = Attempt { put_id: self.put_ids.fresh(), replaces: self.known.clone(), ..attempt };
                }
            }
        }
        Err(self.failed(bucket::Error::Unavailable { message: "somebody else keeps writing the snapshot".to_owned() }))
    }

    async fn send(&mut self, attempt: &Attempt) -> Result<Sent, Arc<Error>> {
        let begun = self.clock.now();
        self.progress.last_begun = Some(begun);
        let bucket = Arc::clone(&self.settings.borrow().bucket);
        let unclear_before = self.unsettled.replace(attempt.clone()).is_some();
        let (outcome, content) = tokio::join!(snapshot::upload(&bucket, self.tenure.place(), attempt), content_of(&attempt.pin));
        // A clear refusal of this try says nothing about an unclear one before it, which may still arrive.
        let stays_unclear = unclear_before && matches!(outcome, Outcome::NotWritten(_));
        if !stays_unclear && !matches!(outcome, Outcome::Unclear(_)) {
            self.unsettled = None;
        }
        let result = match outcome {
            Outcome::Stored(etag) => self.stored(attempt, etag, begun, content).await.map(Sent::Stored),
            Outcome::Conflict { theirs } => Ok(Sent::Conflict(theirs)),
            Outcome::NotWritten(source) | Outcome::Unclear(source) => Err(self.failed(source)),
        };
        (self.notify)();
        result
    }

    /// It is in the bucket. Noting it in the head record may fail without harm: the next one notes it, or whoever opens next finds it.
    async fn stored(
        &mut self,
        attempt: &Attempt,
        etag: Etag,
        begun: Instant,
        content: io::Result<String>,
    ) -> Result<SnapshotFacts, Arc<Error>> {
        let facts = SnapshotFacts {
            time: self.clock.wall(),
            txid: attempt.txid,
            size: attempt.pin.size(),
            duration: Some(self.clock.now().saturating_duration_since(begun)),
            etag: etag.clone(),
        };
        self.known = Known::Sound(etag);
        self.progress.succeeded(attempt.pin.commits(), *self.memory.commits().borrow(), begun);
        {
            let mut ledger = self.ledger.lock();
            ledger.durable = self.progress.durable;
            ledger.durable_time = Some(attempt.pinned_at);
            ledger.txid = attempt.txid;
            ledger.last_snapshot = Some(facts.clone());
            ledger.uploads = Uploads::Fine;
        }
        let content = content.map_err(|error| self.failed(error.into()))?;
        let not_done = self.not_done.clone();
        let change = |record: &HeadRecord| {
            let noted = record.noted(&facts.etag, facts.txid, facts.size, content.clone());
            if let Some(id) = &not_done { noted.without_promotion(id) } else { noted }
        };
        match self.tenure.change(change).await {
            Ok(()) => {
                self.not_done = None;
                Ok(facts)
            }
            // It was in the bucket before the branch was taken over, and whoever took over has read it; but nobody may be told so by us.
            Err(Failure::Ended(ended)) => Err(self.ended(ended)),
            Err(Failure::Head(error)) => {
                tracing::warn!(database = %self.name, error = &error as &dyn std::error::Error, "the snapshot was not noted in the head record");
                Ok(facts)
            }
        }
    }

    /// The error that ends everything.
    fn ended(&self, Ended { epoch, by }: Ended) -> Arc<Error> {
        let newest = *self.memory.commits().borrow();
        let lost = newest.0.saturating_sub(self.progress.durable.map_or(0, |durable| durable.0));
        Arc::new(Error::Fenced {
            database: self.name.clone(),
            branch: self.tenure.branch().clone(),
            ours: self.tenure.epoch(),
            theirs: epoch,
            by: by.map(Box::new),
            lost,
        })
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
            Uploads::Fine => (self.clock.wall(), 1),
        };
        ledger.uploads = Uploads::Failing { error: Arc::clone(&error), since, attempts };
        error
    }
}

/// What became of an upload.
enum Sent {
    Stored(SnapshotFacts),
    /// Neither what we knew nor ours stands there.
    Conflict(Option<Etag>),
}

/// Whether a failure means that the database must not be served any more.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::Fenced { .. })
}

/// Between two looks at what nobody can tell yet.
const PAUSE: Duration = Duration::from_millis(500);
