//! Hrana: the protocol of libSQL's clients, over HTTP in versions 1 to 3 and over WebSocket, in JSON and in Protocol Buffers.
//!
//! Owns: its messages, the streams of its clients, what is an error in a reply and what fails a request. Does not own: what statements do.
//! A reply that is no success has the shape of [`failed`], on these routes alone: clients read neither problem documents nor other types.

mod baton;
mod cursor;
mod encode;
mod message;
mod operations;
mod pipeline;
mod program;
mod results;
mod socket;
mod stateless;
mod streams;
mod work;

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::Problem;
use crate::json;
use message::Failure;

pub(crate) use cursor::{cursor, cursor_in_protobuf};
pub(crate) use encode::value;
pub(crate) use operations::operations;
pub(crate) use pipeline::{pipeline, pipeline_in_protobuf};
pub(crate) use socket::{is_upgrade, upgrade};
pub(crate) use stateless::{batch, execute};
pub(crate) use streams::{Caller, Streams};

/// `GET v2`, `GET v3` and `GET v3-protobuf`: that we speak it. It is told to everybody, and of databases that do not exist as well: clients ask without a
/// token.
pub(crate) async fn supported() -> StatusCode {
    StatusCode::OK
}

/// Whether replies of this route have Hrana's shape.
pub(crate) fn is_route(method: &Method, template: &str) -> bool {
    let Some(below) = template.strip_prefix("/{namespace}/{name}") else { return false };
    let Some(below) = below.strip_prefix('/').filter(|below| !below.is_empty()) else { return method == Method::POST };
    matches!(below.split('/').next(), Some("v1" | "v2" | "v3" | "v3-protobuf"))
}

/// A reply that is no success. `error` is for clients that look for nothing else.
pub(crate) fn failed(problem: &Problem) -> Response {
    let mut response = refused(problem.kind.status(), &told(problem));
    problem.kind.add_headers(response.headers_mut());
    response
}

/// What fails a request as a whole.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = HranaRefused)]
pub(crate) struct Refused<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    /// The message again.
    error: &'a str,
}

fn refused(status: StatusCode, failure: &Failure) -> Response {
    let mut body = Vec::new();
    json::plain(&mut body, &Refused { failure, error: &failure.message });
    let mut response = (status, body).into_response();
    // Without a charset: clients compare the whole value.
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A problem as an error within a stream.
fn told(problem: &Problem) -> Failure {
    Failure::new(code(problem.kind.row().1), problem.detail.clone())
}

/// The word of a problem, as codes are spelled here.
pub(crate) fn code(word: &str) -> String {
    word.replace('-', "_").to_ascii_uppercase()
}
