//! A bucket in memory with the exact semantics of conditions, in which the world decides what becomes of each request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use sha2::Digest as _;
use tokio::sync::{mpsc, oneshot};

use super::time::Time;
use crate::bucket::s3::StoreConfig;
use crate::bucket::{Bucket, BucketSource, Condition, Content, Error, Form, Listed, Object, ObjectMeta, Patched, Put, Staged};
use crate::clock::{Clock as _, WallTime};
use crate::flaws::Flaw;
use crate::names::{BucketName, Etag, ObjectKey};
use crate::snapshot::metadata;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// It is not carried out, and the process is told so.
    Refused,
    /// It is not carried out, and nobody learns of that: the connection broke while it was sent.
    Torn,
    /// It is carried out, and nobody learns of it.
    AnswerLost,
    /// It is carried out later, if its condition holds then; nobody learns of it.
    Late,
}

/// A process waits for what becomes of its request.
pub(super) struct Parked {
    pub(super) process: usize,
    pub(super) request: String,
    pub(super) changes: bool,
    pub(super) grant: oneshot::Sender<Fate>,
}

/// So that it is not to be seen which of two threads was faster.
pub(super) fn sort(parked: &mut [Parked]) {
    parked.sort_by(|one, other| (one.process, &one.request).cmp(&(other.process, &other.request)));
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    etag: Etag,
    metadata: BTreeMap<String, String>,
    modified: WallTime,
}

/// A request that changes something, as the store carries it out.
#[derive(Clone)]
enum Change {
    Put { key: ObjectKey, bytes: Bytes, condition: Condition, metadata: BTreeMap<String, String> },
    Copy { from: ObjectKey, unchanged: Option<Etag>, to: ObjectKey },
    Delete { key: ObjectKey },
}

#[derive(Default)]
struct Objects {
    by_key: BTreeMap<String, Stored>,
    late: Vec<Change>,
    /// Branches whose record or chain was changed since somebody looked.
    touched: BTreeSet<String>,
    /// How often what happened.
    counts: BTreeMap<&'static str, u64>,
}

/// What all processes share.
pub(super) struct Store {
    objects: Mutex<Objects>,
    flaw: Flaw,
    time: Time,
}

