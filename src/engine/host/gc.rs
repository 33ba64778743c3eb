//! gc in this process, for `dev`. In a cluster a Job does it, whose memory is not that of the databases.

use std::sync::Arc;

use super::Host;
use crate::config::DatabaseConfig;
use crate::gc::{GcError, GcOptions, GcReport, OwnerKey, collect_garbage};

impl Host {
    /// Runs gc once over the prefix of a database. Flushing is the caller's part.
    pub async fn collect_garbage(&self, config: &DatabaseConfig, dry_run: bool, include_unowned: bool) -> Result<GcReport, GcError> {
        let bucket = self.options.stores.bucket(&config.store, &config.location.bucket);
        let bucket = bucket.map_err(|source| GcError::Bucket { doing: "preparing to reach the store", source })?;
        let options = GcOptions {
            prefix: config.files.prefix.clone(),
            key: OwnerKey::Named(config.location.key.clone()),
            grace: config.files.grace,
            dry_run,
            include_unowned,
            largest_database: GcOptions::LARGEST_DATABASE,
        };
        collect_garbage(bucket, options, self.options.sql_pool.clone(), Arc::clone(&self.options.clock)).await
    }
}
