//! Memory for results that are collected before they are sent, bounded over all requests of the process.
//!
//! Invariant: what is held is given back when the last [`Holding`] of it is dropped, whatever became of the request.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{SqlError, SqlErrorKind};

/// What is taken at once, in bytes. A result of less takes nothing: there are as many of those as requests, which are bounded.
const UNIT: u64 = 64 << 10;

/// All of it.
#[derive(Debug, Clone)]
pub struct ResultMemory {
    units: Arc<Semaphore>,
    count: usize,
}

/// What one database may take of it: half, so that its clients, who may read slowly, leave room to others.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// The part of one request. Clones hold the same part.
#[derive(Debug, Clone)]
pub struct Holding {
    share: Share,
    size: u64,
    /// How many units are held.
    units: u64,
    held: Vec<Arc<[OwnedSemaphorePermit; 2]>>,
}

impl ResultMemory {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        let count = usize::try_from(bytes / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(count)), count }
    }

    /// That of a database.
    pub(crate) fn share(&self) -> Share {
        Share { all: Arc::clone(&self.units), own: Arc::new(Semaphore::new(self.count / 2)) }
    }
}

impl Share {
    /// For a request that begins.
    pub(crate) fn hold(&self) -> Holding {
        Holding { share: self.clone(), size: 0, units: 0, held: Vec::new() }
    }

    fn take(&self, units: u64) -> Option<[OwnedSemaphorePermit; 2]> {
        let units = u32::try_from(units).ok()?;
        let own = Arc::clone(&self.own).try_acquire_many_owned(units).ok()?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(units).ok()?;
        Some([own, all])
    }
}

impl Holding {
    /// Adds bytes that are to be kept.
    pub fn add(&mut self, bytes: u64) -> Result<(), SqlError> {
        self.size = self.size.saturating_add(bytes);
        let missing = (self.size / UNIT).saturating_sub(self.units);
        if missing == 0 {
            return Ok(());
        }
        // As much again as there is, so that large results ask rarely.
        let taken = [missing.max(self.units), missing].into_iter().find_map(|units| Some((units, self.share.take(units)?)));
        let (units, permits) = taken.ok_or_else(|| {
            let message = "results that wait to be sent take all the memory that there is for them; \
                           retry, or take them as they are read (application/x-ndjson, a cursor)";
            SqlError::ours(SqlErrorKind::Crowded, message)
        })?;
        self.units += units;
        self.held.push(Arc::new(permits));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(memory: &ResultMemory) -> u64 {
        memory.units.available_permits() as u64 * UNIT
    }

    #[test]
    fn small_results_take_nothing_and_large_ones_what_they_are() {
        let memory = ResultMemory::new(20 * UNIT);
        let mut small = memory.share().hold();
        small.add(UNIT - 1).unwrap();
        assert_eq!(free(&memory), 20 * UNIT);
        small.add(1).unwrap();
        assert_eq!(free(&memory), 19 * UNIT);
    }

    #[test]
    fn a_database_takes_half_and_leaves_the_rest_to_others() {
        let memory = ResultMemory::new(20 * UNIT);
        let (share, other) = (memory.share(), memory.share());
        let (mut one, mut two) = (share.hold(), share.hold());
        one.add(6 * UNIT).unwrap();
        assert_eq!(two.add(5 * UNIT).unwrap_err().kind, SqlErrorKind::Crowded);
        other.hold().add(10 * UNIT).unwrap();
        let clone = one.clone();
        drop(one);
        assert_eq!(free(&memory), 14 * UNIT, "a clone holds it still");
        drop((clone, two));
        assert_eq!(free(&memory), 20 * UNIT);
        share.hold().add(10 * UNIT).unwrap();
    }

    #[test]
    fn all_databases_together_take_no_more_than_there_is() {
        let memory = ResultMemory::new(20 * UNIT);
        let mut holdings: Vec<_> = (0..3).map(|_| memory.share().hold()).collect();
        holdings[0].add(10 * UNIT).unwrap();
        holdings[1].add(8 * UNIT).unwrap();
        assert!(holdings[2].add(3 * UNIT).is_err());
        assert!(holdings[2].add(0).is_err(), "what was asked for is still missing");
    }

    #[test]
    fn the_last_bytes_can_be_taken_too() {
        let memory = ResultMemory::new(20 * UNIT);
        let share = memory.share();
        let mut holding = share.hold();
        for _ in 0..10 {
            holding.add(UNIT).unwrap();
        }
        assert_eq!(free(&memory), 10 * UNIT);
        assert!(holding.add(UNIT).is_err());
    }
}
