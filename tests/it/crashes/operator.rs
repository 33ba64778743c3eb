//! An operator in this process that can be killed at an exact moment.
//!
//! It has threads of its own, so that killing it stops all of it at once, as SIGKILL would: nothing is flushed, released or told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::{AfterStep, AmbientCredentials, Metrics, OperatorOptions, PodAddress, Quotas, Scheme};
use engine::bucket::s3::{EndpointPolicy, Stores};
use engine::{DatabaseName, Flush, Host, HostOptions, Request, Spool, SqlPool, Statement, SystemClock, Value};
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Operator, kubeconfig, until};

/// The steps that were done since somebody began to count.
#[derive(Debug, Default)]
struct Steps {
    is_counting: bool,
    done: Vec<&'static str>,
    /// The operator stands still after so many.
    stop_after: Option<usize>,
}

/// A running operator for one namespace.
pub(super) struct InProcess {
    runtime: Option<Runtime>,
    host: Arc<Host>,
    namespace: String,
    steps: Arc<Mutex<Steps>>,
    stopped: watch::Receiver<bool>,
    shutdown: CancellationToken,
    controller: Option<JoinHandle<()>>,
}

impl InProcess {
    pub(super) fn start(namespace: &str) -> Self {
        // Whoever comes second finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let host = Host::new(HostOptions {
            release_wait: Duration::from_secs(5),
            ..HostOptions::new(
                "buckethead-0".to_owned(),
                Arc::new(Stores::new(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() })),
                SqlPool::new(2.try_into().unwrap()),
                Spool::new(std::env::temp_dir(), 1 << 30),
            )
        });
        let steps = Arc::new(Mutex::new(Steps::default()));
        let (stop, stopped) = watch::channel(false);
        let options = options(namespace, after_step(Arc::clone(&steps), stop));
        let shutdown = CancellationToken::new();
        let running = control(Arc::clone(&host), options, shutdown.clone(), kubeconfig());
        let controller = Some(runtime.spawn(running));
        Self { runtime: Some(runtime), host, namespace: namespace.to_owned(), steps, stopped, shutdown, controller }
    }

    /// From here steps are counted; the operator stands still right after so many of them.
    pub(super) fn count(&self, stop_after: Option<usize>) {
        *self.steps.lock().unwrap() = Steps { is_counting: true, done: Vec::new(), stop_after };
    }

    /// Until it stands still; for ever if it never does.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stopped = self.stopped.clone();
        async move {
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What was done since counting began.
    pub(super) fn steps(&self) -> Vec<&'static str> {
        self.steps.lock().unwrap().done.clone()
    }

    /// Lets the looks under way come to their end.
    pub(super) async fn finish(&mut self) {
        self.shutdown.cancel();
        if let Some(controller) = self.controller.take() {
            controller.await.unwrap();
        }
    }

    /// Ends all of it at once.
    pub(super) fn kill(mut self) {
        self.drop_runtime();
    }

    fn drop_runtime(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// The rows of a statement, once the database answers.
    pub(super) async fn sql(&self, name: &str, sql: &str) -> Vec<Vec<Value>> {
        let database = self.database(name).await;
        let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
        let request = Request { statements: vec![statement], ..Request::default() };
        let response = database.run(request).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        response.results.into_iter().next_back().unwrap().rows
    }

    pub(super) async fn flush(&self, name: &str) {
        self.database(name).await.flush(Flush::Forced).await.unwrap();
    }

    async fn database(&self, name: &str) -> engine::Database {
        let name = DatabaseName::new(&*self.namespace, name);
        until("the database answers", async || self.host.get(&name).ok()).await.database
    }

    /// Why it answers nothing now.
    pub(super) fn refusal(&self, name: &str) -> Option<String> {
        self.host.get(&DatabaseName::new(&*self.namespace, name)).err().map(|error| error.to_string())
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.drop_runtime();
    }
}

fn after_step(steps: Arc<Mutex<Steps>>, stop: watch::Sender<bool>) -> AfterStep {
    AfterStep::new(move |_, step| {
        let mut counted = steps.lock().unwrap();
        if counted.is_counting && !*stop.borrow() {
            counted.done.push(step);
        }
        if counted.is_counting && counted.stop_after.is_some_and(|last| counted.done.len() >= last) {
            stop.send_replace(true);
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(()))
    })
}

fn options(namespace: &str, after_step: AfterStep) -> OperatorOptions {
    OperatorOptions {
        namespaces: vec![namespace.to_owned()],
        public_url: Operator::PUBLIC_URL.parse().unwrap(),
        instance: "buckethead-0".to_owned(),
        pod: Some(PodAddress {
            scheme: Scheme::Http,
            ip: Operator::POD_IP.parse().unwrap(),
            port: 8080,
            name: "buckethead-0".to_owned(),
            namespace: "system".to_owned(),
        }),
        token_overlap: OperatorOptions::TOKEN_OVERLAP,
        status_interval: Duration::from_secs(1),
        concurrency: OperatorOptions::CONCURRENCY,
        gc: Some(serde_json::from_value(serde_json::json!({"image": "buckethead.test/buckethead:test"})).unwrap()),
        ambient: AmbientCredentials::default(),
        quotas: Quotas::default(),
        clock: Arc::new(SystemClock),
        metrics: Metrics::register(&mut Registry::default()),
        tracer: None,
        after_step,
        ready: watch::Sender::new(false),
        group: None,
    }
}

async fn control(host: Arc<Host>, options: OperatorOptions, shutdown: CancellationToken, kubeconfig: PathBuf) {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    controller::run(client, host, options, shutdown).await.unwrap();
}
