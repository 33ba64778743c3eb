//! Runs a scenario, and counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use engine::{
    Clock as _, Database, Durability, FlushEnd, FlushKind, FlushOf, Hooks, Mode as EngineMode, Params, Request, RequestClass,
    SnapshotPolicy, Statement, StoreRequest, SystemClock, Transaction, Value,
};
use http::Method;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::estimate;
use super::prices::Bill;
use super::scenario::Scenario;
use crate::cli::measure::{Latency, Times, Wish};
use crate::cli::session::{Sent, Session, whole};
use crate::cli::show;

/// When commits are in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Mode {
    /// With the next snapshot of the whole, as the Python package has it.
    Snapshot,
    /// With the next delta.
    Stream,
    /// Before they are confirmed.
    Sync,
}

impl Mode {
    pub(super) fn wish(self, scenario: &Scenario) -> Wish {
        let Wish { durability, snapshots } = Wish::by_hand();
        let interval = scenario.flush_interval();
        let snapshots = SnapshotPolicy { interval, keep_previous: scenario.keep_previous, ..snapshots };
        let mode = match self {
            Self::Snapshot => EngineMode::Snapshot,
            Self::Stream => EngineMode::Stream,
            Self::Sync => EngineMode::Sync,
        };
        Wish { durability: Durability { mode, stream_interval: interval, ..durability }, snapshots }
    }
}

/// Requests of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) operation: String,
    pub(super) class: String,
    pub(super) count: u64,
    pub(super) failed: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

impl Asked {
    /// None yet.
    pub(super) fn of(operation: &str) -> Self {
        let (operation, class) = (operation.to_owned(), RequestClass::of(operation).as_str().to_owned());
        Self { operation, class, count: 0, failed: 0, sent_bytes: 0, received_bytes: 0 }
    }
}

/// Uploads of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Flushes {
    pub(super) kind: String,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    /// In microseconds.
    pub(super) latency: Option<Latency>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Writes {
    /// As many as the scenario wants.
    pub(super) wanted: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    /// What the last of those ended in.
    pub(super) error: Option<String>,
    pub(super) per_second: f64,
    /// In microseconds, from the moment at which a write was due: waiting for others counts.
    pub(super) latency: Option<Latency>,
}

/// One second, or several of a long run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Span {
    /// From the start.
    pub(super) second: u64,
    pub(super) done: u64,
    pub(super) latency: Option<Latency>,
}

/// Counts what hooks tell.
#[derive(Default)]
pub(super) struct Tally {
    requests: Mutex<BTreeMap<String, Asked>>,
    flushes: Mutex<BTreeMap<FlushKind, (Flushes, Times)>>,
}

impl Hooks for Tally {
    fn flush_ended(&self, flush: &FlushOf, end: &FlushEnd) {
        let mut flushes = self.flushes.lock();
        let new = || (Flushes { kind: flush.kind.as_str().to_owned(), completed: 0, failed: 0, bytes: 0, latency: None }, Times::new());
        let (of, times) = flushes.entry(flush.kind).or_insert_with(new);
        match end {
            FlushEnd::Completed { txid: _, bytes, took } => {
                of.completed += 1;
                of.bytes += bytes;
                times.record(*took);
            }
            FlushEnd::Failed { .. } => of.failed += 1,
            FlushEnd::Skipped => {}
        }
    }

    fn store_request(&self, request: &StoreRequest) {
        let mut requests = self.requests.lock();
        let of = requests.entry(request.operation.to_string()).or_insert_with(|| Asked::of(&request.operation));
        of.count += 1;
        of.failed += u64::from(request.has_failed());
        of.sent_bytes += request.sent;
        of.received_bytes += request.received;
    }
}

impl Tally {
    pub(super) fn requests(&self) -> Vec<Asked> {
        self.requests.lock().values().cloned().collect()
    }

    pub(super) fn flushes(&self) -> Vec<Flushes> {
        self.flushes.lock().values().map(|(of, times)| Flushes { latency: times.latency(), ..of.clone() }).collect()
    }

    /// Requests of both classes so far.
    pub(super) fn so_far(&self) -> Bill {
        Bill::of(&self.requests())
    }
}

/// Writes that are under way at once; whoever is due then waits, and that counts.
const AT_ONCE: usize = 256;
/// As many writes as may fail before the rest is given up.
const MOST_FAILURES: u64 = 10_000;
const TICK: Duration = Duration::from_millis(1);
/// Spans of a report.
const SPANS: u64 = 60;

/// What is written to. Clones are the same.
#[derive(Clone)]
pub(super) enum Sink {
    Database(Database),
    Server(Arc<Session>),
}

impl Sink {
    async fn run(&self, sql: &str, values: Vec<Value>) -> anyhow::Result<()> {
        match self {
            Self::Database(database) => drop(database.write(request(sql, values)).await?),
            Self::Server(session) => {
                let values: Vec<_> = values.into_iter().map(as_json).collect();
                let answer = session.send(Method::POST, "sql", Sent::json(&json!({"sql": sql, "params": values}))).await?;
                whole(answer).await?;
            }
        }
        Ok(())
    }
}

/// As the API takes them.
fn as_json(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Integer(number) => number.into(),
        Value::Real(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Blob(bytes) => json!({"base64": show::base64(&bytes)}),
    }
}

