//! The core workloads of the Yahoo! Cloud Serving Benchmark, by SQL: ten fields of 100 bytes, keys as a Zipf distribution picks them.

use anyhow::Context as _;
use engine::{Database, Value};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

use super::{Figure, Ground, Scale, Steps, Times, fill, now, statement};
use crate::cli::measure::real;

const FIELDS: usize = 10;
const FIELD: usize = 100;
/// As YCSB has it.
const SKEW: f64 = 0.99;
const LONGEST_RANGE: i64 = 100;

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Read,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
}

impl Operation {
    const ALL: [Self; 5] = [Self::Read, Self::Update, Self::Insert, Self::Scan, Self::ReadModifyWrite];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::ReadModifyWrite => "read-modify-write",
        }
    }
}

/// A workload: of a hundred operations so many are of the first kind, and the rest of the second.
struct Workload {
    name: &'static str,
    often: (Operation, u32),
    else_: Operation,
    /// What was inserted last is read most.
    of_the_latest: bool,
}

const WORKLOADS: [Workload; 6] = [
    Workload { name: "A", often: (Operation::Read, 50), else_: Operation::Update, of_the_latest: false },
    Workload { name: "B", often: (Operation::Read, 95), else_: Operation::Update, of_the_latest: false },
    Workload { name: "C", often: (Operation::Read, 100), else_: Operation::Read, of_the_latest: false },
    Workload { name: "D", often: (Operation::Read, 95), else_: Operation::Insert, of_the_latest: true },
    Workload { name: "E", often: (Operation::Scan, 95), else_: Operation::Insert, of_the_latest: false },
    Workload { name: "F", often: (Operation::Read, 50), else_: Operation::ReadModifyWrite, of_the_latest: false },
];

pub(super) async fn run(ground: &Ground, scale: &Scale, steps: &Steps) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for workload in &WORKLOADS {
        steps.next(format!("YCSB {}", workload.name));
        let (database, keys, operations) = (ground.database.clone(), scale.keys, scale.ycsb_operations);
        let measured = engine::spawn_owned(async move { of_workload(&database, workload, keys, operations).await });
        figures.extend(measured.await.context("a client failed")??);
    }
    Ok(figures)
}

async fn of_workload(database: &Database, workload: &Workload, keys: usize, operations: usize) -> anyhow::Result<Vec<Figure>> {
    let mut client = Client::of(database, workload, keys)?;
    client.load().await?;
    for _ in 0..operations / 10 {
        client.next().await?;
    }
    let (mut times, mut all) = (Operation::ALL.map(|operation| (operation, Times::new())), Times::new());
    let begun = now();
    for _ in 0..operations {
        let asked = now();
        let done = client.next().await?;
        let took = now().saturating_duration_since(asked);
        all.record(took);
        times.iter_mut().filter(|(operation, _)| *operation == done).for_each(|(_, times)| times.record(took));
    }
    let seconds = now().saturating_duration_since(begun).as_secs_f64();
    let of_each =
        times.iter().filter(|(_, times)| times.count() > 0).map(|(operation, times)| Figure::of(operation.name(), workload.name, times));
    Ok([Figure::rate("all", workload.name, &all, seconds)].into_iter().chain(of_each).collect())
}

struct Client<'a> {
    database: &'a Database,
    workload: &'a Workload,
    random: SmallRng,
    picks: Zipf<f64>,
    keys: usize,
}

impl<'a> Client<'a> {
    fn of(database: &'a Database, workload: &'a Workload, keys: usize) -> anyhow::Result<Self> {
        let picks = Zipf::new(real(keys as u64), SKEW).context("the distribution of keys")?;
        // The same in each run.
        Ok(Self { database, workload, random: SmallRng::seed_from_u64(42), picks, keys })
    }

    async fn load(&mut self) -> anyhow::Result<()> {
        let columns: Vec<_> = (0..FIELDS).map(|field| format!("field{field} TEXT NOT NULL")).collect();
        let table = format!("CREATE TABLE usertable(ycsb_key TEXT PRIMARY KEY, {})", columns.join(", "));
        self.database.write(statement("DROP TABLE IF EXISTS usertable", Vec::new())).await?;
        self.database.write(statement(&table, Vec::new())).await?;
        let rows: Vec<_> = (0..self.keys).map(|number| self.row(number)).collect();
        fill(self.database, INSERT, rows.into_iter()).await
    }

    /// One operation, as chance has it.
    async fn next(&mut self) -> anyhow::Result<Operation> {
        let (often, share) = self.workload.often;
        let operation = if self.random.random_range(0..100) < share { often } else { self.workload.else_ };
        match operation {
            Operation::Read => self.read().await?,
            Operation::Update => self.update().await?,
            Operation::Insert => {
                let row = self.row(self.keys);
                self.keys += 1;
                self.database.write(statement(INSERT, row)).await?;
            }
            Operation::Scan => {
                let (key, rows) = (self.key(), self.random.random_range(1..=LONGEST_RANGE));
                let sql = "SELECT * FROM usertable WHERE ycsb_key >= ? ORDER BY ycsb_key LIMIT ?";
                self.database.read(statement(sql, vec![key, Value::Integer(rows)])).await?;
            }
            Operation::ReadModifyWrite => {
                self.read().await?;
                self.update().await?;
            }
        }
        Ok(operation)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let key = self.key();
        self.database.read(statement("SELECT * FROM usertable WHERE ycsb_key = ?", vec![key])).await?;
        Ok(())
    }

    async fn update(&mut self) -> anyhow::Result<()> {
        let (key, field, value) = (self.key(), self.random.random_range(0..FIELDS), self.field());
        self.database.write(statement(&format!("UPDATE usertable SET field{field} = ? WHERE ycsb_key = ?"), vec![value, key])).await?;
        Ok(())
    }

    /// One of those that are there.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from one to the number of keys")]
    fn key(&mut self) -> Value {
        let rank = self.picks.sample(&mut self.random) as usize;
        let number = if self.workload.of_the_latest { self.keys.saturating_sub(rank) } else { rank - 1 };
        Value::Text(name(number))
    }

    fn row(&mut self, number: usize) -> Vec<Value> {
        let key = Value::Text(name(number));
        [key].into_iter().chain((0..FIELDS).map(|_| self.field())).collect()
    }

    fn field(&mut self) -> Value {
        Value::Text((0..FIELD).map(|_| char::from(self.random.random_range(b' '..=b'~'))).collect())
    }
}

const INSERT: &str = "INSERT INTO usertable VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Scattered, so that what is asked often does not lie side by side.
fn name(number: usize) -> String {
    format!("user{:020}", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
