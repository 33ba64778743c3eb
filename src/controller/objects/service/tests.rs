use serde_json::json;

use super::*;
use crate::fixtures::{pod, resource};

fn asking() -> BucketDatabase {
    resource(json!({"spec": {"api": {"service": true}}}))
}

fn uid_of<K: Resource>(mut object: K, uid: &str) -> K {
    object.meta_mut().uid = Some(uid.to_owned());
    object
}

fn made_service() -> Service {
    let mut service = uid_of(service(&asking(), &pod()), "s-1");
    // As the API server fills it in.
    let spec = service.spec.as_mut().unwrap();
    spec.selector = None;
    spec.cluster_ip = Some("10.96.0.9".to_owned());
    spec.type_ = Some("ClusterIP".to_owned());
    service
}

fn made_endpoints() -> EndpointSlice {
    uid_of(endpoints(&asking(), &pod()), "e-1")
}

fn made() -> Found {
    Found { service: Some(made_service()), endpoints: Some(made_endpoints()) }
}

fn stands(found: &Found) -> OwnService {
    own_service(&asking(), Some(&pod()), found)
}

fn asked(service: Stand, endpoints: Stand) -> OwnService {
    OwnService::Asked { service, endpoints }
}

fn stale(uid: &str) -> Stand {
    Stand::Stale(uid.to_owned())
}

fn misfit(uid: &str) -> Stand {
    Stand::Misfit(uid.to_owned())
}

fn reason(found: &Found) -> Option<Reason> {
    match stands(found) {
        OwnService::Refused(problem) => Some(problem.reason),
        _ => None,
    }
}

#[test]
fn the_service_has_no_selector_and_leads_to_the_operators_pod() {
    let service = service(&asking(), &pod());
    assert_eq!((service.metadata.name.as_deref(), service.metadata.namespace.as_deref()), (Some("orders"), Some("apps")));
    let spec = service.spec.unwrap();
    assert_eq!(spec.selector, Some(BTreeMap::new()));
    assert_eq!((spec.ports.as_ref().unwrap()[0].port, spec.type_), (80, None));

    let endpoints = endpoints(&asking(), &pod());
    let labels = endpoints.metadata.labels.unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "orders");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "buckethead.dev", "no controller of the cluster takes it for its own");
    assert_eq!((endpoints.address_type.as_str(), endpoints.endpoints[0].addresses.clone()), ("IPv4", vec!["10.0.0.7".to_owned()]));
    assert_eq!(endpoints.ports.unwrap()[0].port, Some(8080));
    assert_eq!(endpoints.metadata.owner_references.unwrap()[0].kind, "BucketDatabase");
    let six = PodAddress { ip: "fd00::7".parse().unwrap(), ..pod() };
    assert_eq!(super::endpoints(&asking(), &six).address_type, "IPv6");
}

#[test]
fn where_tls_is_spoken_both_say_so_and_the_port_is_its_own() {
    let pod = PodAddress { scheme: Scheme::Https, ..pod() };
    let port = service(&asking(), &pod).spec.unwrap().ports.unwrap().remove(0);
    assert_eq!((port.name.as_deref(), port.port, port.app_protocol.as_deref()), (Some("https"), 443, Some("https")));
    assert_eq!(port.target_port, Some(IntOrString::Int(8080)));
    let port = endpoints(&asking(), &pod).ports.unwrap().remove(0);
    assert_eq!((port.name.as_deref(), port.port, port.app_protocol.as_deref()), (Some("https"), Some(8080), Some("https")));
    assert_eq!(own_service(&asking(), Some(&pod), &made()), asked(misfit("s-1"), stale("e-1")), "a port from before would stay");
    let mut both = made();
    let ports = both.service.as_mut().unwrap().spec.as_mut().unwrap().ports.as_mut().unwrap();
    ports.extend(service(&asking(), &pod).spec.unwrap().ports.unwrap());
    assert_eq!(own_service(&asking(), Some(&pod), &both), asked(misfit("s-1"), stale("e-1")));
}

