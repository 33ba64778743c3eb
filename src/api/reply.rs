//! Replies and checks that several routes share.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use engine::Holding;
use serde::Serialize;

use crate::error::{Kind, Problem};

/// A reply of JSON that is written already. It shows data of the moment, so nobody keeps it.
pub(crate) fn json(body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    let headers = response.headers_mut();
    // With those that each reply gets.
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Bytes that hold their share of the memory for results until nobody needs them.
pub(crate) fn held(bytes: Vec<u8>, holding: Option<Holding>) -> Bytes {
    struct Held {
        bytes: Vec<u8>,
        _holding: Holding,
    }
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    match holding {
        Some(holding) => Bytes::from_owner(Held { bytes, _holding: holding }),
        None => bytes.into(),
    }
}

/// A small reply, written at once.
pub(crate) fn document(content: &impl Serialize) -> Response {
    json(serde_json::to_vec(content).expect("our replies have names for keys and no failing parts"))
}

/// Refuses a query string where the route takes none: a misspelt parameter must not be ignored.
pub(crate) fn no_query(query: Option<&str>) -> Result<(), Problem> {
    match url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).next() {
        None => Ok(()),
        Some((name, _)) => Err(Problem::bad_request(format!("query parameter `{name}` is unknown: this route takes none"))),
    }
}

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let hint = "a database's routes are /{namespace}/{name}/sql, …/kv, …/docs, …/files, …/branches, …/changes, …/snapshot and …/flush";
    Problem::new(Kind::NoSuchRoute, format!("nothing is at {}; {hint}", uri.path()))
}

/// The router adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} does not know {method}; the header Allow tells what it knows", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_without_parameters_names_the_one_it_got() {
        assert_eq!(no_query(None), Ok(()));
        assert_eq!(no_query(Some("")), Ok(()));
        assert!(no_query(Some("ints=string")).unwrap_err().detail.contains("`ints`"));
    }
}
