//! The databases that this process has open.
//!
//! Owns: which database is opening, open, failed or closing, and that no two serve the same place in a bucket.
//! Does not own: who asked for it (Kubernetes, a folder), nor how requests arrive; what is done with branches (`host/branches.rs`), how a
//! database is suspended (`host/suspension.rs`), read as it was (`host/past.rs`), given away (`host/handover.rs`), deleted (`host/removal.rs`) and only looked at (`host/shown.rs`), whether there is room for it (`host/room.rs`), nor gc of its files (`host/gc.rs`).

mod branches;
mod differences;
mod gc;
mod handover;
mod past;
mod removal;
mod room;
mod shown;
mod suspension;
mod verify;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt as _, Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::bucket::s3::StoreConfig;
use crate::bucket::unconditional::{Turns, Unconditional};
use crate::bucket::{self, Bucket, BucketSource};
use crate::clock::{Clock, SystemClock, WallTime};
use crate::config::{Access, DatabaseConfig, Location};
use crate::database::Database;
use crate::error::{Error, NotServed};
use crate::facts::{Facts, SnapshotFacts, State};
use crate::files::{FileSettings, FileStore, Spool};
use crate::flusher::{Flusher, Settings, Surroundings};
use crate::head::{Epoch, Holder};
use crate::heads::Heads;
use crate::hooks::HookSet;
use crate::liveness::Liveness;
use crate::memory::{MemoryOptions, SqlPool};
use crate::names::{BranchName, BucketName, DatabaseName};
use crate::opening::{Opened, Opener};
use crate::pasts::Pasts;
use crate::probe::{self, Verdict};
use crate::restores::Restores;
use crate::seed;
use crate::snapshot::PutIds;
use crate::tasks::{Pace, Patient};

/// How a host works.
#[derive(Debug)]
pub struct HostOptions {
    /// How many databases are restored at once.
    pub parallel_restores: usize,
    /// How stores are reached, and which are refused.
    pub stores: Arc<dyn BucketSource>,
    /// Where SQLite runs, for all databases together.
    pub sql_pool: SqlPool,
    /// Where the contents of files wait for their upload, for all databases together.
    pub spool: Spool,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The name of this process: the pod's.
    pub pod: String,
    /// How long a predecessor in another pod is waited for that has not released a branch, and of which nobody knows whether it still runs: as
    /// long as it may take to save.
    pub release_wait: Duration,
    /// The most that a database may have, in bytes, to be proved restorable beside what is served.
    pub verify_memory: u64,
    /// The most that past states may take together that are being read, in bytes.
    pub past_memory: u64,
    /// Who is told of its uploads.
    pub hooks: HookSet,
    /// What all databases may take together, each counted with its largest size; without it nothing is counted.
    pub memory: Option<u64>,
    /// What is known of the other processes that serve the same resources; without it nothing is.
    pub liveness: Option<Arc<dyn Liveness>>,
}

impl HostOptions {
    /// Those of a process that is the only one, and asks for nothing special.
    pub fn new(pod: String, stores: Arc<dyn BucketSource>, sql_pool: SqlPool, spool: Spool) -> Self {
        Self {
            parallel_restores: 4,
            stores,
            sql_pool,
            spool,
            clock: Arc::new(SystemClock),
            pod,
            release_wait: Duration::ZERO,
            verify_memory: 1 << 30,
            past_memory: 1 << 30,
            hooks: HookSet::default(),
            memory: None,
            liveness: None,
        }
    }
}

/// A clock that a test moves waits only for threads of its own runtime.
fn patient() -> Pace {
    if cfg!(test) { Pace::Usual } else { Patient::new().map_or(Pace::Usual, Pace::Patient) }
}

/// What is remembered of a database from before this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Remembered {
    /// The last epoch that its resource held.
    pub epoch: Option<Epoch>,
    /// When it was proved last that it can be restored.
    pub verified: Option<WallTime>,
    /// What it had, in bytes.
    pub size: u64,
}

/// An open database, and who may ask it.
#[derive(Clone)]
pub struct Handle {
    /// To ask.
    pub database: Database,
    /// Who may.
    pub access: Arc<Access>,
}

