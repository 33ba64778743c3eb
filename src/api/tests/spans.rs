//! Requests as spans.

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use parking_lot::Mutex;

use super::*;
use crate::Spans;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Keeps those that ended. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Ended {
    /// What makes them; of traces that begin here it keeps all or none.
    pub(super) fn spans(&self, root: Sampler) -> Spans {
        let provider = SdkTracerProvider::builder().with_span_processor(self.clone()).with_sampler(Sampler::ParentBased(Box::new(root)));
        Spans { tracer: BoxedTracer::new(Box::new(provider.build().tracer("test"))), scheme: "https" }
    }

    pub(super) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.0.lock())
    }
}

async fn server(root: Sampler) -> (Server, Ended) {
    let ended = Ended::default();
    let (host, store) = Server::host_with_database(|config| config).await;
    let spans = ended.spans(root);
    let server = Server::configured(host, Guard::Operator, Some(store), |config| Config { spans: Some(spans), ..config });
    (server, ended)
}

pub(super) fn told(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|KeyValue { key: known, .. }| known.as_str() == key).map(|told| told.value.to_string())
}

#[tokio::test]
async fn a_request_is_told_by_its_template_and_its_database() {
    let (server, ended) = server(Sampler::AlwaysOn).await;
    let headers = [("host", "db.example:8443"), ("traceparent", &*format!("00-{TRACE}-{CALLER}-01")), ("tracestate", "vendor=1")];
    server.ask("GET", "/apps/orders/kv/secret%20key", &headers, "").await;
    let [span] = &ended.take()[..] else { panic!("one span") };
    assert_eq!((&*span.name, &span.span_kind), ("GET /{namespace}/{name}/kv/{*key}", &SpanKind::Server));
    assert_eq!((span.span_context.trace_id().to_string(), span.parent_span_id.to_string()), (TRACE.to_owned(), CALLER.to_owned()));
    assert!(span.parent_span_is_remote && span.span_context.trace_state().get("vendor") == Some("1"));
    let keys =
        ["http.request.method", "url.scheme", "server.address", "server.port", "http.response.status_code", "db.namespace", "error.type"];
    let all = keys.map(|key| told(span, key).unwrap_or_default());
    assert_eq!(all, ["GET", "https", "db.example", "8443", "404", "apps/orders", "not-found"]);
    assert!(!format!("{span:?}").contains("secret"));
}

#[tokio::test]
async fn what_a_caller_did_wrong_is_no_error_of_the_server() {
    let (server, ended) = server(Sampler::AlwaysOn).await;
    assert_eq!(server.run("select nothing").await.status, StatusCode::BAD_REQUEST);
    let [span] = &ended.take()[..] else { panic!("one span") };
    assert_eq!((told(span, "error.type").as_deref(), &span.status), (Some("sql-statement"), &Status::Unset));
}

#[tokio::test]
async fn probes_and_what_nobody_keeps_have_none_and_text_of_callers_names_none() {
    let (server, ended) = server(Sampler::AlwaysOff).await;
    let kept = format!("00-{TRACE}-{CALLER}-01");
    for path in ["/livez", "/readyz", "/metrics"] {
        server.ask("GET", path, &[("traceparent", &kept)], "").await;
    }
    server.get("/apps/orders/sql?q=select+1").await;
    server.ask("GET", "/", &[("traceparent", &format!("00-{TRACE}-{CALLER}-00"))], "").await;
    assert_eq!(ended.take(), []);
    server.ask("BREW", "/nowhere", &[("host", "a b"), ("traceparent", &kept)], "").await;
    let [span] = &ended.take()[..] else { panic!("one span") };
    assert_eq!((&*span.name, told(span, "http.request.method").as_deref()), ("HTTP", Some("_OTHER")));
    assert_eq!((told(span, "http.route"), told(span, "server.address")), (None, None));
}
