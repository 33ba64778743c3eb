//! A [`Bucket`] on S3-compatible stores.
//!
//! Owns: which requests are sent, and which may be sent again. Does not own: what an answer means (`answer`), connections (`connect`).
//! Invariant: a request that changes what readers see is sent once; only reads and the parts of uploads are tried again.

mod ambient;
mod answer;
pub(in crate::bucket) mod connect;
mod copy;
mod told;
mod upload;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{DisplayErrorContext, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ServerSideEncryption;
use parking_lot::Mutex;

pub use super::endpoint::EndpointPolicy;
use super::{Bucket, BucketSource, Content, Error, Form, Listed, Object, ObjectMeta, Patched, Put, SharedAs, Staged};
use crate::clock::WallTime;
use crate::hooks::HookSet;
use crate::names::{BucketName, Etag, ObjectKey};
use ambient::Ambient;
use answer::Effect;

/// How long one try of a request without a large body may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one try of a request with a body of up to 8 MiB may take, or a copy on the server.
const TRANSFER_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a download may stand still.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const TRIES: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const PAGE: usize = 1000;

/// Keys of an account of the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// In whose name a store is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Of an account that somebody has the keys of.
    Keys(Credentials),
    /// Of this process, as its surroundings tell. To be used only where somebody with a right to it said so: whoever names the objects
    /// works with its rights.
    Ambient,
}

impl Identity {
    /// The keys, if there are any to know.
    pub fn keys(&self) -> Option<&Credentials> {
        match self {
            Self::Keys(keys) => Some(keys),
            Self::Ambient => None,
        }
    }
}

impl From<Credentials> for Identity {
    fn from(keys: Credentials) -> Self {
        Self::Keys(keys)
    }
}

/// How a store is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Absent for AWS itself.
    pub endpoint: Option<url::Url>,
    /// `auto` for R2; with AWS a real one.
    pub region: String,
    /// Who asks.
    pub credentials: Identity,
    /// PEM certificates of a private authority, besides the system's.
    pub ca_bundle: Option<Vec<u8>>,
    /// The key for the store's own encryption (SSE-KMS).
    pub kms_key_id: Option<String>,
}

/// Makes buckets; holds what they share (connections, certificates, the endpoint rules).
#[derive(Clone)]
pub struct Stores {
    policy: Arc<EndpointPolicy>,
    proxy: Option<connect::Proxy>,
    ambient: Ambient,
    /// By what they trust: databases with the same CA bundle share connections.
    clients: Arc<Mutex<HashMap<Option<Vec<u8>>, SharedHttpClient>>>,
    hooks: HookSet,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("policy", &self.policy).field("proxied", &self.proxy.is_some()).finish_non_exhaustive()
    }
}

impl Stores {
    /// With these rules, and the proxies that the environment names.
    pub fn new(policy: EndpointPolicy) -> Self {
        Self::through(policy, connect::Proxy::from_env())
    }

    fn through(policy: EndpointPolicy, proxy: Option<connect::Proxy>) -> Self {
        let ambient = Ambient::of_process(proxy.clone());
        Self { policy: Arc::new(policy), proxy, ambient, clients: Arc::default(), hooks: HookSet::default() }
    }

    /// The same, and these are told of each request.
    #[must_use]
    pub fn telling(self, hooks: HookSet) -> Self {
        Self { hooks, ..self }
    }

    fn http_client(&self, ca_bundle: Option<&[u8]>) -> Result<SharedHttpClient, Error> {
        let trusted = ca_bundle.map(<[u8]>::to_vec);
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&trusted) {
            return Ok(client.clone());
        }
        let client = connect::http_client(Arc::clone(&self.policy), ca_bundle, self.proxy.clone())
            .map_err(|error| Error::Refused { code: "InvalidCaBundle".to_owned(), message: error.to_string() })?;
        clients.insert(trusted, client.clone());
        Ok(client)
    }
}

