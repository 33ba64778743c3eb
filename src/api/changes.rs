//! `GET changes`: what each commit changes, as server-sent events.
//!
//! Owns: the shape of the events, and until when they are sent. Does not own: what is told (`engine`).
//! Invariant: the client takes events one by one, and nothing is kept for one that takes them slowly: the engine tells such a client to read anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Extension;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::{ChangeKind, Listener, News, Point, Position, RowChange, StateId};
use futures::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::Admitted;
use crate::error::{Kind, Problem};
use crate::here::Unawaited;
use crate::openapi::{Family, Operation, Schema, Tag, text};
use crate::promise::Promise;
use crate::query;
use crate::serve::Stopping;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a proxy reads that else waits until it has more to pass on.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The type of the reply.
const EVENTS: &str = "text/event-stream";

/// After so long without an event something is sent all the same, so that nobody takes the connection for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a client waits before it connects again, in milliseconds.
const RETRY: &str = "retry: 1000\n";

pub(crate) async fn listen(
    stopping: Option<Extension<Arc<Stopping>>>,
    admitted: Admitted,
    promise: Extension<Promise>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    if promise.durable {
        return Err(Problem::bad_request(
            "`durability`: commits are told as soon as readers see them; it is the database's mode that decides when",
        ));
    }
    if admitted.point != Point::Newest {
        return Err(Problem::bad_request("a past state does not change: `txid`, `at` and `X-Buckethead-At` mean nothing here"));
    }
    let Wish { after, tables } = Wish::of(&headers, uri.query().unwrap_or_default())?;
    let listener = admitted.handle.database.listen(after)?;
    let events = Events { listener, tables, moved: None, is_first: true };
    let pieces = stream::unfold(events, |mut events| async move {
        let piece = events.next().await?;
        Some((Ok::<_, Infallible>(piece), events))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENTS)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    let mut response = (headers, Body::from_stream(pieces)).into_response();
    response.extensions_mut().insert(Unawaited);
    Ok(until_stop(response, stopping.map(|Extension(stopping)| stopping)))
}

/// What the document tells of it.
pub(crate) fn operations() -> Family {
    let position = || json!({"type": "string", "pattern": r"^[0-9a-f]{16}\.[0-9]+$"});
    let listen = Operation::of_database(Tag::Changes, "get", "/changes", "listenToChanges", "Tells which rows each commit touches, as server-sent events.")
        .more("It goes on until either side ends it. A `change` has a `Commit` for its data, `begin` and `reset` an empty object; at `reset` read anew.")
        .refuses_durability()
        .only_now()
        .query("table", json!({"type": "array", "items": {"type": "string"}}), "Only changes of these tables, and of the schema.")
        .query("after", position(), "Where to go on: the `id` of an event.")
        .header("Last-Event-ID", position(), "The same, as browsers send it; it goes before `after`.")
        .gives_as(StatusCode::OK, EVENTS, text(), "Events, each with an `id`.")
        .telling(["Cache-Control"])
        .fails(&[Kind::TooManyListeners]);
    Family::of_types(vec![listen], [Schema::of::<Commit<'static>>()])
}

/// The reply, which ends in order when we stop if it is one that has no end of its own.
pub(crate) fn until_stop(response: Response, stopping: Option<Arc<Stopping>>) -> Response {
    let has_no_end = response.headers().get(header::CONTENT_TYPE).is_some_and(|content_type| content_type == EVENTS);
    let Some(stopping) = stopping.filter(|_| has_no_end) else { return response };
    let begun = async move { stopping.begun().await };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(begun))))
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    after: Option<Position>,
    /// None are all.
    tables: Vec<String>,
}

impl Wish {
    fn of(headers: &HeaderMap, query: &str) -> Result<Self, Problem> {
        query::whole(query, "the query string")?;
        let (mut after, mut tables) = (None, Vec::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "table" => tables.push(value.into_owned()),
                "after" if after.is_none() => after = Some(position("`after`", &value)?),
                "after" => return Err(Problem::bad_request("query parameter `after` is given twice")),
                _ => return Err(Problem::bad_request(format!("query parameter `{name}` is unknown; there are `after`, `table`"))),
            }
        }
        // A browser that connects again asks with the address that it had at first.
        let last =
            headers.get(LAST_EVENT_ID).map(|last| position("`Last-Event-ID`", &String::from_utf8_lossy(last.as_bytes()))).transpose()?;
        Ok(Self { after: last.or(after), tables })
    }
}

fn position(name: &str, text: &str) -> Result<Position, Problem> {
    text.parse().map_err(|error: engine::NoPosition| Problem::bad_request(format!("{name}: {error}")))
}

struct Events {
    listener: Listener,
    tables: Vec<String>,
    /// Behind commits of which the client was not told.
    moved: Option<Position>,
    is_first: bool,
}