impl Store {
    pub(super) fn new(flaw: Flaw, time: Time) -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), flaw, time })
    }

    /// How many requests have not arrived yet.
    pub(super) fn late(&self) -> usize {
        self.objects.lock().late.len()
    }

    /// Lets one of them arrive. Its answer reaches nobody.
    pub(super) fn arrive(&self, which: usize) {
        let change = self.objects.lock().late.remove(which);
        drop(self.carry_out(change));
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.objects.lock().by_key.keys().cloned().collect()
    }

    /// An object as it is now.
    pub(super) fn bytes(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().by_key.get(key).map(|stored| stored.bytes.clone())
    }

    /// The metadata of an object as it is now.
    pub(super) fn metadata(&self, key: &str) -> Option<BTreeMap<String, String>> {
        self.objects.lock().by_key.get(key).map(|stored| stored.metadata.clone())
    }

    /// Branches whose record or chain was changed since this was asked last.
    pub(super) fn touched(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.objects.lock().touched)
    }

    /// How often what happened.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.objects.lock().counts.clone()
    }

    /// Something happened that no request shows.
    pub(super) fn count(&self, what: &'static str) {
        *self.objects.lock().counts.entry(what).or_default() += 1;
    }

    /// Somebody who knows nothing of us writes an object.
    pub(super) fn place(&self, key: &str, bytes: Bytes) {
        let stored = Stored { etag: etag_of(&bytes), bytes, metadata: BTreeMap::new(), modified: self.time.wall() };
        self.objects.lock().by_key.insert(key.to_owned(), stored);
    }

    fn carry_out(&self, change: Change) -> Result<Etag, Error> {
        let mut objects = self.objects.lock();
        let objects = &mut *objects;
        let (key, is_put) = match &change {
            Change::Put { key, .. } => (key.as_str(), true),
            Change::Copy { to, .. } => (to.as_str(), true),
            Change::Delete { key } => (key.as_str(), false),
        };
        if let Some(branch) = branch_of(key) {
            objects.touched.insert(branch.to_owned());
        }
        let counted = what(key, is_put);
        match change {
            Change::Put { key, bytes, condition, metadata } => {
                let found = objects.by_key.get(key.as_str()).map(|stored| &stored.etag);
                let holds = match &condition {
                    Condition::Always => true,
                    Condition::IfAbsent => found.is_none(),
                    Condition::IfUnchanged(etag) => found == Some(etag),
                };
                if !holds && !self.ignores(&key, &condition) {
                    *objects
                        .counts
                        .entry(if key.as_str().contains("/.probe-") { "other" } else { "refused by its condition" })
                        .or_default() += 1;
                    return Err(Error::PreconditionFailed);
                }
                *objects.counts.entry(counted).or_default() += 1;
                let etag = etag_of(&bytes);
                objects.by_key.insert(key.as_str().to_owned(), Stored { bytes, etag: etag.clone(), metadata, modified: self.time.wall() });
                Ok(etag)
            }
            Change::Copy { from, unchanged, to } => {
                let holds = |stored: &&Stored| unchanged.as_ref().is_none_or(|etag| stored.etag == *etag);
                let Some(source) = objects.by_key.get(from.as_str()).filter(holds).cloned() else {
                    return Err(Error::PreconditionFailed);
                };
                let etag = source.etag.clone();
                objects.by_key.insert(to.as_str().to_owned(), Stored { modified: self.time.wall(), ..source });
                Ok(etag)
            }
            Change::Delete { key } => {
                *objects.counts.entry(counted).or_default() += 1;
                objects.by_key.remove(key.as_str());
                Ok(Etag::new(""))
            }
        }
    }

    fn ignores(&self, key: &ObjectKey, condition: &Condition) -> bool {
        // The store's probe would find out otherwise.
        let (is_probe, is_head) = (key.as_str().contains("/.probe-"), key.as_str().contains(".head/"));
        let is_slot = key.as_str().contains(".ltx/") && *condition == Condition::IfAbsent;
        match self.flaw {
            _ if is_probe => false,
            Flaw::SlotsIgnored => is_slot,
            Flaw::HeadConditionsIgnored => is_head,
            _ => false,
        }
    }

    fn meta(&self, stored: &Stored) -> ObjectMeta {
        let mut metadata = stored.metadata.clone();
        if self.flaw == Flaw::PutIdsHidden {
            metadata.remove(metadata::PUT_ID);
        }
        ObjectMeta { etag: stored.etag.clone(), size: stored.bytes.len() as u64, last_modified: Some(stored.modified), metadata }
    }
}

/// As S3's, so that equal bytes have equal ETags.
pub(super) fn etag_of(bytes: &[u8]) -> Etag {
    Etag::new(&hex::encode(&sha2::Sha256::digest(bytes)[..16]))
}

/// Of whose record or chain the object is a part.
fn branch_of(key: &str) -> Option<&str> {
    let of_chain = key.strip_prefix("orders.db.ltx/").and_then(|rest| rest.split_once('/')).map(|(branch, _)| branch);
    of_chain.or_else(|| key.strip_prefix("orders.db.head/")?.strip_suffix(".json"))
}

/// What worlds must come by, each at least once.
pub(super) const KINDS: [&str; 11] = [
    "delta put",
    "delta deleted",
    "compaction of minutes put",
    "compaction of an hour put",
    "whole database put",
    "other file of a chain deleted",
    "record put",
    "refused by its condition",
    "content put",
    "content deleted",
    HOUR_AWAY,
];
/// Somebody opens a branch that somebody else has whose clock shows a time an hour away, or more.
pub(super) const HOUR_AWAY: &str = "taken over by a clock an hour away";

