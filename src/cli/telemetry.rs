//! Traces and metrics for OpenTelemetry, where a collector is named; without one nothing is made and nothing is sent.
//!
//! Owns: the flags, what names this process to the collector, and the order of the end. Does not own: what spans tell of requests (`api`), nor what is
//! counted.
//! Invariants: a collector that is away holds nobody up, neither requests nor the end; what we send it is itself no part of a trace.

mod collector;
mod metrics;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use api::{Api, Spans};
use clap::ValueEnum;
use controller::Scheme;
use controller::crd::Period;
use engine::{Clock as _, Hooks, SystemClock, WallTime, spawn_owned};
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource as Described;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use collector::{Collector, Kind};

/// Where to, and what.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[allow(clippy::struct_field_names, reason = "flags are called like them")]
pub(super) struct Arguments {
    /// Send traces and metrics to this collector by OTLP, over HTTP with protobuf: its base URL, as `http://collector.observability:4318`. Headers for
    /// it come from `OTEL_EXPORTER_OTLP_HEADERS`, names of this process from `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = endpoint)]
    otlp_endpoint: Option<Endpoint>,
    /// What is sent there.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Signal::Traces, Signal::Metrics], env = "BUCKETHEAD_OTLP_SIGNALS")]
    otlp_signals: Vec<Signal>,
    /// Which share of the traces that begin here is sent, from 0 to 1. Of one that a caller began, the caller's `traceparent` decides.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, env = "BUCKETHEAD_OTLP_SAMPLE_RATIO", value_parser = share)]
    otlp_sample_ratio: f64,
    /// How often metrics are sent.
    #[arg(long, value_name = "PERIOD", default_value = "60s", env = "BUCKETHEAD_OTLP_METRICS_INTERVAL", value_parser = interval)]
    otlp_metrics_interval: Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Signal {
    /// Spans of requests, of uploads, and of what stores are asked for a request.
    Traces,
    /// What `GET /metrics` shows.
    Metrics,
}

/// The base URL of a collector. An empty variable is one that is not set.
#[derive(Debug, Clone, PartialEq)]
struct Endpoint(Option<Url>);

fn endpoint(text: &str) -> Result<Endpoint, String> {
    if text.trim().is_empty() {
        return Ok(Endpoint(None));
    }
    let remedy = "write the collector's base URL, as http://127.0.0.1:4318";
    let mut url = Url::parse(text.trim()).map_err(|error| format!("{error}: {remedy}"))?;
    if !["http", "https"].contains(&url.scheme()) || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(remedy.to_owned());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(Endpoint(Some(url)))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 1, as 0.1".to_owned())
}

fn interval(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error| format!("{error}"))?;
    if period.as_duration() >= Duration::from_secs(1) { Ok(period) } else { Err("once a second at most".to_owned()) }
}

/// How long the last of it may take at the end.
const LAST: Duration = Duration::from_secs(3);

/// The scope of all spans and metrics.
const SCOPE: &str = "buckethead";

/// What is sent while the process runs. Whoever drops it gives up what was not sent.
pub(super) struct Telemetry {
    collector: Arc<Collector>,
    resource: Resource,
    traces: Option<SdkTracerProvider>,
    metrics: Option<Duration>,
    began: WallTime,
    sending: Option<AbortOnDropHandle<()>>,
    ends: CancellationToken,
    is_over: CancellationToken,
}

impl Arguments {
    /// Begins, if a collector is named.
    pub(super) fn begin(&self, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Telemetry>> {
        let Some(Endpoint(Some(base))) = self.otlp_endpoint.clone() else { return Ok(None) };
        let env = |name: &str| env(name).filter(|value: &String| !value.trim().is_empty());
        if let Some(protocol) = env("OTEL_EXPORTER_OTLP_PROTOCOL") {
            let remedy = "http/protobuf is spoken alone, which collectors take at port 4318";
            anyhow::ensure!(protocol == "http/protobuf", "the variable OTEL_EXPORTER_OTLP_PROTOCOL is `{protocol}`: {remedy}");
        }
        let headers = collector::headers(&env("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default())?;
        let collector = Arc::new(Collector::new(base, headers)?);
        let resource = resource(env);
        let is_over = CancellationToken::new();
        let traces = self.sends(Signal::Traces).then(|| {
            let exporter = spans::Exporter {
                collector: Arc::clone(&collector),
                runtime: Handle::current(),
                resource: ResourceAttributesWithSchema::default(),
                is_over: is_over.clone(),
            };
            let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(self.otlp_sample_ratio)));
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler).with_resource(resource.clone()).build()
        });
        let metrics = self.sends(Signal::Metrics).then(|| self.otlp_metrics_interval.as_duration());
        let (began, ends) = (SystemClock.wall(), CancellationToken::new());
        Ok(Some(Telemetry { collector, resource, traces, metrics, began, sending: None, ends, is_over }))
    }

    fn sends(&self, signal: Signal) -> bool {
        self.otlp_signals.contains(&signal)
    }
}

