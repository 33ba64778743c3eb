//! A database to try things on: in a store of its own, or under a key of its own in a real bucket.
//!
//! Invariant: nothing of it is left when it has ended, in a bucket as little as on the disk, and nothing else there is touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore};
use engine::bucket::s3::{Credentials, StoreConfig};
use engine::bucket::{Bucket, BucketSource as _};
use engine::{
    Access, BranchName, BucketName, Database, DatabaseConfig, DatabaseKey, DatabaseName, Durability, FilesPolicy, FilesPrefix, HookSet,
    Host, HostOptions, Location, ResultMemory, SnapshotPolicy, Spool,
};
use rand::Rng as _;
use tempfile::TempDir;

use crate::cli::store::{self, SettingsError, StoreArguments};
use crate::cli::{shared, store::Store};

/// Memory for results, and the longest statement: of measurements nothing is to be refused.
const RESULTS: u64 = 1 << 30;
const LONGEST_STATEMENT: Duration = Duration::from_hours(1);
const LAST_FLUSH: Duration = Duration::from_mins(5);

/// Where it is to be.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(in crate::cli) struct GroundArguments {
    #[command(flatten)]
    store: StoreArguments,
}

/// The bucket, if one is named.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct GroundSettings(Option<Store>);

impl GroundArguments {
    pub(in crate::cli) fn ca_file(&self) -> Option<PathBuf> {
        self.store.ca_file.clone()
    }

    /// A bucket is worked in only if the command line names it: the environment may name one that others use.
    pub(in crate::cli) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<GroundSettings, SettingsError> {
        let is_named = self.store.names_a_bucket();
        let store = if is_named { Some(self.store.settings(&store::trimmed(env))?) } else { None };
        Ok(GroundSettings(store))
    }
}

/// How the database is to be kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Wish {
    pub(in crate::cli) durability: Durability,
    pub(in crate::cli) snapshots: SnapshotPolicy,
}

impl Wish {
    /// Nothing goes to the bucket unless it is asked for.
    pub(in crate::cli) fn by_hand() -> Self {
        let durability = Durability { verify_interval: Duration::ZERO, ..Durability::by_snapshots() };
        let hour = Duration::from_hours(1);
        Self { durability, snapshots: SnapshotPolicy { interval: hour, min_interval: Duration::ZERO, keep_previous: true } }
    }
}

/// A database, and everything around it.
pub(in crate::cli) struct Ground {
    pub(in crate::cli) host: Arc<Host>,
    pub(in crate::cli) database: Database,
    /// In words.
    pub(in crate::cli) place: String,
    bucket: Arc<dyn Bucket>,
    /// What the keys of all its objects begin with.
    prefix: String,
    store: Option<EmbeddedStore>,
    folder: TempDir,
}