impl BucketSource for Stores {
    fn bucket(&self, store: &StoreConfig, bucket: &BucketName) -> Result<Arc<dyn Bucket>, Error> {
        let http = self.http_client(store.ca_bundle.as_deref())?;
        Ok(Arc::new(S3Bucket::new(store, bucket, &http, &self.ambient, &self.hooks)))
    }
}

/// One bucket of one store.
#[derive(Debug, Clone)]
struct S3Bucket {
    name: String,
    kms_key_id: Option<String>,
    /// For what changes nothing: tried again.
    reads: Client,
    /// For parts of uploads that nobody sees yet: tried again, with time for their bodies.
    parts: Client,
    /// For what readers see at once: sent once.
    once: Client,
    /// For what others are to send: nobody is told of it.
    signs: Client,
}

impl S3Bucket {
    fn new(config: &StoreConfig, bucket: &BucketName, http: &SharedHttpClient, ambient: &Ambient, hooks: &HookSet) -> Self {
        let again = RetryConfig::standard().with_max_attempts(TRIES).with_initial_backoff(FIRST_BACKOFF);
        let client = |timeout, retries| Client::from_conf(told(sdk_config(config, bucket, http, ambient, timeout, retries), hooks));
        let signs = sdk_config(config, bucket, http, ambient, ANSWER_TIMEOUT, RetryConfig::disabled()).build();
        Self {
            name: bucket.as_str().to_owned(),
            kms_key_id: config.kms_key_id.clone(),
            reads: client(ANSWER_TIMEOUT, again.clone()),
            parts: client(TRANSFER_TIMEOUT, again),
            once: client(TRANSFER_TIMEOUT, RetryConfig::disabled()),
            signs: Client::from_conf(signs),
        }
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.kms_key_id.as_ref().map(|_| ServerSideEncryption::AwsKms)
    }

    /// Why a HEAD failed: its answer has no body, so it tells neither a missing object from a missing bucket nor who was refused. A GET of
    /// one byte does.
    async fn explain(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, Error> {
        match self.reads.get_object().bucket(&self.name).key(key.as_str()).range("bytes=0-0").send().await {
            Err(error) if answer::code(&error) == Some("NoSuchKey") => Ok(None),
            Err(error) if answer::code(&error) != Some("InvalidRange") => Err(answer::failure(&error, Effect::Invisible)),
            // It is there now, so the first answer is out of date.
            Ok(_) | Err(_) => Err(Error::Unavailable { message: format!("{key} changed while it was looked at") }),
        }
    }
}

fn sdk_config(
    config: &StoreConfig,
    bucket: &BucketName,
    http: &SharedHttpClient,
    ambient: &Ambient,
    timeout: Duration,
    retries: RetryConfig,
) -> aws_sdk_s3::config::Builder {
    let endpoint = config.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
    // Clients of one partition share a budget for retries; a store in trouble must not use up its neighbours'.
    let partition = format!("{} {bucket}", endpoint.as_deref().unwrap_or(&config.region));
    let mut sdk = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .force_path_style(endpoint.is_some())
        .http_client(http.clone())
        .retry_config(retries)
        .retry_partition(RetryPartition::new(partition))
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(timeout).build())
        // R2 and other stores refuse checksums that trail the body.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Our own limits, above, end a transfer that stands still.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    sdk.set_endpoint_url(endpoint);
    match config.credentials.clone() {
        Identity::Ambient => ambient.sign(&mut sdk),
        Identity::Keys(Credentials { access_key_id, secret_access_key, session_token }) => {
            let keys = aws_sdk_s3::config::Credentials::new(access_key_id, secret_access_key, session_token, None, "buckethead");
            sdk = sdk.credentials_provider(keys);
        }
    }
    sdk
}

/// Who wants to be told of nothing costs nothing.
fn told(mut sdk: aws_sdk_s3::config::Builder, hooks: &HookSet) -> aws_sdk_s3::Config {
    if !hooks.is_empty() {
        sdk = sdk.interceptor(told::Told(hooks.clone()));
    }
    sdk.build()
}

