//! The Service of a database's own, with its endpoints: a name in the cluster that leads to the operator's Pod. Pure.
//!
//! Owns: what both hold, and how they stand beside what they should be. Does not own: reading and writing them.
//! Invariant: an object of somebody else is never taken for ours, whatever its name and labels are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};

use super::{MANAGED_BY, Owner, metadata};
use crate::crd::BucketDatabase;
use crate::plan::{OwnService, Stand, Uid};
use crate::problem::Problem;
use crate::reason::Reason;

/// Says whose endpoints they are; without it nobody serves a Service by them.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says who writes them, so that no controller of the cluster does.
const ENDPOINTS_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value.
const ENDPOINTS_MANAGER: &str = "buckethead.dev";

/// What the Services that we made are found by.
pub(crate) fn services_selector() -> String {
    format!("{MANAGED_BY}={}", super::FIELD_MANAGER)
}

/// What the endpoints that we made are found by.
pub(crate) fn endpoints_selector() -> String {
    format!("{ENDPOINTS_MANAGED_BY}={ENDPOINTS_MANAGER}")
}

/// What is spoken at the API's port. The only port of both objects is called like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Scheme {
    /// HTTP as it is.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The port that a URL need not name.
    fn port(self) -> i32 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where this process is reached within the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    /// What is spoken there.
    pub scheme: Scheme,
    /// The Pod's.
    pub ip: IpAddr,
    /// Of the API.
    pub port: u16,
    /// The Pod.
    pub name: String,
    /// Where it is.
    pub namespace: String,
}

impl PodAddress {
    fn family(&self) -> &'static str {
        if self.ip.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

/// What there is under the names of both objects, whoever made it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The Service.
    pub(crate) service: Option<Service>,
    /// Its endpoints.
    pub(crate) endpoints: Option<EndpointSlice>,
}

/// The name of the Service: that of the resource, so that clients need not be told it.
pub(crate) fn service_name(resource: &BucketDatabase) -> String {
    resource.name_any()
}

/// The name of its endpoints.
pub(crate) fn endpoints_name(resource: &BucketDatabase) -> String {
    format!("{}-buckethead", resource.name_any())
}

