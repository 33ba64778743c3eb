//! When the next delta is due, and the next snapshot. Pure: commits, answers and the time go in, a moment comes out.
//!
//! Invariant: nothing to save means no moment at all, so that an idle database costs no timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Durability, Mode, SnapshotPolicy};
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
    /// Since the last success.
    pub(crate) failures: Failures,
}

/// Failed tries in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Failures {
    attempts: u32,
    /// When the last of them ended.
    last: Option<Instant>,
}

impl Failures {
    pub(crate) fn add(&mut self, now: Instant) {
        *self = Self { attempts: self.attempts.saturating_add(1), last: Some(now) };
    }

    pub(crate) fn are_none(&self) -> bool {
        self.last.is_none()
    }

    /// When to try again, if anything failed.
    pub(crate) fn again(&self) -> Option<Instant> {
        self.again_within(LONGEST_RETRY)
    }

    /// The same with another longest wait.
    fn again_within(&self, longest: Duration) -> Option<Instant> {
        Some(self.last? + backoff(self.attempts).min(longest))
    }
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

    /// When to upload next, if a commit may wait so long.
    pub(crate) fn next(&self, interval: Duration) -> Next {
        let Some(dirty_since) = self.dirty_since else { return Next::Idle };
        // A store that is away for a second must not cost a whole interval of lag, hence retries do not wait for it.
        let again = self.failures.again_within(interval.max(FIRST_RETRY));
        Next::At(again.unwrap_or(dirty_since + interval))
    }

    /// An upload succeeded.
    pub(crate) fn succeeded(&mut self, up_to: Commits, newest: Commits, begun: Instant) {
        self.durable = Some(up_to);
        self.failures = Failures::default();
        // What was committed while the upload ran is at most as old as its beginning.
        self.dirty_since = self.is_dirty(newest).then_some(begun);
    }

    /// An upload failed and may be tried again.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.failures.add(now);
    }
}

/// What is known of the snapshots of one database: the plain files at `<key>`, which follow the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Copies {
    /// What the newest does not hold.
    behind: Option<Behind>,
    /// The same, while one is on its way that does.
    on_its_way: Option<Behind>,
    last_begun: Option<Instant>,
    failures: Failures,
}

/// Deltas that are in no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Behind {
    since: Instant,
    bytes: u64,
}

impl Behind {
    fn and(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self { since: self.since.min(other.since), bytes: self.bytes.saturating_add(other.bytes) })
    }
}

impl Copies {
    /// `<key>` is not what it should be.
    pub(crate) fn astray(now: Instant) -> Self {
        Self { behind: Some(Behind { since: now, bytes: u64::MAX }), ..Self::default() }
    }

    /// A delta of so many bytes arrived.
    pub(crate) fn went_on(&mut self, bytes: u64, now: Instant) {
        self.behind = Some(Behind { since: now, bytes }.and(self.behind));
    }

    /// When the next is due of a database of so many bytes.
    pub(crate) fn next(&self, durability: &Durability, size: u64) -> Next {
        if let Some(again) = self.failures.again() {
            return Next::At(again);
        }
        let Some(behind) = self.behind else { return Next::Idle };
        match durability.mode {
            Mode::Snapshot => Next::At(behind.since),
            Mode::Stream | Mode::Sync if behind.bytes > size / 2 => Next::At(behind.since),
            Mode::Stream | Mode::Sync => Next::At(behind.since + durability.snapshot_interval),
        }
    }

    /// Whether an unforced request to flush comes too soon after the last snapshot.
    pub(crate) fn is_debounced(&self, policy: &SnapshotPolicy, now: Instant) -> bool {
        self.last_begun.is_some_and(|last| now.saturating_duration_since(last) < policy.min_interval)
    }

