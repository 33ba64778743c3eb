//! Time, as something that is handed in: the real clock, and one that tests move by hand.
//!
//! Owns: the only calls of the system's clocks in the engine. Decisions take times as arguments and never call this.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// A moment on the wall, for people and for objects' metadata. Never used to decide who may write.
pub type WallTime = jiff::Timestamp;

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time on the wall.
    fn wall(&self) -> WallTime;
    /// The monotonic time. Under tokio's paused clock it stands still until a test moves it.
    fn now(&self) -> Instant;
    /// How long the calling thread has worked: time in which it waits for something, or others have its core, does not count. A clock
    /// that tests move tells of no work.
    fn worked(&self) -> Duration {
        Duration::ZERO
    }
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn wall(&self) -> WallTime {
        WallTime::now()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn worked(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default()
    }
}
