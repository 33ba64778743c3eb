//! What the controller costs people and the cluster: `make bench AREA=controller`.
//!
//! With a real API server and a real store, by the commands that a user types; `kubectl` is part of each time.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

#[path = "../tests/it"]
mod it {
    #[allow(dead_code, unused_imports, reason = "the tests use all of it")]
    pub mod support;
}
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod report;

use std::time::{Duration, Instant};

use it::support::{DATABASE, Database, Namespace, Operator, Resource, ServedBy};
use report::{Bound, Report, median};
use serde_json::json;

const ROUNDS: usize = 5;
const PROMOTIONS: usize = 3;
/// Rows of a kilobyte: 54 MB.
const ROWS: usize = 52_000;
const AT_ONCE: usize = 500;
/// How long nothing but the operator's own rest is looked at.
const REST: Duration = Duration::from_mins(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut report = Report::new();
    runtime.block_on(async {
        until_ready(&mut report).await;
        promotion(&mut report).await;
        pods(&mut report).await;
        many(&mut report).await;
    });
    report.write("controller").unwrap();
}

#[allow(clippy::disallowed_methods, reason = "this is what a benchmark measures")]
fn now() -> Instant {
    Instant::now()
}

async fn until_ready(report: &mut Report) {
    let (namespace, place) = Namespace::with_place("bench-ready", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("fresh-{round}");
        let begun = now();
        namespace.apply(&Resource::database(&name, &place, &format!("{round}.db"))).await;
        namespace.wait_ready(&name).await;
        times.push(begun.elapsed().as_secs_f64());
    }
    report.alone("kubectl apply until Ready, an empty database", "s", median(&times), Bound::AtMost(1.0));
    operator.end().await;
}

/// A preview is promoted while clients write to production.
async fn promotion(report: &mut Report) {
    let (namespace, place) = Namespace::with_place("bench-promotion", ServedBy::Minio).await;
    let operator = Operator::start(&namespace).await;
    let production = Resource::database(DATABASE, &place, "orders.db").with("/spec/branches", json!([{"name": "next"}]));
    namespace.apply(&Resource::database(DATABASE, &place, "orders.db")).await;
    namespace.wait_ready(DATABASE).await;
    let database = namespace.connect(&operator, DATABASE).await;
    let rows = format!("with recursive n(n) as (values (1) union all select n + 1 from n where n < {ROWS}) select randomblob(1000) from n");
    database.sql(&format!("create table big as {rows}; create table written (x)")).await;
    database.flush().await;
    namespace.apply(&production).await;
    namespace.apply(&Resource::database("preview", &place, "orders.db").with("/spec/branch", "next")).await;
    namespace.wait_ready("preview").await;
    let preview = namespace.connect(&operator, "preview").await;

    let (mut times, mut blocked) = (Vec::new(), Vec::new());
    for round in 0..PROMOTIONS {
        let id = format!("release-{round}");
        preview.sql(&format!("create table release_{round} (x)")).await;
        let promoted = production.clone().with("/spec/promotion", json!({"id": id, "from": {"branch": "next"}, "to": "main"}));
        let done = async {
            let begun = now();
            namespace.apply(&promoted).await;
            namespace.kubectl(&["wait", &format!("--for=jsonpath={{.status.promotion.id}}={id}"), "bdb/orders", "--timeout=60s"]).await;
            namespace.kubectl(&["wait", "--for=condition=PromotionApplied", "bdb/orders", "--timeout=60s"]).await;
            begun.elapsed()
        };
        let (took, longest) = beside_writes(&database, done).await;
        assert_eq!(database.sql(&format!("select count(*) from release_{round}")).await, json!([[0]]));
        times.push(took.as_secs_f64());
        blocked.push(longest.as_secs_f64() * 1e3);
    }
    report.alone("kubectl apply until promoted, 54 MB", "s", median(&times), Bound::AtMost(1.5));
    report.alone("the longest write meanwhile", "ms", median(&blocked), Bound::AtMost(500.0));
    operator.end().await;
}

/// How long the work takes, and how long the longest of the writes that go on meanwhile.
async fn beside_writes(database: &Database, work: impl Future<Output = Duration>) -> (Duration, Duration) {
    let mut work = std::pin::pin!(work);
    let mut longest = Duration::ZERO;
    loop {
        let write = async {
            let begun = now();
            database.sql("insert into written values (1)").await;
            begun.elapsed()
        };
        let mut write = std::pin::pin!(write);
        tokio::select! {
            took = &mut work => return (took, longest.max(write.await)),
            took = &mut write => longest = longest.max(took),
        }
    }
}