/// What names this process. The variables of OpenTelemetry are right where they say something else.
fn resource(env: impl Fn(&str) -> Option<String>) -> Resource {
    let own = [("k8s.pod.name", "POD_NAME"), ("service.instance.id", "POD_NAME"), ("k8s.namespace.name", "POD_NAMESPACE")];
    let own = own.into_iter().filter_map(|(key, variable)| Some(KeyValue::new(key, env(variable)?)));
    let resource = Resource::builder_empty()
        .with_attributes([KeyValue::new("service.name", "buckethead"), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))])
        .with_attributes(own)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match env("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

impl Telemetry {
    /// What makes spans of requests that are asked by `scheme`.
    pub(super) fn spans(&self, scheme: Scheme) -> Option<Spans> {
        Some(Spans { tracer: self.tracer()?, scheme: scheme.into() })
    }

    /// What makes spans.
    pub(super) fn tracer(&self) -> Option<BoxedTracer> {
        Some(BoxedTracer::new(Box::new(self.traces.as_ref()?.tracer(SCOPE))))
    }

    /// What makes spans of uploads and of requests to stores.
    pub(super) fn hooks(&self) -> Option<Arc<dyn Hooks>> {
        Some(Arc::new(spans::Told(self.traces.as_ref()?.tracer(SCOPE))))
    }

    /// Sends what `api` counts from now on.
    pub(super) fn watch(&mut self, api: Api) {
        let Some(interval) = self.metrics else { return };
        let (collector, ends, began) = (Arc::clone(&self.collector), self.ends.clone(), self.began);
        let resource = ResourceAttributesWithSchema::from(&self.resource);
        self.sending = Some(spawn_owned(async move {
            loop {
                let is_last = ends.run_until_cancelled(tokio::time::sleep(interval)).await.is_none();
                let message = message(&api.metrics(), &resource, began);
                // It has logged why, and the next message tells all that this one did.
                collector.take(Kind::Metrics, &message).await.ok();
                if is_last {
                    return;
                }
            }
        }));
    }

    /// Sends metrics for the last time: once the databases are closed, theirs are gone.
    pub(super) fn ending(&self) {
        self.ends.cancel();
    }

    /// Sends the last of it, within bounded time.
    pub(super) async fn end(mut self) {
        self.ending();
        let (sending, traces) = (self.sending.take(), self.traces.take());
        let ending = async {
            let of_traces = async {
                if let Some(traces) = traces {
                    tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(LAST)).await.ok();
                }
            };
            let of_metrics = async {
                if let Some(sending) = sending {
                    sending.await.ok();
                }
            };
            tokio::join!(of_traces, of_metrics);
        };
        if tokio::time::timeout(LAST, ending).await.is_err() {
            tracing::warn!("the collector did not take the last traces and metrics in time");
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.is_over.cancel();
    }
}

fn message(text: &str, resource: &ResourceAttributesWithSchema, began: WallTime) -> ExportMetricsServiceRequest {
    let nanoseconds = |time: WallTime| u64::try_from(time.as_nanosecond()).unwrap_or_default();
    let span = metrics::Span { from: nanoseconds(began), to: nanoseconds(SystemClock.wall()) };
    let scope =
        InstrumentationScope { name: SCOPE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), ..InstrumentationScope::default() };
    let scope_metrics = ScopeMetrics { scope: Some(scope), metrics: metrics::metrics(text, span), ..ScopeMetrics::default() };
    let resource = Described { attributes: resource.attributes.0.clone(), ..Described::default() };
    let all = ResourceMetrics { resource: Some(resource), scope_metrics: vec![scope_metrics], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Option<String> {
        endpoint(text).unwrap().0.map(String::from)
    }

    #[test]
    fn an_endpoint_is_a_base_url_and_an_empty_one_is_none() {
        assert_eq!(url("http://127.0.0.1:4318").as_deref(), Some("http://127.0.0.1:4318/"));
        assert_eq!(url("https://otlp.example/api").as_deref(), Some("https://otlp.example/api/"));
        assert_eq!(url(" "), None);
        for wrong in ["collector:4318", "127.0.0.1:4318", "grpc://c:4317", "http://c/?a=b", "http://user:secret@c"] {
            let told = endpoint(wrong).unwrap_err();
            assert!(told.contains("base URL") && !told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn shares_and_intervals_have_bounds() {
        assert_eq!((share("0"), share("0.25"), share("1")), (Ok(0.0), Ok(0.25), Ok(1.0)));
        for wrong in ["-0.1", "1.1", "10%", "NaN", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert_eq!(interval("90s").unwrap().as_duration(), Duration::from_secs(90));
        assert!(interval("999ms").is_err() && interval("often").is_err());
    }

    #[test]
    fn a_process_is_named_by_its_pod() {
        let named = |variable: &str| match variable {
            "POD_NAME" => Some("buckethead-0".to_owned()),
            "OTEL_SERVICE_NAME" => Some("orders-db".to_owned()),
            _ => None,
        };
        let is = |resource: &Resource, key: &'static str| resource.get(&key.into()).map(|value| value.to_string());
        let resource = resource(named);
        assert_eq!(is(&resource, "service.name").as_deref(), Some("orders-db"));
        assert_eq!(is(&resource, "service.instance.id").as_deref(), Some("buckethead-0"));
        assert_eq!(is(&resource, "k8s.namespace.name"), None);
        assert_eq!(is(&super::resource(|_| None), "service.name").as_deref(), Some("buckethead"));
    }
}
