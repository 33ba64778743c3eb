//! The HTTP API of buckethead: parse, ask the engine once, answer.
//!
//! Owns: routes, formats, status codes, and who may ask. Does not own: what SQL does or where databases lie.

mod address;
mod body;
mod branches;
mod codes;
mod describe;
mod docs;
mod error;
mod files;
mod guard;
mod health;
mod hrana;
mod json;
mod kv;
mod metrics;
mod observe;
mod point;
mod query;
mod reply;
mod serve;
mod snapshot;
mod sql;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::handler::Handler as _;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use engine::{Clock, DatabaseName, Handle, Host, Witness};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::sync::watch;
use tower::Layer as _;

use error::Problem;
use metrics::Requests;

pub use guard::Guard;
pub use serve::serve;
pub use tls::{Tls, TlsError, TlsFiles};

/// What the API works with.
pub struct Config {
    /// The databases that are served.
    pub host: Arc<Host>,
    /// Against what we protect ourselves.
    pub guard: Guard,
    /// The name under which clients reach all databases, if there is one: never that of a database's own Service.
    pub public_host: Option<String>,
    /// True once everything is known that is to be served, and false again from the moment of stopping.
    pub ready: watch::Receiver<bool>,
    /// What others count; the API adds requests and databases to it and shows all of it.
    pub registry: Registry,
    /// To measure how long requests take.
    pub clock: Arc<dyn Clock>,
}

/// What handlers share.
struct Shared {
    host: Arc<Host>,
    guard: Guard,
    public_host: Option<String>,
    ready: watch::Receiver<bool>,
    registry: Registry,
    requests: Requests,
    clock: Arc<dyn Clock>,
    streams: Arc<hrana::Streams>,
}

type App = Arc<Shared>;

/// Every route of the product.
pub fn router(config: Config) -> Router {
    let Config { host, guard, public_host, ready, mut registry, clock } = config;
    let streams = Arc::new(hrana::Streams::new(Arc::clone(&clock)));
    let requests = metrics::register(&mut registry, &host, &streams);
    let app: App = Arc::new(Shared { host, guard, public_host, ready, registry, requests, clock, streams });
    let routes = Router::new()
        .route("/", get(describe::index))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/{namespace}/{name}", get(base_without_slash))
        .route("/{namespace}/{name}/", get(base))
        .route("/{namespace}/{name}/sql", get(sql::query).post(sql::run))
        .route("/{namespace}/{name}/v2", get(hrana::supported))
        .route("/{namespace}/{name}/v2/pipeline", post(hrana::pipeline))
        .route("/{namespace}/{name}/v3", get(hrana::supported))
        .route("/{namespace}/{name}/v3/pipeline", post(hrana::pipeline))
        .route("/{namespace}/{name}/v3/cursor", post(hrana::cursor))
        .route("/{namespace}/{name}/kv", get(kv::list).post(kv::batch))
        .route("/{namespace}/{name}/kv/", any(kv::no_key))
        .route("/{namespace}/{name}/kv/{*key}", get(kv::get).put(kv::set).delete(kv::delete))
        .route("/{namespace}/{name}/docs", get(docs::collections))
        .route("/{namespace}/{name}/docs/{collection}", get(docs::list).post(docs::insert).delete(docs::clear))
        .route("/{namespace}/{name}/docs/{collection}/find", post(docs::find))
        .route("/{namespace}/{name}/docs/{collection}/count", post(docs::count))
        .route("/{namespace}/{name}/docs/{collection}/indexes", get(docs::indexes).post(docs::create_index).delete(docs::drop_index))
        .route("/{namespace}/{name}/docs/{collection}/{id}", get(docs::get).put(docs::replace).patch(docs::update).delete(docs::delete))
        .route("/{namespace}/{name}/snapshot", get(snapshot::download))
        .route("/{namespace}/{name}/flush", post(snapshot::flush))
        .route("/{namespace}/{name}/branches", get(branches::list).post(branches::create))
        .route("/{namespace}/{name}/branches/{branch}", delete(branches::delete))
        .route("/{namespace}/{name}/branches/{branch}/overwrite", post(branches::overwrite))
        .route("/{namespace}/{name}/branches/{branch}/switch", post(branches::switch))
        .route("/{namespace}/{name}/files", get(files::list).post(files::put))
        .route("/{namespace}/{name}/files/{bh_key}", get(files::get).head(files::head).delete(files::delete))
        .fallback(reply::no_such_route)
        .method_not_allowed_fallback(reply::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), guard::enforce))
        .layer(from_fn_with_state(Arc::clone(&app), observe::observe))
        .with_state(Arc::clone(&app));
    // Around the routes, not one of their layers: those run once the path has chosen the route.
    Router::new().fallback_service(from_fn_with_state(app, address::enter).layer(routes))
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

/// A database that the path names and the caller may ask. Handlers that take it need not think of tokens.
struct Admitted {
    name: DatabaseName,
    handle: Handle,
    /// The path of the database as the caller knows it.
    base: String,
    caller: hrana::Caller,
}

impl FromRequestParts<App> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        /// Routes have other parts of the path, too.
        #[derive(Deserialize)]
        struct Named {
            namespace: String,
            name: String,
        }
        let Path(Named { namespace, name }) =
            Path::from_request_parts(parts, app).await.map_err(|rejection| Problem::bad_request(format!("the path: {rejection}")))?;
        let name = DatabaseName::new(namespace, name);
        let access = app.host.access(&name);
        if !app.guard.admits_to(access.as_deref(), guard::bearer(&parts.headers)) {
            return Err(guard::unauthorized());
        }
        let mut handle = app.host.get(&name)?;
        if let Some(witness) = parts.extensions.get::<Arc<Witness>>() {
            handle.database = handle.database.before(Arc::clone(witness));
        }
        let is_own = parts.extensions.get::<address::OwnService>().is_some();
        let base = if is_own { "/".to_owned() } else { address::base(&name) };
        let identity = guard::bearer(&parts.headers).unwrap_or_default().as_bytes().to_vec();
        let caller = hrana::Caller { identity, read_only: false };
        Ok(Self { name, handle, base, caller })
    }
}

#[cfg(test)]
mod tests;
