//! What leaves a process that is the host of a database: only while it is.
//!
//! Another process may take over once the lease of this one has run out. What was read before then is stale from that moment on.
//! Owns: the last look before something leaves. Does not own: until when this process is the host (`Peers`).
//! Invariant: no head and no piece of a body leaves behind a look that said that this process is the host no more. Sockets look by themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::error::{Kind, Problem};
use crate::peers::{Peers, Stay};

/// Marks a request that is answered here because this process is the host of its database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByHost;

/// Marks a reply that stands in the place of one that may not leave any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Withheld;

/// Marks a reply that lasts until it is ended: nobody waits for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unawaited;

/// What is told instead. A request that may have changed something must not be taken for one that did not.
pub(crate) fn withheld(method: &Method) -> Problem {
    if method.is_safe() || method.as_str() == "QUERY" {
        Problem::new(Kind::NoHost, "another process took the database over while this one answered; ask again")
    } else {
        let detail = "another process took the database over while this one answered; it is not known whether the request was carried out. Read \
                      before you send it again";
        Problem::new(Kind::HostLost, detail)
    }
}

/// The response, which holds `stay` until its body has ended if anybody is to wait for that, and breaks off when this process is the host no more.
pub(crate) fn kept(response: Response, stay: Stay, peers: Arc<dyn Peers>) -> Response {
    let is_over = response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response.extensions().get::<Withheld>().is_some()
        || response.body().is_end_stream();
    if is_over {
        return response;
    }
    let stay = if response.extensions().get::<Unawaited>().is_some() { None } else { Some(stay) };
    response.map(|body| Body::new(Kept { body, peers, stay }))
}

/// Another process may be the host by now.
#[derive(Debug, thiserror::Error)]
#[error("another process took the database over")]
struct TakenOver;

struct Kept {
    body: Body,
    peers: Arc<dyn Peers>,
    stay: Option<Stay>,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(_)) if !self.peers.is_current() => Some(Err(axum::Error::new(TakenOver))),
            Some(frame) => Some(frame),
            None => {
                self.stay = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
