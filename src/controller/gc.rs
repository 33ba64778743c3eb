//! gc of files, in the controller's words: where it runs, which run of a chain, what is heard of it.
//!
//! One wish (an annotation, a moment of the schedule) is a **chain** of runs: the first marks what is unused, and a later one, after the wait
//! that its report tells, deletes what stayed so. The engine decides what a run does; here is decided whether another one follows. Pure.
//!
//! A run never has the operator's own identity: it is a Job in the namespace of its database, where others could take what it has. So
//! every run has the credentials of the database's Secret, and one without a Secret has no runs ([`own_keys`]).

pub(crate) mod claims;
pub(crate) mod pods;

use engine::bucket::s3::Identity;
use engine::{DatabaseConfig, DatabaseName, GcStage, GcSummary, WallTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::crd::{BucketDatabase, BucketDatabaseSpec, GcStatus};
use crate::plan::name_of;
use crate::problem::Problem;
use crate::reason::Reason;

/// A prefix in a bucket of a store. One run at a time there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place(String);

impl Place {
    /// Where the files of a database lie.
    pub(crate) fn of(spec: &BucketDatabaseSpec) -> Self {
        let endpoint = spec.endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_ascii_lowercase());
        let text = serde_json::json!([endpoint, spec.r2, spec.bucket, spec.files.prefix]).to_string();
        Self(hex::encode(&Sha256::digest(text.as_bytes())[..8]))
    }

    /// As the value of a label.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The other databases that keep files at the place of a resource.
pub(crate) fn sharers<'a>(resource: &BucketDatabase, known: impl Iterator<Item = &'a BucketDatabase>) -> Vec<DatabaseName> {
    let (name, place) = (name_of(resource), Place::of(&resource.spec));
    known.filter(|other| Place::of(&other.spec) == place).map(name_of).filter(|other| *other != name).collect()
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Which one of its chain, from 1.
    pub(crate) number: u32,
    /// All that was unused when the chain began is marked already, so what it marks anew waits for the next chain.
    pub(crate) is_swept: bool,
    /// The value of the annotation that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
}

/// A chain ends with this run, whatever it found: others that run there all the time must not keep it going for ever.
const LONGEST_CHAIN: u32 = 5;

impl Run {
    /// The first one of a chain.
    pub(crate) fn first(request: Option<String>) -> Self {
        Self { number: 1, is_swept: false, request }
    }

    /// The one that goes on after another.
    pub(crate) fn after(last: &GcStatus) -> Self {
        let has_marked = [GcStage::Marked, GcStage::Deleted].iter().any(|stage| last.stage == stage.as_str());
        Self { number: last.run.saturating_add(1), is_swept: has_marked, request: None }
    }

    /// When the next run of the chain may delete what is marked; `None` if the chain is at its end.
    pub(crate) fn next(&self, found: &GcSummary) -> Option<WallTime> {
        let is_done = match found.stage {
            GcStage::Clean => true,
            GcStage::Marked | GcStage::Deleted => self.is_swept || found.marked == 0,
            GcStage::Waiting | GcStage::Busy => false,
        };
        if is_done || found.dry_run || self.number >= LONGEST_CHAIN { None } else { found.wait_until }
    }
}

/// Whether a run could reach the bucket: it has what the Secret of the database holds, and nothing else.
pub(crate) fn own_keys(config: &DatabaseConfig) -> Result<(), Problem> {
    match config.store.credentials {
        Identity::Keys(_) => Ok(()),
        Identity::Ambient => Err(Problem::passing(
            Reason::AmbientCredentialsNotAllowed,
            "gc runs in a Job of this namespace, which does not get the operator's own identity: name a Secret in spec.credentials.secretRef, or run \
             `buckethead gc` yourself where it has credentials",
        )),
    }
}

/// What came of gc in one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// A run began.
    Started(Run),
    /// What keeps a run from beginning, or its Pod from starting.
    Hindered(Problem),
    /// A run ended.
    Ended(Ended),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The UID of its Job; `None` of one in this process.
    pub(crate) job: Option<String>,
    /// When.
    pub(crate) time: WallTime,
    /// Which run it was.
    pub(crate) run: Run,
    /// What it found, or why it did not come to its end.
    pub(crate) result: Result<GcSummary, Problem>,
}

#[cfg(test)]
mod tests;