/// What another pod in between costs, and how long the databases of one that dies are away.
async fn pods(report: &mut Report) {
    let (namespace, place) = Namespace::with_place("bench-pods", ServedBy::Minio).await;
    let mut pods = Vec::new();
    for name in ["pod-a", "pod-b"] {
        pods.push((name, Operator::once_ready(Operator::spawn_as(name, &namespace, &[])).await));
    }
    namespace.apply(&Resource::database(DATABASE, &place, "orders.db")).await;
    namespace.wait_ready(DATABASE).await;
    let host = namespace.get("bucketdatabase", DATABASE).await["status"]["host"].take();
    let at = pods.iter().position(|(name, _)| host == *name).unwrap();
    let (_, victim) = pods.remove(at);
    let (_, other) = pods.remove(0);
    let direct = namespace.connect(&victim, DATABASE).await;
    let forwarded = namespace.connect(&other, DATABASE).await;
    direct
        .sql(
            "create table t (id integer primary key, x); with recursive n(n) as (values (1) union all select n + 1 from n where n < 1000) \
         insert into t select n, n from n",
        )
        .await;
    let (mut directly, mut by_another) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        directly.push(points(&direct).await);
        by_another.push(points(&forwarded).await);
    }
    report.compare("a point query through another pod", "µs", median(&by_another), ("direct", median(&directly)), Some(Bound::AtMost(2.5)));
    direct.flush().await;

    victim.program.kill().await;
    let begun = now();
    while !forwarded.try_sql("select x from t where id = 1").await.status().is_success() {}
    let lease = controller::MembershipOptions::LEASE.as_secs_f64();
    report.alone(
        "loss of a pod until its database answers, with a lease of 15 s",
        "s",
        begun.elapsed().as_secs_f64(),
        Bound::AtMost(lease + 2.0),
    );
    other.end().await;
}

const TURNS: usize = 8;
const POINTS: u32 = 500;

/// How long one takes, in microseconds, on a connection that is there.
async fn points(database: &Database) -> f64 {
    let begun = now();
    for id in 1..=POINTS {
        database.sql(&format!("select x from t where id = {id}")).await;
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(POINTS)
}

async fn many(report: &mut Report) {
    let (namespace, place) = Namespace::with_place("bench-many", ServedBy::Minio).await;
    // Each of two has a half, and both together are what the cluster pays.
    let operators = Pair::start(&namespace).await;
    let declare = async |from: usize| {
        let declared = (from..from + AT_ONCE).map(|number| Resource::database(&format!("one-{number}"), &place, &format!("{number}.db")));
        namespace.apply(&Resource::list(declared)).await;
        // Not by `kubectl wait`, which asks for one after the other, five a second.
        while ready(&namespace).await < from + AT_ONCE {
            pause(Duration::from_secs(1)).await;
        }
    };
    let (begun, before) = (now(), operators.requests().await);
    declare(0).await;
    report.alone("500 resources applied on two pods until all are Ready", "s", begun.elapsed().as_secs_f64(), Bound::AtMost(60.0));
    settled(&operators).await;
    let each = (operators.requests().await - before) as f64 / AT_ONCE as f64;
    report.alone("requests to the API server for each of them", "requests", each, Bound::AtMost(12.0));

    declare(AT_ONCE).await;
    settled(&operators).await;
    let (requests_before, busy_before) = (operators.all_requests().await, operators.busy());
    pause(REST).await;
    let (asked, busy) = (operators.all_requests().await - requests_before, operators.busy().saturating_sub(busy_before));
    report.alone("1,000 resources at rest: requests to the API server", "1/s", asked as f64 / REST.as_secs_f64(), Bound::AtMost(1.0));
    report.alone("1,000 resources at rest: of a core", "%", 100.0 * busy.as_secs_f64() / REST.as_secs_f64(), Bound::AtMost(2.0));
    operators.end().await;
}

/// Two pods of one operator.
struct Pair([Operator; 2]);

impl Pair {
    async fn start(namespace: &Namespace) -> Self {
        let [one, other] = ["pod-a", "pod-b"].map(|pod| Operator::once_ready(Operator::spawn_as(pod, namespace, &[])));
        Self([one.await, other.await])
    }

    /// Without those about leases.
    async fn requests(&self) -> u64 {
        self.0[0].requests().await + self.0[1].requests().await
    }

    async fn all_requests(&self) -> u64 {
        self.0[0].all_requests().await + self.0[1].all_requests().await
    }

    fn busy(&self) -> Duration {
        self.0.iter().map(|operator| busy(operator.program.pid())).sum()
    }

    async fn end(self) {
        for operator in self.0 {
            operator.end().await;
        }
    }
}

/// How many resources are Ready.
async fn ready(namespace: &Namespace) -> usize {
    let path = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    namespace.kubectl(&["get", "bucketdatabase", "--output", path]).await.lines().filter(|line| *line == "True").count()
}

/// How long a process has kept a core busy so far.
fn busy(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name: the state, then numbers, of which the 11th and 12th are utime and stime in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Waits until the last statuses and events are written.
async fn settled(operators: &Pair) {
    let mut before = operators.requests().await;
    loop {
        pause(Duration::from_secs(5)).await;
        let after = operators.requests().await;
        if after - before < 3 {
            return;
        }
        before = after;
    }
}

/// Time that passes is itself what is measured here.
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
