//! What a run tells those who read no names: counts alone, as one small JSON object.
//!
//! Owns: its form, which `buckethead gc` writes and the operator reads, perhaps of another version.
//! Invariant: however many blobs there are, it stays under [`LARGEST`], which is what Kubernetes keeps of a termination message.

use serde::{Deserialize, Serialize};

use super::run::{GcReport, GcStage};
use crate::clock::WallTime;

/// In bytes.
const LARGEST: usize = 4096;
/// How much of an error is told. In JSON a character may take six bytes.
const LONGEST_ERROR: usize = 600;

/// The counts of a run. In a dry run, of what it would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcSummary {
    /// How far it came.
    pub stage: GcStage,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// When a further run can delete what is marked.
    pub wait_until: Option<WallTime>,
    /// Databases that keep files there.
    pub owners: u64,
    /// Branches of all of them.
    pub branches: u64,
    /// Blobs under the prefix.
    pub blobs: u64,
    /// Unused, to be looked at again.
    pub marked: u64,
    /// Gone.
    pub deleted: u64,
    /// Unused, but too young.
    pub skipped: u64,
    /// Files without their content.
    pub dangling: u64,
    /// Unused, and not written by buckethead.
    pub unowned: u64,
    /// Bytes of what is gone.
    pub freed: u64,
}

impl GcReport {
    /// Without the names.
    pub fn summary(&self, dry_run: bool) -> GcSummary {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        GcSummary {
            stage: self.stage,
            dry_run,
            wait_until: self.wait_until,
            owners: count(self.owners),
            branches: count(self.branches),
            blobs: count(self.blobs),
            marked: count(self.marked.len()),
            deleted: count(self.deleted.len()),
            skipped: count(self.skipped.len()),
            dangling: count(self.dangling.len()),
            unowned: count(self.unowned.len()),
            freed: self.freed,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GcOutcome {
    /// It came to its end.
    Report(GcSummary),
    /// It stopped, for this reason.
    Error(String),
}

impl GcOutcome {
    /// Of a run that stopped; a long reason is cut.
    pub fn stopped(mut reason: String) -> Self {
        reason.truncate(reason.floor_char_boundary(LONGEST_ERROR));
        Self::Error(reason)
    }

    /// As it stands in a termination message.
    pub fn to_message(&self) -> String {
        let message = serde_json::to_string(self).expect("counts and a text have a JSON form");
        debug_assert!(message.len() < LARGEST, "{} bytes are too many", message.len());
        message
    }

    /// Reads a termination message; `None` if it is none of ours.
    pub fn of_message(message: &str) -> Option<Self> {
        serde_json::from_str(message).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> GcSummary {
        let most = u64::MAX;
        GcSummary {
            stage: GcStage::Deleted,
            dry_run: false,
            wait_until: Some(WallTime::from_second(1_700_000_000).unwrap()),
            owners: most,
            branches: most,
            blobs: most,
            marked: most,
            deleted: most,
            skipped: most,
            dangling: most,
            unowned: most,
            freed: most,
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_fits_whatever_it_says() {
        for outcome in [GcOutcome::Report(summary()), GcOutcome::stopped("\u{1}ü".repeat(5000)), GcOutcome::stopped(String::new())] {
            let message = outcome.to_message();
            assert!(message.len() < LARGEST, "{}", message.len());
            assert_eq!(GcOutcome::of_message(&message), Some(outcome));
        }
    }

    #[test]
    fn a_message_of_a_newer_version_is_read_and_one_of_somebody_else_is_not() {
        let newer = GcOutcome::Report(summary()).to_message().replace("\"stage\"", "\"later\":1,\"stage\"");
        assert_eq!(GcOutcome::of_message(&newer), Some(GcOutcome::Report(summary())));
        for other in ["", "panicked at", "{}", "{\"report\":{}}"] {
            assert_eq!(GcOutcome::of_message(other), None, "{other}");
        }
    }
}
