//! The processes that serve the same databases, and which of them answers for one.
//!
//! A database is open in one process, its host; each of the others passes requests on to it.
//! Owns: what the API asks about that. Does not own: how processes agree (whoever implements [`Peers`]), nor how a request comes to another
//! (`forward`).

use std::any::Any;
use std::fmt;
use std::net::IpAddr;

use axum::http::Uri;
use engine::DatabaseName;
use futures::future::BoxFuture;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::{Kind, Problem};

/// What a process knows about the others. Asked at each request, before anybody's token was looked at.
///
/// Where a request goes must not tell which databases exist: one of which nobody knows is placed like any other.
pub trait Peers: Send + Sync + 'static {
    /// Where requests for a database are answered. Waits, within bounds, while it is on its way from one process to another.
    fn find<'a>(&'a self, database: &'a DatabaseName, from: Origin) -> BoxFuture<'a, Answers>;

    /// Whether a database, wherever it is, has a Service of its own.
    fn has_own_service(&self, database: &DatabaseName) -> bool;

    /// Whether this process may still answer for what it serves: by its own clock nobody else may yet. Asked again whenever something leaves,
    /// so it takes no lock that others hold for long.
    fn is_current(&self) -> bool;

    /// Whether this is the address of another live process of the group. Only they are believed whom they ask for.
    fn is_member(&self, address: IpAddr) -> bool;

    /// What the others call this process: its Pod.
    fn name(&self) -> &str;
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client, as far as anybody knows.
    Client,
    /// Another process, which passed it on because it believes that the database is here, or comes here.
    Process,
}

/// Where a request is answered.
#[derive(Debug)]
pub enum Answers {
    /// Here. What it holds counts as a request under way until the body of the answer has ended.
    Here(Stay),
    /// There.
    At(Member),
    /// By nobody at the moment.
    Nobody {
        /// What stands in the way.
        why: Unserved,
    },
}

/// Another process of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its Pod.
    pub name: String,
    /// Where it listens, such as `http://10.1.2.3:8080`. A path means nothing.
    pub url: Url,
}

/// Why nobody answers for a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// This process may not answer for anything, and knows nobody else who does.
    NotCurrent,
    /// The database is on its way to another process, for longer than a request waits.
    Moving,
}

impl Unserved {
    pub(crate) fn problem(self) -> Problem {
        let detail = match self {
            Self::NotCurrent => "this process may not answer at the moment, and none is known that does; nothing was done, ask again",
            Self::Moving => "the database is on its way from one process to another; nothing was done, ask again",
        };
        Problem::new(Kind::NoHost, detail)
    }
}

/// Something that lasts as long as a request that is answered here.
#[derive(Default)]
pub struct Stay {
    _held: Option<Box<dyn Any + Send>>,
}

impl Stay {
    /// Drops `held` when the request is over.
    pub fn holding(held: impl Any + Send) -> Self {
        Self { _held: Some(Box::new(held)) }
    }
}

impl fmt::Debug for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stay")
    }
}

/// The database that a path begins with, read as the routes read it. `None` where they would not find one either.
pub(crate) fn named(uri: &Uri) -> Option<DatabaseName> {
    let mut parts = uri.path().strip_prefix('/')?.split('/');
    let mut part = || percent_decode_str(parts.next().filter(|part| !part.is_empty())?).decode_utf8().ok();
    Some(DatabaseName::new(part()?, part()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_database_that_the_routes_would_find() {
        let named = |path: &str| named(&path.parse().unwrap()).map(|name| name.to_string());
        for path in ["/apps/orders", "/apps/orders/", "/apps/orders/sql?q=1", "/apps/or%64ers/kv/a/b", "http://elsewhere/apps/orders/sql"] {
            assert_eq!(named(path).as_deref(), Some("apps/orders"), "{path}");
        }
        for path in ["/", "/livez", "/metrics", "/readyz/", "//orders/sql", "/apps//sql", "/apps/%ff/sql", "*"] {
            assert_eq!(named(path), None, "{path}");
        }
    }
}
