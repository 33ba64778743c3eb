//! What lies in the bucket becomes a database in memory.
//!
//! Invariants: a database begins empty only where the store proved that nothing is there; a damaged snapshot is left as it is, and
//! the one before it is offered, never chosen silently.

use std::sync::Arc;

use crate::bucket::{self, Bucket, Object, ObjectMeta};
use crate::config::DatabaseConfig;
use crate::error::{Error, Previous};
use crate::facts::Origin;
use crate::head::{Epoch, HeadRecord};
use crate::memory::{LoadError, MemoryDatabase, MemoryOptions};
use crate::names::{DatabaseName, Etag, ObjectKey};
use crate::snapshot::{Known, Place, metadata};

/// A database in memory, and what is known of its place in the bucket.
pub(crate) struct Restored {
    pub(crate) memory: MemoryDatabase,
    pub(crate) known: Known,
    /// Of the newest snapshot; 0 where its writer did not number it.
    pub(crate) txid: u64,
    pub(crate) origin: Origin,
    /// What was read of `<key>`.
    pub(crate) meta: Option<ObjectMeta>,
}

struct Restore<'a> {
    database: &'a DatabaseName,
    bucket: &'a Arc<dyn Bucket>,
    place: &'a Place,
    options: MemoryOptions,
}

/// Restores what a configuration names. `last` is the branch's head record, if it has one.
pub(crate) async fn restore(
    config: &DatabaseConfig,
    bucket: &Arc<dyn Bucket>,
    place: &Place,
    options: MemoryOptions,
    last: Option<&HeadRecord>,
) -> Result<Restored, Error> {
    let restore = Restore { database: &config.name, bucket, place, options };
    let doing = "reading the snapshot";
    let Some(object) = bucket.get(&place.key, None).await.map_err(|error| restore.failed(doing, error))? else {
        // A record that knows of a snapshot proves that there was one.
        let was_there = last.is_some_and(|record| record.snapshot.is_some());
        return restore.begin_empty(config.accept_snapshot.as_ref(), was_there).await;
    };
    let meta = object.meta.clone();
    match restore.load(&place.key, object).await? {
        Ok(memory) => {
            let origin = Origin::Snapshot { etag: meta.etag.clone(), size: meta.size };
            Ok(Restored { memory, known: Known::Sound(meta.etag.clone()), txid: txid_of(&meta), origin, meta: Some(meta) })
        }
        Err(detail) => restore.instead_of_damaged(meta, detail, config.accept_snapshot.as_ref()).await,
    }
}

