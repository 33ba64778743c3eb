//! Traces that lead from one process to the other.

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::Sampler;

use super::super::spans::{Ended, told};
use super::*;

async fn pod(script: Arc<Script>, host: Arc<Host>, store: Option<(EmbeddedStore, TempDir)>, ended: &Ended) -> Pod {
    let (peers, spans): (Arc<dyn Peers>, _) = (Arc::clone(&script) as _, ended.spans(Sampler::AlwaysOn));
    let change = |config| Config { peers: Some(peers), spans: Some(spans), ..config };
    let server = Server::configured(host, Guard::Operator, store, change);
    Pod { listening: Listening::with(server, None).await, script }
}

#[tokio::test]
async fn the_hosts_span_hangs_on_that_of_whoever_passed_the_request_on() {
    let ended = Ended::default();
    let (host, store) = Server::host_with_database(|config| config).await;
    let host = pod(Script::new("host", Place::Here), host, Some(store), &ended).await;
    let other = pod(Script::new("other", Place::At(host.url())), empty_host(), None, &ended).await;
    other.run("select 1").await.rows();
    let [answered, passed_on] = &ended.take()[..] else { panic!("two spans") };
    assert_eq!((&*passed_on.name, &passed_on.span_kind), ("forward POST", &SpanKind::Client));
    assert_eq!((&*answered.name, &answered.span_kind), ("POST /{namespace}/{name}/sql", &SpanKind::Server));
    assert_eq!(answered.span_context.trace_id(), passed_on.span_context.trace_id());
    assert_eq!((answered.parent_span_id, answered.parent_span_is_remote), (passed_on.span_context.span_id(), true));
    let keys = ["server.address", "db.namespace", "http.response.status_code"];
    assert_eq!(keys.map(|key| told(passed_on, key).unwrap()), ["127.0.0.1", "apps/orders", "200"]);

    // What a caller does not keep is not kept anywhere.
    let caller = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")];
    other.ask("POST", "/apps/orders/sql", &caller, "select 1").await.rows();
    assert_eq!(ended.take(), []);
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_an_error_of_the_way_to_it() {
    let ended = Ended::default();
    let gone = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let other = pod(Script::new("other", Place::At(format!("http://{gone}"))), empty_host(), None, &ended).await;
    assert_eq!(other.run("select 1").await.problem(), problem(503, "host-unreachable"));
    let [passed_on, refused] = &ended.take()[..] else { panic!("two spans") };
    assert_eq!((&*passed_on.name, &passed_on.status), ("forward POST", &Status::error("host-unreachable")));
    assert_eq!(refused.status, Status::error("host-unreachable"));
    assert_eq!((&*refused.name, told(refused, "error.type").as_deref()), ("POST /{namespace}/{name}/sql", Some("host-unreachable")));
}
