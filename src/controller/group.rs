//! This process among the pods of its operator: which resources it carries out, and who answers for the others.
//!
//! Owns: what is known at a moment (`placement` decides by it), the doors of databases that are handed over, and that requests meanwhile wait. Does not own:
//! the Leases (`membership`), nor how a request is passed on (`api`).
//! Invariants: a database is handed over by a flush and a release, and its resource's status says so before another pod opens it; a request that
//! was let in is answered before its database is closed, within bounds.

mod doors;
mod moves;
mod route;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::{Clock, DatabaseName, Error, Host, NotServed};
use futures::Stream;
use futures::stream::{self, StreamExt as _};
use kube::Resource as _;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::WatchStream;

use crate::crd::BucketDatabase;
use crate::guarded::Guarded;
use crate::membership::{Members, Membership};
use crate::owned::Owned;
use crate::placement::{Part, Placement, part};
use crate::reconcile::name_of;
use doors::Doors;

pub use doors::Stay;
pub(crate) use moves::hand_over;
pub use route::{Found, Whence};

/// This process among the others.
pub struct Group {
    membership: Arc<Membership>,
    host: Arc<Host>,
    clock: Arc<dyn Clock>,
    /// How long a request waits for a database that is on its way.
    patience: Duration,
    /// What the watches see; set once they begin.
    stores: OnceLock<Vec<Store<Guarded>>>,
    owned: OnceLock<Vec<Owned>>,
    /// Whether all of them have seen their first list.
    synced: AtomicBool,
    /// Counts what may change an answer; wakes whoever waits.
    news: watch::Sender<u64>,
    placed: Mutex<Option<(Arc<Members>, Arc<Placement>)>>,
    /// The generation of each resource that the placement was made from.
    generations: Mutex<HashMap<DatabaseName, Option<i64>>>,
    doors: Doors,
    moves: mpsc::UnboundedSender<DatabaseName>,
    /// Taken by whoever hands over.
    asked: Mutex<Option<mpsc::UnboundedReceiver<DatabaseName>>>,
}

impl Group {
    /// How long a request waits for a database that is on its way, unless somebody says otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Of a process whose databases `host` has.
    pub fn new(membership: Arc<Membership>, host: Arc<Host>, clock: Arc<dyn Clock>, patience: Duration) -> Arc<Self> {
        let (moves, asked) = mpsc::unbounded_channel();
        Arc::new(Self {
            membership,
            host,
            clock,
            patience,
            stores: OnceLock::new(),
            owned: OnceLock::new(),
            synced: AtomicBool::new(false),
            news: watch::Sender::new(0),
            placed: Mutex::new(None),
            generations: Mutex::default(),
            doors: Doors::default(),
            moves,
            asked: Mutex::new(Some(asked)),
        })
    }

    /// The Pod of this process.
    pub fn name(&self) -> &str {
        self.membership.pod()
    }

    /// Whether this process may answer for what it has, now.
    pub fn is_current(&self) -> bool {
        self.membership.is_current()
    }

    /// Whether a live process of the group is at this address.
    pub fn is_member(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_there = |host: Option<url::Host<&str>>| match host {
            Some(url::Host::Ipv4(ip)) => address == IpAddr::V4(ip),
            Some(url::Host::Ipv6(ip)) => address == IpAddr::V6(ip),
            Some(url::Host::Domain(_)) | None => false,
        };
        self.membership.members().values().any(|member| is_there(member.url.host()))
    }

    /// Whether a database is reached by a Service of its own, wherever it is. One of the same name that is somebody else's leads nobody to it.
    pub fn has_own_service(&self, database: &DatabaseName) -> bool {
        let Some(resource) = self.resource(database) else { return self.host.has_own_service(database) };
        let Ok(resource) = &resource.0 else { return false };
        resource.spec.api.service && self.owned.get().into_iter().flatten().any(|owned| owned.of(resource).service.is_some())
    }

    /// Whether there are others who could have this process's databases.
    pub fn has_heirs(&self) -> bool {
        self.membership.members().values().any(|member| member.name != self.name() && !member.is_leaving)
    }

