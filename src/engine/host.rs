//! The databases that this process has open.
//!
//! Owns: which database is opening, open, failed or closing, and that no two serve the same place in a bucket.
//! Does not own: who asked for it (Kubernetes, a folder), nor how requests arrive.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::bucket::s3::{StoreConfig, Stores};
use crate::clock::{Clock, WallTime};
use crate::database::Database;
use crate::error::Error;
use crate::names::{BranchName, BucketName, DatabaseKey, DatabaseName, Etag};
use crate::sql::QueryLimits;

/// Where a database lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The bucket.
    pub bucket: BucketName,
    /// The key of `main`'s snapshot, from which the others are derived.
    pub key: DatabaseKey,
    /// The branch that is served.
    pub branch: BranchName,
}

/// When snapshots are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// A change is in the bucket at most this long after its commit, plus the PUT.
    pub interval: Duration,
    /// A manual, unforced flush within this time of the last is skipped.
    pub min_interval: Duration,
    /// Copy `<key>` to `<key>.prev` before it is replaced.
    pub keep_previous: bool,
}

/// What a database may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In bytes, as a file.
    pub max_size: u64,
    /// What one request may use.
    pub query: QueryLimits,
}

/// SHA-256 of a bearer token: what is compared, so that the comparison tells nothing of the token by its time.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Anyone who reaches us.
    Open,
    /// The bearer of one of these tokens; an empty list admits nobody.
    Tokens(Vec<TokenDigest>),
}

/// Everything it takes to open one database.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseConfig {
    /// The resource that declares it.
    pub name: DatabaseName,
    /// Where it lies.
    pub location: Location,
    /// How the store is reached.
    pub store: StoreConfig,
    /// When snapshots are made.
    pub snapshots: SnapshotPolicy,
    /// What it may use.
    pub limits: Limits,
    /// Who may ask.
    pub access: Access,
    /// If the snapshot is corrupt: accept `<key>.prev` in its place, if it still has this ETag.
    pub accept_snapshot: Option<Etag>,
}

/// A snapshot that is in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// When it was complete.
    pub time: WallTime,
    /// Its number.
    pub txid: u64,
    /// In bytes.
    pub size: u64,
    /// From the pin to the store's answer.
    pub duration: Duration,
    /// As the store answered.
    pub etag: Etag,
}

/// What the database was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The store proved that there was nothing, and so it began empty.
    Empty,
    /// `<key>` was restored.
    Snapshot {
        /// Its ETag.
        etag: Etag,
        /// In bytes.
        size: u64,
    },
    /// `<key>` was corrupt, and `<key>.prev` was accepted by the annotation that names it.
    Previous {
        /// The ETag of `<key>.prev`.
        etag: Etag,
    },
}

/// How uploads go.
#[derive(Debug, Clone)]
pub enum Uploads {
    /// The last one succeeded, or there was none yet.
    Fine,
    /// The last tries failed; they go on.
    Failing {
        /// What the last one ended in.
        error: Arc<Error>,
        /// When the first of them failed.
        since: WallTime,
        /// How many.
        attempts: u32,
    },
    /// Somebody else writes there. Nothing more is uploaded.
    Conflict {
        /// [`Error::SnapshotConflict`].
        error: Arc<Error>,
    },
}

/// What is known of an open database.
#[derive(Debug, Clone)]
pub struct Facts {
    /// In bytes, as a file.
    pub size: u64,
    /// The number of the newest snapshot in the bucket; 0 before the first.
    pub txid: u64,
    /// What it was when it was opened.
    pub origin: Origin,
    /// Every commit before this moment is in the bucket.
    pub durable_time: Option<WallTime>,
    /// There are commits that are not in the bucket.
    pub pending: bool,
    /// The newest one of this process, or the one that was restored.
    pub last_snapshot: Option<SnapshotFacts>,
    /// How uploads go.
    pub uploads: Uploads,
}

/// What the host knows of a name.
#[derive(Debug, Clone)]
pub enum State {
    /// Nothing.
    Absent,
    /// It is being restored, or waits for its turn.
    Opening,
    /// It answers requests.
    Open(Facts),
    /// It could not be opened. Opening it again tries again.
    Failed {
        /// Why.
        error: Arc<Error>,
        /// How often in a row.
        attempts: u32,
        /// When the last try ended.
        at: WallTime,
    },
    /// Its final flush is under way.
    Closing,
}

/// How a host works.
#[derive(Debug)]
pub struct HostOptions {
    /// How many databases are restored at once.
    pub parallel_restores: usize,
    /// How stores are reached, and which are refused.
    pub stores: Stores,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// The databases that this process has open.
pub struct Host {}

/// An open database, and who may ask it.
#[derive(Clone)]
pub struct Handle {
    /// To ask.
    pub database: Database,
    /// Who may.
    pub access: Arc<Access>,
}

#[allow(missing_docs, unused_variables, clippy::todo, clippy::unused_async, clippy::needless_pass_by_value, reason = "skeleton")]
impl Host {
    /// A host with nothing open.
    pub fn new(options: HostOptions) -> Arc<Self> {
        todo!()
    }
    /// Begins to open a database that is absent or failed. One that is opening, open or closing stays as it is.
    pub fn open(self: &Arc<Self>, config: DatabaseConfig) {
        todo!()
    }
    /// Takes over intervals, limits, access and credentials of an open database. Its location stays.
    pub fn reconfigure(&self, config: DatabaseConfig) {
        todo!()
    }
    /// Flushes and drops a database. If the flush fails it stays open, and the caller may try again.
    /// What was flushed last is returned; `None` if nothing of this database was ever in the bucket.
    pub async fn close(&self, name: &DatabaseName) -> Result<Option<SnapshotFacts>, Error> {
        todo!()
    }
    /// Drops a database without a flush. Returns whether commits were lost by it.
    pub async fn abandon(&self, name: &DatabaseName) -> bool {
        todo!()
    }
    /// Forgets a failed one.
    pub fn forget(&self, name: &DatabaseName) {
        todo!()
    }
    /// What is known of a database.
    pub fn state(&self, name: &DatabaseName) -> State {
        todo!()
    }
    /// Every name that is not absent.
    pub fn names(&self) -> Vec<DatabaseName> {
        todo!()
    }
    /// To ask it; an error says why it answers nothing now.
    pub fn get(&self, name: &DatabaseName) -> Result<Handle, Error> {
        todo!()
    }
    /// Names whose state is worth another look. A receiver that lags looks at all.
    pub fn changes(&self) -> broadcast::Receiver<DatabaseName> {
        todo!()
    }
    /// The last flush of all, those with the oldest unsaved commit first, within `limit`. Tells what could not be saved.
    pub async fn shutdown(&self, limit: Duration) -> Vec<(DatabaseName, Result<(), Error>)> {
        todo!()
    }
}

impl TokenDigest {
    /// Of a token in clear.
    pub fn of(token: &str) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(token.as_bytes()).into())
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

impl Access {
    /// Whether the bearer of this token may ask. Compares in constant time.
    pub fn admits(&self, token: Option<&str>) -> bool {
        use subtle::ConstantTimeEq as _;
        match (self, token) {
            (Self::Open, _) => true,
            (Self::Tokens(_), None) => false,
            (Self::Tokens(tokens), Some(token)) => {
                let asked = TokenDigest::of(token);
                tokens.iter().fold(subtle::Choice::from(0), |found, known| found | known.0.ct_eq(&asked.0)).into()
            }
        }
    }
}
