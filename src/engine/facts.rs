//! What is known of a database, for status, metrics and people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::WallTime;
use crate::database::Usage;
use crate::error::Error;
use crate::head::Epoch;
use crate::memory::MemoryUse;
use crate::names::{BranchName, Etag};
use crate::naming::ProvedState;

/// A snapshot that is in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// When it was complete.
    pub time: WallTime,
    /// Its number.
    pub txid: u64,
    /// In bytes.
    pub size: u64,
    /// From the pin to the store's answer; unknown for one that an earlier process made.
    pub duration: Option<Duration>,
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
    /// The branch's chain was restored.
    Chain {
        /// The state that it led to.
        txid: u64,
        /// In bytes, as a file.
        size: u64,
    },
    /// `<key>` was restored, and somebody without a tenure had put it in the place of ours.
    Outside {
        /// Its ETag.
        etag: Etag,
        /// In bytes.
        size: u64,
    },
    /// `<key>` was corrupt or missing, and `<key>.prev` was accepted by the annotation that names it.
    Previous {
        /// The ETag of `<key>.prev`.
        etag: Etag,
    },
    /// The newest state could not be proved, and an earlier one was accepted by the annotation that names it.
    Accepted {
        /// That one.
        state: ProvedState,
        /// The number of the newest.
        instead_of: u64,
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
}

/// A state that somebody without a tenure put in the place of ours while we served. Ours was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Where it is kept.
    pub branch: BranchName,
    /// When it was found.
    pub time: WallTime,
}

/// A file in the bucket that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its place below the chain's folder.
    pub file: String,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.detail)
    }
}

/// Damage that was found, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The files.
    pub files: Vec<Damage>,
    /// When.
    pub time: WallTime,
    /// A whole database of this state was put since, so that the newest state needs none of them.
    pub renewed: Option<u64>,
}

/// A proof that what is in the bucket can be restored, or that it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// When it was made.
    pub time: WallTime,
    /// Of the newest state at that time.
    pub txid: u64,
    /// The number of a past state, chosen by chance, that was restored as well.
    pub past: Option<u64>,
    /// How long it took.
    pub took: Duration,
    /// Why it could not be restored; `None` if it could.
    pub failure: Option<String>,
}

/// What is known of an open database.
#[derive(Debug, Clone)]
pub struct Facts {
    /// In bytes, as a file.
    pub size: u64,
    /// What it costs.
    pub memory: MemoryUse,
    /// The number of the newest state in the bucket.
    pub txid: u64,
    /// The branch that is served.
    pub branch: BranchName,
    /// Somebody switched to it, whatever the configuration names.
    pub by_hand: bool,
    /// What the store does instead of honouring conditions on writes, if the database is served all the same: it is only looked before
    /// each write whether somebody else was there.
    pub unconditional: Option<Arc<str>>,
    /// The number of our tenure over it.
    pub epoch: Epoch,
    /// What it was when it was opened.
    pub origin: Origin,
    /// Every commit before this moment is in the bucket.
    pub durable_time: Option<WallTime>,
    /// How long the oldest commit has waited that is not in the bucket.
    pub lag: Option<Duration>,
    /// How long it may wait until it is on its way there, as the configuration asks for.
    pub interval: Duration,
    /// That is so long that writes are refused.
    pub refuses_writes: bool,
    /// There are commits that are not in the bucket.
    pub pending: bool,
    /// The newest one of this process, or the one that was restored.
    pub last_snapshot: Option<SnapshotFacts>,
    /// How uploads go.
    pub uploads: Uploads,
    /// The newest state of somebody else that was found in the place of ours.
    pub outside: Option<Outside>,
    /// The newest damage in the bucket that was found.
    pub damaged: Option<Damaged>,
    /// The last proof that it can be restored.
    pub verified: Option<Verified>,
    /// Why the newest try of one came to no end.
    pub unverified: Option<String>,
    /// How often one is made; zero for never.
    pub verify_interval: Duration,
    /// Statements that wait for whoever takes their rows.
    pub slow_readers: usize,
    /// What it was asked since it was opened.
    pub usage: Usage,
}

/// What the host knows of a name.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "it is made for a look and dropped after it, never kept in numbers")]
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
    /// It is not in memory, and answers that it is suspended. Opening it resumes it.
    Suspended {
        /// It is known that nothing of ours is under way, and that others may have the branch.
        released: bool,
        /// The one of the flush with which the suspension began; unknown to a later process.
        last_snapshot: Option<SnapshotFacts>,
    },
}
