//! Looks at a database's own Service and its endpoints. I/O only; decides nothing.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::context::Cluster;
use crate::crd::BucketDatabase;
use crate::objects::{self, Found};
use crate::problem::Problem;
use crate::reason::Reason;

/// What there is, given what the watches show of it. What they do not show is read by name if the resource asks for it: it is not there, or
/// somebody else's, or so new that the watch lags behind it.
pub(super) async fn look(cluster: &Cluster, resource: &BucketDatabase, shown: Found) -> Result<Found, Problem> {
    if !resource.spec.api.service || resource.metadata.deletion_timestamp.is_some() || cluster.options.pod.is_none() {
        return Ok(shown);
    }
    Ok(Found {
        service: either(cluster, resource, shown.service, &objects::service_name(resource)).await?,
        endpoints: either(cluster, resource, shown.endpoints, &objects::endpoints_name(resource)).await?,
    })
}

async fn either<K>(cluster: &Cluster, resource: &BucketDatabase, shown: Option<K>, name: &str) -> Result<Option<K>, Problem>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    if shown.is_some() {
        return Ok(shown);
    }
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &resource.namespace().unwrap_or_default());
    api.get_opt(name).await.map_err(|error| {
        let kind = K::kind(&());
        let message = format!("spec.api.service: the {kind} `{name}` could not be read: {error}; the operator needs the right to get it");
        Problem::passing(Reason::ClusterRequestFailed, message)
    })
}