/// The databases that this process has open.
pub struct Host {
    options: HostOptions,
    put_ids: Arc<PutIds>,
    restores: Restores,
    slots: Mutex<HashMap<DatabaseName, Slot>>,
    changes: broadcast::Sender<DatabaseName>,
    tasks: TaskTracker,
    /// Tells one opening of a name from the next.
    openings: AtomicU64,
    /// The last epoch that each resource held here.
    held: Mutex<HashMap<DatabaseName, Epoch>>,
    /// By which epochs other Pods of a resource ended tenures of this process over its branches.
    ousted: Mutex<HashMap<DatabaseName, BTreeMap<BranchName, Epoch>>>,
    probes: Mutex<Vec<Probed>>,
    /// Proofs at once, and where they compute: requests go first.
    proofs: Semaphore,
    pasts: Arc<Pasts>,
    patient: Pace,
    turns: Arc<Turns>,
}

/// What a store was found to do with conditions.
struct Probed {
    store: StoreConfig,
    bucket: BucketName,
    verdict: Verdict,
}

/// What the host has under a name. A slot that is opening, open or closing holds its place against others.
struct Slot {
    place: Held,
    /// The place that it is about to switch to.
    next: Option<Held>,
    /// Somebody switched to another branch than the configuration names.
    by_hand: bool,
    /// Once it is closed it stays here as suspended.
    rests: bool,
    config: Arc<DatabaseConfig>,
    access: Arc<Access>,
    status: Status,
}

/// What no two slots may share.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    endpoint: Option<url::Url>,
    location: Location,
}

enum Status {
    /// Its configuration is known, and nobody wants it open. Holds no place against others.
    Declared,
    Opening {
        number: u64,
    },
    Open(Box<Serving>),
    Failed {
        error: Arc<Error>,
        attempts: u32,
        at: WallTime,
    },
    Closing(Box<Serving>, Closed),
    /// Holds no place against others.
    Suspended {
        released: bool,
        last_snapshot: Option<SnapshotFacts>,
    },
}

/// What a close ends in. Whoever asks for a close that is under way awaits the same one.
type Closed = Shared<BoxFuture<'static, Result<Option<SnapshotFacts>, Arc<Error>>>>;

/// An open database with the end that steers its flusher.
#[derive(Clone)]
struct Serving {
    database: Database,
    settings: watch::Sender<Settings>,
}

/// How many changes may wait for a slow receiver; one that lags is told so and looks at everything.
const CHANGES_KEPT: usize = 4096;
/// Requests to one flusher that may wait; further ones wait to be taken.
const COMMANDS_KEPT: usize = 16;
/// Final flushes at once.
const PARALLEL_FLUSHES: usize = 8;
/// Between two rounds of final flushes.
const PAUSE: Duration = Duration::from_secs(1);

impl Host {
    /// A host with nothing open.
    pub fn new(options: HostOptions) -> Arc<Self> {
        Arc::new(Self {
            put_ids: Arc::new(PutIds::new()),
            restores: Restores::new(options.parallel_restores),
            slots: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            tasks: TaskTracker::new(),
            openings: AtomicU64::new(0),
            held: Mutex::default(),
            ousted: Mutex::default(),
            probes: Mutex::default(),
            proofs: Semaphore::new(1),
            pasts: Pasts::new(options.past_memory, Arc::clone(&options.clock)),
            patient: patient(),
            turns: Arc::default(),
            options,
        })
    }

