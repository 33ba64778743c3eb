//! The host with a real store beside it: what is restored, what is saved, and what is never done.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::*;
use crate::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore, Fault, FaultEffect, Operation};
use crate::bucket::s3::{Credentials, EndpointPolicy, StoreConfig};
use crate::bucket::{Condition, Content, Put};
use crate::clock::SystemClock;
use crate::config::{Limits, SnapshotPolicy};
use crate::database::{Flush, Flushed};
use crate::error::Previous;
use crate::facts::Facts;
use crate::names::{BranchName, BucketName, DatabaseKey, Etag, ObjectKey};
use crate::sql::{QueryLimits, Request, Statement, Value};

/// A store, and a host that reaches it.
struct Bench {
    store: EmbeddedStore,
    host: Arc<Host>,
    _folder: tempfile::TempDir,
}

const HOUR: Duration = Duration::from_hours(1);

impl Bench {
    async fn start() -> Self {
        Self::with(Dialect::R2).await
    }

    async fn with(dialect: Dialect) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options =
            EmbeddedOptions { root: folder.path().to_owned(), listen: "127.0.0.1:0".parse().unwrap(), credentials: credentials(), dialect };
        let store = EmbeddedStore::start(options).await.unwrap();
        store.create_bucket(&bucket_name()).await.unwrap();
        Self { store, host: new_host(), _folder: folder }
    }

    /// Saved only when asked, unless a test says otherwise.
    fn config(&self, name: &str) -> DatabaseConfig {
        DatabaseConfig {
            name: DatabaseName::new("apps", name),
            location: Location { bucket: bucket_name(), key: DatabaseKey::parse("apps/orders.db").unwrap(), branch: BranchName::main() },
            store: StoreConfig {
                endpoint: Some(self.store.endpoint()),
                region: "auto".to_owned(),
                credentials: credentials(),
                ca_bundle: None,
                kms_key_id: None,
            },
            snapshots: SnapshotPolicy { interval: HOUR, min_interval: Duration::ZERO, keep_previous: true },
            limits: Limits { max_size: 64 << 20, query: QueryLimits::default() },
            access: Access::Open,
            accept_snapshot: None,
        }
    }

    /// Our own view of the bucket.
    fn bucket(&self) -> Arc<dyn Bucket> {
        stores().bucket(&self.config("observer").store, &bucket_name()).unwrap()
    }

    async fn object(&self, key: &str) -> Option<(Etag, Bytes)> {
        let object = self.bucket().get(&ObjectKey::new(key), None).await.unwrap()?;
        let parts: Vec<Bytes> = object.body.try_collect().await.unwrap();
        Some((object.meta.etag, parts.concat().into()))
    }

    async fn overwrite(&self, key: &str, bytes: &'static [u8]) -> Etag {
        let put = Put { condition: Condition::Always, metadata: std::collections::BTreeMap::default(), content_type: "text/plain" };
        self.bucket().put(&ObjectKey::new(key), Content::from_bytes(Bytes::from_static(bytes)), put).await.unwrap()
    }

    async fn open(&self, config: DatabaseConfig) -> Database {
        let name = config.name.clone();
        let state = self.settle(config).await;
        assert!(matches!(state, State::Open(_)), "{state:?}");
        self.host.get(&name).unwrap().database
    }

    /// Opens, and waits until that succeeded or failed.
    async fn settle(&self, config: DatabaseConfig) -> State {
        let name = config.name.clone();
        let mut changes = self.host.changes();
        self.host.open(config);
        loop {
            match self.host.state(&name) {
                State::Opening => drop(changes.recv().await),
                state => return state,
            }
        }
    }

    /// The same bucket, seen by the next process.
    fn restart(&mut self) {
        self.host = new_host();
    }

    async fn close(&self, name: &str) -> Result<Option<SnapshotFacts>, Arc<Error>> {
        self.host.close(&DatabaseName::new("apps", name)).await
    }
}

fn stores() -> Stores {
    Stores::new(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() })
}

