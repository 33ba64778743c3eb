//! A port of this machine that leads to a Pod, by the API server.
//!
//! Owns: what is carried where. Does not own: which Pod (`cluster.rs`).
//! Invariant: what is sent to the port leaves this machine by the API server alone, and in TLS to an operator that speaks it, whose name was proved.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use controller::crd::{Auth, BindingStatus, BucketDatabase};
use engine::spawn_owned;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::cluster::{Behind, Cluster};
use crate::cli::signals::Signals;
use crate::cli::{https, logs, show};

/// Makes a database reachable on this machine, until Ctrl-C.
///
/// Whoever can reach the port can ask the database if they know its token. TLS of the operator ends here: the port speaks plain HTTP.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name of the `BucketDatabase`.
    #[arg(value_name = "DATABASE")]
    database: String,
    /// Where to listen; by default a port that is free.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Leads until a signal.
pub(super) async fn run(cluster: &Cluster, arguments: Arguments) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Arguments { database, listen } = arguments;
    let mut signals = Signals::listen()?;
    let resource = cluster.database(&database).await?;
    let reached = cluster.reach(&resource, listen).await?;
    show::say(&exported(&resource, &cluster.namespace, &reached.url))?;
    show::complain("until Ctrl-C; the line above is for another shell");
    signals.next().await;
    Ok(())
}

/// A line for a shell. Only the database's own token is where it says, and nobody else sees it there.
pub(super) fn exported(resource: &BucketDatabase, namespace: &str, url: &Url) -> String {
    let address = format!("export BUCKETHEAD_URL={url}");
    let binding = resource.status.as_ref().and_then(|status| status.binding.as_ref());
    match (resource.spec.api.auth, binding) {
        (Auth::Token, Some(BindingStatus { name })) => format!(
            "{address} BUCKETHEAD_TOKEN=\"$(kubectl get secret {name} -n {namespace} -o go-template='{{{{.data.token | base64decode}}}}')\""
        ),
        _ => address,
    }
}

/// A way to the Pods behind a Service: each connection to one that is there then.
pub(super) struct Forward {
    behind: Behind,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Forward {
    /// `url` is what the operator is called by clients in the cluster.
    pub(super) fn new(behind: Behind, url: &Url, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let tls = match (url.scheme(), url.host_str()) {
            ("https", Some(host)) => {
                let name =
                    ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is no name that a certificate can have"))?;
                Some((TlsConnector::from(Arc::new(https::client(ca_file)?)), name))
            }
            _ => None,
        };
        Ok(Self { behind, tls })
    }

    async fn carry(&self, near: &mut TcpStream) -> anyhow::Result<()> {
        let far = self.behind.connect().await?;
        match &self.tls {
            Some((connector, name)) => {
                let proved = connector.connect(name.clone(), far).await;
                let hint = "the operator's certificate is not believed; --server-ca-file names the authority that it is from";
                both_ways(near, proved.context(hint)?).await;
            }
            None => both_ways(near, far).await,
        }
        Ok(())
    }
}

/// Until either side ends it, however it does: the other side sees that its peer is gone.
async fn both_ways(near: &mut TcpStream, mut far: impl AsyncRead + AsyncWrite + Unpin) {
    if let Err(error) = copy_bidirectional(near, &mut far).await {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// A port that leads somewhere, as long as this lives.
pub(super) struct Listening {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Listening {
    pub(super) async fn begin(forward: Forward, listen: Option<SocketAddr>) -> anyhow::Result<Self> {
        let address = listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening at {address}"))?;
        let address = listener.local_addr()?;
        Ok(Self { address, _serving: spawn_owned(serve(listener, Arc::new(forward))) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, forward: Arc<Forward>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((mut near, _)) => {
                    let forward = Arc::clone(&forward);
                    connections.spawn(async move {
                        // Before the connection ends: whoever sees only that may end this program.
                        if let Err(error) = forward.carry(&mut near).await {
                            show::complain(&format!("{error:#}"));
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "a connection was not accepted"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
