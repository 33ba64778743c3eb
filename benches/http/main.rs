//! What HTTP costs beside an echo of the same bodies, what tenants do to one another, and how fast large results leave: `make bench AREA=http`.
//!
//! Three processes share the machine: the released `buckethead dev` as a user starts it, an echo on axum, and this one, which asks both. Rounds
//! of both take turns. Each reply is compared with what it must be.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs, unreachable_pub, reason = "a benchmark")]

mod load;
#[path = "../report.rs"]
#[allow(dead_code, reason = "all areas share it, and none needs all of it")]
mod report;
mod servers;

use load::{Load, Request};
use report::{Bound, Report, median, percentile};
use servers::Servers;

const CLIENTS: usize = 16;
const ROUNDS: usize = 5;
const SECONDS: f64 = 3.0;
const ROWS: usize = 100_000;

fn main() {
    if std::env::var_os(servers::ECHO).is_some() {
        return servers::echo();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut report = Report::new();
    runtime.block_on(async {
        let servers = Servers::start().await;
        fill(&servers).await;
        beside_an_echo(&servers, &mut report).await;
        neighbours(&servers, &mut report).await;
        large_result(&servers, &mut report).await;
        servers.stop().await;
    });
    report.write("http").unwrap();
}

async fn fill(servers: &Servers) {
    for database in ["one", "other"] {
        let sql = format!(
            "create table t(id integer primary key, b text); \
             insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS}) select i, 'value ' || i from n; \
             create table log(id integer primary key, b text)"
        );
        servers.sql(database, &sql).await;
    }
    servers
        .sql("one", "create table big(id integer primary key, a text, b real); insert into big with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000) select i, hex(randomblob(40)), i / 3.0 from n")
        .await;
}

fn select(database: &str) -> Request {
    let body = r#"{"sql": "select b from t where id = ?", "params": [4711]}"#;
    Request::post(&format!("/default/{database}/sql"), body, "value 4711")
}

/// What it costs to answer each kind of request, as a share of what an echo answers.
async fn beside_an_echo(servers: &Servers, report: &mut Report) {
    let execute = r#"{"requests": [{"type": "execute", "stmt": {"sql": "select b from t where id = ?", "args": [{"type": "integer", "value": "4711"}]}}, {"type": "close"}]}"#;
    let insert = r#"{"sql": "insert into log(b) values (?)", "params": ["a value"]}"#;
    let kinds = [
        ("point SELECT by POST sql", select("one"), 0.5),
        ("Hrana pipeline, execute and close", Request::post("/default/one/v3/pipeline", execute, "value 4711"), 0.4),
        ("single-row INSERT by POST sql", Request::post("/default/one/sql", insert, "\"rows_affected\":1"), 0.35),
    ];
    for (name, request, bound) in kinds {
        let echo = request.echoed();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut spread = Vec::new();
        for _ in 0..ROUNDS {
            theirs.push(Load::of(&echo, CLIENTS).run(servers.echo, SECONDS).await.rate());
            let done = Load::of(&request, CLIENTS).run(servers.ours, SECONDS).await;
            spread.push(percentile(&done.micros, 99) / percentile(&done.micros, 50));
            ours.push(done.rate());
        }
        report.compare(name, "requests/s", median(&ours), ("axum echo", median(&theirs)), Some(Bound::AtLeast(bound)));
        report.alone(&format!("{name}: p99 as a multiple of p50"), "×", median(&spread), Bound::AtMost(10.0));
    }
}

/// What a tenant's requests take while another one asks as much as it can.
async fn neighbours(servers: &Servers, report: &mut Report) {
    let scan = r#"{"sql": "select count(*) from t a, t b where a.id <= 2000 and b.id <= 2000"}"#;
    let full_loads = [("point SELECTs", select("one")), ("joins of 4,000,000 rows", Request::post("/default/one/sql", scan, "4000000"))];
    for (kind, busy) in full_loads {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(percentile(&Load::of(&select("other"), CLIENTS).run(servers.ours, SECONDS).await.micros, 99));
            let load = Load::of(&busy, CLIENTS);
            let other = Load::of(&select("other"), CLIENTS);
            let (done, _) = tokio::join!(other.run(servers.ours, SECONDS), load.run(servers.ours, SECONDS));
            beside.push(percentile(&done.micros, 99));
        }
        let name = format!("p99 of a tenant while another runs {kind}");
        report.compare(&name, "µs", median(&beside), ("alone", median(&alone)), Some(Bound::AtMost(3.0)));
    }
}

async fn large_result(servers: &Servers, report: &mut Report) {
    let request = Request::post("/default/one/sql", "select * from big", "\"row_count\":1000000").accepting("application/x-ndjson");
    let (mut rates, mut grown) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = servers.forget_peak();
        let (bytes, seconds) = load::download(servers.ours, &request).await;
        assert!(bytes > 100_000_000, "{bytes}");
        rates.push(bytes as f64 / 1e6 / seconds);
        grown.push((servers.peak() - before) as f64 / 1e6);
    }
    report.alone("a result of 100 MB as NDJSON", "MB/s", median(&rates), Bound::AtLeast(150.0));
    report.alone("memory that it takes meanwhile", "MB", median(&grown), Bound::AtMost(16.0));
}
