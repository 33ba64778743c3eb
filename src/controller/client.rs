//! The client of the API server, with every request counted.
//!
//! Owns: what a request is called in the metrics. Does not own: which requests are sent.

use http::Request;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::util::MapRequestLayer;

use crate::metrics::Metrics;

/// A client that counts what it sends.
pub fn client(config: Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    let metrics = metrics.clone();
    let count = move |request: Request<Body>| {
        metrics.count_request(request.method().as_str(), resource_of(request.uri().path()));
        request
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapRequestLayer::new(count)).build())
}

/// The kind of object that a path of the API names, with its subresource: there are few, whatever users create.
fn resource_of(path: &str) -> String {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let versions = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return "other".to_owned(),
    };
    let rest: Vec<&str> = parts.skip(versions).collect();
    match rest.as_slice() {
        ["namespaces", _, kind] | ["namespaces", _, kind, _] | [kind] | [kind, _] => (*kind).to_owned(),
        ["namespaces", _, kind, _, subresource] | [kind, _, subresource] => format!("{kind}/{subresource}"),
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_by_its_kind_alone() {
        for (path, resource) in [
            ("/api/v1/namespaces/apps/secrets/orders", "secrets"),
            ("/api/v1/namespaces/apps/secrets", "secrets"),
            ("/apis/buckethead.dev/v1alpha1/bucketdatabases", "bucketdatabases"),
            ("/apis/buckethead.dev/v1alpha1/namespaces/apps/bucketdatabases/orders/status", "bucketdatabases/status"),
            ("/apis/events.k8s.io/v1/namespaces/apps/events", "events"),
            ("/api/v1/namespaces/apps", "namespaces"),
            ("/api/v1/nodes/one/status", "nodes/status"),
            ("/version", "other"),
            ("/api", "other"),
            ("/apis/apps/v1/a/b/c/d/e/f", "other"),
            ("", "other"),
        ] {
            assert_eq!(resource_of(path), resource, "{path}");
        }
    }
}
