//! The heads of requests and answers that are passed on. Pure.
//!
//! Invariants: nothing that is meant for one connection goes on to the next (RFC 9110, 7.6.1); what forwarders tell each other is never what a
//! client wrote.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::address::OwnService;
use crate::error::Problem;
use crate::peers::{Member, Origin};

/// How often a request was passed on.
const HOPS: HeaderName = HeaderName::from_static("buckethead-hops");
/// For whom a request was passed on.
const CLIENT: HeaderName = HeaderName::from_static("buckethead-client");
/// Where whoever asks could have asked.
const HOST: HeaderName = HeaderName::from_static("buckethead-host");

/// Those of one connection, besides what `Connection` names.
const OF_ONE_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// How often a request was passed on before it came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hops(u8);

impl Hops {
    /// Two processes may take each other for the host while they learn of a change. This many forwards are enough for that.
    const MOST: u8 = 3;

    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(HOPS).iter();
        let Some(value) = values.next() else { return Ok(Self(0)) };
        let number = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|digits| digits.parse().ok()) {
            Some(number) if values.next().is_none() => Ok(Self(number)),
            _ => Err(Problem::bad_request(format!("`{HOPS}` is a number below 256, and is sent by forwarders alone"))),
        }
    }

    /// Where the request comes from.
    pub(super) fn origin(self) -> Origin {
        if self.0 == 0 { Origin::Client } else { Origin::Process }
    }

    /// With one more; `None` if that would be too many.
    pub(super) fn next(self) -> Option<Self> {
        (self.0 < Self::MOST).then(|| Self(self.0 + 1))
    }
}

/// Whom a forwarder asks for. Whether it is one is not known here.
pub(super) fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let mut values = headers.get_all(CLIENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()?.parse().ok()
}

/// The head as it goes on to `member`: the target as it was asked for, and all names by which we were addressed, so that it is read there as it
/// was here. `None` if the address of the member is none.
pub(super) fn outgoing(head: &Parts, member: &Member, hops: Hops, client: Option<IpAddr>) -> Option<(Uri, HeaderMap)> {
    let asked = head.extensions.get::<OwnService>().map_or(head.uri.path_and_query(), |own| own.asked.as_ref());
    let target = asked.cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme(member.url.scheme()).authority(member.url.authority()).path_and_query(target).build().ok()?;
    let mut headers = head.headers.clone();
    remove_of_one_connection(&mut headers);
    // We answer that ourselves by reading the body.
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
    for name in names(head.uri.authority(), &head.headers) {
        headers.append(header::HOST, name);
    }
    headers.insert(HOPS, HeaderValue::from(u16::from(hops.0)));
    headers.remove(CLIENT);
    headers.extend(client.and_then(|client| Some((CLIENT, HeaderValue::try_from(client.to_string()).ok()?))));
    Some((uri, headers))
}

/// Those of the URI, as HTTP/2 sends it, and of each `Host`, once each: HTTP/1.1 has the latter alone.
fn names(authority: Option<&Authority>, headers: &HeaderMap) -> Vec<HeaderValue> {
    let mut names: Vec<_> = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()).into_iter().collect();
    for host in headers.get_all(header::HOST) {
        if !names.contains(host) {
            names.push(host.clone());
        }
    }
    names
}

/// The head of an answer of `member`, as the client gets it. Only who was admitted is told who answered: others could learn from it what there is.
pub(super) fn incoming(headers: &mut HeaderMap, member: &Member, is_admitted: bool) {
    remove_of_one_connection(headers);
    if !is_admitted {
        headers.remove(HOST);
        return;
    }
    let url = member.url.as_str();
    // The member may have passed it on itself, and then names who answered.
    if let (false, Ok(url)) = (headers.contains_key(HOST), HeaderValue::from_str(url.strip_suffix('/').unwrap_or(url))) {
        headers.insert(HOST, url);
    }
}

/// Lets a connection become a socket.
pub(super) fn become_socket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

fn remove_of_one_connection(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in OF_ONE_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