fn new_host() -> Arc<Host> {
    Host::new(HostOptions {
        parallel_restores: 4,
        stores: stores(),
        sql_threads: SqlThreads::new(2.try_into().unwrap()),
        clock: Arc::new(SystemClock),
    })
}

fn bucket_name() -> BucketName {
    BucketName::parse("orders-data").unwrap()
}

fn credentials() -> Credentials {
    Credentials { access_key_id: "us".to_owned(), secret_access_key: "secret".to_owned(), session_token: None }
}

fn request(sql: &str) -> Request {
    Request { statements: vec![Statement { sql: sql.to_owned(), ..Statement::default() }], ..Request::default() }
}

async fn write(database: &Database, sql: &str) {
    database.write(request(sql)).await.unwrap();
}

async fn count(database: &Database) -> i64 {
    let response = database.read(request("select count(*) from t")).await.unwrap();
    let Value::Integer(count) = response.results[0].rows[0][0] else { panic!("a count is an integer") };
    count
}

fn facts_of(flushed: Flushed) -> SnapshotFacts {
    let Flushed::Uploaded(facts) = flushed else { panic!("expected an upload, got {flushed:?}") };
    facts
}

#[tokio::test]
async fn rows_written_before_a_close_are_there_after_the_next_open() {
    for dialect in [Dialect::Standard, Dialect::R2] {
        let mut bench = Bench::with(dialect).await;
        let database = bench.open(bench.config("orders")).await;
        write(&database, "create table t(x); insert into t values (1), (2)").await;
        bench.close("orders").await.unwrap();
        bench.restart();
        let database = bench.open(bench.config("orders")).await;
        assert_eq!(count(&database).await, 2);
    }
}

#[tokio::test]
async fn a_database_that_began_empty_is_in_the_bucket_after_its_close() {
    let bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    let saved = bench.close("orders").await.unwrap().unwrap();
    let (etag, bytes) = bench.object("apps/orders.db").await.unwrap();
    assert_eq!((saved.etag, saved.txid), (etag, 1));
    assert!(bytes.starts_with(b"SQLite format 3\0"));
    assert!(bench.object("apps/orders.db.prev").await.is_none(), "there was nothing before it");
}

#[tokio::test]
async fn what_looks_like_a_read_and_writes_is_run_as_a_write() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    for sql in ["with one(x) as (values (1)) insert into t select x from one", "select 1; insert into t values (2)"] {
        database.run(request(sql)).await.unwrap();
    }
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn nothing_is_uploaded_where_nothing_changed() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    let first = facts_of(database.flush(Flush::Forced).await.unwrap());
    assert_eq!(database.flush(Flush::Forced).await.unwrap(), Flushed::Unchanged(first));
    let before = bench.store.requests().total();
    assert!(matches!(database.flush(Flush::Forced).await.unwrap(), Flushed::Unchanged(_)));
    assert_eq!(bench.store.requests().total(), before);
}

#[tokio::test]
async fn a_restored_database_is_clean_until_its_first_commit() {
    let mut bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    bench.close("orders").await.unwrap();
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert!(!database.facts().pending);
    assert!(matches!(database.flush(Flush::Forced).await.unwrap(), Flushed::Unchanged(_)));
    write(&database, "create table t(x)").await;
    assert!(database.facts().pending);
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 2);
}

#[tokio::test]
async fn the_snapshot_before_the_newest_lies_at_prev() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    let (_, first) = bench.object("apps/orders.db").await.unwrap();
    write(&database, "insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    let (_, previous) = bench.object("apps/orders.db.prev").await.unwrap();
    let (_, newest) = bench.object("apps/orders.db").await.unwrap();
    assert!(previous == first && newest != first);
}

#[tokio::test]
async fn keep_previous_can_be_turned_off_while_open() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    let database = bench.open(config.clone()).await;
    database.flush(Flush::Forced).await.unwrap();
    config.snapshots.keep_previous = false;
    bench.host.reconfigure(config);
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    assert!(bench.object("apps/orders.db.prev").await.is_none());
}

