//! Somebody else's object stands where our snapshot was.
//!
//! Whoever holds a higher epoch ends our tenure. Anybody else, such as the Python package, has no say while we serve: what they wrote is
//! kept as a branch of its own, and ours is put back.
//! Invariant: nothing of theirs is replaced before it is kept, unless it has the content that we put there.

use std::sync::Arc;

use super::Flusher;
use crate::error::Error;
use crate::facts::Outside;
use crate::names::{BranchName, Etag};
use crate::restore;
use crate::snapshot::{Known, content_of};
use crate::tenure::Failure;

impl Flusher {
    /// After this, `known` is what stands there and may be replaced.
    pub(super) async fn put_aside(&mut self, theirs: Option<Etag>) -> Result<(), Arc<Error>> {
        match self.tenure.check().await {
            Ok(()) => {}
            Err(Failure::Ended(ended)) => return Err(self.ended(ended)),
            Err(Failure::Head(error)) => return Err(self.note_failure(error)),
        }
        let Some(etag) = theirs else {
            tracing::warn!(database = %self.name, key = %self.tenure.place().key, "somebody deleted the snapshot; it is put back");
            self.known = Known::Absent;
            return Ok(());
        };
        if self.is_ours(&etag).await.map_err(|error| self.note_failure(error))? {
            self.known = Known::Sound(etag);
            return Ok(());
        }
        let kept = self.keep(&etag).await.map_err(|error| self.note_failure(error))?;
        tracing::warn!(database = %self.name, branch = %kept, "somebody else wrote the snapshot; theirs is kept as a branch, ours put back");
        self.ledger.lock().outside = Some(Outside { branch: kept, time: self.clock.wall() });
        self.known = Known::NotOurs(etag);
        (self.notify)();
        Ok(())
    }

    /// Whether the object differs from what we put there by its counters only. What cannot be read as a database is not ours; where the
    /// store fails, nobody can tell yet.
    async fn is_ours(&self, etag: &Etag) -> Result<bool, Error> {
        let Some(recorded) = self.tenure.record().snapshot.as_ref().map(|snapshot| snapshot.content.clone()) else { return Ok(false) };
        let bucket = Arc::clone(&self.settings.borrow().bucket);
        match restore::read(&self.name, &bucket, self.tenure.place(), self.memory.options()).await {
            Ok(Some((found, meta))) => Ok(meta.etag == *etag && content_of(&found.pin()).await.is_ok_and(|content| content == recorded)),
            Err(error @ Error::Bucket { .. }) => Err(error),
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// Keeps the object as it is under the name of a new branch.
    async fn keep(&self, etag: &Etag) -> Result<BranchName, Error> {
        let stamp = self.clock.wall().strftime("%Y%m%dT%H%M%SZ").to_string();
        crate::branches::keep_object(self.tenure.heads(), self.tenure.place(), etag, &format!("outside-{stamp}")).await
    }
}
