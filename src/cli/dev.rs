//! `buckethead dev`: a folder of manifests, an embedded store, the API; no cluster.
#![allow(clippy::print_stdout, reason = "this role talks to the person who started it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use controller::Defaults;
use controller::local::{self, LocalEvent, LocalOptions};
use engine::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore};
use engine::bucket::s3::{EndpointPolicy, StoreConfig, Stores};
use engine::{BranchName, BucketName, DatabaseKey, DatabaseName, HookSet, Host, HostOptions, SystemClock};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::dev_token::Secrets;
use super::observed::Observed;
use super::parts::{Parts, Saved};
use super::signals::Signals;
use super::store::{self, StoreArguments};
use super::{environment, logs, ready_file};

/// Serves a folder of manifests on this machine.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The desired state: the `*.yaml` files at the top level of this folder. Changes take effect at once.
    #[arg(long, value_name = "FOLDER", default_value = "examples/")]
    manifests: PathBuf,
    /// Serve one database of a real bucket instead, which the variables of the Python package name: `R2_BUCKET`, `R2_ENDPOINT_URL` or
    /// `R2_ACCOUNT_ID`, `R2_ACCESS_KEY_ID`, `R2_SECRET_ACCESS_KEY` (or those of `AWS_*`), `BUCKETHEAD_KEY`, `BUCKETHEAD_BRANCH`.
    #[arg(long, conflicts_with_all = ["manifests", "s3_listen", "s3_dialect"])]
    from_env: bool,
    /// Where the embedded store keeps its objects.
    #[arg(long, value_name = "FOLDER", default_value = ".buckethead")]
    data: PathBuf,
    /// Where the API listens; port 0 takes a free one. An address that others can reach asks for a token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the embedded S3 store listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9100")]
    s3_listen: SocketAddr,
    /// Whose rules the embedded store follows.
    #[arg(long, value_enum, default_value_t = StoreDialect::Standard)]
    s3_dialect: StoreDialect,
    /// Write here, once all databases are ready, where the API and the store are.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// A page of this origin may call the API from a browser, such as `http://localhost:5173`. May be given several times.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    #[command(flatten)]
    tls: super::tls::Arguments,
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StoreDialect {
    /// As AWS answers.
    Standard,
    /// As Cloudflare R2 does, which is stricter.
    R2,
}

/// How long requests under way, and then the final flushes, may take at the end.
const DRAIN: Duration = Duration::from_secs(5);
const LAST_FLUSH: Duration = Duration::from_mins(1);
/// Restores at once.
const PARALLEL_RESTORES: usize = 4;

/// Runs until Ctrl-C or SIGTERM, then saves everything.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let levels = logs::start(logs::Format::Text, "warn,s3s=off")?;
    let mut signals = Signals::listen()?;
    if let Some(path) = &arguments.ready_file {
        ready_file::remove(path)?;
    }
    let source = if arguments.from_env { Source::of_environment(environment)? } else { Source::of_folder(&arguments.manifests)? };
    let tls = arguments.tls.load().await?;
    let secrets = keep_data(&arguments.data)?;
    let store = match &source.named {
        Some(named) => Store::Named(named.clone()),
        None => Store::Embedded(start_store(&arguments, &secrets).await?),
    };
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}: name another address with --listen", arguments.listen))?;
    let api_url: Url = format!("{}://{}", arguments.tls.scheme(), listener.local_addr()?).parse()?;
    let Observed { work, profile, hooks, admin, mut telemetry } =
        Observed::begin(arguments.profile.clone(), &arguments.admin, &arguments.telemetry, levels).await?;
    let host = new_host(&arguments, hooks);
    let (ready, ready_seen) = tokio::sync::watch::channel(false);
    let service = api::api(api::Config {
        host: Arc::clone(&host),
        guard: guard(&arguments, listener.local_addr()?, &secrets),
        authority: None,
        public_host: None,
        peers: None,
        peer_tls: None,
        ready: ready_seen,
        registry: Registry::default(),
        work,
        spans: telemetry.as_ref().and_then(|telemetry| telemetry.spans(arguments.tls.scheme())),
        clock: Arc::new(SystemClock),
    });
    if let Some(telemetry) = &mut telemetry {
        telemetry.watch(service.clone());
    }
    let (events, mut seen) = mpsc::unbounded_channel();
    let options = local_options(&arguments, source.manifests.clone(), &store, &secrets, api_url.clone());
    let mut parts = Parts::start(
        |ends| api::serve(listener, tls, service, ends, DRAIN),
        |ends| watch_manifests(Arc::clone(&host), options, ends, events),
    );

    say_hello(&arguments, &api_url, &store, &secrets, &source);
    if let Some(admin) = &admin {
        println!("  admin  http://{}/debug/pprof/profile", admin.address);
    }
    let mut told = false;
    let result = loop {
        tokio::select! {
            signal = signals.next() => {
                println!("\n{signal}: flushing and ending");
                break Ok(());
            }
            Some(event) = seen.recv() => {
                if let LocalEvent::AllReady { databases } = &event {
                    ready.send_replace(true);
                    if let (Some(path), false) = (&arguments.ready_file, told) {
                        told = true;
                        if let Err(error) = ready_file::write(path, &ReadyFile::new(&api_url, &store, &secrets, databases)) {
                            break Err(error);
                        }
                    }
                }
                tell(&event);
            }
            error = parts.failed() => break Err(error),
        }
    };
    ready.send_replace(false);
    if let Some(telemetry) = &telemetry {
        telemetry.ending();
    }
    let (saved, served) = tokio::select! {
        ended = parts.end(&host, LAST_FLUSH) => ended,
        signal = signals.next() => anyhow::bail!("{signal} came again: given up; what was not saved yet is lost"),
    };
    store.stop().await;
    drop(source);
    if let Some(telemetry) = telemetry {
        telemetry.end().await;
    }
    let profiled = profile.map_or(Ok(()), |profile| profile.end());
    result.and(tell_saved(saved)).and(served).and(profiled)
}

