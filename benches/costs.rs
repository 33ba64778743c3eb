//! What things cost that the engine does and its peers do not: pins, forks, idle databases; and the seed, where it is installed.

use std::process::Command;

use engine::{Database, Flush, MemoryDatabase, Pin, Request, Statement};
use rusqlite::Connection;

use crate::hosted::Hosted;
use crate::report::{Bound, Report, median, micros, resident, time};
use crate::subject::options;
use crate::{ROUNDS, UPSERTS, upserts};

/// At 1 MB and at 1 GB.
pub fn pins_and_forks(report: &mut Report) {
    for (name, rows) in [("1 MB", 900), ("1 GB", 950_000)] {
        let before = resident();
        let database = MemoryDatabase::new(options()).unwrap();
        let connection = database.connect().unwrap();
        let fill = "CREATE TABLE t(b); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ";
        connection.execute_batch(&format!("{fill}{rows}) INSERT INTO t SELECT randomblob(1000) FROM n")).unwrap();
        let grown = resident() - before;
        let pins: Vec<f64> = (0..ROUNDS).map(|_| micros(time(|| (0..10_000).for_each(|_| drop(database.pin()))), 10_000)).collect();
        report.alone(&format!("pin at {name}"), "µs", median(&pins), Bound::AtMost(5.0));
        let pin = database.pin();
        let forks: Vec<f64> = (0..ROUNDS).map(|_| micros(time(|| (0..1000).for_each(|_| drop(fork(&pin)))), 1000)).collect();
        report.alone(&format!("fork at {name}"), "µs", median(&forks), Bound::AtMost(50.0));
        let (ours, theirs) = (database.memory_use(), fork(&pin).memory_use());
        assert_eq!((theirs.live, theirs.pinned, theirs.staged), (ours.live, 0, 0), "a fork copies no page");
        // Of the large one: in the small one the first pages weigh too much.
        if rows > 100_000 {
            let size = database.size() as f64;
            report.alone("live bytes of the store by the file's size", "×", ours.live as f64 / size, Bound::AtMost(1.15));
            report.alone("resident bytes of the process by the file's size", "×", grown as f64 / size, Bound::AtMost(1.15));
        }
    }
}

fn fork(pin: &Pin) -> MemoryDatabase {
    MemoryDatabase::fork(pin, options())
}

/// What one more of them takes, as the process sees it: opened by the host, with a few small tables, each written and read once, and with
/// its snapshot in the store of `dev`, which runs in this process, too.
pub fn idle_databases(report: &mut Report) {
    const FIRST: usize = 100;
    const MORE: usize = 300;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let each = runtime.block_on(async {
        let hosted = Hosted::start().await;
        for number in 0..FIRST {
            use_once(&hosted.open(&format!("db-{number}")).await).await;
        }
        let before = resident();
        for number in FIRST..FIRST + MORE {
            use_once(&hosted.open(&format!("db-{number}")).await).await;
        }
        let each = (resident() - before) as f64 / MORE as f64 / 1024.0;
        assert_eq!(hosted.host.names().len(), FIRST + MORE);
        each
    });
    report.alone("one more idle database with a few small tables", "KB", each, Bound::AtMost(150.0));
}

async fn use_once(database: &Database) {
    let sql = "CREATE TABLE a(k TEXT PRIMARY KEY, v BLOB); CREATE TABLE b(x INTEGER PRIMARY KEY, y, z); CREATE INDEX i ON b(y); \
               CREATE TABLE c(x); INSERT INTO a VALUES('k', 'v'); INSERT INTO b VALUES(1, 2, 3); INSERT INTO c VALUES(4)";
    database.write(request(sql)).await.unwrap();
    assert_eq!(database.read(request("SELECT * FROM a, b, c")).await.unwrap().results[0].rows.len(), 1);
    database.flush(Flush::Forced).await.unwrap();
}

fn request(sql: &str) -> Request {
    Request { statements: vec![Statement { sql: sql.to_owned(), ..Statement::default() }], ..Request::default() }
}

/// The seed's key-value store, called from Python as its users do, beside prepared statements on ours.
pub fn beside_the_seed(report: &mut Report) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let script = r#"exec "$("$1/testbench/tools.sh" seed)/python" "$1/benches/seed.py""#;
    let output = Command::new("sh").args(["-c", script, "sh", root]).env_remove("AWS_CA_BUNDLE").output().unwrap();
    let Ok(seed) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
        println!("the seed's package is not installed: {}", String::from_utf8_lossy(&output.stderr).trim());
        return;
    };
    let connection: Connection = MemoryDatabase::new(options()).unwrap().connect().unwrap();
    connection.execute_batch("CREATE TABLE kv(k TEXT PRIMARY KEY, v BLOB)").unwrap();
    upserts(&connection, 20_000);
    let ours: Vec<f64> = (0..ROUNDS).map(|_| micros(upserts(&connection, UPSERTS), UPSERTS)).collect();
    let theirs = seed["upsert"].as_f64().unwrap();
    report.compare("upsert of a small database", "µs", median(&ours), ("the seed's kv.set_bytes", theirs), None);
}
