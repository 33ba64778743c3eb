//! How far the bucket is, for those who wait for it.
//!
//! Owns: the newest commit that is in the bucket, and how long an answer waits for one. Does not own: how it comes there (`flusher.rs`).
//! Invariant: what was in the bucket once is there for good, so the mark never goes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::memory::Commits;

/// How long an answer waits for the bucket, before it says that nobody knows.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why nobody knows whether a commit is in the bucket, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("the bucket did not confirm it within {} s", LONGEST_WAIT.as_secs())]
    Slow,
    #[error("the database is not served here any more, and the bucket had not confirmed it before")]
    Over,
}

/// The marks of one database.
pub(crate) struct Durable {
    /// Every answer waits until what it tells of is in the bucket.
    is_promised: AtomicBool,
    reached: watch::Sender<Reached>,
    /// Somebody waits for everything up to here.
    wanted: watch::Sender<Commits>,
}

#[derive(Debug, Clone, Copy)]
struct Reached {
    /// Everything up to here is in the bucket.
    commits: Commits,
    /// Nothing more comes there from here.
    is_over: bool,
}

impl Durable {
    /// Of a database that holds what is in the bucket.
    pub(crate) fn at(commits: Commits) -> Self {
        let reached = watch::Sender::new(Reached { commits, is_over: false });
        Self { is_promised: AtomicBool::new(false), reached, wanted: watch::Sender::new(commits) }
    }

    /// Whether every answer waits until what it tells of is in the bucket. Asked with each request, so it takes no lock.
    pub(crate) fn is_promised(&self) -> bool {
        self.is_promised.load(Ordering::Relaxed)
    }

    /// From now on they do, or do not.
    pub(crate) fn promise(&self, is_promised: bool) {
        self.is_promised.store(is_promised, Ordering::Relaxed);
    }

    /// Everything up to here is in the bucket.
    pub(crate) fn reach(&self, commits: Commits) {
        self.reached.send_if_modified(|reached| raise(&mut reached.commits, commits));
    }

    /// Nothing more will come there from here.
    pub(crate) fn end(&self) {
        self.reached.send_modify(|reached| reached.is_over = true);
    }

    /// Whether somebody waits for what is not there.
    pub(crate) fn is_awaited(&self) -> bool {
        self.reached.borrow().commits < *self.wanted.borrow()
    }

    /// What somebody waits for, for whoever brings it there.
    pub(crate) fn wanted(&self) -> watch::Receiver<Commits> {
        self.wanted.subscribe()
    }

    /// Waits until everything up to `commits` is in the bucket.
    pub(crate) async fn reached(&self, commits: Commits) -> Result<(), Unknown> {
        if self.reached.borrow().commits >= commits {
            return Ok(());
        }
        self.wanted.send_if_modified(|wanted| raise(wanted, commits));
        let mut seen = self.reached.subscribe();
        let known = seen.wait_for(|reached| reached.commits >= commits || reached.is_over);
        match tokio::time::timeout(LONGEST_WAIT, known).await {
            Ok(Ok(reached)) if reached.commits >= commits => Ok(()),
            // The sender is ours.
            Ok(_) => Err(Unknown::Over),
            Err(_) => Err(Unknown::Slow),
        }
    }
}

/// Whether that raised it.
fn raise(mark: &mut Commits, to: Commits) -> bool {
    let is_higher = *mark < to;
    *mark = to.max(*mark);
    is_higher
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
        assert_eq!(durable.reached(Commits(9)).await, Ok(()), "that was there before");
    }
}
