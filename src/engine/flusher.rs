//! The task that brings one database's commits into its bucket.
//!
//! Owns: the tenure, and the order of everything that is written to the branch. It alone uploads: one delta at a time, and beside it one
//! snapshot. Does not own: when (`flush.rs`), how (`chains.rs`, `snapshot.rs`), what is done about somebody else's object (`outside.rs`).
//! Invariants: with nothing to save it waits for a commit or a request, and for nothing else; a commit is called durable only once the
//! delta that holds it stands in its slot; a slot that somebody else has taken ends the tenure.

mod change;
mod copy;
mod left;
mod outside;
mod upkeep;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use ltx::{Checksum, Txid};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::branches::Source;
use crate::bucket::{self, Bucket};
use crate::chains::{Chain, Landing, SlotMark, Upload, millis, wall};
use crate::clock::{Clock, WallTime};
use crate::config::{DatabaseConfig, Durability, Mode, OnMaxLag, SnapshotPolicy};
use crate::database::{Flush, Flushed};
use crate::delta::{By, Delta, Tip};
use crate::durable::Durable;
use crate::error::Error;
use crate::facts::{Damage, Damaged, Outside, SnapshotFacts, Uploads};
#[cfg(test)]
use crate::flaws::Flaw;
use crate::flush::{Copies, Next, Progress};
use crate::head::Epoch;
use crate::hooks::{FlushEnd, FlushKind, FlushOf, HookSet};
use crate::memory::{Changes, Commits, MemoryDatabase, Pin};
use crate::names::{BranchName, DatabaseName};
use crate::naming::Naming;
use crate::opening::{Opened, Ready};
use crate::restore::epoch_of;
use crate::snapshot::PutIds;
use crate::tenure::{Ended, Failure, Tenure};
use copy::Copy;
pub(crate) use left::Leaving;
use upkeep::Upkeep;

pub use change::Overwritten;
pub(crate) use change::{Overwrite, Remembered, Switch, remembered};

/// What may change while the database is open.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) policy: SnapshotPolicy,
    pub(crate) durability: Durability,
    pub(crate) bucket: Arc<dyn Bucket>,
}

impl Settings {
    /// Of a configuration whose bucket is reached like this.
    pub(crate) fn of(config: &DatabaseConfig, bucket: Arc<dyn Bucket>) -> Self {
        Self { policy: config.snapshots, durability: config.durability, bucket }
    }

    /// Whether a reply means that what it tells of is in the bucket.
    fn confirms(&self) -> bool {
        self.durability.mode == Mode::Sync
    }

    /// How long a commit may wait until it is on its way.
    pub(crate) fn interval(&self) -> Duration {
        self.durability.interval(&self.policy)
    }

    /// How long it may wait before no more are taken. Waiting for its turn is no lag.
    fn longest_lag(&self) -> Option<Duration> {
        let is_refused = self.durability.on_max_lag == OnMaxLag::Refuse;
        is_refused.then(|| self.interval().saturating_add(self.durability.max_lag))
    }
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
    /// The newest damage that was found.
    pub(crate) damaged: Option<Damaged>,
    /// Since when the oldest commit waits that is not in the bucket.
    pub(crate) dirty_since: Option<Instant>,
    /// Writes are refused once it has waited longer.
    pub(crate) longest_lag: Option<Duration>,
    /// What states in memory are called.
    pub(crate) naming: Naming,
    /// It is a state as it lies in the bucket, which nobody changes.
    pub(crate) only_shown: bool,
    /// The branch before this one, of which something may be left to be done.
    pub(crate) leaving: Option<Leaving>,
}

/// A request to the flusher.
pub(crate) enum Command {
    /// Flush now, or say why not.
    Flush(Flush, oneshot::Sender<Result<Flushed, Arc<Error>>>),
    /// Say what is in the bucket, after a flush: a version, its number, and its branch.
    Pin(oneshot::Sender<Result<Source, Arc<Error>>>),
    /// Say whether the tenure lasts.
    Check(oneshot::Sender<Result<(), Arc<Error>>>),
    /// Say which state the chain must lead to.
    Tell(oneshot::Sender<Expected>),
    /// Have the newest state need none of the files that are there. Answered once that is so.
    Renew(Vec<Damage>, oneshot::Sender<()>),
    /// Go on with another branch.
    Switch(Box<Switch>),
    /// Put other content into the branch that is served.
    Overwrite(Box<Overwrite>),
    /// Flush what is left, release the branch, and end if the flush succeeded.
    Finish(oneshot::Sender<Result<Option<SnapshotFacts>, Arc<Error>>>),
}

