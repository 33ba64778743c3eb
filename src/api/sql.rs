//! `POST sql` runs statements, `GET sql` and `QUERY sql` read.

mod answer;
mod export;
mod format;
mod keys;
mod operations;
mod request;
mod sqld;
mod style;
mod wishes;

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::handler::Handler as _;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use engine::{Answered, Database, Once, Point, Stream, StreamLimits, Witness, spawn_owned};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Kind, Problem};
use crate::{Admitted, App, Reading, body, reply};
use export::{Export, Part};
use format::Format;
pub(crate) use keys::Keys;
pub(crate) use operations::operations;
pub(crate) use sqld::run as run_for_sqld;
use style::Style;
pub(crate) use style::plain_value;
use wishes::{PREFERENCE_APPLIED, Wishes, etag};

/// Tells that the answer is the one that was given the first time.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A name and its value, of a query string.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// How a client wants its results.
struct Wanted {
    format: Format,
    style: Style,
    wishes: Wishes,
}

impl Wanted {
    /// Takes what is about results out of the query string, and leaves the rest.
    fn of<'a>(headers: &HeaderMap, uri: &'a Uri) -> Result<(Self, Vec<Parameter<'a>>), Problem> {
        let mut style = Style::default();
        let mut left = Vec::new();
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !style.take(&name, &value)? {
                left.push((name, value));
            }
        }
        let (format, wishes) = (Format::of(headers)?, Wishes::of(headers)?);
        if format != Format::Json {
            let refuse = |what: &str| {
                Err(Problem::bad_request(format!("{what} is for results that are made before they are sent; accept application/json")))
            };
            match &wishes {
                Wishes { terms, .. } if terms.only_at.is_some() => return refuse("if-match"),
                Wishes { terms, .. } if terms.without_rows => return refuse("prefer: return=minimal"),
                Wishes { key: Some(_), .. } => return refuse("idempotency-key"),
                Wishes { .. } => {}
            }
        }
        Ok((Self { format, style, wishes }, left))
    }

    /// The same where the query string is about nothing else.
    fn alone(headers: &HeaderMap, uri: &Uri) -> Result<Self, Problem> {
        let (wanted, left) = Self::of(headers, uri)?;
        match left.first() {
            None => Ok(wanted),
            Some((name, _)) => {
                let known = "`txid`, `at`, `shape`, `ints` and `values`";
                Err(Problem::bad_request(format!("query parameter `{name}` is unknown; there are {known}")))
            }
        }
    }

    fn limits(&self, limits: StreamLimits) -> StreamLimits {
        StreamLimits { query: self.wishes.terms.limits(limits.query), ..limits }
    }

    /// A reply of JSON; of nothing at all where that is preferred.
    fn reply(&self, response: engine::Response, json: Vec<u8>) -> Response {
        if self.wishes.terms.without_rows {
            self.told(StatusCode::NO_CONTENT.into_response())
        } else {
            self.told(reply::json(reply::held(json, response.holding)))
        }
    }

    /// With the preferences that were followed.
    fn told(&self, mut reply: Response) -> Response {
        reply.headers_mut().extend(self.wishes.applied().map(|applied| (PREFERENCE_APPLIED, applied)));
        reply
    }
}

