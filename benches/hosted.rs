//! Databases as the API asks them, with their bucket in the store of `dev`, which runs in this process, too: its memory counts as well.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore};
use engine::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use engine::bucket::{Bucket, BucketSource};
use engine::{
    Access, BranchName, BucketName, Database, DatabaseConfig, DatabaseKey, DatabaseName, Durability, FilesPolicy, FilesPrefix, HookSet,
    Host, HostOptions, Limits, Location, QueryLimits, Remembered, SnapshotPolicy, Spool, SqlPool, State,
};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;

pub struct Hosted {
    pub host: Arc<Host>,
    pub store: EmbeddedStore,
    stores: Arc<dyn BucketSource>,
    bucket: BucketName,
    credentials: Credentials,
    folder: TempDir,
}

impl Hosted {
    pub async fn start() -> Self {
        Self::telling(HookSet::default()).await
    }

    /// These are told what is asked of stores.
    pub async fn telling(hooks: HookSet) -> Self {
        // Beside the build, because /tmp may lie in memory.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let credentials = Credentials { access_key_id: "us".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
        let listen = "127.0.0.1:0".parse().unwrap();
        let options =
            EmbeddedOptions { root: folder.path().join("s3"), listen, credentials: credentials.clone(), dialect: Dialect::Standard };
        let store = EmbeddedStore::start(options).await.unwrap();
        let bucket = BucketName::parse("bench").unwrap();
        store.create_bucket(&bucket).await.unwrap();
        let stores = Stores::new(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() });
        let stores: Arc<dyn BucketSource> = Arc::new(stores.telling(hooks));
        let host = Host::new(HostOptions {
            parallel_restores: 2,
            ..HostOptions::new(
                "bench".to_owned(),
                Arc::clone(&stores),
                SqlPool::new(2.try_into().unwrap()),
                Spool::new(folder.path().to_owned(), 4 * GIB),
            )
        });
        Self { host, store, stores, bucket, credentials, folder }
    }

    /// A database that nobody had before.
    pub async fn open(&self, name: &str) -> Database {
        self.open_as(self.config(name)).await
    }

    /// One that may be there already.
    pub async fn open_as(&self, config: DatabaseConfig) -> Database {
        let name = config.name.clone();
        let mut changes = self.host.changes();
        self.host.open(config, Remembered::default());
        while matches!(self.host.state(&name), State::Opening) {
            changes.recv().await.unwrap();
        }
        self.host.get(&name).unwrap().database
    }

    /// Of a database whose commits wait for the next snapshot, an hour away.
    pub fn config(&self, name: &str) -> DatabaseConfig {
        let store = StoreConfig {
            endpoint: Some(self.store.endpoint()),
            region: "auto".to_owned(),
            credentials: self.credentials.clone().into(),
            ca_bundle: None,
            kms_key_id: None,
        };
        config(name, store, &self.bucket)
    }

    /// The bucket of all of them.
    pub fn bucket(&self) -> Arc<dyn Bucket> {
        self.bucket_in(&self.config("any").store, &self.bucket)
    }

    /// A bucket in some store.
    pub fn bucket_in(&self, store: &StoreConfig, bucket: &BucketName) -> Arc<dyn Bucket> {
        self.stores.bucket(store, bucket).unwrap()
    }

    /// A folder on the disk where the store is, too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Of a database in some store.
pub fn config(name: &str, store: StoreConfig, bucket: &BucketName) -> DatabaseConfig {
    let key = DatabaseKey::parse(&format!("{name}.db")).unwrap();
    DatabaseConfig {
        name: DatabaseName::new("bench", name),
        location: Location { bucket: bucket.clone(), key, branch: BranchName::main() },
        store,
        snapshots: SnapshotPolicy { interval: Duration::from_hours(1), min_interval: Duration::ZERO, keep_previous: true },
        durability: Durability::by_snapshots(),
        files: FilesPolicy { prefix: FilesPrefix::parse(FilesPrefix::DEFAULT).unwrap(), grace: Duration::from_mins(5) },
        limits: Limits { max_size: GIB, query: QueryLimits::default() },
        single_writer: false,
        access: Access::Open,
        branches_by_api: false,
        own_service: false,
        cluster: "bench".to_owned(),
        take_over: None,
        promotion: None,
        accept_snapshot: None,
        accept_state: None,
    }
}
