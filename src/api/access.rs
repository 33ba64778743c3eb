//! Who asks a database, and whether they may do what they ask for.
//!
//! Owns: how a request comes to its database, which permission it needs for it, and what a caller who is not admitted hears. Does not own: what
//! a token permits (`guard`, `engine`).
//! Invariants: a handler has a database by [`Admitted`] or [`Reading`] alone; what is not declared as [`Reading`] needs the permission to
//! write unless its method is one that changes nothing, so a route of which nobody thought is closed to readers, not open.

mod failures;
mod recent;
mod reviews;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use engine::{Access, DatabaseName, Handle, Permission, Witness};
use serde::Deserialize;

use crate::error::{Kind, Problem};
use crate::guard::Opinion;
use crate::hrana::Caller;
use crate::observe::AdmittedTo;
use crate::promise::Promise;
use crate::{App, Shared, address, guard};
use failures::{Address, Reason};
use reviews::Answer;

pub(crate) use failures::{Failures, Peer};
pub(crate) use reviews::Reviews;

/// A database that the path names and the caller may ask: to write, unless the request's method is GET or HEAD.
pub(crate) struct Admitted {
    pub(crate) name: DatabaseName,
    pub(crate) handle: Handle,
    /// They came by its own Service.
    is_own: bool,
    pub(crate) caller: Caller,
}

impl Admitted {
    /// The path of the database as the caller knows it.
    pub(crate) fn base(&self) -> String {
        if self.is_own { "/".to_owned() } else { address::base(&self.name) }
    }
}

/// The same on a route that changes nothing by itself, whatever its method is: it only looks, or heeds `caller.read_only`.
pub(crate) struct Reading(pub(crate) Admitted);

impl FromRequestParts<App> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let needed = if parts.method.is_safe() { Permission::Read } else { Permission::Write };
        enter(parts, app, needed).await
    }
}

impl FromRequestParts<App> for Reading {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        enter(parts, app, Permission::Read).await.map(Self)
    }
}

async fn enter(parts: &mut Parts, app: &App, needed: Permission) -> Result<Admitted, Problem> {
    /// Routes have other parts of the path, too.
    #[derive(Deserialize)]
    struct Named {
        namespace: String,
        name: String,
    }
    let Path(Named { namespace, name }) =
        Path::from_request_parts(parts, app).await.map_err(|rejection| Problem::bad_request(format!("the path: {rejection}")))?;
    let name = DatabaseName::new(namespace, name);
    let peer = parts.extensions.get::<Peer>().copied();
    // Nobody hears of it who is not admitted.
    let found = app.host.get(&name);
    let access = found.as_ref().map_or_else(|_| app.host.access(&name), |handle| Some(Arc::clone(&handle.access)));
    let caller = caller(app, &name, access.as_deref(), guard::bearer(&parts.headers), peer).await?;
    if caller.read_only && needed == Permission::Write {
        app.failures.count(Reason::ReadOnly);
        return Err(read_only(access.as_deref()));
    }
    let Handle { mut database, access } = found?;
    if let Some(admitted) = parts.extensions.get::<Arc<AdmittedTo>>() {
        admitted.0.set(name.clone()).ok();
    }
    if let Some(witness) = parts.extensions.get::<Arc<Witness>>() {
        database = database.before(Arc::clone(witness));
    }
    let promise = Promise::take(&mut parts.uri)?;
    if promise.durable {
        database = database.confirming();
    }
    if promise.strong {
        database.check_tenure().await.map_err(|error| Problem::from(&*error))?;
    }
    parts.extensions.insert(promise);
    let is_own = parts.extensions.get::<address::OwnService>().is_some();
    Ok(Admitted { name, handle: Handle { database, access }, is_own, caller })
}

/// Whoever bears this token, if the database admits them.
pub(crate) async fn caller(
    app: &Shared,
    name: &DatabaseName,
    access: Option<&Access>,
    token: Option<&str>,
    peer: Option<Peer>,
) -> Result<Caller, Problem> {
    let address = Address::of(peer);
    let answer = match (app.guard.opinion(access, token), &app.reviews) {
        (Opinion::Permits(permission), _) => Answer::Permits(permission),
        (Opinion::Refuses, _) => Answer::Refuses { is_paid: false },
        (Opinion::Asks(token), Some(reviews)) => reviews.ask(name, token, address).await,
        (Opinion::Asks(_), None) => Answer::Unavailable,
    };
    match answer {
        Answer::Permits(permission) => Ok(Caller::of(token, permission)),
        Answer::Refuses { is_paid } => Err(refused(&app.failures, token, address, is_paid)),
        Answer::NotAsked => {
            app.failures.count(Reason::Refused);
            Err(too_many())
        }
        Answer::Unavailable => {
            app.failures.count(Reason::Unavailable);
            let detail = "Kubernetes does not answer whose token this is and what it permits; ask again";
            Err(Problem::new(Kind::AuthorityUnavailable, detail))
        }
    }
}

/// What somebody hears who may not see the metrics.
pub(crate) fn no_metrics(app: &Shared, token: Option<&str>, peer: Option<Peer>) -> Problem {
    refused(&app.failures, token, Address::of(peer), false)
}

/// `is_paid`: the address has been charged already.
fn refused(failures: &Failures, token: Option<&str>, address: Address, is_paid: bool) -> Problem {
    failures.count(if token.is_some() { Reason::Refused } else { Reason::Missing });
    if is_paid || failures.take(address) { guard::unauthorized() } else { too_many() }
}

fn too_many() -> Problem {
    let detail = "too many requests of your address were refused; send a valid token, or wait. Whoever was admitted before is still";
    Problem::new(Kind::TooManyFailures, detail)
}

fn read_only(access: Option<&Access>) -> Problem {
    let remedy = match access {
        Some(Access::Kubernetes) => "let RBAC allow its bearer to `update` `bucketdatabases/data` of the group `buckethead.dev`",
        Some(Access::Open | Access::Tokens(_)) | None => "ask with the one that a connection Secret has under the key `token`",
    };
    Problem::new(Kind::ReadOnlyToken, format!("the token permits reading alone; {remedy}"))
}