/// Runs the statements of the body. Those of whoever may only read run as reads do.
pub(crate) async fn run(State(app): State<App>, Reading(admitted): Reading, request: Request) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let wanted = Wanted::alone(&head.headers, &head.uri)?;
    let (asked, content) = statements(&head, content).await?;
    let Admitted { name, handle, caller, point, .. } = admitted;
    let (database, is_past) = (handle.database, point != Point::Newest);
    if wanted.format != Format::Json {
        // Statements run twice for a table of Arrow's.
        let only_reads = caller.read_only || wanted.format == Format::Arrow;
        let begin = if only_reads || is_past || asked.looks_like_reads() { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let (export, parts) = Export::of(asked, wanted.format, wanted.style, begin)?;
        let reply = parts.reply(wanted.format, send(database.stream(only_reads), export, &wanted)).await?;
        return Ok(wanted.told(reply));
    }
    let terms = &wanted.wishes.terms;
    if let Some(key) = wanted.wishes.key.clone().filter(|_| !caller.read_only && !is_past) {
        let _under_way = app.keys.enter(&name, &key)?;
        let digest = wanted.wishes.digest(head.uri.query(), head.headers.get(header::CONTENT_TYPE), &content);
        return run_once(&app, &database, asked, &wanted, key, digest).await;
    }
    let started = app.clock.now();
    let response = match terms.only_at {
        _ if caller.read_only => database.read_on(&asked, terms).await?,
        // Only in its turn is it known what a request that may write finds.
        Some(_) => database.write_on(asked, terms).await?,
        None => database.run_on(asked, terms).await?,
    };
    let json = answer::json(&response, app.clock.now() - started, wanted.style);
    Ok(wanted.reply(response, json))
}

/// Runs statements that were sent under a key, unless they were run before.
async fn run_once(
    app: &App,
    database: &Database,
    asked: engine::Request,
    wanted: &Wanted,
    key: String,
    digest: [u8; 32],
) -> Result<Response, Problem> {
    if asked.transaction == engine::Transaction::None {
        return Err(Problem::bad_request("idempotency-key: a request that runs once is one transaction; leave `transaction` out"));
    }
    let (style, clock, started) = (wanted.style, Arc::clone(&app.clock), app.clock.now());
    let terms = &wanted.wishes.terms;
    let minimal = terms.without_rows;
    let used = format!("idempotency-key: `{key}` was sent with another request in the last 24 hours; take another key");
    let write = Box::new(move |response: &_| if minimal { Vec::new() } else { answer::json(response, clock.now() - started, style) });
    match database.write_once(asked, Once { key, digest, write }, terms).await? {
        Answered::Now(json) => Ok(wanted.reply(engine::Response::default(), json)),
        Answered::Before(json) => {
            let mut reply = wanted.reply(engine::Response::default(), json);
            reply.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            Ok(reply)
        }
        Answered::OtherRequest => Err(Problem::new(Kind::IdempotencyKeyReused, used)),
    }
}

/// Runs the statements of `?q=`; they may not write.
pub(crate) async fn query(
    State(app): State<App>,
    admitted: Admitted,
    uri: Uri,
    headers: HeaderMap,
    witness: Seen,
) -> Result<Response, Problem> {
    let (wanted, left) = Wanted::of(&headers, &uri)?;
    let asked = request::from_parameters(left)?;
    read(&app, admitted, asked, wanted, witness).await
}

/// `QUERY`: the statements of the body, which may not write.
pub(crate) async fn other(State(app): State<App>, method: Method, request: Request) -> Response {
    if method.as_str() != "QUERY" {
        let problem = reply::method_not_allowed(method, request.uri().clone()).await;
        return ([(header::ALLOW, HeaderValue::from_static("GET,HEAD,POST,QUERY"))], problem).into_response();
    }
    query_by_body.call(request, app).await
}

async fn query_by_body(State(app): State<App>, Reading(admitted): Reading, witness: Seen, request: Request) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let wanted = Wanted::alone(&head.headers, &head.uri)?;
    let (asked, _) = statements(&head, content).await?;
    read(&app, admitted, asked, wanted, witness).await
}

/// The statements of a body, and the body.
async fn statements(head: &Parts, content: axum::body::Body) -> Result<(engine::Request, bytes::Bytes), Problem> {
    let form = Form::of(head.headers.get(header::CONTENT_TYPE))?;
    let content = body::read(&head.headers, content).await?;
    let asked = match form {
        Form::Json => request::from_json(&content)?,
        Form::Text => request::from_text(&content)?,
    };
    Ok((asked, content))
}

/// Who sees of which state an answer tells.
type Seen = axum::Extension<Arc<Witness>>;