impl Ground {
    /// `folder` is where its files may lie for the time.
    pub(in crate::cli) async fn open(settings: GroundSettings, folder: &Path, wish: Wish, hooks: HookSet) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot write into {}: name another folder", folder.display()))?;
        let folder = TempDir::new_in(folder).with_context(|| format!("cannot write into {}: name another folder", folder.display()))?;
        let (store, bucket, config, place) = if let Some(store) = settings.0 {
            let (bucket, config) = store.into_config()?;
            let at = config.endpoint.as_ref().map_or_else(|| format!("AWS S3, {}", config.region), ToString::to_string);
            let place = format!("bucket {bucket} of {at}");
            (None, bucket, config, place)
        } else {
            let (store, bucket, config) = embedded(folder.path()).await?;
            (Some(store), bucket, config, "the store of buckethead itself, in the same process, on this machine's disk".to_owned())
        };
        let stores = store::stores().telling(hooks.clone());
        let host = Host::new(HostOptions {
            parallel_restores: 1,
            verify_memory: 0,
            hooks,
            ..HostOptions::new(
                "measure".to_owned(),
                Arc::new(stores),
                shared::pool().with_results(ResultMemory::new(RESULTS)),
                Spool::new(folder.path().to_owned(), u64::MAX),
            )
        });
        // Whoever cleans up is none of those who are counted.
        let cleaner = store::stores().bucket(&config, &bucket).context("preparing to reach the store")?;
        let prefix = format!("buckethead-measure/{:016x}/", fresh());
        let config = config_of(bucket, config, &prefix, wish)?;
        let name = config.name.clone();
        let database = match shared::until_open(&host, config).await {
            Ok(()) => host.get(&name)?.database,
            Err(error) => {
                clean(&*cleaner, &prefix).await.ok();
                return Err(anyhow::Error::new(error).context("the database cannot be opened"));
            }
        };
        Ok(Self { host, database, place, bucket: cleaner, prefix, store, folder })
    }

    /// Where files may lie that go with it.
    pub(in crate::cli) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What its objects take up in the bucket.
    pub(in crate::cli) async fn stored_bytes(&self) -> anyhow::Result<u64> {
        let found = self.bucket.list(&self.prefix, None, usize::MAX).await.context("listing the objects")?;
        Ok(found.iter().map(|object| object.size).sum())
    }

    /// Closes it: what was committed is in the bucket then.
    pub(in crate::cli) async fn close(&self) -> anyhow::Result<()> {
        for (_, saved) in self.host.shutdown(LAST_FLUSH).await {
            saved.context("the last flush failed")?;
        }
        Ok(())
    }

    /// Leaves nothing.
    pub(in crate::cli) async fn end(self) -> anyhow::Result<()> {
        let closed = self.close().await;
        let cleaned = if self.store.is_some() { Ok(()) } else { clean(&*self.bucket, &self.prefix).await };
        if let Some(store) = self.store {
            store.stop().await;
        }
        closed.and(cleaned.with_context(|| format!("objects under {} are left in the bucket", self.prefix)))
    }
}

#[allow(clippy::disallowed_methods, reason = "nothing is decided by it but a name that nobody else has")]
fn fresh() -> u64 {
    rand::rng().random()
}

async fn embedded(folder: &Path) -> anyhow::Result<(EmbeddedStore, BucketName, StoreConfig)> {
    let credentials =
        Credentials { access_key_id: "measure".to_owned(), secret_access_key: format!("{:016x}", fresh()), session_token: None };
    let options = EmbeddedOptions {
        root: folder.join("s3"),
        listen: "127.0.0.1:0".parse().expect("an address"),
        credentials: credentials.clone(),
        dialect: Dialect::Standard,
    };
    let store = EmbeddedStore::start(options).await.context("cannot start the embedded store")?;
    let bucket = BucketName::parse("measure").context("our own name")?;
    store.create_bucket(&bucket).await.context("making the bucket")?;
    let config = StoreConfig {
        endpoint: Some(store.endpoint()),
        region: "auto".to_owned(),
        credentials: credentials.into(),
        ca_bundle: None,
        kms_key_id: None,
    };
    Ok((store, bucket, config))
}

fn config_of(bucket: BucketName, store: StoreConfig, prefix: &str, wish: Wish) -> anyhow::Result<DatabaseConfig> {
    let key = DatabaseKey::parse(&format!("{prefix}measure.db")).context("our own key")?;
    Ok(DatabaseConfig {
        name: DatabaseName::new("measure", "database"),
        location: Location { bucket, key, branch: BranchName::main() },
        store,
        snapshots: wish.snapshots,
        durability: wish.durability,
        files: FilesPolicy {
            prefix: FilesPrefix::parse(&format!("{prefix}files/")).context("our own prefix")?,
            grace: Duration::from_mins(5),
        },
        limits: shared::limits(RESULTS, LONGEST_STATEMENT),
        single_writer: false,
        access: Access::Open,
        branches_by_api: true,
        own_service: false,
        cluster: "measure".to_owned(),
        take_over: None,
        promotion: None,
        accept_snapshot: None,
        accept_state: None,
    })
}

async fn clean(bucket: &dyn Bucket, prefix: &str) -> anyhow::Result<()> {
    for object in bucket.list(prefix, None, usize::MAX).await? {
        bucket.delete(&object.key).await?;
    }
    Ok(())
}
