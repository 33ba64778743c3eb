//! A process: a host, and what it is told to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::super::leases::Leases;
use super::super::store::{Source, View};
use super::super::time::{HOUR, Time};
use crate::bucket::Bucket;
use crate::bucket::s3::{Credentials, StoreConfig};
use crate::clock::Clock;
use crate::config::{Access, DatabaseConfig, Durability, FilesPolicy, Limits, Location, SnapshotPolicy};
use crate::database::{Database, Flush, Witness};
use crate::error::Error;
use crate::facts::State;
use crate::files::{Description, FileKey, FilesPrefix, Spool};
use crate::gc::{self, GcOptions, OwnerKey};
use crate::host::{Host, HostOptions, OverwriteRequest, Remembered};
use crate::liveness::Liveness;
use crate::memory::{MemoryOptions, SqlPool};
use crate::names::{BranchName, BucketName, DatabaseKey, DatabaseName};
use crate::naming::StateId;
use crate::past::{Point, past_state};
use crate::sql::{QueryLimits, Request, Response, Statement, Value};

/// Something that a process is told to do. Branches by their names.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Open {
        branch: String,
    },
    /// Add a row, and do something with pages besides.
    Write {
        branch: String,
        row: i64,
        besides: Besides,
    },
    Flush {
        branch: String,
    },
    /// Make a branch of the newest state of another, or of one that is known by its number.
    Create {
        name: String,
        from: String,
        at: Option<u64>,
    },
    Switch {
        from: String,
        to: String,
    },
    Overwrite {
        to: String,
        from: String,
    },
    Delete {
        name: String,
    },
    /// Keep a file.
    Put {
        file: u8,
    },
    /// Forget one.
    Remove {
        file: u8,
    },
    Gc,
    Close,
    List,
    /// Put a state together and serve nothing.
    Recall {
        branch: String,
        txid: u64,
    },
}

/// What a write does to the pages of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Besides {
    Nothing,
    /// Some pages become more.
    Grow,
    /// They are emptied.
    Empty,
    /// Pages are added and given back at once: the file has them, and nobody ever wrote them.
    Holes,
    /// What is empty is cut off, if the database was made for that.
    Shrink,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Told, String>,
    pub(super) serves: Option<Served>,
}

/// What the answer tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of those that list some.
    pub(super) names: Vec<String>,
    /// In which state a row is.
    pub(super) state: Option<StateId>,
    /// Of a state that was put together.
    pub(super) rows: BTreeSet<i64>,
}

/// The branch that is served afterwards.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) branch: String,
    pub(super) rows: BTreeSet<i64>,
    /// The number of the state with these rows, if all of it is in the bucket.
    pub(super) txid: Option<u64>,
}

pub(super) struct Done {
    pub(super) process: usize,
    pub(super) op: Op,
    pub(super) outcome: Outcome,
}

/// What a process works with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) host: Arc<Host>,
    bucket: Arc<View>,
    pool: SqlPool,
    time: Arc<Time>,
    /// The same for all processes.
    durability: Durability,
}

/// What a process claims to be in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) branch: String,
    pub(super) epoch: u64,
    pub(super) txid: u64,
}

/// A row whose write was answered.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) branch: String,
    pub(super) state: StateId,
    pub(super) row: i64,
}

pub(super) struct Process {
    pub(super) number: usize,
    pub(super) means: Means,
    pub(super) dead: Arc<AtomicBool>,
    pub(super) busy: Option<Op>,
    /// The hour at which it began that.
    pub(super) begun: u64,
    /// The hour since which it may have rows of files that are not in the bucket.
    pub(super) unsaved: Option<u64>,
    /// The branch.
    pub(super) serves: Option<String>,
    /// What it claimed last.
    pub(super) claimed: Option<Claim>,
    /// Rows of which it has not claimed yet that they are in the bucket.
    pub(super) written: Vec<Written>,
}

impl Process {
    pub(super) fn new(number: usize, bucket: View, time: Arc<Time>, durability: Durability, leases: Option<Arc<Leases>>) -> Self {
        let (dead, bucket) = (Arc::clone(&bucket.dead), Arc::new(bucket));
        let pool = SqlPool::new(1.try_into().expect("one is not zero"));
        let host = Host::new(HostOptions {
            parallel_restores: 1,
            clock: Arc::clone(&time) as Arc<dyn Clock>,
            liveness: leases.map(|leases| leases as Arc<dyn Liveness>),
            ..HostOptions::new(pod(number), Arc::new(Source(Arc::clone(&bucket))), pool.clone(), Spool::new(std::env::temp_dir(), 1 << 20))
        });
        let means = Means { host, bucket, pool, time, durability };
        Self { number, means, dead, busy: None, begun: 0, unsaved: None, serves: None, claimed: None, written: Vec::new() }
    }

    /// What it has open, as its answers come from there.
    pub(super) fn has_open(&self) -> Option<String> {
        self.claim().map(|claim| claim.branch)
    }

