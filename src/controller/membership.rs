//! The pods of one operator: which of them live, and whether this one may answer for what it has.
//!
//! ```text
//! keep:   GET ─> decide (pure) ─> replace by resourceVersion, each third of the lease      ─> `Standing`: current until …
//! watch:  Leases of the group ─> `View` (pure): when each was seen to change last          ─> live members
//! take:   one that did not change for as long as it said, while we were current all along  ─> replaced by an ended one
//! ```
//!
//! Owns: the Leases, one for each pod. Does not own: which pod has which database (`placement`), nor that a wrong belief is harmless: that is the
//! epoch's in the bucket.
//! Invariants: this process is current only within the time that its last renewal granted, counted from before it was sent, by a monotonic clock; a
//! lease is ended by another pod only after it was seen unchanged for its whole duration, and only as it was seen; who was ended never becomes current
//! again.

mod keep;
mod lease;
mod standing;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{Clock, Life, Liveness};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use url::Url;

use standing::Standing;
use view::View;

pub use keep::Ended;

/// How a process takes part.
#[derive(Debug, Clone)]
pub struct MembershipOptions {
    /// Where the Leases are.
    pub namespace: String,
    /// Those who share the same resources: a release of the chart.
    pub group: String,
    /// The Pod of this process. No two processes have one at once.
    pub pod: String,
    /// Where the others reach it.
    pub url: Url,
    /// How much it can hold, in bytes; zero counts as one share like all others of which nothing is known.
    pub memory: u64,
    /// How long after its last renewal others wait before they take its databases over.
    pub lease: Duration,
}

impl MembershipOptions {
    /// How long a lease holds, unless somebody says otherwise.
    pub const LEASE: Duration = Duration::from_secs(15);
}

/// A process that answers for databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its Pod.
    pub name: String,
    /// Where it is reached.
    pub url: Url,
    /// How much it can hold.
    pub memory: u64,
    /// It is about to end, and gives its databases away.
    pub is_leaving: bool,
}

/// The live ones, this process among them, by name.
pub type Members = BTreeMap<String, Member>;

/// This process among the pods of its operator.
#[derive(Debug)]
pub struct Membership {
    options: MembershipOptions,
    /// Tells this process from an earlier one of the same Pod.
    identity: String,
    leases: Api<Lease>,
    clock: Arc<dyn Clock>,
    standing: Standing,
    members: watch::Sender<Arc<Members>>,
    /// Wakes the keeper of our Lease before its time.
    hurry: Notify,
    leaving: AtomicBool,
    view: Mutex<View>,
    /// Whether the first list of Leases was whole.
    listed: AtomicBool,
    joined: watch::Sender<bool>,
    /// Since when each renewal of ours has succeeded; `None` if the last one did not.
    steady: Mutex<Option<Instant>>,
}

impl Membership {
    /// A process that is none yet; [`Self::keep`] makes it one.
    pub fn new(client: Client, options: MembershipOptions, instance: u64, clock: Arc<dyn Clock>) -> Arc<Self> {
        let leases = Api::namespaced(client, &options.namespace);
        Arc::new(Self {
            identity: format!("{}_{instance:016x}", options.pod),
            leases,
            standing: Standing::new(&*clock, options.lease),
            members: watch::Sender::new(Arc::default()),
            hurry: Notify::new(),
            leaving: AtomicBool::new(false),
            view: Mutex::new(View::default()),
            listed: AtomicBool::new(false),
            joined: watch::Sender::new(false),
            steady: Mutex::new(None),
            options,
            clock,
        })
    }

    /// The Pod of this process.
    pub fn pod(&self) -> &str {
        &self.options.pod
    }

    /// Whether this process may answer for what it has, now.
    pub fn is_current(&self) -> bool {
        self.standing.is_current(self.clock.now())
    }

    /// Those that live, as far as this process sees.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.borrow())
    }

    /// The same, and when it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Members>> {
        self.members.subscribe()
    }

    /// Whether this process is one of them and has seen the others; and when that becomes so.
    pub fn joined(&self) -> watch::Receiver<bool> {
        self.joined.subscribe()
    }

    /// Changes whenever it becomes current, or may not be any more.
    pub fn standing(&self) -> watch::Receiver<bool> {
        self.standing.watch()
    }

    /// Tells the others that this process is about to end; from then on it is given nothing. Returns once they can know, or after a third of the
    /// lease.
    pub async fn leave(&self) {
        let mut told = self.members.subscribe();
        self.leaving.store(true, Ordering::Release);
        self.hurry.notify_one();
        let me = self.pod();
        let is_told = |members: &Arc<Members>| members.get(me).is_none_or(|me| me.is_leaving);
        // Who cannot be told learns it when the lease has run out.
        let _ = tokio::time::timeout(self.options.lease / 3, told.wait_for(is_told)).await;
    }

    fn lease_name(&self) -> String {
        lease::name(&self.options.group, self.pod())
    }

    fn note_joined(&self) {
        if self.listed.load(Ordering::Acquire) && self.is_current() {
            self.joined.send_replace(true);
        }
    }

    fn publish(&self) {
        let members = self.view.lock().members();
        self.members.send_if_modified(|known| {
            let is_news = **known != members;
            if is_news {
                *known = Arc::new(members);
            }
            is_news
        });
    }
}

impl Liveness for Membership {
    fn of<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Life> {
        async move {
            let name = lease::name(&self.options.group, pod);
            let asking = tokio::time::timeout(self.options.lease / 3, self.leases.get_opt(&name));
            match asking.await {
                Ok(Ok(Some(found))) if lease::is_ended(&found) => Life::Ended,
                Ok(Ok(None)) => Life::Unknown,
                // Who cannot ask must not take anything over.
                Ok(Ok(Some(_)) | Err(_)) | Err(_) => Life::Lives,
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
