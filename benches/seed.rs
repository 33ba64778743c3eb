//! Beside the Python package, in one run on one MinIO: `make bench AREA=seed`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod hosted;
#[path = "../tests/it"]
mod it {
    #[allow(dead_code, unused_imports, reason = "the tests use all of it")]
    pub mod support;
}
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod files;
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod report;

use std::collections::BTreeMap;
use std::process::Command;

use engine::bucket::s3::{Credentials, StoreConfig};
use engine::{
    BranchName, BucketName, Database, DatabaseName, Durability, Flush, MemoryDatabase, MemoryOptions, ObjectKey, OverwriteRequest, Point,
    Request, SqlPool, Statement, past_state,
};
use rusqlite::Connection;

use hosted::Hosted;
use it::support::OwnStore;
use report::{Bound, Report, median, now};

/// Rows of 1,000 random bytes: 52 MB as a file.
const ROWS: usize = 48_000;
const ROUNDS: usize = 5;
const BUCKET: &str = "bench-seed";
const KEY: &str = "ours.db";

fn main() {
    let mut report = Report::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let own = OwnStore::start(BUCKET).await;
        let theirs = of_the_package(&own);
        let ours = of_ours(&own).await;
        let bounds = [("durable", 0.5), ("flush", 0.5), ("create", 0.3), ("switch", 0.3), ("overwrite", 0.3), ("restore", 0.5)];
        for (kind, bound) in bounds {
            let name = match kind {
                "durable" => "52 MB, one change: until it is in the bucket",
                "flush" => "52 MB, one change: until the plain file has it, too",
                "create" => "a branch made",
                "switch" => "switch to a branch",
                "overwrite" => "overwrite of main",
                _ => "restore",
            };
            // The package has one way to bring a change into the bucket.
            let theirs = &theirs[if kind == "durable" { "flush" } else { kind }];
            let (ours, theirs) = (median(&ours[kind]) * 1e3, median(theirs) * 1e3);
            report.compare(name, "ms", ours, ("the package", theirs), Some(Bound::AtMost(bound)));
        }
        for kind in ["flush", "create", "left", "overwrite"] {
            let (took, copies) = (median(&ours[kind]) * 1e3, median(&ours["copies"]) * 1e3);
            report.compare(&format!("{kind}, beside the store alone"), "ms", took, ("two copies of 52 MB at once", copies), None);
        }
        keys(&mut report);
        files::large_file(&mut report).await;
    });
    report.write("seed").unwrap();
}

/// Seconds of each.
type Took = BTreeMap<String, Vec<f64>>;

