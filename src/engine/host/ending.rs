//! How databases end here: closed one by one, dropped, or all of them at the shutdown.
//!
//! Invariant: what was acknowledged is in the bucket before a database that was closed is gone; one whose last flush fails stays open.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::Instant;

use super::{Host, Serving, Status, caught};
use crate::bucket;
use crate::error::{Error, NotServed};
use crate::facts::SnapshotFacts;
use crate::names::DatabaseName;

/// What a close ends in. Whoever asks for a close that is under way awaits the same one.
pub(super) type Closed = Shared<BoxFuture<'static, Result<Option<SnapshotFacts>, Arc<Error>>>>;

/// Final flushes at once.
const PARALLEL_FLUSHES: usize = 8;
/// Between two rounds of final flushes.
const PAUSE: Duration = Duration::from_secs(1);

impl Host {
    /// Flushes and drops a database. If the flush fails it stays open, and the caller may try again.
    /// What was flushed last is returned; `None` if nothing of this database was ever in the bucket. What has begun goes on when the
    /// future is dropped.
    pub async fn close(self: &Arc<Self>, name: &DatabaseName) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        if let Some(slot) = self.slots.lock().get_mut(name) {
            slot.rests = false;
        }
        if let Some(closed) = self.begin_to_close(name) {
            return closed.await;
        }
        // What was opening, or had failed, has made room.
        self.changed(name);
        Ok(None)
    }

    async fn finish(&self, name: &DatabaseName, serving: Serving) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        let result = serving.database.finish().await;
        {
            let mut slots = self.slots.lock();
            // It may have been abandoned, and even opened anew, in the meantime.
            if let Some(slot) = slots.get_mut(name).filter(|slot| slot.is_serving(&serving)) {
                match &result {
                    Ok(last) if slot.rests => slot.status = Status::Suspended { released: false, last_snapshot: last.clone() },
                    Ok(_) => drop(slots.remove(name)),
                    Err(_) => {
                        slot.rests = false;
                        slot.status = Status::Open(Box::new(serving));
                    }
                }
            }
        }
        self.changed(name);
        result
    }

    pub(super) fn begin_to_close(self: &Arc<Self>, name: &DatabaseName) -> Option<Closed> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(name)?;
        match &slot.status {
            Status::Open(serving) => {
                let (host, name, serving) = (Arc::clone(self), name.clone(), Serving::clone(serving));
                let closing = Box::new(serving.clone());
                // A task of the host's own: a database must not stay half closed because whoever asked for it went away.
                let task = self.tasks.spawn(async move { caught(&name, "closing", host.finish(&name, serving)).await });
                let closed = task.map(|ended| ended.expect("the task catches panics, and nobody aborts it")).boxed().shared();
                slot.status = Status::Closing(closing, closed.clone());
                Some(closed)
            }
            Status::Closing(_, closed) => Some(closed.clone()),
            // Nothing was served from it, so there is nothing to flush; an opening under way finds its slot gone.
            Status::Declared | Status::Opening { .. } | Status::Failed { .. } | Status::Suspended { .. } => {
                slots.remove(name);
                None
            }
        }
    }

    /// Drops a database without a flush. Returns whether commits were lost by it.
    pub fn abandon(&self, name: &DatabaseName) -> bool {
        let dropped = self.slots.lock().remove(name);
        self.changed(name);
        match dropped.map(|slot| slot.status) {
            Some(Status::Open(serving) | Status::Closing(serving, _)) => {
                let pending = serving.database.facts().pending;
                // Somebody may hold on to it, whose statements must not seem to be kept.
                let gone = Arc::new(Error::NotServed { database: name.clone(), why: NotServed::Unknown });
                self.tasks.spawn(serving.database.lose(gone));
                pending
            }
            Some(Status::Declared | Status::Opening { .. } | Status::Failed { .. } | Status::Suspended { .. }) | None => false,
        }
    }

    /// Forgets a failed or a suspended one.
    pub fn forget(&self, name: &DatabaseName) {
        let mut slots = self.slots.lock();
        if slots.get(name).is_some_and(|slot| matches!(slot.status, Status::Failed { .. } | Status::Suspended { .. })) {
            slots.remove(name);
        }
    }

    /// The last flush of all, those with the oldest unsaved commit first, within `limit`. What a store did not take is tried again while
    /// there is time, after everything else. Tells what could not be saved.
    pub async fn shutdown(self: &Arc<Self>, limit: Duration) -> Vec<(DatabaseName, Result<(), Arc<Error>>)> {
        let deadline = self.options.clock.now() + limit;
        let mut results = Vec::new();
        let mut names = self.by_age_of_unsaved();
        // What is small and must not be lost comes first, of all of them. What a store does not take is tried again by the close.
        let mut saves = self.saves(&names);
        while let Ok(Some((name, saved))) = tokio::time::timeout_at(deadline, saves.next()).await {
            if saved.is_err() && !may_succeed_later(&saved) {
                names.retain(|other| *other != name);
                results.push((name, saved));
            }
        }
        loop {
            let round = self.close_all(names, deadline).await;
            let is_last = self.options.clock.now() + PAUSE >= deadline;
            let (again, done): (Vec<_>, Vec<_>) = round.into_iter().partition(|(_, result)| !is_last && may_succeed_later(result));
            results.extend(done);
            if again.is_empty() {
                break;
            }
            names = again.into_iter().map(|(name, _)| name).collect();
            tokio::time::sleep(PAUSE).await;
        }
        // What could not be saved is dropped now.
        self.slots.lock().clear();
        results
    }

    /// Saves what open databases have that is not in the bucket, as far as their stores take it. They stay open.
    pub async fn save_all(&self) {
        let mut saves = self.saves(&self.by_age_of_unsaved());
        while let Some((name, saved)) = saves.next().await {
            if let Err(error) = saved {
                tracing::warn!(database = %name, error = &*error as &dyn std::error::Error, "could not be saved");
            }
        }
    }

    /// Saves what these have that is not in the bucket, several at once. They stay open.
    fn saves(&self, names: &[DatabaseName]) -> impl Stream<Item = (DatabaseName, Result<(), Arc<Error>>)> + Send + use<> {
        let serving: Vec<_> = names.iter().filter_map(|name| Some((name.clone(), self.serving_of(name)?))).collect();
        let saves = serving.into_iter().map(|(name, serving)| async move { (name, serving.database.save().await) });
        futures::stream::iter(saves).buffer_unordered(PARALLEL_FLUSHES)
    }

    async fn close_all(self: &Arc<Self>, names: Vec<DatabaseName>, deadline: Instant) -> Vec<(DatabaseName, Result<(), Arc<Error>>)> {
        let closings = names.into_iter().map(|name| async move {
            let result = match tokio::time::timeout_at(deadline, self.close(&name)).await {
                Ok(result) => result.map(drop),
                Err(_) => Err(Arc::new(Error::OutOfTime { database: name.clone() })),
            };
            (name, result)
        });
        futures::stream::iter(closings).buffer_unordered(PARALLEL_FLUSHES).collect().await
    }

    fn by_age_of_unsaved(&self) -> Vec<DatabaseName> {
        let slots = self.slots.lock();
        let mut names: Vec<_> = slots
            .iter()
            .map(|(name, slot)| match &slot.status {
                Status::Open(serving) | Status::Closing(serving, _) => (serving.database.dirty_since(), name.clone()),
                Status::Declared | Status::Opening { .. } | Status::Failed { .. } | Status::Suspended { .. } => (None, name.clone()),
            })
            .collect();
        names.sort_by_key(|(since, name)| (since.is_none(), *since, name.clone()));
        names.into_iter().map(|(_, name)| name).collect()
    }
}

/// Whether a final flush failed for a reason that may pass by itself.
fn may_succeed_later(result: &Result<(), Arc<Error>>) -> bool {
    let Err(error) = result else { return false };
    matches!(**error, Error::Bucket { source: bucket::Error::Unavailable { .. } | bucket::Error::Unclear { .. }, .. })
}
