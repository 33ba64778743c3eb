//! How the bucket of a database is reached: to serve it, to open its branches, to look at them.
//!
//! Owns: what is known of each store's conditions. Does not own: how a store is found out (`probe.rs`) or spoken to (`bucket`).
//! Invariant: a database whose store ignores conditions is not written, unless its configuration says that there is one writer.

use std::sync::Arc;

use super::Host;
use crate::bucket::Bucket;
use crate::bucket::s3::StoreConfig;
use crate::bucket::unconditional::Unconditional;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::files::{FileSettings, FileStore};
use crate::head::Holder;
use crate::heads::Heads;
use crate::memory::MemoryOptions;
use crate::names::BucketName;
use crate::opening::Opener;
use crate::probe::{self, Verdict};

/// What a store was found to do with conditions.
pub(super) struct Probed {
    store: StoreConfig,
    bucket: BucketName,
    verdict: Verdict,
}

impl Host {
    pub(super) fn bucket(&self, config: &DatabaseConfig) -> Result<Arc<dyn Bucket>, Error> {
        let bucket = self.options.stores.bucket(&config.store, &config.location.bucket);
        bucket.map_err(|source| Error::Bucket { database: config.name.clone(), doing: "preparing to reach the store", source })
    }

    /// The bucket by which a database is written: its store keeps two writers apart, or the configuration says that there is one.
    pub(super) async fn guarded(&self, config: &DatabaseConfig) -> Result<Arc<dyn Bucket>, Error> {
        let bucket = self.bucket(config)?;
        match self.probe(config, &bucket).await? {
            Verdict::Honoured => Ok(bucket),
            Verdict::NotHonoured(detail) if config.single_writer => Ok(Unconditional::over(bucket, &self.turns, detail)),
            Verdict::NotHonoured(detail) => Err(Error::ConditionsIgnored { database: config.name.clone(), detail }),
        }
    }

    /// The same for who does not open the database. Conditions are sent unasked, unless the store may do without them.
    pub(super) async fn bucket_beside(&self, config: &DatabaseConfig) -> Result<Arc<dyn Bucket>, Error> {
        if config.single_writer { self.guarded(config).await } else { self.bucket(config) }
    }

    /// What it takes to open branches of a database, once its store is known to keep two writers apart.
    pub(super) async fn opener(&self, config: &DatabaseConfig) -> Result<Opener, Error> {
        Ok(Opener {
            bucket: self.guarded(config).await?,
            put_ids: Arc::clone(&self.put_ids),
            clock: Arc::clone(&self.options.clock),
            options: self.memory_options(config),
            me: self.holder(config),
            held: self.held.lock().get(&config.name).copied(),
            ousted: self.ousted.lock().get(&config.name).cloned().unwrap_or_default(),
            liveness: self.options.liveness.clone(),
            release_wait: self.options.release_wait,
        })
    }

    pub(super) fn memory_options(&self, config: &DatabaseConfig) -> MemoryOptions {
        MemoryOptions {
            max_size: config.limits.max_size,
            clock: Arc::clone(&self.options.clock),
            ..MemoryOptions::new(self.options.sql_pool.clone())
        }
    }

    pub(super) fn file_store(&self, config: &DatabaseConfig, bucket: &Arc<dyn Bucket>) -> Arc<FileStore> {
        let files = FileStore::new(
            config.location.key.clone(),
            FileSettings::of(config, Arc::clone(bucket)),
            self.options.spool.clone(),
            Arc::clone(&self.put_ids),
            Arc::clone(&self.options.clock),
        );
        Arc::new(files)
    }

    /// As what this process would hold a branch for a resource.
    pub(super) fn holder(&self, config: &DatabaseConfig) -> Holder {
        Holder { cluster: config.cluster.clone(), resource: config.name.to_string(), pod: self.options.pod.clone() }
    }

    /// The head records of a database, for who does not open it.
    pub(super) async fn heads(&self, config: &DatabaseConfig) -> Result<Heads, Error> {
        let (database, key, put_ids) = (config.name.clone(), config.location.key.clone(), Arc::clone(&self.put_ids));
        Ok(Heads { database, bucket: self.bucket_beside(config).await?, key, put_ids })
    }

    /// Asks the store once. One that was found not to honour conditions is asked again where they are needed: somebody may have mended it.
    pub(super) async fn probe(&self, config: &DatabaseConfig, bucket: &Arc<dyn Bucket>) -> Result<Verdict, Error> {
        let is_this = |known: &&Probed| (&known.store, &known.bucket) == (&config.store, &config.location.bucket);
        let known = self.probes.lock().iter().find(is_this).map(|known| known.verdict.clone());
        if let Some(verdict) = known.filter(|verdict| config.single_writer || *verdict == Verdict::Honoured) {
            return Ok(verdict);
        }
        let id = self.put_ids.fresh().to_string();
        let verdict = probe::probe(bucket, &config.location.key, &id).await.map_err(|source| {
            let database = config.name.clone();
            Error::Bucket { database, doing: "asking the store whether it honours conditions", source }
        })?;
        let (store, bucket) = (config.store.clone(), config.location.bucket.clone());
        let mut probes = self.probes.lock();
        probes.retain(|known| !is_this(&known));
        probes.push(Probed { store, bucket, verdict: verdict.clone() });
        Ok(verdict)
    }
}