/// What is done to which kind of object.
fn what(key: &str, is_put: bool) -> &'static str {
    let folder = key.strip_prefix("orders.db.ltx/").and_then(|rest| rest.split('/').nth(1));
    match (folder, is_put) {
        (Some("0000"), true) => "delta put",
        (Some("0000"), false) => "delta deleted",
        (Some("0001"), true) => "compaction of minutes put",
        (Some("0002"), true) => "compaction of an hour put",
        (Some("0009"), true) => "whole database put",
        (Some(_), _) => "other file of a chain deleted",
        (None, true) if key.starts_with("orders.db.head/") && !key.contains("/.probe-") => "record put",
        (None, true) if key.starts_with("files/") => "content put",
        (None, false) if key.starts_with("files/") => "content deleted",
        (None, _) => "other",
    }
}

/// Some snapshots are larger than this, some are not.
const LARGE: u64 = 38 << 10;
/// Of the parts that they are put together of.
const PATCH: u64 = 12 << 10;

/// The bucket as one process sees it.
#[derive(Clone)]
pub(super) struct View {
    pub(super) store: Arc<Store>,
    pub(super) process: usize,
    pub(super) parked: mpsc::UnboundedSender<Parked>,
    /// A killed process gets no answers any more.
    pub(super) dead: Arc<AtomicBool>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("process", &self.process).finish_non_exhaustive()
    }
}

/// Hands the view out, whatever is asked for.
#[derive(Debug, Clone)]
pub(super) struct Source(pub(super) Arc<View>);

impl BucketSource for Source {
    fn bucket(&self, _: &StoreConfig, _: &BucketName) -> Result<Arc<dyn Bucket>, Error> {
        Ok(Arc::clone(&self.0) as Arc<dyn Bucket>)
    }
}

impl View {
    async fn fate(&self, request: String, changes: bool) -> Fate {
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        // Whether the store can be used at all is not what the world is about.
        if request.contains("/.probe-") {
            return Fate::Answered;
        }
        let (grant, granted) = oneshot::channel();
        // The world is gone only at the end.
        self.parked.send(Parked { process: self.process, request, changes, grant }).ok();
        match granted.await {
            Ok(fate) => fate,
            Err(_) => std::future::pending().await,
        }
    }

    async fn read<T>(&self, request: String, look: impl FnOnce(&Objects) -> T) -> Result<T, Error> {
        match self.fate(request, false).await {
            Fate::Answered => Ok(look(&self.store.objects.lock())),
            Fate::Refused | Fate::Torn | Fate::AnswerLost | Fate::Late => Err(Error::Unavailable { message: "simulated".to_owned() }),
        }
    }

    async fn change(&self, request: String, change: Change) -> Result<Etag, Error> {
        let unclear = || Error::Unclear { message: "simulated".to_owned() };
        match self.fate(request, true).await {
            Fate::Answered => self.store.carry_out(change),
            Fate::Refused => Err(Error::Unavailable { message: "simulated".to_owned() }),
            Fate::Torn => Err(unclear()),
            Fate::AnswerLost => {
                drop(self.store.carry_out(change));
                Err(unclear())
            }
            Fate::Late => {
                self.store.objects.lock().late.push(change);
                Err(unclear())
            }
        }
    }
}

/// On a thread that may block, since content may come from a request of its own.
async fn bytes_of(content: Content) -> Result<Bytes, Error> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let mut reader = content.reader();
        std::io::Read::read_to_end(&mut reader, &mut bytes)?;
        Ok::<_, std::io::Error>(Bytes::from(bytes))
    });
    Ok(read.await.map_err(std::io::Error::other)??)
}

#[async_trait]
impl Bucket for View {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, Error> {
        let store = Arc::clone(&self.store);
        self.read(format!("HEAD {key}"), |objects| objects.by_key.get(key.as_str()).map(|stored| store.meta(stored))).await
    }