/// A name that a user's own tables do not have.
const TABLE: &str = "buckethead_measure_stress";

/// Leaves nothing.
pub(super) async fn clean(sink: &Sink) -> anyhow::Result<()> {
    sink.run(&format!("DROP TABLE IF EXISTS {TABLE}"), Vec::new()).await.context("the table of stress is left")
}

/// Writes as the scenario says. `told` is told how many are done.
pub(super) async fn write(sink: &Sink, scenario: &Scenario, told: impl Fn(u64)) -> anyhow::Result<(Writes, Vec<Span>)> {
    clean(sink).await?;
    let table = format!("CREATE TABLE {TABLE}(id INTEGER PRIMARY KEY, written REAL NOT NULL, payload BLOB NOT NULL)");
    sink.run(&table, Vec::new()).await.context("making the table")?;
    let load = Arc::new(Load::of(sink.clone(), scenario));
    let (wanted, places, mut tasks) = (estimate::rows(scenario), Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut next = 0;
    while next < wanted && !load.is_given_up() {
        ticks.tick().await;
        let passed = SystemClock.now().saturating_duration_since(load.begun);
        while next < wanted && load.due(next) <= passed {
            let place = Arc::clone(&places).acquire_owned().await.context("places of writers")?;
            let load = Arc::clone(&load);
            tasks.spawn(async move {
                load.write(next).await;
                drop(place);
            });
            next += 1;
        }
        while let Some(done) = tasks.try_join_next() {
            done.context("a writer failed")?;
        }
        told(next);
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a writer failed")?;
    }
    if !load.is_given_up() {
        // The last write is due a little before the end.
        tokio::time::sleep_until(load.begun + scenario.duration()).await;
    }
    load.ended(wanted)
}

fn request(sql: &str, values: Vec<Value>) -> Request {
    let params = if values.is_empty() { Params::None } else { Params::Positional(values) };
    Request { statements: vec![Statement { sql: sql.to_owned(), params }], transaction: Transaction::Immediate }
}

struct Load {
    sink: Sink,
    insert: String,
    begun: Instant,
    per_second: f64,
    span: u64,
    row_size: usize,
    seen: Mutex<Seen>,
}

struct Seen {
    all: Times,
    spans: BTreeMap<u64, Times>,
    failed: u64,
    why: Option<anyhow::Error>,
}

impl Load {
    fn of(sink: Sink, scenario: &Scenario) -> Self {
        let seen = Seen { all: Times::new(), spans: BTreeMap::new(), failed: 0, why: None };
        Self {
            sink,
            insert: format!("INSERT INTO {TABLE}(written, payload) VALUES (?, ?)"),
            begun: SystemClock.now(),
            per_second: scenario.writes_per_second,
            span: scenario.duration().as_secs().div_ceil(SPANS).max(1),
            row_size: scenario.row_size_bytes as usize,
            seen: Mutex::new(seen),
        }
    }

    /// When a write is due, from the start.
    #[allow(clippy::cast_precision_loss, reason = "a number of writes that somebody waits for")]
    fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// Where so many fail the rest is worth nothing.
    fn is_given_up(&self) -> bool {
        self.seen.lock().failed > MOST_FAILURES
    }

    async fn write(&self, number: u64) {
        let due = self.begun + self.due(number);
        // No two rows are alike, and none gets smaller by compression.
        let mut payload = vec![0; self.row_size];
        SmallRng::seed_from_u64(number).fill_bytes(&mut payload);
        let values = vec![Value::Real(due.saturating_duration_since(self.begun).as_secs_f64()), Value::Blob(payload)];
        let written = self.sink.run(&self.insert, values).await;
        let took = SystemClock.now().saturating_duration_since(due);
        let mut seen = self.seen.lock();
        match written {
            Ok(()) => {
                seen.all.record(took);
                let span = (due + took).saturating_duration_since(self.begun).as_secs() / self.span * self.span;
                seen.spans.entry(span).or_insert_with(Times::new).record(took);
            }
            Err(error) => {
                seen.failed += 1;
                seen.why = Some(error);
            }
        }
    }

    fn ended(&self, wanted: u64) -> anyhow::Result<(Writes, Vec<Span>)> {
        let seconds = SystemClock.now().saturating_duration_since(self.begun).as_secs_f64();
        let mut seen = self.seen.lock();
        let Seen { all, spans, failed, why } = &mut *seen;
        if let (0, Some(why)) = (all.count(), why.take()) {
            return Err(why.context("no write succeeded"));
        }
        let per_second = crate::cli::measure::real(all.count()) / seconds;
        let error = why.as_ref().map(|why| format!("{why:#}"));
        let writes = Writes { wanted, done: all.count(), failed: *failed, error, per_second, latency: all.latency() };
        // Also those in which nothing was done.
        let last = spans.keys().next_back().copied().unwrap_or_default();
        let spans = (0..=last).step_by(usize::try_from(self.span).unwrap_or(usize::MAX)).map(|second| {
            let times = spans.get(&second);
            Span { second, done: times.map_or(0, Times::count), latency: times.and_then(Times::latency) }
        });
        let spans = spans.collect();
        Ok((writes, spans))
    }
}