impl Restore<'_> {
    /// A 404 alone is not believed: the listing must say so as well, and there may be no snapshot before it either.
    async fn begin_empty(&self, accepted: Option<&Etag>, was_there: bool) -> Result<Restored, Error> {
        if self.is_listed(&self.place.key).await? {
            let message = "the snapshot was not found, but the listing names it".to_owned();
            return Err(self.failed("reading the snapshot", bucket::Error::Unavailable { message }));
        }
        if was_there || self.is_listed(&self.place.previous).await? {
            return self.instead_of_missing(accepted).await;
        }
        let options = self.options.clone();
        let memory = self.blocking(move || MemoryDatabase::new(options)).await??;
        Ok(Restored { memory, known: Known::Absent, txid: 0, origin: Origin::Empty, meta: None })
    }

    async fn is_listed(&self, key: &ObjectKey) -> Result<bool, Error> {
        let found = bucket::listed(self.bucket, key).await;
        let found = found.map_err(|error| self.failed("proving that there is no snapshot", error))?;
        Ok(found.is_some())
    }

    async fn instead_of_missing(&self, accepted: Option<&Etag>) -> Result<Restored, Error> {
        match self.load_previous().await? {
            Some((memory, meta)) if accepted == Some(&meta.etag) => Ok(Restored {
                memory,
                known: Known::Absent,
                txid: txid_of(&meta),
                origin: Origin::Previous { etag: meta.etag },
                meta: None,
            }),
            other => Err(Error::SnapshotMissing {
                database: self.database.clone(),
                key: self.place.key.clone(),
                previous: match other {
                    Some((_, meta)) => Previous::Intact(meta.etag),
                    None if self.is_listed(&self.place.previous).await? => Previous::Damaged,
                    None => Previous::Absent,
                },
            }),
        }
    }

    async fn instead_of_damaged(&self, meta: ObjectMeta, detail: String, accepted: Option<&Etag>) -> Result<Restored, Error> {
        let previous = match self.load_previous().await {
            Ok(Some((memory, previous))) if accepted == Some(&previous.etag) => {
                let txid = txid_of(&previous).max(txid_of(&meta));
                let origin = Origin::Previous { etag: previous.etag };
                return Ok(Restored { memory, known: Known::NotOurs(meta.etag), txid, origin, meta: None });
            }
            Ok(Some((_, previous))) => Previous::Intact(previous.etag),
            Ok(None) => match self.bucket.head(&self.place.previous).await {
                Ok(Some(_)) => Previous::Damaged,
                Ok(None) => Previous::Absent,
                Err(_) => Previous::Unknown,
            },
            Err(_) => Previous::Unknown,
        };
        let (database, key) = (self.database.clone(), self.place.key.clone());
        Err(Error::SnapshotCorrupt { database, key, etag: meta.etag, detail, previous })
    }

    /// The snapshot before the newest, if it is there and sound.
    async fn load_previous(&self) -> Result<Option<(MemoryDatabase, ObjectMeta)>, Error> {
        let key = &self.place.previous;
        let Some(object) = self.bucket.get(key, None).await.map_err(|error| self.failed("reading the previous snapshot", error))? else {
            return Ok(None);
        };
        let meta = object.meta.clone();
        Ok(self.load(key, object).await?.ok().map(|memory| (memory, meta)))
    }

    /// The outer result is about the store, the inner one about the bytes.
    async fn load(&self, key: &ObjectKey, object: Object) -> Result<Result<MemoryDatabase, String>, Error> {
        let (size, limit) = (object.meta.size, self.options.max_size);
        if size > limit {
            return Err(Error::SnapshotTooLarge { database: self.database.clone(), key: key.clone(), size, limit });
        }
        let options = self.options.clone();
        let reader = bucket::reader(object.body);
        let loaded = self.blocking(move || {
            let memory = MemoryDatabase::load(reader, options)?;
            memory.check().map_err(LoadError::NotADatabase)?;
            Ok(memory)
        });
        match loaded.await? {
            Ok(memory) => Ok(Ok(memory)),
            Err(LoadError::NotADatabase(detail)) => Ok(Err(detail)),
            Err(LoadError::Read(error)) => {
                Err(self.failed("reading the snapshot", bucket::Error::Unavailable { message: error.to_string() }))
            }
            Err(LoadError::TooLarge { limit }) => {
                Err(Error::SnapshotTooLarge { database: self.database.clone(), key: key.clone(), size, limit })
            }
            Err(error @ LoadError::OutOfMemory) => Err(self.fault(error.to_string())),
        }
    }

    /// Runs what may block on a thread of its own.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        tokio::task::spawn_blocking(work).await.map_err(|panic| self.fault(panic.to_string()))
    }

    fn fault(&self, detail: String) -> Error {
        Error::Internal { database: self.database.clone(), detail }
    }

    fn failed(&self, doing: &'static str, source: bucket::Error) -> Error {
        Error::Bucket { database: self.database.clone(), doing, source }
    }
}

/// The number that an object bears; 0 where its writer did not number it.
pub(crate) fn txid_of(meta: &ObjectMeta) -> u64 {
    meta.metadata.get(metadata::TXID).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The tenure that an object bears; 0 where its writer had none.
pub(crate) fn epoch_of(meta: &ObjectMeta) -> Epoch {
    Epoch(meta.metadata.get(metadata::EPOCH).and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// The database that an object holds, and what the store tells of the object.
pub(crate) async fn read(
    database: &DatabaseName,
    bucket: &Arc<dyn Bucket>,
    place: &Place,
    options: MemoryOptions,
) -> Result<Option<(MemoryDatabase, ObjectMeta)>, Error> {
    let restore = Restore { database, bucket, place, options };
    let object = bucket.get(&place.key, None).await.map_err(|error| restore.failed("reading the snapshot", error))?;
    let Some(object) = object else { return Ok(None) };
    let meta = object.meta.clone();
    match restore.load(&place.key, object).await? {
        Ok(memory) => Ok(Some((memory, meta))),
        Err(detail) => Err(Error::SnapshotCorrupt {
            database: database.clone(),
            key: place.key.clone(),
            etag: meta.etag,
            detail,
            previous: Previous::Unknown,
        }),
    }
}
