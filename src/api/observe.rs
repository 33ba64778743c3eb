//! The outermost layer: gives each request an id, counts it, logs it, names the state that it tells of, and writes down what went wrong.
//!
//! Invariant: SQL, values and tokens reach neither log nor metrics; so the path is logged as its template, and never its query.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use engine::{DatabaseName, Seen, Spent, Witness};
use futures::future::Either;
use http_body_util::BodyExt as _;
use opentelemetry::context::FutureExt as _;
use rand::Rng as _;
use tokio::time::Instant;
use tower::Service;
use tracing::Instrument as _;

use crate::error::Problem;
use crate::guard::Entry;
use crate::here::{ByHost, Withheld};
use crate::metrics::OfDatabase;
use crate::spans::OpenSpan;
use crate::trace::TraceParent;
use crate::{App, guard, here, hrana, is_compressible, json};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The state that a reply tells of, or made.
const TXID: HeaderName = HeaderName::from_static("x-txid");
/// The newest state that is in the bucket.
pub(crate) const DURABLE_TXID: HeaderName = HeaderName::from_static("x-durable-txid");

/// Digits and dots as a header.
pub(crate) fn number(number: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(number.to_string()).expect("digits and dots")
}

/// The database that the caller of a request was admitted to, once it is known.
#[derive(Debug, Default)]
pub(crate) struct AdmittedTo(pub(crate) OnceLock<DatabaseName>);

/// A route with all of that around it.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    app: App,
    route: S,
}

/// What is known of a request before it is answered.
struct Asked {
    app: App,
    started: Instant,
    id: String,
    method: Method,
    path: Option<PathAndQuery>,
    route: Option<MatchedPath>,
    witness: Arc<Witness>,
    admitted: Arc<AdmittedTo>,
    by_host: bool,
    parent: Option<TraceParent>,
    span: Option<OpenSpan>,
}

impl<S> Observed<S> {
    pub(crate) fn new(app: App, route: S) -> Self {
        Self { app, route }
    }
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let asked = Asked::by(Arc::clone(&self.app), &mut request);
        let span = asked.span();
        let context = asked.span.as_ref().and_then(OpenSpan::context);
        let answer = match guard::enter(&self.app, request) {
            Entry::Refused(answer) => Either::Left(std::future::ready(answer)),
            Entry::In(request, page) => {
                let answering = self.route.call(request);
                Either::Right(async move {
                    let Ok(mut answer) = answering.await;
                    guard::let_read(&mut answer, page);
                    answer
                })
            }
        };
        let answered = async move { Ok(asked.answered(answer.await)) }.instrument(span);
        // What is done for the request is found in its trace.
        if let Some(context) = context { Box::pin(answered.with_context(context)) } else { Box::pin(answered) }
    }
}

impl Asked {
    fn by(app: App, request: &mut Request) -> Self {
        let mut asked = Self {
            started: app.clock.now(),
            app,
            id: sane_id(request.headers()).unwrap_or_else(|| fresh_id(draw())),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            route: request.extensions().get().cloned(),
            witness: Arc::default(),
            admitted: Arc::default(),
            by_host: request.extensions().get::<ByHost>().is_some(),
            parent: TraceParent::of(request.headers()),
            span: None,
        };
        asked.span = asked.begin(request);
        request.extensions_mut().insert(Arc::clone(&asked.witness));
        request.extensions_mut().insert(Arc::clone(&asked.admitted));
        asked
    }

    fn begin(&self, request: &Request) -> Option<OpenSpan> {
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let spans = self.app.spans.as_ref().filter(|_| !route.is_some_and(is_probe))?;
        Some(spans.answering(self.parent.as_ref(), &self.method, route, request.uri(), request.headers()))
    }

    /// What everything that is logged about the request has in common. Of the gravest level: a filter that lets a line through lets this through.
    fn span(&self) -> tracing::Span {
        let id = &self.id;
        match (self.span.as_ref().and_then(OpenSpan::ids), &self.parent) {
            (Some((trace_id, span_id)), parent) => {
                let parent_id = parent.as_ref().map(|parent| &*parent.parent_id);
                tracing::error_span!("request", request_id = id, trace_id, span_id, parent_id)
            }
            (None, Some(TraceParent { trace_id, parent_id, .. })) => tracing::error_span!("request", request_id = id, trace_id, parent_id),
            (None, None) => tracing::error_span!("request", request_id = id),
        }
    }

