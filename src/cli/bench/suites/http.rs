//! Requests over HTTP: of a server of our own on this machine, or of one that is named.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::{Point, SystemClock};
use http::Method;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Figure, Ground, OfSuite, Scale, Steps, Suite, at_once, by_clients, bytes};
use crate::cli::measure::unless_stopped;
use crate::cli::session::{Purpose, Refusal, Sent, Session, Target, whole};

/// What the keys begin with.
const KEYS: &str = "buckethead-measure";
const VALUE: usize = 256;
const DRAIN: Duration = Duration::from_secs(1);

/// On a server of its own.
pub(super) async fn run(ground: &Ground, scale: &Scale, steps: &Steps) -> anyhow::Result<Vec<Figure>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listening on this machine")?;
    let address = listener.local_addr()?;
    let (_ready, ready_seen) = tokio::sync::watch::channel(true);
    let service = api::api(api::Config {
        host: Arc::clone(&ground.host),
        guard: api::Guard::Dev { hosts: vec![address.to_string()], origins: Vec::new(), token: None },
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
    let ends = CancellationToken::new();
    let serving = engine::spawn_owned(api::serve(listener, None, service, ends.clone(), DRAIN));
    let name = ground.database.name();
    let url = format!("http://{address}/{}/{}/", name.namespace(), name.name()).parse().context("our own address")?;
    let server = Target::Server { url, token: None, ca_file: None, point: Point::Newest };
    let measured = measured(server, scale, steps, &CancellationToken::new()).await;
    ends.cancel();
    serving.await.context("the server failed")?;
    measured
}

/// On one that is named.
pub(in crate::cli::bench) async fn of_server(
    server: Target,
    scale: &Scale,
    steps: &Steps,
    stop: &CancellationToken,
) -> anyhow::Result<OfSuite> {
    Ok(OfSuite { suite: Suite::Http, figures: measured(server, scale, steps, stop).await? })
}

async fn measured(server: Target, scale: &Scale, steps: &Steps, stop: &CancellationToken) -> anyhow::Result<Vec<Figure>> {
    let session = Arc::new(server.open(Purpose::Change).await?);
    let keys = scale.keys;
    let figures = unless_stopped(stop, by_number_of_clients(&session, scale, steps)).await;
    let cleaned = clean(&session, keys).await;
    cleaned.context("keys that begin with buckethead-measure/ are left")?;
    figures
}

async fn by_number_of_clients(session: &Arc<Session>, scale: &Scale, steps: &Steps) -> anyhow::Result<Vec<Figure>> {
    let (keys, time) = (scale.keys, Duration::from_secs(scale.seconds));
    set(session, 0).await?;
    let mut figures = Vec::new();
    for operation in ["kv set", "kv get", "sql"] {
        for &clients in &scale.clients {
            steps.next(format!("http: {operation}, {}", by_clients(clients)));
            let session = Arc::clone(session);
            let work = move |client: usize, turn: u64| {
                let session = Arc::clone(&session);
                async move {
                    let number = (client * 7919 + usize::try_from(turn).unwrap_or(usize::MAX)) % keys;
                    match operation {
                        "kv set" => set(&session, number).await,
                        "kv get" => get(&session, 0).await,
                        _ => select(&session).await,
                    }
                }
            };
            let (times, seconds) = at_once(clients, time, work).await?;
            figures.push(Figure::rate(operation, by_clients(clients), &times, seconds));
        }
    }
    Ok(figures)
}

fn route(number: usize) -> String {
    format!("kv/{KEYS}/{number:08}")
}

async fn set(session: &Session, number: usize) -> anyhow::Result<()> {
    let answer = session.send(Method::PUT, &route(number), Sent::bytes(bytes(VALUE, number as u64))).await?;
    whole(answer).await.map(drop)
}

async fn get(session: &Session, number: usize) -> anyhow::Result<()> {
    whole(session.get(&route(number)).await?).await.map(drop)
}

async fn select(session: &Session) -> anyhow::Result<()> {
    whole(session.send(Method::POST, "sql", Sent::bytes("SELECT 1")).await?).await.map(drop)
}

async fn clean(session: &Session, keys: usize) -> anyhow::Result<()> {
    for number in 0..keys {
        match session.send(Method::DELETE, &route(number), Sent::default()).await {
            Ok(_) => {}
            Err(error) if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == http::StatusCode::NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