async fn watch_manifests(
    host: Arc<Host>,
    options: LocalOptions,
    stop: CancellationToken,
    events: mpsc::UnboundedSender<LocalEvent>,
) -> anyhow::Result<()> {
    local::run(host, options, stop, events).await.context("the folder of manifests cannot be watched")
}

/// What is served.
struct Source {
    manifests: PathBuf,
    /// The store that the environment names.
    named: Option<StoreConfig>,
    /// The folder with the manifest that was made of the environment, as long as it is needed.
    _made: Option<TempDir>,
}

impl Source {
    fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let found = folder.canonicalize();
        let manifests =
            found.with_context(|| format!("cannot read the folder of manifests {}: name another with --manifests", folder.display()))?;
        Ok(Self { manifests, named: None, _made: None })
    }

    /// One database, as a manifest like any other.
    fn of_environment(env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let env = store::trimmed(env);
        let (bucket, named) = StoreArguments::default().settings(&env)?.into_config()?;
        let key = DatabaseKey::parse(&env("BUCKETHEAD_KEY").unwrap_or_else(|| DatabaseKey::DEFAULT.to_owned())).map_err(store::wrong)?;
        let branch = env("BUCKETHEAD_BRANCH").map_or(Ok(BranchName::main()), |branch| BranchName::parse(&branch)).map_err(store::wrong)?;
        let manifest = serde_json::json!({
            "apiVersion": "buckethead.dev/v1alpha1",
            "kind": "BucketDatabase",
            "metadata": {"namespace": "default", "name": name_after(&key)},
            "spec": {"bucket": bucket.as_str(), "key": key.as_str(), "branch": branch.as_str()},
        });
        let folder = TempDir::new().context("cannot make a folder for temporary files: TMPDIR names another place")?;
        std::fs::write(folder.path().join("database.yaml"), manifest.to_string()).context("writing the manifest")?;
        Ok(Self { manifests: folder.path().canonicalize()?, named: Some(named), _made: Some(folder) })
    }
}

/// The last part of a key, as Kubernetes takes names.
fn name_after(key: &DatabaseKey) -> String {
    let last = key.as_str().rsplit('/').next().unwrap_or_default();
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let name: String = stem.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(52).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "database".to_owned() } else { name.to_owned() }
}

/// Where databases without a store of their own lie.
enum Store {
    Embedded(EmbeddedStore),
    Named(StoreConfig),
}

impl Store {
    fn config(&self, secrets: &Secrets) -> StoreConfig {
        match self {
            Self::Embedded(store) => store_config(store, secrets),
            Self::Named(config) => config.clone(),
        }
    }

    async fn stop(self) {
        match self {
            Self::Embedded(store) => store.stop().await,
            Self::Named(_) => {}
        }
    }
}

fn keep_data(data: &Path) -> anyhow::Result<Secrets> {
    let cannot = || format!("cannot keep data in {}: name a folder that can be written with --data", data.display());
    std::fs::create_dir_all(data).with_context(cannot)?;
    Secrets::of_folder(data).with_context(cannot)
}

async fn start_store(arguments: &Arguments, secrets: &Secrets) -> anyhow::Result<EmbeddedStore> {
    let data = &arguments.data;
    let options = EmbeddedOptions {
        root: data.join("s3"),
        listen: arguments.s3_listen,
        credentials: secrets.credentials(),
        dialect: match arguments.s3_dialect {
            StoreDialect::Standard => Dialect::Standard,
            StoreDialect::R2 => Dialect::R2,
        },
    };
    EmbeddedStore::start(options).await.with_context(|| {
        format!("cannot start the embedded store on {} in {}: see --s3-listen and --data", arguments.s3_listen, data.display())
    })
}