/// Reads the newest version, or the past state that was asked for.
async fn read(
    app: &App,
    admitted: Admitted,
    asked: engine::Request,
    wanted: Wanted,
    axum::Extension(witness): Seen,
) -> Result<Response, Problem> {
    let started = app.clock.now();
    let database = admitted.handle.database;
    let Wanted { format, style, wishes } = &wanted;
    if let Some(etag) = database.newest().map(|newest| etag(newest, *format)).filter(|etag| wishes.knows(etag)) {
        return Ok((StatusCode::NOT_MODIFIED, state_headers(&etag)).into_response());
    }
    let mut reply = if *format == Format::Json {
        let response = database.read_on(&asked, &wishes.terms).await?;
        let json = answer::json(&response, app.clock.now() - started, *style);
        wanted.reply(response, json)
    } else {
        let (export, parts) = Export::of(asked, *format, *style, "BEGIN")?;
        parts.reply(*format, send(database.stream(true), export, &wanted)).await?
    };
    // Of a long result it is not known yet.
    if let Some(state) = witness.seen().and_then(|seen| seen.state) {
        reply.headers_mut().extend(state_headers(&etag(state, *format)).into_iter().map(|(name, value)| (Some(name), value)));
    }
    Ok(reply)
}

/// Of a reply that stays true as long as the state does.
fn state_headers(etag: &str) -> [(HeaderName, HeaderValue); 3] {
    [
        (header::ETAG, HeaderValue::try_from(format!("W/\"{etag}\"")).expect("digits, letters and dots in quotes")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        (header::VARY, HeaderValue::from_static("accept, authorization")),
    ]
}

/// Runs an export beside the reply that it makes.
fn send(mut stream: Stream, export: Export, wanted: &Wanted) -> AbortOnDropHandle<()> {
    let limits = wanted.limits(stream.limits());
    let parts = export.sender();
    spawn_owned(async move {
        match stream.run(export, &limits).await {
            Ok(export) => export.finish().await,
            // The database was not served, or was lost meanwhile.
            Err(error) => drop(parts.send(Part::Failed(error.into())).await),
        }
    })
}

/// How the statements are written down in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Text,
}

impl Form {
    /// By Content-Type. Without one, and with the one that curl sends by itself, the body is SQL.
    fn of(content_type: Option<&HeaderValue>) -> Result<Self, Problem> {
        let Some(value) = content_type else { return Ok(Self::Text) };
        let value = value.to_str().unwrap_or("(not text)");
        let mut parts = value.split(';').map(str::trim);
        let form = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "text/plain" | "application/x-www-form-urlencoded" => Self::Text,
            _ => return Err(unsupported(value)),
        };
        let charset = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("charset"));
        match charset.map(|(_, charset)| charset.trim_matches('"').to_ascii_lowercase()).as_deref() {
            None | Some("utf-8" | "us-ascii") => Ok(form),
            Some(_) => Err(unsupported(value)),
        }
    }
}

fn unsupported(value: &str) -> Problem {
    let detail = format!("Content-Type `{value}` is not understood; send application/json, or SQL as text/plain, in UTF-8");
    Problem::new(Kind::UnsupportedMediaType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: &'static str) -> Result<Form, Problem> {
        Form::of(Some(&HeaderValue::from_static(content_type)))
    }

    #[test]
    fn a_body_without_a_type_and_one_from_plain_curl_are_sql() {
        assert_eq!(Form::of(None), Ok(Form::Text));
        assert_eq!(form("application/x-www-form-urlencoded"), Ok(Form::Text));
        assert_eq!(form("text/plain; charset=UTF-8"), Ok(Form::Text));
        assert_eq!(form("Application/JSON;charset=\"utf-8\""), Ok(Form::Json));
    }

    #[test]
    fn other_types_and_charsets_are_refused_by_name() {
        for value in ["application/xml", "text/plain; charset=latin1", "", "multipart/form-data; boundary=x"] {
            let problem = form(value).unwrap_err();
            assert_eq!(problem.kind, Kind::UnsupportedMediaType);
            assert!(problem.detail.contains(value), "{}", problem.detail);
        }
    }
}
