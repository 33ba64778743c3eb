//! `buckethead operator`: the resources of a cluster, and the API.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use controller::{AfterStep, AmbientCredentials, GcJobOptions, Group, KubernetesAuthority, Membership, Metrics, OperatorOptions, Quotas};
use engine::bucket::s3::{EndpointPolicy, Stores};
use engine::{Clock as _, HookSet, Host, HostOptions, Liveness, SystemClock};
use opentelemetry::global::BoxedTracer;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::group::{Kept, Shared, Whereabouts};
use super::observed::Observed;
use super::parts::{Parts, Saved};
use super::signals::Signals;
use super::telemetry::Telemetry;
use super::{logs, ready_file};

/// Serves the resources of a cluster, which the kubeconfig or the Pod's service account names.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the API listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", env = "BUCKETHEAD_LISTEN")]
    listen: SocketAddr,
    /// Watch this namespace only. May be given several times; without it, all.
    #[arg(long, value_name = "NAMESPACE", env = "BUCKETHEAD_NAMESPACES", value_delimiter = ',')]
    namespace: Vec<String>,
    /// The URL under which clients reach the API; connection Secrets and status are made from it. By default the Service `buckethead` in
    /// the operator's namespace.
    #[arg(long, value_name = "URL", env = "BUCKETHEAD_PUBLIC_URL")]
    public_url: Option<String>,
    /// The address of this Pod, which the Services of databases lead to; the chart takes it from the downward API. Without it no database gets a
    /// Service of its own. The variables `POD_NAME` and `POD_NAMESPACE` name the Pod.
    #[arg(long, value_name = "IP", env = "POD_IP")]
    pod_ip: Option<IpAddr>,
    /// How long a token is still valid after it was replaced. A mounted Secret takes about a minute to change, other clients take what they need.
    #[arg(long, value_name = "SECONDS", default_value_t = OperatorOptions::TOKEN_OVERLAP.as_secs())]
    token_overlap_seconds: u64,
    /// Refuse endpoints with private addresses (RFC 1918, unique local, shared).
    #[arg(long)]
    deny_private_endpoints: bool,
    /// Allow endpoints on loopback: for tests, or a gateway in the operator's own Pod. Gives every tenant the Pod's loopback.
    #[arg(long)]
    allow_loopback_endpoints: bool,
    /// How many databases are restored at once.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    parallel_restores: usize,
    /// How long the final flushes may take after SIGTERM. Keep `terminationGracePeriodSeconds` above it.
    #[arg(long, value_name = "SECONDS", default_value_t = 50)]
    shutdown_seconds: u64,
    /// Facts that move with commits are written into a status at most this often.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    status_seconds: u64,
    /// How Jobs of gc are made, as JSON: `image` (this operator's own), and if need be `imagePullPolicy`, `imagePullSecrets`, `resources`,
    /// `nodeSelector`, `tolerations`, `activeDeadlineSeconds`, `ttlSecondsAfterFinished`, `backoffLimit`. Without it gc does not run by itself.
    #[arg(long, value_name = "JSON", env = "BUCKETHEAD_GC_JOB", value_parser = gc_job)]
    gc_job: Option<GcJobOptions>,
    /// To which namespaces this process lends its own identity, as JSON: `[{"namespace": "apps", "buckets": [{"bucket": "orders-data", "prefix":
    /// "apps/"}]}]`. A resource there that names no credentials, and whose objects all lie under the prefix, gets what the AWS SDK finds here: keys in
    /// the environment, IRSA, EKS Pod Identity, the machine's role. `endpoint` names another store than AWS.
    #[arg(long, value_name = "JSON", env = "BUCKETHEAD_AMBIENT_CREDENTIALS", value_parser = ambient)]
    ambient_credentials: Option<AmbientCredentials>,
    /// What namespaces may have, as JSON: `{"default": {"databases": 20, "bytes": "8Gi"}, "namespaces": {"apps": {"bytes": "64Gi"}}}`. What a namespace
    /// leaves out is that of `default`; `bytes` counts `limits.maxSize` of all that is not suspended. What is open stays open.
    #[arg(long, value_name = "JSON", env = "BUCKETHEAD_QUOTAS", value_parser = quotas)]
    quotas: Option<Quotas>,
    /// Write here where the API is, once the watches are synced.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// The form of the log.
    #[arg(long, value_enum, default_value_t = logs::Format::Text, env = "BUCKETHEAD_LOG_FORMAT")]
    log_format: logs::Format,
    #[command(flatten)]
    group: super::group::Arguments,
    #[command(flatten)]
    tls: super::tls::Arguments,
    #[command(flatten)]
    peers: super::tls::PeerArguments,
    #[command(flatten)]
    spool: super::spool::Arguments,
    #[command(flatten)]
    shared: super::shared::Arguments,
    #[command(flatten)]
    profile: super::profile::Arguments,
    #[command(flatten)]
    admin: super::admin::Arguments,
    #[command(flatten)]
    telemetry: super::telemetry::Arguments,
}

