//! When the next snapshot is due. Pure: commits, answers and the time go in, a moment comes out.
//!
//! Invariant: nothing to save means no moment at all, so that an idle database costs no timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::SnapshotPolicy;
use crate::memory::Commits;

/// The wait after the first failed upload; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// What is known of the uploads of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Everything up to here is in the bucket; `None` while there is nothing of ours.
    pub(crate) durable: Option<Commits>,
    /// When the oldest commit that is not in the bucket was noticed.
    pub(crate) dirty_since: Option<Instant>,
    /// When an upload last began.
    pub(crate) last_begun: Option<Instant>,
    /// Failed tries since the last success, and when the last of them ended.
    pub(crate) failed: Option<(u32, Instant)>,
    /// Somebody else writes at our place.
    pub(crate) conflict: bool,
}

/// What the flusher waits for besides commits and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: there is nothing to save, or no way to save it.
    Idle,
    /// An upload at this moment.
    At(Instant),
}

impl Progress {
    /// Whether there is something that is not in the bucket.
    pub(crate) fn is_dirty(&self, newest: Commits) -> bool {
        self.durable != Some(newest)
    }

    /// Takes note of what the memory holds now.
    pub(crate) fn observe(&mut self, newest: Commits, now: Instant) {
        if !self.is_dirty(newest) {
            self.dirty_since = None;
        } else if self.dirty_since.is_none() {
            self.dirty_since = Some(now);
        }
    }

    /// When to upload next.
    pub(crate) fn next(&self, policy: &SnapshotPolicy) -> Next {
        let Some(dirty_since) = self.dirty_since else { return Next::Idle };
        if self.conflict {
            return Next::Idle;
        }
        match self.failed {
            // A store that is away for a second must not cost a whole interval of lag, hence retries do not wait for it.
            Some((attempts, at)) => Next::At(at + backoff(attempts).min(policy.interval.max(FIRST_RETRY))),
            None => Next::At(dirty_since + policy.interval),
        }
    }

    /// Whether an unforced request to flush comes too soon after the last flush of any kind.
    pub(crate) fn is_debounced(&self, policy: &SnapshotPolicy, now: Instant) -> bool {
        self.last_begun.is_some_and(|last| now.saturating_duration_since(last) < policy.min_interval)
    }

    /// An upload succeeded.
    pub(crate) fn succeeded(&mut self, up_to: Commits, newest: Commits, begun: Instant) {
        self.durable = Some(up_to);
        self.failed = None;
        // What was committed while the upload ran is at most as old as its beginning.
        self.dirty_since = self.is_dirty(newest).then_some(begun);
    }

    /// An upload failed and may be tried again.
    pub(crate) fn failed(&mut self, now: Instant) {
        let attempts = self.failed.map_or(0, |(attempts, _)| attempts);
        self.failed = Some((attempts.saturating_add(1), now));
    }
}

/// How long to wait after so many failures in a row.
fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: SnapshotPolicy =
        SnapshotPolicy { interval: Duration::from_mins(1), min_interval: Duration::from_secs(5), keep_previous: true };

    fn start() -> Instant {
        Instant::from_std(std::sync::LazyLock::force(&ORIGIN).to_owned())
    }

    #[allow(clippy::disallowed_methods, reason = "any fixed moment will do")]
    static ORIGIN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);

    fn after(seconds: u64) -> Instant {
        start() + Duration::from_secs(seconds)
    }

    #[test]
    fn an_idle_database_waits_for_no_moment() {
        let mut progress = Progress { durable: Some(Commits(7)), ..Progress::default() };
        progress.observe(Commits(7), after(0));
        assert_eq!(progress.next(&POLICY), Next::Idle);
    }

    #[test]
    fn a_commit_is_saved_one_interval_after_it_was_made() {
        let mut progress = Progress { durable: Some(Commits(7)), ..Progress::default() };
        progress.observe(Commits(8), after(10));
        progress.observe(Commits(9), after(30));
        assert_eq!(progress.next(&POLICY), Next::At(after(70)));
    }

    #[test]
    fn a_database_that_began_empty_is_dirty_before_its_first_commit() {
        let mut progress = Progress::default();
        progress.observe(Commits(0), after(0));
        assert_eq!(progress.next(&POLICY), Next::At(after(60)));
    }

    #[test]
    fn commits_made_during_an_upload_count_from_its_beginning() {
        let mut progress = Progress { durable: Some(Commits(1)), ..Progress::default() };
        progress.observe(Commits(2), after(0));
        progress.succeeded(Commits(2), Commits(3), after(60));
        assert_eq!(progress.next(&POLICY), Next::At(after(120)));
        progress.succeeded(Commits(3), Commits(3), after(120));
        assert_eq!(progress.next(&POLICY), Next::Idle);
    }

    #[test]
    fn failures_are_tried_again_sooner_than_an_interval_and_ever_more_slowly() {
        let mut progress = Progress { durable: Some(Commits(1)), ..Progress::default() };
        progress.observe(Commits(2), after(0));
        let mut waits = Vec::new();
        for _ in 0..9 {
            progress.failed(after(100));
            let Next::At(at) = progress.next(&POLICY) else { panic!("a failed upload is tried again") };
            waits.push(at.duration_since(after(100)).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        progress.succeeded(Commits(2), Commits(2), after(200));
        assert_eq!(progress.failed, None);
    }

    #[test]
    fn a_conflict_ends_all_uploads() {
        let mut progress = Progress { conflict: true, ..Progress::default() };
        progress.observe(Commits(2), after(0));
        assert_eq!(progress.next(&POLICY), Next::Idle);
    }

    #[test]
    fn a_manual_flush_is_debounced_by_the_last_flush_of_any_kind() {
        let progress = Progress { last_begun: Some(after(10)), ..Progress::default() };
        assert!(progress.is_debounced(&POLICY, after(14)));
        assert!(!progress.is_debounced(&POLICY, after(15)));
        assert!(!Progress::default().is_debounced(&POLICY, after(0)));
    }
}
