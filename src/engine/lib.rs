//! The engine: SQLite databases in memory, kept in buckets. Knows neither Kubernetes nor HTTP.

mod clock;
mod config;
mod connection;
mod database;
mod error;
mod facts;
mod flush;
mod flusher;
mod host;
mod image;
mod memory;
mod names;
mod pages;
mod restore;
mod seed;
mod snapshot;
mod sql;
mod statement;
mod vfs;

pub mod bucket;
pub mod docs;
pub mod kv;

pub use clock::{Clock, SystemClock, WallTime};
pub use config::{Access, DatabaseConfig, Limits, Location, SnapshotPolicy, TokenDigest};
pub use database::{Database, Flush, Flushed};
pub use error::{Error, NotServed, Previous};
pub use facts::{Facts, Origin, SnapshotFacts, State, Uploads};
pub use host::{Handle, Host, HostOptions};
pub use memory::{
    Changes, Commits, LoadError, MemoryDatabase, MemoryOptions, MemoryUse, OpenTransaction, PageCount, PageNo, PageSize, Pin, SqlPool,
    SwitchError, TransactionLimits, TransactionMode,
};
pub use names::{BranchName, BucketName, DatabaseKey, DatabaseName, Etag, NameError, ObjectKey};
pub use sql::{Column, Params, QueryLimits, Request, Response, ResultSet, SqlError, SqlErrorKind, Statement, Transaction, Value};