fn python(script: &str) -> Command {
    let mut command = Command::new("bash");
    let home = env!("CARGO_MANIFEST_DIR");
    command.args(["-c", r#"exec "$("$1/testbench/tools.sh" seed)/python" "$1/benches/$2" "${@:3}""#, "sh", home, script]);
    command.env_remove("AWS_CA_BUNDLE");
    command
}

fn of_the_package(own: &OwnStore) -> Took {
    let mut script = python("seed_store.py");
    let output = script.arg(ROWS.to_string()).envs(own.place.settings()).env("BUCKETHEAD_KEY", "theirs.db").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn of_ours(own: &OwnStore) -> Took {
    let account = &own.place.account;
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
    let (hosted, bucket) = (Hosted::start().await, BucketName::parse(BUCKET).unwrap());
    let config = engine::DatabaseConfig { durability: Durability::default(), ..hosted::config("ours", store.clone(), &bucket) };
    let (name, database) = (config.name.clone(), hosted.open_as(config).await);
    let fill = format!(
        "insert into t(content) select randomblob(1000) from (with recursive n(x) as (values(1) union all select x + 1 from n where x < {ROWS}) select x from n)"
    );
    write(&database, "create table t(id integer primary key, content blob not null)").await;
    write(&database, &fill).await;
    database.flush(Flush::Forced).await.unwrap();

    let mut took = Took::new();
    let confirming = database.clone().confirming();
    for _ in 0..ROUNDS {
        let begun = now();
        change(&confirming).await;
        took.entry("durable".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
    }
    for _ in 0..ROUNDS {
        change(&database).await;
        let begun = now();
        database.flush(Flush::Forced).await.unwrap();
        took.entry("flush".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
    }
    for round in 0..ROUNDS {
        // What `.prev` and the plain file cost a store that does nothing else.
        let (bucket, key) = (hosted.bucket_in(&store, &bucket), ObjectKey::new(KEY));
        let to = |place: &str| ObjectKey::new(format!("copy-{place}-{round}"));
        let begun = now();
        let (one, other) = (to("one"), to("other"));
        let (one, other) = tokio::join!(bucket.copy(&key, None, &one), bucket.copy(&key, None, &other));
        took.entry("copies".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
        one.unwrap();
        other.unwrap();
    }
    let branch = |number: usize| BranchName::parse(&format!("b{number}")).unwrap();
    for number in 0..ROUNDS {
        change(&database).await;
        let begun = now();
        hosted.host.create_branch_of(&name, &branch(number), None, Point::Newest).await.unwrap();
        took.entry("create".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
    }
    for number in 0..ROUNDS {
        change(&database).await;
        let begun = now();
        hosted.host.switch_branch_by_hand(&name, &branch(number)).await.unwrap();
        took.entry("switch".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
        // The branch that was left gets its plain file and is released behind the switch.
        until_released(&hosted, &name, &BranchName::main()).await;
        took.entry("left".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
        change(&database).await;
        let begun = now();
        let overwrite = OverwriteRequest { id: None, from: branch(number), txid: None, expected: None, keep_as: None, meant_for: None };
        hosted.host.overwrite_branch(&name, &BranchName::main(), overwrite).await.unwrap();
        took.entry("overwrite".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
        // As the package is left.
        hosted.host.switch_branch_by_hand(&name, &BranchName::main()).await.unwrap();
        until_released(&hosted, &name, &branch(number)).await;
    }
    database.flush(Flush::Forced).await.unwrap();
    drop(database);
    for _ in 0..ROUNDS {
        let key = engine::DatabaseKey::parse(KEY).unwrap();
        let options = MemoryOptions::new(SqlPool::new(2.try_into().unwrap()));
        let begun = now();
        let state = past_state(hosted.bucket_in(&store, &bucket), key, &BranchName::main(), Point::Newest, options).await.unwrap();
        took.entry("restore".to_owned()).or_default().push(begun.elapsed().as_secs_f64());
        let rows: i64 = state.memory.connect().unwrap().query_row("select count(*) from t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, i64::try_from(ROWS).unwrap());
    }
    took
}

async fn until_released(hosted: &Hosted, name: &DatabaseName, branch: &BranchName) {
    loop {
        let listing = hosted.host.branches(name).await.unwrap();
        if !listing.branches.iter().any(|facts| facts.name == *branch && facts.holder.is_some()) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn write(database: &Database, sql: &str) {
    let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
    database.write(Request { statements: vec![statement], ..Request::default() }).await.unwrap();
}

async fn change(database: &Database) {
    write(database, "update t set content = randomblob(1000) where id = 7").await;
}

/// The package's calls on a database without a bucket, beside the statements of ours on the engine.
fn keys(report: &mut Report) {
    const COUNT: usize = 20_000;
    const KEYS: usize = 5_000;
    let output = python("seed.py").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: BTreeMap<String, f64> = serde_json::from_slice(&output.stdout).unwrap();
    let memory = MemoryDatabase::new(MemoryOptions::new(SqlPool::new(2.try_into().unwrap()))).unwrap();
    let connection: Connection = memory.connect().unwrap();
    connection
        .execute_batch("create table bh_kv(key text primary key, value blob not null, created_at real not null, updated_at real not null)")
        .unwrap();
    let (mut sets, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let set = "insert into bh_kv (key, value, created_at, updated_at) values (?1, ?2, ?3, ?3) \
                   on conflict(key) do update set value = excluded.value, updated_at = excluded.updated_at";
        let mut set = connection.prepare(set).unwrap();
        let begun = now();
        for number in 0..COUNT {
            set.execute((format!("k{}", number % KEYS), format!("{number:0100}").as_bytes(), 1.5)).unwrap();
        }
        sets.push(begun.elapsed().as_secs_f64() / COUNT as f64 * 1e6);
        let mut get = connection.prepare("select value from bh_kv where key = ?1").unwrap();
        let begun = now();
        for number in 0..COUNT {
            let value: Vec<u8> = get.query_row([format!("k{}", number * 7919 % KEYS)], |row| row.get(0)).unwrap();
            assert_eq!(value.len(), 100);
        }
        gets.push(begun.elapsed().as_secs_f64() / COUNT as f64 * 1e6);
    }
    report.compare("kv.set in the engine", "µs", median(&sets), ("the package", theirs["upsert"]), Some(Bound::AtMost(0.5)));
    report.compare("kv.get in the engine", "µs", median(&gets), ("the package", theirs["read"]), Some(Bound::AtMost(0.5)));
}
