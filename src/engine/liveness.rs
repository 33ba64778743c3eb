//! What is known of the other processes that serve the same resources.
//!
//! Does not own: how it is known (the controller's Leases). Invariant: who waits for another process to end relies on [`Liveness::of`] alone, asked after the
//! head record was read that names it: what it began later has changed that record.

use std::fmt;

use futures::future::BoxFuture;

/// How it stands with another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It may answer requests.
    Lives,
    /// It answers nothing any more, and never will by this name before it has opened the database anew.
    Ended,
    /// Nobody keeps account of it.
    Unknown,
}

/// Tells how it stands with other processes.
pub trait Liveness: Send + Sync + fmt::Debug {
    /// Of the process in this Pod, as of now: what is kept of it is read anew.
    fn of<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Life>;
}
