//! The databases that this process has open.
//!
//! Owns: which database is opening, open, failed or closing, and that no two serve the same place in a bucket.
//! Does not own: who asked for it (Kubernetes, a folder), nor how requests arrive; how a bucket is reached (`host/reach.rs`), how a database
//! is closed (`host/ending.rs`), suspended (`host/suspension.rs`), read as it was (`host/past.rs`), given away (`host/handover.rs`), deleted
//! (`host/removal.rs`) and only looked at (`host/shown.rs`), what is done with branches (`host/branches.rs`), whether there is room for it
//! (`host/room.rs`), nor gc of its files (`host/gc.rs`).

mod branches;
mod differences;
mod ending;
mod gc;
mod handover;
mod past;
mod reach;
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

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::bucket::unconditional::{Turns, Unconditional};
use crate::bucket::{Bucket, BucketSource};
use crate::clock::{Clock, SystemClock, WallTime};
use crate::config::{Access, DatabaseConfig, Location};
use crate::database::Database;
use crate::error::{Error, NotServed};
use crate::facts::{Facts, SnapshotFacts, State};
use crate::files::{FileSettings, Spool};
use crate::flusher::{Flusher, Settings, Surroundings};
use crate::head::Epoch;
use crate::hooks::HookSet;
use crate::liveness::Liveness;
use crate::memory::SqlPool;
use crate::names::{BranchName, DatabaseName};
use crate::opening::Opened;
use crate::pasts::Pasts;
use crate::restores::Restores;
use crate::seed;
use crate::snapshot::PutIds;
use crate::tasks::{Pace, Patient};
use ending::Closed;
use reach::Probed;

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
            let opened = caught(&config.name, "opening", host.restore(&config, remembered.size)).await;
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

    /// Whether it is this very opening that is served, or closed.
    fn is_serving(&self, serving: &Serving) -> bool {
        matches!(&self.status, Status::Open(open) | Status::Closing(open, _) if open.is(serving))
    }
}

impl Serving {
    /// Whether both are the same opening of a database.
    fn is(&self, other: &Self) -> bool {
        self.settings.same_channel(&other.settings)
    }
}

/// A panic is a fault of ours, and whoever waits for the work hears of it as of any failure.
async fn caught<T, E: From<Error>>(database: &DatabaseName, doing: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let fault = |_| Err(Error::Internal { database: database.clone(), detail: format!("a panic while {doing}") }.into());
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(fault)
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
