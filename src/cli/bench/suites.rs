//! What is measured, and how.

mod disk;
mod flush;
pub(super) mod http;
mod keys;
mod ycsb;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::{Clock as _, Database, Params, Request, Statement, SystemClock, Transaction, Value};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::{Scale, Suite};
use super::results::{Figure, OfSuite};
use crate::cli::measure::{Ground, Steps, Times};

/// Measures one suite, in a database that has nothing else.
pub(super) async fn run(suite: Suite, ground: &Ground, scale: &Scale, steps: &Steps) -> anyhow::Result<OfSuite> {
    let figures = match suite {
        Suite::Latency => keys::latency(ground, scale, steps).await?,
        Suite::Throughput => keys::throughput(ground, scale, steps).await?,
        Suite::Ycsb => ycsb::run(ground, scale, steps).await?,
        Suite::DiskCompare => disk::run(ground, scale, steps).await?,
        Suite::FlushImpact => flush::run(ground, scale, steps).await?,
        Suite::Http => http::run(ground, scale, steps).await?,
    };
    Ok(OfSuite { suite, figures })
}

fn now() -> Instant {
    SystemClock.now()
}

/// One statement.
fn statement(sql: &str, values: Vec<Value>) -> Request {
    let params = if values.is_empty() { Params::None } else { Params::Positional(values) };
    Request { statements: vec![Statement { sql: sql.to_owned(), params }], transaction: Transaction::Immediate }
}

/// Many rows, in transactions that are not too long.
async fn fill(database: &Database, sql: &str, rows: impl Iterator<Item = Vec<Value>>) -> anyhow::Result<()> {
    const AT_ONCE: usize = 500;
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let statements =
            rows.by_ref().take(AT_ONCE).map(|values| Statement { sql: sql.to_owned(), params: Params::Positional(values) }).collect();
        database.write(Request { statements, transaction: Transaction::Immediate }).await.context("filling a table")?;
    }
    Ok(())
}

/// Bytes that no compression makes smaller, others each time.
fn bytes(count: usize, seed: u64) -> Vec<u8> {
    use rand::{RngCore as _, SeedableRng as _};
    let mut bytes = vec![0; count];
    rand::rngs::SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Has so many clients do one thing after the other for so long: how long each took, and all of it.
async fn at_once<F>(clients: usize, time: Duration, work: impl Fn(usize, u64) -> F + Send + Sync + 'static) -> anyhow::Result<(Times, f64)>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let (work, begun) = (Arc::new(work), now());
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let work = Arc::clone(&work);
        tasks.spawn(async move {
            let mut times = Times::new();
            for turn in 0.. {
                let asked = now();
                if asked.saturating_duration_since(begun) >= time {
                    break;
                }
                work(client, turn).await?;
                times.record(now().saturating_duration_since(asked));
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Times::new();
    while let Some(done) = tasks.join_next().await {
        all.add(&done.context("a client failed")??);
    }
    Ok((all, now().saturating_duration_since(begun).as_secs_f64()))
}

/// The names of columns by clients.
fn by_clients(clients: usize) -> String {
    if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") }
}
