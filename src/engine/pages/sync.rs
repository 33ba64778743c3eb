//! What the page store synchronises with: plain locks and atomics, or, with `--cfg schedules`, ones of which each use is a point where
//! another thread may go on. `testbench/deep.sh schedules` builds those; no build of the product does.

#[cfg(not(any(miri, schedules)))]
pub(super) use parking_lot::Mutex;
#[cfg(schedules)]
use shuttle::sync;
#[cfg(not(schedules))]
use std::sync;

pub(super) use sync::atomic::AtomicU64;

/// A mutex to examine, with the interface of `parking_lot`, whose own keeps addresses in integers, which Miri's strict provenance forbids.
#[cfg(any(miri, schedules))]
#[derive(Debug, Default)]
pub(super) struct Mutex<T>(sync::Mutex<T>);

#[cfg(any(miri, schedules))]
impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> sync::MutexGuard<'_, T> {
        self.0.lock().expect("a panic ends the test in which it happens")
    }
}