/// How long requests under way may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or Ctrl-C, then saves everything.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let levels = logs::start(arguments.log_format, "info,kube=warn")?;
    let mut signals = Signals::listen()?;
    if let Some(path) = &arguments.ready_file {
        ready_file::remove(path)?;
    }
    let tls = arguments.tls.load().await?;
    let peer_tls = arguments.peers.load(tls.as_ref()).await?;
    let config = kube::Config::infer().await.context("found neither a kubeconfig nor a Pod's service account")?;
    let policy = EndpointPolicy {
        allow_loopback: arguments.allow_loopback_endpoints,
        deny_private: arguments.deny_private_endpoints,
        refused: api_server_addresses(&config).await,
    };
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let client = controller::client(config, &metrics).context("cannot make a client of the API server")?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}: name another address with --listen", arguments.listen))?;
    let api_url = format!("{}://{}", arguments.tls.scheme(), listener.local_addr()?);
    let Observed { work, profile, hooks, admin: _admin, mut telemetry } =
        Observed::begin(arguments.profile.clone(), &arguments.admin, &arguments.telemetry, levels).await?;
    let place = whereabouts(&arguments, listener.local_addr()?, &client);
    let membership = arguments.group.membership(client.clone(), &place)?;
    let host = new_host(&arguments, policy, place.pod.clone(), &membership, hooks);
    let group = arguments.group.group(&membership, &host);

    let (ready, mut ready_seen) = watch::channel(false);
    let public_url = public_url(&arguments, &client)?;
    let public_host = public_url.host_str().map(str::to_owned);
    let tracer = telemetry.as_ref().and_then(Telemetry::tracer);
    let wiring = Wiring { public_url, metrics, tracer, ready: ready.clone(), group: Arc::clone(&group) };
    let options = options(&arguments, place, wiring);
    let guard = api::Guard::Operator;
    let service = api::api(api::Config {
        host: Arc::clone(&host),
        guard,
        authority: Some(Arc::new(KubernetesAuthority::new(client.clone()))),
        public_host,
        peers: Some(Arc::new(Shared(Arc::clone(&group)))),
        peer_tls,
        ready: ready.subscribe(),
        registry,
        work,
        spans: telemetry.as_ref().and_then(|telemetry| telemetry.spans(arguments.tls.scheme())),
        clock: Arc::new(SystemClock),
    });
    if let Some(telemetry) = &mut telemetry {
        telemetry.watch(service.clone());
    }
    let mut parts =
        Parts::start(|ends| api::serve(listener, tls, service, ends, DRAIN), |ends| control(client, Arc::clone(&host), options, ends));
    let mut kept = Kept::begin(membership);

    let result = loop {
        tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "flushing and ending");
                break Ok(());
            }
            Ok(()) = ready_seen.changed() => {
                if let (Some(path), true) = (&arguments.ready_file, *ready_seen.borrow_and_update())
                    && let Err(error) = ready_file::write(path, &ReadyFile { api: &api_url })
                {
                    break Err(error);
                }
            }
            error = parts.failed() => break Err(error),
            error = kept.failed() => break Err(error),
        }
    };
    ready.send_replace(false);
    if let Some(telemetry) = &telemetry {
        telemetry.ending();
    }
    let limit = Duration::from_secs(arguments.shutdown_seconds);
    let ending = async {
        let begun = SystemClock.now();
        if result.is_ok() {
            kept.give_away(&group, limit / 2).await;
        }
        let ended = parts.end(&host, limit.saturating_sub(SystemClock.now() - begun)).await;
        kept.end().await;
        ended
    };
    let (saved, served) = tokio::select! {
        ended = ending => ended,
        signal = signals.next() => anyhow::bail!("{signal} came again: given up; what was not saved yet is lost"),
    };
    if let Some(telemetry) = telemetry {
        telemetry.end().await;
    }
    let profiled = profile.map_or(Ok(()), |profile| profile.end());
    tell_saved(saved).and(result).and(served).and(profiled)
}

