//! A database in its bucket, asked in this process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use engine::{
    Access, DatabaseConfig, DatabaseName, Durability, Error, FilesPolicy, Host, HostOptions, Location, Mode, ResultMemory, SnapshotPolicy,
    Spool, SystemClock,
};
use http::{Response, header, request};
use prometheus_client::registry::Registry;
use tower::ServiceExt as _;

use super::{InBucket, Purpose};
use crate::cli::{shared, store};

/// The name under which it is asked.
const HOST: &str = "buckethead";
/// As whom commands hold a branch.
const NAMESPACE: &str = "command-line";
/// How long another command on this machine may take to release the branch.
const RELEASE_WAIT: Duration = Duration::from_secs(15);
/// And how long this one may.
const LAST_FLUSH: Duration = Duration::from_mins(10);
/// The most that results take that are made before they are sent.
const RESULTS: u64 = 1 << 30;
/// Its user knows what they ask for, and has Ctrl-C.
const LONGEST_STATEMENT: Duration = Duration::from_hours(24);

pub(in crate::cli) struct Local {
    host: Arc<Host>,
    api: api::Api,
    base: String,
    ready: tokio::sync::watch::Sender<bool>,
}

impl Local {
    pub(super) async fn open(settings: InBucket, purpose: Purpose) -> anyhow::Result<Self> {
        let point = settings.point;
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host = Host::new(HostOptions {
            parallel_restores: 1,
            release_wait: RELEASE_WAIT,
            verify_memory: 0,
            past_memory: u64::MAX,
            ..HostOptions::new(
                format!("process {} on {machine}", std::process::id()),
                Arc::new(store::stores()),
                shared::pool().with_results(ResultMemory::new(RESULTS)),
                Spool::new(std::env::temp_dir(), u64::MAX),
            )
        });
        let config = config(settings, &machine)?;
        let name = config.name.clone();
        match purpose {
            Purpose::Look => host.show(config, point).await?,
            Purpose::Branches => host.declare(config),
            Purpose::Change => shared::until_open(&host, config).await.map_err(|error| {
                let remedy = remedy(&error);
                anyhow::Error::new(error).context(remedy)
            })?,
        }
        let (ready, ready_seen) = tokio::sync::watch::channel(true);
        let api = api::api(api::Config {
            host: Arc::clone(&host),
            guard: api::Guard::Dev { hosts: vec![HOST.to_owned()], origins: Vec::new(), token: None },
            authority: None,
            public_host: None,
            peers: None,
            peer_tls: None,
            ready: ready_seen,
            registry: Registry::default(),
            work: Arc::default(),
            spans: None,
            clock: Arc::new(SystemClock),
        });
        Ok(Self { host, api, base: format!("/{}/{}/", name.namespace(), name.name()), ready })
    }

    pub(super) async fn send(&self, request: request::Builder, route: &str, body: Body) -> anyhow::Result<Response<Body>> {
        let request = request.uri(format!("{}{route}", self.base)).header(header::HOST, HOST).body(body).context("the request")?;
        match self.api.clone().oneshot(request).await {
            Ok(response) => Ok(response),
        }
    }

    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.ready.send_replace(false);
        for (_, saved) in self.host.shutdown(LAST_FLUSH).await {
            saved.context("the branch was not saved and released")?;
        }
        Ok(())
    }
}

/// Commits are in the bucket before they are told; nothing old is deleted, since how long it stays is for whoever declared the database.
fn config(settings: InBucket, machine: &str) -> anyhow::Result<DatabaseConfig> {
    let InBucket { store, key, branch, point: _, files_prefix, take_over } = settings;
    let (bucket, store) = store.into_config()?;
    // A path tells it from the others.
    let name: String = machine.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' }).collect();
    Ok(DatabaseConfig {
        name: DatabaseName::new(NAMESPACE, if name.is_empty() { HOST.to_owned() } else { name }),
        location: Location { bucket, key, branch },
        store,
        snapshots: SnapshotPolicy { interval: Duration::from_mins(1), min_interval: Duration::ZERO, keep_previous: true },
        durability: Durability { mode: Mode::Sync, retention: None, verify_interval: Duration::ZERO, ..Durability::default() },
        files: FilesPolicy { prefix: files_prefix, grace: Duration::from_mins(5) },
        limits: shared::limits(RESULTS, LONGEST_STATEMENT),
        single_writer: false,
        access: Access::Open,
        branches_by_api: true,
        own_service: false,
        cluster: NAMESPACE.to_owned(),
        take_over,
        promotion: None,
        accept_snapshot: None,
        accept_state: None,
    })
}

fn remedy(error: &Error) -> String {
    match error {
        Error::HeldByOther { epoch, .. } => format!(
            "somebody has the branch: ask the server that has it with --url, or, if it is gone for good, take the branch over with \
             --take-over {epoch}"
        ),
        _ => "the branch cannot be opened for changes".to_owned(),
    }
}
