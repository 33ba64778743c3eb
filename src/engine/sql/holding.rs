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
    bytes: u64,
}

/// The part of one request. Clones hold the same part.
#[derive(Debug, Clone)]
pub struct Holding {
    memory: ResultMemory,
    size: u64,
    /// How many units are held.
    units: u64,
    held: Vec<Arc<OwnedSemaphorePermit>>,
}

impl ResultMemory {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), bytes }
    }

    /// For a request that begins.
    pub fn hold(&self) -> Holding {
        Holding { memory: self.clone(), size: 0, units: 0, held: Vec::new() }
    }

    #[cfg(test)]
    fn free(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT
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
        let wanted = u32::try_from(missing.max(self.units)).unwrap_or(u32::MAX);
        let units = &self.memory.units;
        let taken = [wanted, u32::try_from(missing).unwrap_or(u32::MAX)]
            .into_iter()
            .find_map(|count| Arc::clone(units).try_acquire_many_owned(count).ok());
        let permit = taken.ok_or_else(|| {
            let message = format!(
                "results of all requests together take the {} bytes that they may; retry, or take them as they are read (application/x-ndjson, a cursor)",
                self.memory.bytes
            );
            SqlError::ours(SqlErrorKind::Crowded, message)
        })?;
        self.units += permit.num_permits() as u64;
        self.held.push(Arc::new(permit));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_results_take_nothing_and_large_ones_what_they_are() {
        let memory = ResultMemory::new(10 * UNIT);
        let mut small = memory.hold();
        small.add(UNIT - 1).unwrap();
        assert_eq!(memory.free(), 10 * UNIT);
        small.add(1).unwrap();
        assert_eq!(memory.free(), 9 * UNIT);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_all_is_given_back() {
        let memory = ResultMemory::new(10 * UNIT);
        let (mut one, mut other) = (memory.hold(), memory.hold());
        one.add(6 * UNIT).unwrap();
        let error = other.add(5 * UNIT).unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Crowded);
        let clone = one.clone();
        drop(one);
        assert_eq!(memory.free(), 4 * UNIT, "a clone holds it still");
        drop((clone, other));
        assert_eq!(memory.free(), 10 * UNIT);
    }

    #[test]
    fn the_last_bytes_can_be_taken_too() {
        let memory = ResultMemory::new(10 * UNIT);
        let mut holding = memory.hold();
        for _ in 0..10 {
            holding.add(UNIT).unwrap();
        }
        assert_eq!(memory.free(), 0);
        assert!(holding.add(UNIT).is_err());
    }
}