    /// Begins to open a database that is absent or failed. One that is opening, open or closing stays as it is. `remembered` is what its
    /// resource's status tells.
    pub fn open(self: &Arc<Self>, config: DatabaseConfig, remembered: Remembered) {
        let held = Held { endpoint: config.store.endpoint.clone(), location: config.location.clone() };
        let number = self.openings.fetch_add(1, Ordering::Relaxed);
        let name = config.name.clone();
        if let Some(epoch) = remembered.epoch {
            self.remember(&name, epoch);
        }
        let attempts = {
            let mut slots = self.slots.lock();
            let attempts = match slots.get(&name).map(|slot| &slot.status) {
                None | Some(Status::Declared | Status::Suspended { .. }) => 0,
                Some(Status::Failed { attempts, .. }) => *attempts,
                Some(Status::Opening { .. } | Status::Open(_) | Status::Closing(..)) => return,
            };
            let refused = match holder(&slots, &held, &name) {
                Some(by) => Err(Error::HeldElsewhere { database: name.clone(), by }),
                None => room::look(&slots, &config, self.options.memory),
            };
            if let Err(error) = refused {
                let error = Arc::new(error);
                let status = Status::Failed { error, attempts: attempts.saturating_add(1), at: self.options.clock.wall() };
                slots.insert(name.clone(), Slot::of(config, status));
                drop(slots);
                self.changed(&name);
                return;
            }
            slots.insert(name.clone(), Slot::of(config.clone(), Status::Opening { number }));
            attempts
        };
        let host = Arc::clone(self);
        self.tasks.spawn(async move {
            let opened = match AssertUnwindSafe(host.restore(&config, remembered.size)).catch_unwind().await {
                Ok(opened) => opened,
                Err(_) => Err(Error::Internal { database: config.name.clone(), detail: "a panic while opening".to_owned() }),
            };
            if let Ok(serving) = &opened {
                host.keep_proving(serving, remembered.verified);
            }
            host.opened(&config.name, number, attempts, opened);
        });
    }

    async fn restore(self: &Arc<Self>, config: &DatabaseConfig, size: u64) -> Result<Serving, Error> {
        let opener = self.opener(config).await?;
        // Before its turn: others need not wait for whoever still saves this one.
        self.await_left(config, &config.location.branch).await;
        opener.await_release(config).await?;
        let _turn = self.restores.turn(size).await;
        let ready = opener.open(config).await?;
        seed::create_tables(&ready.state.memory).await?;
        self.remember(&config.name, ready.tenure.epoch());
        let serving = self.serve(config, opener.bucket, ready);
        serving.database.files().announce().await;
        Ok(serving)
    }

    fn bucket(&self, config: &DatabaseConfig) -> Result<Arc<dyn Bucket>, Error> {
        let bucket = self.options.stores.bucket(&config.store, &config.location.bucket);
        bucket.map_err(|source| Error::Bucket { database: config.name.clone(), doing: "preparing to reach the store", source })
    }

    /// The bucket by which a database is written: its store keeps two writers apart, or the configuration says that there is one.
    async fn guarded(&self, config: &DatabaseConfig) -> Result<Arc<dyn Bucket>, Error> {
        let bucket = self.bucket(config)?;
        match self.probe(config, &bucket).await? {
            Verdict::Honoured => Ok(bucket),
            Verdict::NotHonoured(detail) if config.single_writer => Ok(Unconditional::over(bucket, &self.turns, detail)),
            Verdict::NotHonoured(detail) => Err(Error::ConditionsIgnored { database: config.name.clone(), detail }),
        }
    }

    /// The same for who does not open the database. Conditions are sent unasked, unless the store may do without them.
    async fn bucket_beside(&self, config: &DatabaseConfig) -> Result<Arc<dyn Bucket>, Error> {
        if config.single_writer { self.guarded(config).await } else { self.bucket(config) }
    }

    /// What it takes to open branches of a database, once its store is known to keep two writers apart.
    async fn opener(&self, config: &DatabaseConfig) -> Result<Opener, Error> {
        Ok(Opener {
            bucket: self.guarded(config).await?,
            put_ids: Arc::clone(&self.put_ids),
            clock: Arc::clone(&self.options.clock),
            options: self.memory_options(config),
            me: self.holder(config),
            held: self.held.lock().get(&config.name).copied(),
            ousted: self.ousted.lock().get(&config.name).cloned().unwrap_or_default(),
            liveness: self.options.liveness.clone(),
            release_wait: self.options.release_wait,
        })
    }

