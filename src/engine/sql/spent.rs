//! What requests take: time, rows, and which statements were slow.

use std::time::Duration;

use super::without_values;

/// What one request took so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spent {
    /// Waiting: for its turn to write, for a place among the readers, for a thread.
    pub queued: Duration,
    /// While SQLite worked on its statements.
    pub ran: Duration,
    /// Rows that were given.
    pub rows: u64,
    /// Rows that were inserted, changed and deleted.
    pub changed: u64,
    /// Statements that ran long enough to be told of, the first ones.
    pub slow: Vec<SlowStatement>,
}

/// A statement that ran for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowStatement {
    /// Its text, with a `?` in the place of each value.
    pub sql: String,
    /// How long it ran.
    pub took: Duration,
    /// Rows that it gave.
    pub rows: u64,
}

/// So many are kept of one request: a log needs no more to tell what is slow.
const MOST_SLOW: usize = 8;

impl Spent {
    /// Adds what another part of the request took.
    pub(crate) fn add(&mut self, other: Self) {
        self.queued += other.queued;
        self.ran += other.ran;
        self.rows += other.rows;
        self.changed += other.changed;
        let room = MOST_SLOW.saturating_sub(self.slow.len());
        self.slow.extend(other.slow.into_iter().take(room));
    }

    /// Adds a statement, however it ended.
    pub(crate) fn statement(&mut self, sql: &str, took: Duration, rows: u64, changed: u64, slow_after: Duration) {
        self.ran += took;
        self.rows += rows;
        self.changed += changed;
        if took >= slow_after && self.slow.len() < MOST_SLOW {
            self.slow.push(SlowStatement { sql: without_values(sql), took, rows });
        }
    }
}