    /// Waits until this process has no database any more, or nobody is there who could have them.
    pub async fn emptied(&self) {
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            if !self.has_heirs() || self.host.names().is_empty() || news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns once this process has its lease and has seen those of the others.
    pub(crate) async fn joined(&self) {
        // The sender is as old as we are.
        let _ = self.membership.joined().wait_for(|joined| *joined).await;
    }

    /// Wakes those who wait for news of this process's databases and of its lease, for ever.
    pub(crate) async fn follow(&self) {
        let (mut changes, mut standing) = (self.host.changes(), self.membership.standing());
        loop {
            tokio::select! {
                // What was missed is news, too.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) = changes.recv() => {}
                Ok(()) = standing.changed() => {}
                else => return,
            }
            self.note_news();
        }
    }

    /// Saves what is unsaved whenever the lease has run out, for ever: writes do not rely on it, and whoever takes over finds them.
    pub(crate) async fn save_in_time(&self) {
        let mut standing = self.membership.standing();
        while standing.changed().await.is_ok() {
            let has_lapsed = !*standing.borrow_and_update();
            if has_lapsed {
                self.host.save_all().await;
            }
        }
    }

    /// Gives it what the watches see.
    pub(crate) fn attend(&self, stores: Vec<Store<Guarded>>, owned: Vec<Owned>) {
        // Only `run` does, once.
        let _ = self.stores.set(stores);
        let _ = self.owned.set(owned);
    }

    /// Every resource is known now.
    pub(crate) fn note_synced(&self) {
        self.synced.store(true, Ordering::Release);
        self.note_news();
    }

    /// Something changed that may change an answer.
    pub(crate) fn note_news(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A watch saw something. What moves no generation moves no database.
    pub(crate) fn saw(&self, event: &watcher::Result<watcher::Event<Guarded>>) {
        let is_moved = match event {
            Ok(watcher::Event::Apply(resource)) => {
                let generation = resource.meta().generation;
                self.generations.lock().insert(name_of(resource), generation) != Some(generation)
            }
            Ok(watcher::Event::Delete(resource)) => {
                self.generations.lock().remove(&name_of(resource));
                true
            }
            Ok(watcher::Event::InitDone) => true,
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) | Err(_) => return,
        };
        if is_moved {
            *self.placed.lock() = None;
        }
        self.note_news();
    }

    /// What this process does about a resource.
    pub(crate) fn part(&self, resource: &Guarded) -> Part {
        self.part_of(&name_of(resource), resource.0.as_ref().ok().and_then(told_host))
    }

    /// The same, by the pod that its status names.
    pub(crate) fn part_of(&self, name: &DatabaseName, told: Option<&str>) -> Part {
        let (members, placement) = self.placed();
        part(self.name(), placement.owner(name), told, self.here(name), &members)
    }

    /// Resources about which something is to be done here since the members changed.
    pub(crate) fn pokes(self: &Arc<Self>, store: &Store<Guarded>) -> impl Stream<Item = ObjectRef<Guarded>> + Send + use<> {
        let (group, store) = (Arc::clone(self), store.clone());
        WatchStream::from_changes(self.membership.watch()).flat_map(move |_| {
            group.note_news();
            let concerned = store.state().into_iter().filter(|resource| match group.part(resource) {
                Part::Acts => group.here(&name_of(resource)) == Some(NotServed::Unknown),
                Part::HandsOver | Part::GivesUp => true,
                Part::Awaits | Part::Looks => false,
            });
            stream::iter(concerned.map(|resource| ObjectRef::from_obj(&*resource)).collect::<Vec<_>>())
        })
    }

    /// Hands a database over as soon as it is its turn.
    pub(crate) fn ask_to_move(&self, name: DatabaseName) {
        // Without a receiver the operator ends, and all are closed.
        let _ = self.moves.send(name);
    }

    fn resource(&self, name: &DatabaseName) -> Option<Arc<Guarded>> {
        let wanted = ObjectRef::new(name.name()).within(name.namespace());
        self.stores.get()?.iter().find_map(|store| store.get(&wanted))
    }

    /// Why this process does not answer for a database; `None` if it does.
    fn here(&self, name: &DatabaseName) -> Option<NotServed> {
        match self.host.get(name) {
            Ok(_) => None,
            Err(Error::NotServed { why, .. }) => Some(why),
            Err(_) => Some(NotServed::Unknown),
        }
    }

    fn placed(&self) -> (Arc<Members>, Arc<Placement>) {
        let members = self.membership.members();
        let mut placed = self.placed.lock();
        match &*placed {
            Some((of, placement)) if Arc::ptr_eq(of, &members) => (members, Arc::clone(placement)),
            Some(_) | None => {
                let known: Vec<_> = self.stores.get().into_iter().flatten().flat_map(Store::state).collect();
                let placement = Arc::new(Placement::of(known.iter().map(|resource| &**resource), &members));
                *placed = Some((Arc::clone(&members), Arc::clone(&placement)));
                (members, placement)
            }
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// The pod that a resource's status names.
pub(crate) fn told_host(resource: &BucketDatabase) -> Option<&str> {
    resource.status.as_ref()?.host.as_deref()
}
