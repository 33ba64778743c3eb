//! The HTTP API of buckethead: parse, ask the engine once, answer.
//!
//! Owns: routes, formats, status codes, and who may ask. Does not own: what SQL does or where databases lie.

mod access;
mod address;
mod body;
mod branches;
mod changes;
mod codes;
mod describe;
mod docs;
mod error;
mod files;
mod forward;
mod guard;
mod health;
mod here;
mod hrana;
mod json;
mod kv;
mod metrics;
mod observe;
mod openapi;
mod peers;
mod point;
mod promise;
mod query;
mod reply;
mod serve;
mod snapshot;
mod spans;
mod sql;
mod tags;
mod tls;
mod trace;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::handler::Handler as _;
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum::routing::{any, delete, get, post};
use engine::{Authority, Clock, DatabaseName, Host};
use futures::future::{BoxFuture, Either};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tower::layer::layer_fn;
use tower::{Layer as _, Service};
use tower_http::compression::predicate::{And, Predicate as _, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};

use access::{Admitted, Failures, Reading, Reviews};
use forward::Forwarder;
use metrics::Requests;
use observe::Observed;

pub use error::bad_request;
pub use guard::Guard;
pub use metrics::{Work, register_examples};
pub use openapi::openapi;
pub use peers::{Answers, Member, Origin, Peers, Stay, Unserved};
pub use serve::{Serves, serve};
pub use spans::Spans;
pub use tls::{PeerTls, Tls, TlsError, TlsFiles};

/// What the API works with.
pub struct Config {
    /// The databases that are served.
    pub host: Arc<Host>,
    /// Against what we protect ourselves.
    pub guard: Guard,
    /// Whom databases with [`engine::Access::Kubernetes`] leave it to who may ask; without it nobody may ask them.
    pub authority: Option<Arc<dyn Authority>>,
    /// The name under which clients reach all databases, if there is one: never that of a database's own Service.
    pub public_host: Option<String>,
    /// The other processes that serve the same databases; without them this one is alone.
    pub peers: Option<Arc<dyn Peers>>,
    /// Whom to believe that they are one of those, where they speak TLS; without it nobody.
    pub peer_tls: Option<PeerTls>,
    /// True once everything is known that is to be served, and false again from the moment of stopping.
    pub ready: watch::Receiver<bool>,
    /// What others count; the API adds requests and databases to it and shows all of it.
    pub registry: Registry,
    /// What the host and the stores count; the API shows it.
    pub work: Arc<Work>,
    /// What makes spans of requests; without it there are none.
    pub spans: Option<Spans>,
    /// To measure how long requests take.
    pub clock: Arc<dyn Clock>,
}

/// What handlers share.
struct Shared {
    host: Arc<Host>,
    guard: Guard,
    failures: Arc<Failures>,
    reviews: Option<Reviews>,
    public_host: Option<String>,
    forwarder: Option<Arc<Forwarder>>,
    ready: watch::Receiver<bool>,
    registry: Registry,
    requests: Requests,
    spans: Option<Spans>,
    clock: Arc<dyn Clock>,
    streams: Arc<hrana::Streams>,
    /// The requests under way that are to run once.
    keys: sql::Keys,
}

impl Shared {
    /// Whether what this process has open may be told of.
    fn is_current(&self) -> bool {
        self.forwarder.as_ref().is_none_or(|forwarder| forwarder.peers.is_current())
    }

    /// Whether a database has a Service of its own, here or in another process.
    fn has_own_service(&self, name: &DatabaseName) -> bool {
        match &self.forwarder {
            Some(forwarder) => forwarder.peers.has_own_service(name),
            None => self.host.has_own_service(name),
        }
    }
}

type App = Arc<Shared>;

/// Every route of the product, as a service.
#[derive(Clone)]
pub struct Api {
    routes: Router,
    app: App,
}

impl Service<Request> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<RouteFuture<Infallible>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Around the routes, not by one of their layers: those run once the path has chosen the route.
    fn call(&mut self, mut request: Request) -> Self::Future {
        address::enter(&self.app, &mut request);
        let Some((forwarder, database)) = forward::enter(&self.app, &mut request) else { return self.route(request) };
        let (api, forwarder) = (self.clone(), Arc::clone(forwarder));
        Either::Right(Box::pin(async move { Ok(forward::answer(api, &forwarder, &database, request).await) }))
    }
}

impl Api {
    /// What is counted, as `GET /metrics` shows it.
    pub fn metrics(&self) -> String {
        metrics::text(&self.app)
    }

    /// By the routes of this process.
    fn route(&mut self, request: Request) -> <Self as Service<Request>>::Future {
        if request.headers().contains_key(header::ACCEPT_ENCODING) {
            let answering = compression().layer(self.routes.clone()).call(request);
            return Either::Right(Box::pin(async move { Ok(answering.await?.map(Body::new)) }));
        }
        Either::Left(self.routes.call(request))
    }
}

