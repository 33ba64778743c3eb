//! Commits while deltas are uploaded: how long each takes, and how long until it is in the bucket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Database, Durability, Witness};
use tokio::task::JoinSet;

use super::orders::{self, Numbers, ROWS};
use crate::hosted::Hosted;
use crate::report::{Bound, Report, median, now, percentile};

/// 1,000 a second.
const PERIOD: Duration = Duration::from_millis(1);
const ROUNDS: u64 = 7;
const ROUND: Duration = Duration::from_secs(4);
/// Until deltas are on their way.
const BEFORE: Duration = Duration::from_millis(1500);
const LAG_FOR: Duration = Duration::from_secs(30);
/// Between two looks at what is durable.
const LOOK: Duration = Duration::from_millis(5);

/// Which rows are updated. All: deltas of 4 MB, and each seven seconds they outgrow half of the database, whose snapshot is renewed then.
/// Few: deltas of 0.4 MB, and no snapshot is due.
const LOADS: [(&str, i64); 2] = [("any row of 54 MB", ROWS), ("one of 400 rows", 400)];

struct Commit {
    answered: Instant,
    took: Duration,
    /// Of the delta that holds it.
    txid: u64,
}

/// Updates, each at its moment.
async fn paced(database: &Database, rows: i64, time: Duration, numbers: &mut Numbers) -> Vec<Commit> {
    let mut moments = tokio::time::interval(PERIOD);
    let mut commits = Vec::new();
    let witness = Arc::new(Witness::default());
    let database = database.clone().before(Arc::clone(&witness));
    while PERIOD * u32::try_from(commits.len()).unwrap() < time {
        moments.tick().await;
        let begun = now();
        let id = numbers.below(rows) + 1;
        orders::update(&database, id, numbers).await;
        let (answered, took) = (now(), begun.elapsed());
        commits.push(Commit { answered, took, txid: witness.seen().unwrap().state.unwrap().txid });
    }
    commits
}

/// The median and the 99th of a hundred, in microseconds. Who waits for a slow commit cannot begin the next ones at their moments, so in the
/// tail those count as what they would have been; a median is that of the commits that were made.
fn latencies(commits: &[Commit]) -> [f64; 2] {
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    let waits = |commit: &Commit| std::iter::successors(Some(commit.took), |took| took.checked_sub(PERIOD).filter(|left| !left.is_zero()));
    let made: Vec<f64> = commits.iter().map(|commit| micros(commit.took)).collect();
    let kept_waiting: Vec<f64> = commits.iter().flat_map(waits).map(micros).collect();
    [median(&made), percentile(&kept_waiting, 99)]
}

/// The peer uploads nothing meanwhile: its next flush is an hour away.
pub async fn beside_snapshot_mode(report: &mut Report) {
    let hosted = Hosted::start().await;
    let streamed = orders::open(&hosted, "streamed", Durability::default()).await;
    let flushed = orders::open(&hosted, "flushed", Durability::by_snapshots()).await;
    for (load, rows) in LOADS {
        let (mut ours, mut theirs, mut deltas) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()], 0);
        for round in 0..ROUNDS {
            let mut turns = [(&streamed, &mut ours), (&flushed, &mut theirs)];
            if round % 2 == 1 {
                turns.reverse();
            }
            for (database, samples) in turns {
                let (mut numbers, before) = (Numbers(round), database.facts().txid);
                paced(database, rows, BEFORE, &mut numbers).await;
                let latencies = latencies(&paced(database, rows, ROUND, &mut numbers).await);
                for (samples, value) in samples.iter_mut().zip(latencies) {
                    samples.push(value);
                }
                if std::ptr::eq(database, &raw const streamed) {
                    orders::durable(&hosted, database).await;
                    orders::quiet(&hosted).await;
                    deltas += database.facts().txid - before;
                } else {
                    assert_eq!(database.facts().txid, before, "it would be no peer");
                }
            }
        }
        let seconds = (BEFORE + ROUND).as_secs_f64() * ROUNDS as f64;
        report.alone(&format!("deltas a second meanwhile, {load}"), "1/s", deltas as f64 / seconds, None);
        for (at, of_a_hundred) in ["p50", "p99"].into_iter().enumerate() {
            let name = format!("commit in stream mode, {load}, 1,000 a second, {of_a_hundred}");
            report.compare(&name, "µs", median(&ours[at]), ("in snapshot mode", median(&theirs[at])), Some(Bound::AtMost(1.1)));
        }
    }
}

/// What the engine told at a moment.
struct Look {
    at: Instant,
    lag: f64,
    durable: u64,
}

pub async fn lag(report: &mut Report) {
    let hosted = Hosted::start().await;
    let database = orders::open(&hosted, "lag", Durability::default()).await;
    for (load, rows) in LOADS {
        lag_of(report, &hosted, &database, load, rows).await;
    }
}

async fn lag_of(report: &mut Report, hosted: &Hosted, database: &Database, load: &str, rows: i64) {
    let mut watch = JoinSet::new();
    let (watched, end) = (database.clone(), tokio_util::sync::CancellationToken::new());
    let ended = end.clone();
    watch.spawn(async move {
        let mut looks = Vec::new();
        while !ended.is_cancelled() {
            let facts = watched.facts();
            looks.push(Look { at: now(), lag: facts.lag.unwrap_or_default().as_secs_f64(), durable: facts.txid });
            tokio::time::sleep(LOOK).await;
        }
        looks
    });
    let commits = paced(database, rows, LAG_FOR, &mut Numbers(1)).await;
    let (first, last) = (commits[0].answered, commits[commits.len() - 1].answered);
    orders::durable(hosted, database).await;
    // So that there is a look at what was durable last.
    tokio::time::sleep(2 * LOOK).await;
    end.cancel();
    let looks = watch.join_next().await.unwrap().unwrap();

    let told: Vec<f64> = looks.iter().filter(|look| (first..last).contains(&look.at)).map(|look| look.lag).collect();
    let waited = |commit: &Commit| {
        let look = &looks[looks.partition_point(|look| look.durable < commit.txid)];
        look.at.duration_since(commit.answered).as_secs_f64()
    };
    let waits: Vec<f64> = commits.iter().map(waited).collect();
    let rate = (commits.len() - 1) as f64 / last.duration_since(first).as_secs_f64();
    let what = format!("at 1,000 commits a second, {load}");
    report.alone(&format!("{what}: reached"), "1/s", rate, Bound::AtLeast(990.0));
    report.alone(&format!("{what}: lag as the engine tells it, p99"), "s", percentile(&told, 99), Bound::AtMost(1.5));
    let what = format!("{what}: from a reply until its commit is in the bucket");
    report.alone(&format!("{what}, p50"), "s", median(&waits), None);
    report.alone(&format!("{what}, p99"), "s", percentile(&waits, 99), Bound::AtMost(1.5));
    report.alone(&format!("{what}, the longest"), "s", percentile(&waits, 100), None);
    orders::quiet(hosted).await;
}
