//! Writes a database's own Service and its endpoints. I/O only; decides nothing.
//!
//! Invariant: only what is not there is made, and only what is ours is changed or deleted: the API server refuses the rest.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::is_gone;
use crate::context::Cluster;
use crate::crd::BucketDatabase;
use crate::error::Error;
use crate::objects::{self, FIELD_MANAGER};
use crate::plan::Uid;

/// Makes the Service, or corrects the one that is there.
pub(super) async fn ensure_service(cluster: &Cluster, resource: &BucketDatabase, over: Option<&Uid>) -> Result<(), Error> {
    // Without an address none is planned.
    let Some(pod) = &cluster.options.pod else { return Ok(()) };
    ensure(cluster, objects::service(resource, pod), over, "writing the database's Service").await
}

/// Makes its endpoints, or corrects those that are there.
pub(super) async fn ensure_endpoints(cluster: &Cluster, resource: &BucketDatabase, over: Option<&Uid>) -> Result<(), Error> {
    let Some(pod) = &cluster.options.pod else { return Ok(()) };
    ensure(cluster, objects::endpoints(resource, pod), over, "writing the endpoints of the database's Service").await
}

/// Creates where nothing may be, so that an object that somebody else makes meanwhile stays as it is; applies over what is ours.
async fn ensure<K>(cluster: &Cluster, mut object: K, over: Option<&Uid>, doing: &'static str) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let api = api::<K>(cluster, object.namespace().as_deref());
    let written = match over {
        None => {
            let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            api.create(&params, &object).await
        }
        Some(uid) => {
            object.meta_mut().uid = Some(uid.clone());
            api.patch(&object.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object)).await
        }
    };
    written.map(drop).map_err(Error::cluster(doing))
}

/// Deletes the Service.
pub(super) async fn remove_service(cluster: &Cluster, resource: &BucketDatabase, uid: &Uid) -> Result<(), Error> {
    remove::<Service>(cluster, resource, &objects::service_name(resource), uid, "deleting the database's Service").await
}

/// Deletes its endpoints.
pub(super) async fn remove_endpoints(cluster: &Cluster, resource: &BucketDatabase, uid: &Uid) -> Result<(), Error> {
    remove::<EndpointSlice>(cluster, resource, &objects::endpoints_name(resource), uid, "deleting the endpoints of its Service").await
}

/// Deletes this very object. One that is gone already is fine.
async fn remove<K>(cluster: &Cluster, resource: &BucketDatabase, name: &str, uid: &Uid, doing: &'static str) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let preconditions = Some(Preconditions { uid: Some(uid.clone()), ..Preconditions::default() });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match api::<K>(cluster, resource.namespace().as_deref()).delete(name, &params).await {
        Err(error) if !is_gone(&error) => Err(Error::cluster(doing)(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn api<K>(cluster: &Cluster, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(cluster.client.clone(), namespace.unwrap_or_default())
}

#[cfg(test)]
mod tests;
