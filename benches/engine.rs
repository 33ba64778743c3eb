//! The engine beside its peers, in one run: `make bench AREA=engine`.
//!
//! Each figure is the median of [`ROUNDS`] rounds, and in each round all peers take their turn, so that a busy machine hurts them alike.
//! Each round asserts its result before it counts.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

mod costs;
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod hosted;
mod report;
mod subject;

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine::MemoryDatabase;
use report::{Bound, Report, median, micros, time};
use rusqlite::{Connection, params};
use subject::{Kind, Subject, options};

const ROUNDS: usize = 5;
/// Rows of 1 KB: 54 MB.
const ROWS: i64 = 50_000;
const READS: usize = 100_000;
const UPSERTS: usize = 100_000;

fn load(connection: &Connection) -> Duration {
    connection.execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB); CREATE TABLE kv(k TEXT PRIMARY KEY, v BLOB);").unwrap();
    let row = [7_u8; 1000];
    time(|| {
        connection.execute_batch("BEGIN").unwrap();
        let mut insert = connection.prepare("INSERT INTO t(b) VALUES (?)").unwrap();
        for _ in 0..ROWS {
            insert.execute([&row]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    })
}

/// Row numbers without a pattern, the same for everyone.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % ROWS.unsigned_abs()).unwrap() + 1
    }
}

fn point_reads(connection: &Connection, count: usize) -> Duration {
    let mut numbers = Numbers(1);
    let mut select = connection.prepare("SELECT b FROM t WHERE a = ?").unwrap();
    time(|| {
        for _ in 0..count {
            let length = select.query_row([numbers.next()], |row| Ok(row.get_ref(0)?.as_blob()?.len())).unwrap();
            assert_eq!(length, 1000);
        }
    })
}

/// Random rows of the large table, each a commit of its own.
fn large_upserts(connection: &Connection, count: usize) -> Duration {
    let mut numbers = Numbers(3);
    let mut upsert = connection.prepare("INSERT INTO t VALUES (?1, ?2) ON CONFLICT (a) DO UPDATE SET b = ?2").unwrap();
    let mut value = [7_u8; 1000];
    time(|| {
        for n in 0..count {
            // SQLite writes nothing where a row already holds the same bytes.
            value[..8].copy_from_slice(&n.to_le_bytes());
            assert_eq!(upsert.execute(params![numbers.next(), value]).unwrap(), 1);
        }
    })
}

/// Keys of a small table, one after the other, each a commit of its own: little but the commit itself.
fn upserts(connection: &Connection, count: usize) -> Duration {
    let keys: Vec<String> = (0..20_000).map(|key| format!("k{key}")).collect();
    let mut upsert = connection.prepare("INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = ?2").unwrap();
    let mut value = [7_u8; 100];
    time(|| {
        for n in 0..count {
            value[..8].copy_from_slice(&n.to_le_bytes());
            assert_eq!(upsert.execute(params![keys[n % keys.len()], value]).unwrap(), 1);
        }
    })
}

fn scan(connection: &Connection) -> Duration {
    time(|| {
        let sum: i64 = connection.query_row("SELECT sum(length(b)) FROM t WHERE b <> x'00'", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, ROWS * 1000);
    })
}

fn sorted_aggregate(connection: &Connection) -> Duration {
    let sql = "SELECT count(*) FROM (SELECT a % 1000 AS g, count(*) AS n, max(hex(substr(b, 1, 8))) FROM t GROUP BY g ORDER BY n, g DESC)";
    time(|| assert_eq!(connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 1000))
}

/// How many point reads one thread does while another does [`UPSERTS`].
fn reads_beside_a_writer(subject: &Subject, writer: &Connection) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = subject.connect();
        let stopped = &stop;
        let reads = scope.spawn(move || {
            let mut select = reader.prepare("SELECT length(b) FROM t WHERE a = ?").unwrap();
            let mut numbers = Numbers(2);
            let mut done = 0_u32;
            while !stopped.load(Ordering::Relaxed) {
                // memdb may find the writer's lock after its timeout; only answers count.
                done += u32::from(select.query_row([numbers.next()], |row| row.get::<_, i64>(0)).is_ok());
            }
            done
        });
        upserts(writer, UPSERTS);
        stop.store(true, Ordering::Relaxed);
        f64::from(reads.join().unwrap())
    })
}

