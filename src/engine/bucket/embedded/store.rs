//! The buckets of an embedded store: what is there, and whether a write may happen.
//!
//! Owns: conditions. Does not own: HTTP, and bytes on disk (`folder`).
//! Invariant: a condition is checked and its write carried out under one lock of the bucket, and no lock is held while a body streams.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Dialect;
use super::folder::{self, Record, Root};
use super::multipart::Upload;
use crate::clock::{Clock, SystemClock};

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    NoSuchBucket,
    BucketExists,
    BucketNotEmpty,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
    InvalidPart(&'static str),
    InvalidPartOrder,
    EntityTooSmall,
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a header compares an object's `ETag` with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    Any,
    Etag(String),
}

impl Match {
    fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Any => true,
            Self::Etag(etag) => *etag == record.etag,
        }
    }
}

/// `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) if_match: Option<Match>,
    pub(super) if_none_match: Option<Match>,
}

impl Conditions {
    /// Whether a write may go on over what is there now.
    fn permit(&self, current: Option<&Record>, dialect: Dialect) -> Result<(), Failure> {
        match (&self.if_match, current) {
            (Some(_), None) if dialect == Dialect::Standard => return Err(Failure::NoSuchKey),
            (Some(_), None) => return Err(Failure::PreconditionFailed),
            (Some(wanted), Some(record)) if !wanted.holds(record) => return Err(Failure::PreconditionFailed),
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(unwanted), Some(record)) if unwanted.holds(record) => Err(Failure::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// Whether `If-Match` holds of an object that is read.
    pub(super) fn is_match(&self, record: &Record) -> bool {
        self.if_match.as_ref().is_none_or(|wanted| wanted.holds(record))
    }

    /// Whether `If-None-Match` names the object that is read.
    pub(super) fn is_unwanted(&self, record: &Record) -> bool {
        self.if_none_match.as_ref().is_some_and(|unwanted| unwanted.holds(record))
    }
}

/// A body that has arrived whole and is synced. Its file goes unless it is committed.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
}

impl Drop for Body {
    fn drop(&mut self) {
        // A committed body has been renamed. What cannot be removed is emptied at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An object to be written.
#[derive(Debug)]
pub(super) struct NewObject {
    pub(super) key: String,
    pub(super) etag: String,
    pub(super) content_type: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Store {
    root: Root,
    pub(super) dialect: Dialect,
    buckets: Mutex<BTreeMap<String, Arc<Bucket>>>,
    names: AtomicU64,
}

/// One bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    folder: PathBuf,
    dialect: Dialect,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<String, Arc<Record>>,
    /// Uploads do not outlive the process: their parts lie among the temporary files.
    pub(super) uploads: HashMap<String, Upload>,
    /// Set when the bucket is deleted, for requests that found it just before.
    deleted: bool,
}

impl Store {
    /// Takes the folder and reads what is there.
    pub(super) fn open(path: &Path, dialect: Dialect) -> io::Result<Self> {
        let root = Root::open(path)?;
        let mut buckets = BTreeMap::new();
        for name in root.buckets()? {
            buckets.insert(name.clone(), Arc::new(Bucket::load(root.bucket(&name), dialect)?));
        }
        Ok(Self { root, dialect, buckets: Mutex::new(buckets), names: AtomicU64::new(0) })
    }

    /// A name for a temporary file that nobody else has.
    pub(super) fn temporary(&self) -> PathBuf {
        self.root.temporary(&self.names.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A name for an upload, distinct from those of earlier processes.
    pub(super) fn upload_id(&self) -> String {
        format!("{:x}-{}", SystemClock.wall().as_nanosecond(), self.names.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn bucket(&self, name: &str) -> Result<Arc<Bucket>, Failure> {
        self.buckets.lock().get(name).cloned().ok_or(Failure::NoSuchBucket)
    }

    pub(super) fn bucket_names(&self) -> Vec<String> {
        self.buckets.lock().keys().cloned().collect()
    }

    pub(super) fn create_bucket(&self, name: &str) -> Result<(), Failure> {
        let mut buckets = self.buckets.lock();
        if buckets.contains_key(name) {
            return Err(Failure::BucketExists);
        }
        self.root.make_bucket(name)?;
        buckets.insert(name.to_owned(), Arc::new(Bucket::empty(self.root.bucket(name), self.dialect)));
        Ok(())
    }

    pub(super) fn delete_bucket(&self, name: &str) -> Result<(), Failure> {
        let mut buckets = self.buckets.lock();
        let bucket = buckets.get(name).ok_or(Failure::NoSuchBucket)?;
        let mut state = bucket.state.lock();
        if !state.objects.is_empty() {
            return Err(Failure::BucketNotEmpty);
        }
        self.root.remove_bucket(name)?;
        state.deleted = true;
        drop(state);
        buckets.remove(name);
        Ok(())
    }
}

impl Bucket {
    fn empty(folder: PathBuf, dialect: Dialect) -> Self {
        Self { folder, dialect, state: Mutex::default() }
    }

    fn load(folder: PathBuf, dialect: Dialect) -> io::Result<Self> {
        let records = folder::load(&folder)?;
        let objects = records.into_iter().map(|record| (record.key.clone(), Arc::new(record))).collect();
        Ok(Self { folder, dialect, state: Mutex::new(State { objects, ..State::default() }) })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Looks at, or changes, what is there.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut state = self.state.lock();
        if state.deleted { Err(Failure::NoSuchBucket) } else { act(&mut state) }
    }

    pub(super) fn record(&self, key: &str) -> Result<Arc<Record>, Failure> {
        self.with(|state| state.objects.get(key).cloned().ok_or(Failure::NoSuchKey))
    }

    /// The object and its bytes as of this moment: later writes replace the file, not what is open.
    pub(super) fn open(&self, key: &str) -> Result<(Arc<Record>, File), Failure> {
        self.with(|state| {
            let record = state.objects.get(key).cloned().ok_or(Failure::NoSuchKey)?;
            let file = File::open(folder::data_path(&self.folder, &record))?;
            Ok((record, file))
        })
    }

    pub(super) fn write(&self, new: NewObject, body: &Body, conditions: &Conditions) -> Result<Arc<Record>, Failure> {
        self.with(|state| self.write_locked(state, new, body, conditions))
    }

    /// Writes over a state that the caller has locked.
    pub(super) fn write_locked(
        &self,
        state: &mut State,
        new: NewObject,
        body: &Body,
        conditions: &Conditions,
    ) -> Result<Arc<Record>, Failure> {
        let current = state.objects.get(&new.key);
        conditions.permit(current.map(AsRef::as_ref), self.dialect)?;
        let old = current.map(|record| record.version);
        let record = Arc::new(Record {
            version: old.map_or(1, |version| version + 1),
            size: body.size,
            modified: SystemClock.wall(),
            key: new.key,
            etag: new.etag,
            content_type: new.content_type,
            metadata: new.metadata,
        });
        let committed = folder::commit(&self.folder, &record, old, &body.path)?;
        state.objects.insert(record.key.clone(), Arc::clone(&record));
        committed.synced()?;
        Ok(record)
    }

    /// Deletes an object; one that is not there is fine unless a condition asks for it.
    pub(super) fn delete(&self, key: &str, conditions: &Conditions) -> Result<(), Failure> {
        self.with(|state| {
            let current = state.objects.get(key);
            conditions.permit(current.map(AsRef::as_ref), self.dialect)?;
            let Some(record) = current else { return Ok(()) };
            let removed = folder::remove(&self.folder, record)?;
            state.objects.remove(key);
            Ok(removed.synced()?)
        })
    }
}
