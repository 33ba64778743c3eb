//! One open database: read, write, flush, close.

use crate::error::Error;
use crate::host::SnapshotFacts;
use crate::memory::Pin;
use crate::sql::{QueryLimits, Request, Response};

/// Whether a flush may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Skipped within `minInterval` of the last one, as in the seed.
    Manual,
    /// Never skipped for its time; still nothing is uploaded when nothing changed.
    Forced,
}

/// What a flush did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flushed {
    /// Everything committed before the call is in this snapshot, which this call made.
    Uploaded(SnapshotFacts),
    /// Everything committed before the call was in this snapshot already.
    Unchanged(SnapshotFacts),
    /// The last one is younger than `minInterval`; what was committed since will be in the next.
    Skipped(Option<SnapshotFacts>),
}

/// An open database. Clones are the same database.
#[derive(Clone)]
pub struct Database {}

#[allow(missing_docs, unused_variables, clippy::todo, clippy::unused_async, reason = "skeleton")]
impl Database {
    /// Runs statements that may not write, on the newest version.
    pub async fn read(&self, request: Request) -> Result<Response, Error> {
        todo!()
    }
    /// Runs statements that may write, in the writers' queue.
    pub async fn write(&self, request: Request) -> Result<Response, Error> {
        todo!()
    }
    /// Brings what is committed into the bucket.
    pub async fn flush(&self, flush: Flush) -> Result<Flushed, Error> {
        todo!()
    }
    /// Freezes the newest version.
    pub fn pin(&self) -> Pin {
        todo!()
    }
    /// The limits in force.
    pub fn limits(&self) -> QueryLimits {
        todo!()
    }
}