#[async_trait]
impl Bucket for S3Bucket {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, Error> {
        match self.reads.head_object().bucket(&self.name).key(key.as_str()).send().await {
            Ok(found) => Ok(Some(object_meta(found.e_tag(), found.content_length(), found.last_modified(), found.metadata())?)),
            Err(SdkError::ServiceError(_)) => self.explain(key).await,
            Err(error) => Err(answer::failure(&error, Effect::Invisible)),
        }
    }

    async fn get(&self, key: &ObjectKey, unchanged: Option<&Etag>) -> Result<Option<Object>, Error> {
        let request = self.reads.get_object().bucket(&self.name).key(key.as_str()).set_if_match(unchanged.map(Etag::quoted));
        match request.send().await {
            Ok(found) => {
                let meta = object_meta(found.e_tag(), found.content_length(), found.last_modified(), found.metadata())?;
                let body = Download { body: found.body, left: meta.size }.stream();
                Ok(Some(Object { meta, body: Box::pin(body) }))
            }
            Err(error) if answer::code(&error) == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(answer::failure(&error, Effect::Invisible)),
        }
    }

    async fn get_range(&self, key: &ObjectKey, unchanged: &Etag, range: Range<u64>) -> Result<Option<Object>, Error> {
        if range.is_empty() {
            // A range cannot be written down without a byte.
            let meta = self.head(key).await?;
            return match meta {
                Some(meta) if meta.etag != *unchanged => Err(Error::PreconditionFailed),
                meta => Ok(meta.map(|meta| Object { meta, body: Box::pin(futures::stream::empty()) })),
            };
        }
        let request = self.reads.get_object().bucket(&self.name).key(key.as_str()).if_match(unchanged.quoted());
        match request.range(format!("bytes={}-{}", range.start, range.end - 1)).send().await {
            Ok(found) => {
                let size = size_of_range(found.content_range(), &range)?;
                let meta = object_meta(found.e_tag(), Some(size), found.last_modified(), found.metadata())?;
                let body = Download { body: found.body, left: range.end - range.start }.stream();
                Ok(Some(Object { meta, body: Box::pin(body) }))
            }
            Err(error) if answer::code(&error) == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(answer::failure(&error, Effect::Invisible)),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Vec<Listed>, Error> {
        let mut found = Vec::new();
        let mut next = None;
        while found.len() < limit {
            let wanted = i32::try_from((limit - found.len()).min(PAGE)).expect("a page has at most 1000 rows");
            let request = self.reads.list_objects_v2().bucket(&self.name).prefix(prefix).max_keys(wanted);
            let request = request.set_start_after(after.map(|key| key.as_str().to_owned())).set_continuation_token(next);
            let page = request.send().await.map_err(|error| answer::failure(&error, Effect::Invisible))?;
            for row in page.contents() {
                found.push(listed(row)?);
            }
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn put(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        upload::put(self, key, content, put).await
    }

    async fn put_in_parts(&self, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
        upload::put_in_parts(self, key, content, put).await
    }

    fn is_large(&self, len: u64) -> bool {
        upload::is_large(len)
    }

    async fn stage(&self, key: &ObjectKey, content: Content, form: Form) -> Result<Box<dyn Staged>, Error> {
        Ok(Box::new(upload::stage(self, key, content, &form).await?))
    }

    fn patch_size(&self) -> Option<u64> {
        Some(upload::PATCH)
    }

    async fn stage_patched(&self, key: &ObjectKey, patched: Patched, form: Form) -> Result<Box<dyn Staged>, Error> {
        Ok(Box::new(upload::stage_patched(self, key, patched, &form).await?))
    }

    async fn copy(&self, from: &ObjectKey, unchanged: Option<&Etag>, to: &ObjectKey) -> Result<Etag, Error> {
        copy::copy(self, from, unchanged, to).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        match self.once.delete_object().bucket(&self.name).key(key.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) if answer::code(&error) == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(answer::failure(&error, Effect::Visible)),
        }
    }

    async fn share(&self, key: &ObjectKey, lasts: Duration, shared: SharedAs) -> Result<String, Error> {
        let refused = |message: String| Error::Refused { code: "NotShared".to_owned(), message };
        let lasts = PresigningConfig::expires_in(lasts).map_err(|error| refused(error.to_string()))?;
        let SharedAs { content_type, content_disposition } = shared;
        let request = self.signs.get_object().bucket(&self.name).key(key.as_str());
        let request = request.response_content_type(content_type).response_content_disposition(content_disposition);
        let signed = request.presigned(lasts).await.map_err(|error| refused(DisplayErrorContext(error).to_string()))?;
        Ok(signed.uri().to_owned())
    }
}

/// A body on its way. The size is known from the headers, so a body that ends early is noticed however it ends.
struct Download {
    body: ByteStream,
    left: u64,
}

impl Download {
    fn stream(self) -> impl futures::Stream<Item = Result<bytes::Bytes, Error>> + Send + 'static {
        futures::stream::try_unfold(self, |mut download| async move {
            let Ok(chunk) = tokio::time::timeout(STALL_TIMEOUT, download.body.next()).await else {
                return Err(Error::Unavailable { message: "the download stands still".to_owned() });
            };
            match chunk {
                Some(Ok(bytes)) => {
                    download.left = download.left.saturating_sub(bytes.len() as u64);
                    Ok(Some((bytes, download)))
                }
                Some(Err(error)) => Err(Error::Unavailable { message: format!("the download broke off: {error}") }),
                None if download.left > 0 => {
                    Err(Error::Unavailable { message: format!("{} bytes of the download are missing", download.left) })
                }
                None => Ok(None),
            }
        })
    }
}

fn object_meta(
    etag: Option<&str>,
    size: Option<i64>,
    last_modified: Option<&DateTime>,
    metadata: Option<&HashMap<String, String>>,
) -> Result<ObjectMeta, Error> {
    Ok(ObjectMeta {
        etag: known_etag(etag)?,
        size: size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| incomplete("size"))?,
        last_modified: last_modified.and_then(wall_time),
        metadata: metadata
            .map(|pairs| pairs.iter().map(|(key, value)| (key.to_lowercase(), value.clone())).collect::<BTreeMap<_, _>>())
            .unwrap_or_default(),
    })
}

/// The size of the whole object, from the `Content-Range` of the answer to a request for `asked`. An answer with other bytes is none.
fn size_of_range(content_range: Option<&str>, asked: &Range<u64>) -> Result<i64, Error> {
    let (range, size) = content_range.and_then(|text| text.strip_prefix("bytes ")?.split_once('/')).unzip();
    if range != Some(&format!("{}-{}", asked.start, asked.end - 1)) {
        return Err(incomplete("range that was asked for"));
    }
    size.and_then(|size| size.parse().ok()).ok_or_else(|| incomplete("size"))
}

fn listed(row: &aws_sdk_s3::types::Object) -> Result<Listed, Error> {
    Ok(Listed {
        key: ObjectKey::new(row.key().ok_or_else(|| incomplete("key"))?),
        etag: known_etag(row.e_tag())?,
        size: row.size().and_then(|size| u64::try_from(size).ok()).ok_or_else(|| incomplete("size"))?,
        last_modified: row.last_modified().and_then(wall_time),
    })
}

fn known_etag(etag: Option<&str>) -> Result<Etag, Error> {
    etag.map(Etag::new).ok_or_else(|| incomplete("ETag"))
}

fn incomplete(what: &'static str) -> Error {
    Error::Unavailable { message: format!("the store's answer lacks the {what}") }
}

/// The `ETag` of what was just written. Without it the write may stand, but nobody knows as what.
fn written_etag(etag: Option<&str>) -> Result<Etag, Error> {
    etag.map(Etag::new).ok_or_else(|| Error::Unclear { message: "the store's answer lacks the ETag".to_owned() })
}

fn wall_time(time: &DateTime) -> Option<WallTime> {
    WallTime::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
pub(in crate::bucket) mod tests;
