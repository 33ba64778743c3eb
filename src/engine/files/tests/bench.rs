//! A bucket with exact semantics in memory, whose requests tests stop, fail and count; a clock that tests move; and databases over both.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::super::put::Broken;
use super::*;
use crate::bucket::{Condition, Content, Error as BucketError, Form, Listed, ObjectMeta, Put, Staged};
use crate::config::Limits;
use crate::durable::Durable;
use crate::facts::{Origin, Uploads};
use crate::flusher::Ledger;
use crate::head::Epoch;
use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};
use crate::names::{BranchName, DatabaseName, Etag};
use crate::naming::Naming;
use crate::seed;
use crate::sql::QueryLimits;

pub(crate) const GRACE: Duration = Duration::from_mins(5);
pub(crate) const INTERVAL: Duration = Duration::from_mins(1);

/// Stands still unless it is moved.
#[derive(Debug)]
pub(crate) struct TestClock {
    base: Instant,
    passed: AtomicU64,
    /// Passes once somebody has asked for the time.
    behind: AtomicU64,
}

impl TestClock {
    #[allow(clippy::disallowed_methods, reason = "a monotonic time can be made from nothing else")]
    fn new() -> Self {
        Self { base: Instant::now(), passed: AtomicU64::new(0), behind: AtomicU64::new(0) }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.passed.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// As `advance`, but only behind the next look.
    pub(crate) fn advance_behind(&self, by: Duration) {
        self.behind.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> WallTime {
        let passed = i64::try_from(self.passed.load(Ordering::SeqCst)).unwrap();
        WallTime::from_millisecond(1_800_000_000_000 + passed).unwrap()
    }

    fn now(&self) -> Instant {
        let now = self.base + Duration::from_millis(self.passed.load(Ordering::SeqCst));
        self.passed.fetch_add(self.behind.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        now
    }
}

/// How a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing is done, and the answer says so.
    Refuse,
    /// It is done, and no answer comes.
    LoseAnswer,
    /// Nothing is done, and no answer comes.
    FailUnclear,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    metadata: BTreeMap<String, String>,
    modified: WallTime,
}

impl Stored {
    fn meta(&self) -> ObjectMeta {
        let etag = Etag::new(&hex::encode(Sha256::digest(&self.bytes)));
        ObjectMeta { etag, size: self.bytes.len() as u64, last_modified: Some(self.modified), metadata: self.metadata.clone() }
    }
}

type Watcher = Box<dyn Fn(&str, &str) + Send + Sync>;

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Stored>,
    requests: Vec<(&'static str, String)>,
    fault: Option<(usize, Effect)>,
    failed: bool,
}

/// The bucket. Clones are the same one.
#[derive(Clone)]
pub(crate) struct MemoryBucket {
    inner: Arc<Mutex<Inner>>,
    watcher: Arc<Mutex<Option<Watcher>>>,
    clock: Arc<TestClock>,
    turns: Option<Turns>,
}

/// Lets one actor do its requests one by one, as a test chooses.
#[derive(Clone)]
pub(crate) struct Turns {
    /// Requests that matter: the others change nothing that anybody else reads, and would only multiply the orders.
    matters: fn(&str, &str) -> bool,
    permits: Arc<Semaphore>,
    arrived: mpsc::UnboundedSender<()>,
}

impl Turns {
    pub(crate) fn new(matters: fn(&str, &str) -> bool) -> (Self, mpsc::UnboundedReceiver<()>) {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        (Self { matters, permits: Arc::new(Semaphore::new(0)), arrived }, arrivals)
    }

    pub(crate) fn permit(&self) {
        self.permits.add_permits(1);
    }
}

impl fmt::Debug for MemoryBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryBucket")
    }
}

impl MemoryBucket {
    pub(crate) fn new(clock: Arc<TestClock>) -> Self {
        Self { inner: Arc::default(), watcher: Arc::default(), clock, turns: None }
    }

    pub(crate) fn shared(&self) -> Arc<dyn Bucket> {
        Arc::new(self.clone())
    }

    /// The same bucket for an actor whose requests wait for their turns.
    pub(crate) fn by_turns(&self, turns: Turns) -> Self {
        Self { turns: Some(turns), ..self.clone() }
    }

    /// Fails the request that comes after so many others.
    pub(crate) fn fail(&self, after: usize, effect: Effect) {
        let mut inner = self.inner.lock();
        inner.fault = Some((after, effect));
        inner.failed = false;
    }

    pub(crate) fn clear_fault(&self) {
        self.inner.lock().fault = None;
    }

    pub(crate) fn failed(&self) -> bool {
        self.inner.lock().failed
    }

    pub(crate) fn watch(&self, watcher: impl Fn(&str, &str) + Send + Sync + 'static) {
        *self.watcher.lock() = Some(Box::new(watcher));
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.inner.lock().objects.keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, key: &str) -> Bytes {
        self.inner.lock().objects[key].bytes.clone()
    }

