//! Requests as spans of their callers' traces, for whoever exports them.
//!
//! Owns: which requests have spans, and what those tell. Does not own: which of them are kept and where they go (the tracer), nor what a caller
//! says of its trace (`trace`).
//! Invariants: SQL, values, keys and tokens are in no span, so the path is told as its template; without a tracer nothing is made.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use engine::DatabaseName;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};

use crate::address;
use crate::trace::{TRACEPARENT, TraceParent};

/// What makes spans of requests.
pub struct Spans {
    /// Where they go.
    pub tracer: BoxedTracer,
    /// What is spoken to clients: `http` or `https`.
    pub scheme: &'static str,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// A request, or its way to another process, while it lasts. Whoever drops it ends it.
pub(crate) struct OpenSpan(Context);

impl Spans {
    /// Of a request that this process answers. `route` is a template of the router.
    pub(crate) fn answering(
        &self,
        parent: Option<&TraceParent>,
        method: &Method,
        route: Option<&str>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> OpenSpan {
        let method = known(method);
        let name = match (method, route) {
            (Some(method), Some(route)) => format!("{method} {route}"),
            (method, _) => method.unwrap_or("HTTP").to_owned(),
        };
        let span = self.begin(SpanBuilder::from_name(name).with_kind(SpanKind::Server), parent);
        span.tell(|| {
            let mut told = vec![of_method(method), KeyValue::new("url.scheme", self.scheme)];
            told.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
            if let Some((name, port)) = address::server(uri, headers) {
                told.push(KeyValue::new("server.address", name.to_owned()));
                told.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
            }
            told
        });
        span
    }

    /// Of a request that is passed on to another process.
    pub(crate) fn passing_on(&self, parent: Option<&TraceParent>, method: &Method, database: &DatabaseName, host: &str) -> OpenSpan {
        let method = known(method);
        let name = format!("forward {}", method.unwrap_or("HTTP"));
        let span = self.begin(SpanBuilder::from_name(name).with_kind(SpanKind::Client), parent);
        span.tell(|| {
            let [system, namespace] = of_database(database.to_string());
            vec![of_method(method), KeyValue::new("server.address", host.to_owned()), system, namespace]
        });
        span
    }

    fn begin(&self, builder: SpanBuilder, parent: Option<&TraceParent>) -> OpenSpan {
        let parent = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent.context()));
        OpenSpan(parent.with_span(self.tracer.build_with_context(builder, &parent)))
    }
}

impl OpenSpan {
    /// For what is done meanwhile. `None` if nobody keeps the span: then nothing that hangs on it is kept either.
    pub(crate) fn context(&self) -> Option<Context> {
        self.0.span().is_recording().then(|| self.0.clone())
    }

    /// Its trace and itself, as a log names them, if somebody keeps it.
    pub(crate) fn ids(&self) -> Option<(String, String)> {
        let span = self.0.span();
        span.is_recording().then(|| (span.span_context().trace_id().to_string(), span.span_context().span_id().to_string()))
    }

    /// Makes it the parent of what `headers` are sent with. Kept or not: whoever gets them does as we do.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) {
        let span = self.0.span();
        let context = span.span_context();
        if context.is_valid() {
            let value = format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags());
            headers.insert(TRACEPARENT, HeaderValue::try_from(value).expect("digits and dashes"));
        }
    }

    /// The answer is there. `database` is the one that it is about, `problem` the word for what went wrong.
    pub(crate) fn answered(self, status: StatusCode, database: Option<String>, problem: Option<&'static str>) {
        self.tell(|| {
            let mut told = vec![KeyValue::new("http.response.status_code", i64::from(status.as_u16()))];
            told.extend(database.into_iter().flat_map(of_database));
            if let Some(problem) = problem {
                told.push(KeyValue::new("error.type", problem));
            } else if status.is_server_error() {
                told.push(KeyValue::new("error.type", status.as_str().to_owned()));
            }
            told
        });
        // What a caller did wrong is no fault of the server's.
        if status.is_server_error() {
            self.0.span().set_status(Status::error(problem.unwrap_or_default()));
        }
        self.0.span().end();
    }

    fn tell(&self, attributes: impl FnOnce() -> Vec<KeyValue>) {
        let span = self.0.span();
        if span.is_recording() {
            span.set_attributes(attributes());
        }
    }
}

fn of_method(method: Option<&'static str>) -> KeyValue {
    KeyValue::new("http.request.method", method.unwrap_or("_OTHER"))
}

fn of_database(name: String) -> [KeyValue; 2] {
    [KeyValue::new("db.system.name", "sqlite"), KeyValue::new("db.namespace", Value::from(name))]
}

/// One that everybody knows; any other is the caller's own text.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}