    /// The answer as it is sent; it is counted and logged.
    fn answered(self, mut response: Response) -> Response {
        let Self { app, started, id, method, path, route, witness, admitted, by_host, parent: _, span } = self;
        let route = route.as_ref().map_or("none", MatchedPath::as_str);
        let is_withheld = by_host && !app.is_current();
        if is_withheld {
            response = here::withheld(&method).into_response();
        }
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            let document = if hrana::is_route(&method, route) { hrana::failed(problem) } else { problem.render(&id) };
            response = with_headers(document, response.headers());
        }
        let took = app.clock.now() - started;
        let spent = witness.spent();
        let compressible = is_compressible(&response);
        let headers = response.headers_mut();
        if compressible {
            headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(Seen { state, durable }) = witness.seen().filter(|_| !is_withheld) {
            headers.insert(DURABLE_TXID, number(durable));
            headers.extend(state.map(|state| (TXID, number(state))));
            headers.insert(SERVER_TIMING, timing(&spent, took));
        }
        headers.insert(REQUEST_ID, HeaderValue::try_from(id).expect("an id has letters, digits and marks of ASCII"));
        if is_withheld {
            response.extensions_mut().insert(Withheld);
        }

        app.requests.routes.observe(route, &method, response.status(), took);
        let named = || match admitted.0.get() {
            Some(name) => Some(name.to_string()),
            None => path.as_ref().and_then(|path| database(route, path.path())),
        };
        if let Some(span) = span {
            span.answered(response.status(), named(), problem.map(|problem| problem.kind.row().1));
        }
        let status = response.status().as_u16();
        if is_probe(route) {
            tracing::debug!(%method, route, status, ?took, "request");
        } else {
            tracing::info!(%method, route, database = named(), status, ?took, queued = ?spent.queued, "request");
        }
        let Some(database) = admitted.0.get() else { return response };
        let of = app.requests.asked.of(database);
        of.observe(response.status(), took, spent.queued);
        counted(response, of)
    }
}

/// Where the time went, in milliseconds: waiting, with SQLite, and in all.
fn timing(spent: &Spent, took: Duration) -> HeaderValue {
    let mut text = Vec::with_capacity(64);
    for (name, time) in [("queue;dur=", spent.queued), (", sql;dur=", spent.ran), (", total;dur=", took)] {
        text.extend_from_slice(name.as_bytes());
        json::millis(&mut text, time);
    }
    HeaderValue::try_from(text).expect("words, digits and marks of ASCII")
}

/// The same response, whose bytes are counted as they are sent.
fn counted(response: Response, of: Arc<OfDatabase>) -> Response {
    if let Some(bytes) = response.body().size_hint().exact() {
        of.bytes.inc_by(bytes);
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            of.bytes.inc_by(frame.data_ref().map_or(0, |data| data.len() as u64));
            frame
        }))
    })
}

/// The document, with the headers that other layers gave the reply (`Allow`, CORS).
fn with_headers(mut document: Response, given: &HeaderMap) -> Response {
    for (name, value) in given {
        if ![header::CONTENT_LENGTH, header::CONTENT_TYPE].contains(name) {
            document.headers_mut().append(name, value.clone());
        }
    }
    document
}

/// Gives a request an id that it keeps wherever it goes on to.
pub(crate) fn identify(headers: &mut HeaderMap) {
    if sane_id(headers).is_none() {
        headers.insert(REQUEST_ID, HeaderValue::try_from(fresh_id(draw())).expect("an id has letters and digits"));
    }
}

/// The caller's own id, so that its logs and ours can be read together, if it is harmless to write down.
fn sane_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_harmless = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_harmless.then(|| id.to_owned())
}

/// Nothing is decided by it: it only tells one request from another in the log.
#[allow(clippy::disallowed_methods, reason = "request ids are drawn here alone")]
fn draw() -> u64 {
    rand::rng().random()
}

fn fresh_id(random: u64) -> String {
    format!("{random:016x}")
}

/// The database in the path, if it could be the name of one: anything else is the caller's text, which has no place in a log.
fn database(route: &str, path: &str) -> Option<String> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let (namespace, name) = (parts.next()?, parts.next()?);
    (route.starts_with("/{namespace}/{name}") && is_name(namespace) && is_name(name)).then(|| format!("{namespace}/{name}"))
}

/// As Kubernetes names objects.
fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
}

/// Asked every few seconds by machines, and of no interest while all is well.
fn is_probe(route: &str) -> bool {
    matches!(route, "/livez" | "/readyz" | "/metrics")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(id: &str) -> Option<String> {
        sane_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).unwrap())]))
    }

    #[test]
    fn an_id_that_could_confuse_a_log_is_replaced() {
        for id in ["a", "7f3c-11_x.Y", &"a".repeat(64)] {
            assert_eq!(given(id).as_deref(), Some(id));
        }
        for id in ["", "a b", "a\"b", "ü", "a=b", &"a".repeat(65)] {
            assert_eq!(given(id), None, "{id:?}");
        }
        assert_eq!(sane_id(&HeaderMap::new()), None);
        assert_eq!(fresh_id(255), "00000000000000ff");
    }

    #[test]
    fn text_that_names_no_database_is_not_logged() {
        assert_eq!(database("/{namespace}/{name}/sql", "/apps/orders/sql").as_deref(), Some("apps/orders"));
        assert_eq!(database("none", "/apps/orders/nothing"), None);
        assert_eq!(database("/{namespace}/{name}/sql", "/apps/or%64ers/sql"), None);
        assert!(is_name("orders") && is_name("orders-2.eu"));
        for text in ["", "a b", "Robert'); DROP TABLE", "a/b", "\u{1b}[31m", &"a".repeat(254)] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
