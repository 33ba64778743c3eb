//! What a database was asked since it was opened.

use std::time::Duration;

use crate::sql::Spent;

/// Sums over all requests since the database was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Rows that statements gave.
    pub rows: u64,
    /// Rows that were inserted, changed and deleted.
    pub changed: u64,
    /// Time that requests waited: for their turn to write, for a place among the readers, for a thread.
    pub queued: Duration,
    /// Time that SQLite worked on statements.
    pub ran: Duration,
    /// Statements that were slow.
    pub slow: u64,
}

impl Usage {
    pub(super) fn add(&mut self, spent: &Spent) {
        self.rows += spent.rows;
        self.changed += spent.changed;
        self.queued += spent.queued;
        self.ran += spent.ran;
        self.slow += spent.slow.len() as u64;
    }
}
