//! Somebody else's object stands where our snapshot was.
//!
//! Whoever holds a higher epoch ends our tenure. Anybody else, such as the Python package, has no say while we serve: what they wrote is
//! kept as a branch of its own, and ours is put back.
//! Invariant: nothing of theirs is replaced before it is kept, unless it has the content that we put there.

use std::sync::Arc;

use super::Flusher;
use crate::branches;
use crate::error::Error;
use crate::facts::Outside;
use crate::names::Etag;
use crate::restore;
use crate::snapshot::{Known, content_of};
use crate::tenure::Failure;

impl Flusher {
    /// After this, `known` is what stands there and may be replaced.
    pub(super) async fn put_aside(&mut self, theirs: Option<Etag>) -> Result<(), Arc<Error>> {
        match self.line.tenure.check().await {
            Ok(()) => {}
            Err(Failure::Ended(ended)) => return Err(self.ended(ended)),
            Err(Failure::Head(error)) => return Err(self.note_failure(error)),
        }
        let Some(etag) = theirs else {
            tracing::warn!(database = %self.name, key = %self.line.tenure.place().key, "somebody deleted the snapshot; it is put back");
            self.line.copy.known = Known::Absent;
            return Ok(());
        };
        if self.is_ours(&etag).await.map_err(|error| self.note_failure(error))? {
            self.line.copy.known = Known::Sound(etag);
            return Ok(());
        }
        let (heads, place, time) = (self.line.tenure.heads(), self.line.tenure.place(), self.clock.wall());
        let kept = branches::keep_outside(heads, place, &etag, time).await.map_err(|error| self.note_failure(error))?;
        tracing::warn!(database = %self.name, branch = %kept, "somebody else wrote the snapshot; theirs is kept as a branch, ours put back");
        self.ledger.lock().outside = Some(Outside { branch: kept, time });
        self.line.copy.known = Known::NotOurs(etag);
        (self.notify)();
        Ok(())
    }

    /// Whether the object holds a state of ours: what we put there, by another hand, or what an earlier tenure put there late. What cannot
    /// be read as a database is not ours; where the store fails, nobody can tell yet.
    async fn is_ours(&self, etag: &Etag) -> Result<bool, Error> {
        let (bucket, options) = (self.bucket(), self.memory.options());
        let (found, meta) = match restore::read(&self.name, &bucket, self.line.tenure.place(), options.clone()).await {
            Ok(Some(found)) => found,
            Err(error @ Error::Bucket { .. }) => return Err(error),
            Ok(None) | Err(_) => return Ok(false),
        };
        let Ok(content) = content_of(&found.pin()).await else { return Ok(false) };
        if meta.etag != *etag {
            return Ok(false);
        }
        let record = self.line.tenure.record();
        if record.had(&content) || record.snapshot.as_ref().is_some_and(|snapshot| snapshot.content == content) {
            return Ok(true);
        }
        let Some(first) = record.first() else { return Ok(false) };
        self.line.chain.has_state_of(first, self.line.tip.txid, &meta, &content, &options).await
    }
}
