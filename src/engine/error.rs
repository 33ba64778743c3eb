//! Why the engine could not do what was asked: one variant for each thing that a caller does differently.

use std::fmt;

use crate::bucket;
use crate::clock::WallTime;
use crate::files::{FileKey, SpoolError};
use crate::head::{Epoch, Holder};
use crate::names::{BranchName, DatabaseName, Etag, ObjectKey};
use crate::naming::{ProvedState, StateId};
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

/// A state that could take the place of the newest, which cannot be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub state: ProvedState,
    /// When it was made.
    pub time: WallTime,
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.state, self.time)
    }
}

/// What is wrong with the content of a file that a database has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLoss {
    /// It is not in the bucket.
    Missing,
    /// What is in the bucket under its name has so many bytes.
    WrongSize {
        /// In bytes.
        found: u64,
    },
    /// The row names an object that is not under this database's prefix; such objects are not read.
    Elsewhere,
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
    /// Its resource says that it rests; all of it is in the bucket.
    Suspended,
}

/// What the engine answers instead of doing what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A statement failed and its transaction was rolled back.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The database answers no requests.
    #[error("{database} is not served: {}", match why { NotServed::Unknown => "there is no such database", NotServed::Opening => "it is being restored", NotServed::Failed => "it could not be opened; its status says why", NotServed::Closing => "it is being closed", NotServed::Suspended => "it is suspended, with all its data in the bucket; set spec.suspend to false to resume it" })]
    NotServed {
        /// Which one.
        database: DatabaseName,
        /// And why.
        why: NotServed,
    },
    /// The database is one that somebody looks at as it lies in its bucket.
    #[error("{database} is shown as it lies in the bucket: nothing of it can be changed")]
    OnlyShown {
        /// Which one.
        database: DatabaseName,
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
    /// The bucket has not taken commits for so long that no more are taken. Retry once it is back.
    #[error("{database}: writes are refused, because the bucket has been behind for {} s: what was committed since is in memory alone", lag.as_secs())]
    Lagging {
        /// Which database.
        database: DatabaseName,
        /// For how long the oldest commit has waited.
        lag: std::time::Duration,
    },
    /// The database has not the state that the request is for. What it asked was not done.
    #[error("{database}: the state is {}, not the one that the request is for: read again and decide anew", match now { Some(now) => now.to_string(), None => "not known".to_owned() })]
    StateChanged {
        /// Which database.
        database: DatabaseName,
        /// The state that it has, if it has a name.
        now: Option<StateId>,
    },
    /// Too many requests run or wait. Retry in a while.
    #[error("{database}: more than {most} requests run or wait for their turn")]
    TooManyRequests {
        /// Which database.
        database: DatabaseName,
        /// The most that there may be.
        most: usize,
    },
    /// Too many listen to the database. Retry in a while.
    #[error("{database}: {most} listen already")]
    TooManyListeners {
        /// Which database.
        database: DatabaseName,
        /// The most that there may be.
        most: usize,
    },
    /// A past state takes more than all past states may together.
    #[error(
        "{database}: a past state takes {needed} bytes, and all that are read may take {limit} together (`--past-memory`); make a branch of it instead"
    )]
    PastTooLarge {
        /// Which database.
        database: DatabaseName,
        /// What it takes, in bytes.
        needed: u64,
        /// What all may take.
        limit: u64,
    },
    /// Other past states are being read, which take too much. Retry in a while.
    #[error(
        "{database}: a past state takes {needed} bytes, and beside those that are being read {free} of {limit} are free (`--past-memory`)"
    )]
    NoRoomForPast {
        /// Which database.
        database: DatabaseName,
        /// What it takes, in bytes.
        needed: u64,
        /// What is free.
        free: u64,
        /// What all may take.
        limit: u64,
    },
    /// Another tenure took the branch over, or it was deleted. Nothing more is served or saved; what was not in the bucket is lost.
    #[error("{database}: our epoch {ours} over branch {branch} is fenced off by epoch {theirs}{}; {lost} commits were not in the bucket", match by { Some(by) => format!(" of {by}"), None => String::new() })]
    Fenced {
        /// Which database.
        database: DatabaseName,
        /// Which branch of it.
        branch: BranchName,
        /// Our tenure.
        ours: Epoch,
        /// The one that ended it.
        theirs: Epoch,
        /// Whose it is; nobody's if the branch was deleted.
        by: Option<Box<Holder>>,
        /// How many commits had not reached the bucket.
        lost: u64,
    },
    /// Somebody else has the branch, and it is not ours to take.
    #[error("{database}: branch {branch} is held by {by} (cluster id {}), epoch {epoch}", by.cluster)]
    HeldByOther {
        /// Which database.
        database: DatabaseName,
        /// Which branch of it.
        branch: BranchName,
        /// Who has it.
        by: Box<Holder>,
        /// Their tenure.
        epoch: Epoch,
    },
    /// There is no such branch.
    #[error("{database}: there is no branch {branch}")]
    BranchNotFound {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
    },
    /// There is such a branch already.
    #[error("{database}: there is a branch {branch} already")]
    BranchExists {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
    },
    /// The branch was deleted, and its name is not used again.
    #[error("{database}: branch {branch} was deleted; its name cannot be used again")]
    BranchDeleted {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
    },
    /// The branch is not one with which this can be done.
    #[error("{database}: branch {branch} {why}")]
    BranchRefused {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// As the rest of a sentence.
        why: String,
    },
    /// The branch is not at the state that was named.
    #[error("{database}: branch {branch} is not at txid {expected} any more: it is at {found}")]
    ContentChanged {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// What was asked for.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A state of a branch that cannot be had: it is not there yet, or not any more, or by itself never was.
    #[error("{database}: txid {asked} of branch {branch} cannot be had: {detail}")]
    NoSuchState {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// What was asked for.
        asked: u64,
        /// The newest that is there.
        newest: u64,
        /// Why, and what can be had.
        detail: String,
    },
    /// A moment of a branch whose state cannot be had: it is too old, or still to come.
    #[error("{database}: the state of branch {branch} at {at} cannot be had: {detail}")]
    NoStateAt {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// What was asked for.
        at: WallTime,
        /// Why.
        detail: String,
    },
    /// Another database of this process serves the branch, and it alone can overwrite it.
    #[error("{database}: branch {branch} is served by {by}, which alone can overwrite it")]
    ServedElsewhere {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// Who serves it.
        by: DatabaseName,
    },
    /// The id of an overwrite was used for another one.
    #[error("{database}: branch {branch} was overwritten under the id {id} with something else: choose another id")]
    PromotionIdUsed {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// The id.
        id: String,
    },
    /// An overwrite was begun, and neither its result nor what it replaces is there.
    #[error(
        "{database}: whether branch {branch} was overwritten under the id {id} cannot be told: the snapshot is neither the new nor the old one"
    )]
    PromotionUnknown {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// The id.
        id: String,
    },
    /// The head record that knew which overwrites were carried out is lost.
    #[error("{database}: the head record of branch {branch} was lost, so it cannot be told whether the overwrite {id} was carried out")]
    HistoryLost {
        /// Which database.
        database: DatabaseName,
        /// The branch.
        branch: BranchName,
        /// The overwrite.
        id: String,
    },
    /// A newer build wrote the head record.
    #[error("{database}: the head record {key} has format {format}, which only a newer build understands")]
    NewerFormat {
        /// Which database.
        database: DatabaseName,
        /// The record.
        key: ObjectKey,
        /// Its format.
        format: u64,
    },
    /// A head record that is none. It is left as it is.
    #[error("{database}: the object at {key} is no head record: {detail}")]
    HeadDamaged {
        /// Which database.
        database: DatabaseName,
        /// The record.
        key: ObjectKey,
        /// What is wrong with it.
        detail: String,
    },
    /// The store does not do what keeps two writers apart.
    #[error("{database}: the store does not honour conditions on writes: {detail}")]
    ConditionsIgnored {
        /// Which database.
        database: DatabaseName,
        /// Which condition, and what happened.
        detail: String,
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
    /// The files of a branch's chain do not make the state that is asked for. They are left as they are.
    #[error("{database}: the state of branch {branch} cannot be put together: {detail}{}", match offered { Some(offered) => format!("; the newest state that can be proved is {offered}"), None => String::new() })]
    ChainBroken {
        /// Which database.
        database: DatabaseName,
        /// Which branch of it.
        branch: BranchName,
        /// What is missing, and which files are damaged.
        detail: String,
        /// What its user may accept in the place of the newest state.
        offered: Option<Offered>,
    },
    /// A state is larger than `limits.maxSize`.
    #[error("{database}: branch {branch} is larger than limits.maxSize, {limit} bytes")]
    StateTooLarge {
        /// Which database.
        database: DatabaseName,
        /// Which branch of it.
        branch: BranchName,
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
    /// All databases that this process has may take so much together, and it does not fit beside the others.
    #[error("{database}: limits.maxSize is {needed} bytes, and of the memory budget of this pod, {budget} bytes, {free} are left")]
    MemoryBudget {
        /// Which database.
        database: DatabaseName,
        /// What it may grow to, in bytes.
        needed: u64,
        /// What is left, in bytes.
        free: u64,
        /// What all may take, in bytes.
        budget: u64,
    },
    /// The database has no such file.
    #[error("{database}: there is no file {key}")]
    FileNotFound {
        /// Which database.
        database: DatabaseName,
        /// Which file.
        key: FileKey,
    },
    /// There is a row, but not its content. Putting the same content again repairs it.
    #[error("{database}: the content of the file {key} is lost: {}", match loss { FileLoss::Missing => "it is not in the bucket".to_owned(), FileLoss::WrongSize { found } => format!("the object has {found} bytes, which is not the size of the file"), FileLoss::Elsewhere => "its row names an object that is not under the prefix of this database".to_owned() })]
    FileLost {
        /// Which database.
        database: DatabaseName,
        /// Which file.
        key: FileKey,
        /// In which way.
        loss: FileLoss,
    },
    /// gc deletes the blob of this very content just now. The same put succeeds once it is through.
    #[error("{database}: gc is deleting an unused blob with the content of the file {key}")]
    FileBusy {
        /// Which database.
        database: DatabaseName,
        /// Which file.
        key: FileKey,
    },
    /// A content could not wait for its upload.
    #[error("{database}: {source}")]
    Spool {
        /// Which database.
        database: DatabaseName,
        /// Why.
        source: SpoolError,
    },
    /// A record of ours in the bucket is damaged, or of a newer build. It is left as it is.
    #[error("{database}: {object} {problem}")]
    Unreadable {
        /// Which database.
        database: DatabaseName,
        /// Which object.
        object: ObjectKey,
        /// What is wrong with it.
        problem: String,
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
            Self::Lagging { .. } => "lagging",
            Self::StateChanged { .. } => "state-changed",
            Self::OnlyShown { .. } => "only-shown",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::TooManyListeners { .. } => "too-many-listeners",
            Self::PastTooLarge { .. } => "past-too-large",
            Self::NoRoomForPast { .. } => "no-room-for-past",
            Self::Fenced { .. } => "fenced",
            Self::HeldByOther { .. } => "held-by-other",
            Self::BranchNotFound { .. } => "branch-not-found",
            Self::BranchExists { .. } => "branch-exists",
            Self::BranchDeleted { .. } => "branch-deleted",
            Self::BranchRefused { .. } => "branch-refused",
            Self::ContentChanged { .. } => "content-changed",
            Self::NoSuchState { .. } | Self::NoStateAt { .. } => "no-such-state",
            Self::ServedElsewhere { .. } => "served-elsewhere",
            Self::HistoryLost { .. } => "history-lost",
            Self::PromotionIdUsed { .. } => "promotion-id-used",
            Self::PromotionUnknown { .. } => "promotion-unknown",
            Self::NewerFormat { .. } => "newer-format",
            Self::HeadDamaged { .. } => "head-damaged",
            Self::ConditionsIgnored { .. } => "conditions-ignored",
            Self::SnapshotCorrupt { .. } => "snapshot-corrupt",
            Self::SnapshotMissing { .. } => "snapshot-missing",
            Self::SnapshotTooLarge { .. } => "snapshot-too-large",
            Self::ChainBroken { .. } => "chain-broken",
            Self::StateTooLarge { .. } => "state-too-large",
            Self::HeldElsewhere { .. } => "held-elsewhere",
            Self::MemoryBudget { .. } => "memory-budget",
            Self::FileNotFound { .. } => "file-not-found",
            Self::FileLost { .. } => "file-lost",
            Self::FileBusy { .. } => "file-busy",
            Self::Spool { .. } => "spool",
            Self::Unreadable { .. } => "unreadable",
            Self::OutOfTime { .. } => "out-of-time",
            Self::Internal { .. } => "internal",
        }
    }
}