#[tokio::test]
async fn equal_content_never_gets_an_etag_again() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    let first = facts_of(database.flush(Flush::Forced).await.unwrap());
    let (_, before) = bench.object("apps/orders.db").await.unwrap();
    // A write of what is there already changes no byte but the counters of page 1.
    write(&database, "pragma user_version = 0").await;
    let second = facts_of(database.flush(Flush::Forced).await.unwrap());
    let (_, after) = bench.object("apps/orders.db").await.unwrap();
    assert_ne!(first.etag, second.etag);
    let without_counters = |bytes: &Bytes| [&bytes[..24], &bytes[28..92], &bytes[96..]].concat();
    assert_eq!(without_counters(&before), without_counters(&after));
}

#[tokio::test]
async fn a_commit_is_saved_by_itself_after_an_interval() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    config.snapshots.interval = Duration::from_millis(50);
    let database = bench.open(config).await;
    let mut changes = bench.host.changes();
    write(&database, "create table t(x)").await;
    while database.facts().pending {
        changes.recv().await.unwrap();
    }
    assert!(bench.object("apps/orders.db").await.is_some());
}

#[tokio::test]
async fn a_manual_flush_soon_after_another_is_skipped_and_a_forced_one_is_not() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    config.snapshots.min_interval = HOUR;
    let database = bench.open(config).await;
    let first = facts_of(database.flush(Flush::Manual).await.unwrap());
    write(&database, "create table t(x)").await;
    assert_eq!(database.flush(Flush::Manual).await.unwrap(), Flushed::Skipped(Some(first)));
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 2);
}

#[tokio::test]
async fn a_foreign_snapshot_ends_uploads_and_writes_but_not_reads() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    let theirs = bench.overwrite("apps/orders.db", b"somebody else's").await;
    write(&database, "insert into t values (2)").await;
    let error = database.flush(Flush::Forced).await.unwrap_err();
    assert!(matches!(&*error, Error::SnapshotConflict { theirs: found, .. } if *found == theirs.to_string()), "{error}");
    assert!(matches!(database.facts().uploads, Uploads::Conflict { .. }));
    let refused = database.write(request("insert into t values (3)")).await.unwrap_err();
    assert!(matches!(refused, Error::SnapshotConflict { .. }));
    assert_eq!(count(&database).await, 2);
    database.run(request("select count(*) from t")).await.unwrap();
    assert_eq!(bench.object("apps/orders.db").await.unwrap().0, theirs, "it is left as it is");
}

#[tokio::test]
async fn a_foreign_snapshot_in_an_empty_place_is_not_replaced() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    let theirs = bench.overwrite("apps/orders.db", b"somebody else's").await;
    assert!(matches!(&*database.flush(Flush::Forced).await.unwrap_err(), Error::SnapshotConflict { ours, .. } if ours == "none"));
    assert_eq!(bench.object("apps/orders.db").await.unwrap().0, theirs);
}

#[tokio::test]
async fn a_damaged_snapshot_is_left_alone_and_the_one_before_it_offered() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "insert into t values (2)").await;
    bench.close("orders").await.unwrap();
    let damaged = bench.overwrite("apps/orders.db", b"no database at all").await;
    bench.restart();
    let State::Failed { error, .. } = bench.settle(bench.config("orders")).await else { panic!("it must not open") };
    let Error::SnapshotCorrupt { etag, previous: Previous::Intact(before), .. } = &*error else { panic!("{error}") };
    assert_eq!(*etag, damaged);

    let accepted = DatabaseConfig { accept_snapshot: Some(before.clone()), ..bench.config("orders") };
    let database = bench.open(accepted).await;
    assert_eq!(count(&database).await, 1);
    let previous = bench.object("apps/orders.db.prev").await.unwrap();
    database.flush(Flush::Forced).await.unwrap();
    assert_eq!(bench.object("apps/orders.db.prev").await.unwrap(), previous, "damage is never copied over it");
    assert_ne!(bench.object("apps/orders.db").await.unwrap().0, damaged);
}

