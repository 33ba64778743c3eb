//! Counting requests, and failing those that a test chose.
//!
//! Owns: which requests fail, and how often. Does not own: carrying that out (`service` and `serve` do).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// What a request asks for, as S3 names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "S3's own names")]
pub enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucket,
    DeleteObject,
    DeleteObjects,
    GetObject,
    HeadBucket,
    HeadObject,
    ListBuckets,
    ListObjectsV2,
    ListParts,
    PutObject,
    UploadPart,
    UploadPartCopy,
    /// Whatever the embedded store does not know.
    Other,
}

impl Operation {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "AbortMultipartUpload" => Self::AbortMultipartUpload,
            "CompleteMultipartUpload" => Self::CompleteMultipartUpload,
            "CopyObject" => Self::CopyObject,
            "CreateBucket" => Self::CreateBucket,
            "CreateMultipartUpload" => Self::CreateMultipartUpload,
            "DeleteBucket" => Self::DeleteBucket,
            "DeleteObject" => Self::DeleteObject,
            "DeleteObjects" => Self::DeleteObjects,
            "GetObject" => Self::GetObject,
            "HeadBucket" => Self::HeadBucket,
            "HeadObject" => Self::HeadObject,
            "ListBuckets" => Self::ListBuckets,
            "ListObjectsV2" => Self::ListObjectsV2,
            "ListParts" => Self::ListParts,
            "PutObject" => Self::PutObject,
            "UploadPart" => Self::UploadPart,
            "UploadPartCopy" => Self::UploadPartCopy,
            _ => Self::Other,
        }
    }
}

/// How many requests arrived since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestCounts {
    pub(super) total: u64,
    pub(super) by_operation: BTreeMap<Operation, u64>,
}

impl RequestCounts {
    /// All, those that were refused included.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Those of one kind that bore a good signature.
    pub fn of(&self, operation: Operation) -> u64 {
        self.by_operation.get(&operation).copied().unwrap_or_default()
    }
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultEffect {
    /// Nothing is done; the answer is 400, and always will be.
    Reject,
    /// It is carried out, and the connection closed without an answer.
    LoseAnswer,
    /// Nothing is done; the answer is 503.
    Refuse,
    /// Nothing is done; the answer is 500.
    Fail,
    /// The answer's body ends after so many bytes, with the connection.
    CutBody(u64),
    /// So much time passes before each piece of the answer's body.
    SlowBody(Duration),
    /// Conditions are not looked at, as some stores do.
    IgnoreConditions,
    /// Writes that bear a condition are refused with 501, as other stores do; nothing is done.
    RefuseConditions,
}

type KeyPredicate = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Requests that fail: by default all, from now on.
pub struct Fault {
    effect: FaultEffect,
    operation: Option<Operation>,
    key: Option<KeyPredicate>,
    skip: u64,
    times: u64,
}

impl Fault {
    /// All requests fail so.
    pub fn new(effect: FaultEffect) -> Self {
        Self { effect, operation: None, key: None, skip: 0, times: u64::MAX }
    }

    /// Only requests of this kind.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Only requests for such keys.
    #[must_use]
    pub fn key(self, matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { key: Some(Box::new(matches)), ..self }
    }

    /// Only after so many that match.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Only so often.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    fn matches(&self, operation: Operation, key: &str) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation) && self.key.as_ref().is_none_or(|matches| matches(key))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("effect", &self.effect).field("operation", &self.operation).finish_non_exhaustive()
    }
}

/// The faults of a store. The first that matches a request takes effect.
#[derive(Debug, Default)]
pub struct Faults {
    chosen: Mutex<Vec<Fault>>,
    happened: watch::Sender<u64>,
}

impl Faults {
    /// From now on such requests fail.
    pub fn add(&self, fault: Fault) {
        self.chosen.lock().push(fault);
    }

    /// Returns when this many requests have failed since the start.
    pub async fn happened(&self, times: u64) {
        // The sender is ours.
        self.happened.subscribe().wait_for(|happened| *happened >= times).await.ok();
    }

    /// From now on nothing fails.
    pub fn clear(&self) {
        self.chosen.lock().clear();
    }

    /// How this request fails, if it does. Counts it.
    pub(super) fn take(&self, operation: Operation, key: &str) -> Option<FaultEffect> {
        let mut chosen = self.chosen.lock();
        let fault = chosen.iter_mut().find(|fault| fault.times > 0 && fault.matches(operation, key))?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        self.happened.send_modify(|happened| *happened += 1);
        Some(fault.effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_requests_it_names_and_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key.starts_with('a')).after(1).times(2));
        assert_eq!(faults.take(Operation::GetObject, "a.db"), None);
        assert_eq!(faults.take(Operation::PutObject, "b.db"), None);
        let hits: Vec<_> = (0..4).map(|_| faults.take(Operation::PutObject, "a.db").is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);
        faults.clear();
        assert_eq!(faults.take(Operation::PutObject, "a.db"), None);
    }
}