/// Makes it.
pub fn api(config: Config) -> Api {
    let Config { host, guard, authority, public_host, peers, peer_tls, ready, mut registry, work, spans, clock } = config;
    let streams = Arc::new(hrana::Streams::new(Arc::clone(&clock)));
    let requests = metrics::register(&mut registry, &host, &streams, work);
    let failures = Arc::new(Failures::register(&mut registry, Arc::clone(&clock)));
    let reviews = authority.map(|authority| Reviews::new(authority, Arc::clone(&clock), Arc::clone(&failures)));
    let forwarder = peers.map(|peers| {
        let trust = tls::Trust::new(peer_tls, public_host.as_deref());
        Arc::new(Forwarder::register(&mut registry, peers, trust))
    });
    let app: App = Arc::new(Shared {
        host,
        guard,
        failures,
        reviews,
        public_host,
        forwarder,
        ready,
        registry,
        requests,
        spans,
        clock,
        streams,
        keys: sql::Keys::default(),
    });
    let routes = Router::new()
        .route("/", get(describe::index))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(openapi::document))
        .route("/reference", get(openapi::reference))
        .route("/{namespace}/{name}", get(base_without_slash).post(sql::run_for_sqld))
        .route("/{namespace}/{name}/", get(base).post(sql::run_for_sqld))
        .route("/{namespace}/{name}/version", get(describe::version))
        .route("/{namespace}/{name}/sql", get(sql::query).post(sql::run).fallback(sql::other))
        .route("/{namespace}/{name}/v1/execute", post(hrana::execute))
        .route("/{namespace}/{name}/v1/batch", post(hrana::batch))
        .route("/{namespace}/{name}/v2", get(hrana::supported))
        .route("/{namespace}/{name}/v2/pipeline", post(hrana::pipeline))
        .route("/{namespace}/{name}/v3", get(hrana::supported))
        .route("/{namespace}/{name}/v3/pipeline", post(hrana::pipeline))
        .route("/{namespace}/{name}/v3/cursor", post(hrana::cursor))
        .route("/{namespace}/{name}/v3-protobuf", get(hrana::supported))
        .route("/{namespace}/{name}/v3-protobuf/pipeline", post(hrana::pipeline_in_protobuf))
        .route("/{namespace}/{name}/v3-protobuf/cursor", post(hrana::cursor_in_protobuf))
        .route("/{namespace}/{name}/kv", get(kv::list).post(kv::batch))
        .route("/{namespace}/{name}/kv/", any(kv::no_key))
        .route("/{namespace}/{name}/kv/{*key}", get(kv::get).put(kv::set).delete(kv::delete))
        .route("/{namespace}/{name}/docs", get(docs::collections))
        .route("/{namespace}/{name}/docs/{collection}", get(docs::list).post(docs::insert).delete(docs::clear))
        .route("/{namespace}/{name}/docs/{collection}/find", post(docs::find))
        .route("/{namespace}/{name}/docs/{collection}/count", post(docs::count))
        .route("/{namespace}/{name}/docs/{collection}/indexes", get(docs::indexes).post(docs::create_index).delete(docs::drop_index))
        .route("/{namespace}/{name}/docs/{collection}/{id}", get(docs::get).put(docs::replace).patch(docs::update).delete(docs::delete))
        .route("/{namespace}/{name}/changes", get(changes::listen))
        .route("/{namespace}/{name}/snapshot", get(snapshot::download))
        .route("/{namespace}/{name}/flush", post(snapshot::flush))
        .route("/{namespace}/{name}/verify", post(snapshot::verify))
        .route("/{namespace}/{name}/branches", get(branches::list).post(branches::create))
        .route("/{namespace}/{name}/branches/{branch}", delete(branches::delete))
        .route("/{namespace}/{name}/branches/{branch}/differences", get(branches::differences))
        .route("/{namespace}/{name}/branches/{branch}/overwrite", post(branches::overwrite))
        .route("/{namespace}/{name}/branches/{branch}/switch", post(branches::switch))
        .route("/{namespace}/{name}/files", get(files::list).post(files::put))
        .route("/{namespace}/{name}/files/{bh_key}", get(files::get).head(files::head).delete(files::delete))
        .route("/{namespace}/{name}/files/{bh_key}/share", post(files::share))
        .fallback(reply::no_such_route)
        .method_not_allowed_fallback(reply::method_not_allowed)
        .layer(layer_fn({
            let app = Arc::clone(&app);
            move |route| Observed::new(Arc::clone(&app), route)
        }))
        .with_state(Arc::clone(&app));
    Api { routes, app }
}

/// Replies that are smaller, in bytes, are not worth compressing.
const SMALL: u64 = 1024;

/// For whoever accepts that their replies are compressed.
fn compression() -> CompressionLayer<And<SizeAbove, IsDocument>> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(SMALL).and(is_document as IsDocument))
}

type IsDocument = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

/// Whether a reply is one that is made before it is sent, and whose ETag is none of its bytes.
fn is_document(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|content_type| content_type == "application/json")
}

/// Whether whoever accepts it would get the reply compressed.
fn is_compressible(response: &Response) -> bool {
    SizeAbove::new(SMALL).and(is_document as IsDocument).should_compress(response)
}

/// What a database is, or a socket to it.
async fn base(State(app): State<App>, request: Request) -> Response {
    if hrana::is_upgrade(request.headers()) {
        return hrana::upgrade.call(request, app).await;
    }
    describe::database.call(request, app).await
}

/// Clients take the URL of a socket as it was given to them.
async fn base_without_slash(State(app): State<App>, request: Request) -> Response {
    if hrana::is_upgrade(request.headers()) {
        return hrana::upgrade.call(request, app).await;
    }
    reply::no_such_route.call(request, app).await
}

#[cfg(test)]
mod tests;
