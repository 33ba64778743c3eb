//! Files: a row in the database, and the content as an object of the bucket that is named after its hash.
//!
//! ```text
//!  bytes ─▶ spool: hash, size ─▶ owner's record ─▶ marks? ─▶ blob there? else upload ─▶ marks as before? ─▶ row
//!           (`spool`)            (`owners`)        (`marks`)  (`put`)                                       (`rows`)
//! ```
//! Owns: rows of `filestore`, blobs, and what keeps gc from taking a blob that a row is about to need. Does not own: what gc deletes
//! (`gc.rs`), nor when rows reach the bucket.
//! Invariants: a row is committed only after its content is in the bucket; a database reads only objects that it has a row for, under names
//! that it makes itself, because tenants share the bucket; a blob is never deleted here, since others may have the same.

mod marks;
mod names;
mod owners;
mod put;
mod rows;
mod spool;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::bucket::{self, Bucket, Object, SharedAs};
use crate::clock::Clock;
use crate::config::{DatabaseConfig, FilesPolicy};
use crate::database::Database;
use crate::error::{Error, FileLoss};
use crate::names::{DatabaseKey, ObjectKey};
use crate::snapshot::PutIds;
pub(crate) use marks::{Marks, Phase};
pub use names::{FileKey, FilesPrefix};
pub use owners::remove_owner;
pub(crate) use owners::{Needs, Owner, Registration, list as owners};
pub use rows::{Description, FileRecord};
pub use spool::{Intake, Spool, SpoolError, Spooled};

/// The metadata of a blob that buckethead wrote: its own hash. By it gc tells it from blobs of others.
pub(crate) const BLOB: &str = "buckethead-sha256";

/// What a database needs to keep files.
#[derive(Debug)]
pub(crate) struct FileStore {
    key: DatabaseKey,
    settings: RwLock<FileSettings>,
    /// What gc knows of this database.
    registered: Mutex<Option<Registration>>,
    spool: Spool,
    put_ids: Arc<PutIds>,
    clock: Arc<dyn Clock>,
    #[cfg(test)]
    broken: put::Broken,
}

/// What may change while the database is open.
#[derive(Debug, Clone)]
pub(crate) struct FileSettings {
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) policy: FilesPolicy,
    /// A row is in the bucket at most this long after its commit.
    pub(crate) flush_interval: Duration,
    /// How long past states can be read, which may have other rows.
    pub(crate) retention: Option<Duration>,
}

/// Where replies wait for the bucket there is no interval at all. But a row's turn to be written may take a moment, and so does its PUT.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

impl FileSettings {
    pub(crate) fn of(config: &DatabaseConfig, bucket: Arc<dyn Bucket>) -> Self {
        let flush_interval = config.interval().max(SHORTEST_INTERVAL);
        Self { bucket, policy: config.files.clone(), flush_interval, retention: config.durability.retention }
    }
}

impl FileStore {
    pub(crate) fn new(key: DatabaseKey, settings: FileSettings, spool: Spool, put_ids: Arc<PutIds>, clock: Arc<dyn Clock>) -> Self {
        let (settings, registered) = (RwLock::new(settings), Mutex::new(None));
        Self {
            key,
            settings,
            registered,
            spool,
            put_ids,
            clock,
            #[cfg(test)]
            broken: put::Broken::default(),
        }
    }

    /// Takes over credentials, grace and interval; the prefix stays. Tells whether gc has to know of it.
    pub(crate) fn set(&self, settings: FileSettings) -> bool {
        let before = std::mem::replace(&mut *self.settings.write(), settings.clone());
        (before.policy, before.flush_interval, before.retention) != (settings.policy, settings.flush_interval, settings.retention)
    }

    fn settings(&self) -> FileSettings {
        self.settings.read().clone()
    }
}

/// The files of a database.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    database: &'a Database,
}

/// A file's content on its way out.
pub struct FileContent {
    /// In order; ends early with an error if the store's connection is cut, or if all of it together is not what its name says, never silently.
    pub body: BoxStream<'static, Result<Bytes, bucket::Error>>,
}

