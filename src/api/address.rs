//! Which database a request names by its `Host` alone: the one whose own Service it came by.
//!
//! Owns: how the names of Services are read, and that the `Host` decides before the path. Does not own: which databases have a Service of
//! their own (their configuration says so), nor who may ask (`guard`).
//! Invariants: a `Host` names no database but one that has a Service of its own; a request by such a Service reaches that database alone,
//! whatever its path looks like.

use axum::extract::Request;
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, Uri, header};
use engine::DatabaseName;

use crate::Shared;
use crate::error::Problem;

/// Marks a request that came by a database's own Service, for whoever tells clients where something is.
#[derive(Debug, Clone)]
pub(crate) struct OwnService {
    /// What it asked for there, for whoever passes the request on.
    pub(crate) asked: Option<PathAndQuery>,
}

/// Before all routes: the path of a request by a database's own Service begins at that database.
pub(crate) fn enter(app: &Shared, request: &mut Request) {
    if let Some(name) = named(request.uri(), request.headers(), app.public_host.as_deref())
        && app.has_own_service(&name)
    {
        let asked = request.uri().path_and_query().cloned();
        match below(&name, request.uri()) {
            Some(uri) => *request.uri_mut() = uri,
            // `guard` answers with it: only what runs inside of the routes can write a problem down.
            None => drop(request.extensions_mut().insert(Problem::bad_request("the URL is too long"))),
        }
        request.extensions_mut().insert(OwnService { asked });
    }
}

/// Every name by which a request addresses us: the URI's authority, as HTTP/2 sends it, and each `Host`.
pub(crate) fn hosts<'a>(uri: Option<&'a str>, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    uri.into_iter().chain(headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("(not text)")))
}

/// The first name by which a request addresses us, and the port, if it can be the name of a server.
pub(crate) fn server<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<(&'a str, Option<u16>)> {
    let host = hosts(uri.authority().map(Authority::as_str), headers).next()?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse().ok()?)),
        _ => (host, None),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    ((1..=LONGEST).contains(&name.len()) && name.bytes().all(is_plain)).then_some((name, port))
}

/// The database whose Service all names of the request name. One that contradicts another leaves the decision to the path.
fn named(uri: &Uri, headers: &HeaderMap, public: Option<&str>) -> Option<DatabaseName> {
    let mut hosts = hosts(uri.authority().map(Authority::as_str), headers);
    let first = service(hosts.next()?, public)?;
    hosts.all(|other| service(other, public).as_ref() == Some(&first)).then_some(first)
}

/// The longest name that DNS knows.
const LONGEST: usize = 253;

/// Reads `orders.apps`, `orders.apps.svc` and `orders.apps.svc.<cluster domain>`, in any case, with a port and a dot at the end or without.
/// `public` is the name under which clients reach all databases: a tenant who calls a database like it must not get their requests.
fn service(host: &str, public: Option<&str>) -> Option<DatabaseName> {
    let host = without_port(host)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() > LONGEST || public.is_some_and(|public| public.eq_ignore_ascii_case(host)) {
        return None;
    }
    let host = host.to_ascii_lowercase();
    let mut labels = host.split('.');
    let (name, namespace) = (labels.next()?, labels.next()?);
    let is_service = labels.next().is_none_or(|label| label == "svc");
    (is_service && host.split('.').all(is_label)).then(|| DatabaseName::new(namespace, name))
}

fn without_port(host: &str) -> Option<&str> {
    match host.split_once(':') {
        None => Some(host),
        Some((name, port)) => port.parse::<u16>().is_ok_and(|_| port.bytes().all(|byte| byte.is_ascii_digit())).then_some(name),
    }
}

