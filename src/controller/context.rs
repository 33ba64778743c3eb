//! What all reconciliations of a process share.

use std::sync::Arc;
use std::time::Duration;

use engine::{Clock, DatabaseName, Host};
use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};
use opentelemetry::global::BoxedTracer;
use tokio::sync::{broadcast, watch};
use url::Url;

use crate::ambient::AmbientCredentials;
use crate::crd::BucketDatabase;
use crate::group::{Group, told_host};
use crate::guarded::Guarded;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::objects::gc_job::GcJobOptions;
use crate::objects::{FIELD_MANAGER, Found, PodAddress, Ways};
use crate::owned::Owned;
use crate::placement::Part;
use crate::plan::name_of;
use crate::quota::Quotas;
use crate::watch::{Jobs, waiting_for};

/// How the operator works.
#[derive(Debug)]
pub struct OperatorOptions {
    /// The namespaces that are watched; none means all.
    pub namespaces: Vec<String>,
    /// Where clients reach the API, such as `http://buckethead.buckethead-system.svc`.
    pub public_url: Url,
    /// The name of this process: the pod's.
    pub instance: String,
    /// Where the Services of databases lead to: this process. `None` if it is in no Pod; then no database gets a Service.
    pub pod: Option<PodAddress>,
    /// How long a token is valid after it was replaced.
    pub token_overlap: Duration,
    /// Facts that move with commits are written at most this often.
    pub status_interval: Duration,
    /// How many resources of one watch are looked at at once.
    pub concurrency: u16,
    /// How Jobs of gc are made; without it gc does not run by itself.
    pub gc: Option<GcJobOptions>,
    /// To which namespaces the operator lends its own identity.
    pub ambient: AmbientCredentials,
    /// What each namespace may have.
    pub quotas: Quotas,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where is counted.
    pub metrics: Metrics,
    /// What makes a span of each look; without it there are none.
    pub tracer: Option<BoxedTracer>,
    /// Hears of each step that is done.
    pub after_step: AfterStep,
    /// Becomes true once all watches are synced.
    pub ready: watch::Sender<bool>,
    /// The pods that share the resources; without it this process has all of them.
    pub group: Option<Arc<Group>>,
}

impl OperatorOptions {
    /// How long a token is valid after it was replaced, unless somebody says otherwise: longer than the kubelet takes to renew a mounted Secret.
    pub const TOKEN_OVERLAP: Duration = Duration::from_mins(10);
    /// Facts that move with commits are written at most this often, unless somebody says otherwise.
    pub const STATUS_INTERVAL: Duration = Duration::from_secs(30);
    /// How many resources of one watch are looked at at once, unless somebody says otherwise.
    pub const CONCURRENCY: u16 = 16;

    /// By which clients reach us.
    pub(crate) fn ways(&self) -> Ways<'_> {
        Ways { public_url: &self.public_url, pod: self.pod.as_ref() }
    }
}

/// Hears of each step of a resource that is done, by its name. What it returns is awaited before the next step of that resource begins.
#[derive(Clone)]
pub struct AfterStep(Arc<dyn Fn(DatabaseName, &'static str) -> BoxFuture<'static, ()> + Send + Sync>);

impl AfterStep {
    /// One that does something.
    pub fn new(told: impl Fn(DatabaseName, &'static str) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, database: DatabaseName, step: &'static str) -> BoxFuture<'static, ()> {
        (self.0)(database, step)
    }
}

impl Default for AfterStep {
    /// Writes it into the log, for whoever looks into what happened.
    fn default() -> Self {
        Self::new(|database, step| {
            tracing::debug!(%database, step, "done");
            Box::pin(std::future::ready(()))
        })
    }
}

impl std::fmt::Debug for AfterStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AfterStep(…)")
    }
}

/// What all reconciliations share.
pub(crate) struct Context {
    pub(crate) host: Arc<Host>,
    pub(crate) cluster: Cluster,
    /// Names of resources that may get the place that they waited for.
    pub(crate) freed: broadcast::Sender<DatabaseName>,
    /// What each watch has seen.
    pub(crate) stores: Vec<Store<Guarded>>,
    /// The Jobs of gc.
    pub(crate) jobs: Jobs,
    /// What the watches of our Services have seen.
    pub(crate) owned: Vec<Owned>,
}

impl Context {
    /// Every resource that is known.
    pub(crate) fn known(&self) -> Vec<Arc<Guarded>> {
        self.stores.iter().flat_map(Store::state).collect()
    }

    /// What the watches show of a resource's Service.
    pub(crate) fn shown(&self, resource: &BucketDatabase) -> Found {
        let found = self.owned.iter().map(|owned| owned.of(resource));
        found
            .reduce(|first, second| Found { service: first.service.or(second.service), endpoints: first.endpoints.or(second.endpoints) })
            .unwrap_or_default()
    }

    /// Those that have to do with the database of a resource are looked at, and those that share a quota with it: it made room.
    pub(crate) fn free(&self, resource: &BucketDatabase) {
        for waiting in waiting_for(&resource.spec, &self.known()) {
            self.look_at(waiting);
        }
        self.free_share(resource);
    }

    /// Those that share a quota with a resource, and lack something, are looked at: it needs less of it.
    pub(crate) fn free_share(&self, resource: &BucketDatabase) {
        let name = name_of(resource);
        if self.cluster.options.quotas.of(name.namespace()).is_none() {
            return;
        }
        let known = self.known();
        let others = known.iter().filter_map(|other| other.0.as_ref().ok());
        for other in others.filter(|other| !self.cluster.memory.is_content(other)) {
            let other_name = name_of(other);
            if other_name.namespace() == name.namespace() && other_name != name && self.carries_out(other) {
                self.look_at(other_name);
            }
        }
    }

    /// Whether it is this process that carries a resource out.
    fn carries_out(&self, resource: &BucketDatabase) -> bool {
        self.cluster.options.group.as_ref().is_none_or(|group| group.part_of(&name_of(resource), told_host(resource)) == Part::Acts)
    }

    fn look_at(&self, name: DatabaseName) {
        // Without a receiver the controllers have ended, and nobody waits any more.
        let _ = self.freed.send(name);
    }
}

/// The API server, and what was said to it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) options: OperatorOptions,
    pub(crate) memory: Memory,
    /// Shared, because it joins repeated events.
    pub(crate) recorder: Recorder,
}

impl Cluster {
    pub(crate) fn new(client: Client, options: OperatorOptions) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(options.instance.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, options, memory: Memory::default(), recorder }
    }

    /// To patch resources. What comes back is never relied upon, and may fail to parse.
    pub(crate) fn resources(&self, resource: &BucketDatabase) -> Api<Guarded> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    /// The Jobs beside a resource.
    pub(crate) fn jobs(&self, resource: &BucketDatabase) -> Api<Job> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    /// The Pods beside a resource.
    pub(crate) fn pods(&self, resource: &BucketDatabase) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    /// The service accounts beside a resource.
    pub(crate) fn service_accounts(&self, resource: &BucketDatabase) -> Api<ServiceAccount> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    /// The Secrets beside a resource.
    pub(crate) fn secrets(&self, resource: &BucketDatabase) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }
}
