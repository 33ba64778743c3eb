//! A bucket in memory that counts what it is asked: nothing of it needs a socket, so hours pass in no time.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use engine::bucket::s3::StoreConfig;
use engine::bucket::{Bucket, BucketSource, Condition, Content, Error, Form, Listed, Object, ObjectMeta, Put, Staged};
use engine::{BucketName, Clock, Etag, ObjectKey};
use futures::{StreamExt as _, TryStreamExt as _};

#[derive(Debug)]
pub struct Shelf {
    objects: Mutex<BTreeMap<String, Stored>>,
    asked: AtomicU64,
    /// Each write makes an `ETag` of its own.
    writes: AtomicU64,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone)]
struct Stored {
    bytes: Bytes,
    meta: ObjectMeta,
}

impl Shelf {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), asked: AtomicU64::default(), writes: AtomicU64::default(), clock })
    }

    /// What lies under a prefix elsewhere.
    pub async fn copy(&self, from: &dyn Bucket, prefix: &str) {
        for Listed { key, .. } in from.list(prefix, None, usize::MAX).await.unwrap() {
            let Object { meta, body } = from.get(&key, None).await.unwrap().unwrap();
            let parts: Vec<Bytes> = body.try_collect().await.unwrap();
            let form = Form { metadata: meta.metadata, content_type: "" };
            self.write(&key, parts.concat().into(), form, &Condition::IfAbsent).unwrap();
        }
    }

    /// How often so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn request(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Stored>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.objects.lock().unwrap()
    }

    fn write(&self, key: &ObjectKey, bytes: Bytes, form: Form, condition: &Condition) -> Result<Etag, Error> {
        let mut objects = self.request();
        let found = objects.get(key.as_str()).map(|stored| &stored.meta.etag);
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => found.is_none(),
            Condition::IfUnchanged(etag) => found == Some(etag),
        };
        if !holds {
            return Err(Error::PreconditionFailed);
        }
        let etag = Etag::new(&self.writes.fetch_add(1, Ordering::Relaxed).to_string());
        let last_modified = Some(self.clock.wall());
        let meta = ObjectMeta { etag: etag.clone(), size: bytes.len() as u64, last_modified, metadata: form.metadata };
        objects.insert(key.as_str().to_owned(), Stored { bytes, meta });
        Ok(etag)
    }
}

/// Hands the shelf out, whatever is asked for.
#[derive(Debug)]
pub struct Source(pub Arc<Shelf>);

impl BucketSource for Source {
    fn bucket(&self, _: &StoreConfig, _: &BucketName) -> Result<Arc<dyn Bucket>, Error> {
        Ok(Arc::new(Handle(Arc::clone(&self.0))))
    }
}

/// As the engine asks it.
#[derive(Debug)]
pub struct Handle(pub Arc<Shelf>);

/// As a thread that may block reads it.
async fn read(content: Content) -> Bytes {
    let bytes = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        content.reader().read_to_end(&mut bytes).map(|_| bytes)
    });
    bytes.await.unwrap().unwrap().into()
}

#[async_trait]
impl Bucket for Handle {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, Error> {
        Ok(self.0.request().get(key.as_str()).map(|stored| stored.meta.clone()))
    }

    async fn get(&self, key: &ObjectKey, unchanged: Option<&Etag>) -> Result<Option<Object>, Error> {
        let Some(Stored { bytes, meta }) = self.0.request().get(key.as_str()).cloned() else { return Ok(None) };
        if unchanged.is_some_and(|etag| *etag != meta.etag) {
            return Err(Error::PreconditionFailed);
        }
        Ok(Some(Object { meta, body: futures::stream::iter([Ok(bytes)]).boxed() }))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Vec<Listed>, Error> {
        let objects = self.0.request();
        let listed = objects.iter().filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after.as_str()));
        let listed = listed.map(|(key, Stored { meta, .. })| Listed {
            key: ObjectKey::new(key.as_str()),
            etag: meta.etag.clone(),
            size: meta.size,
            last_modified: meta.last_modified,
        });
        Ok(listed.take(limit).collect())
    }

    async fn put(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        let bytes = read(content).await;
        self.0.write(key, bytes, put.form, &put.condition)
    }

    async fn put_in_parts(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        self.put(key, content, put).await
    }

    fn is_large(&self, _: u64) -> bool {
        false
    }

    async fn stage(&self, key: &ObjectKey, content: Content, form: Form) -> Result<Box<dyn Staged>, Error> {
        let bytes = read(content).await;
        Ok(Box::new(Aside { shelf: Arc::clone(&self.0), key: key.clone(), bytes, form }))
    }

    async fn copy(&self, from: &ObjectKey, unchanged: Option<&Etag>, to: &ObjectKey) -> Result<Etag, Error> {
        let found = self.0.objects.lock().unwrap().get(from.as_str()).cloned();
        let Some(Stored { bytes, meta }) = found.filter(|stored| unchanged.is_none_or(|etag| stored.meta.etag == *etag)) else {
            return Err(Error::PreconditionFailed);
        };
        self.0.write(to, bytes, Form { metadata: meta.metadata, content_type: "" }, &Condition::Always)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.0.request().remove(key.as_str());
        Ok(())
    }
}

struct Aside {
    shelf: Arc<Shelf>,
    key: ObjectKey,
    bytes: Bytes,
    form: Form,
}

#[async_trait]
impl Staged for Aside {
    async fn publish(self: Box<Self>, condition: &Condition) -> Result<Etag, Error> {
        self.shelf.write(&self.key, self.bytes, self.form, condition)
    }

    async fn discard(self: Box<Self>) {}
}
