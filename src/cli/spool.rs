//! Where files on their way into a bucket wait.

use std::path::PathBuf;

use controller::crd::ByteSize;
use engine::Spool;

/// The spool's place and size.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Where the contents of files wait for their upload, in temporary files without a name. By default the system's folder for such, which
    /// TMPDIR names. Where that lies in memory, waiting contents take memory.
    #[arg(long, value_name = "FOLDER", env = "BUCKETHEAD_SPOOL_DIR")]
    spool_dir: Option<PathBuf>,
    /// The most that waits there at once, and so the largest file.
    #[arg(long, value_name = "BYTES", default_value = "8Gi", env = "BUCKETHEAD_SPOOL_LIMIT")]
    spool_limit: ByteSize,
}

impl Arguments {
    pub(super) fn spool(&self) -> Spool {
        Spool::new(self.spool_dir.clone().unwrap_or_else(std::env::temp_dir), self.spool_limit.as_bytes())
    }
}