impl Events {
    /// What is sent next. `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let silence = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(silence);
        loop {
            // However many commits are of no interest to this client.
            tokio::task::coop::consume_budget().await;
            let news = tokio::select! {
                biased;
                () = &mut silence => return Some(keep_alive(self.moved.take())),
                news = self.listener.next() => news?,
            };
            if let Some(mut piece) = self.piece(news) {
                self.moved = None;
                if std::mem::take(&mut self.is_first) {
                    piece.insert_str(0, RETRY);
                }
                return Some(piece.into());
            }
        }
    }

    fn piece(&mut self, news: News) -> Option<String> {
        match news {
            News::Begun(position) => Some(event(position, "begin", "{}")),
            News::Reset(position) => Some(event(position, "reset", "{}")),
            News::Commit { position, state, changes } => {
                let changes: Vec<_> = changes.iter().filter(|change| self.wants(change)).map(Change::of).collect();
                if changes.is_empty() {
                    self.moved = Some(position);
                    return None;
                }
                let commit = Commit { state: state.as_ref().map(StateId::to_string), changes };
                Some(event(position, "change", &serde_json::to_string(&commit).expect("texts and numbers")))
            }
        }
    }

    /// A change of the schema may be one of any table.
    fn wants(&self, change: &RowChange) -> bool {
        let is_wanted = |table: &String| self.tables.iter().any(|wanted| wanted.eq_ignore_ascii_case(table));
        self.tables.is_empty() || change.table.as_ref().is_none_or(is_wanted)
    }
}

/// The data of a `change`: one commit.
#[derive(Serialize, ToSchema)]
struct Commit<'a> {
    /// What `X-Txid` of a reply calls the state that it made.
    #[schema(required)]
    state: Option<String>,
    changes: Vec<Change<'a>>,
}

/// What a commit touched: a hint, without values.
#[derive(Serialize, ToSchema)]
struct Change<'a> {
    /// None where the schema changed.
    #[schema(required)]
    table: Option<&'a str>,
    kind: Word,
    /// None where there is none, or many were touched.
    #[schema(required)]
    rowid: Option<i64>,
}

/// What was done.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ChangeKind)]
enum Word {
    Insert,
    Update,
    Delete,
    Many,
    Schema,
}

impl<'a> Change<'a> {
    fn of(RowChange { table, kind, rowid }: &'a RowChange) -> Self {
        let kind = match kind {
            ChangeKind::Insert => Word::Insert,
            ChangeKind::Update => Word::Update,
            ChangeKind::Delete => Word::Delete,
            ChangeKind::Many => Word::Many,
            ChangeKind::Schema => Word::Schema,
        };
        Self { table: table.as_deref(), kind, rowid: *rowid }
    }
}

/// JSON of one line is what an event may hold as it is.
fn event(position: Position, name: &str, data: &str) -> String {
    format!("id: {position}\nevent: {name}\ndata: {data}\n\n")
}

/// A comment. With a position, which a client remembers without being told of an event.
fn keep_alive(moved: Option<Position>) -> Bytes {
    let id = moved.map_or_else(String::new, |position| format!("id: {position}\n"));
    format!(": keep-alive\n{id}\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0000000000000007.1";
    const TWO: &str = "0000000000000007.2";

    fn wish(last: Option<&'static str>, query: &str) -> Result<(Option<String>, Vec<String>), String> {
        let headers = last.map(|last| (LAST_EVENT_ID, HeaderValue::from_static(last))).into_iter().collect();
        let wish = Wish::of(&headers, query).map_err(|problem| problem.detail)?;
        Ok((wish.after.map(|after| after.to_string()), wish.tables))
    }

    #[test]
    fn the_event_that_a_browser_saw_last_goes_before_the_address() {
        let some = |position: &str| Some(position.to_owned());
        assert_eq!(wish(None, ""), Ok((None, vec![])));
        assert_eq!(wish(None, &format!("after={ONE}&table=a&table=b%20c")), Ok((some(ONE), vec!["a".to_owned(), "b c".to_owned()])));
        assert_eq!(wish(Some(TWO), &format!("after={ONE}")), Ok((some(TWO), vec![])));
        for (last, query, word) in [
            (None, "after=1", "`after`"),
            (None, "since=1", "`since` is unknown"),
            (None, "table=%zz", "`%zz`"),
            (Some("1"), "", "`Last-Event-ID`"),
        ] {
            let detail = wish(last, query).unwrap_err();
            assert!(detail.contains(word), "{detail}");
        }
        let twice = format!("after={ONE}&after={TWO}");
        assert!(wish(None, &twice).unwrap_err().contains("given twice"));
    }

    #[test]
    fn a_change_has_the_same_members_whatever_it_tells() {
        let json = |table: Option<&str>, kind, rowid| {
            let change = RowChange { table: table.map(str::to_owned), kind, rowid };
            serde_json::to_string(&Change::of(&change)).unwrap()
        };
        assert_eq!(json(Some("t\n"), ChangeKind::Insert, Some(-1)), r#"{"table":"t\n","kind":"insert","rowid":-1}"#);
        assert_eq!(json(Some("t"), ChangeKind::Delete, None), r#"{"table":"t","kind":"delete","rowid":null}"#);
        assert_eq!(json(Some("t"), ChangeKind::Many, None), r#"{"table":"t","kind":"many","rowid":null}"#);
        assert_eq!(json(None, ChangeKind::Schema, None), r#"{"table":null,"kind":"schema","rowid":null}"#);
    }

    #[test]
    fn what_keeps_a_connection_alive_is_no_event() {
        assert_eq!(keep_alive(None), ": keep-alive\n\n");
        assert_eq!(keep_alive(Some(ONE.parse().unwrap())), format!(": keep-alive\nid: {ONE}\n\n"));
    }
}
