//! An API server that answers from a script, and fails a test on a request that is missing, different or one too many.

use std::sync::Arc;
use std::time::Duration;

use engine::SystemClock;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower_test::mock;
use url::Url;

use crate::ambient::AmbientCredentials;
use crate::context::{AfterStep, Cluster, OperatorOptions};
use crate::metrics::Metrics;
use crate::quota::Quotas;

/// What a test expects to be asked.
pub(crate) struct Scripted {
    handle: mock::Handle<Request<Body>, Response<Body>>,
}

/// A cluster whose API server is the script.
pub(crate) fn cluster() -> (Cluster, Scripted) {
    let (service, handle) = mock::pair();
    let options = OperatorOptions {
        namespaces: Vec::new(),
        public_url: Url::parse("http://buckethead.system.svc").unwrap(),
        instance: "pod-0".to_owned(),
        pod: Some(crate::fixtures::pod()),
        token_overlap: OperatorOptions::TOKEN_OVERLAP,
        status_interval: OperatorOptions::STATUS_INTERVAL,
        concurrency: OperatorOptions::CONCURRENCY,
        gc: Some(crate::fixtures::gc_options()),
        ambient: AmbientCredentials::default(),
        quotas: Quotas::default(),
        clock: Arc::new(SystemClock),
        metrics: Metrics::register(&mut Registry::default()),
        tracer: None,
        after_step: AfterStep::default(),
        ready: watch::Sender::new(false),
        group: None,
    };
    (Cluster::new(Client::new(service, "default"), options), Scripted { handle })
}

impl Scripted {
    /// The next request must be this one. Returns its body.
    pub(crate) async fn expect(&mut self, method: Method, path_and_query: &str, status: u16, answer: Value) -> Value {
        let (request, send) = self.handle.next_request().await.expect("the test asks no more, and one more request was expected");
        let (head, body) = request.into_parts();
        assert_eq!((head.method, head.uri.to_string().as_str()), (method, path_and_query));
        let body = body.collect_bytes().await.unwrap();
        send.send_response(Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap());
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() }
    }

    /// No request came that was not expected. Called once the cluster is dropped.
    pub(crate) async fn finish(mut self) {
        assert!(self.handle.next_request().await.is_none(), "a request too many");
    }
}

/// Ends a test that waits for an answer to a request that nobody expects. For tests whose clock is paused.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), work).await.expect("a request that was not expected, or one that was and did not come")
}

/// How the API server refuses.
pub(crate) fn refusal(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code})
}
