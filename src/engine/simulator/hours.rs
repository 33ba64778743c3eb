//! The time of a world: hours pass only when the world says so, between two events.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, SystemClock, WallTime};

pub(super) const HOUR: Duration = Duration::from_hours(1);

/// The same for all processes and the store.
pub(super) struct Hours {
    begun: Instant,
    passed: AtomicU32,
}

impl Hours {
    pub(super) fn new() -> Self {
        Self { begun: SystemClock.now(), passed: AtomicU32::new(0) }
    }

    pub(super) fn pass(&self, hours: u32) {
        self.passed.fetch_add(hours, Ordering::Relaxed);
    }

    pub(super) fn passed(&self) -> u32 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hours", self.passed())
    }
}

impl Clock for Hours {
    fn wall(&self) -> WallTime {
        WallTime::UNIX_EPOCH + self.now().duration_since(self.begun)
    }

    /// Pauses of the engine go by tokio's clock, which runs ahead whenever all wait.
    fn now(&self) -> Instant {
        SystemClock.now() + HOUR * self.passed()
    }
}