/// What the chain leads to if it is sound.
pub(crate) struct Expected {
    pub(crate) branch: BranchName,
    /// Where it begins.
    pub(crate) first: Txid,
    pub(crate) txid: Txid,
    pub(crate) checksum: Checksum,
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
    settings: watch::Receiver<Settings>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) durable: Arc<Durable>,
    put_ids: Arc<PutIds>,
    clock: Arc<dyn Clock>,
    notify: Box<dyn Fn() + Send + Sync>,
    lost: Box<dyn Fn(Arc<Error>) + Send + Sync>,
    hooks: HookSet,
    line: Line,
    leaving: Option<left::Task>,
    progress: Progress,
}

/// The branch that is served, as it lies in the bucket.
struct Line {
    tenure: Tenure,
    chain: Chain,
    tip: Arc<Tip>,
    /// Page 1 in memory is another one than the chain's, though no commit made it so.
    differs: bool,
    /// What the next delta holds, while it is made.
    pinned: Option<Pinned>,
    /// A delta of which nobody knows whether it arrived: one under way, or one without a clear answer. It goes again as it is.
    on_its_way: Option<OnItsWay>,
    copy: Copy,
    upkeep: Upkeep,
    /// The overwrite that the head record may call begun although it was not carried out.
    not_done: Option<String>,
}

#[derive(Clone)]
struct Pinned {
    pin: Pin,
    changes: Option<Changes>,
    at: (Instant, WallTime),
}

#[derive(Clone)]
struct OnItsWay {
    delta: Delta,
    upload: Upload,
    /// Everything committed before is in it.
    pinned_at: (Instant, WallTime),
    /// Since when it is made, until it was sent once.
    made_since: Option<Instant>,
}

impl Line {
    fn of(tenure: Tenure, state: Ready, now: Instant) -> (MemoryDatabase, Self) {
        let Ready { memory, tip, differs, known, base, snapshot, is_behind, behind, damage, .. } = state;
        let chain = Chain::of(tenure.heads(), tenure.branch());
        let copy = Copy::of(
            known,
            snapshot.map_or(0, |snapshot| snapshot.txid),
            base,
            if is_behind { Copies::astray(now) } else { Copies::default() },
        );
        let mut upkeep = Upkeep::of(&tip, behind, now);
        if !damage.is_empty() {
            upkeep.renew(&tip, now, None);
        }
        (memory, Self { tenure, chain, upkeep, tip: Arc::new(tip), differs, pinned: None, on_its_way: None, copy, not_done: None })
    }

    /// The commits that the chain holds; `None` if that is not what the memory held then.
    fn durable(&self) -> Option<Commits> {
        (!self.differs).then_some(self.tip.commits)
    }
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
    pub(crate) hooks: HookSet,
}

impl Flusher {
    /// For a branch that was just opened.
    pub(crate) fn new(surroundings: Surroundings, opened: Opened) -> Self {
        let Surroundings { name, settings, put_ids, clock, notify, lost, hooks } = surroundings;
        let Opened { tenure, state } = opened;
        let (durable_time, last_snapshot, outside) = (state.durable_time, state.snapshot.clone(), state.outside.clone());
        let damaged = damaged(state.damage.clone(), clock.wall());
        let (memory, line) = Line::of(tenure, state, clock.now());
        let ledger = Ledger {
            branch: line.tenure.branch().clone(),
            epoch: line.tenure.epoch(),
            durable: line.durable(),
            durable_time: Some(durable_time),
            txid: line.tip.txid.get(),
            last_snapshot,
            uploads: Uploads::Fine,
            outside,
            damaged,
            dirty_since: None,
            longest_lag: settings.borrow().longest_lag(),
            naming: Naming::new(line.tenure.epoch(), line.tip.txid, line.tip.commits),
            only_shown: false,
            leaving: None,
        };
        let progress = Progress { durable: line.durable(), ..Progress::default() };
        let (confirms, durable) = (settings.borrow().confirms(), Arc::new(Durable::at(line.tip.commits)));
        durable.promise(confirms);
        let ledger = Arc::new(Mutex::new(ledger));
        let flusher = Self { name, memory, settings, ledger, durable, put_ids, clock, notify, lost, hooks, line, leaving: None, progress };
        if confirms {
            // What was opened is in the bucket, but for tables without rows that opening may have made.
            flusher.show_readers(&flusher.memory.pin());
        }
        flusher
    }

