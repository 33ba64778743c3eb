//! Objects of the cluster as values made from a resource: connection Secret, Service, endpoints, gc's Job, list of finalizers, status patch.
//! Pure.

mod connection;
pub(crate) mod gc_job;
mod service;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::crd::{BucketDatabase, BucketDatabaseStatus};
use crate::plan::FINALIZER;

pub(crate) use connection::{
    Contents, NotOurs, Source, Standing, Token, Tokens, Ways, Wish, compare, connection_secret, connection_secret_name, tokens_of,
    told_url, url, url_of,
};
pub(crate) use service::{Found, endpoints, endpoints_name, endpoints_selector, own_service, service, service_name, services_selector};
pub use service::{PodAddress, Scheme};

/// The one field manager of this operator.
pub(crate) const FIELD_MANAGER: &str = "buckethead";
/// The label of every object that we make.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Of an object that goes with its resource.
fn metadata(resource: &BucketDatabase, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: resource.namespace(),
        labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())])),
        owner_references: resource.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// To whom an object belongs that has the name of one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// To this very resource.
    Us,
    /// To one of the same name that is gone: Kubernetes has not collected the object yet.
    EarlierLife,
    /// To somebody else.
    Other,
}

impl Owner {
    /// Read from the metadata of an object in the resource's namespace.
    pub(crate) fn of(resource: &BucketDatabase, found: &ObjectMeta) -> Self {
        let controller = found.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        match controller {
            Some(owner) if Some(&owner.uid) == resource.metadata.uid.as_ref() => Self::Us,
            // Two resources of one name are never there at once.
            Some(owner) if is_of_our_kind(owner) && owner.name == resource.name_any() => Self::EarlierLife,
            Some(_) | None => Self::Other,
        }
    }
}

fn is_of_our_kind(owner: &OwnerReference) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    owner.kind == BucketDatabase::kind(&()) && group == Some(&*BucketDatabase::group(&()))
}

/// Whether an object belongs to this very resource.
pub(crate) fn is_owned_by(object: &impl ResourceExt, resource: &BucketDatabase) -> bool {
    object.owner_references().iter().any(|owner| Some(&owner.uid) == resource.metadata.uid.as_ref())
}

/// A patch that adds our finalizer, and fails if the resource is no longer the one that was seen.
pub(crate) fn add_finalizer(resource: &BucketDatabase) -> Value {
    let mut finalizers = resource.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    finalizers_patch(resource, &finalizers)
}

/// A patch that removes our finalizer and leaves those of others, and fails if the resource is no longer the one that was seen.
pub(crate) fn remove_finalizer(resource: &BucketDatabase) -> Value {
    let finalizers: Vec<String> = resource.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    finalizers_patch(resource, &finalizers)
}

fn finalizers_patch(resource: &BucketDatabase, finalizers: &[String]) -> Value {
    json!({"metadata": {"resourceVersion": resource.metadata.resource_version, "finalizers": finalizers}})
}

/// The status as server-side apply wants it.
pub(crate) fn status_patch(resource: &BucketDatabase, status: &BucketDatabaseStatus) -> Value {
    json!({
        "apiVersion": BucketDatabase::api_version(&()),
        "kind": BucketDatabase::kind(&()),
        "metadata": {"name": resource.name_any()},
        "status": status,
    })
}

#[cfg(test)]
mod tests;