/// A part of a name as DNS and Kubernetes have it.
fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The same request at the base of a database. `None` if there is no room for that.
fn below(name: &DatabaseName, uri: &Uri) -> Option<Uri> {
    let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    // `*` of OPTIONS is about the server, not about anything at it.
    let Some(rest) = asked.strip_prefix('/') else { return Some(uri.clone()) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{}{rest}", base(name))).ok()?);
    Uri::from_parts(parts).ok()
}

/// Where a database is on the Service of the operator.
pub(crate) fn base(name: &DatabaseName) -> String {
    format!("/{name}/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const PUBLIC: Option<&str> = Some("databases.example");

    fn read(host: &str) -> Option<String> {
        service(host, PUBLIC).map(|name| name.to_string())
    }

    #[test]
    fn each_name_of_a_service_is_read() {
        for host in [
            "orders.apps",
            "orders.apps.svc",
            "orders.apps.svc.cluster.local",
            "orders.apps.svc.corp.example.com",
            "orders.apps:80",
            "orders.apps.svc:8080",
            "orders.apps.svc.cluster.local.",
            "orders.apps.svc.cluster.local.:80",
            "Orders.APPS.Svc",
        ] {
            assert_eq!(read(host).as_deref(), Some("apps/orders"), "{host}");
        }
    }

    #[test]
    fn whatever_else_stands_in_a_host_names_no_database() {
        let long = format!("orders.apps.svc.{}", "a.".repeat(120));
        let long_label = format!("{}.apps", "a".repeat(64));
        for host in [
            "",
            ".",
            ":80",
            "orders",
            "orders.",
            ".apps",
            "orders..svc",
            "orders.apps..",
            "orders.apps.pod",
            "orders.apps.svc..local",
            "orders.apps.svc.cluster.local:",
            "orders.apps:http",
            "orders.apps:+80",
            "orders.apps:70000",
            "orders.apps:80:80",
            "127.0.0.1",
            "127.0.0.1:8080",
            "::1",
            "[::1]",
            "[::1]:80",
            "[fd00::1.2]",
            "user@orders.apps",
            "orders.apps/",
            "orders.apps/../other",
            "orders%2eapps",
            "orders.apps%00",
            "orders.apps svc",
            "-orders.apps",
            "orders-.apps",
            "orders_1.apps",
            "ördérs.apps",
            "(not text)",
            "databases.example",
            "Databases.Example.:443",
            &long,
            &long_label,
        ] {
            assert_eq!(read(host), None, "{host}");
        }
    }

    fn of_request(uri: &str, hosts: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        named(&uri.parse().unwrap(), &headers, PUBLIC).map(|name| name.to_string())
    }

    #[test]
    fn all_names_of_a_request_must_be_those_of_one_database() {
        assert_eq!(of_request("/sql", &["orders.apps"]).as_deref(), Some("apps/orders"));
        assert_eq!(of_request("http://orders.apps.svc/sql", &[]).as_deref(), Some("apps/orders"));
        assert_eq!(of_request("http://orders.apps.svc/sql", &["orders.apps:80"]).as_deref(), Some("apps/orders"));
        assert_eq!(of_request("/sql", &[]), None);
        assert_eq!(of_request("http://orders.apps/sql", &["other.apps"]), None);
        assert_eq!(of_request("/sql", &["orders.apps", "other.apps"]), None);
        assert_eq!(of_request("/sql", &["orders.apps", "buckethead.example.com"]), None);
    }

    #[test]
    fn a_path_is_put_below_its_database_byte_by_byte() {
        let name = DatabaseName::new("apps", "orders");
        let at = |uri: &str| below(&name, &uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(at("/").as_deref(), Some("/apps/orders/"));
        assert_eq!(at("/sql?q=select+1").as_deref(), Some("/apps/orders/sql?q=select+1"));
        assert_eq!(at("/kv/a%2Fb/../c").as_deref(), Some("/apps/orders/kv/a%2Fb/../c"));
        assert_eq!(at("//other/db/sql").as_deref(), Some("/apps/orders//other/db/sql"));
        assert_eq!(at("http://orders.apps/sql").as_deref(), Some("http://orders.apps/apps/orders/sql"));
        assert_eq!(at("*").as_deref(), Some("*"));
        assert_eq!(at(&format!("/{}", "a".repeat(65_000))).map(|uri| uri.len()), Some(65_013));
        assert_eq!(at(&format!("/{}", "a".repeat(65_530))), None);
    }
}