#[tokio::test]
async fn an_annotation_for_another_snapshot_accepts_nothing() {
    let bench = Bench::start().await;
    bench.overwrite("apps/orders.db", b"no database at all").await;
    let config = DatabaseConfig { accept_snapshot: Some(Etag::new("0123")), ..bench.config("orders") };
    let State::Failed { error, .. } = bench.settle(config).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::SnapshotCorrupt { previous: Previous::Absent, .. }), "{error}");
}

#[tokio::test]
async fn a_deleted_snapshot_with_one_before_it_is_not_an_empty_database() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "insert into t values (1)").await;
    bench.close("orders").await.unwrap();
    bench.bucket().delete(&ObjectKey::new("apps/orders.db")).await.unwrap();
    bench.restart();
    let State::Failed { error, .. } = bench.settle(bench.config("orders")).await else { panic!("it must not open") };
    let Error::SnapshotMissing { previous: Previous::Intact(etag), .. } = &*error else { panic!("{error}") };
    let database = bench.open(DatabaseConfig { accept_snapshot: Some(etag.clone()), ..bench.config("orders") }).await;
    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn what_is_larger_than_its_limit_is_not_opened() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (zeroblob(1000000))").await;
    bench.close("orders").await.unwrap();
    bench.restart();
    let mut config = bench.config("orders");
    config.limits.max_size = 100_000;
    let State::Failed { error, .. } = bench.settle(config).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::SnapshotTooLarge { limit: 100_000, .. }), "{error}");
}

#[tokio::test]
async fn a_lost_answer_is_settled_and_taken_as_ours() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "insert into t values (1)").await;
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject));
    let facts = facts_of(database.flush(Flush::Forced).await.unwrap());
    assert_eq!((facts.txid, facts.etag), (2, bench.object("apps/orders.db").await.unwrap().0));
    write(&database, "insert into t values (2)").await;
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 3);
}

#[tokio::test]
async fn an_upload_that_stays_unclear_is_sent_again_as_it_was() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    // The first answer is lost after the store did its work; nothing can be learned until the store speaks again.
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject).times(1));
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::HeadObject).times(1000));
    database.flush(Flush::Forced).await.unwrap_err();
    let (stored, _) = bench.object("apps/orders.db").await.unwrap();
    bench.store.faults().clear();
    write(&database, "insert into t values (1)").await;
    let facts = facts_of(database.flush(Flush::Forced).await.unwrap());
    assert_eq!(facts.txid, 2, "the first attempt was number 1, whoever learned of it");
    assert_eq!(bench.object("apps/orders.db.prev").await.unwrap().0, stored);
}

#[tokio::test]
async fn an_unclear_upload_stays_unclear_after_a_clear_refusal_of_its_next_try() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject).times(1));
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::HeadObject));
    database.flush(Flush::Forced).await.unwrap_err();
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject));
    database.flush(Flush::Forced).await.unwrap_err();
    bench.store.faults().clear();
    write(&database, "insert into t values (1)").await;
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 2, "the first attempt is known again as ours");
}

#[tokio::test]
async fn a_store_that_is_away_is_tried_again_until_it_is_back() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    config.snapshots.interval = Duration::from_millis(50);
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).times(1));
    let database = bench.open(config).await;
    let mut changes = bench.host.changes();
    let mut failed = false;
    while database.facts().pending {
        failed |= matches!(database.facts().uploads, Uploads::Failing { .. });
        changes.recv().await.unwrap();
    }
    assert!(failed && matches!(database.facts().uploads, Uploads::Fine));
}

#[tokio::test]
async fn two_names_never_serve_one_place() {
    let bench = Bench::start().await;
    bench.open(bench.config("first")).await;
    let State::Failed { error, .. } = bench.settle(bench.config("second")).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::HeldElsewhere { by, .. } if by.name() == "first"), "{error}");
    bench.close("first").await.unwrap();
    bench.open(bench.config("second")).await;
}

