//! What commits change, for those who listen.
//!
//! The feed of a database is on while somebody listens, and for a while longer: then SQLite tells of each row that it touches, and commits are
//! kept in a ring from which each listener is told by its position.
//! Owns: what the transaction under way has touched, the ring, how many listen. Does not own: when SQLite tells of a row (`vfs/ffi.rs`), what
//! readers see (`pages.rs`), nor which tables are told of (`memory/listening.rs`).
//! Invariants: what is told is never too little. It may be too much: a statement or savepoint that was undone has touched its rows all the
//! same. A commit of which not everything is known begins the ring anew, so nobody goes on behind it without being told. While nobody
//! listens a commit costs one look at a flag.

mod ring;
mod touched;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::pages::Commits;

pub(crate) use ring::{Found, Noted};
pub use ring::{NoPosition, Position};
pub(crate) use touched::{RowKind, Touched};

/// So many may listen to one database.
const MOST_LISTENERS: usize = 100;

/// The feed of one database.
pub(crate) struct Feed {
    is_on: AtomicBool,
    /// Of the transaction under way.
    touched: Mutex<Touched>,
    /// Present while it is on.
    ring: Mutex<Option<ring::Ring>>,
    /// Changed under the ring's lock.
    listeners: watch::Sender<usize>,
    /// Changes when there may be more to tell.
    woken: watch::Sender<()>,
    clock: Arc<dyn Clock>,
    #[cfg(test)]
    rows: std::sync::atomic::AtomicUsize,
}

/// What a commit did besides rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schemas {
    pub(crate) before: u32,
    pub(crate) after: u32,
}

impl Feed {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            is_on: AtomicBool::new(false),
            touched: Mutex::default(),
            ring: Mutex::new(None),
            listeners: watch::Sender::new(0),
            woken: watch::Sender::new(()),
            clock,
            #[cfg(test)]
            rows: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Whether connections that write are to tell of rows. Whoever commits asks after the commit is published: see [`Feed::join`].
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// The transaction under way touches a row.
    pub(crate) fn touch(&self, table: &str, kind: RowKind, rowid: i64) {
        #[cfg(test)]
        self.rows.fetch_add(1, Ordering::Relaxed);
        self.touched.lock().add(table, kind, rowid);
    }

    /// It is over: what it touched and did not commit is as it was.
    pub(crate) fn forget_touched(&self) {
        *self.touched.lock() = Touched::default();
    }

    /// It committed, and these are the commits now. `schemas` is known if the connection told of its rows.
    pub(crate) fn committed(&self, commits: Commits, schemas: Option<Schemas>) {
        if !self.is_on() {
            return;
        }
        let touched = std::mem::take(&mut *self.touched.lock());
        let Some(Schemas { before, after }) = schemas.filter(|_| !touched.is_beyond_bounds()) else { return self.begin_again(commits) };
        let noted = Noted { commits, schema: after, changes_schema: before != after, touched: touched.closed() };
        if noted.touched.is_empty() && !noted.changes_schema {
            return;
        }
        let mut place = self.ring.lock();
        // The first listener may have come between the commit and us: it has seen it.
        let Some(ring) = place.as_mut().filter(|ring| ring.begins() < commits) else { return };
        let is_full = ring.append(noted, self.clock.now());
        if is_full && *self.listeners.borrow() == 0 {
            self.turn_off(&mut place);
        }
        drop(place);
        self.wake();
    }

    /// What these commits changed is not known: another branch, or a connection that does not tell.
    pub(crate) fn begin_again(&self, commits: Commits) {
        let mut place = self.ring.lock();
        let Some(ring) = place.as_mut().filter(|ring| ring.begins() < commits) else { return };
        *ring = ring::Ring::after(fresh(), commits);
        drop(place);
        self.wake();
    }

    /// There may be more to see.
    pub(crate) fn wake(&self) {
        self.woken.send_replace(());
    }

    /// One more listens, and whether the feed was turned on for it: then somebody must [`Feed::keep`] it. `None` if there are too many.
    ///
    /// The flag is set before `newest` asks for the newest commit, under the lock under which commits are published. So whoever publishes a later
    /// one finds it set.
    pub(crate) fn join(self: &Arc<Self>, newest: impl FnOnce() -> Commits) -> Option<(Listening, bool)> {
        let mut place = self.ring.lock();
        let is_one_too_many = !self.listeners.send_if_modified(|count| {
            let has_room = *count < MOST_LISTENERS;
            *count += usize::from(has_room);
            has_room
        });
        if is_one_too_many {
            return None;
        }
        let is_first = place.is_none();
        if is_first {
            self.is_on.store(true, Ordering::Relaxed);
            *place = Some(ring::Ring::after(fresh(), newest()));
        }
        Some((Listening { feed: Arc::clone(self), woken: self.woken.subscribe() }, is_first))
    }

    /// Turns the feed off when nobody has listened for as long as anything may be told.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut listeners = self.listeners.subscribe();
        loop {
            // The sender is ours.
            listeners.wait_for(|count| *count == 0).await.ok();
            let somebody_came = tokio::time::timeout(ring::LONGEST, listeners.wait_for(|count| *count > 0)).await.is_ok();
            let mut place = self.ring.lock();
            if !somebody_came && *self.listeners.borrow() == 0 {
                return self.turn_off(&mut place);
            }
        }
    }

    fn turn_off(&self, place: &mut Option<ring::Ring>) {
        *place = None;
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// The most that may listen.
    pub(crate) const fn most_listeners() -> usize {
        MOST_LISTENERS
    }

    /// How many rows SQLite told of.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }
}

/// One who listens, until it is dropped.
pub(crate) struct Listening {
    feed: Arc<Feed>,
    woken: watch::Receiver<()>,
}

impl Listening {
    /// What is looked at from now on may be told of by [`Listening::woken`].
    pub(crate) fn look(&mut self) {
        self.woken.mark_unchanged();
    }

    /// Returns when there may be more than when it was looked.
    pub(crate) async fn woken(&mut self) {
        // The sender is the feed's.
        self.woken.changed().await.ok();
    }

    /// Where somebody begins who sees these commits.
    pub(crate) fn begin(&self, visible: Commits) -> Option<Position> {
        self.feed.ring.lock().as_ref().map(|ring| ring.position(visible))
    }

    /// Whether all that follows this position is known.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.feed.ring.lock().as_ref().is_some_and(|ring| ring.holds(position))
    }

    /// What follows a position, of what can be seen.
    pub(crate) fn next(&self, position: Position, visible: Commits) -> Found {
        self.feed.ring.lock().as_ref().map_or(Found::Nothing, |ring| ring.next(position, visible))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ring = self.feed.ring.lock();
        self.feed.listeners.send_modify(|count| *count -= 1);
    }
}

/// A number that no other ring has, drawn as hash maps draw their keys.
fn fresh() -> u64 {
    RandomState::new().hash_one(0)
}
