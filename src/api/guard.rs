//! Who is let in before any route is looked at, and who may ask a database.
//!
//! Owns: the rules for `Host`, `Origin` and bearer tokens. Does not own: which tokens a database has.
//! Invariant: nothing about a database is told, not even that it exists, to whom its access does not admit. Only time may tell that there is one
//! whose tokens Kubernetes knows: somebody has to be asked.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{Access, Grant, Permission, TokenDigest};

use crate::error::{Kind, Problem};
use crate::{Shared, address};

/// Against what this process protects itself.
#[derive(Debug, Clone)]
pub enum Guard {
    /// On a developer's machine, where any web page that the developer visits can send requests to us.
    Dev {
        /// The values of `Host` that are ours, with their ports. A page that points its own name at our address (DNS rebinding) has another.
        hosts: Vec<String>,
        /// The web pages that may ask, such as `http://localhost:5173`.
        origins: Vec<String>,
        /// Needed when we listen on an address that others reach. `Host` is not checked then, because a page does not know the token.
        token: Option<TokenDigest>,
    },
    /// In a cluster: each database has its own tokens, and names come from Services and Ingresses that we do not know.
    Operator,
}

/// What the guard has to say about a request before it is routed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Pass,
    /// Go on, and permit the page of this origin to read the answer.
    PassTo(HeaderValue),
    /// A browser asks whether the page of this origin may ask.
    Preflight(HeaderValue),
    /// Go no further.
    Refuse(Problem),
}

/// What can be said of whoever asks a database without asking anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opinion<'a> {
    /// They may do this.
    Permits(Permission),
    /// They may do nothing.
    Refuses,
    /// Only Kubernetes knows this token.
    Asks(&'a str),
}

impl Guard {
    /// Decides by the request's line and headers alone. `authority` is the host in the URI, as HTTP/2 sends it.
    pub(crate) fn judge(&self, method: &Method, authority: Option<&str>, headers: &HeaderMap) -> Verdict {
        let Self::Dev { hosts, origins, token } = self else { return Verdict::Pass };
        if token.is_none()
            && let Err(problem) = check_host(hosts, authority, headers)
        {
            return Verdict::Refuse(problem);
        }
        let mut asking = headers.get_all(header::ORIGIN).iter();
        match (asking.next(), asking.next()) {
            (None, _) => Verdict::Pass,
            (Some(origin), None) if origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) => {
                let is_preflight = method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
                if is_preflight { Verdict::Preflight(origin.clone()) } else { Verdict::PassTo(origin.clone()) }
            }
            (Some(origin), _) => Verdict::Refuse(Problem::new(
                Kind::ForeignOrigin,
                format!("the origin {origin:?} may not ask; start `dev` with --allow-origin to permit it"),
            )),
        }
    }

    /// Whether the bearer of `token` may see the metrics. In a cluster the network's policy decides that, as for any other scrape.
    pub(crate) fn admits_to_metrics(&self, token: Option<&str>) -> bool {
        self.own_access().is_none_or(|own| own.permits(token).is_some())
    }

    /// What the bearer of `token` may do with a database; whoever is refused does not even learn that it exists. `access` is its own; `None`
    /// if there is no such database.
    pub(crate) fn opinion<'a>(&self, access: Option<&Access>, token: Option<&'a str>) -> Opinion<'a> {
        let own = self.own_access();
        if let Some(permission) = own.as_ref().and_then(|own| own.permits(token)) {
            return Opinion::Permits(permission);
        }
        match (own, access) {
            // Open means open to whoever reaches us, and whoever has not our own token does not.
            (Some(_), None | Some(Access::Open)) => Opinion::Refuses,
            (_, Some(Access::Kubernetes)) => token.map_or(Opinion::Refuses, Opinion::Asks),
            (_, Some(access)) => access.permits(token).map_or(Opinion::Refuses, Opinion::Permits),
            // In a cluster, "not found" would tell which names exist.
            (None, None) if self.is_dev() => Opinion::Permits(Permission::Write),
            (None, None) => Opinion::Refuses,
        }
    }

    /// Whether this is a developer's machine, where the index lists what may be asked.
    pub(crate) fn is_dev(&self) -> bool {
        matches!(self, Self::Dev { .. })
    }

    fn own_access(&self) -> Option<Access> {
        match self {
            Self::Dev { token: Some(token), .. } => {
                Some(Access::Tokens(vec![Grant { token: token.clone(), permission: Permission::Write }]))
            }
            Self::Dev { token: None, .. } | Self::Operator => None,
        }
    }
}

/// Every name under which the request addresses us must be ours: the URI's authority and each `Host`. Without any it is refused.
fn check_host(allowed: &[String], authority: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    let mut named = false;
    for host in address::hosts(authority, headers) {
        named = true;
        if !allowed.iter().any(|ours| ours.eq_ignore_ascii_case(host)) {
            let ours = allowed.join(", ");
            return Err(Problem::new(Kind::ForeignHost, format!("the host {host:?} is not ours; use one of {ours}")));
        }
    }
    if named { Ok(()) } else { Err(Problem::new(Kind::ForeignHost, "the request names no host; send a Host header")) }
}

/// The bearer token of a request. Two `Authorization` headers are none: a proxy and we might each believe another one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What somebody hears whose token does not admit them.
pub(crate) fn unauthorized() -> Problem {
    Problem::new(Kind::Unauthorized, "send `Authorization: Bearer <token>` with a token of this database")
}

/// What becomes of a request before all routes.
pub(crate) enum Entry {
    /// It goes on; the page of this origin may read the answer.
    In(Request, Option<HeaderValue>),
    /// It is answered.
    Refused(Response),
}

/// Before all routes.
pub(crate) fn enter(app: &Shared, mut request: Request) -> Entry {
    if let Some(problem) = request.extensions_mut().remove::<Problem>() {
        return Entry::Refused(problem.into_response());
    }
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    match app.guard.judge(request.method(), authority, request.headers()) {
        Verdict::Pass => Entry::In(request, None),
        Verdict::PassTo(origin) => Entry::In(request, Some(origin)),
        Verdict::Preflight(origin) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let headers = response.headers_mut();
            permit(headers, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, QUERY"));
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static(
                    "accept, authorization, content-disposition, content-type, idempotency-key, if-match, if-none-match, if-range, last-event-id, \
                     prefer, range, traceparent, x-buckethead-at, x-request-id",
                ),
            );
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
            Entry::Refused(response)
        }
        Verdict::Refuse(problem) => Entry::Refused(problem.into_response()),
    }
}

/// Lets the page of this origin read the answer, if there is one.
pub(crate) fn let_read(response: &mut Response, page: Option<HeaderValue>) {
    let Some(origin) = page else { return };
    let headers = response.headers_mut();
    permit(headers, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

/// What a page may read of an answer besides what every page may.
const EXPOSED: &str = "accept-ranges, content-disposition, content-range, etag, idempotent-replayed, location, preference-applied, retry-after, \
     server-timing, x-buckethead-created-at, x-buckethead-updated-at, x-durable-txid, x-request-id, x-txid";

fn permit(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests;