    fn memory_options(&self, config: &DatabaseConfig) -> MemoryOptions {
        MemoryOptions {
            max_size: config.limits.max_size,
            clock: Arc::clone(&self.options.clock),
            ..MemoryOptions::new(self.options.sql_pool.clone())
        }
    }

    fn file_store(&self, config: &DatabaseConfig, bucket: &Arc<dyn Bucket>) -> Arc<FileStore> {
        let files = FileStore::new(
            config.location.key.clone(),
            FileSettings::of(config, Arc::clone(bucket)),
            self.options.spool.clone(),
            Arc::clone(&self.put_ids),
            Arc::clone(&self.options.clock),
        );
        Arc::new(files)
    }

    /// As what this process would hold a branch for a resource.
    fn holder(&self, config: &DatabaseConfig) -> Holder {
        Holder { cluster: config.cluster.clone(), resource: config.name.to_string(), pod: self.options.pod.clone() }
    }

    /// The head records of a database, for who does not open it.
    async fn heads(&self, config: &DatabaseConfig) -> Result<Heads, Error> {
        let (database, key, put_ids) = (config.name.clone(), config.location.key.clone(), Arc::clone(&self.put_ids));
        Ok(Heads { database, bucket: self.bucket_beside(config).await?, key, put_ids })
    }

    /// Asks the store once. One that was found not to honour conditions is asked again where they are needed: somebody may have mended it.
    async fn probe(&self, config: &DatabaseConfig, bucket: &Arc<dyn Bucket>) -> Result<Verdict, Error> {
        let is_this = |known: &&Probed| (&known.store, &known.bucket) == (&config.store, &config.location.bucket);
        let known = self.probes.lock().iter().find(is_this).map(|known| known.verdict.clone());
        if let Some(verdict) = known.filter(|verdict| config.single_writer || *verdict == Verdict::Honoured) {
            return Ok(verdict);
        }
        let id = self.put_ids.fresh().to_string();
        let verdict = probe::probe(bucket, &config.location.key, &id).await.map_err(|source| {
            let database = config.name.clone();
            Error::Bucket { database, doing: "asking the store whether it honours conditions", source }
        })?;
        let (store, bucket) = (config.store.clone(), config.location.bucket.clone());
        let mut probes = self.probes.lock();
        probes.retain(|known| !is_this(&known));
        probes.push(Probed { store, bucket, verdict: verdict.clone() });
        Ok(verdict)
    }

    fn remember(&self, name: &DatabaseName, epoch: Epoch) {
        let mut held = self.held.lock();
        let known = held.entry(name.clone()).or_default();
        *known = (*known).max(epoch);
    }

    /// Starts the flusher.
    fn serve(self: &Arc<Self>, config: &DatabaseConfig, bucket: Arc<dyn Bucket>, opened: Opened) -> Serving {
        let files = self.file_store(config, &bucket);
        let (settings, settings_seen) = watch::channel(Settings::of(config, bucket));
        let (commands, commands_seen) = mpsc::channel(COMMANDS_KEPT);
        let (changes, name) = (self.changes.clone(), config.name.clone());
        // Without a receiver nobody needs to know.
        let notify = Box::new(move || drop(changes.send(name.clone())));
        // Of the settings it only listens: the flusher ends when nobody can set them any more.
        let (host, name, this) = (Arc::downgrade(self), config.name.clone(), settings_seen.clone());
        let lost = Box::new(move |error| {
            if let Some(host) = host.upgrade() {
                host.lose(&name, &this, error);
            }
        });
        let origin = opened.state.origin.clone();
        let flusher = self.flusher(config, settings_seen, opened, notify, lost);
        let (memory, ledger, durable) = (flusher.memory.clone(), Arc::clone(&flusher.ledger), Arc::clone(&flusher.durable));
        self.tasks.spawn(flusher.run(commands_seen));
        Serving {
            database: Database::new(config.name.clone(), memory, origin, (ledger, durable), files, commands, config.limits),
            settings,
        }
    }

