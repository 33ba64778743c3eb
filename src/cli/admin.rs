//! A port for those who look after a running process: profiles on demand, and what is logged. Never one that others can reach: it asks for no token.

mod loglevel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::logs::Levels;
use super::profile::{Io, cpu, heap};

/// Where it listens, if anywhere.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Give profiles on demand on this address of the machine itself (`127.0.0.1:6060`), which `kubectl port-forward` reaches:
    /// `/debug/pprof/profile?seconds=10` of the processor, `/debug/pprof/heap?seconds=10` of the memory, `/debug/io-summary`. `/loglevel` tells
    /// what is logged, and with PUT changes it.
    #[arg(long, value_name = "ADDRESS", env = "BUCKETHEAD_ADMIN_LISTEN", value_parser = on_loopback)]
    admin_listen: Option<SocketAddr>,
}

fn on_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write an address and a port, as 127.0.0.1:6060".to_owned())?;
    let why =
        "it asks for no token, so it must be an address of the machine itself, as 127.0.0.1:6060; `kubectl port-forward` reaches that";
    if address.ip().is_loopback() { Ok(address) } else { Err(why.to_owned()) }
}

const DRAIN: Duration = Duration::from_millis(100);
/// Of a profile, in seconds.
const USUAL: u64 = 10;
const LONGEST: u64 = 300;

impl Arguments {
    /// Serves until it is dropped, if that is wanted.
    pub(super) async fn start(&self, io: Arc<Io>, levels: Levels) -> anyhow::Result<Option<Admin>> {
        let Some(address) = self.admin_listen else { return Ok(None) };
        let cannot = || format!("cannot listen on {address}: name another address with --admin-listen");
        let listener = TcpListener::bind(address).await.with_context(cannot)?;
        let address = listener.local_addr()?;
        let serving = engine::spawn_owned(api::serve(listener, None, routes(io, levels), CancellationToken::new(), DRAIN));
        Ok(Some(Admin { address, _serving: serving }))
    }
}

/// It listens.
pub(super) struct Admin {
    pub(super) address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

fn routes(io: Arc<Io>, levels: Levels) -> Router {
    Router::new()
        .route("/debug/pprof/profile", get(of_processor))
        .route("/debug/pprof/heap", get(of_memory))
        .route("/debug/io-summary", get(asked))
        .with_state(io)
        .merge(loglevel::routes(levels))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default = "usual")]
    seconds: u64,
}

fn usual() -> u64 {
    USUAL
}

type Answer = Result<Response, (StatusCode, String)>;

impl Wish {
    fn time(&self) -> Result<Duration, (StatusCode, String)> {
        if (1..=LONGEST).contains(&self.seconds) {
            Ok(Duration::from_secs(self.seconds))
        } else {
            Err((StatusCode::BAD_REQUEST, format!("seconds: must be 1 to {LONGEST}\n")))
        }
    }
}

/// A page in a browser on this machine may not look for us under another name.
fn is_for_us(headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if ["127.0.0.1", "localhost", "[::1]"].contains(&name) {
        Ok(())
    } else {
        Err((StatusCode::FORBIDDEN, "ask by the name localhost\n".to_owned()))
    }
}

async fn of_processor(headers: HeaderMap, Query(wish): Query<Wish>) -> Answer {
    is_for_us(&headers)?;
    file("profile.pb.gz", cpu::take(wish.time()?).await)
}

async fn of_memory(headers: HeaderMap, Query(wish): Query<Wish>) -> Answer {
    is_for_us(&headers)?;
    file("heap.pb.gz", heap::take(wish.time()?).await)
}

fn file(name: &str, taken: anyhow::Result<Vec<u8>>) -> Answer {
    let profile = taken.map_err(|error| (StatusCode::CONFLICT, format!("{error:#}\n")))?;
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, disposition)], profile)
        .into_response())
}

async fn asked(headers: HeaderMap, State(io): State<Arc<Io>>) -> Answer {
    is_for_us(&headers)?;
    let summary = serde_json::to_string(&io.asked()).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], summary + "\n").into_response())
}