    pub(crate) fn metadata(&self, key: &str) -> BTreeMap<String, String> {
        self.inner.lock().objects[key].metadata.clone()
    }

    pub(crate) fn count(&self, operation: &str, begins: &str) -> usize {
        self.inner.lock().requests.iter().filter(|(seen, key)| *seen == operation && key.starts_with(begins)).count()
    }

    pub(crate) fn puts(&self, begins: &str) -> usize {
        self.count("put", begins)
    }

    /// Past all conditions, as by another program; keeps the metadata.
    pub(crate) fn set(&self, key: &str, bytes: Option<&[u8]>) {
        let (mut inner, modified) = (self.inner.lock(), self.clock.wall());
        match bytes {
            None => drop(inner.objects.remove(key)),
            Some(bytes) => {
                let metadata = inner.objects.get(key).map(|stored| stored.metadata.clone()).unwrap_or_default();
                inner.objects.insert(key.to_owned(), Stored { bytes: Bytes::copy_from_slice(bytes), metadata, modified });
            }
        }
    }

    /// One request: waits for its turn, and may go wrong.
    async fn request<T>(
        &self,
        operation: &'static str,
        key: &str,
        act: impl FnOnce(&mut Inner) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        if let Some(turns) = self.turns.as_ref().filter(|turns| (turns.matters)(operation, key)) {
            turns.arrived.send(()).ok();
            turns.permits.acquire().await.unwrap().forget();
        }
        if let Some(watcher) = &*self.watcher.lock() {
            watcher(operation, key);
        }
        let mut inner = self.inner.lock();
        inner.requests.push((operation, key.to_owned()));
        let hit = match &mut inner.fault {
            Some((0, effect)) => Some(*effect),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let Some(effect) = hit else { return act(&mut inner) };
        inner.fault = None;
        inner.failed = true;
        let message = "as the test wants it".to_owned();
        let changes = matches!(operation, "put" | "delete");
        if effect == Effect::LoseAnswer && changes {
            act(&mut inner).ok();
        }
        Err(match effect {
            Effect::LoseAnswer | Effect::FailUnclear if changes => BucketError::Unclear { message },
            _ => BucketError::Unavailable { message },
        })
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, BucketError> {
        self.request("head", key.as_str(), |inner| Ok(inner.objects.get(key.as_str()).map(Stored::meta))).await
    }

    async fn get(&self, key: &ObjectKey, unchanged: Option<&Etag>) -> Result<Option<Object>, BucketError> {
        self.request("get", key.as_str(), |inner| {
            let Some(stored) = inner.objects.get(key.as_str()) else { return Ok(None) };
            let meta = stored.meta();
            if unchanged.is_some_and(|etag| *etag != meta.etag) {
                return Err(BucketError::PreconditionFailed);
            }
            let bytes = stored.bytes.clone();
            Ok(Some(Object { meta, body: stream::iter([Ok(bytes)]).boxed() }))
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Vec<Listed>, BucketError> {
        self.request("list", prefix, |inner| {
            let rows =
                inner.objects.iter().filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after.as_str()));
            Ok(rows
                .take(limit)
                .map(|(key, stored)| {
                    let ObjectMeta { etag, size, last_modified, .. } = stored.meta();
                    Listed { key: ObjectKey::new(key.as_str()), etag, size, last_modified }
                })
                .collect())
        })
        .await
    }

    async fn put(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, BucketError> {
        let (len, mut bytes) = (content.len(), Vec::new());
        content.reader().read_to_end(&mut bytes)?;
        assert_eq!(bytes.len() as u64, len);
        self.request("put", key.as_str(), |inner| {
            let found = inner.objects.get(key.as_str()).map(|stored| stored.meta().etag);
            let holds = match &put.condition {
                Condition::Always => true,
                Condition::IfAbsent => found.is_none(),
                Condition::IfUnchanged(etag) => found.as_ref() == Some(etag),
            };
            if !holds {
                return Err(BucketError::PreconditionFailed);
            }
            let stored = Stored { bytes: bytes.into(), metadata: put.form.metadata, modified: self.clock.wall() };
            let etag = stored.meta().etag;
            inner.objects.insert(key.as_str().to_owned(), stored);
            Ok(etag)
        })
        .await
    }

    async fn put_in_parts(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, BucketError> {
        self.put(key, content, put).await
    }

    fn is_large(&self, _: u64) -> bool {
        false
    }

    async fn stage(&self, _: &ObjectKey, _: Content, _: Form) -> Result<Box<dyn Staged>, BucketError> {
        unreachable!("nothing is large here")
    }

    async fn copy(&self, _: &ObjectKey, _: Option<&Etag>, _: &ObjectKey) -> Result<Etag, BucketError> {
        unreachable!("files are never copied")
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        self.request("delete", key.as_str(), |inner| {
            inner.objects.remove(key.as_str());
            Ok(())
        })
        .await
    }
}

/// A bucket and a clock, over which databases are opened.
pub(crate) struct Bench {
    pub(crate) bucket: MemoryBucket,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) pool: SqlPool,
    put_ids: Arc<PutIds>,
    spool: Spool,
    _folder: tempfile::TempDir,
}

pub(crate) fn key(text: &str) -> DatabaseKey {
    DatabaseKey::parse(text).unwrap()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let (clock, folder) = (Arc::new(TestClock::new()), tempfile::tempdir().unwrap());
        Self {
            bucket: MemoryBucket::new(Arc::clone(&clock)),
            clock,
            pool: SqlPool::new(2.try_into().unwrap()),
            put_ids: Arc::new(PutIds::new()),
            spool: Spool::new(folder.path().to_owned(), 1 << 30),
            _folder: folder,
        }
    }

    #[allow(clippy::unused_self, reason = "it reads as a part of the bench")]
    pub(crate) fn prefix(&self) -> FilesPrefix {
        FilesPrefix::parse("files/").unwrap()
    }

    pub(crate) async fn open(&self, at: &str) -> Database {
        self.open_branch(at, "main").await
    }

    pub(crate) async fn open_branch(&self, at: &str, branch: &str) -> Database {
        self.open_over(self.bucket.shared(), at, branch, Broken::default()).await
    }

    /// An empty database whose requests go through this bucket.
    pub(crate) async fn open_over(&self, bucket: Arc<dyn Bucket>, at: &str, branch: &str, broken: Broken) -> Database {
        let options = MemoryOptions { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, ..MemoryOptions::new(self.pool.clone()) };
        let memory = MemoryDatabase::new(options).unwrap();
        seed::create_tables(&memory).await.unwrap();
        let ledger = Ledger {
            branch: BranchName::parse(branch).unwrap(),
            epoch: Epoch(1),
            durable: None,
            durable_time: None,
            txid: 0,
            last_snapshot: None,
            uploads: Uploads::Fine,
            outside: None,
            damaged: None,
            dirty_since: None,
            longest_lag: None,
            naming: Naming::new(Epoch(1), ltx::Txid::FIRST, memory.pin().commits()),
            only_shown: false,
            leaving: None,
        };
        let policy = FilesPolicy { prefix: self.prefix(), grace: GRACE };
        let settings = FileSettings { bucket, policy, flush_interval: INTERVAL, retention: Some(Duration::ZERO) };
        let files =
            FileStore::new(key(at), settings, self.spool.clone(), Arc::clone(&self.put_ids), Arc::clone(&self.clock) as Arc<dyn Clock>);
        let limits = Limits { max_size: 64 << 20, query: QueryLimits::default() };
        // Nothing is flushed by itself: tests do that.
        let (commands, _) = mpsc::channel(1);
        let ledger = (Arc::new(Mutex::new(ledger)), Arc::new(Durable::at(memory.pin().commits())));
        Database::new(DatabaseName::new("apps", at), memory, Origin::Empty, ledger, Arc::new(files.broken(broken)), commands, limits)
    }

    /// The newest version becomes the snapshot.
    pub(crate) async fn flush(&self, bucket: &Arc<dyn Bucket>, database: &Database, at: &str) {
        let mut bytes = Vec::new();
        database.pin().image().read_to_end(&mut bytes).unwrap();
        let put = Put { condition: Condition::Always, form: Form::plain("application/vnd.sqlite3") };
        bucket.put(&ObjectKey::new(at), Content::from_bytes(bytes.into()), put).await.unwrap();
    }

    pub(crate) async fn spooled(&self, content: &[u8]) -> Spooled {
        self.spool.intake().write(Bytes::copy_from_slice(content)).await.unwrap().finish().await.unwrap()
    }

    pub(crate) async fn read(&self, database: &Database, record: &FileRecord, range: Option<Range<u64>>) -> Vec<u8> {
        let content = database.files().get(record, range).await.unwrap();
        content.body.try_collect::<Vec<_>>().await.unwrap().concat()
    }

    pub(crate) async fn sql(&self, database: &Database, sql: &str) {
        let sql = sql.to_owned();
        database.change(move |connection| Ok(connection.execute_batch(&sql)?)).await.unwrap();
    }

    pub(crate) async fn marks(&self) -> Option<Marks> {
        crate::document::read::<Marks>(&self.bucket.shared(), &self.prefix().marks()).await.unwrap().map(|found| found.document)
    }

    /// Writes a list, whatever stands there.
    pub(crate) async fn mark(&self, contents: &[&[u8]], phase: Phase) {
        let hashes = contents.iter().map(|content| FileKey::of_digest(Sha256::digest(content).into())).collect();
        let before = self.marks().await;
        let marks = Marks::next(before.as_ref(), phase, hashes, self.clock.wall(), &self.put_ids.fresh());
        self.bucket.set("files.gc.json", Some(&serde_json::to_vec(&marks).unwrap()));
    }
}
