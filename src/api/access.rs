//! Who asks a database, and whether they may do what they ask for.
//!
//! Owns: how a request comes to its database, and which permission it needs for it. Does not own: what a token permits (`guard`, `engine`).
//! Invariants: a handler has a database by [`Admitted`] or [`Reading`] alone; what is not declared as [`Reading`] needs the permission to
//! write unless its method is one that changes nothing, so a route of which nobody thought is closed to readers, not open.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use engine::{DatabaseName, Handle, Permission, Witness};
use serde::Deserialize;

use crate::error::{Kind, Problem};
use crate::hrana::Caller;
use crate::{App, Shared, address, guard};

/// A database that the path names and the caller may ask: to write, unless the request's method is GET or HEAD.
pub(crate) struct Admitted {
    pub(crate) name: DatabaseName,
    pub(crate) handle: Handle,
    /// The path of the database as the caller knows it.
    pub(crate) base: String,
    pub(crate) caller: Caller,
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
    let caller = caller(app, &name, guard::bearer(&parts.headers))?;
    if caller.read_only && needed == Permission::Write {
        return Err(read_only());
    }
    let mut handle = app.host.get(&name)?;
    if let Some(witness) = parts.extensions.get::<Arc<Witness>>() {
        handle.database = handle.database.before(Arc::clone(witness));
    }
    let is_own = parts.extensions.get::<address::OwnService>().is_some();
    let base = if is_own { "/".to_owned() } else { address::base(&name) };
    Ok(Admitted { name, handle, base, caller })
}

/// Whoever bears this token, if the database admits them.
pub(crate) fn caller(app: &Shared, name: &DatabaseName, token: Option<&str>) -> Result<Caller, Problem> {
    let access = app.host.access(name);
    let permission = app.guard.permits(access.as_deref(), token).ok_or_else(guard::unauthorized)?;
    Ok(Caller::of(token, permission))
}

fn read_only() -> Problem {
    let detail = "the token permits reading alone; ask with the one that a connection Secret has under the key `token`";
    Problem::new(Kind::ReadOnlyToken, detail)
}
