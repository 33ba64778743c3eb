//! What may fail, as the document tells it: by status, with the words of `type` that come with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::shared;
use crate::error::{Document, Kind, TYPES};
use crate::hrana;

use super::operation::Schema;

/// Before any route is looked at.
pub(super) const OF_ANY: &[Kind] = &[Kind::ForeignOrigin, Kind::ForeignHost, Kind::Internal];

/// Of all routes below a name.
pub(super) const OF_ANY_DATABASE: &[Kind] = &[Kind::BadRequest, Kind::NoHost, Kind::HostUnreachable, Kind::HostLost];

/// Of all routes that ask a database.
pub(super) const OF_DATABASE: &[Kind] = &[
    Kind::Unauthorized,
    Kind::TooManyFailures,
    Kind::AuthorityUnavailable,
    Kind::NoSuchDatabase,
    Kind::DatabaseOpening,
    Kind::DatabaseFailed,
    Kind::DatabaseClosing,
    Kind::DatabaseSuspended,
    Kind::DatabaseBusy,
    Kind::Fenced,
    // With `consistency=strong` and `durability=sync`.
    Kind::BucketUnavailable,
    Kind::BucketFailed,
    Kind::DurabilityUnknown,
];

/// Of all that take a body.
pub(super) const OF_BODY: &[Kind] = &[Kind::BodyTimeout, Kind::BodyTooLarge];

/// Of a body that has to be JSON.
pub(crate) const OF_JSON: &[Kind] = &[Kind::UnsupportedMediaType];

/// Of statements that read, and of all that reads by such.
pub(crate) const OF_READS: &[Kind] = &[
    Kind::SqlStatement,
    Kind::SqlConstraint,
    Kind::SqlLimit,
    Kind::SqlResultTooLarge,
    Kind::SqlBusy,
    Kind::SqlTimeout,
    Kind::SqlInternal,
    Kind::ResultsCrowded,
];

/// Of what writes, besides.
pub(crate) const OF_WRITES: &[Kind] = &[Kind::WritesRefused, Kind::SqlFull];

/// Of statements that a client wrote, besides.
pub(crate) const OF_STATEMENTS: &[Kind] = &[Kind::SqlArguments, Kind::SqlForbidden];

/// Of a past state.
pub(super) const OF_PAST: &[Kind] = &[Kind::BranchRefused, Kind::TooManyPasts];

/// Schemas that the replies name.
pub(super) fn schemas() -> [Schema; 2] {
    [Schema::of::<Document<'static>>(), Schema::of::<hrana::Refused<'static>>()]
}

/// A reply for each status of these. Replies without a body are those to HEAD.
pub(super) fn replies(kinds: &[Kind], in_hrana: bool, without_body: bool, shared: &mut Map<String, Value>) -> Vec<(String, Value)> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        let of_status = by_status.entry(kind.status().as_u16()).or_default();
        if !of_status.contains(kind) {
            of_status.push(*kind);
        }
    }
    let reply = |(status, mut kinds): (u16, Vec<Kind>)| {
        kinds.sort_by_key(|kind| kind.row().1);
        let name = name(status, &kinds, in_hrana, without_body);
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        shared.entry(name).or_insert_with(|| written(status, &kinds, in_hrana, without_body));
        (status.to_string(), reference)
    };
    by_status.into_iter().map(reply).collect()
}

/// The status, and the words that not every database may answer with.
fn name(status: u16, kinds: &[Kind], in_hrana: bool, without_body: bool) -> String {
    let is_usual = |kind: &&Kind| [OF_ANY, OF_ANY_DATABASE, OF_DATABASE].iter().any(|usual| usual.contains(kind));
    let usual = kinds.iter().filter(is_usual).count();
    // Those of the server alone are fewer.
    let all = [OF_ANY, OF_ANY_DATABASE, OF_DATABASE].concat().iter().filter(|kind| kind.status().as_u16() == status).count();
    let mut parts = vec![if in_hrana { "Hrana" } else { "Problem" }.to_owned(), status.to_string()];
    let all_words = usual != all;
    parts.extend(kinds.iter().filter(|kind| all_words || !is_usual(kind)).map(|kind| kind.row().1.to_owned()));
    parts.extend(without_body.then(|| "head".to_owned()));
    parts.join(".")
}

fn written(status: u16, kinds: &[Kind], in_hrana: bool, without_body: bool) -> Value {
    let words: Vec<_> = kinds.iter().map(|kind| kind.row()).collect();
    let spelled = |word: &str| if in_hrana { hrana::code(word) } else { word.to_owned() };
    let lines: Vec<_> = words.iter().map(|(_, word, title)| format!("`{}`: {title}.", spelled(word))).collect();
    let mut headers = json!({"X-Request-Id": shared::header("X-Request-Id")});
    if kinds.iter().any(|kind| kind.retry_after().is_some()) {
        headers["Retry-After"] = shared::header("Retry-After");
    }
    if kinds.contains(&Kind::Unauthorized) {
        headers["WWW-Authenticate"] = shared::header("WWW-Authenticate");
    }
    if kinds.contains(&Kind::RangeNotSatisfiable) {
        headers["Content-Range"] = shared::header("Content-Range");
    }
    let mut reply = json!({"description": lines.join(" "), "headers": headers});
    if without_body {
        return reply;
    }
    reply["content"] = if in_hrana {
        // A statement that fails has SQLite's word, or one of Hrana's own.
        json!({"application/json": {"schema": shared::named("HranaRefused")}})
    } else {
        let types: Vec<_> = words.iter().map(|(_, word, _)| format!("{TYPES}{word}")).collect();
        let narrowed = json!({"properties": {"type": {"enum": types}, "status": {"const": status}}});
        json!({"application/problem+json": {"schema": {"allOf": [shared::named("Problem"), narrowed]}}})
    };
    reply
}