fn new_host(arguments: &Arguments, hooks: HookSet) -> Arc<Host> {
    let stores = Stores::new(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() });
    Host::new(HostOptions {
        parallel_restores: PARALLEL_RESTORES,
        verify_memory: arguments.shared.verify_memory(),
        past_memory: arguments.shared.past_memory(),
        hooks: hooks.clone(),
        ..HostOptions::new("dev".to_owned(), Arc::new(stores.telling(hooks)), arguments.shared.pool(), arguments.spool.spool())
    })
}

fn guard(arguments: &Arguments, address: SocketAddr, secrets: &Secrets) -> api::Guard {
    let names = ["127.0.0.1", "localhost", "[::1]"];
    api::Guard::Dev {
        hosts: names.iter().map(|name| format!("{name}:{}", address.port())).collect(),
        origins: arguments.allow_origin.clone(),
        token: (!address.ip().is_loopback()).then(|| engine::TokenDigest::of(secrets.api_token())),
    }
}

fn store_config(store: &EmbeddedStore, secrets: &Secrets) -> StoreConfig {
    StoreConfig {
        endpoint: Some(store.endpoint()),
        region: "auto".to_owned(),
        credentials: secrets.credentials().into(),
        ca_bundle: None,
        kms_key_id: None,
    }
}

fn local_options(arguments: &Arguments, manifests: PathBuf, store: &Store, secrets: &Secrets, api_url: Url) -> LocalOptions {
    LocalOptions {
        folder: manifests,
        defaults: Defaults {
            store: Some(store.config(secrets)),
            open_access: arguments.listen.ip().is_loopback(),
            cluster: Some(secrets.cluster().to_owned()),
            ..Defaults::default()
        },
        make_bucket: match store {
            Store::Embedded(store) => Arc::new(store.bucket_maker()),
            // A real one has to be there.
            Store::Named(_) => Arc::new(|_: &BucketName| Ok(())),
        },
        base_url: api_url,
        clock: Arc::new(SystemClock),
    }
}

/// What another program needs to know.
#[derive(Serialize)]
struct ReadyFile<'a> {
    api: &'a str,
    /// The embedded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    s3: Option<ReadyStore>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyStore {
    endpoint: String,
    access_key_id: String,
    secret_access_key: String,
    bucket: Option<String>,
}

impl<'a> ReadyFile<'a> {
    fn new(api: &'a Url, store: &Store, secrets: &Secrets, databases: &[(DatabaseName, String)]) -> Self {
        let credentials = secrets.credentials();
        let embedded = if let Store::Embedded(store) = store { Some(store) } else { None };
        let s3 = embedded.map(|store| ReadyStore {
            endpoint: store.endpoint().as_str().trim_end_matches('/').to_owned(),
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            bucket: databases.first().map(|(_, bucket)| bucket.clone()),
        });
        Self { api: api.as_str().trim_end_matches('/'), s3 }
    }
}

fn say_hello(arguments: &Arguments, api_url: &Url, store: &Store, secrets: &Secrets, source: &Source) {
    let credentials = secrets.credentials();
    let what =
        if source.named.is_some() { "the database that the environment names".to_owned() } else { source.manifests.display().to_string() };
    println!("buckethead {} serves {what}", env!("CARGO_PKG_VERSION"));
    println!("  API    {api_url}");
    match store {
        Store::Embedded(store) => {
            println!("  store  {} (objects under {})", store.endpoint(), arguments.data.join("s3").display());
            println!("         access key {}, secret key {}", credentials.access_key_id, credentials.secret_access_key);
        }
        Store::Named(config) => println!("  store  {}", config.endpoint.as_ref().map_or("AWS S3", Url::as_str)),
    }
    if !arguments.listen.ip().is_loopback() {
        println!("  token  {} (others can reach this address, so each request needs it)", secrets.api_token());
    }
    let hint = if source.named.is_some() { "" } else { "Edit, add or remove manifests while it runs. " };
    println!("{hint}Ctrl-C saves and ends.");
}

fn tell(event: &LocalEvent) {
    match event {
        LocalEvent::Ready { name, url } => {
            println!("{name} is ready: {url}");
            println!("  curl -d 'select datetime()' {url}sql");
        }
        LocalEvent::Changed { name, reason, message, .. } => println!("{name}: {reason}: {message}"),
        LocalEvent::Refused { file, problem } => println!("{file}: {problem}"),
        LocalEvent::Skipped { file, kind } => println!("{file}: {kind} is none of ours and is skipped"),
        LocalEvent::Removed { name } => println!("{name} was removed; its data stay in the bucket"),
        LocalEvent::AllReady { .. } => {}
    }
}

fn tell_saved(saved: Saved) -> anyhow::Result<()> {
    let mut lost = Vec::new();
    for (name, result) in saved {
        match result {
            Ok(()) => println!("{name} is saved"),
            Err(error) => lost.push(format!("{:#}", anyhow::Error::new(error))),
        }
    }
    anyhow::ensure!(lost.is_empty(), "not everything could be saved: {}", lost.join("; "));
    Ok(())
}