/// The Service. Without a selector, because the Pod behind it is not in this namespace.
pub(crate) fn service(resource: &BucketDatabase, pod: &PodAddress) -> Service {
    Service {
        metadata: metadata(resource, service_name(resource)),
        spec: Some(ServiceSpec {
            // Named to be owned: one that somebody adds would send requests to other Pods.
            selector: Some(BTreeMap::new()),
            ports: Some(vec![ServicePort {
                name: Some(pod.scheme.to_string()),
                port: pod.scheme.port(),
                target_port: Some(IntOrString::Int(pod.port.into())),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some(pod.scheme.to_string()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Its endpoints: the Pod. It is ready whatever the state of the database is, because it tells that state to whoever asks: a Service without
/// ready endpoints would refuse connections without a reason.
pub(crate) fn endpoints(resource: &BucketDatabase, pod: &PodAddress) -> EndpointSlice {
    let labels = [(SERVICE_NAME, service_name(resource)), (ENDPOINTS_MANAGED_BY, ENDPOINTS_MANAGER.to_owned())];
    let mut metadata = metadata(resource, endpoints_name(resource));
    metadata.labels.get_or_insert_default().extend(labels.map(|(key, value)| (key.to_owned(), value)));
    EndpointSlice {
        metadata,
        address_type: pod.family().to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![pod.ip.to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(pod.name.clone()),
                namespace: Some(pod.namespace.clone()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some(pod.scheme.to_string()),
            port: Some(pod.port.into()),
            protocol: Some("TCP".to_owned()),
            app_protocol: Some(pod.scheme.to_string()),
        }]),
    }
}

/// How both stand beside what the resource asks for.
pub(crate) fn own_service(resource: &BucketDatabase, pod: Option<&PodAddress>, found: &Found) -> OwnService {
    if !resource.spec.api.service {
        let (service, endpoints) = (ours(resource, found.service.as_ref()), ours(resource, found.endpoints.as_ref()));
        return if service.is_none() && endpoints.is_none() { OwnService::None } else { OwnService::Surplus { service, endpoints } };
    }
    let Some(pod) = pod else { return OwnService::Refused(no_address()) };
    let both = service_stand(resource, pod, found.service.as_ref())
        .and_then(|service| Ok((service, endpoints_stand(resource, pod, found.endpoints.as_ref())?)));
    match both {
        Ok((service, endpoints)) => OwnService::Asked { service, endpoints },
        Err(problem) => OwnService::Refused(problem),
    }
}

fn service_stand(resource: &BucketDatabase, pod: &PodAddress, found: Option<&Service>) -> Result<Stand, Problem> {
    let has_other_scheme = found.is_some_and(|found| speaks_otherwise(found, pod.scheme));
    let stand = stand(resource, found, |found| !has_other_scheme && service_is_current(found, &service(resource, pod)))?;
    Ok(match stand {
        // What was created is not taken back by what is applied: the port would stay, and lead nowhere.
        Stand::Stale(uid) if has_other_scheme => Stand::Misfit(uid),
        stand => stand,
    })
}

/// Whether it has a port from before the operator spoke as it does now.
fn speaks_otherwise(found: &Service, scheme: Scheme) -> bool {
    let other = match scheme {
        Scheme::Http => Scheme::Https,
        Scheme::Https => Scheme::Http,
    };
    let ports = found.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.into_iter().flatten().any(|port| (port.port, port.name.as_deref()) == (other.port(), Some(other.to_string().as_str())))
}

fn endpoints_stand(resource: &BucketDatabase, pod: &PodAddress, found: Option<&EndpointSlice>) -> Result<Stand, Problem> {
    let stand = stand(resource, found, |found| endpoints_are_current(found, &endpoints(resource, pod)))?;
    Ok(match (stand, found) {
        // The type of addresses is immutable.
        (Stand::Stale(uid), Some(found)) if found.address_type != pod.family() => Stand::Misfit(uid),
        (stand, _) => stand,
    })
}

fn stand<K>(resource: &BucketDatabase, found: Option<&K>, is_current: impl FnOnce(&K) -> bool) -> Result<Stand, Problem>
where
    K: Resource<DynamicType = ()>,
{
    let Some(found) = found else { return Ok(Stand::Missing) };
    let uid = found.uid().unwrap_or_default();
    match Owner::of(resource, found.meta()) {
        Owner::Us if is_current(found) => Ok(Stand::Current),
        Owner::Us => Ok(Stand::Stale(uid)),
        // It goes anyway, and not before it is gone has the name another owner.
        Owner::EarlierLife => Ok(Stand::Misfit(uid)),
        Owner::Other => Err(taken(&K::kind(&()), &found.name_any())),
    }
}

/// The UID of an object that belongs to this very resource.
fn ours<K: Resource>(resource: &BucketDatabase, found: Option<&K>) -> Option<Uid> {
    let meta = found?.meta();
    (Owner::of(resource, meta) == Owner::Us).then(|| meta.uid.clone().unwrap_or_default())
}

fn taken(kind: &str, name: &str) -> Problem {
    let message = format!(
        "spec.api.service: there is a {kind} `{name}` in this namespace that is not ours, and it is left alone: delete or rename it, or remove \
         spec.api.service and use the operator's Service"
    );
    Problem::stuck(Reason::ServiceTaken, message)
}

fn no_address() -> Problem {
    let message = "spec.api.service: the operator does not know the address of its own Pod: start it with --pod-ip, as the chart does";
    Problem::stuck(Reason::PodAddressUnknown, message)
}

/// Only what we write is compared: the cluster fills in the rest.
fn service_is_current(found: &Service, wanted: &Service) -> bool {
    let (Some(found_spec), Some(wanted_spec)) = (&found.spec, &wanted.spec) else { return false };
    let has_port =
        |wanted: &ServicePort| found_spec.ports.iter().flatten().any(|found| ServicePort { node_port: None, ..found.clone() } == *wanted);
    has_labels(&found.metadata, &wanted.metadata)
        && found_spec.selector.as_ref().is_none_or(BTreeMap::is_empty)
        && wanted_spec.ports.iter().flatten().all(has_port)
}

fn endpoints_are_current(found: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    has_labels(&found.metadata, &wanted.metadata)
        && (&found.address_type, &found.endpoints, &found.ports) == (&wanted.address_type, &wanted.endpoints, &wanted.ports)
}

fn has_labels(found: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let found = found.labels.as_ref();
    wanted.labels.iter().flatten().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
}

#[cfg(test)]
mod tests;
