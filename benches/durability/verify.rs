//! What it costs to prove that a database can be restored, and what whoever asks the database meanwhile notices of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{Database, Request, Statement, Value, spawn_owned};

use super::orders::{self, Numbers, ROWS};
use crate::hosted::Hosted;
use crate::report::{Bound, Report, median, now, percentile};

const PROOFS: usize = 5;
const ROUNDS: usize = 8;
/// One request a millisecond, as long as that many proofs take.
const PAUSE: Duration = Duration::from_millis(1);

pub async fn beside_requests(report: &mut Report) {
    let hosted = Hosted::start().await;
    let database = orders::open(&hosted, "verified", orders::streamed(Duration::from_secs(1))).await;
    let (mut took, mut used) = (Vec::new(), Vec::new());
    for _ in 0..PROOFS {
        let before = cpu_seconds();
        let proof = hosted.host.verify(database.name()).await.unwrap();
        assert_eq!(proof.failure, None);
        used.push(cpu_seconds() - before);
        took.push(proof.took.as_secs_f64());
    }
    report.alone("verify of 54 MB: time of one core, with the store's part", "s", median(&used), Bound::AtMost(1.0));
    report.alone("verify of 54 MB: until it ended", "s", median(&took), None);

    let length = Duration::from_secs_f64(took.iter().sum());
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    // One of them would be what the machine did just then.
    for _ in 0..ROUNDS {
        alone.extend(reads(&database, length, || false).await);
        let over = Arc::new(AtomicBool::new(false));
        let proving = {
            let (host, name, over) = (Arc::clone(&hosted.host), database.name().clone(), Arc::clone(&over));
            spawn_owned(async move {
                for _ in 0..PROOFS {
                    host.verify(&name).await.unwrap();
                }
                over.store(true, Ordering::Relaxed);
            })
        };
        beside.extend(reads(&database, Duration::MAX, || over.load(Ordering::Relaxed)).await);
        proving.await.unwrap();
    }
    for (percent, bound) in [(50, None), (99, Some(Bound::AtMost(1.5)))] {
        let (ours, theirs) = (percentile(&beside, percent), percentile(&alone, percent));
        report.compare(&format!("a point read while it is verified, p{percent}"), "µs", ours, ("without", theirs), bound);
    }
}

/// Microseconds of each.
async fn reads(database: &Database, length: Duration, is_over: impl Fn() -> bool) -> Vec<f64> {
    let (mut numbers, mut all, begun) = (Numbers(7), Vec::new(), now());
    while begun.elapsed() < length && !is_over() {
        let row = Value::Integer(numbers.below(ROWS) + 1);
        let statement =
            Statement { sql: "SELECT customer FROM orders WHERE id = ?1".to_owned(), params: engine::Params::Positional(vec![row]) };
        let request = Request { statements: vec![statement], ..Request::default() };
        let asked = now();
        database.read(request).await.unwrap();
        all.push(asked.elapsed().as_secs_f64() * 1e6);
        tokio::time::sleep(PAUSE).await;
    }
    all
}

/// Of this process, in which the store is, too.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Linux counts them in hundredths of a second, whatever its own clock does.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}
