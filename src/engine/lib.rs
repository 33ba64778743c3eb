//! The engine: SQLite databases in memory, kept in buckets. Knows neither Kubernetes nor HTTP.

mod authority;
mod base;
mod branches;
mod chains;
mod clock;
mod config;
mod connection;
mod database;
mod delta;
mod differences;
mod document;
mod durable;
mod error;
mod facts;
mod feed;
mod fence;
mod files;
#[cfg(test)]
mod flaws;
mod flush;
mod flusher;
mod gc;
mod head;
mod heads;
mod hooks;
mod host;
mod image;
mod liveness;
mod memory;
mod names;
mod naming;
mod opening;
mod page_set;
mod pages;
mod past;
mod pasts;
mod probe;
mod remains;
mod restore;
mod restores;
mod seed;
mod shown;
#[cfg(test)]
mod simulator;
mod snapshot;
mod sql;
mod statement;
mod sums;
mod tasks;
mod tenure;
mod verify;
mod vfs;

pub mod bucket;
pub mod docs;
pub mod kv;

pub use authority::{Authority, AuthorityError};
pub use branches::{BranchFacts, Listing};
pub use clock::{Clock, SystemClock, WallTime};
pub use config::{
    Access, AskedPromotion, DatabaseConfig, Durability, FilesPolicy, Grant, Limits, Location, Mode, OnMaxLag, Permission, SnapshotPolicy,
    TokenDigest,
};
pub use database::{Database, Flush, Flushed, Listener, News, Seen, Stream, Terms, Usage, Witness};
pub use differences::{Differences, RowsOf, SchemaChange, TableChange};
pub use error::{Error, FileLoss, NotServed, Offered, Previous};
pub use facts::{Damage, Damaged, Facts, Origin, Outside, SnapshotFacts, State, Uploads, Verified};
pub use feed::{NoPosition, Position};
pub use files::{Description, FileContent, FileKey, FileRecord, Files, FilesPrefix, Intake, Spool, SpoolError, Spooled, remove_owner};
pub use flusher::Overwritten;
pub use gc::{GcError, GcOptions, GcOutcome, GcReport, GcStage, GcSummary, OwnerKey, collect_garbage};
pub use head::{Epoch, Fate, Holder, OnLeave};
pub use hooks::{FlushEnd, FlushKind, FlushOf, HookSet, Hooks, RequestClass, StoreRequest};
pub use host::{Compared, Handle, Host, HostOptions, MemoryRoom, NewBranch, OverwriteRequest, Remembered, Side};
pub use liveness::{Life, Liveness};
pub use memory::{
    ChangeKind, Changes, Commits, Gate, LoadError, MemoryDatabase, MemoryOptions, MemoryStream, MemoryUse, PageCount, PageNo, PageSize,
    Pin, RowChange, SqlPool, StreamLimits, SwitchError,
};
pub use names::{BranchName, BucketName, DatabaseKey, DatabaseName, Etag, NameError, ObjectKey};
pub use naming::{NoProvedState, NoStateId, ProvedState, StateId};
pub use past::{PastState, Point, past_state};
pub use remains::{BranchRemains, MadeBy, Remains};
pub use sql::{
    Column, Effects, Flow, Holding, Params, Piece, QueryLimits, Request, Response, ResultMemory, ResultSet, Row, Rows, Script,
    SlowStatement, Spent, SqlError, SqlErrorKind, Statement, StatementShape, Transaction, Value, ValueRef, is_whole, pieces,
};
pub use statement::{Answered, Once, WriteAnswer};
pub use tasks::{Pace, Patient, spawn_owned};
pub use verify::{Sound, Verification, verify};
