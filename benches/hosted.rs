//! Databases as the API asks them, with their bucket in the store of `dev`, which runs in this process, too: its memory counts as well.

use std::sync::Arc;
use std::time::Duration;

use engine::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore};
use engine::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use engine::{
    Access, BranchName, BucketName, Database, DatabaseConfig, DatabaseKey, DatabaseName, Durability, FilesPolicy, FilesPrefix, Host,
    HostOptions, Limits, Location, QueryLimits, SnapshotPolicy, Spool, SqlPool, State, SystemClock,
};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;

pub struct Hosted {
    pub host: Arc<Host>,
    bucket: BucketName,
    credentials: Credentials,
    store: EmbeddedStore,
    _folder: TempDir,
}

impl Hosted {
    pub async fn start() -> Self {
        // Beside the build, because /tmp may lie in memory.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let credentials = Credentials { access_key_id: "us".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
        let listen = "127.0.0.1:0".parse().unwrap();
        let options =
            EmbeddedOptions { root: folder.path().join("s3"), listen, credentials: credentials.clone(), dialect: Dialect::Standard };
        let store = EmbeddedStore::start(options).await.unwrap();
        let bucket = BucketName::parse("bench").unwrap();
        store.create_bucket(&bucket).await.unwrap();
        let host = Host::new(HostOptions {
            parallel_restores: 2,
            stores: Arc::new(Stores::new(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() })),
            sql_pool: SqlPool::new(2.try_into().unwrap()),
            spool: Spool::new(folder.path().to_owned(), 4 * GIB),
            clock: Arc::new(SystemClock),
            pod: "bench".to_owned(),
            release_wait: Duration::ZERO,
        });
        Self { host, bucket, credentials, store, _folder: folder }
    }

    /// A database that nobody had before.
    pub async fn open(&self, name: &str) -> Database {
        let key = DatabaseKey::parse(&format!("{name}.db")).unwrap();
        let name = DatabaseName::new("bench", name);
        let mut changes = self.host.changes();
        let config = DatabaseConfig {
            name: name.clone(),
            location: Location { bucket: self.bucket.clone(), key, branch: BranchName::main() },
            store: StoreConfig {
                endpoint: Some(self.store.endpoint()),
                region: "auto".to_owned(),
                credentials: self.credentials.clone(),
                ca_bundle: None,
                kms_key_id: None,
            },
            snapshots: SnapshotPolicy { interval: Duration::from_hours(1), min_interval: Duration::ZERO, keep_previous: true },
            durability: Durability::by_snapshots(),
            files: FilesPolicy { prefix: FilesPrefix::parse(FilesPrefix::DEFAULT).unwrap(), grace: Duration::from_mins(5) },
            limits: Limits { max_size: GIB, query: QueryLimits::default() },
            access: Access::Open,
            branches_by_api: false,
            own_service: false,
            cluster: "bench".to_owned(),
            take_over: None,
            promotion: None,
            accept_snapshot: None,
        };
        self.host.open(config, None);
        while matches!(self.host.state(&name), State::Opening) {
            changes.recv().await.unwrap();
        }
        self.host.get(&name).unwrap().database
    }
}
