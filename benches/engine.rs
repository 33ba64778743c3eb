//! The engine beside `:memory:` and `memdb`, in one run: `make bench AREA=engine`.
//!
//! Each figure is the median of [`ROUNDS`] rounds, and in each round all peers take their turn, so that a busy machine hurts them alike.
//! Each round asserts its result before it counts.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

mod report;

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine::{MemoryDatabase, MemoryOptions, SqlThreads};
use report::{Bound, Report, median, time};
use rusqlite::{Connection, OpenFlags, params};

const ROUNDS: usize = 5;
/// Rows of 1 KB: 54 MB.
const ROWS: i64 = 50_000;
const READS: usize = 100_000;
const UPSERTS: usize = 50_000;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Memory,
    Memdb,
}

/// A database that can be opened again.
struct Subject {
    kind: Kind,
    ours: Option<MemoryDatabase>,
    name: String,
}

impl Subject {
    fn new(kind: Kind, round: usize) -> Self {
        let ours = (kind == Kind::Ours).then(|| MemoryDatabase::new(options()).unwrap());
        Self { kind, ours, name: format!("file:/bench-{round}?vfs=memdb") }
    }

    fn connect(&self) -> Connection {
        let connection = match (self.kind, &self.ours) {
            (Kind::Ours, Some(database)) => return database.connect().unwrap(),
            (Kind::Memdb, _) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(&self.name, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).unwrap()
            }
            _ => Connection::open_in_memory().unwrap(),
        };
        connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;").unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }
}

fn options() -> MemoryOptions {
    MemoryOptions { max_size: 4 << 30, ..MemoryOptions::new(SqlThreads::new(2.try_into().unwrap())) }
}

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

fn upserts(connection: &Connection, count: usize) -> Duration {
    let keys: Vec<String> = (0..20_000).map(|key| format!("k{key}")).collect();
    let mut upsert = connection.prepare("INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = ?2").unwrap();
    let mut value = [7_u8; 100];
    time(|| {
        for n in 0..count {
            // SQLite writes nothing where a row already holds the same bytes.
            value[..8].copy_from_slice(&n.to_le_bytes());
            upsert.execute(params![keys[n % keys.len()], value]).unwrap();
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
        let reads = scope.spawn(|| {
            let reader = subject.connect();
            let mut select = reader.prepare("SELECT length(b) FROM t WHERE a = ?").unwrap();
            let mut numbers = Numbers(2);
            let mut done = 0_u32;
            while !stop.load(Ordering::Relaxed) {
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

fn micros(duration: Duration, count: usize) -> f64 {
    duration.as_secs_f64() * 1e6 / count as f64
}

#[derive(Default)]
struct Samples {
    load: Vec<f64>,
    read: Vec<f64>,
    upsert: Vec<f64>,
    scan: Vec<f64>,
    sort: Vec<f64>,
    beside: Vec<f64>,
}

impl Samples {
    fn round(&mut self, kind: Kind, round: usize) {
        let subject = Subject::new(kind, round);
        let connection = subject.connect();
        self.load.push(load(&connection).as_secs_f64() * 1e3);
        point_reads(&connection, READS / 10);
        self.read.push(micros(point_reads(&connection, READS), READS));
        self.upsert.push(micros(upserts(&connection, UPSERTS), UPSERTS));
        self.scan.push(scan(&connection).as_secs_f64() * 1e3);
        self.sort.push(sorted_aggregate(&connection).as_secs_f64() * 1e3);
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
        let mut took: Vec<f64> = (0..UPSERTS)
            .map(|n| micros(time(|| assert_eq!(upsert.execute(params![format!("k{}", n % 20_000), [7_u8; 100]]).unwrap(), 1)), 1))
            .collect();
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
    let (with, without) = rounds.into_iter().unzip();
    report.compare("write p99 beside a snapshot", "µs", median(with), ("without", median(without)), Bound::AtMost(1.5));
}

fn pins(report: &mut Report) {
    let mut overheads = Vec::new();
    for (name, rows) in [("pin at 1 MB", 900), ("pin at 1 GB", 950_000)] {
        let database = MemoryDatabase::new(options()).unwrap();
        let connection = database.connect().unwrap();
        let fill = "CREATE TABLE t(b); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ";
        connection.execute_batch(&format!("{fill}{rows}) INSERT INTO t SELECT zeroblob(1000) FROM n")).unwrap();
        let cost = median((0..ROUNDS).map(|_| micros(time(|| (0..10_000).for_each(|_| drop(database.pin()))), 10_000)).collect());
        report.alone(name, "µs", cost, Bound::AtMost(5.0));
        let used = database.memory_use();
        overheads.push(used.live as f64 / database.size() as f64);
    }
    // Of the large one: in the small one the first pages weigh too much.
    report.alone("live bytes of the store by the file's size", "×", overheads[1], Bound::AtMost(1.15));
}

fn main() {
    let mut report = Report::new();
    let [mut ours, mut memory, mut memdb] = [Samples::default(), Samples::default(), Samples::default()];
    for round in 0..ROUNDS {
        ours.round(Kind::Ours, round);
        memory.round(Kind::Memory, round);
        memdb.round(Kind::Memdb, round);
    }
    let mut beside_memory = |name, unit, us: Vec<f64>, them: Vec<f64>, bound| {
        report.compare(name, unit, median(us), (":memory:", median(them)), Bound::AtMost(bound));
    };
    beside_memory("point read", "µs", ours.read, memory.read, 1.15);
    beside_memory("autocommit upsert", "µs", ours.upsert, memory.upsert, 1.5);
    beside_memory("bulk load of 50,000 rows", "ms", ours.load, memory.load, 2.0);
    beside_memory("full scan", "ms", ours.scan, memory.scan, 1.15);
    beside_memory("aggregate with a sort", "ms", ours.sort, memory.sort, 1.15);
    report.compare("reads beside a writer", "reads", median(ours.beside), ("memdb", median(memdb.beside)), Bound::AtLeast(5.0));
    snapshot_beside_writes(&mut report);
    pins(&mut report);
    report.write("engine").unwrap();
}
