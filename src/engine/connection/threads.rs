//! The threads on which SQLite runs: so many statements at once, which take turns when more want to.
//!
//! A statement that has run for a slice of time goes to the end of the queue if others wait, so that no statement keeps others, of whatever
//! database, from running: it takes its time without them.
//! Between slices it gives its core up each half millisecond, for whoever waits for that: the threads on which all requests begin and end.
//! Invariant: at most so many threads run SQLite as there are places, whatever waits, besides those that run what is brief.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::vfs;

/// How long a statement runs before it lets others go first.
const SLICE: Duration = Duration::from_millis(5);

/// How long a thread works before it lets the system run others. By itself the system lets it work for some milliseconds, whoever wakes.
const YIELD_AFTER: Duration = Duration::from_micros(500);

/// The places.
#[derive(Debug, Clone)]
pub(crate) struct Threads {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[allow(dead_code, reason = "it is held")] OwnedSemaphorePermit);

thread_local! {
    /// What runs on this thread.
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

struct Running {
    threads: Threads,
    place: Option<Place>,
    since: Instant,
    /// When this thread let the system run others last.
    yielded: Instant,
    runtime: Handle,
}

impl Threads {
    pub(crate) fn new(places: NonZeroUsize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.get())), waiting: Arc::default() }
    }

    /// Waits for a place; whoever asks first gets one first.
    pub(crate) async fn place(&self) -> Place {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Place(permit);
        }
        let _waiting = Waiting::among(&self.waiting);
        Place(Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore"))
    }

    /// Runs `work` in this place, on a thread that may block.
    pub(crate) fn run<T>(&self, place: Place, now: Instant, runtime: Handle, work: impl FnOnce() -> T) -> T {
        vfs::forget_seen();
        let running = Running { threads: self.clone(), place: Some(place), since: now, yielded: now, runtime };
        let before = RUNNING.replace(Some(running));
        // Also when a panic goes through.
        let _end = End(before);
        work()
    }
}

/// Gives the place of this thread's work away, if it has one: it waits for something else.
pub(crate) fn leave() {
    RUNNING.with_borrow_mut(|running| drop(running.as_mut().and_then(|running| running.place.take())));
}

/// Goes on in this place.
pub(crate) fn go_on(place: Place, now: Instant) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(running) = running {
            (running.place, running.since) = (Some(place), now);
        }
    });
}

/// Lets others go first, if they wait and this thread's work has run for a slice; returns how long that took. Blocks until it may go on.
pub(super) fn let_others_go_first(now: Instant, clock: &dyn Clock) -> Duration {
    RUNNING.with_borrow_mut(|running| {
        let Some(running) = running else { return Duration::ZERO };
        if now.saturating_duration_since(running.yielded) >= YIELD_AFTER {
            std::thread::yield_now();
            running.yielded = clock.now();
        }
        let is_due = now.saturating_duration_since(running.since) >= SLICE;
        if !is_due || running.place.is_none() || running.threads.waiting.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        running.place = None;
        running.place = Some(running.runtime.block_on(running.threads.place()));
        running.since = clock.now();
        running.since.saturating_duration_since(now)
    })
}

/// Puts back what ran on the thread before.
struct End(Option<Running>);

impl Drop for End {
    fn drop(&mut self) {
        let ended = RUNNING.replace(self.0.take());
        drop(ended);
    }
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn whoever_has_run_for_a_slice_lets_others_go_first_and_goes_on() {
        let threads = Threads::new(NonZeroUsize::MIN);
        let place = threads.place().await;
        let (others, mine) = (threads.clone(), threads.clone());
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        let (runtime, tell) = (Handle::current(), done.clone());
        let (begins, has_begun) = tokio::sync::oneshot::channel();
        let long = tokio::task::spawn_blocking(move || {
            let begun = SystemClock.now();
            mine.run(place, begun, runtime, || {
                let_others_go_first(begun + SLICE, &SystemClock);
                assert_eq!(mine.places.available_permits(), 0, "nobody waits");
                begins.send(()).unwrap();
                while mine.waiting.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                let_others_go_first(begun, &SystemClock);
                assert_eq!(mine.waiting.load(Ordering::Relaxed), 1, "its slice is not over");
                let_others_go_first(begun + SLICE, &SystemClock);
                tell.send("long").unwrap();
            });
        });
        has_begun.await.unwrap();
        let place = others.place().await;
        done.send("short").unwrap();
        drop(place);
        long.await.unwrap();
        assert_eq!((order.recv().await, order.recv().await), (Some("short"), Some("long")));
    }

    #[tokio::test]
    async fn a_place_is_free_when_its_work_is_over_or_waits_for_something_else() {
        let threads = Threads::new(NonZeroUsize::MIN);
        let place = threads.place().await;
        let (runtime, mine) = (Handle::current(), threads.clone());
        let work = tokio::task::spawn_blocking(move || {
            mine.run(place, SystemClock.now(), runtime.clone(), || {
                assert_eq!(mine.places.available_permits(), 0);
                leave();
                let again = runtime.block_on(mine.place());
                go_on(again, SystemClock.now());
                assert_eq!(mine.places.available_permits(), 0);
            });
        });
        work.await.unwrap();
        assert_eq!(threads.places.available_permits(), 1);
    }
}