    /// Ends a tenure of which nothing was served.
    pub(crate) async fn release(mut self) {
        self.line.release().await;
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
        let mut wanted = self.durable.wanted();
        loop {
            let newest = *commits.borrow_and_update();
            let now = self.clock.now();
            self.progress.observe(newest, now);
            let settings = self.settings.borrow_and_update().clone();
            {
                let mut ledger = self.ledger.lock();
                ledger.dirty_since = self.progress.dirty_since;
                ledger.longest_lag = settings.longest_lag();
            }
            self.durable.promise(settings.confirms());
            self.hold_back(newest, settings.confirms());
            self.line.tenure.reach_by(Arc::clone(&settings.bucket));
            self.line.chain.reach_by(Arc::clone(&settings.bucket));
            // What somebody waits for is due at once.
            wanted.mark_unchanged();
            let interval = if self.durable.is_awaited() { Duration::ZERO } else { settings.interval() };
            let delta_due: OptionFuture<_> = wait(self.progress.next(interval), now).into();
            let copy_due: OptionFuture<_> = wait(self.line.copy.next(&settings.durability, self.memory.size()), now).into();
            let upkeep_due: OptionFuture<_> = wait(self.line.upkeep.next(self.memory.size()), now).into();
            let copied: OptionFuture<_> = self.line.copy.under_way().into();
            let kept_up: OptionFuture<_> = self.line.upkeep.under_way().into();
            // Once dirty, further commits change nothing about the next moment, so they need not wake anybody.
            let clean = self.progress.dirty_since.is_none();
            // In this order, so that nothing is left to chance. A store that takes longer for a delta than commits wait for it makes one due
            // whenever this comes round, hence it stands behind what is due seldom, all of which saves first.
            let result = tokio::select! {
                biased;
                changed = self.settings.changed() => if changed.is_err() { return End::Told } else { Ok(()) },
                command = commands.recv() => match command {
                    None => return End::Told,
                    Some(command) => if let Some(end) = self.obey(command).await { return end } else { Ok(()) },
                },
                Some(copied) = copied => self.copied(copied).await.map(drop),
                Some(done) = kept_up => self.kept_up(done).await,
                Some(()) = copy_due => self.begin_copy().await,
                Some(()) = upkeep_due => self.begin_upkeep().await,
                Some(()) = delta_due => self.save().await.map(drop),
                changed = commits.changed(), if clean => if changed.is_err() { return End::Told } else { Ok(()) },
                changed = wanted.changed() => if changed.is_err() { return End::Told } else { Ok(()) },
            };
            match result {
                Ok(()) => {}
                Err(error) if is_end(&error) => return End::Lost(error),
                Err(error) => tracing::warn!(database = %self.name, error = &*error as &dyn std::error::Error, "an upload failed"),
            }
        }
    }

    /// Where replies mean that what they tell of is in the bucket, readers see nothing else. In a database for which that has just begun they
    /// see what they saw, until all of it is there.
    fn hold_back(&self, newest: Commits, confirms: bool) {
        #[cfg(test)]
        if self.bucket().flaw() == Flaw::AnsweredBeforePut {
            self.durable.reach(newest);
        }
        match (confirms, self.memory.holds_back()) {
            (true, false) if self.progress.durable == Some(newest) => {
                let pin = self.memory.pin();
                if pin.commits() == newest {
                    self.show_readers(&pin);
                }
            }
            (false, true) => self.memory.show(None),
            _ => {}
        }
    }

