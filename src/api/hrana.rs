//! Hrana: the protocol of libSQL's clients, over HTTP in versions 2 and 3 with JSON, and over WebSocket.
//!
//! Owns: its messages, the streams of its clients, what is an error in a reply and what fails a request. Does not own: what statements do.
//! A reply that is no success has the shape of [`failed`], on these routes alone: clients read neither problem documents nor other types.

mod baton;
mod cursor;
mod encode;
mod message;
mod pipeline;
mod program;
mod results;
mod socket;
mod streams;
mod work;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::Problem;
use crate::json;
use message::Failure;

pub(crate) use cursor::cursor;
pub(crate) use encode::value;
pub(crate) use pipeline::pipeline;
pub(crate) use socket::{is_upgrade, upgrade};
pub(crate) use streams::{Caller, Streams};

/// `GET v2` and `GET v3`: that we speak it.
pub(crate) async fn supported(_: crate::Admitted) -> StatusCode {
    StatusCode::OK
}

/// Whether replies of this route have Hrana's shape.
pub(crate) fn is_route(template: &str) -> bool {
    let below = template.strip_prefix("/{namespace}/{name}/").unwrap_or_default();
    matches!(below.split('/').next(), Some("v2" | "v3"))
}

/// A reply that is no success. `error` is for clients that look for nothing else.
pub(crate) fn failed(problem: &Problem) -> Response {
    #[derive(serde::Serialize)]
    struct Body {
        #[serde(flatten)]
        failure: Failure,
        error: String,
    }
    let mut body = Vec::new();
    json::plain(&mut body, &Body { failure: told(problem), error: problem.detail.clone() });
    let mut response = (problem.kind.status(), body).into_response();
    problem.kind.add_headers(response.headers_mut());
    // Without a charset: clients compare the whole value.
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A problem as an error within a stream.
fn told(problem: &Problem) -> Failure {
    Failure::new(problem.kind.row().1.replace('-', "_").to_ascii_uppercase(), problem.detail.clone())
}
