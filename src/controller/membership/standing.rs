//! Until when this process may answer for what it has.
//!
//! Invariant: it is never current for longer than its last renewal granted, counted from the moment before that was sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

/// The part of a lease that is not used: clocks do not go quite alike, and a reply takes time to leave.
const MARGIN: u32 = 10;

/// Answers at the cost of one load.
#[derive(Debug)]
pub(super) struct Standing {
    began: Instant,
    granted: Duration,
    /// Nanoseconds after `began`; zero is never.
    until: AtomicU64,
    /// Whether it was current when somebody looked last.
    told: watch::Sender<bool>,
}

impl Standing {
    pub(super) fn new(clock: &dyn Clock, lease: Duration) -> Self {
        Self {
            began: clock.now(),
            granted: lease.saturating_sub(lease / MARGIN),
            until: AtomicU64::new(0),
            told: watch::Sender::new(false),
        }
    }

    pub(super) fn is_current(&self, now: Instant) -> bool {
        nanoseconds(now - self.began) < self.until.load(Ordering::Acquire)
    }

    /// A renewal that was sent then has arrived.
    pub(super) fn renewed(&self, sent: Instant) {
        self.until.store(nanoseconds(sent - self.began + self.granted), Ordering::Release);
        self.tell(true);
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Release);
        self.tell(false);
    }

    /// How long it is current from now on, if nothing is renewed.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let until = Duration::from_nanos(self.until.load(Ordering::Acquire));
        until.saturating_sub(now - self.began)
    }

    /// Tells whoever waits, if it is news.
    pub(super) fn tell(&self, is_current: bool) {
        self.told.send_if_modified(|told| std::mem::replace(told, is_current) != is_current);
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.told.subscribe()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
