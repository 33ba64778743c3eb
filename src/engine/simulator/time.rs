//! The time of a world. It stands still while anybody does anything, and passes only when the world says so.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::clock::{Clock, SystemClock, WallTime};

pub(super) const HOUR: Duration = Duration::from_hours(1);

/// Tokio's paused clock, and what hangs on one wall.
pub(super) struct Time {
    begun: Instant,
    /// How far the wall's clock is wrong.
    ahead: AtomicI64,
}

impl Time {
    pub(super) fn new() -> Self {
        Self { begun: SystemClock.now(), ahead: AtomicI64::new(0) }
    }

    /// Another wall of the same world.
    pub(super) fn elsewhere(&self) -> Self {
        Self { begun: self.begun, ahead: AtomicI64::new(0) }
    }

    /// Somebody sets the clock on this wall.
    pub(super) fn jump(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    /// By how many seconds the clock on this wall is wrong.
    pub(super) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Since the world began.
    pub(super) fn passed(&self) -> Duration {
        self.now().duration_since(self.begun)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.passed())
    }
}

impl Clock for Time {
    fn wall(&self) -> WallTime {
        // Nobody lives before the epoch.
        let begun = WallTime::UNIX_EPOCH + SignedDuration::from_hours(24 * 365);
        begun + self.passed() + SignedDuration::from_secs(self.ahead())
    }

    fn now(&self) -> Instant {
        SystemClock.now()
    }
}
