//! The parts of a running role, and the order in which they end.
//!
//! Invariant: however a role ends, the databases are flushed, and nothing that hangs can use up the time for that.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::{DatabaseName, Error, Host};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What serves requests, and what decides which databases are open.
pub(super) struct Parts {
    api: JoinSet<()>,
    api_ends: CancellationToken,
    control: JoinSet<anyhow::Result<()>>,
    control_ends: CancellationToken,
}

/// What became of each database.
pub(super) type Saved = Vec<(DatabaseName, Result<(), Arc<Error>>)>;

impl Parts {
    /// Starts both; each gets the token that tells it to end. The API ends within bounded time then.
    pub(super) fn start<A, C>(api: impl FnOnce(CancellationToken) -> A, control: impl FnOnce(CancellationToken) -> C) -> Self
    where
        A: Future<Output = ()> + Send + 'static,
        C: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (api_ends, control_ends) = (CancellationToken::new(), CancellationToken::new());
        let mut parts =
            Self { api: JoinSet::new(), control: JoinSet::new(), api_ends: api_ends.clone(), control_ends: control_ends.clone() };
        parts.api.spawn(api(api_ends));
        parts.control.spawn(control(control_ends));
        parts
    }

    /// Waits for a part to end by itself, which none should.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        let error = tokio::select! {
            Some(ended) = self.api.join_next() => ended.err().map(anyhow::Error::new),
            Some(ended) = self.control.join_next() => ended.map_err(anyhow::Error::new).and_then(|result| result).err(),
        };
        error.unwrap_or_else(|| anyhow::anyhow!("it ended by itself")).context("a part of the server failed")
    }

    /// Nothing new is opened; requests under way finish, and no others are taken; every database is flushed within `limit`. A look that hangs,
    /// at a store or the API server, ends with the flushes.
    pub(super) async fn end(mut self, host: &Arc<Host>, limit: Duration) -> (Saved, anyhow::Result<()>) {
        self.control_ends.cancel();
        self.api_ends.cancel();
        let served = self.api.join_next().await.map_or(Ok(()), |ended| ended.context("the API failed while it ended"));
        let saved = host.shutdown(limit).await;
        self.control.shutdown().await;
        (saved, served)
    }
}
