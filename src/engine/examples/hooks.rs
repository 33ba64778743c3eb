//! A program that embeds the engine, and is told of its work: what the Python package's callbacks told.
//!
//! `cargo run --example hooks -p engine`
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use engine::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore};
use engine::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use engine::{
    Access, BranchName, BucketName, DatabaseConfig, DatabaseKey, DatabaseName, Durability, FilesPolicy, FilesPrefix, Flush, FlushEnd,
    FlushOf, HookSet, Hooks, Host, HostOptions, Limits, Location, QueryLimits, Remembered, Request, SnapshotPolicy, Spool, SqlPool, State,
    Statement, StoreRequest,
};

/// Prints what it is told.
struct Printer;

impl Hooks for Printer {
    fn flush_started(&self, flush: &FlushOf) {
        println!("{} of {} begins", flush.kind.as_str(), flush.database);
    }

    fn flush_ended(&self, flush: &FlushOf, end: &FlushEnd) {
        match end {
            FlushEnd::Completed { txid, bytes, took } => println!("{} of txid {txid}: {bytes} bytes in {took:?}", flush.kind.as_str()),
            FlushEnd::Skipped => println!("nothing to do"),
            FlushEnd::Failed { error, .. } => println!("{error}; it will be tried again"),
        }
    }

    fn store_request(&self, request: &StoreRequest) {
        println!("  {} ({}): {} bytes sent", request.operation, request.class().as_str(), request.sent);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(HookSet::new([Arc::new(Printer) as Arc<dyn Hooks>])).await
}

/// A store of its own, a database, one row.
async fn run(hooks: HookSet) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let credentials = Credentials { access_key_id: "us".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
    let (root, listen) = (folder.path().join("s3"), "127.0.0.1:0".parse()?);
    let store =
        EmbeddedStore::start(EmbeddedOptions { root, listen, credentials: credentials.clone(), dialect: Dialect::Standard }).await?;
    let bucket = BucketName::parse("data")?;
    store.create_bucket(&bucket).await?;

    let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
    let host = Host::new(HostOptions {
        parallel_restores: 1,
        verify_memory: 1 << 20,
        hooks: hooks.clone(),
        ..HostOptions::new(
            "example".to_owned(),
            Arc::new(Stores::new(policy).telling(hooks)),
            SqlPool::new(2.try_into()?),
            Spool::new(folder.path().to_owned(), 1 << 30),
        )
    });
    let endpoint = Some(store.endpoint());
    let config = config(
        bucket,
        StoreConfig { endpoint, region: "auto".to_owned(), credentials: credentials.into(), ca_bundle: None, kms_key_id: None },
    )?;
    let name = config.name.clone();
    let mut changes = host.changes();
    host.open(config, Remembered::default());
    while matches!(host.state(&name), State::Opening) {
        changes.recv().await?;
    }

    let database = host.get(&name)?.database;
    let sql = "create table greetings(text); insert into greetings values ('hello')".to_owned();
    database.write(Request { statements: vec![Statement { sql, ..Statement::default() }], ..Request::default() }).await?;
    database.flush(Flush::Forced).await?;
    database.flush(Flush::Forced).await?;
    drop(database);
    for (database, saved) in host.shutdown(Duration::from_secs(10)).await {
        saved.map_err(|error| format!("{database}: {error}"))?;
    }
    store.stop().await;
    Ok(())
}

fn config(bucket: BucketName, store: StoreConfig) -> Result<DatabaseConfig, Box<dyn Error>> {
    Ok(DatabaseConfig {
        name: DatabaseName::new("default", "greetings"),
        location: Location { bucket, key: DatabaseKey::parse("greetings.db")?, branch: BranchName::main() },
        store,
        snapshots: SnapshotPolicy { interval: Duration::from_mins(1), min_interval: Duration::ZERO, keep_previous: true },
        durability: Durability::default(),
        files: FilesPolicy { prefix: FilesPrefix::parse(FilesPrefix::DEFAULT)?, grace: Duration::from_mins(5) },
        limits: Limits { max_size: 1 << 30, query: QueryLimits::default() },
        single_writer: false,
        access: Access::Open,
        branches_by_api: true,
        own_service: false,
        cluster: "example".to_owned(),
        take_over: None,
        promotion: None,
        accept_snapshot: None,
        accept_state: None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Completed(Mutex<Vec<u64>>);

    impl Hooks for Completed {
        fn flush_ended(&self, _: &FlushOf, end: &FlushEnd) {
            if let FlushEnd::Completed { bytes, .. } = end {
                self.0.lock().unwrap().push(*bytes);
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_runs_and_is_told_of_its_uploads() {
        let completed = Arc::new(Completed::default());
        run(HookSet::new([Arc::clone(&completed) as Arc<dyn Hooks>, Arc::new(Printer)])).await.unwrap();
        let bytes = completed.0.lock().unwrap();
        assert!(bytes.len() >= 2 && bytes.iter().all(|bytes| *bytes > 0), "{bytes:?}");
    }
}