#[test]
fn what_is_as_it_should_be_is_left_alone_and_what_is_not_there_is_made() {
    assert_eq!(stands(&made()), asked(Stand::Current, Stand::Current));
    assert_eq!(stands(&Found::default()), asked(Stand::Missing, Stand::Missing));
}

#[test]
fn what_somebody_changed_is_put_right() {
    let service = |change: fn(&mut Service)| {
        let mut found = made();
        change(found.service.as_mut().unwrap());
        stands(&found)
    };
    let spec = |service: &mut Service| service.spec.take().unwrap();
    for change in [
        (|service| service.metadata.labels = None) as fn(&mut Service),
        |service| service.spec.as_mut().unwrap().selector = Some(BTreeMap::from([("app".to_owned(), "theirs".to_owned())])),
        |service| service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 81,
        |service| service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].target_port = Some(IntOrString::Int(1)),
        |service| service.spec = None,
    ] {
        assert_eq!(service(change), asked(stale("s-1"), Stand::Current));
    }
    assert_eq!(service(|service| service.metadata.annotations = Some(BTreeMap::new())), asked(Stand::Current, Stand::Current));
    assert_eq!(spec(&mut made_service()).type_.as_deref(), Some("ClusterIP"), "what the cluster fills in is no change");

    let endpoints = |change: fn(&mut EndpointSlice)| {
        let mut found = made();
        change(found.endpoints.as_mut().unwrap());
        stands(&found)
    };
    for change in [
        (|endpoints| drop(endpoints.metadata.labels.as_mut().unwrap().remove(SERVICE_NAME))) as fn(&mut EndpointSlice),
        |endpoints| endpoints.endpoints[0].addresses = vec!["10.0.0.6".to_owned()],
        |endpoints| endpoints.ports.as_mut().unwrap()[0].port = Some(81),
    ] {
        assert_eq!(endpoints(change), asked(Stand::Current, stale("e-1")));
    }
    assert_eq!(endpoints(|endpoints| endpoints.address_type = "IPv6".to_owned()), asked(Stand::Current, misfit("e-1")), "it is immutable");
}

#[test]
fn objects_of_somebody_else_are_refused_by_their_kind() {
    let mut found = made();
    found.service.as_mut().unwrap().metadata.owner_references = None;
    let OwnService::Refused(problem) = stands(&found) else { panic!("somebody else's") };
    assert_eq!(problem.reason, Reason::ServiceTaken);
    assert!(problem.message.contains("Service `orders`"), "{}", problem.message);
    let mut found = made();
    found.endpoints.as_mut().unwrap().metadata.owner_references = None;
    assert_eq!(reason(&found), Some(Reason::ServiceTaken));
}

#[test]
fn objects_of_an_earlier_life_of_the_resource_are_replaced() {
    let mut found = made();
    for owners in [&mut found.service.as_mut().unwrap().metadata, &mut found.endpoints.as_mut().unwrap().metadata] {
        owners.owner_references.as_mut().unwrap()[0].uid = "earlier".to_owned();
    }
    assert_eq!(stands(&found), asked(misfit("s-1"), misfit("e-1")));
}

#[test]
fn an_operator_that_does_not_know_its_pods_address_makes_none() {
    let OwnService::Refused(problem) = own_service(&asking(), None, &Found::default()) else { panic!("there is no address") };
    assert_eq!(problem.reason, Reason::PodAddressUnknown);
}

#[test]
fn what_nobody_asks_for_any_more_goes_if_it_is_ours() {
    let resource = resource(json!({}));
    let none = |found: &Found| own_service(&resource, Some(&pod()), found);
    assert_eq!(none(&Found::default()), OwnService::None);
    assert_eq!(none(&made()), OwnService::Surplus { service: Some("s-1".to_owned()), endpoints: Some("e-1".to_owned()) });
    let mut foreign = Found { service: Some(made_service()), endpoints: None };
    foreign.service.as_mut().unwrap().metadata.owner_references = None;
    assert_eq!(none(&foreign), OwnService::None);
}