#[tokio::test]
async fn a_missing_bucket_and_wrong_keys_are_told_apart_from_an_empty_bucket() {
    let bench = Bench::start().await;
    let mut elsewhere = bench.config("orders");
    elsewhere.location.bucket = BucketName::parse("no-such-bucket").unwrap();
    let State::Failed { error, .. } = bench.settle(elsewhere).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::NoSuchBucket, .. }), "{error:?}");
    let mut stranger = bench.config("orders");
    stranger.store.credentials.secret_access_key = "wrong".to_owned();
    let State::Failed { error, attempts, .. } = bench.settle(stranger).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::AccessDenied { .. }, .. }), "{error:?}");
    assert_eq!(attempts, 2);
    bench.open(bench.config("orders")).await;
}

#[tokio::test]
async fn a_close_that_cannot_flush_leaves_the_database_open() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    let config = bench.config("orders");
    bench.store.faults().add(Fault::new(FaultEffect::Refuse));
    bench.host.close(&config.name).await.unwrap_err();
    assert_eq!(count(&bench.host.get(&config.name).unwrap().database).await, 1);
    assert!(matches!(bench.host.state(&config.name), State::Open(Facts { uploads: Uploads::Failing { attempts: 1, .. }, .. })));
    assert!(bench.host.abandon(&config.name), "the rows are told to be lost");
}

#[tokio::test]
async fn writes_acknowledged_while_a_close_is_asked_for_are_in_the_final_flush() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        writers.spawn(async move {
            let mut acknowledged = 0;
            while database.write(request("insert into t values (1)")).await.is_ok() {
                acknowledged += 1;
            }
            acknowledged
        });
    }
    while count(&database).await < 20 {}
    bench.close("orders").await.unwrap();
    let acknowledged: i64 = writers.join_all().await.into_iter().sum();
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, acknowledged);
}

#[tokio::test]
async fn a_shutdown_saves_everything_and_names_what_it_could_not() {
    let mut bench = Bench::start().await;
    let saved = bench.open(bench.config("orders")).await;
    write(&saved, "create table t(x)").await;
    let mut other = bench.config("carts");
    other.location.key = DatabaseKey::parse("apps/carts.db").unwrap();
    let conflicted = bench.open(other).await;
    bench.overwrite("apps/carts.db", b"somebody else's").await;
    write(&conflicted, "create table t(x)").await;
    let mut results = bench.host.shutdown(Duration::from_secs(30)).await;
    results.sort_by_key(|(name, _)| name.clone());
    assert!(matches!(&results[0], (name, Err(_)) if name.name() == "carts"), "{results:?}");
    assert!(matches!(&results[1], (name, Ok(())) if name.name() == "orders"), "{results:?}");
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 0);
}

#[tokio::test]
async fn a_close_goes_on_when_nobody_waits_for_it() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    let name = DatabaseName::new("apps", "orders");
    let host = Arc::clone(&bench.host);
    let mut close = Box::pin(host.close(&name));
    assert!(futures::poll!(&mut close).is_pending());
    drop(close);
    let results = bench.host.shutdown(Duration::from_secs(30)).await;
    assert!(matches!(&results[..], [(_, Ok(()))]), "{results:?}");
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 1);
}

#[tokio::test]
async fn a_shutdown_tries_again_while_there_is_time() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).times(1));
    let results = bench.host.shutdown(Duration::from_secs(30)).await;
    assert!(matches!(&results[..], [(_, Ok(()))]), "{results:?}");
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 1);
}

#[tokio::test]
async fn the_snapshot_before_a_deleted_one_is_found_among_other_objects() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "create table t(x)").await;
    bench.close("orders").await.unwrap();
    bench.bucket().delete(&ObjectKey::new("apps/orders.db")).await.unwrap();
    bench.overwrite("apps/orders.db-a-backup", b"of somebody").await;
    bench.restart();
    let state = bench.settle(bench.config("orders")).await;
    assert!(matches!(&state, State::Failed { error, .. } if matches!(**error, Error::SnapshotMissing { .. })), "{state:?}");
}
