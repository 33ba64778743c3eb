//! The part of the engine that keeps databases in memory, from the engine's own files, without buckets: a sanitizer's build of it takes
//! a fraction of the time that one of the S3 client takes.
#![allow(dead_code, unused_imports, reason = "the rest of the engine is not here to use it")]

#[path = "../../src/engine"]
mod engine {
    pub(crate) mod clock;
    pub(crate) mod connection;
    pub(crate) mod feed;
    pub(crate) mod image;
    pub(crate) mod memory;
    pub(crate) mod page_set;
    pub(crate) mod pages;
    pub(crate) mod sql;
    pub(crate) mod statement;
    pub(crate) mod sums;
    pub(crate) mod tasks;
    pub(crate) mod vfs;
}

// The engine's files name one another from its root.
use engine::{clock, connection, feed, image, memory, page_set, pages, sql, statement, sums, tasks, vfs};

pub use clock::{Clock, SystemClock};
pub use memory::{LoadError, MemoryDatabase, MemoryOptions, PageSize, Pin, SqlPool};
pub use rusqlite;
pub use sql::{Params, QueryLimits, Request, Response, SqlError, SqlErrorKind, Statement, Transaction, Value};
