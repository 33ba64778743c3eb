//! The client against the embedded store, in both dialects.

use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use tempfile::TempDir;

use super::*;
use crate::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore, Fault, FaultEffect, Operation};
use crate::bucket::{Condition, Form, Patched, ReadAt};

const DIALECTS: [Dialect; 2] = [Dialect::Standard, Dialect::R2];
const MIB: usize = 1 << 20;

/// A store with one bucket, and the way to it.
pub(in crate::bucket) struct Fixture {
    pub(in crate::bucket) store: EmbeddedStore,
    pub(in crate::bucket) folder: TempDir,
    pub(in crate::bucket) config: StoreConfig,
    pub(in crate::bucket) bucket: Arc<dyn Bucket>,
}

pub(in crate::bucket) fn credentials() -> Credentials {
    Credentials { access_key_id: "test".to_owned(), secret_access_key: "a secret of tests".to_owned(), session_token: None }
}

fn local() -> Stores {
    Stores::through(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() }, None)
}

fn name(bucket: &str) -> BucketName {
    BucketName::parse(bucket).unwrap()
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key)
}

impl Fixture {
    pub(in crate::bucket) async fn start(dialect: Dialect) -> Self {
        Self::over(tempfile::tempdir().unwrap(), dialect).await
    }

    pub(in crate::bucket) async fn over(folder: TempDir, dialect: Dialect) -> Self {
        let options =
            EmbeddedOptions { root: folder.path().to_owned(), listen: ([127, 0, 0, 1], 0).into(), credentials: credentials(), dialect };
        let store = EmbeddedStore::start(options).await.unwrap();
        store.create_bucket(&name("data")).await.unwrap();
        let config = StoreConfig {
            endpoint: Some(store.endpoint()),
            region: "auto".to_owned(),
            credentials: credentials().into(),
            ca_bundle: None,
            kms_key_id: None,
        };
        let bucket = local().bucket(&config, &name("data")).unwrap();
        Self { store, folder, config, bucket }
    }

    async fn write(&self, at: &str, bytes: impl Into<bytes::Bytes>, condition: Condition) -> Result<Etag, Error> {
        self.bucket.put(&key(at), Content::from_bytes(bytes.into()), put(condition)).await
    }

    async fn read(&self, at: &str) -> Result<Vec<u8>, Error> {
        let object = self.bucket.get(&key(at), None).await?.expect("the object is there");
        object
            .body
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
    }
}

fn put(condition: Condition) -> Put {
    let metadata = BTreeMap::from([("buckethead-txid".to_owned(), "7".to_owned())]);
    Put { condition, form: Form { metadata, content_type: "application/vnd.sqlite3" } }
}

fn wrong() -> Etag {
    Etag::new("00000000000000000000000000000000")
}

/// Bytes that differ from part to part, so that parts in a wrong order are noticed.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at / 4096 + at) % 251).unwrap()).collect()
}

macro_rules! assert_fails {
    ($outcome:expr, $pattern:pat) => {
        match $outcome {
            Err($pattern) => {}
            Err(other) => panic!("another error: {other:?}"),
            Ok(_) => panic!("it succeeded"),
        }
    };
}

