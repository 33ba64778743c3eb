//! Why the engine could not do what was asked: one variant for each thing that a caller does differently.

use crate::bucket;
use crate::names::{DatabaseName, Etag, ObjectKey};
use crate::sql::SqlError;

/// Whether the snapshot before the newest could take its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Previous {
    /// It is a sound database, and this is its ETag.
    Intact(Etag),
    /// It is damaged, too.
    Damaged,
    /// There is none.
    Absent,
    /// The store did not tell.
    Unknown,
}

/// Why a database answers no requests just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotServed {
    /// Nobody declared it.
    Unknown,
    /// It is being restored.
    Opening,
    /// It could not be opened; its status says why.
    Failed,
    /// It is being closed, or was.
    Closing,
}

/// What the engine answers instead of doing what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A statement failed and its transaction was rolled back.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The database answers no requests.
    #[error("{database} is not served: {}", match why { NotServed::Unknown => "there is no such database", NotServed::Opening => "it is being restored", NotServed::Failed => "it could not be opened; its status says why", NotServed::Closing => "it is being closed" })]
    NotServed {
        /// Which one.
        database: DatabaseName,
        /// And why.
        why: NotServed,
    },
    /// The store could not be asked, or did not answer clearly. Nothing is known to be lost. Retry with backoff.
    #[error("{database}: the bucket failed while {doing}")]
    Bucket {
        /// Which database.
        database: DatabaseName,
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        #[source]
        source: bucket::Error,
    },
    /// The snapshot in the bucket is not the one that we wrote or read: somebody else writes there. Nothing more is uploaded; the memory
    /// is kept.
    #[error("{database}: the snapshot at {key} was changed by somebody else (we knew ETag {ours}, found {theirs})")]
    SnapshotConflict {
        /// Which database.
        database: DatabaseName,
        /// Where its snapshot lies.
        key: ObjectKey,
        /// The ETag that we knew, or `none`.
        ours: String,
        /// The ETag that is there now, or `none`.
        theirs: String,
    },
    /// The object at `<key>` is no sound database. It is left as it is.
    #[error("{database}: the object at {key} (ETag {etag}) is no sound SQLite database: {detail}")]
    SnapshotCorrupt {
        /// Which database.
        database: DatabaseName,
        /// Where its snapshot lies.
        key: ObjectKey,
        /// The ETag of the damaged object.
        etag: Etag,
        /// What is wrong with it.
        detail: String,
        /// Whether `<key>.prev` could take its place.
        previous: Previous,
    },
    /// There is no object at `<key>`, but there is one at `<key>.prev`: somebody deleted the newest snapshot. Beginning empty would soon
    /// replace the other one, too.
    #[error("{database}: there is no snapshot at {key}, but there is one before it; beginning empty would soon replace it")]
    SnapshotMissing {
        /// Which database.
        database: DatabaseName,
        /// Where its snapshot should lie.
        key: ObjectKey,
        /// Whether `<key>.prev` could take its place.
        previous: Previous,
    },
    /// The snapshot is larger than `limits.maxSize`.
    #[error("{database}: the snapshot at {key} has {size} bytes, but limits.maxSize is {limit}")]
    SnapshotTooLarge {
        /// Which database.
        database: DatabaseName,
        /// Where its snapshot lies.
        key: ObjectKey,
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// Another resource of this operator serves the same bucket, key and branch.
    #[error("{database}: {by} serves the same bucket, key and branch")]
    HeldElsewhere {
        /// The one that has to wait.
        database: DatabaseName,
        /// The one that serves.
        by: DatabaseName,
    },
    /// The time for the final flush ran out. What was committed since the last snapshot is lost.
    #[error("{database}: the final flush did not end in time; what was committed since the last snapshot is lost")]
    OutOfTime {
        /// Which database.
        database: DatabaseName,
    },
    /// A fault of ours.
    #[error("{database}: an internal fault: {detail}")]
    Internal {
        /// Which database.
        database: DatabaseName,
        /// What is known of it.
        detail: String,
    },
}

impl Error {
    /// A fixed word for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sql(_) => "sql",
            Self::NotServed { .. } => "not-served",
            Self::Bucket { .. } => "bucket",
            Self::SnapshotConflict { .. } => "snapshot-conflict",
            Self::SnapshotCorrupt { .. } => "snapshot-corrupt",
            Self::SnapshotMissing { .. } => "snapshot-missing",
            Self::SnapshotTooLarge { .. } => "snapshot-too-large",
            Self::HeldElsewhere { .. } => "held-elsewhere",
            Self::OutOfTime { .. } => "out-of-time",
            Self::Internal { .. } => "internal",
        }
    }
}
