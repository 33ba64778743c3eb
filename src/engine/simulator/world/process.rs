//! A process: a host, and what it is told to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::super::hours::{HOUR, Hours};
use super::super::store::{Source, View};
use crate::bucket::Bucket;
use crate::bucket::s3::{Credentials, StoreConfig};
use crate::clock::Clock;
use crate::config::{Access, DatabaseConfig, Durability, FilesPolicy, Limits, Location, SnapshotPolicy};
use crate::database::{Database, Flush};
use crate::error::Error;
use crate::facts::State;
use crate::files::{Description, FileKey, FilesPrefix, Spool};
use crate::gc::{self, GcOptions, OwnerKey};
use crate::host::{Host, HostOptions, OverwriteRequest};
use crate::memory::SqlPool;
use crate::names::{BranchName, BucketName, DatabaseKey, DatabaseName};
use crate::past::Point;
use crate::sql::{QueryLimits, Request, Statement, Value};

/// Something that a process is told to do. Branches by their names.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Open {
        branch: String,
    },
    Write {
        branch: String,
        row: i64,
    },
    Flush {
        branch: String,
    },
    Create {
        name: String,
        from: String,
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
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Names, of those that list some.
    pub(super) result: Result<Vec<String>, String>,
    /// The branch that is served afterwards, with its rows.
    pub(super) serves: Option<(String, BTreeSet<i64>)>,
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
    hours: Arc<Hours>,
}

pub(super) struct Process {
    pub(super) number: usize,
    pub(super) means: Means,
    pub(super) dead: Arc<AtomicBool>,
    pub(super) busy: Option<Op>,
    /// The hour at which it began that.
    pub(super) begun: u32,
    /// The hour since which it may have rows of files that are not in the bucket.
    pub(super) unsaved: Option<u32>,
    /// The branch.
    pub(super) serves: Option<String>,
}

impl Process {
    pub(super) fn new(number: usize, bucket: View, hours: Arc<Hours>) -> Self {
        let (dead, bucket) = (Arc::clone(&bucket.dead), Arc::new(bucket));
        let pool = SqlPool::new(1.try_into().expect("one is not zero"));
        let host = Host::new(HostOptions {
            parallel_restores: 1,
            stores: Arc::new(Source(Arc::clone(&bucket))),
            sql_pool: pool.clone(),
            spool: Spool::new(std::env::temp_dir(), 1 << 20),
            clock: Arc::clone(&hours) as Arc<dyn Clock>,
            pod: format!("p{number}"),
            release_wait: Duration::ZERO,
        });
        let means = Means { host, bucket, pool, hours };
        Self { number, means, dead, busy: None, begun: 0, unsaved: None, serves: None }
    }
}

fn name() -> DatabaseName {
    DatabaseName::new("apps", "orders")
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).expect("names of the world are valid")
}

/// All processes are those of one resource, one after the other, so each may take over from the last.
fn config(name_of_branch: &str) -> DatabaseConfig {
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
            credentials: Credentials { access_key_id: String::new(), secret_access_key: String::new(), session_token: None },
            ca_bundle: None,
            kms_key_id: None,
        },
        // Saved only when the world says so: pauses go by another clock than its hours.
        snapshots: SnapshotPolicy { interval: HOUR, min_interval: Duration::ZERO, keep_previous: true },
        durability: Durability { retention: Duration::ZERO, ..Durability::by_snapshots() },
        files: FilesPolicy { prefix: prefix(), grace: HOUR },
        limits: Limits { max_size: 64 << 20, query: QueryLimits { statement_timeout: LONG, writer_wait: LONG, ..QueryLimits::default() } },
        access: Access::Open,
        branches_by_api: true,
        own_service: false,
        cluster: "cluster".to_owned(),
        take_over: None,
        promotion: None,
        accept_snapshot: None,
    }
}

pub(super) async fn perform(means: &Means, op: &Op) -> Outcome {
    let result = carry_out(means, op).await;
    Outcome { result, serves: served(&means.host).await }
}

async fn carry_out(means: &Means, op: &Op) -> Result<Vec<String>, String> {
    let host = &means.host;
    let (name, told) = (name(), |error: Arc<Error>| error.to_string());
    let nothing = Vec::new;
    match op {
        Op::Open { branch } => open(host, branch).await.map(|()| nothing()),
        Op::Write { row, .. } => {
            let sql = format!("create table if not exists t(n integer primary key); insert into t values ({row})");
            let database = database(host)?;
            database.write(request(&sql)).await.map(|_| nothing()).map_err(|error| error.to_string())
        }
        Op::Flush { .. } => {
            let database = database(host)?;
            database.flush(Flush::Forced).await.map(|_| nothing()).map_err(told)
        }
        Op::Create { name: new, from } => {
            host.create_branch_of(&name, &branch(new), Some(&branch(from)), Point::Newest).await.map(|_| nothing()).map_err(told)
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
            open(host, "main").await?;
            let found = host.branches(&name).await.map_err(told)?;
            Ok(found.branches.into_iter().map(|facts| facts.name.as_str().to_owned()).collect())
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

async fn gc(means: &Means) -> Result<Vec<String>, String> {
    let options = GcOptions {
        prefix: prefix(),
        key: OwnerKey::Default,
        grace: HOUR,
        dry_run: false,
        include_unowned: false,
        largest_database: 64 << 20,
    };
    let bucket = Arc::clone(&means.bucket) as Arc<dyn Bucket>;
    let run = gc::Run::new(bucket, options, means.pool.clone(), Arc::clone(&means.hours) as Arc<dyn Clock>);
    let report = run.run().await.map_err(|error| error.to_string())?;
    Ok(vec![format!("{:?}", report.stage)])
}

async fn open(host: &Arc<Host>, branch: &str) -> Result<(), String> {
    let mut changes = host.changes();
    host.open(config(branch), None);
    loop {
        match host.state(&name()) {
            State::Open(_) => return Ok(()),
            State::Failed { error, .. } => return Err(error.to_string()),
            State::Absent | State::Opening | State::Closing | State::Suspended { .. } => drop(changes.recv().await),
        }
    }
}

async fn served(host: &Arc<Host>) -> Option<(String, BTreeSet<i64>)> {
    let State::Open(facts) = host.state(&name()) else { return None };
    let database = host.get(&name()).ok()?.database;
    let rows = match database.read(request("select n from t")).await {
        Ok(response) => {
            response.results[0].rows.iter().filter_map(|row| if let Value::Integer(n) = row[0] { Some(n) } else { None }).collect()
        }
        Err(Error::Sql(error)) if error.message.contains("no such table") => BTreeSet::new(),
        Err(_) => return None,
    };
    Some((facts.branch.as_str().to_owned(), rows))
}

fn request(sql: &str) -> Request {
    Request { statements: vec![Statement { sql: sql.to_owned(), ..Statement::default() }], ..Request::default() }
}
