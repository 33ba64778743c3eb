//! Commits that are answered when the bucket has them, `make bench AREA=sync`: many clients, one MinIO, all on this machine.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod hosted;
#[path = "../tests/it"]
mod it {
    #[allow(dead_code, unused_imports, reason = "the tests use all of it")]
    pub mod support;
}
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod report;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::bucket::s3::{Credentials, StoreConfig};
use engine::bucket::{Bucket, Condition, Content, Form, Put};
use engine::{
    BucketName, Database, DatabaseConfig, Durability, HookSet, Hooks, Mode, ObjectKey, Params, Request, Statement, StoreRequest,
    Transaction, Value,
};
use tokio::task::JoinSet;

use hosted::Hosted;
use it::support::OwnStore;
use report::{Bound, Report, median, now, percentile};

const CLIENTS: u64 = 64;
const ROUND: Duration = Duration::from_secs(10);
/// PUTs by themselves, one after the other, in each of two rounds.
const PUTS: usize = 500;
const BUCKET: &str = "bench-sync";

fn main() {
    let mut report = Report::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(many_clients(&mut report));
    report.write("sync").unwrap();
}

/// How long each PUT took, in milliseconds.
#[derive(Default)]
struct Puts(Mutex<Vec<f64>>);

impl Hooks for Puts {
    fn store_request(&self, request: &StoreRequest) {
        if request.operation == "PutObject" {
            self.0.lock().unwrap().push(request.took.as_secs_f64() * 1e3);
        }
    }
}

impl Puts {
    /// Since it was asked last.
    fn taken(&self) -> Vec<f64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn many_clients(report: &mut Report) {
    let asked = Arc::new(Puts::default());
    let hooks = HookSet::new([Arc::clone(&asked) as Arc<dyn Hooks>]);
    let (hosted, own) = (Hosted::telling(hooks).await, OwnStore::start(BUCKET).await);
    let (account, bucket) = (&own.place.account, BucketName::parse(BUCKET).unwrap());
    let store = StoreConfig {
        endpoint: Some(account.endpoint.parse().unwrap()),
        region: account.region.clone(),
        credentials: Credentials {
            access_key_id: account.access_key_id.clone(),
            secret_access_key: account.secret_access_key.clone(),
            session_token: None,
        }
        .into(),
        ca_bundle: None,
        kms_key_id: None,
    };
    let durability = Durability { mode: Mode::Sync, ..Durability::default() };
    let database = hosted.open_as(DatabaseConfig { durability, ..hosted::config("sync", store.clone(), &bucket) }).await;
    database.write(request("CREATE TABLE events(id INTEGER PRIMARY KEY, what TEXT NOT NULL)", Params::None)).await.unwrap();
    commit_for(&database, CLIENTS, Duration::from_secs(2)).await;

    asked.taken();
    let (before, begun) = (database.facts().txid, now());
    let took = commit_for(&database, CLIENTS, ROUND).await;
    let (seconds, deltas) = (begun.elapsed().as_secs_f64(), database.facts().txid - before);
    let theirs = asked.taken();
    let size = delta_size(&own, before, deltas).await;
    // The store's pace changes from one second to the next, so it is measured on both sides of what it is compared with.
    let puts_of = hosted.bucket_in(&store, &bucket);
    let mut put = puts(&*puts_of, 0..PUTS, size).await;
    let alone = commit_for(&database, 1, ROUND / 5).await;
    put.extend(puts(&*puts_of, PUTS..2 * PUTS, size).await);
    report.alone("sync, 64 clients: commits", "1/s", took.len() as f64 / seconds, Bound::AtLeast(2000.0));
    report.alone("sync, 64 clients: commits in a PUT", "", took.len() as f64 / deltas as f64, Bound::AtLeast(20.0));
    let quiet = ("a PUT of that size by itself, p50", median(&put));
    report.compare("sync, 64 clients: a commit, p50", "ms", median(&took), quiet, None);
    let quiet = ("a PUT of that size by itself, p99", percentile(&put, 99));
    report.compare("sync, 64 clients: a commit, p99", "ms", percentile(&took, 99), quiet, None);
    report.compare("sync, 64 clients: a commit, p50", "ms", median(&took), ("its own PUTs, p50", median(&theirs)), None);
    let own_puts = ("its own PUTs, p99", percentile(&theirs, 99));
    report.compare("sync, 64 clients: a commit, p99", "ms", percentile(&took, 99), own_puts, Some(Bound::AtMost(4.0)));
    report.compare("sync, one client: a commit, p50", "ms", median(&alone), ("a PUT by itself, p50", median(&put)), None);
}

fn request(sql: &str, params: Params) -> Request {
    Request { statements: vec![Statement { sql: sql.to_owned(), params }], transaction: Transaction::Immediate }
}

/// Each client commits one row after the other. How long each took, in milliseconds.
async fn commit_for(database: &Database, clients: u64, time: Duration) -> Vec<f64> {
    let mut tasks = JoinSet::new();
    let end = now() + time;
    for client in 0..clients {
        let database = database.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            while now() < end {
                let begun = now();
                let what = Value::Text(format!("client {client} has done its work number {} just now", took.len()));
                let insert = request("INSERT INTO events(what) VALUES (?)", Params::Positional(vec![what]));
                database.write(insert).await.unwrap();
                took.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            took
        });
    }
    tasks.join_all().await.concat()
}

/// Of one of the deltas, in bytes.
async fn delta_size(own: &OwnStore, before: u64, deltas: u64) -> usize {
    let txid = before + deltas / 2;
    own.place.find(&format!("sync.db.ltx/main/0000/{txid:016x}-{txid:016x}.ltx")).await.unwrap().len()
}

/// How long each takes, in milliseconds.
async fn puts(bucket: &dyn Bucket, numbers: Range<usize>, size: usize) -> Vec<f64> {
    let body: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(167) >> 3).to_le_bytes()[0]).collect();
    let mut took = Vec::new();
    for number in numbers {
        let put = Put { condition: Condition::IfAbsent, form: Form::plain("application/octet-stream") };
        let begun = now();
        bucket.put(&ObjectKey::new(format!("puts/{number}")), Content::from_bytes(body.clone().into()), put).await.unwrap();
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took
}
