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
use engine::{Access, Database, DatabaseName, Error, Handle, NotServed, Permission, Point, Witness};
use serde::Deserialize;

use crate::error::{Kind, Problem};
use crate::guard::Opinion;
use crate::hrana::Caller;
use crate::observe::AdmittedTo;
use crate::promise::Promise;
use crate::{App, Shared, address, guard, point};
use failures::Address;
use reviews::Answer;

pub(crate) use failures::{Failures, Peer, Reason};
pub(crate) use reviews::Reviews;

/// A database that the path names and the caller may ask: to write, unless the request's method is GET or HEAD. Whoever only reads may ask for a
/// past state of it, and has that in its place.
pub(crate) struct Admitted {
    pub(crate) name: DatabaseName,
    pub(crate) handle: Handle,
    /// They came by its own Service.
    is_own: bool,
    pub(crate) caller: Caller,
    /// Which state the handle's database is.
    pub(crate) point: Point,
}

impl Admitted {
    /// The path of the database as the caller knows it.
    pub(crate) fn base(&self) -> String {
        if self.is_own { "/".to_owned() } else { address::base(&self.name) }
    }
}

/// The same on a route that changes nothing by itself, whatever its method is: it only looks, or heeds `caller.read_only`.
pub(crate) struct Reading(pub(crate) Admitted);

/// The same where the database need not be open, for what is done with its branches in the bucket.
pub(crate) struct Known {
    pub(crate) name: DatabaseName,
}

impl FromRequestParts<App> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Entered { name, found, .. } = enter(parts, app, needed(parts)).await?;
        match found {
            // It is not even declared.
            Err(error @ Error::NotServed { why: NotServed::Unknown, .. }) if app.host.branch_of(&name).is_none() => Err(error.into()),
            found => {
                point::none(&parts.headers, "this is about the branches as they are now")?;
                promise(parts, found.ok().map(|handle| handle.database)).await?;
                Ok(Self { name })
            }
        }
    }
}

fn needed(parts: &Parts) -> Permission {
    if parts.method.is_safe() { Permission::Read } else { Permission::Write }
}

impl FromRequestParts<App> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        admit(parts, app, needed(parts)).await
    }
}

impl FromRequestParts<App> for Reading {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        admit(parts, app, Permission::Read).await.map(Self)
    }
}

/// Who asks which database, and whether that is open.
struct Entered {
    name: DatabaseName,
    caller: Caller,
    found: Result<Handle, Error>,
}

async fn enter(parts: &mut Parts, app: &App, needed: Permission) -> Result<Entered, Problem> {
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
    if found.is_ok()
        && let Some(admitted) = parts.extensions.get::<Arc<AdmittedTo>>()
    {
        admitted.0.set(name.clone()).ok();
    }
    Ok(Entered { name, caller, found })
}

async fn admit(parts: &mut Parts, app: &App, needed: Permission) -> Result<Admitted, Problem> {
    let Entered { name, caller, found } = enter(parts, app, needed).await?;
    let Handle { mut database, access } = found?;
    let is_durable = promise(parts, Some(database.clone())).await?;
    let point = if needed == Permission::Read {
        point::take(&mut parts.uri, &parts.headers)?
    } else {
        point::none(&parts.headers, "the past can only be read")?;
        Point::Newest
    };
    if point != Point::Newest {
        database = app.host.past(&name, point).await.map_err(|error| Problem::from(&*error))?;
    }
    if let Some(witness) = parts.extensions.get::<Arc<Witness>>() {
        database = database.before(Arc::clone(witness));
    }
    if is_durable {
        database = database.confirming();
    }
    let is_own = parts.extensions.get::<address::OwnService>().is_some();
    Ok(Admitted { name, handle: Handle { database, access }, is_own, caller, point })
}

/// Keeps what can be kept by now of what a reply is to promise. Tells whether it is to wait until the bucket has what it tells of.
async fn promise(parts: &mut Parts, database: Option<Database>) -> Result<bool, Problem> {
    let promise = Promise::take(&mut parts.uri)?;
    let is_durable = promise.durable;
    if promise.strong
        && let Some(database) = database
    {
        database.check_tenure().await.map_err(|error| Problem::from(&*error))?;
    }
    parts.extensions.insert(promise);
    Ok(is_durable)
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
