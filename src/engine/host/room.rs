//! The memory that all databases may take together.
//!
//! Invariant: each counts with what it may grow to, so that one that grows never takes what another was let in with.

use std::collections::HashMap;

use super::{Host, Slot, Status};
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::names::DatabaseName;

impl Host {
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
    let others = slots.iter().filter(|(name, slot)| **name != config.name && slot.takes_memory());
    let taken = others.fold(0_u64, |taken, (_, slot)| taken.saturating_add(slot.config.limits.max_size));
    let (needed, free) = (config.limits.max_size, budget.saturating_sub(taken));
    if needed <= free { Ok(()) } else { Err(Error::MemoryBudget { database: config.name.clone(), needed, free, budget }) }
}
