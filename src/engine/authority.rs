//! Somebody else who knows tokens, for databases that leave it to them who may ask.

use futures::future::BoxFuture;

use crate::config::Permission;
use crate::names::DatabaseName;

/// Knows whose a token is and what they may do.
pub trait Authority: Send + Sync {
    /// What the bearer of `token` may do with a database; `None` if nothing at all. An error says nothing about the token.
    fn review<'a>(&'a self, database: &'a DatabaseName, token: &'a str) -> BoxFuture<'a, Result<Option<Permission>, AuthorityError>>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("there was no answer while {doing}")]
pub struct AuthorityError {
    /// What was asked.
    pub doing: &'static str,
    /// What came instead.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