/// Holds each piece back until the next one is there, and the last one until all of them are what the name says.
fn proved(body: BoxStream<'static, Result<Bytes, bucket::Error>>, key: FileKey) -> BoxStream<'static, Result<Bytes, bucket::Error>> {
    let pieces = body.map(Some).chain(futures::stream::once(std::future::ready(None)));
    let proved = pieces.scan((Sha256::new(), None::<Bytes>), move |(digest, held), piece| {
        let next = match piece {
            Some(Ok(bytes)) => {
                digest.update(&bytes);
                Ok(held.replace(bytes))
            }
            Some(Err(error)) => Err(error),
            None if FileKey::of_digest(digest.clone().finalize().into()) == key => Ok(held.take()),
            None => Err(bucket::Error::Unavailable {
                message: format!("the content of {key} in the bucket is damaged: its SHA-256 is another one"),
            }),
        };
        std::future::ready(Some(next.transpose()))
    });
    proved.filter_map(std::future::ready).boxed()
}

impl<'a> Files<'a> {
    pub(crate) fn of(database: &'a Database) -> Self {
        Self { database }
    }

    /// Begins to take a content in. What it is called is known when all of it is here; then [`Files::put`] keeps it.
    pub fn intake(self) -> Intake {
        self.store().spool.intake()
    }

    /// The most that one file may have, in bytes.
    pub fn largest(self) -> u64 {
        self.store().spool.limit()
    }

    /// The row of a file.
    pub async fn head(self, key: FileKey) -> Result<FileRecord, Error> {
        let found = self.database.ask(move |connection| rows::find(connection, &key)).await?;
        found.ok_or_else(|| Error::FileNotFound { database: self.database.name().clone(), key })
    }

    /// The content of a file that has a row, whole or a range within its size.
    pub async fn get(self, record: &FileRecord, range: Option<Range<u64>>) -> Result<FileContent, Error> {
        let (bucket, key) = self.blob_of(record)?;
        let is_whole = range.is_none();
        let object = match range {
            None => bucket.get(&key, None).await.map_err(|error| self.failed(READING, error))?,
            Some(range) => self.get_range(&bucket, &key, record, range).await?,
        };
        let object = object.ok_or_else(|| self.lost(record, FileLoss::Missing))?;
        self.check_size(record, object.meta.size)?;
        Ok(FileContent { body: if is_whole { proved(object.body, record.key) } else { object.body } })
    }

    /// A URL by which whoever has it gets the content from the store, for so long. It outlives the row, as long as the content is there.
    pub async fn share(self, record: &FileRecord, lasts: Duration, shared: SharedAs) -> Result<String, Error> {
        let (bucket, key) = self.blob_of(record)?;
        let there = bucket.head(&key).await.map_err(|error| self.failed(READING, error))?;
        self.check_size(record, there.ok_or_else(|| self.lost(record, FileLoss::Missing))?.size)?;
        bucket.share(&key, lasts, shared).await.map_err(|error| self.failed("sharing a file", error))
    }

    /// Removes the row. The content stays until gc finds that no branch of no database uses it.
    pub async fn delete(self, key: FileKey) -> Result<(), Error> {
        let deleted = self.database.change(move |connection| rows::delete(connection, &key)).await?;
        if deleted { Ok(()) } else { Err(Error::FileNotFound { database: self.database.name().clone(), key }) }
    }

    /// Rows, newest first, from behind `after`; none behind a file that is not there.
    pub async fn list(self, limit: u32, after: Option<FileKey>) -> Result<Vec<FileRecord>, Error> {
        self.database.ask(move |connection| rows::list(connection, limit, after.as_ref())).await
    }

    /// The size is looked at first, because only the whole object has it; the condition keeps what is read the same.
    async fn get_range(
        self,
        bucket: &Arc<dyn Bucket>,
        key: &ObjectKey,
        record: &FileRecord,
        range: Range<u64>,
    ) -> Result<Option<Object>, Error> {
        for _ in 0..2 {
            let Some(meta) = bucket.head(key).await.map_err(|error| self.failed(READING, error))? else { return Ok(None) };
            self.check_size(record, meta.size)?;
            match bucket.get_range(key, &meta.etag, range.clone()).await {
                // Somebody has healed it in between.
                Err(bucket::Error::PreconditionFailed) => {}
                other => return other.map_err(|error| self.failed(READING, error)),
            }
        }
        Err(self.failed(READING, bucket::Error::Unavailable { message: format!("{key} changes all the time") }))
    }

    /// Where the content of a row lies, by a name of our own making.
    fn blob_of(self, record: &FileRecord) -> Result<(Arc<dyn Bucket>, ObjectKey), Error> {
        let settings = self.store().settings();
        let key = settings.policy.prefix.blob(&record.key);
        if record.object_key != key.as_str() {
            return Err(self.lost(record, FileLoss::Elsewhere));
        }
        Ok((settings.bucket, key))
    }

    fn check_size(self, record: &FileRecord, found: u64) -> Result<(), Error> {
        if found == record.size { Ok(()) } else { Err(self.lost(record, FileLoss::WrongSize { found })) }
    }

    fn lost(self, record: &FileRecord, loss: FileLoss) -> Error {
        Error::FileLost { database: self.database.name().clone(), key: record.key, loss }
    }

    fn failed(self, doing: &'static str, source: bucket::Error) -> Error {
        Error::Bucket { database: self.database.name().clone(), doing, source }
    }

    fn store(self) -> &'a FileStore {
        self.database.file_store()
    }
}

const READING: &str = "reading a file";
