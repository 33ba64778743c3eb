//! Which databases keep files under a prefix, and how long gc has to wait for each.
//!
//! Owns: the records beside the prefix. A record belongs to a key, with an entry for each branch that is served: two processes may serve two
//! branches of one database, and each changes its own entry alone.
//! Invariant: a database has its record before it looks at gc's marks for the first time; so whoever marks afterwards counts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::FilesPrefix;
use crate::bucket::{self, Bucket};
use crate::document::{self, Document, Failure, Found, Swap, Unreadable};
use crate::names::{BranchName, DatabaseKey};
use crate::snapshot::PutIds;

const FORMAT: u32 = 1;

/// How long gc has to wait, because a row may be committed, or a past state wanted, that it cannot see yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "in JSON the unit stands in the name")]
pub(crate) struct Needs {
    /// How long past states can be read.
    pub(crate) retention_seconds: u64,
    pub(crate) grace_seconds: u64,
    /// A row is in the bucket at most this long after its commit.
    pub(crate) flush_interval_seconds: u64,
}

impl Needs {
    pub(crate) fn new(grace: Duration, flush_interval: Duration, retention: Duration) -> Self {
        Self { retention_seconds: ceil(retention), grace_seconds: ceil(grace), flush_interval_seconds: ceil(flush_interval) }
    }

    /// The longest of the three, where the interval counts twice: a put may commit its row up to an interval after it has looked at the marks
    /// ([`super::put`]), and the row may take another to reach the bucket.
    pub(crate) fn wait(&self) -> Duration {
        let interval = self.flush_interval_seconds.saturating_mul(2);
        Duration::from_secs(self.retention_seconds.max(self.grace_seconds).max(interval))
    }
}

fn ceil(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A database that keeps files here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    format: u32,
    /// Which change of the record this is.
    put_id: String,
    pub(crate) key: String,
    /// By branch. One that was deleted may still stand here: then gc waits a little longer.
    pub(crate) branches: BTreeMap<String, Needs>,
}

impl Document for Owner {
    const FORMATS: std::ops::RangeInclusive<u32> = FORMAT..=FORMAT;

    fn format(&self) -> u32 {
        self.format
    }
}

/// What makes a branch of a database known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) prefix: FilesPrefix,
    pub(crate) key: DatabaseKey,
    pub(crate) branch: BranchName,
    pub(crate) needs: Needs,
    /// What stands there of the branch is left as it is.
    pub(crate) only_if_new: bool,
}

/// For a branch of which nobody has said it yet: a day, as long as by default.
pub(super) const USUAL_RETENTION: Duration = Duration::from_hours(24);

/// How often others may come first.
const TRIES: u32 = 8;

/// Makes sure that the record says what this branch needs.
pub(crate) async fn register(bucket: &Arc<dyn Bucket>, put_ids: &PutIds, wanted: &Registration) -> Result<(), Failure> {
    let object = wanted.prefix.owner(&wanted.key);
    for _ in 0..TRIES {
        let found: Option<Found<Owner>> = document::read(bucket, &object).await?;
        let (mut branches, etag) = found.map_or((BTreeMap::new(), None), |found| (found.document.branches, Some(found.etag)));
        if wanted.only_if_new && branches.contains_key(wanted.branch.as_str()) {
            return Ok(());
        }
        if branches.insert(wanted.branch.to_string(), wanted.needs) == Some(wanted.needs) {
            return Ok(());
        }
        let next = Owner { format: FORMAT, put_id: put_ids.fresh().to_string(), key: wanted.key.to_string(), branches };
        match document::swap(bucket, &object, etag.as_ref(), next).await? {
            Swap::Done(_) => return Ok(()),
            Swap::Lost => {}
        }
    }
    Err(bucket::Error::Unavailable { message: format!("{object} is changed by others all the time") }.into())
}

/// All records under a prefix.
pub(crate) async fn list(bucket: &Arc<dyn Bucket>, prefix: &FilesPrefix) -> Result<Vec<Owner>, Failure> {
    let mut owners = Vec::new();
    for listed in bucket.list(&prefix.owners(), None, usize::MAX).await? {
        let unreadable =
            |problem: &str| Failure::Unreadable { object: listed.key.clone(), problem: Unreadable::Damaged(problem.to_owned()) };
        // One that goes while we look is a database that somebody removes: the next run knows what of it is left.
        let found = document::read::<Owner>(bucket, &listed.key).await?.ok_or_else(|| unreadable("went away while it was read"))?;
        let key = DatabaseKey::parse(&found.document.key).map_err(|error| unreadable(&error.to_string()))?;
        if prefix.owner(&key) != listed.key {
            return Err(unreadable("names another key than the one that it is named after"));
        }
        owners.push(found.document);
    }
    Ok(owners)
}

/// Forgets a database whose objects are gone, all of them, so that gc no longer looks for it. Its files go with the next runs.
pub async fn remove_owner(bucket: &Arc<dyn Bucket>, prefix: &FilesPrefix, key: &DatabaseKey) -> Result<(), bucket::Error> {
    // Deleting twice does no harm, so an unclear answer is simply asked again.
    match bucket.delete(&prefix.owner(key)).await {
        Err(bucket::Error::Unclear { .. }) => bucket.delete(&prefix.owner(key)).await,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_need_decides_and_the_interval_counts_twice() {
        let wait =
            |grace, interval| Needs::new(Duration::from_secs(grace), Duration::from_millis(interval), Duration::ZERO).wait().as_secs();
        assert_eq!(wait(300, 60_000), 300);
        assert_eq!(wait(0, 3_600_000), 7200);
        assert_eq!(wait(0, 1_500), 4);
        let needs = Needs { retention_seconds: 86_400, ..Needs::new(Duration::ZERO, Duration::ZERO, Duration::ZERO) };
        assert_eq!(needs.wait().as_secs(), 86_400);
    }
}
