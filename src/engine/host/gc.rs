//! gc in this process, for `dev`. In a cluster a Job does it, whose memory is not that of the databases.

use std::sync::Arc;

use super::Host;
use crate::bucket;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::gc::{GcError, GcOptions, GcReport, OwnerKey, collect_garbage};

impl Host {
    /// Runs gc once over the prefix of a database. Flushing is the caller's part.
    pub async fn collect_garbage(&self, config: &DatabaseConfig, dry_run: bool, include_unowned: bool) -> Result<GcReport, GcError> {
        let bucket = self.bucket_beside(config).await.map_err(in_gc)?;
        let options = GcOptions {
            prefix: config.files.prefix.clone(),
            key: OwnerKey::Named(config.location.key.clone()),
            grace: config.files.grace,
            dry_run,
            include_unowned,
            // The bucket is guarded already, together with the puts of this process.
            single_writer: false,
            largest_database: GcOptions::LARGEST_DATABASE,
        };
        collect_garbage(bucket, options, self.options.sql_pool.clone(), Arc::clone(&self.options.clock)).await
    }
}

fn in_gc(error: Error) -> GcError {
    match error {
        Error::Bucket { doing, source, .. } => GcError::Bucket { doing, source },
        other => {
            let source = bucket::Error::Refused { code: other.kind().to_owned(), message: other.to_string() };
            GcError::Bucket { doing: "preparing to reach the store", source }
        }
    }
}
