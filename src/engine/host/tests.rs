//! The host with a real store beside it: what is restored, what is saved, and what is never done.

mod branches;
mod damage;
mod differences;
mod ending;
mod entry;
mod files;
mod flips;
mod frozen;
mod hooks;
mod leaving;
mod newer;
mod opening;
mod past;
mod pods;
mod promotions;
mod removal;
mod shown;
mod suspension;
mod sync;
mod tenure;
mod unconditional;
mod upkeep;
mod uploads;

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::*;
use crate::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore, Fault, FaultEffect, Operation};
use crate::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use crate::bucket::{self, Condition, Content, Form, Put};
use crate::clock::SystemClock;
use crate::config::{Durability, FilesPolicy, Limits, SnapshotPolicy};
use crate::database::{Flush, Flushed};
use crate::error::Previous;
use crate::facts::{Facts, Origin, Uploads};
use crate::files::FilesPrefix;
use crate::memory::{MemoryDatabase, MemoryOptions};
use crate::names::{BranchName, BucketName, DatabaseKey, Etag, ObjectKey};
use crate::past::Point;
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

    /// A database that nobody serves: two rows in its snapshot, one in the snapshot before.
    async fn closed_with_one_row_before_two() -> Self {
        let bench = Self::start().await;
        let database = bench.open(bench.config("orders")).await;
        write(&database, "create table t(x); insert into t values (1)").await;
        database.flush(Flush::Forced).await.unwrap();
        write(&database, "insert into t values (2)").await;
        bench.close("orders").await.unwrap();
        bench
    }

    /// Saved only when asked, unless a test says otherwise.
    fn config(&self, name: &str) -> DatabaseConfig {
        DatabaseConfig {
            name: DatabaseName::new("apps", name),
            location: Location { bucket: bucket_name(), key: DatabaseKey::parse("apps/orders.db").unwrap(), branch: BranchName::main() },
            store: StoreConfig {
                endpoint: Some(self.store.endpoint()),
                region: "auto".to_owned(),
                credentials: credentials().into(),
                ca_bundle: None,
                kms_key_id: None,
            },
            snapshots: SnapshotPolicy { interval: HOUR, min_interval: Duration::ZERO, keep_previous: true },
            durability: Durability { retention: Some(Duration::ZERO), ..Durability::by_snapshots() },
            files: FilesPolicy { prefix: FilesPrefix::parse("files/").unwrap(), grace: Duration::from_mins(5) },
            limits: Limits { max_size: 64 << 20, query: QueryLimits::default() },
            single_writer: false,
            access: Access::Open,
            branches_by_api: false,
            own_service: false,
            cluster: "cluster".to_owned(),
            take_over: None,
            promotion: None,
            accept_snapshot: None,
            accept_state: None,
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
        let put = Put { condition: Condition::Always, form: Form::plain("text/plain") };
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
        self.host.open(config, Remembered::default());
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
    host_in("pod", Duration::from_mins(1))
}

fn host_in(pod: &str, release_wait: Duration) -> Arc<Host> {
    Host::new(options_of(pod, release_wait))
}

fn options_of(pod: &str, release_wait: Duration) -> HostOptions {
    HostOptions {
        release_wait,
        ..HostOptions::new(
            pod.to_owned(),
            Arc::new(stores()),
            SqlPool::new(2.try_into().unwrap()),
            Spool::new(std::env::temp_dir(), 1 << 30),
        )
    }
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
