//! The engine: SQLite databases in memory, kept in buckets. Knows neither Kubernetes nor HTTP.

mod clock;
mod database;
mod error;
mod host;
mod memory;
mod names;
mod sql;

pub mod bucket;

pub use clock::{Clock, SystemClock, WallTime};
pub use database::{Database, Flush, Flushed};
pub use error::{Error, NotServed, Previous};
pub use host::{
    Access, DatabaseConfig, Facts, Handle, Host, HostOptions, Limits, Location, Origin, SnapshotFacts, SnapshotPolicy, State, TokenDigest, Uploads,
};
pub use memory::Pin;
pub use names::{BranchName, BucketName, DatabaseKey, DatabaseName, Etag, NameError, ObjectKey};
pub use sql::{Column, Params, QueryLimits, Request, Response, ResultSet, SqlError, SqlErrorKind, Statement, Transaction, Value};