    /// Readers see this version, which is in the bucket, and nothing newer.
    fn show_readers(&self, pin: &Pin) {
        #[cfg(test)]
        if self.bucket().flaw() == Flaw::ShownBeforePut {
            return;
        }
        self.memory.show(Some(pin));
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
                let result = self.source().await;
                let end = result.as_ref().err().filter(|error| is_end(error)).cloned();
                reply.send(result).ok();
                end.map(End::Lost)
            }
            Command::Check(reply) => {
                let result = self.line.tenure.check().await.map_err(|failure| self.error_of(failure));
                let end = result.as_ref().err().filter(|error| is_end(error)).cloned();
                reply.send(result).ok();
                end.map(End::Lost)
            }
            Command::Tell(reply) => {
                reply.send(self.line.expected()).ok();
                None
            }
            Command::Renew(damage, reply) => {
                self.renew(damage, reply);
                None
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
        self.await_left().await;
        self.save().await?;
        match self.copy_now().await {
            Ok(_) => {}
            Err(error) if is_end(&error) => return Err(error),
            // All of it is in the chain. Whoever opens the branch next renews the snapshot.
            Err(error) => tracing::warn!(database = %self.name, error = &*error as &dyn std::error::Error, "the snapshot was not renewed"),
        }
        self.line.release().await;
        Ok(self.ledger.lock().last_snapshot.clone())
    }

    async fn flush(&mut self, flush: Flush) -> Result<Flushed, Arc<Error>> {
        let policy = self.settings.borrow().policy;
        if flush == Flush::Manual && self.line.copy.is_debounced(&policy, self.clock.now()) {
            self.hooks.flush_ended(&self.flush_of(FlushKind::Snapshot), &FlushEnd::Skipped);
            return Ok(Flushed::Skipped(self.ledger.lock().last_snapshot.clone()));
        }
        self.save().await?;
        let done = self.copy_now().await?;
        if !matches!(done, Flushed::Uploaded(_)) {
            self.hooks.flush_ended(&self.flush_of(FlushKind::Snapshot), &FlushEnd::Skipped);
        }
        Ok(done)
    }

    fn flush_of(&self, kind: FlushKind) -> FlushOf {
        FlushOf { database: self.name.clone(), branch: self.line.tenure.branch().clone(), kind }
    }

    fn span_of(&self, kind: FlushKind, txid: u64, bytes: u64) -> tracing::Span {
        let branch = self.line.tenure.branch();
        tracing::debug_span!("flush", database = %self.name, %branch, kind = kind.as_str(), txid, bytes)
    }

    /// A state of the branch that is in the bucket.
    async fn source(&mut self) -> Result<Source, Arc<Error>> {
        let before = self.line.tip.txid;
        let pin = self.save().await?;
        if self.line.tip.txid == before {
            // Without an upload nothing has told yet whether it is still the newest state of the branch.
            self.line.tenure.check().await.map_err(|failure| self.error_of(failure))?;
        }
        Ok(self.line.source(pin))
    }

    /// Brings what is committed by now into the chain, and tells the state that is there then.
    async fn save(&mut self) -> Result<Pin, Arc<Error>> {
        // What an unclear attempt left behind is settled before anything else is written.
        self.send().await?;
        let pin = self.memory.pin();
        if self.progress.durable == Some(pin.commits()) {
            return Ok(pin);
        }
        drop(pin);
        self.take_slot(self.line.differs).await
    }

    /// The same with a delta of its own, even if nothing was committed. What is on its way has arrived.
    async fn take_slot(&mut self, repeats_first_page: bool) -> Result<Pin, Arc<Error>> {
        let next = match self.next_delta(repeats_first_page).await {
            Ok(next) => next,
            Err(error) => return Err(self.note_failure(error)),
        };
        let pin = next.delta.draft.pin.clone();
        self.line.pinned = None;
        self.line.on_its_way = Some(next);
        self.send().await?;
        Ok(pin)
    }

    /// What was committed since the last delta, as the next one.
    async fn next_delta(&mut self, repeats_first_page: bool) -> Result<OnItsWay, Error> {
        // Names were given for one that is there.
        let pinned = if let Some(pinned) = self.line.pinned.take() {
            pinned
        } else {
            let at = (self.clock.now(), self.clock.wall());
            // Whoever asks for the name of a state sees either that it is not in this delta, or that it is.
            let mut ledger = self.ledger.lock();
            let (pin, changes) = self.memory.pin_with_changes(self.line.tip.commits);
            ledger.naming.delta(self.line.tip.next_txid(), pin.commits());
            Pinned { pin, changes, at }
        };
        self.line.pinned = Some(pinned.clone());
        let Pinned { pin, changes, at } = pinned;
        let changes = changes.map(|changes| if repeats_first_page { with_first_page(changes) } else { changes });
        self.made(pin, changes, SlotMark::None, at).await
    }