    async fn get(&self, key: &ObjectKey, unchanged: Option<&Etag>) -> Result<Option<Object>, Error> {
        let store = Arc::clone(&self.store);
        let found = self.read(format!("GET {key}"), |objects| objects.by_key.get(key.as_str()).cloned()).await?;
        match found {
            Some(stored) if unchanged.is_some_and(|etag| *etag != stored.etag) => Err(Error::PreconditionFailed),
            Some(stored) => {
                let body = futures::stream::iter([Ok(stored.bytes.clone())]).boxed();
                Ok(Some(Object { meta: store.meta(&stored), body }))
            }
            None => Ok(None),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Vec<Listed>, Error> {
        let after = after.map(|key| key.as_str().to_owned()).unwrap_or_default();
        let found = self.read(format!("LIST {prefix}"), |objects| {
            let rows = objects.by_key.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after).take(limit);
            rows.map(|(key, stored)| Listed {
                key: ObjectKey::new(key.clone()),
                etag: stored.etag.clone(),
                size: stored.bytes.len() as u64,
                last_modified: Some(stored.modified),
            })
            .collect()
        });
        found.await
    }

    async fn put(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        let bytes = bytes_of(content).await?;
        let change = Change::Put { key: key.clone(), bytes, condition: put.condition, metadata: put.form.metadata };
        self.change(format!("PUT {key}"), change).await
    }

    async fn put_in_parts(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        self.put(key, content, put).await
    }

    fn is_large(&self, len: u64) -> bool {
        len > LARGE
    }

    async fn stage(&self, key: &ObjectKey, content: Content, form: Form) -> Result<Box<dyn Staged>, Error> {
        // Parts are sent until their answer is clear, and nobody sees them.
        self.read(format!("STAGE {key}"), |_| ()).await?;
        Ok(Box::new(InParts { view: self.clone(), key: key.clone(), bytes: bytes_of(content).await?, form }))
    }

    fn patch_size(&self) -> Option<u64> {
        Some(PATCH)
    }

    async fn stage_patched(&self, key: &ObjectKey, patched: Patched, form: Form) -> Result<Box<dyn Staged>, Error> {
        let Patched { from, unchanged, same, part, len, content } = patched;
        let found = self.read(format!("STAGE {key} OVER {from}"), |objects| objects.by_key.get(from.as_str()).cloned()).await?;
        let base = found.filter(|stored| stored.etag == unchanged).ok_or(Error::PreconditionFailed)?;
        let mut bytes = Vec::new();
        for number in 0..len.div_ceil(part) {
            let (begin, end) = (number * part, ((number + 1) * part).min(len));
            if same.contains(&number) {
                let within = |place: u64| usize::try_from(place).map_err(std::io::Error::other);
                bytes.extend_from_slice(&base.bytes[within(begin)?..within(end)?]);
            } else {
                std::io::Read::read_to_end(&mut std::io::Read::take(content(begin), end - begin), &mut bytes)?;
            }
        }
        Ok(Box::new(InParts { view: self.clone(), key: key.clone(), bytes: bytes.into(), form }))
    }

    async fn copy(&self, from: &ObjectKey, unchanged: Option<&Etag>, to: &ObjectKey) -> Result<Etag, Error> {
        let change = Change::Copy { from: from.clone(), unchanged: unchanged.cloned(), to: to.clone() };
        self.change(format!("COPY {from} {to}"), change).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.change(format!("DELETE {key}"), Change::Delete { key: key.clone() }).await.map(drop)
    }

    fn flaw(&self) -> Flaw {
        self.store.flaw
    }
}

/// What nobody sees before it is published.
struct InParts {
    view: View,
    key: ObjectKey,
    bytes: Bytes,
    form: Form,
}

#[async_trait]
impl Staged for InParts {
    async fn publish(self: Box<Self>, condition: &Condition) -> Result<Etag, Error> {
        let Self { view, key, bytes, form } = *self;
        let change = Change::Put { key: key.clone(), bytes, condition: condition.clone(), metadata: form.metadata };
        view.change(format!("PUBLISH {key}"), change).await
    }

    async fn discard(self: Box<Self>) {}
}
