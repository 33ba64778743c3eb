//! Which blobs nobody can reach any more, and what a run does about it.
//!
//! A run looks at three things, in this order: gc's own list, the rows of the newest state of each branch of each owner, and the blobs. What
//! no row names is marked; a later run counts again, seals what is still unused, deletes it, and marks anew (`files/marks.rs` has the picture).
//!
//! Owns: what is unused, when a mark is ripe, who may delete. Does not own: the list and what puts do with it (`files`), reading and deleting
//! (`gc/run.rs`, `gc/count.rs`). The functions in this file are pure.
//!
//! Invariants, and what they rest on:
//! - **A blob that a row names is never deleted.** A put that reads the list before the mark has its row in the bucket when the run that deletes
//!   begins to count, because that run waits for [`Needs::wait`] of every owner; one that reads it later strikes its file out, and then the
//!   seal, which stands under the condition that the list is the one that was read before the count, is refused; one that comes after the seal
//!   waits. A put that found the blob before it was deleted notices that the list has changed. On a store that does not honour conditions a look
//!   stands for that of the seal ([`GcOptions::single_writer`]).
//! - **Only the run that sealed deletes**, and only for [`DELETING`] after it sent the seal. A seal whose run died is taken over after [`ABANDONED`],
//!   by sealing again. So no DELETE of one run reaches a blob that was put after another run was through.
//! - **What cannot be read counts as everything.** An owner whose snapshots cannot be read whole, or are not there, ends the run before it
//!   changes anything.

mod count;
mod run;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::WallTime;
use crate::files::{FileKey, Marks, Needs, Phase};

#[cfg(test)]
pub(crate) use run::Run;
pub use run::{GcError, GcOptions, GcReport, GcStage, OwnerKey, collect_garbage};
pub use summary::{GcOutcome, GcSummary};

/// How long a run deletes after it has sent its seal. What is left then is marked again.
const DELETING: Duration = Duration::from_mins(2);
/// After so long a seal has outlived its run: [`DELETING`], the time limit of the requests that it had under way, and as much again.
const ABANDONED: Duration = Duration::from_mins(15);
/// The most that is marked at once: each put of a file reads the list.
const MOST_MARKS: usize = 20_000;

/// What a run has found, before it changes anything.
#[derive(Debug)]
struct Seen<'a> {
    /// The list, and when it was written.
    list: Option<(&'a Marks, WallTime)>,
    /// What no row names, is old enough, and may be deleted.
    unused: &'a BTreeSet<FileKey>,
    /// When the run began to count.
    counted: WallTime,
    /// The longest that any owner needs.
    wait: Duration,
}

/// What it does next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// Write a new list of what is unused.
    Mark,
    /// Seal these, and delete them.
    Seal(BTreeSet<FileKey>),
    /// Nothing: rows may be on their way that cannot be seen yet.
    Wait(WallTime),
    /// Nothing: another run is deleting, or died at it.
    Busy(WallTime),
}

fn next(seen: &Seen<'_>) -> Next {
    let Some((list, written)) = seen.list else { return Next::Mark };
    let still_unused = || list.hashes.intersection(seen.unused).copied().collect();
    match list.phase {
        Phase::Sealed => match ripe(written, ABANDONED) {
            Some(until) if seen.counted < until => Next::Busy(until),
            _ => Next::Seal(still_unused()),
        },
        Phase::Marked if list.hashes.is_empty() => Next::Mark,
        Phase::Marked => match ripe(written, seen.wait) {
            Some(until) if seen.counted < until => Next::Wait(until),
            _ => Next::Seal(still_unused()),
        },
    }
}

/// When a list that was written at a moment has stood for so long.
fn ripe(written: WallTime, after: Duration) -> Option<WallTime> {
    written.saturating_add(jiff::SignedDuration::try_from(after).unwrap_or(jiff::SignedDuration::MAX)).ok()
}

/// What the next list holds: everything unused that is still there.
fn to_mark(unused: &BTreeSet<FileKey>, deleted: &BTreeSet<FileKey>) -> BTreeSet<FileKey> {
    unused.difference(deleted).take(MOST_MARKS).copied().collect()
}

/// How long a marked blob is left alone: for all that can be under way at any owner.
fn wait(needs: impl Iterator<Item = Needs>, grace: Duration) -> Duration {
    needs.map(|needs| needs.wait()).fold(grace, Duration::max)
}

/// Whether the list stood long enough by the store's own clock, which need not go as ours does: from one writing of the list to the next,
/// less the time since the count began. The store tells whole seconds.
fn stood_long_enough(marked: Option<WallTime>, sealed: Option<WallTime>, counting: Duration, least: Duration) -> bool {
    let (Some(marked), Some(sealed)) = (marked, sealed) else { return false };
    let stood = Duration::try_from(sealed.duration_since(marked)).unwrap_or_default() + Duration::from_secs(1);
    stood >= least.saturating_add(counting)
}