    fn flusher(
        &self,
        config: &DatabaseConfig,
        settings: watch::Receiver<Settings>,
        opened: Opened,
        notify: Box<dyn Fn() + Send + Sync>,
        lost: Box<dyn Fn(Arc<Error>) + Send + Sync>,
    ) -> Flusher {
        Flusher::new(
            Surroundings {
                name: config.name.clone(),
                settings,
                put_ids: Arc::clone(&self.put_ids),
                clock: Arc::clone(&self.options.clock),
                notify,
                lost,
                hooks: self.options.hooks.clone(),
            },
            opened,
        )
    }

    /// A database must not be served any more: its memory is dropped with the last request that still looks at it.
    fn lose(self: &Arc<Self>, name: &DatabaseName, settings: &watch::Receiver<Settings>, error: Arc<Error>) {
        let database = {
            let mut slots = self.slots.lock();
            let Some(slot) = slots.get_mut(name) else { return };
            if let Error::Fenced { branch, theirs, by: Some(by), .. } = &*error {
                let me = self.holder(&slot.config);
                if (&by.cluster, &by.resource) == (&me.cluster, &me.resource) && by.pod != me.pod {
                    self.ousted.lock().entry(name.clone()).or_default().insert(branch.clone(), *theirs);
                }
            }
            let (Status::Open(serving) | Status::Closing(serving, _)) = &slot.status else { return };
            // It may have been abandoned, and even opened anew, in the meantime.
            if !serving.settings.subscribe().same_channel(settings) {
                return;
            }
            let database = serving.database.clone();
            slot.status = Status::Failed { error: Arc::clone(&error), attempts: 1, at: self.options.clock.wall() };
            database
        };
        self.tasks.spawn(database.lose(error));
        self.changed(name);
    }

    fn opened(&self, name: &DatabaseName, number: u64, attempts: u32, opened: Result<Serving, Error>) {
        {
            let mut slots = self.slots.lock();
            // It may have been abandoned, and even opened anew, in the meantime.
            let Some(slot) = slots.get_mut(name).filter(|slot| matches!(slot.status, Status::Opening { number: n } if n == number)) else {
                return;
            };
            slot.status = match opened {
                Ok(serving) => Status::Open(Box::new(serving)),
                Err(error) => {
                    Status::Failed { error: Arc::new(error), attempts: attempts.saturating_add(1), at: self.options.clock.wall() }
                }
            };
        }
        self.changed(name);
    }

    /// Takes over access, and of an open database also intervals, limits and credentials. Its location stays.
    pub fn reconfigure(&self, config: DatabaseConfig) {
        let config = Arc::new(config);
        let bucket = self.bucket(&config);
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(&config.name) else { return };
        if *slot.access != config.access {
            slot.access = Arc::new(config.access.clone());
        }
        // Another branch in the configuration is a newer wish than a switch by hand.
        slot.by_hand &= slot.config.location.branch == config.location.branch;
        slot.config = Arc::clone(&config);
        let Status::Open(serving) = &slot.status else { return };
        serving.database.set_limits(config.limits);
        let database = serving.database.clone();
        let bucket = bucket.map(|bucket| match serving.settings.borrow().bucket.unconditional() {
            // The same store by other credentials.
            Some(why) => Unconditional::over(bucket, &self.turns, why),
            None => bucket,
        });
        let files = bucket.as_ref().ok().map(|bucket| FileSettings::of(&config, Arc::clone(bucket)));
        if files.is_some_and(|files| database.file_store().set(files)) {
            // gc must know of a longer interval before the next put.
            self.tasks.spawn(async move { database.files().announce().await });
        }
        match bucket {
            Ok(bucket) => drop(serving.settings.send_replace(Settings::of(&config, bucket))),
            Err(error) => {
                tracing::warn!(database = %config.name, error = &error as &dyn std::error::Error, "the store's settings were not taken over");
                serving.settings.send_modify(|settings| settings.policy = config.snapshots);
            }
        }
    }

