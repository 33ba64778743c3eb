//! Traces and metrics at a collector of OpenTelemetry, and the log's level while the process runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status};
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Dev, Folders, Resource, Signal, until};

/// It takes what it is sent, unless it is told to refuse.
struct Collector {
    taken: Arc<Taken>,
    url: String,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Taken {
    refuses: AtomicBool,
    asked: AtomicUsize,
    headers: Mutex<HeaderMap>,
    traces: Mutex<Vec<Bytes>>,
    metrics: Mutex<Vec<Bytes>>,
}

impl Collector {
    async fn start() -> Self {
        async fn take(State((taken, of)): State<(Arc<Taken>, Of)>, headers: HeaderMap, body: Bytes) -> StatusCode {
            taken.asked.fetch_add(1, Ordering::Relaxed);
            if taken.refuses.load(Ordering::Relaxed) {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            of(&taken).lock().push(body);
            *taken.headers.lock() = headers;
            StatusCode::OK
        }
        type Of = fn(&Taken) -> &Mutex<Vec<Bytes>>;
        let taken = Arc::<Taken>::default();
        let route = |of: Of| post(take).with_state((Arc::clone(&taken), of));
        let routes =
            axum::Router::new().route("/v1/traces", route(|taken| &taken.traces)).route("/v1/metrics", route(|taken| &taken.metrics));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = engine::spawn_owned(api::serve(listener, None, routes, CancellationToken::new(), Duration::ZERO));
        Self { taken, url, _serving: serving }
    }

    /// All spans so far, and what names their process.
    fn spans(&self) -> (Vec<Span>, Vec<KeyValue>) {
        let messages = self.taken.traces.lock();
        let all = messages.iter().flat_map(|message| ExportTraceServiceRequest::decode(&**message).unwrap().resource_spans);
        let mut spans = Vec::new();
        let mut named = Vec::new();
        for of_process in all {
            named = of_process.resource.unwrap().attributes;
            spans.extend(of_process.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        (spans, named)
    }

    /// How many requests of this route the last message with metrics counts.
    fn requests(&self, route: &str) -> Option<f64> {
        use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsDouble;
        let message = ExportMetricsServiceRequest::decode(&**self.taken.metrics.lock().last()?).unwrap();
        let scopes = message.resource_metrics.into_iter().flat_map(|of_process| of_process.scope_metrics);
        let metric = scopes.flat_map(|scope| scope.metrics).find(|metric| metric.name == "buckethead_http_requests")?;
        let Some(metric::Data::Sum(sum)) = metric.data else { panic!("no sum: {metric:?}") };
        assert!(sum.is_monotonic);
        let point = sum.data_points.into_iter().find(|point| attribute(&point.attributes, "route") == json!(route))?;
        assert!(0 < point.start_time_unix_nano && point.start_time_unix_nano <= point.time_unix_nano);
        if let Some(AsDouble(count)) = point.value { Some(count) } else { panic!("no number: {point:?}") }
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::IntValue(number)) => json!(number),
        _ => Value::Null,
    }
}

fn told(span: &Span, keys: &[&str]) -> Vec<Value> {
    keys.iter().map(|key| attribute(&span.attributes, key)).collect()
}

fn folders() -> Folders {
    Folders::with(&Resource::local("notes", "notes-data"))
}

async fn start(folders: &Folders, more: &[&str], environment: &[(&str, &str)]) -> Dev {
    Dev::once_ready(Dev::spawn_in(&folders.manifests, &folders.data, "standard", more, environment)).await
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

const CALLER: &str = "00f067aa0ba902b7";

async fn run(dev: &Dev, trace: &str, flags: &str, sql: &'static str) -> StatusCode {
    let request = http().post(format!("{}/default/notes/sql", dev.api)).header("traceparent", format!("00-{trace}-{CALLER}-{flags}"));
    request.body(sql).send().await.unwrap().status()
}

#[tokio::test]
async fn a_request_is_a_span_of_its_callers_trace_and_nothing_of_its_sql_is_told() {
    let (collector, folders) = (Collector::start().await, folders());
    let more = ["--otlp-endpoint", &collector.url, "--otlp-signals", "traces", "--otlp-sample-ratio", "0"];
    let environment = [("OTEL_SERVICE_NAME", "orders-db"), ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")];
    let dev = start(&folders, &more, &environment).await;
    let [kept, dropped, failed, file] = [1, 2, 3, 4].map(|number: u128| format!("{number:032x}"));
    assert!(run(&dev, &kept, "01", "create table hush(secret); insert into hush values ('whisper')").await.is_success());
    assert!(run(&dev, &dropped, "00", "select 1").await.is_success());
    assert_eq!(run(&dev, &failed, "01", "select whisper").await.as_u16(), 400);
    assert_eq!(dev.database("notes").sql("select count(*) from hush").await, json!([[1]]), "a trace of its own, of which none are kept");
    let put = http().post(format!("{}/default/notes/files", dev.api)).header("traceparent", format!("00-{file}-{CALLER}-01"));
    assert_eq!(put.body("a content").send().await.unwrap().status().as_u16(), 201);
    assert!(dev.program.end(Signal::Int).await.success());

    // They come at the end, if not before.
    let (spans, named) = collector.spans();
    let of = |trace: &str| spans.iter().filter(|span| hex(&span.trace_id) == trace).collect::<Vec<_>>();
    let [span] = of(&kept)[..] else { panic!("{spans:?}") };
    assert_eq!((&*span.name, span.kind(), &*hex(&span.parent_span_id)), ("POST /{namespace}/{name}/sql", SpanKind::Server, CALLER));
    let keys = [
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "url.scheme",
        "server.address",
        "db.system.name",
        "db.namespace",
    ];
    let expected = [
        json!("POST"),
        json!("/{namespace}/{name}/sql"),
        json!(200),
        json!("http"),
        json!("127.0.0.1"),
        json!("sqlite"),
        json!("default/notes"),
    ];
    assert_eq!(told(span, &keys), expected);
    assert!(span.start_time_unix_nano < span.end_time_unix_nano);
    assert_eq!(["service.name", "deployment.environment.name"].map(|key| attribute(&named, key)), [json!("orders-db"), json!("test")]);

    let [span] = of(&failed)[..] else { panic!("{spans:?}") };
    assert_eq!(told(span, &["http.response.status_code", "error.type"]), [json!(400), json!("sql-statement")]);
    assert_eq!(span.status.as_ref().unwrap().code(), status::StatusCode::Unset, "it is the caller's fault");
    assert_eq!(of(&dropped), [] as [&Span; 0]);

    let of_file = of(&file);
    let request = of_file.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    let asked = of_file.iter().find(|span| span.name == "S3.PutObject").unwrap_or_else(|| panic!("{of_file:?}"));
    assert_eq!((asked.kind(), &asked.parent_span_id), (SpanKind::Client, &request.span_id));
    assert_eq!(told(asked, &["rpc.system", "rpc.method", "http.response.status_code"]), [json!("aws-api"), json!("PutObject"), json!(200)]);
    for message in collector.taken.traces.lock().iter() {
        assert!(!String::from_utf8_lossy(message).contains("whisper"));
    }
    assert!(collector.taken.metrics.lock().is_empty(), "only what was asked for is sent");
}

#[tokio::test]
async fn an_upload_is_a_trace_of_its_own() {
    let (collector, folders) = (Collector::start().await, folders());
    let dev = start(&folders, &["--otlp-endpoint", &collector.url], &[]).await;
    dev.database("notes").sql("create table t(a)").await;
    dev.database("notes").flush().await;
    assert!(dev.program.end(Signal::Int).await.success());
    let (spans, named) = collector.spans();
    assert_eq!(attribute(&named, "service.name"), json!("buckethead"));
    for kind in ["flush delta", "flush snapshot"] {
        let span = spans.iter().find(|span| span.name == kind).unwrap_or_else(|| panic!("{spans:?}"));
        assert_eq!(told(span, &["db.namespace", "buckethead.branch"]), [json!("default/notes"), json!("main")]);
        assert!(span.parent_span_id.is_empty() && attribute(&span.attributes, "buckethead.bytes").as_i64() > Some(0));
    }
    assert!(spans.iter().any(|span| span.name == "POST /{namespace}/{name}/sql" && span.parent_span_id.is_empty()));
    assert_eq!(collector.requests("/{namespace}/{name}/sql"), Some(1.0), "metrics come at the end, too");
}

#[tokio::test]
async fn metrics_come_again_and_again_with_the_headers_that_the_collector_wants() {
    let (collector, folders) = (Collector::start().await, folders());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=open%20sesame")];
    let dev = start(&folders, &["--otlp-metrics-interval", "1s", "--otlp-signals", "metrics"], &environment).await;
    for count in [1.0, 2.0] {
        dev.database("notes").sql("select 1").await;
        until("what was counted", async || (collector.requests("/{namespace}/{name}/sql")? >= count).then_some(())).await;
    }
    let headers = collector.taken.headers.lock().clone();
    assert_eq!(["api-key", "content-type"].map(|name| headers[name].to_str().unwrap()), ["open sesame", "application/x-protobuf"]);
    assert!(dev.program.end(Signal::Int).await.success());
    assert!(collector.taken.traces.lock().is_empty(), "only what was asked for is sent");
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_of_once_until_it_takes_again() {
    let (collector, folders) = (Collector::start().await, folders());
    collector.taken.refuses.store(true, Ordering::Relaxed);
    let more = ["--otlp-endpoint", &collector.url, "--otlp-metrics-interval", "1s"];
    let dev = start(&folders, &more, &[("RUST_LOG", "info"), ("OTEL_BSP_SCHEDULE_DELAY", "100")]).await;
    let asked_more = async || {
        dev.database("notes").sql("select 1").await;
        (collector.taken.asked.load(Ordering::Relaxed) >= 4).then_some(())
    };
    until("some tries", asked_more).await;
    collector.taken.refuses.store(false, Ordering::Relaxed);
    let count = |line: &str| dev.program.output().matches(line).count();
    until("the end of it", async || (count("takes traces and metrics again") == 1).then_some(())).await;
    assert_eq!(count("the collector does not take it"), 1);
    assert!(dev.program.end(Signal::Int).await.success());
}

#[tokio::test]
async fn a_collector_that_is_not_there_or_never_answers_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [&silent, &gone].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(gone);
    for url in urls {
        let folders = folders();
        let dev = start(&folders, &["--otlp-endpoint", &url], &[]).await;
        assert_eq!(dev.database("notes").sql("select 1").await, json!([[1]]));
        let ended = tokio::time::timeout(Duration::from_secs(9), dev.program.end(Signal::Int)).await;
        assert!(ended.expect("it gives up before the collector's own time is over").success());
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_the_start() {
    let folders = folders();
    let wrong: [(&[&str], (&str, &str), &str); 4] = [
        (&["--otlp-endpoint", "collector:4318"], ("UNUSED", ""), "base URL"),
        (&["--otlp-endpoint", "http://c", "--otlp-sample-ratio", "2"], ("UNUSED", ""), "from 0 to 1"),
        (&["--otlp-endpoint", "http://c"], ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), "http/protobuf"),
        (&[], ("RUST_LOG", "info,engin e=debug"), "RUST_LOG is `info,engin e=debug`: `engin e=debug` is neither a level nor"),
    ];
    for (more, variable, said) in wrong {
        let (status, output) = Dev::spawn_in(&folders.manifests, &folders.data, "standard", more, &[variable]).exit().await;
        assert!(!status.success() && output.contains(said), "{more:?} {variable:?}: {output}");
    }
}

#[tokio::test]
async fn the_log_changes_its_level_while_the_process_runs() {
    let folders = folders();
    let dev = start(&folders, &["--admin-listen", "127.0.0.1:0"], &[]).await;
    let told = dev.program.output();
    let admin = told.lines().find_map(|line| line.trim().strip_prefix("admin  ")).unwrap().trim_end_matches("/debug/pprof/profile");
    let url = format!("{admin}/loglevel");
    let get = async || http().get(&url).send().await.unwrap().json::<Value>().await.unwrap();
    let put = async |query: &str, filter: &'static str| http().put(format!("{url}{query}")).body(filter).send().await.unwrap();
    let ask = async |id: &str| {
        let request = http().get(format!("{}/default/notes/sql?q=select+1", dev.api)).header("x-request-id", id);
        assert!(request.send().await.unwrap().status().is_success());
    };
    let has = |id: &str| dev.program.output().contains(&format!("request_id=\"{id}\""));
    assert_eq!(get().await, json!({"filter": "warn,s3s=off"}));
    ask("before").await;

    let set: Value = put("", "info,s3s=off").await.json().await.unwrap();
    assert_eq!(set, json!({"filter": "info,s3s=off"}));
    ask("louder").await;
    until("the request's line", async || has("louder").then_some(())).await;
    assert!(!has("before"));

    let set: Value = put("?for=2s", "error").await.json().await.unwrap();
    assert_eq!((&set["filter"], &set["then"], set["until"].is_string()), (&json!("error"), &json!("info,s3s=off"), true));
    ask("hushed").await;
    until("the lasting filter", async || (get().await == json!({"filter": "info,s3s=off"})).then_some(())).await;
    ask("again").await;
    until("the request's line", async || has("again").then_some(())).await;
    assert!(!has("hushed"));

    for (query, filter, said) in
        [("", "inof", "`inof`"), ("", "", "names a level"), ("?for=ever", "info", "`ever`"), ("?until=1s", "info", "until")]
    {
        let refused = put(query, filter).await;
        assert_eq!((refused.status().as_u16(), &refused.headers()["content-type"]), (400, &"application/problem+json".parse().unwrap()));
        let problem: Value = refused.json().await.unwrap();
        assert!(
            problem["type"].as_str().unwrap().ends_with("/bad-request") && problem["detail"].as_str().unwrap().contains(said),
            "{problem}"
        );
    }
    assert_eq!(get().await, json!({"filter": "info,s3s=off"}));
    let rebound = http().put(&url).header("host", "evil.example").body("off").send().await.unwrap();
    assert_eq!(rebound.status().as_u16(), 403);
    assert!(dev.program.end(Signal::Int).await.success());
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
