//! What a program that embeds the engine is told of its work, while it works.
//!
//! Owns: the trait, and that whatever implements it cannot harm the work. Does not own: what is made of it (metrics, profiles, prices).
//! Invariant: a hook that panics is named in the log, and nothing else happens.

use std::borrow::Cow;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::names::{BranchName, DatabaseName};

/// Called where the work is done, so it must not block. Each method does nothing unless it is written.
pub trait Hooks: Send + Sync {
    /// An upload of commits begins.
    fn flush_started(&self, _flush: &FlushOf) {}

    /// It ended, or nothing had to be uploaded: of what is skipped no start is told.
    fn flush_ended(&self, _flush: &FlushOf, _end: &FlushEnd) {}

    /// A request to a store was answered, or was given up. Retries and the parts of an upload are requests of their own.
    fn store_request(&self, _request: &StoreRequest) {}
}

/// Which upload it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushOf {
    /// Of this database.
    pub database: DatabaseName,
    /// Of this branch.
    pub branch: BranchName,
    /// As a file of its chain, or as the whole.
    pub kind: FlushKind,
}

/// What is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlushKind {
    /// What was committed since the last one.
    Delta,
    /// The whole database, at `<key>`.
    Snapshot,
}

impl FlushKind {
    /// For logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Snapshot => "snapshot",
        }
    }
}

/// How an upload ended.
#[derive(Debug, Clone)]
pub enum FlushEnd {
    /// It is in the bucket.
    Completed {
        /// The state that it leads to.
        txid: u64,
        /// What was uploaded.
        bytes: u64,
        /// From the pin to the store's answer.
        took: Duration,
    },
    /// It was asked for, and everything was in the bucket already, or the last one is too young.
    Skipped,
    /// It will be tried again, unless the error says that the branch is somebody else's.
    Failed {
        /// What it ended in.
        error: Arc<Error>,
        /// Until then.
        took: Duration,
    },
}

/// A request to a store, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRequest {
    /// As S3 names it: `PutObject`.
    pub operation: Cow<'static, str>,
    /// The store's status; `None` if there was no answer.
    pub status: Option<u16>,
    /// Bytes of its body.
    pub sent: u64,
    /// Bytes of the answer's body, as its headers tell.
    pub received: u64,
    /// Until the answer's headers were there.
    pub took: Duration,
}

/// What a store charges a request as. Only the names differ from one store to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestClass {
    /// What changes or lists.
    A,
    /// What reads.
    B,
    /// What deletes, and what gives up an upload.
    Free,
}

impl RequestClass {
    /// Of an operation of S3. One that is not known is taken for the dearest.
    pub fn of(operation: &str) -> Self {
        match operation {
            "GetObject" | "HeadObject" | "HeadBucket" => Self::B,
            "DeleteObject" | "DeleteObjects" | "AbortMultipartUpload" => Self::Free,
            _ => Self::A,
        }
    }

    /// For labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Free => "free",
        }
    }
}

impl StoreRequest {
    /// What it is charged as.
    pub fn class(&self) -> RequestClass {
        RequestClass::of(&self.operation)
    }

    /// Whether there was no answer, or one that says that the store is in trouble. A condition that does not hold is no failure.
    pub fn has_failed(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }
}

/// All that want to be told.
#[derive(Clone, Default)]
pub struct HookSet(Arc<[Arc<dyn Hooks>]>);

impl HookSet {
    /// In this order.
    pub fn new(hooks: impl IntoIterator<Item = Arc<dyn Hooks>>) -> Self {
        Self(hooks.into_iter().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn flush_started(&self, flush: &FlushOf) {
        self.each("flush_started", |hooks| hooks.flush_started(flush));
    }

    pub(crate) fn flush_ended(&self, flush: &FlushOf, end: &FlushEnd) {
        self.each("flush_ended", |hooks| hooks.flush_ended(flush, end));
    }

    pub(crate) fn store_request(&self, request: &StoreRequest) {
        self.each("store_request", |hooks| hooks.store_request(request));
    }

    fn each(&self, hook: &'static str, call: impl Fn(&dyn Hooks)) {
        for hooks in &*self.0 {
            if panic::catch_unwind(AssertUnwindSafe(|| call(&**hooks))).is_err() {
                tracing::error!(hook, "a hook panicked");
            }
        }
    }
}

impl fmt::Debug for HookSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HookSet").field(&self.0.len()).finish()
    }
}