#[tokio::test]
async fn what_was_put_is_read_back_with_its_metadata() {
    let f = Fixture::start(Dialect::Standard).await;
    let etag = f.write("a/b.db", "hello", Condition::IfAbsent).await.unwrap();
    let meta = f.bucket.head(&key("a/b.db")).await.unwrap().unwrap();
    assert_eq!((&meta.etag, meta.size, meta.metadata["buckethead-txid"].as_str()), (&etag, 5, "7"));
    assert!(meta.last_modified.is_some());
    assert_eq!(f.read("a/b.db").await.unwrap(), b"hello");
    let object = f.bucket.get(&key("a/b.db"), Some(&etag)).await.unwrap().unwrap();
    assert_eq!(object.meta, meta);
    assert_fails!(f.bucket.get(&key("a/b.db"), Some(&wrong())).await, Error::PreconditionFailed);
    f.bucket.delete(&key("a/b.db")).await.unwrap();
    f.bucket.delete(&key("a/b.db")).await.unwrap();
    assert!(f.bucket.head(&key("a/b.db")).await.unwrap().is_none());
    assert!(f.bucket.get(&key("a/b.db"), Some(&etag)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let f = Fixture::start(Dialect::R2).await;
    f.write("empty", "", Condition::IfAbsent).await.unwrap();
    assert_eq!(f.bucket.head(&key("empty")).await.unwrap().unwrap().size, 0);
    assert!(f.read("empty").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_condition_decides_whether_a_put_happens() {
    for dialect in DIALECTS {
        for size in [10, 9 * MIB] {
            let f = Fixture::start(dialect).await;
            assert_fails!(f.write("k", pattern(size), Condition::IfUnchanged(wrong())).await, Error::PreconditionFailed);
            let first = f.write("k", pattern(size), Condition::IfAbsent).await.unwrap();
            assert_fails!(f.write("k", pattern(size + 1), Condition::IfAbsent).await, Error::PreconditionFailed);
            assert_fails!(f.write("k", pattern(size + 1), Condition::IfUnchanged(wrong())).await, Error::PreconditionFailed);
            assert_eq!(f.bucket.head(&key("k")).await.unwrap().unwrap().etag, first, "{dialect:?} {size}");
            let second = f.write("k", pattern(size + 1), Condition::IfUnchanged(first.clone())).await.unwrap();
            assert_fails!(f.write("k", pattern(size), Condition::IfUnchanged(first)).await, Error::PreconditionFailed);
            assert_eq!(f.bucket.head(&key("k")).await.unwrap().unwrap().etag, second);
            assert_eq!(f.read("k").await.unwrap(), pattern(size + 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_puts_on_one_condition_one_wins() {
    for dialect in DIALECTS {
        let f = Fixture::start(dialect).await;
        let mut condition = Condition::IfAbsent;
        for round in 0..5 {
            let puts = (0..8).map(|writer| f.write("k", format!("{round} {writer}"), condition.clone()));
            let outcomes = join_all(puts).await;
            let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
            assert_eq!(winners.len(), 1, "{outcomes:?}");
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::PreconditionFailed))), "{outcomes:?}");
            condition = Condition::IfUnchanged(winners[0].clone());
        }
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_lets_two_puts_win() {
    let f = Fixture::start(Dialect::Standard).await;
    f.store.faults().add(Fault::new(FaultEffect::IgnoreConditions));
    f.write("k", "one", Condition::IfAbsent).await.unwrap();
    f.write("k", "two", Condition::IfAbsent).await.unwrap();
}

/// Counts what is read of it, beside the parts that have arrived.
struct Watched<'a> {
    inner: Cursor<Vec<u8>>,
    most_ahead: &'a AtomicU64,
    arrived: Box<dyn Fn() -> u64 + Send>,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        let parts = self.inner.position().div_ceil(8 * MIB as u64);
        self.most_ahead.fetch_max(parts.saturating_sub((self.arrived)()), Ordering::Relaxed);
        Ok(read)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_put_reads_at_most_two_parts_ahead() {
    static MOST_AHEAD: AtomicU64 = AtomicU64::new(0);
    let f = Arc::new(Fixture::start(Dialect::R2).await);
    let bytes = pattern(44 * MIB + 17);
    let (counted, len) = (Arc::clone(&f), bytes.len() as u64);
    let arrived = Box::new(move || counted.store.requests().of(Operation::UploadPart));
    let reader = Watched { inner: Cursor::new(bytes.clone()), most_ahead: &MOST_AHEAD, arrived };
    f.bucket.put(&key("large"), Content::new(len, reader), put(Condition::IfAbsent)).await.unwrap();
    assert!((1..=2).contains(&MOST_AHEAD.load(Ordering::Relaxed)), "{}", MOST_AHEAD.load(Ordering::Relaxed));
    assert_eq!(f.store.requests().of(Operation::UploadPart), 6);
    assert_eq!(f.bucket.head(&key("large")).await.unwrap().unwrap().metadata["buckethead-txid"], "7");
    assert!(f.read("large").await.unwrap() == bytes);
}

#[tokio::test]
async fn content_of_another_length_is_not_written() {
    let f = Fixture::start(Dialect::Standard).await;
    for (len, real) in [(10, 9), (10, 11), (20 * MIB, 20 * MIB - 1), (20 * MIB, 20 * MIB + 1)] {
        let content = Content::new(len as u64, Cursor::new(vec![1; real]));
        assert_fails!(f.bucket.put(&key("k"), content, put(Condition::Always)).await, Error::Content(_));
        assert!(f.bucket.head(&key("k")).await.unwrap().is_none(), "{len} {real}");
    }
    assert_eq!(f.store.requests().of(Operation::AbortMultipartUpload), 2);
}

#[tokio::test]
async fn a_copy_needs_its_source_unchanged() {
    for dialect in DIALECTS {
        let f = Fixture::start(dialect).await;
        let etag = f.write("a b+ä%.db", "one", Condition::IfAbsent).await.unwrap();
        assert_fails!(f.bucket.copy(&key("a b+ä%.db"), Some(&wrong()), &key("to")).await, Error::PreconditionFailed);
        assert_fails!(f.bucket.copy(&key("missing"), Some(&etag), &key("to")).await, Error::PreconditionFailed);
        assert!(f.bucket.head(&key("to")).await.unwrap().is_none());
        f.bucket.copy(&key("a b+ä%.db"), Some(&etag), &key("to")).await.unwrap();
        assert_eq!(f.read("to").await.unwrap(), b"one");
        assert_eq!(f.bucket.head(&key("to")).await.unwrap().unwrap().metadata["buckethead-txid"], "7");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_key() {
    for dialect in DIALECTS {
        let f = Fixture::start(dialect).await;
        let elsewhere = local().bucket(&f.config, &name("elsewhere")).unwrap();
        assert_fails!(elsewhere.head(&key("k")).await, Error::NoSuchBucket);
        assert_fails!(elsewhere.get(&key("k"), None).await.map(drop), Error::NoSuchBucket);
        assert_fails!(elsewhere.list("", None, 10).await, Error::NoSuchBucket);
        let content = Content::from_bytes("x".into());
        assert_fails!(elsewhere.put(&key("k"), content, put(Condition::IfAbsent)).await, Error::NoSuchBucket);
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_in_the_stores_words() {
    let f = Fixture::start(Dialect::Standard).await;
    let code = |outcome: Result<(), Error>| match outcome {
        Err(Error::AccessDenied { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    let with = |keys: Credentials| local().bucket(&StoreConfig { credentials: keys.into(), ..f.config.clone() }, &name("data")).unwrap();
    let stranger = with(Credentials { access_key_id: "stranger".to_owned(), ..credentials() });
    let forger = with(Credentials { secret_access_key: "guessed".to_owned(), ..credentials() });
    assert_eq!(code(stranger.head(&key("k")).await.map(drop)), "InvalidAccessKeyId");
    assert_eq!(code(forger.head(&key("k")).await.map(drop)), "SignatureDoesNotMatch");
    assert_eq!(code(forger.get(&key("k"), None).await.map(drop)), "SignatureDoesNotMatch");
    let content = Content::from_bytes("x".into());
    assert_eq!(code(forger.put(&key("k"), content, put(Condition::IfAbsent)).await.map(drop)), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_dead_endpoint_is_unavailable_also_for_writes() {
    let f = Fixture::start(Dialect::Standard).await;
    f.store.stop().await;
    assert_fails!(f.bucket.head(&key("k")).await, Error::Unavailable { .. });
    let content = Content::from_bytes("x".into());
    assert_fails!(f.bucket.put(&key("k"), content, put(Condition::IfAbsent)).await, Error::Unavailable { .. });
    let unknown = StoreConfig { endpoint: Some("http://store.invalid:9000".parse().unwrap()), ..f.config };
    let unknown = local().bucket(&unknown, &name("data")).unwrap();
    assert_fails!(unknown.delete(&key("k")).await, Error::Unavailable { .. });
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_unclear_and_not_tried_again() {
    let f = Fixture::start(Dialect::Standard).await;
    let (small, large) = (pattern(10), pattern(9 * MIB));
    let etag = f.write("from", "x", Condition::IfAbsent).await.unwrap();
    f.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject));
    f.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::CompleteMultipartUpload));
    f.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::CopyObject));
    f.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::DeleteObject));
    assert_fails!(f.write("small", small.clone(), Condition::IfAbsent).await, Error::Unclear { .. });
    assert_fails!(f.write("large", large.clone(), Condition::IfAbsent).await, Error::Unclear { .. });
    assert_fails!(f.bucket.copy(&key("from"), Some(&etag), &key("to")).await, Error::Unclear { .. });
    assert_fails!(f.bucket.delete(&key("from")).await, Error::Unclear { .. });
    for operation in [Operation::CompleteMultipartUpload, Operation::CopyObject, Operation::DeleteObject] {
        assert_eq!(f.store.requests().of(operation), 1, "{operation:?}");
    }
    assert_eq!(f.store.requests().of(Operation::PutObject), 2);
    assert_eq!(f.read("small").await.unwrap(), small);
    assert_eq!(f.read("large").await.unwrap(), large);
    assert_eq!(f.read("to").await.unwrap(), b"x");
    assert!(f.bucket.head(&key("from")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_500_to_a_write_is_unclear_and_a_503_is_not() {
    let f = Fixture::start(Dialect::Standard).await;
    f.store.faults().add(Fault::new(FaultEffect::Fail).on(Operation::PutObject).times(1));
    f.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).times(1));
    assert_fails!(f.write("k", "x", Condition::IfAbsent).await, Error::Unclear { .. });
    assert_fails!(f.write("k", "x", Condition::IfAbsent).await, Error::Unavailable { .. });
    assert_eq!(f.store.requests().of(Operation::PutObject), 2);
    f.write("k", "x", Condition::IfAbsent).await.unwrap();
}

#[tokio::test]
async fn reads_and_parts_are_tried_again() {
    let f = Fixture::start(Dialect::Standard).await;
    f.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::UploadPart).times(1));
    f.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::UploadPart).times(1));
    f.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::GetObject).times(2));
    f.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::ListObjectsV2).times(1));
    f.write("k", pattern(9 * MIB), Condition::IfAbsent).await.unwrap();
    assert_eq!(f.read("k").await.unwrap(), pattern(9 * MIB));
    assert_eq!(f.bucket.list("", None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_in_trouble_is_never_read_as_absence() {
    let f = Fixture::start(Dialect::Standard).await;
    for effect in [FaultEffect::Refuse, FaultEffect::Fail, FaultEffect::LoseAnswer] {
        f.store.faults().clear();
        f.store.faults().add(Fault::new(effect));
        assert_fails!(f.bucket.head(&key("k")).await, Error::Unavailable { .. });
        assert_fails!(f.bucket.get(&key("k"), None).await.map(drop), Error::Unavailable { .. });
        assert_fails!(f.bucket.list("", None, 10).await, Error::Unavailable { .. });
    }
}

#[tokio::test]
async fn a_body_that_is_cut_ends_in_an_error() {
    let f = Fixture::start(Dialect::Standard).await;
    f.write("k", pattern(MIB), Condition::IfAbsent).await.unwrap();
    for after in [0, 1, 300_000, MIB as u64 - 1] {
        f.store.faults().clear();
        f.store.faults().add(Fault::new(FaultEffect::CutBody(after)).on(Operation::GetObject));
        let object = match f.bucket.get(&key("k"), None).await {
            Ok(found) => found.unwrap(),
            // The break may overtake the headers.
            Err(Error::Unavailable { .. }) => continue,
            Err(other) => panic!("{other:?}"),
        };
        let pieces: Vec<_> = object.body.collect().await;
        assert!(matches!(pieces.last(), Some(Err(Error::Unavailable { .. }))), "{after}");
        let arrived: usize = pieces.iter().flatten().map(bytes::Bytes::len).sum();
        assert!(arrived as u64 <= after);
    }
}

#[tokio::test]
async fn a_listing_goes_through_all_pages_up_to_its_limit() {
    let f = Fixture::start(Dialect::Standard).await;
    let keys: Vec<_> = (0..25).map(|n| format!("p/{n:04}")).collect();
    for at in keys.iter().map(String::as_str).chain(["o", "q"]) {
        f.write(at, "x", Condition::Always).await.unwrap();
    }
    let listed = |found: Vec<Listed>| found.into_iter().map(|row| row.key.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(listed(f.bucket.list("p/", None, usize::MAX).await.unwrap()), keys);
    assert_eq!(listed(f.bucket.list("p/", None, 7).await.unwrap()), keys[..7]);
    assert_eq!(listed(f.bucket.list("p/", Some(&key("p/0020")), 100).await.unwrap()), keys[21..]);
    assert_eq!(f.bucket.list("nothing", None, 10).await.unwrap(), []);
    assert_eq!(f.bucket.list("o", None, 10).await.unwrap()[0].size, 1);
}

#[tokio::test]
async fn keys_of_all_kinds_go_round() {
    let f = Fixture::start(Dialect::Standard).await;
    let long = "k/".repeat(500);
    let kinds =
        ["a", "A", "a/b", "a/./b", "..", ".hidden", "ä/ö", "雪.db", "a b", "a+b", "a%20b", "a?b=c&d", "a#b", "quote'\"<&>", long.as_str()];
    for (n, at) in kinds.iter().enumerate() {
        f.write(at, n.to_string(), Condition::IfAbsent).await.unwrap_or_else(|error| panic!("{at:?}: {error}"));
    }
    for (n, at) in kinds.iter().enumerate() {
        assert_eq!(f.read(at).await.unwrap(), n.to_string().into_bytes(), "{at:?}");
    }
    let mut sorted: Vec<_> = kinds.iter().map(|&at| key(at)).collect();
    sorted.sort();
    assert_eq!(f.bucket.list("", None, 100).await.unwrap().into_iter().map(|row| row.key).collect::<Vec<_>>(), sorted);
}

#[tokio::test]
async fn forbidden_endpoints_are_refused_however_they_are_written() {
    let f = Fixture::start(Dialect::Standard).await;
    let port = f.store.address().port();
    let strict = Stores::through(EndpointPolicy::default(), None);
    for host in ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "127.1"] {
        let endpoint = Some(format!("http://{host}:{port}").parse().unwrap());
        let bucket = strict.bucket(&StoreConfig { endpoint, ..f.config.clone() }, &name("data")).unwrap();
        match bucket.head(&key("k")).await {
            Err(Error::EndpointRefused { reason }) => assert!(reason.contains("is a loopback address"), "{host}: {reason}"),
            other => panic!("{host}: {other:?}"),
        }
        let content = Content::from_bytes("x".into());
        assert_fails!(bucket.put(&key("k"), content, put(Condition::IfAbsent)).await, Error::EndpointRefused { .. });
    }
    assert_eq!(f.store.requests().total(), 0);
}

#[tokio::test]
async fn through_a_proxy_the_endpoint_is_checked_and_the_proxy_is_not() {
    let f = Fixture::start(Dialect::Standard).await;
    // The embedded store stands in for a proxy: it sees the request, and refuses its signature at most.
    let proxy = connect::Proxy::all(f.store.endpoint().as_str());
    let strict = Stores::through(EndpointPolicy::default(), Some(proxy));
    let at = |endpoint: &str| {
        let config = StoreConfig { endpoint: Some(endpoint.parse().unwrap()), ..f.config.clone() };
        strict.bucket(&config, &name("data")).unwrap()
    };
    for forbidden in ["http://169.254.169.254", "http://localhost:1", "http://[::1]:1"] {
        assert_fails!(at(forbidden).head(&key("k")).await, Error::EndpointRefused { .. });
    }
    assert_eq!(f.store.requests().total(), 0);
    assert!(at("http://192.0.2.7:9000").list("", None, 1).await.is_ok());
    assert_eq!(f.store.requests().total(), 1);
}

/// Stands for what this process is, and counts how often it is asked.
#[derive(Debug, Default)]
struct Account {
    asked: Arc<AtomicU64>,
    is_silent: bool,
}

impl ProvideCredentials for Account {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_silent {
            return future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nobody knows who we are")));
        }
        let Credentials { access_key_id, secret_access_key, .. } = credentials();
        future::ProvideCredentials::ready(Ok(aws_sdk_s3::config::Credentials::new(access_key_id, secret_access_key, None, None, "test")))
    }
}

fn with_identity(policy: EndpointPolicy, account: Account) -> Stores {
    Stores { ambient: Ambient::from(SharedCredentialsProvider::new(account)), ..Stores::through(policy, None) }
}

#[tokio::test]
async fn in_the_name_of_this_process_all_clients_ask_once_who_it_is() {
    let f = Fixture::start(Dialect::Standard).await;
    let account = Account::default();
    let asked = Arc::clone(&account.asked);
    let stores = with_identity(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() }, account);
    let config = StoreConfig { credentials: Identity::Ambient, ..f.config.clone() };
    for at in ["one", "other"] {
        let bucket = stores.bucket(&config, &name("data")).unwrap();
        bucket.put(&key(at), Content::from_bytes("x".into()), put(Condition::IfAbsent)).await.unwrap();
        assert!(bucket.head(&key(at)).await.unwrap().is_some());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_rules_for_endpoints_hold_in_the_name_of_this_process_too() {
    let f = Fixture::start(Dialect::Standard).await;
    let stores = with_identity(EndpointPolicy::default(), Account::default());
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let endpoint = Some(format!("http://{host}:{}", f.store.address().port()).parse().unwrap());
        let config = StoreConfig { endpoint, credentials: Identity::Ambient, ..f.config.clone() };
        let bucket = stores.bucket(&config, &name("data")).unwrap();
        assert_fails!(bucket.head(&key("k")).await, Error::EndpointRefused { .. });
        let content = Content::from_bytes("x".into());
        assert_fails!(bucket.put(&key("k"), content, put(Condition::IfAbsent)).await, Error::EndpointRefused { .. });
    }
    assert_eq!(f.store.requests().total(), 0);
}

#[tokio::test]
async fn without_an_identity_nothing_is_sent_and_that_is_said() {
    let f = Fixture::start(Dialect::Standard).await;
    let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
    let stores = with_identity(policy, Account { is_silent: true, ..Account::default() });
    let bucket = stores.bucket(&StoreConfig { credentials: Identity::Ambient, ..f.config.clone() }, &name("data")).unwrap();
    let written = bucket.put(&key("k"), Content::from_bytes("x".into()), put(Condition::IfAbsent)).await;
    for failed in [bucket.head(&key("k")).await.map(drop), written.map(drop)] {
        match failed {
            Err(Error::Unavailable { message }) => assert!(message.contains("identity") && message.contains("nobody knows"), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(f.store.requests().total(), 0);
}

#[test]
fn an_identity_shows_no_secret_and_is_equal_to_itself() {
    let keys = Identity::from(credentials());
    assert!(!format!("{keys:?} {:?}", Identity::Ambient).contains("a secret"));
    assert_eq!((keys.clone() == keys, keys == Identity::Ambient, Identity::Ambient == Identity::Ambient), (true, false, true));
}

#[tokio::test]
async fn a_ca_bundle_that_cannot_be_used_is_said() {
    let f = Fixture::start(Dialect::Standard).await;
    for bundle in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"] {
        let config = StoreConfig { ca_bundle: Some(bundle.as_bytes().to_vec()), ..f.config.clone() };
        assert_fails!(local().bucket(&config, &name("data")), Error::Refused { .. });
    }
}

#[tokio::test]
async fn what_is_staged_shows_only_once_it_is_published_and_only_where_the_condition_holds() {
    for size in [10, 9 * MIB] {
        let f = Fixture::start(Dialect::Standard).await;
        let stage =
            async || f.bucket.stage(&key("a"), Content::from_bytes(pattern(size).into()), put(Condition::Always).form).await.unwrap();
        let staged = stage().await;
        // Whatever the condition names may be younger than the bytes.
        let old = f.write("a", "old", Condition::IfAbsent).await.unwrap();
        assert_eq!(f.read("a").await.unwrap(), b"old");
        staged.publish(&Condition::IfUnchanged(old.clone())).await.unwrap();
        assert_eq!(f.read("a").await.unwrap(), pattern(size));
        assert_eq!(f.bucket.head(&key("a")).await.unwrap().unwrap().metadata["buckethead-txid"], "7");

        assert_fails!(stage().await.publish(&Condition::IfUnchanged(old)).await, Error::PreconditionFailed);
        stage().await.discard().await;
        assert_eq!(f.read("a").await.unwrap(), pattern(size));
        assert_eq!(f.store.requests().of(Operation::AbortMultipartUpload), 2, "nothing stays behind");
    }
}

/// `old` with its first part and the one at 32 MiB changed, and longer.
fn patched(f: &Fixture, unchanged: Etag, old: &[u8]) -> (Vec<u8>, Patched) {
    let part = f.bucket.patch_size().unwrap();
    let at = |number: usize| number * usize::try_from(part).unwrap();
    let mut new = old.to_vec();
    new[0] ^= 1;
    new[at(2)] ^= 1;
    new.extend_from_slice(&pattern(MIB));
    let bytes = bytes::Bytes::from(new.clone());
    let content: ReadAt = Arc::new(move |from| Box::new(Cursor::new(bytes.slice(usize::try_from(from).unwrap()..))));
    (new, Patched { from: key("old"), unchanged, same: [1, 3].into(), part, len: bytes_len(old) + MIB as u64, content })
}

fn bytes_len(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

#[tokio::test]
async fn an_object_is_put_together_from_another_and_what_changed() {
    for dialect in [Dialect::Standard, Dialect::R2] {
        let f = Fixture::start(dialect).await;
        let old = pattern(65 * MIB);
        let etag = f.write("old", old.clone(), Condition::IfAbsent).await.unwrap();
        let (new, patched) = patched(&f, etag.clone(), &old);
        let parts = f.store.requests().of(Operation::UploadPart);
        let staged = f.bucket.stage_patched(&key("new"), patched, Form::plain("a/b")).await.unwrap();
        assert!(f.bucket.head(&key("new")).await.unwrap().is_none());
        staged.publish(&Condition::IfAbsent).await.unwrap();
        assert!(f.read("new").await.unwrap() == new);
        assert_eq!(f.store.requests().of(Operation::UploadPart) - parts, 3, "two that changed and the new end");
        assert_eq!(f.store.requests().of(Operation::UploadPartCopy), 2);
    }
}

#[tokio::test]
async fn nothing_is_put_together_from_another_state_of_the_object() {
    let f = Fixture::start(Dialect::Standard).await;
    let old = pattern(65 * MIB);
    let etag = f.write("old", old.clone(), Condition::IfAbsent).await.unwrap();
    let (_, patched) = patched(&f, etag.clone(), &old);
    f.write("old", pattern(66 * MIB), Condition::IfUnchanged(etag)).await.unwrap();
    let staged = f.bucket.stage_patched(&key("new"), patched, Form::plain("a/b")).await;
    assert_fails!(staged.map(drop), Error::PreconditionFailed);
    assert!(f.bucket.head(&key("new")).await.unwrap().is_none());
}
