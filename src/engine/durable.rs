//! How far the bucket is, for those who wait for it.
//!
//! Owns: the newest commit that is in the bucket, and how long an answer waits for one. Does not own: how it comes there (`flusher.rs`).
//! Invariant: what was in the bucket once is there for good, so the mark never goes back.

use std::time::Duration;

use tokio::sync::watch;

use crate::memory::Commits;

/// How long an answer waits for the bucket, before it says that nobody knows.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why nobody knows whether a commit is in the bucket, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("the bucket did not confirm it within {} s; it is committed in memory, and may or may not be in the bucket later: read whether it is there before you do it again", LONGEST_WAIT.as_secs())]
    Slow,
    #[error(
        "the database is not served here any more, and its bucket did not confirm it before; it may or may not be there: read whether it is before you do it again"
    )]
    Over,
}

/// The marks of one database.
pub(crate) struct Durable {
    /// Everything up to here is in the bucket. Gone when nobody brings anything there any more.
    reached: watch::Sender<Option<Commits>>,
    /// Somebody waits for everything up to here.
    wanted: watch::Sender<Commits>,
}

impl Durable {
    /// Of a database that holds what is in the bucket.
    pub(crate) fn at(commits: Commits) -> Self {
        Self { reached: watch::Sender::new(Some(commits)), wanted: watch::Sender::new(commits) }
    }

    /// Everything up to here is in the bucket.
    pub(crate) fn reach(&self, commits: Commits) {
        self.reached.send_if_modified(|reached| match reached {
            Some(before) if *before < commits => {
                *before = commits;
                true
            }
            _ => false,
        });
    }

    /// Nothing more will come there from here.
    pub(crate) fn end(&self) {
        self.reached.send_replace(None);
    }

    /// Whether somebody waits for what is not there.
    pub(crate) fn is_awaited(&self) -> bool {
        self.reached.borrow().is_some_and(|reached| reached < *self.wanted.borrow())
    }

    /// What somebody waits for, for whoever brings it there.
    pub(crate) fn wanted(&self) -> watch::Receiver<Commits> {
        self.wanted.subscribe()
    }

    /// Waits until everything up to `commits` is in the bucket.
    pub(crate) async fn reached(&self, commits: Commits) -> Result<(), Unknown> {
        let is_there = |reached: &Option<Commits>| reached.is_none_or(|reached| reached >= commits);
        if !is_there(&self.reached.borrow()) {
            self.wanted.send_if_modified(|wanted| *wanted < commits && std::mem::replace(wanted, commits) < commits);
        }
        let mut seen = self.reached.subscribe();
        match tokio::time::timeout(LONGEST_WAIT, seen.wait_for(is_there)).await {
            Ok(Ok(reached)) => reached.map(drop).ok_or(Unknown::Over),
            // The sender is ours.
            Ok(Err(_)) => Err(Unknown::Over),
            Err(_) => Err(Unknown::Slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_told_when_it_is_there_or_that_nobody_knows() {
        let durable = Durable::at(Commits(7));
        assert_eq!(durable.reached(Commits(7)).await, Ok(()));
        assert_eq!(durable.reached(Commits(8)).await, Err(Unknown::Slow));
        assert_eq!(*durable.wanted().borrow(), Commits(8), "whoever brings it there knows that it is waited for");
        let (waited, ()) = tokio::join!(durable.reached(Commits(9)), async { durable.reach(Commits(9)) });
        assert_eq!(waited, Ok(()));
        durable.reach(Commits(8));
        assert_eq!(durable.reached(Commits(9)).await, Ok(()), "it does not go back");
        let (waited, ()) = tokio::join!(durable.reached(Commits(10)), async { durable.end() });
        assert_eq!(waited, Err(Unknown::Over));
        assert_eq!(durable.reached(Commits(9)).await, Err(Unknown::Over));
    }
}
