//! What all reconciliations of a process share.

use std::sync::Arc;
use std::time::Duration;

use engine::{Clock, Host};
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use url::Url;

use crate::crd::BucketDatabase;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::objects::FIELD_MANAGER;

/// A resource as it arrives: one that does not parse must not end the watch of the others.
pub(crate) type Guarded = DeserializeGuard<BucketDatabase>;

/// How the operator works.
#[derive(Debug)]
pub struct OperatorOptions {
    /// The namespaces that are watched; none means all.
    pub namespaces: Vec<String>,
    /// Where clients reach the API, such as `http://buckethead.buckethead-system.svc`.
    pub public_url: Url,
    /// The name of this process: the pod's.
    pub instance: String,
    /// Facts that move with commits are written at most this often.
    pub status_interval: Duration,
    /// How many resources of one watch are looked at at once.
    pub concurrency: u16,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where is counted.
    pub metrics: Metrics,
    /// Becomes true once all watches are synced.
    pub ready: watch::Sender<bool>,
}

impl OperatorOptions {
    /// Facts that move with commits are written at most this often, unless somebody says otherwise.
    pub const STATUS_INTERVAL: Duration = Duration::from_secs(30);
    /// How many resources of one watch are looked at at once, unless somebody says otherwise.
    pub const CONCURRENCY: u16 = 16;
}

/// What all reconciliations share.
pub(crate) struct Context {
    pub(crate) host: Arc<Host>,
    pub(crate) cluster: Cluster,
    /// What each watch has seen.
    pub(crate) stores: Vec<Store<Guarded>>,
}

impl Context {
    /// Every resource that is known.
    pub(crate) fn known(&self) -> Vec<Arc<Guarded>> {
        self.stores.iter().flat_map(Store::state).collect()
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

    /// The Secrets beside a resource.
    pub(crate) fn secrets(&self, resource: &BucketDatabase) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }
}
