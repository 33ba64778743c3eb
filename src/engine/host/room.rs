//! The memory that all databases may take together.
//!
//! Invariant: each counts with what it may grow to, so that one that grows never takes what another was let in with.

use std::collections::HashMap;

use super::{Host, Slot, Status};
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::names::DatabaseName;

/// The memory that databases may take together, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRoom {
    /// What those that are in memory, or come into it, may grow to.
    pub taken: u64,
    /// None: it has no bound.
    pub budget: Option<u64>,
}

impl Host {
    /// How much memory is spoken for.
    pub fn memory_room(&self) -> MemoryRoom {
        MemoryRoom { taken: taken(&self.slots.lock(), None), budget: self.options.memory }
    }

    /// Forgets those that had no room and would have it now, so that they are tried again. Each by itself: there may be room for one of them alone.
    pub(super) fn make_room(&self) -> Vec<DatabaseName> {
        if self.options.memory.is_none() {
            return Vec::new();
        }
        let mut slots = self.slots.lock();
        let has_room = |(name, slot): (&DatabaseName, &Slot)| {
            let waits = matches!(&slot.status, Status::Failed { error, .. } if matches!(**error, Error::MemoryBudget { .. }));
            (waits && look(&slots, &slot.config, self.options.memory).is_ok()).then(|| name.clone())
        };
        let names: Vec<_> = slots.iter().filter_map(has_room).collect();
        for name in &names {
            slots.remove(name);
        }
        names
    }
}

impl Slot {
    /// Whether it is in memory, or comes into it.
    fn takes_memory(&self) -> bool {
        matches!(self.status, Status::Opening { .. } | Status::Open(_) | Status::Closing(..))
    }
}

/// Whether there is room for a database beside those that are in memory, or come into it.
pub(super) fn look(slots: &HashMap<DatabaseName, Slot>, config: &DatabaseConfig, budget: Option<u64>) -> Result<(), Error> {
    let Some(budget) = budget else { return Ok(()) };
    let (needed, free) = (config.limits.max_size, budget.saturating_sub(taken(slots, Some(&config.name))));
    if needed <= free { Ok(()) } else { Err(Error::MemoryBudget { database: config.name.clone(), needed, free, budget }) }
}

/// What all of them but this one may grow to.
fn taken(slots: &HashMap<DatabaseName, Slot>, but: Option<&DatabaseName>) -> u64 {
    let others = slots.iter().filter(|(name, slot)| Some(*name) != but && slot.takes_memory());
    others.fold(0, |taken: u64, (_, slot)| taken.saturating_add(slot.config.limits.max_size))
}