    /// The delta that leads to a version, ready to be sent.
    async fn made(&self, pin: Pin, changes: Option<Changes>, mark: SlotMark, pinned_at: (Instant, WallTime)) -> Result<OnItsWay, Error> {
        let by = By { epoch: self.line.tenure.epoch(), time: millis(self.clock.wall()) };
        let tip = Arc::clone(&self.line.tip);
        let is_quick = tip.most_bytes(&pin, changes.as_ref()) <= QUICK;
        let work = move || {
            let delta = tip.delta(&pin, changes, by);
            let file = delta.draft.clone().encoded()?;
            Ok::<_, std::io::Error>((delta, file))
        };
        let fault = |detail: String| Error::Internal { database: self.name.clone(), detail };
        let made = if is_quick { work() } else { tokio::task::spawn_blocking(work).await.map_err(|panic| fault(panic.to_string()))? };
        let (delta, file) = made.map_err(|error| fault(error.to_string()))?;
        let upload = Upload { level: chain::Level::Delta, file, put_id: self.put_ids.fresh(), mark };
        Ok(OnItsWay { delta, upload, pinned_at, made_since: Some(pinned_at.0) })
    }

    /// Sends the delta that is on its way, if there is one.
    async fn send(&mut self) -> Result<(), Arc<Error>> {
        let Some(OnItsWay { made_since, .. }) = &mut self.line.on_its_way else { return Ok(()) };
        let (begun, flush) = (made_since.take().unwrap_or_else(|| self.clock.now()), self.flush_of(FlushKind::Delta));
        self.hooks.flush_started(&flush);
        let Some(OnItsWay { upload, .. }) = &self.line.on_its_way else { return Ok(()) };
        #[cfg(test)]
        if self.bucket().flaw() == Flaw::ConfirmedBeforePut {
            self.ledger.lock().txid = upload.file.draft.header.txids.max().get();
        }
        let (txid, bytes) = (upload.file.draft.header.txids.max().get(), upload.file.len);
        let landing = self.line.chain.put(upload).instrument(self.span_of(FlushKind::Delta, txid, bytes)).await;
        let result = match landing {
            Landing::Stored => {
                self.arrived();
                Ok(())
            }
            Landing::Taken(theirs) => Err(self.slot_taken(&theirs).await),
            Landing::NotWritten(source) | Landing::Unclear(source) => Err(self.failed("writing a delta", source)),
        };
        let took = self.clock.now().saturating_duration_since(begun);
        let end = result
            .as_ref()
            .map_or_else(|error| FlushEnd::Failed { error: Arc::clone(error), took }, |()| FlushEnd::Completed { txid, bytes, took });
        self.hooks.flush_ended(&flush, &end);
        (self.notify)();
        result
    }

    /// The delta stands in its slot.
    fn arrived(&mut self) {
        let Some(OnItsWay { delta, upload, pinned_at: (begun, time), .. }) = self.line.on_its_way.take() else { return };
        self.line.arrived(&delta, upload.file.len, self.clock.now());
        if self.settings.borrow().confirms() {
            self.show_readers(&delta.draft.pin);
        }
        self.memory.forget_changes(self.line.tip.commits);
        self.progress.succeeded(self.line.tip.commits, *self.memory.commits().borrow(), begun);
        {
            let mut ledger = self.ledger.lock();
            ledger.durable = self.progress.durable;
            ledger.durable_time = Some(time);
            ledger.txid = self.line.tip.txid.get();
            if !self.line.copy.is_failing() {
                ledger.uploads = Uploads::Fine;
            }
        }
        // Last: whoever is told reads the rest at once.
        self.durable.reach(self.line.tip.commits);
    }

    /// Somebody else has our slot: whoever that is, what we have in memory is not the branch any more.
    async fn slot_taken(&mut self, theirs: &bucket::ObjectMeta) -> Arc<Error> {
        match self.line.tenure.check().await {
            Err(Failure::Ended(ended)) => self.ended(ended),
            Ok(()) | Err(Failure::Head(_)) => self.ended(Ended { epoch: epoch_of(theirs), by: None }),
        }
    }