    /// What it claims now.
    pub(super) fn claim(&self) -> Option<Claim> {
        let State::Open(facts) = self.means.host.state(&name()) else { return None };
        Some(Claim { branch: facts.branch.as_str().to_owned(), epoch: facts.epoch.0, txid: facts.txid })
    }

    /// Why what is in the bucket could not be restored, if it tried that and failed.
    pub(super) fn could_not_restore(&self) -> Option<String> {
        let State::Open(facts) = self.means.host.state(&name()) else { return None };
        let damage = facts.damaged.map(|damaged| format!("{damaged:?}"));
        facts.verified.and_then(|verified| verified.failure).or(damage)
    }

    /// The rows that somebody sees who reads now, without a wait for anything.
    pub(super) async fn shown(&self) -> Option<BTreeSet<i64>> {
        let database = database(&self.means.host).ok()?;
        rows(database.memory().read(request("select n from t"), &QueryLimits::default()).await).ok()
    }

    /// How far its clock is wrong, in seconds.
    pub(super) fn ahead(&self) -> i64 {
        self.means.time.ahead()
    }

    /// Somebody sets its clock.
    pub(super) fn jump(&self, seconds: i64) {
        self.means.time.jump(seconds);
    }
}

/// What a process is called.
pub(super) fn pod(number: usize) -> String {
    format!("p{number}")
}

fn name() -> DatabaseName {
    DatabaseName::new("apps", "orders")
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).expect("names of the world are valid")
}

/// All processes are those of one resource, one after the other, so each may take over from the last.
fn config(name_of_branch: &str, durability: Durability) -> DatabaseConfig {
    const LONG: Duration = Duration::from_hours(24);
    DatabaseConfig {
        name: name(),
        location: Location {
            bucket: BucketName::parse("bucket").expect("a valid name"),
            key: DatabaseKey::parse("orders.db").expect("a valid key"),
            branch: branch(name_of_branch),
        },
        store: StoreConfig {
            endpoint: None,
            region: "auto".to_owned(),
            credentials: Credentials { access_key_id: String::new(), secret_access_key: String::new(), session_token: None }.into(),
            ca_bundle: None,
            kms_key_id: None,
        },
        snapshots: SnapshotPolicy { interval: HOUR, min_interval: Duration::ZERO, keep_previous: true },
        durability,
        files: FilesPolicy { prefix: prefix(), grace: HOUR },
        limits: Limits { max_size: 64 << 20, query: QueryLimits { statement_timeout: LONG, writer_wait: LONG, ..QueryLimits::default() } },
        single_writer: false,
        access: Access::Open,
        branches_by_api: true,
        own_service: false,
        cluster: "cluster".to_owned(),
        take_over: None,
        promotion: None,
        accept_snapshot: None,
        accept_state: None,
    }
}

pub(super) async fn perform(means: &Means, op: &Op) -> Outcome {
    let result = carry_out(means, op).await;
    Outcome { result, serves: served(&means.host).await }
}

async fn carry_out(means: &Means, op: &Op) -> Result<Told, String> {
    let host = &means.host;
    let (name, told) = (name(), |error: Arc<Error>| error.to_string());
    let nothing = Told::default;
    match op {
        // The world may not have heard that it has it. Nothing is opened then, so nothing new is to be seen: whoever was taken over meanwhile shows what it had.
        Op::Open { .. } if matches!(host.state(&name), State::Open(_)) => Err("it is open already".to_owned()),
        Op::Open { branch } => open(means, branch).await.map(|()| nothing()),
        Op::Write { row, besides, .. } => {
            let witness = Arc::new(Witness::default());
            let (database, sql) = (database(host)?.before(Arc::clone(&witness)), besides.sql(*row));
            if *besides == Besides::Shrink {
                // Not for everybody to ask for.
                let change = move |transaction: &rusqlite::Transaction<'_>| Ok(transaction.execute_batch(&sql)?);
                return database.memory().update(change).await.map(|()| nothing()).map_err(|error| error.to_string());
            }
            database.write(request(&sql)).await.map_err(|error| error.to_string())?;
            Ok(Told { state: witness.seen().and_then(|seen| seen.state), ..nothing() })
        }
        Op::Flush { .. } => {
            let database = database(host)?;
            database.flush(Flush::Forced).await.map(|_| nothing()).map_err(told)
        }
        Op::Create { name: new, from, at } => {
            let point = at.map_or(Point::Newest, Point::Txid);
            host.create_branch_of(&name, &branch(new), Some(&branch(from)), point).await.map(|_| nothing()).map_err(told)
        }
        Op::Switch { to, .. } => host.switch_branch(&name, &branch(to)).await.map(|()| nothing()).map_err(told),
        Op::Overwrite { to, from } => {
            let wish = OverwriteRequest { id: None, from: branch(from), txid: None, expected: None, keep_as: None, meant_for: None };
            host.overwrite_branch(&name, &branch(to), wish).await.map(|_| nothing()).map_err(told)
        }
        Op::Delete { name: old } => host.delete_branch(&name, &branch(old)).await.map(|()| nothing()).map_err(told),
        Op::Put { file } => {
            let database = database(host)?;
            let files = database.files();
            let intake = files.intake().write(content(*file).into()).await.map_err(|error| error.to_string())?;
            let content = intake.finish().await.map_err(|error| error.to_string())?;
            files.put(&content, Description::default()).await.map(|_| nothing()).map_err(|error| error.to_string())
        }
        Op::Remove { file } => {
            let database = database(host)?;
            database.files().delete(file_key(*file)).await.map(|()| nothing()).map_err(|error| error.to_string())
        }
        Op::Gc => gc(means).await,
        Op::Close => host.close(&name).await.map(|_| nothing()).map_err(told),
        Op::List => {
            open(means, "main").await?;
            let found = host.branches(&name).await.map_err(told)?;
            Ok(Told { names: found.branches.into_iter().map(|facts| facts.name.as_str().to_owned()).collect(), ..nothing() })
        }
        Op::Recall { branch: of, txid } => {
            let options = MemoryOptions { clock: Arc::clone(&means.time) as Arc<dyn Clock>, ..MemoryOptions::new(means.pool.clone()) };
            let (bucket, key) = (Arc::clone(&means.bucket) as Arc<dyn Bucket>, DatabaseKey::parse("orders.db").expect("a valid key"));
            let state = past_state(bucket, key, &branch(of), Point::Txid(*txid), options).await.map_err(|error| error.to_string())?;
            let response = state.memory.read(request("select n from t"), &QueryLimits::default()).await;
            Ok(Told { rows: rows(response).map_err(|error| error.to_string())?, ..nothing() })
        }
    }
}

