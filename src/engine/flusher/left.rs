//! A branch that was served until the database went on with another one.
//!
//! Whoever switched does not wait for it: all that was acknowledged is in its chain. What is left is its plain file, which its readers
//! expect to be as new as the branch, and its release, so that whoever opens it next has nobody to fence.
//! Invariant: nothing is put into the chain from here.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::{Flusher, Line};
use crate::bucket::{self, Bucket};
use crate::clock::Clock;
use crate::error::Error;
use crate::head::HeadRecord;
use crate::hooks::{FlushEnd, FlushKind, FlushOf, HookSet};
use crate::memory::Pin;
use crate::names::{BranchName, DatabaseName};
use crate::snapshot::{self, Attempt, Mark, Outcome, PutIds, content_of};
use crate::tasks::spawn_owned;
use crate::tenure::Failure;

/// What others may know of it.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    pub(crate) branch: BranchName,
    /// Ends with it, however that goes.
    pub(crate) done: Shared<BoxFuture<'static, ()>>,
}

/// What is still to be done of it.
struct Left {
    database: DatabaseName,
    line: Line,
    newest: Pin,
    bucket: Arc<dyn Bucket>,
    put_ids: Arc<PutIds>,
    clock: Arc<dyn Clock>,
    hooks: HookSet,
    keeps_previous: bool,
}

impl Flusher {
    /// Leaves a branch of which this version is the newest state. Only one at a time: each is in memory as long.
    pub(super) async fn leave(&mut self, line: Line, newest: Pin) {
        self.await_left().await;
        let (end, done) = oneshot::channel::<()>();
        let done = done.map(drop).boxed().shared();
        self.ledger.lock().leaving = Some(Leaving { branch: line.tenure.branch().clone(), done });
        let left = Left {
            database: self.name.clone(),
            line,
            newest,
            bucket: self.bucket(),
            put_ids: Arc::clone(&self.put_ids),
            clock: Arc::clone(&self.clock),
            hooks: self.hooks.clone(),
            keeps_previous: self.settings.borrow().policy.keep_previous,
        };
        self.leaving = Some(spawn_owned(async move {
            left.finish().await;
            drop(end);
        }));
    }

    /// Nothing is left to be done of a branch that was served before.
    pub(super) async fn await_left(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            leaving.await.unwrap_or_else(|panic| tracing::error!(database = %self.name, %panic, "a branch was left half-way"));
        }
    }
}

/// A branch that is being left.
pub(super) type Task = AbortOnDropHandle<()>;

impl Left {
    async fn finish(mut self) {
        if let Err(error) = self.renew().await {
            tracing::warn!(database = %self.database, error = &error as &dyn std::error::Error, "the snapshot of the branch that was left was not renewed");
        }
        self.line.release().await;
    }

    /// Brings its plain file up to date.
    async fn renew(&mut self) -> Result<(), Error> {
        let Line { tenure, tip, copy, .. } = &mut self.line;
        if copy.txid >= tip.same_since.get() {
            return Ok(());
        }
        let attempt = Attempt {
            txid: tip.txid.get(),
            checksum: tip.checksum(),
            epoch: tenure.epoch(),
            put_id: self.put_ids.fresh(),
            replaces: copy.known.clone(),
            keep_previous: self.keeps_previous,
            base: copy.base(),
            promotion: Mark::None,
            pin: self.newest.clone(),
        };
        let failed = |source| Error::Bucket { database: self.database.clone(), doing: "writing a snapshot", source };
        let flush = FlushOf { database: self.database.clone(), branch: tenure.branch().clone(), kind: FlushKind::Snapshot };
        let begun = self.clock.now();
        self.hooks.flush_started(&flush);
        let (outcome, content) = tokio::join!(snapshot::upload(&self.bucket, tenure.place(), &attempt), content_of(&attempt.pin));
        let took = self.clock.now().saturating_duration_since(begun);
        let end = match &outcome {
            Outcome::Stored(_) => FlushEnd::Completed { txid: attempt.txid, bytes: attempt.pin.size(), took },
            Outcome::Conflict { .. } => FlushEnd::Failed { error: Arc::new(failed(bucket::Error::PreconditionFailed)), took },
            Outcome::NotWritten(source) | Outcome::Unclear(source) => FlushEnd::Failed { error: Arc::new(failed(source.clone())), took },
        };
        self.hooks.flush_ended(&flush, &end);
        let content = content.map_err(|error| failed(error.into()))?;
        match outcome {
            Outcome::Stored(etag) => {
                let change = |record: &HeadRecord| record.noted(&etag, attempt.txid, attempt.pin.size(), content.clone());
                match tenure.change(change).await {
                    // Whoever took the branch over does the rest.
                    Ok(()) | Err(Failure::Ended(_)) => Ok(()),
                    Err(Failure::Head(error)) => Err(error),
                }
            }
            Outcome::Conflict { .. } => Err(failed(bucket::Error::PreconditionFailed)),
            Outcome::NotWritten(source) | Outcome::Unclear(source) => Err(failed(source)),
        }
    }
}