    /// Why the head record was not read or changed.
    fn error_of(&self, failure: Failure) -> Arc<Error> {
        match failure {
            Failure::Ended(ended) => self.ended(ended),
            Failure::Head(error) => Arc::new(error),
        }
    }

    /// The error that ends everything.
    fn ended(&self, Ended { epoch, by }: Ended) -> Arc<Error> {
        let newest = *self.memory.commits().borrow();
        let lost = newest.0.saturating_sub(self.progress.durable.map_or(0, |durable| durable.0));
        Arc::new(Error::Fenced {
            database: self.name.clone(),
            branch: self.line.tenure.branch().clone(),
            ours: self.line.tenure.epoch(),
            theirs: epoch,
            by: by.map(Box::new),
            lost,
        })
    }

    fn failed(&mut self, doing: &'static str, source: bucket::Error) -> Arc<Error> {
        self.note_failure(Error::Bucket { database: self.name.clone(), doing, source })
    }

    fn note_failure(&mut self, error: Error) -> Arc<Error> {
        self.progress.failed(self.clock.now());
        self.tell_failure(error)
    }

    fn tell_failure(&self, error: Error) -> Arc<Error> {
        let error = Arc::new(error);
        let mut ledger = self.ledger.lock();
        let (since, attempts) = match &ledger.uploads {
            Uploads::Failing { since, attempts, .. } => (*since, attempts.saturating_add(1)),
            Uploads::Fine => (self.clock.wall(), 1),
        };
        ledger.uploads = Uploads::Failing { error: Arc::clone(&error), since, attempts };
        error
    }

    fn bucket(&self) -> Arc<dyn Bucket> {
        Arc::clone(&self.settings.borrow().bucket)
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.durable.end();
    }
}

impl Line {
    /// A delta of so many bytes stands in its slot.
    fn arrived(&mut self, delta: &Delta, bytes: u64, now: Instant) {
        Arc::make_mut(&mut self.tip).follow(delta);
        self.differs = false;
        self.copy.went_on(delta, bytes, now);
        self.upkeep.went_on(delta, bytes, now);
    }

    fn expected(&self) -> Expected {
        let record = self.tenure.record();
        Expected {
            branch: self.tenure.branch().clone(),
            first: record.first().unwrap_or(Txid::FIRST),
            txid: self.tip.txid,
            checksum: self.tip.checksum(),
        }
    }

    /// The newest durable state, which is this version.
    fn source(&self, pin: Pin) -> Source {
        let Tip { txid, time, same_since, .. } = *self.tip;
        let (branch, checksum) = (self.tenure.branch().clone(), Some(self.tip.checksum()));
        Source { branch, txid: txid.get(), time: wall(time), same_since: same_since.get(), pin, checksum, base: self.copy.base() }
    }

    async fn release(&mut self) {
        self.tenure.release(self.tip.txid.get()).await;
    }
}

/// What was found at a time, if anything was.
fn damaged(files: Vec<Damage>, time: WallTime) -> Option<Damaged> {
    (!files.is_empty()).then_some(Damaged { files, time, renewed: None })
}

fn with_first_page(mut changes: Changes) -> Changes {
    if changes.pages.first() != Some(&ltx::PageNo::FIRST) {
        changes.pages.insert(0, ltx::PageNo::FIRST);
    }
    changes
}

/// A timer counts whole milliseconds and may be late by one, so what is due now waits for none.
fn wait(next: Next, now: Instant) -> Option<impl Future<Output = ()>> {
    let Next::At(moment) = next else { return None };
    let timer = (moment > now).then(|| tokio::time::sleep_until(moment));
    Some(async move {
        if let Some(timer) = timer {
            timer.await;
        }
    })
}

/// Whether a failure means that the database must not be served any more.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::Fenced { .. })
}

/// A delta of so many bytes is made where it is asked for: that takes less time than waiting for another thread, and commits wait for it.
const QUICK: u64 = 64 << 10;

/// Between two looks at what nobody can tell yet.
const PAUSE: Duration = Duration::from_millis(500);