/// What everyone is measured by, in the order in which [`Samples::round`] does it; the bounds are for the ratio to `:memory:`.
const FIGURES: [(&str, &str, f64); 6] = [
    ("bulk load of 50,000 rows", "ms", 2.0),
    ("point read", "µs", 1.15),
    ("autocommit upsert of a random row of 1 KB", "µs", 1.5),
    ("autocommit upsert of 100 bytes in a small table", "µs", 1.5),
    ("full scan", "ms", 1.15),
    ("aggregate with a sort", "ms", 1.15),
];

/// Of one subject, a value a round.
#[derive(Default)]
struct Samples {
    figures: [Vec<f64>; FIGURES.len()],
    beside: Vec<f64>,
}

impl Samples {
    fn round(&mut self, kind: Kind) {
        let subject = Subject::new(kind);
        let connection = subject.connect();
        let loaded = load(&connection).as_secs_f64() * 1e3;
        point_reads(&connection, READS / 10);
        let read = micros(point_reads(&connection, READS), READS);
        let upserted_large = micros(large_upserts(&connection, UPSERTS), UPSERTS);
        upserts(&connection, 20_000);
        let upserted = micros(upserts(&connection, UPSERTS), UPSERTS);
        let scanned = scan(&connection).as_secs_f64() * 1e3;
        let sorted = sorted_aggregate(&connection).as_secs_f64() * 1e3;
        for (samples, value) in self.figures.iter_mut().zip([loaded, read, upserted_large, upserted, scanned, sorted]) {
            samples.push(value);
        }
        if kind != Kind::Memory {
            self.beside.push(reads_beside_a_writer(&subject, &connection));
        }
    }
}

/// Write latencies in microseconds, p99, while `beside` runs over and over on another thread.
fn write_p99(database: &MemoryDatabase, beside: Option<&(dyn Fn() + Sync)>) -> f64 {
    let connection = database.connect().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        if let Some(beside) = beside {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    beside();
                }
            });
        }
        let mut upsert = connection.prepare("INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = ?2").unwrap();
        let mut write = |n: usize| {
            let mut value = [7_u8; 100];
            value[..8].copy_from_slice(&n.to_le_bytes());
            assert_eq!(upsert.execute(params![format!("k{}", n % 20_000), value]).unwrap(), 1);
        };
        let mut took: Vec<f64> = (0..UPSERTS).map(|n| micros(time(|| write(n)), 1)).collect();
        stop.store(true, Ordering::Relaxed);
        took.sort_by(f64::total_cmp);
        took[took.len() * 99 / 100]
    })
}

fn snapshot_beside_writes(report: &mut Report) {
    let database = MemoryDatabase::new(options()).unwrap();
    load(&database.connect().unwrap());
    let snapshot = || {
        use sha2::Digest as _;
        let mut image = database.pin().image();
        let mut hash = sha2::Sha256::new();
        let mut part = vec![0; 1 << 20];
        while let n @ 1.. = image.read(&mut part).unwrap() {
            hash.update(&part[..n]);
        }
        assert_ne!(hash.finalize().as_slice(), [0; 32]);
    };
    write_p99(&database, None);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (write_p99(&database, Some(&snapshot)), write_p99(&database, None))).collect();
    let (with, without): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    report.compare("write p99 beside a snapshot", "µs", median(&with), ("without", median(&without)), Some(Bound::AtMost(1.5)));
}

fn beside_peers(report: &mut Report) {
    let mut samples = [Kind::Ours, Kind::Memory, Kind::Memdb, Kind::Wal].map(|kind| (kind, Samples::default()));
    for _ in 0..ROUNDS {
        for (kind, samples) in &mut samples {
            samples.round(*kind);
        }
    }
    let [(_, ours), peers @ ..] = &samples;
    for (at, (name, unit, bound)) in FIGURES.into_iter().enumerate() {
        for (kind, theirs) in peers {
            let bound = (*kind == Kind::Memory).then_some(Bound::AtMost(bound));
            report.compare(name, unit, median(&ours.figures[at]), (kind.name(), median(&theirs.figures[at])), bound);
        }
    }
    for (kind, theirs) in peers.iter().filter(|(kind, _)| *kind != Kind::Memory) {
        let bound = (*kind == Kind::Memdb).then_some(Bound::AtLeast(5.0));
        report.compare("reads beside a writer", "reads", median(&ours.beside), (kind.name(), median(&theirs.beside)), bound);
    }
}

fn main() {
    let mut report = Report::new();
    beside_peers(&mut report);
    snapshot_beside_writes(&mut report);
    costs::pins_and_forks(&mut report);
    costs::idle_databases(&mut report);
    costs::beside_the_seed(&mut report);
    report.write("engine").unwrap();
}
