//! Past states that are being read: each is restored once, and shared by all who ask for it.
//!
//! Owns: which of them are in memory, how long after their last use, and what they may take together. Does not own: how a state is put together
//! (`past.rs`), nor what one answers (`shown.rs`).
//! Invariant: what they take together is counted until the last who reads them is gone, not only while they are kept for others; whatever nobody
//! reads makes room for what somebody asks for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{Clock, WallTime};
use crate::database::Database;
use crate::head::Epoch;
use crate::names::{BranchName, DatabaseName};
use crate::past::Point;
use crate::tasks::spawn_owned;

/// How long a state is kept that nobody reads.
const IDLE: Duration = Duration::from_mins(5);

/// The past states of all databases.
pub(crate) struct Pasts {
    /// What they may take together, in bytes.
    limit: u64,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Vec<Kept>,
    /// Of these, and of those that somebody still reads.
    taken: u64,
    /// Runs while any are kept.
    sweeper: Option<AbortOnDropHandle<()>>,
}

/// One tenure over a branch, during which numbers and moments keep their meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) database: DatabaseName,
    pub(crate) branch: BranchName,
    pub(crate) epoch: Epoch,
}

struct Kept {
    line: Line,
    txid: u64,
    /// The first and the last moment of which somebody found that it means this state; so do those between them.
    moments: Option<(WallTime, WallTime)>,
    used: Instant,
    database: Database,
}

impl Kept {
    fn is(&self, line: &Line, point: Point) -> bool {
        let is_meant = match point {
            Point::Newest => false,
            Point::Txid(txid) => self.txid == txid,
            Point::At(at) => self.moments.is_some_and(|(first, last)| (first..=last).contains(&at)),
        };
        is_meant && self.line == *line
    }
}

/// What past states take, in bytes, of how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    pub(crate) free: u64,
    pub(crate) limit: u64,
}

impl Pasts {
    pub(crate) fn new(limit: u64, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { limit, clock, state: Mutex::default() })
    }

    /// The state that is meant, if it is here.
    pub(crate) fn find(&self, line: &Line, point: Point) -> Option<Database> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let kept = state.kept.iter_mut().find(|kept| kept.is(line, point))?;
        kept.used = now;
        Some(kept.database.clone())
    }

    /// Keeps a state for others who ask for it.
    pub(crate) fn keep(self: &Arc<Self>, line: Line, txid: u64, database: Database) {
        let mut state = self.state.lock();
        state.kept.push(Kept { line, txid, moments: None, used: self.clock.now(), database });
        if state.sweeper.is_none() {
            state.sweeper = Some(spawn_owned(sweep(Arc::downgrade(self))));
        }
    }

    /// This moment means this state, and always will.
    pub(crate) fn settle(&self, line: &Line, txid: u64, at: WallTime) {
        let mut state = self.state.lock();
        if let Some(kept) = state.kept.iter_mut().find(|kept| kept.is(line, Point::Txid(txid))) {
            kept.moments = Some(kept.moments.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
    }

    /// Keeps nothing of a tenure that ended.
    pub(crate) fn forget(&self, line: &Line) {
        let gone: Vec<_> = self.state.lock().kept.extract_if(.., |kept| kept.line == *line).collect();
        // Outside the lock: each gives its room back.
        drop(gone);
    }

    /// Room for so many bytes. What nobody reads makes way, that which was not used for longest first.
    pub(crate) fn room(self: &Arc<Self>, bytes: u64) -> Result<Room, NoRoom> {
        let mut room = Room { pasts: Arc::downgrade(self), bytes: 0 };
        room.resize(bytes)?;
        Ok(room)
    }

    /// How many are here, and what they take in bytes.
    pub(crate) fn usage(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.kept.len(), state.taken)
    }

    /// Drops what was idle for too long. Returns when to look again.
    fn expire(&self) -> Option<Instant> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        for kept in state.kept.iter_mut().filter(|kept| kept.database.is_shared()) {
            kept.used = now;
        }
        let gone: Vec<_> = state.kept.extract_if(.., |kept| kept.used + IDLE <= now).collect();
        let next = state.kept.iter().map(|kept| kept.used + IDLE).min();
        if next.is_none() {
            state.sweeper = None;
        }
        drop(state);
        drop(gone);
        next
    }
}

/// Ends with the last that is kept, or with their owner.
async fn sweep(pasts: Weak<Pasts>) {
    loop {
        let Some(next) = pasts.upgrade().and_then(|pasts| pasts.expire()) else { return };
        tokio::time::sleep_until(next).await;
    }
}

/// What one past state takes, until it is dropped.
pub(crate) struct Room {
    pasts: Weak<Pasts>,
    bytes: u64,
}

impl Room {
    /// It takes so many.
    pub(crate) fn resize(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let Some(pasts) = self.pasts.upgrade() else { return Ok(()) };
        loop {
            let least_used = {
                let mut state = pasts.state.lock();
                let others = state.taken - self.bytes;
                let free = pasts.limit.saturating_sub(others);
                if bytes <= free {
                    state.taken = others + bytes;
                    self.bytes = bytes;
                    return Ok(());
                }
                let unused = state.kept.iter().enumerate().filter(|(_, kept)| !kept.database.is_shared());
                let Some((place, _)) = unused.min_by_key(|(_, kept)| kept.used) else { return Err(NoRoom { free, limit: pasts.limit }) };
                state.kept.swap_remove(place)
            };
            // Outside the lock: it gives its room back.
            drop(least_used);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(pasts) = self.pasts.upgrade() {
            pasts.state.lock().taken -= self.bytes;
        }
    }
}