    /// One begins that holds everything so far.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.last_begun = Some(now);
        self.on_its_way = match self.behind.take() {
            Some(behind) => Some(behind.and(self.on_its_way)),
            None => self.on_its_way,
        };
    }

    /// The same one is sent again. What came since is not in it.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.last_begun = Some(now);
    }

    /// It is there.
    pub(crate) fn succeeded(&mut self) {
        self.on_its_way = None;
        self.failures = Failures::default();
    }

    /// Nobody knows whether it is, and the same one is sent again.
    pub(crate) fn unclear(&mut self, now: Instant) {
        self.failures.add(now);
    }

    /// It is not.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.unclear(now);
        self.behind = match self.on_its_way.take() {
            Some(behind) => Some(behind.and(self.behind)),
            None => self.behind,
        };
    }

    /// Whether the last tries failed.
    pub(crate) fn is_failing(&self) -> bool {
        !self.failures.are_none()
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

    const INTERVAL: Duration = Duration::from_mins(1);

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
        assert_eq!(progress.next(INTERVAL), Next::Idle);
    }

    #[test]
    fn a_commit_is_saved_one_interval_after_it_was_made() {
        let mut progress = Progress { durable: Some(Commits(7)), ..Progress::default() };
        progress.observe(Commits(8), after(10));
        progress.observe(Commits(9), after(30));
        assert_eq!(progress.next(INTERVAL), Next::At(after(70)));
    }

    #[test]
    fn a_database_that_began_empty_is_dirty_before_its_first_commit() {
        let mut progress = Progress::default();
        progress.observe(Commits(0), after(0));
        assert_eq!(progress.next(INTERVAL), Next::At(after(60)));
    }

    #[test]
    fn commits_made_during_an_upload_count_from_its_beginning() {
        let mut progress = Progress { durable: Some(Commits(1)), ..Progress::default() };
        progress.observe(Commits(2), after(0));
        progress.succeeded(Commits(2), Commits(3), after(60));
        assert_eq!(progress.next(INTERVAL), Next::At(after(120)));
        progress.succeeded(Commits(3), Commits(3), after(120));
        assert_eq!(progress.next(INTERVAL), Next::Idle);
    }

    #[test]
    fn failures_are_tried_again_sooner_than_an_interval_and_ever_more_slowly() {
        let mut progress = Progress { durable: Some(Commits(1)), ..Progress::default() };
        progress.observe(Commits(2), after(0));
        let mut waits = Vec::new();
        for _ in 0..9 {
            progress.failed(after(100));
            let Next::At(at) = progress.next(INTERVAL) else { panic!("a failed upload is tried again") };
            waits.push(at.duration_since(after(100)).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        progress.succeeded(Commits(2), Commits(2), after(200));
        assert!(progress.failures.are_none());
    }

    #[test]
    fn a_manual_flush_is_debounced_by_the_last_snapshot_whatever_asked_for_it() {
        let policy = SnapshotPolicy { interval: INTERVAL, min_interval: Duration::from_secs(5), keep_previous: true };
        let mut copies = Copies::default();
        assert!(!copies.is_debounced(&policy, after(0)));
        copies.begin(after(10));
        assert!(copies.is_debounced(&policy, after(14)));
        assert!(!copies.is_debounced(&policy, after(15)));
    }

    #[test]
    fn a_snapshot_follows_each_delta_or_half_the_size_or_an_interval() {
        let (each, stream) = (Durability::by_snapshots(), Durability::default());
        let mut copies = Copies::default();
        assert_eq!((copies.next(&each, 100), copies.next(&stream, 100)), (Next::Idle, Next::Idle));
        copies.went_on(30, after(1));
        copies.went_on(20, after(2));
        assert_eq!((copies.next(&each, 100), copies.next(&stream, 100)), (Next::At(after(1)), Next::At(after(3601))));
        copies.went_on(1, after(3));
        assert_eq!(copies.next(&stream, 100), Next::At(after(1)), "more than half of its size");
        assert_eq!(Copies::astray(after(9)).next(&stream, 100), Next::At(after(9)));
    }

    #[test]
    fn what_a_failed_snapshot_should_have_held_stays_behind() {
        let stream = Durability::default();
        let mut copies = Copies::default();
        copies.went_on(50, after(1));
        copies.begin(after(2));
        assert_eq!(copies.next(&stream, 100), Next::Idle);
        copies.went_on(1, after(3));
        copies.failed(after(4));
        assert_eq!(copies.next(&stream, 100), Next::At(after(5)), "a second later");
        copies.begin(after(5));
        copies.went_on(7, after(6));
        copies.succeeded();
        assert_eq!(copies.next(&stream, 100), Next::At(after(3606)), "what came while it was on its way");
    }
}