    /// Flushes and drops a database. If the flush fails it stays open, and the caller may try again.
    /// What was flushed last is returned; `None` if nothing of this database was ever in the bucket. What has begun goes on when the
    /// future is dropped.
    pub async fn close(self: &Arc<Self>, name: &DatabaseName) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        if let Some(slot) = self.slots.lock().get_mut(name) {
            slot.rests = false;
        }
        if let Some(closed) = self.begin_to_close(name) {
            return closed.await;
        }
        // What was opening, or had failed, has made room.
        self.changed(name);
        Ok(None)
    }

    async fn finish(&self, name: &DatabaseName, serving: Serving) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        let result = serving.database.finish().await;
        {
            let mut slots = self.slots.lock();
            // It may have been abandoned, and even opened anew, in the meantime.
            let is_this = |slot: &&mut Slot| matches!(&slot.status, Status::Closing(closing, _) if closing.is(&serving));
            if let Some(slot) = slots.get_mut(name).filter(is_this) {
                match &result {
                    Ok(last) if slot.rests => slot.status = Status::Suspended { released: false, last_snapshot: last.clone() },
                    Ok(_) => drop(slots.remove(name)),
                    Err(_) => {
                        slot.rests = false;
                        slot.status = Status::Open(Box::new(serving));
                    }
                }
            }
        }
        self.changed(name);
        result
    }

    fn begin_to_close(self: &Arc<Self>, name: &DatabaseName) -> Option<Closed> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(name)?;
        match &slot.status {
            Status::Open(serving) => {
                let (host, name, serving) = (Arc::clone(self), name.clone(), Serving::clone(serving));
                let closing = Box::new(serving.clone());
                // A task of the host's own: a database must not stay half closed because whoever asked for it went away.
                let task = self.tasks.spawn(async move {
                    let fault = Error::Internal { database: name.clone(), detail: "a panic while closing".to_owned() };
                    AssertUnwindSafe(host.finish(&name, serving)).catch_unwind().await.unwrap_or_else(|_| Err(Arc::new(fault)))
                });
                let closed = task.map(|ended| ended.expect("the task catches panics, and nobody aborts it")).boxed().shared();
                slot.status = Status::Closing(closing, closed.clone());
                Some(closed)
            }
            Status::Closing(_, closed) => Some(closed.clone()),
            // Nothing was served from it, so there is nothing to flush; an opening under way finds its slot gone.
            Status::Declared | Status::Opening { .. } | Status::Failed { .. } | Status::Suspended { .. } => {
                slots.remove(name);
                None
            }
        }
    }

    /// Drops a database without a flush. Returns whether commits were lost by it.
    pub fn abandon(&self, name: &DatabaseName) -> bool {
        let dropped = self.slots.lock().remove(name);
        self.changed(name);
        match dropped.map(|slot| slot.status) {
            Some(Status::Open(serving) | Status::Closing(serving, _)) => {
                let pending = serving.database.facts().pending;
                // Somebody may hold on to it, whose statements must not seem to be kept.
                let gone = Arc::new(Error::NotServed { database: name.clone(), why: NotServed::Unknown });
                self.tasks.spawn(serving.database.lose(gone));
                pending
            }
            Some(Status::Declared | Status::Opening { .. } | Status::Failed { .. } | Status::Suspended { .. }) | None => false,
        }
    }

    /// Forgets a failed or a suspended one.
    pub fn forget(&self, name: &DatabaseName) {
        let mut slots = self.slots.lock();
        if slots.get(name).is_some_and(|slot| matches!(slot.status, Status::Failed { .. } | Status::Suspended { .. })) {
            slots.remove(name);
        }
    }

    /// What is known of a database.
    pub fn state(&self, name: &DatabaseName) -> State {
        let slots = self.slots.lock();
        let slot = slots.get(name);
        match slot.map(|slot| &slot.status) {
            None | Some(Status::Declared) => State::Absent,
            Some(Status::Opening { .. }) => State::Opening,
            Some(Status::Open(serving)) => {
                let (unconditional, interval, verify_interval) = {
                    let settings = serving.settings.borrow();
                    (settings.bucket.unconditional(), settings.interval(), settings.durability.verify_interval)
                };
                let by_hand = slot.is_some_and(|slot| slot.by_hand);
                State::Open(Facts { by_hand, unconditional, interval, verify_interval, ..serving.database.facts() })
            }
            Some(Status::Failed { error, attempts, at }) => State::Failed { error: Arc::clone(error), attempts: *attempts, at: *at },
            Some(Status::Closing(..)) => State::Closing,
            Some(Status::Suspended { released, last_snapshot }) => {
                State::Suspended { released: *released, last_snapshot: last_snapshot.clone() }
            }
        }
    }

    /// Every name that is not absent, in order.
    pub fn names(&self) -> Vec<DatabaseName> {
        let mut names: Vec<_> = self.slots.lock().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Who may ask it, whatever its state; `None` if it is absent. So callers are turned away before they learn of that state.
    pub fn access(&self, name: &DatabaseName) -> Option<Arc<Access>> {
        self.slots.lock().get(name).map(|slot| Arc::clone(&slot.access))
    }

    /// To ask it; an error says why it answers nothing now.
    pub fn get(&self, name: &DatabaseName) -> Result<Handle, Error> {
        let slots = self.slots.lock();
        let Some(slot) = slots.get(name) else { return Err(Error::NotServed { database: name.clone(), why: NotServed::Unknown }) };
        let why = match &slot.status {
            Status::Open(serving) => return Ok(Handle { database: serving.database.clone(), access: Arc::clone(&slot.access) }),
            Status::Declared => NotServed::Unknown,
            Status::Opening { .. } => NotServed::Opening,
            Status::Failed { .. } => NotServed::Failed,
            Status::Closing(..) => NotServed::Closing,
            Status::Suspended { .. } => NotServed::Suspended,
        };
        Err(Error::NotServed { database: name.clone(), why })
    }

    /// Whether the API may change branches of this database.
    pub fn leaves_branches_to_api(&self, name: &DatabaseName) -> bool {
        self.slots.lock().get(name).is_some_and(|slot| slot.config.branches_by_api)
    }

    /// Whether a database of this name is reached by an address of its own, whatever its state.
    pub fn has_own_service(&self, name: &DatabaseName) -> bool {
        self.slots.lock().get(name).is_some_and(|slot| slot.config.own_service)
    }

    /// Names whose state is worth another look. A receiver that lags looks at all.
    pub fn changes(&self) -> broadcast::Receiver<DatabaseName> {
        self.changes.subscribe()
    }

    /// How many past states are kept to be read, and what all take that are read, in bytes.
    pub fn pasts(&self) -> (usize, u64) {
        self.pasts.usage()
    }

    /// Has whoever follows [`Self::changes`] look at a database.
    pub fn look_again(&self, name: &DatabaseName) {
        self.changed(name);
    }

    /// The last flush of all, those with the oldest unsaved commit first, within `limit`. What a store did not take is tried again while
    /// there is time, after everything else. Tells what could not be saved.
    pub async fn shutdown(self: &Arc<Self>, limit: Duration) -> Vec<(DatabaseName, Result<(), Arc<Error>>)> {
        let deadline = self.options.clock.now() + limit;
        let mut results = Vec::new();
        let mut names = self.by_age_of_unsaved();
        // What is small and must not be lost comes first, of all of them. What a store does not take is tried again by the close.
        let mut saves = self.saves(&names);
        while let Ok(Some((name, saved))) = tokio::time::timeout_at(deadline, saves.next()).await {
            if saved.is_err() && !may_succeed_later(&saved) {
                names.retain(|other| *other != name);
                results.push((name, saved));
            }
        }
        loop {
            let round = self.close_all(names, deadline).await;
            let is_last = self.options.clock.now() + PAUSE >= deadline;
            let (again, done): (Vec<_>, Vec<_>) = round.into_iter().partition(|(_, result)| !is_last && may_succeed_later(result));
            results.extend(done);
            if again.is_empty() {
                break;
            }
            names = again.into_iter().map(|(name, _)| name).collect();
            tokio::time::sleep(PAUSE).await;
        }
        // What could not be saved is dropped now.
        self.slots.lock().clear();
        results
    }

    /// Saves what open databases have that is not in the bucket, as far as their stores take it. They stay open.
    pub async fn save_all(&self) {
        let mut saves = self.saves(&self.by_age_of_unsaved());
        while let Some((name, saved)) = saves.next().await {
            if let Err(error) = saved {
                tracing::warn!(database = %name, error = &*error as &dyn std::error::Error, "could not be saved");
            }
        }
    }

    /// Saves what these have that is not in the bucket, several at once. They stay open.
    fn saves(&self, names: &[DatabaseName]) -> impl Stream<Item = (DatabaseName, Result<(), Arc<Error>>)> + Send + use<> {
        let serving: Vec<_> = names.iter().filter_map(|name| Some((name.clone(), self.serving_of(name)?))).collect();
        let saves = serving.into_iter().map(|(name, serving)| async move { (name, serving.database.save().await) });
        futures::stream::iter(saves).buffer_unordered(PARALLEL_FLUSHES)
    }

    async fn close_all(self: &Arc<Self>, names: Vec<DatabaseName>, deadline: Instant) -> Vec<(DatabaseName, Result<(), Arc<Error>>)> {
        let closings = names.into_iter().map(|name| async move {
            let result = match tokio::time::timeout_at(deadline, self.close(&name)).await {
                Ok(result) => result.map(drop),
                Err(_) => Err(Arc::new(Error::OutOfTime { database: name.clone() })),
            };
            (name, result)
        });
        futures::stream::iter(closings).buffer_unordered(PARALLEL_FLUSHES).collect().await
    }

    fn by_age_of_unsaved(&self) -> Vec<DatabaseName> {
        let slots = self.slots.lock();
        let mut names: Vec<_> = slots
            .iter()
            .map(|(name, slot)| match &slot.status {
                Status::Open(serving) | Status::Closing(serving, _) => (serving.database.dirty_since(), name.clone()),
                Status::Declared | Status::Opening { .. } | Status::Failed { .. } | Status::Suspended { .. } => (None, name.clone()),
            })
            .collect();
        names.sort_by_key(|(since, name)| (since.is_none(), *since, name.clone()));
        names.into_iter().map(|(_, name)| name).collect()
    }

    fn changed(&self, name: &DatabaseName) {
        let made_room_for = self.make_room();
        for name in made_room_for.iter().chain([name]) {
            // Without a receiver nobody needs to know.
            self.changes.send(name.clone()).ok();
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("names", &self.names()).finish_non_exhaustive()
    }
}

impl Slot {
    /// Whether no other may have this place.
    fn holds(&self, place: &Held) -> bool {
        let holds = !self.is_only_known() && !matches!(self.status, Status::Failed { .. } | Status::Suspended { .. });
        holds && (self.place == *place || self.next.as_ref() == Some(place))
    }

    /// Whether somebody only looks at it.
    fn is_only_known(&self) -> bool {
        match &self.status {
            Status::Declared => true,
            Status::Open(serving) => serving.database.is_only_shown(),
            Status::Opening { .. } | Status::Failed { .. } | Status::Closing(..) | Status::Suspended { .. } => false,
        }
    }

    /// Whether it is open, and this very opening.
    fn is_serving(&self, serving: &Serving) -> bool {
        matches!(&self.status, Status::Open(open) if open.is(serving))
    }
}

impl Serving {
    /// Whether both are the same opening of a database.
    fn is(&self, other: &Self) -> bool {
        self.settings.same_channel(&other.settings)
    }
}

/// Whether a final flush failed for a reason that may pass by itself.
fn may_succeed_later(result: &Result<(), Arc<Error>>) -> bool {
    let Err(error) = result else { return false };
    matches!(**error, Error::Bucket { source: bucket::Error::Unavailable { .. } | bucket::Error::Unclear { .. }, .. })
}

/// Who serves this place already.
fn holder(slots: &HashMap<DatabaseName, Slot>, held: &Held, but: &DatabaseName) -> Option<DatabaseName> {
    slots.iter().find(|(name, slot)| *name != but && slot.holds(held)).map(|(name, _)| name.clone())
}

pub use branches::{NewBranch, OverwriteRequest};
pub use differences::{Compared, Side};
pub use room::MemoryRoom;

#[cfg(test)]
mod tests;