fn new_host(arguments: &Arguments, policy: EndpointPolicy, pod: String, membership: &Arc<Membership>, hooks: HookSet) -> Arc<Host> {
    Host::new(HostOptions {
        parallel_restores: arguments.parallel_restores,
        release_wait: DRAIN + Duration::from_secs(arguments.shutdown_seconds),
        verify_memory: arguments.shared.verify_memory(),
        past_memory: arguments.shared.past_memory(),
        hooks: hooks.clone(),
        memory: arguments.group.memory(),
        liveness: Some(Arc::clone(membership) as Arc<dyn Liveness>),
        ..HostOptions::new(pod, Arc::new(Stores::new(policy).telling(hooks)), arguments.shared.pool(), arguments.spool.spool())
    })
}

/// What the controller shares with the rest of the process.
struct Wiring {
    public_url: Url,
    metrics: Metrics,
    tracer: Option<BoxedTracer>,
    ready: watch::Sender<bool>,
    group: Arc<Group>,
}

fn options(arguments: &Arguments, place: Whereabouts, wiring: Wiring) -> OperatorOptions {
    OperatorOptions {
        namespaces: arguments.namespace.clone(),
        public_url: wiring.public_url,
        pod: place.address(),
        token_overlap: Duration::from_secs(arguments.token_overlap_seconds),
        instance: place.pod,
        status_interval: Duration::from_secs(arguments.status_seconds),
        concurrency: OperatorOptions::CONCURRENCY,
        gc: arguments.gc_job.clone(),
        ambient: arguments.ambient_credentials.clone().unwrap_or_default(),
        quotas: arguments.quotas.clone().unwrap_or_default(),
        clock: Arc::new(SystemClock),
        metrics: wiring.metrics,
        tracer: wiring.tracer,
        after_step: AfterStep::default(),
        ready: wiring.ready,
        group: Some(wiring.group),
    }
}

fn gc_job(json: &str) -> Result<GcJobOptions, serde_json::Error> {
    serde_json::from_str(json)
}

fn ambient(json: &str) -> Result<AmbientCredentials, serde_json::Error> {
    serde_json::from_str(json)
}

fn quotas(json: &str) -> Result<Quotas, serde_json::Error> {
    serde_json::from_str(json)
}

async fn control(client: kube::Client, host: Arc<Host>, options: OperatorOptions, stop: CancellationToken) -> anyhow::Result<()> {
    controller::run(client, host, options, stop).await.context("the controller ended")
}

/// What this process is called, and where it is reached.
fn whereabouts(arguments: &Arguments, listens: SocketAddr, client: &kube::Client) -> Whereabouts {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    Whereabouts {
        pod: variable("POD_NAME").or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "buckethead".to_owned()),
        namespace: variable("POD_NAMESPACE").unwrap_or_else(|| client.default_namespace().to_owned()),
        scheme: arguments.tls.scheme(),
        pod_ip: arguments.pod_ip,
        listens,
    }
}

fn public_url(arguments: &Arguments, client: &kube::Client) -> anyhow::Result<Url> {
    match &arguments.public_url {
        Some(url) => url.parse().with_context(|| format!("--public-url {url} is no URL; write it like http://buckethead.example")),
        None => Ok(format!("{}://buckethead.{}.svc", arguments.tls.scheme(), client.default_namespace()).parse()?),
    }
}

/// Where the API server is: no tenant may make us talk to it in our name.
async fn api_server_addresses(config: &kube::Config) -> Vec<IpAddr> {
    let Some(name) = config.cluster_url.host() else { return Vec::new() };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            tracing::warn!(name, %error, "the API server's name has no address; endpoints are not compared with it");
            Vec::new()
        }
    }
}

#[derive(Serialize)]
struct ReadyFile<'a> {
    api: &'a str,
}

fn tell_saved(saved: Saved) -> anyhow::Result<()> {
    let mut lost = 0_usize;
    for (database, result) in saved {
        match result {
            Ok(()) => tracing::info!(%database, "saved"),
            Err(error) => {
                lost += 1;
                tracing::error!(%database, error = &*error as &dyn std::error::Error, "could not be saved");
            }
        }
    }
    anyhow::ensure!(lost == 0, "{lost} databases could not be saved");
    Ok(())
}