impl Besides {
    fn sql(self, row: i64) -> String {
        let insert = format!("create table if not exists t(n integer primary key); insert into t values ({row})");
        match self {
            Self::Nothing => insert,
            Self::Grow => format!("{insert}; create table if not exists pad(x); insert into pad values (randomblob(30000))"),
            Self::Empty => format!("{insert}; create table if not exists pad(x); delete from pad"),
            Self::Holes => format!(
                "{insert}; create table if not exists pad(x); insert into pad values (zeroblob(40000)); \
                 delete from pad where rowid = last_insert_rowid()"
            ),
            Self::Shrink => format!("{insert}; pragma incremental_vacuum"),
        }
    }
}

/// What is in a file.
fn content(file: u8) -> Vec<u8> {
    vec![file; 3]
}

pub(super) fn file_key(file: u8) -> FileKey {
    FileKey::of_digest(Sha256::digest(content(file)).into())
}

fn prefix() -> FilesPrefix {
    FilesPrefix::parse("files/").expect("a valid prefix")
}

fn database(host: &Arc<Host>) -> Result<Database, String> {
    host.get(&name()).map(|handle| handle.database).map_err(|error| error.to_string())
}

async fn gc(means: &Means) -> Result<Told, String> {
    let options = GcOptions {
        prefix: prefix(),
        key: OwnerKey::Default,
        grace: HOUR,
        dry_run: false,
        include_unowned: false,
        single_writer: false,
        largest_database: 64 << 20,
    };
    let bucket = Arc::clone(&means.bucket) as Arc<dyn Bucket>;
    let run = gc::Run::new(bucket, options, means.pool.clone(), Arc::clone(&means.time) as Arc<dyn Clock>);
    let report = run.run().await.map_err(|error| error.to_string())?;
    Ok(Told { names: vec![format!("{:?}", report.stage)], ..Told::default() })
}

async fn open(means: &Means, branch: &str) -> Result<(), String> {
    let host = &means.host;
    let mut changes = host.changes();
    host.open(config(branch, means.durability), Remembered::default());
    loop {
        match host.state(&name()) {
            State::Open(_) => return Ok(()),
            State::Failed { error, .. } => return Err(error.to_string()),
            State::Absent | State::Opening | State::Closing | State::Suspended { .. } => drop(changes.recv().await),
        }
    }
}

async fn served(host: &Arc<Host>) -> Option<Served> {
    let State::Open(before) = host.state(&name()) else { return None };
    let database = host.get(&name()).ok()?.database;
    let rows = rows(database.read(request("select n from t")).await).ok()?;
    let State::Open(facts) = host.state(&name()) else { return None };
    let stood_still = !before.pending && !facts.pending && before.txid == facts.txid && before.branch == facts.branch;
    Some(Served { branch: facts.branch.as_str().to_owned(), rows, txid: stood_still.then_some(facts.txid) })
}

fn rows(response: Result<Response, impl Into<Error>>) -> Result<BTreeSet<i64>, Error> {
    match response.map_err(Into::into) {
        Ok(response) => {
            let rows = response.results[0].rows.iter();
            Ok(rows.filter_map(|row| if let Value::Integer(n) = row[0] { Some(n) } else { None }).collect())
        }
        Err(Error::Sql(error)) if error.message.contains("no such table") => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn request(sql: &str) -> Request {
    Request { statements: vec![Statement { sql: sql.to_owned(), ..Statement::default() }], ..Request::default() }
}
