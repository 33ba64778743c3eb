//! Stopping a statement that runs: because it ran too long, or because nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::threads;
use crate::clock::Clock;

/// Says to a running request that nobody waits for it. Clones say it to the same one.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

/// Says so when it is dropped.
pub(crate) struct CancelOnDrop(Cancel);

impl Cancel {
    pub(crate) fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    pub(crate) fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_said(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.say();
    }
}

/// Why a statement was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Deadline,
    Cancelled,
    /// It was to be brief, and was not.
    NotBrief,
}

/// Watches over the statement that runs on a connection.
pub(super) struct Watch {
    clock: Arc<dyn Clock>,
    running: Mutex<Option<Running>>,
    stopped: Mutex<Option<Stop>>,
    /// How often SQLite has asked whether to go on.
    asked: AtomicU32,
    /// What the thread had worked when statements began that must be brief.
    brief: Mutex<Option<Duration>>,
}

/// Steps of SQLite's virtual machine after which it asks whether to go on: some microseconds.
pub(super) const STEPS: i32 = 250;

/// So often a statement is not asked before somebody looks at deadline and cancellation.
const LOOK_EACH: u32 = 4;

/// So often a brief statement may ask, and so long it may work.
const BRIEF_ASKS: u32 = 4;
const BRIEF_WORK: Duration = Duration::from_micros(500);

struct Running {
    /// `None` for one that lies beyond the clock's end.
    deadline: Option<Instant>,
    cancel: Cancel,
}

/// While it lives, what runs must be brief.
pub(crate) struct Brief<'a>(&'a Watch);

impl Brief<'_> {
    /// Whether a statement was stopped because it was not.
    pub(crate) fn is_over(&self) -> bool {
        self.0.stopped() == Some(Stop::NotBrief)
    }
}

impl Drop for Brief<'_> {
    fn drop(&mut self) {
        *self.0.brief.lock() = None;
    }
}

/// Time that does not count.
pub(crate) struct Pause<'a> {
    watch: &'a Watch,
    since: Instant,
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.watch.postpone(self.watch.clock.now().saturating_duration_since(self.since));
    }
}

impl Watch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, running: Mutex::new(None), stopped: Mutex::new(None), asked: AtomicU32::new(0), brief: Mutex::new(None) }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn begin(&self, timeout: Duration, cancel: Cancel) {
        *self.stopped.lock() = None;
        *self.running.lock() = Some(Running { deadline: self.clock.now().checked_add(timeout), cancel });
    }

    /// What begins from now on must be brief, or is stopped.
    pub(super) fn briefly(&self, worked: Duration) -> Brief<'_> {
        self.asked.store(0, Ordering::Relaxed);
        *self.stopped.lock() = None;
        *self.brief.lock() = Some(worked);
        Brief(self)
    }

    pub(super) fn end(&self) {
        *self.running.lock() = None;
    }

    /// The deadline moves by the time until what is returned is dropped.
    pub(super) fn pause(&self) -> Pause<'_> {
        Pause { watch: self, since: self.clock.now() }
    }

    /// Called by SQLite while a statement runs. Others may run meanwhile; the deadline stands still then.
    pub(super) fn must_stop(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(begun) = *self.brief.lock() {
            let is_over = asked >= BRIEF_ASKS || self.clock.worked().saturating_sub(begun) >= BRIEF_WORK;
            if is_over {
                *self.stopped.lock() = Some(Stop::NotBrief);
            }
            return is_over;
        }
        if !asked.is_multiple_of(LOOK_EACH) {
            return false;
        }
        let now = self.clock.now();
        let stop = match &*self.running.lock() {
            Some(running) if running.cancel.is_said() => Some(Stop::Cancelled),
            Some(Running { deadline: Some(deadline), .. }) if now >= *deadline => Some(Stop::Deadline),
            _ => None,
        };
        if stop.is_some() {
            *self.stopped.lock() = stop;
            return true;
        }
        let waited = threads::let_others_go_first(now, &*self.clock);
        if waited > Duration::ZERO {
            self.postpone(waited);
        }
        false
    }

    fn postpone(&self, time: Duration) {
        if let Some(running) = &mut *self.running.lock() {
            running.deadline = running.deadline.and_then(|deadline| deadline.checked_add(time));
        }
    }

    /// Why the last statement was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<Stop> {
        *self.stopped.lock()
    }
}
