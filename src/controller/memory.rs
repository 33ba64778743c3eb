//! What this process remembers of each resource between two looks.
//!
//! Owns: what cannot be read back from the cluster or the host (the configuration in force, the last status written, failures in a row).
//! Losing it costs a write or a try too many, never data.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::{BranchName, DatabaseConfig, DatabaseName, WallTime};

use crate::crd::{BucketDatabase, BucketDatabaseStatus};
use crate::plan::lineage::Lineage;
use crate::plan::{Verdict, name_of, promotion};

/// What is remembered of one resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered {
    /// The resource that this is about. One of the same name that is made later is another.
    uid: Option<String>,
    /// What the host was given last.
    pub(crate) applied: Option<DatabaseConfig>,
    /// The size limit that is in force; zero once the database is suspended. `None`: what the status says.
    held: Option<u64>,
    /// The branches of the spec that are known to be there. Losing it costs a request for each.
    pub(crate) made: BTreeSet<BranchName>,
    /// What is known of its other branches and of its promotion. Losing it costs a few requests.
    pub(crate) lineage: Lineage,
    /// What was said after the last look.
    pub(crate) said: Option<Verdict>,
    /// The last status written. The store of the watch may lag behind it.
    pub(crate) status: Option<BucketDatabaseStatus>,
    /// When that was.
    pub(crate) written: Option<WallTime>,
    /// When something last kept gc from running.
    pub(crate) gc_hindered: Option<WallTime>,
    /// When the Pods of gc were last asked why none starts.
    pub(crate) gc_inspected: Option<WallTime>,
    /// Its finalizer was removed. The watch may still show it as it was, and what is done in the end is not to be done twice.
    pub(crate) let_go: bool,
    /// How many reconciliations failed in a row.
    pub(crate) failures: u32,
}

impl Remembered {
    /// The host was given this, to serve with it.
    pub(crate) fn apply(&mut self, config: &DatabaseConfig) {
        self.held = Some(config.limits.max_size);
        self.applied = Some(config.clone());
    }

    /// The host was given this, and has the database no longer in memory.
    pub(crate) fn rest(&mut self, config: &DatabaseConfig) {
        self.held = Some(0);
        self.applied = Some(config.clone());
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<DatabaseName, Remembered>>);

impl Memory {
    /// What is remembered of a resource; nothing of an earlier one of its name.
    pub(crate) fn of(&self, resource: &BucketDatabase) -> Remembered {
        let known = self.lock();
        known.get(&name_of(resource)).filter(|known| known.uid == resource.metadata.uid).cloned().unwrap_or_default()
    }

    /// The newest status: the last one written, or that which the watch shows if this process has written none.
    pub(crate) fn status(&self, resource: &BucketDatabase) -> BucketDatabaseStatus {
        self.of(resource).status.or_else(|| resource.status.clone()).unwrap_or_default()
    }

    /// What is known of a resource's branches and promotion; of the promotion also what its status remembers.
    pub(crate) fn lineage(&self, resource: &BucketDatabase, now: WallTime) -> Lineage {
        let Remembered { mut lineage, status, .. } = self.of(resource);
        let told = || promotion::recalled(status.as_ref().or(resource.status.as_ref())?, now);
        lineage.promotion = lineage.promotion.or_else(told);
        lineage
    }

    /// The size limit with which a resource was let in, if it was: by this process, or by one before it.
    pub(crate) fn held(&self, resource: &BucketDatabase) -> Option<u64> {
        let by_us = self.see(resource, |known| known.held).flatten();
        let told = || Some(resource.status.as_ref()?.max_size.as_ref()?.as_bytes());
        by_us.or_else(told).filter(|bytes| *bytes > 0)
    }

    /// Whether a resource lacked nothing at the last look.
    pub(crate) fn is_content(&self, resource: &BucketDatabase) -> bool {
        let is_content = |known: &Remembered| matches!(known.said, Some(Verdict::Serving { but: None } | Verdict::Suspended));
        self.see(resource, is_content).unwrap_or_default()
    }

    fn see<T>(&self, resource: &BucketDatabase, look: impl FnOnce(&Remembered) -> T) -> Option<T> {
        self.lock().get(&name_of(resource)).filter(|known| known.uid == resource.metadata.uid).map(look)
    }

    /// Changes what is remembered of a resource.
    pub(crate) fn update(&self, resource: &BucketDatabase, change: impl FnOnce(&mut Remembered)) {
        let mut known = self.lock();
        let entry = known.entry(name_of(resource)).or_default();
        if entry.uid != resource.metadata.uid {
            *entry = Remembered { uid: resource.metadata.uid.clone(), ..Remembered::default() };
        }
        change(entry);
    }

    /// Remembers one more failure of a resource, or that there is none any more. Returns how many there are in a row.
    pub(crate) fn count_failure(&self, name: &DatabaseName, failed: bool) -> u32 {
        let mut known = self.lock();
        let Some(entry) = known.get_mut(name) else { return u32::from(failed) };
        entry.failures = if failed { entry.failures.saturating_add(1) } else { 0 };
        entry.failures
    }

    /// How many reconciliations of a resource failed in a row.
    pub(crate) fn failures(&self, name: &DatabaseName) -> u32 {
        self.lock().get(name).map_or(1, |known| known.failures)
    }

    /// Forgets a resource that is gone.
    pub(crate) fn forget(&self, name: &DatabaseName) {
        self.lock().remove(name);
    }

    /// Nobody panics while holding it, and each entry is whole after each change.
    fn lock(&self) -> MutexGuard<'_, HashMap<DatabaseName, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
