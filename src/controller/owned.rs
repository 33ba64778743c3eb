//! The Services and endpoints that we made, as one watch of each kind shows them.
//!
//! They are watched, not read at each look: a thousand databases at rest cost a watch or two, where a read of each would cost several requests
//! a second; and what somebody changes or deletes is mended at once.
//! Owns: both watches, and which resource an object belongs to. Does not own: what the objects should be (`objects`).
//! Invariant: a watch that fails, or lags, costs reads by name, never a wrong decision.

use std::fmt::Debug;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::crd::BucketDatabase;
use crate::guarded::Guarded;
use crate::objects::{self, Found, Owner};
use crate::watch::apis;

/// What both watches of a namespace, or of all, saw last.
#[derive(Clone)]
pub(crate) struct Owned {
    services: Store<Service>,
    endpoints: Store<EndpointSlice>,
}

/// Begins to watch: one of each kind for each namespace, or one for all. The streams, which must be polled, name the resources whose objects
/// changed.
pub(crate) fn watches(client: &Client, namespaces: &[String]) -> Vec<(Owned, BoxStream<'static, ObjectRef<Guarded>>)> {
    apis(client, namespaces).into_iter().zip(apis(client, namespaces)).map(|(services, endpoints)| watch(services, endpoints)).collect()
}

fn watch(services: Api<Service>, endpoints: Api<EndpointSlice>) -> (Owned, BoxStream<'static, ObjectRef<Guarded>>) {
    let (services, of_services) = watch_kind(services, &objects::services_selector());
    let (endpoints, of_endpoints) = watch_kind(endpoints, &objects::endpoints_selector());
    (Owned { services, endpoints }, stream::select(of_services, of_endpoints).boxed())
}

impl Owned {
    /// What it knows of a resource's objects.
    pub(crate) fn of(&self, resource: &BucketDatabase) -> Found {
        Found {
            service: ours(&self.services, resource, &objects::service_name(resource)),
            endpoints: ours(&self.endpoints, resource, &objects::endpoints_name(resource)),
        }
    }
}

/// The object of this name, if it belongs to this very resource: of any other only a read of this moment tells.
fn ours<K>(store: &Store<K>, resource: &BucketDatabase, name: &str) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let found = store.get(&ObjectRef::new(name).within(&resource.namespace()?))?;
    (Owner::of(resource, found.meta()) == Owner::Us).then(|| (*found).clone())
}

fn watch_kind<K>(api: Api<K>, selector: &str) -> (Store<K>, impl Stream<Item = ObjectRef<Guarded>> + Send + use<K>)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let touched = watcher(api, watcher::Config::default().labels(selector))
        .default_backoff()
        // The largest part of an object, and nobody reads it.
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
        .filter_map(|seen| async move {
            match seen {
                Ok(object) => owner(&object),
                Err(error) => {
                    let kind = K::kind(&());
                    tracing::warn!(error = &error as &dyn std::error::Error, %kind, "a watch failed; it is tried again, and each look reads by name");
                    None
                }
            }
        });
    (store, touched)
}

/// The resource that an object names as its owner.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef<Guarded>> {
    let owner = object.owner_references().iter().find(|owner| owner.kind == BucketDatabase::kind(&()))?;
    Some(ObjectRef::new(&owner.name).within(&object.namespace()?))
}
