//! A [`Bucket`] on a store that does not honour conditions on writes: it looks before each write, and then writes without a condition.
//!
//! Owns: the look. Does not own: what the store does with conditions (`probe.rs`), nor whether a database may do without (`host.rs`).
//! Invariants: no request that writes bears a condition. A write whose condition does not hold at the look is not sent. Looks and writes of
//! this process at one key take turns. So only another process, or a request that arrives late, can come between a look and its write; then
//! both are carried out, and the later one stands.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};

use super::{Bucket, Condition, Content, Error, Form, Listed, Object, ObjectMeta, Put, SharedAs, Staged};
use crate::names::{Etag, ObjectKey};

/// Keys that share a turn wait for each other, so there are more than requests at a time.
const TURNS: usize = 1024;

/// Whose turn it is to look at a key and to write to it: one for all buckets of a process.
#[derive(Debug)]
pub(crate) struct Turns(Box<[Mutex<()>]>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    async fn at(&self, key: &ObjectKey) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.as_str().hash(&mut hasher);
        let turn = hasher.finish() % TURNS as u64;
        self.0[usize::try_from(turn).expect("it is less than TURNS")].lock().await
    }
}

/// A bucket of such a store.
#[derive(Debug, Clone)]
pub(crate) struct Unconditional {
    inner: Arc<dyn Bucket>,
    turns: Arc<Turns>,
    why: Arc<str>,
}

impl Unconditional {
    /// Over a bucket whose store does this instead of honouring conditions.
    pub(crate) fn over(inner: Arc<dyn Bucket>, turns: &Arc<Turns>, why: impl Into<Arc<str>>) -> Arc<dyn Bucket> {
        Arc::new(Self { inner, turns: Arc::clone(turns), why: why.into() })
    }

    /// Whether the condition holds now. A look that fails is an error of the store: nothing was written.
    async fn look(&self, key: &ObjectKey, condition: &Condition) -> Result<(), Error> {
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => self.inner.head(key).await?.is_none(),
            Condition::IfUnchanged(etag) => self.inner.head(key).await?.is_some_and(|found| found.etag == *etag),
        };
        if holds { Ok(()) } else { Err(Error::PreconditionFailed) }
    }
}

/// What was read under a condition that the store may have ignored.
fn unless_changed(found: Option<Object>, unchanged: Option<&Etag>) -> Result<Option<Object>, Error> {
    match found {
        Some(object) if unchanged.is_some_and(|etag| object.meta.etag != *etag) => Err(Error::PreconditionFailed),
        found => Ok(found),
    }
}

#[async_trait]
impl Bucket for Unconditional {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, Error> {
        self.inner.head(key).await
    }

    async fn get(&self, key: &ObjectKey, unchanged: Option<&Etag>) -> Result<Option<Object>, Error> {
        unless_changed(self.inner.get(key, unchanged).await?, unchanged)
    }

    async fn get_range(&self, key: &ObjectKey, unchanged: &Etag, range: Range<u64>) -> Result<Option<Object>, Error> {
        unless_changed(self.inner.get_range(key, unchanged, range).await?, Some(unchanged))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Vec<Listed>, Error> {
        self.inner.list(prefix, after, limit).await
    }

    async fn put(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        if self.is_large(content.len()) {
            return self.put_in_parts(key, content, put).await;
        }
        // Held over both requests on purpose: a turn is nothing else.
        let _turn = self.turns.at(key).await;
        self.look(key, &put.condition).await?;
        self.inner.put(key, content, Put { condition: Condition::Always, ..put }).await
    }

    /// The look comes when all parts are there, right before the request that makes them an object.
    async fn put_in_parts(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        self.stage(key, content, put.form).await?.publish(&put.condition).await
    }

    fn is_large(&self, len: u64) -> bool {
        self.inner.is_large(len)
    }

    async fn stage(&self, key: &ObjectKey, content: Content, form: Form) -> Result<Box<dyn Staged>, Error> {
        let staged = self.inner.stage(key, content, form).await?;
        Ok(Box::new(LookedAt { bucket: self.clone(), key: key.clone(), staged }))
    }

    // Without conditions on the source a copied part may be somebody else's.
    fn patch_size(&self) -> Option<u64> {
        None
    }

    async fn copy(&self, from: &ObjectKey, unchanged: Option<&Etag>, to: &ObjectKey) -> Result<Etag, Error> {
        let _turn = self.turns.at(from).await;
        let condition = unchanged.map_or(Condition::Always, |etag| Condition::IfUnchanged(etag.clone()));
        self.look(from, &condition).await?;
        self.inner.copy(from, None, to).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        let _turn = self.turns.at(key).await;
        self.inner.delete(key).await
    }

    async fn share(&self, key: &ObjectKey, lasts: Duration, shared: SharedAs) -> Result<String, Error> {
        self.inner.share(key, lasts, shared).await
    }

    fn unconditional(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.why))
    }

    #[cfg(test)]
    fn flaw(&self) -> crate::flaws::Flaw {
        self.inner.flaw()
    }
}

/// An object whose place is looked at before it is published.
struct LookedAt {
    bucket: Unconditional,
    key: ObjectKey,
    staged: Box<dyn Staged>,
}

#[async_trait]
impl Staged for LookedAt {
    async fn publish(self: Box<Self>, condition: &Condition) -> Result<Etag, Error> {
        let Self { bucket, key, staged } = *self;
        let _turn = bucket.turns.at(&key).await;
        match bucket.look(&key, condition).await {
            Ok(()) => staged.publish(&Condition::Always).await,
            Err(error) => {
                staged.discard().await;
                Err(error)
            }
        }
    }

    async fn discard(self: Box<Self>) {
        self.staged.discard().await;
    }
}

#[cfg(test)]
mod tests;
