//! What one small commit sends.

use std::time::Duration;

use engine::DatabaseConfig;
use engine::bucket::Listed;

use super::litestream::{Litestream, Replica};
use super::orders::{self, Numbers};
use super::wire::Wire;
use crate::hosted::Hosted;
use crate::report::{Bound, Report, median, percentile};

const COMMITS: usize = 100;
/// Of Litestream, which takes a second for each.
const PEER_COMMITS: usize = 10;

/// Bytes of each commit.
#[derive(Default)]
struct Sent {
    on_the_wire: Vec<f64>,
    objects: Vec<f64>,
}

/// An insert with its entry in an index, into 54 MB: a delta by itself.
pub async fn one_row(report: &mut Report) {
    let hosted = Hosted::start().await;
    let wire = Wire::to(hosted.store.address()).await;
    let mut config = DatabaseConfig { durability: orders::streamed(Duration::from_millis(10)), ..hosted.config("sizes") };
    config.store.endpoint = Some(wire.endpoint());
    let database = hosted.open_as(config).await;
    orders::fill(&hosted, &database).await;
    let (before, requests) = (listed(&hosted, "sizes.db.ltx/main/0000/").await.len(), hosted.store.requests().total());
    let (mut numbers, mut ours) = (Numbers(1), Sent::default());
    for _ in 0..COMMITS {
        let sent = wire.sent();
        orders::insert(&database, &mut numbers).await;
        orders::durable(&hosted, &database).await;
        ours.on_the_wire.push(kilobytes(wire.sent() - sent));
    }
    let requests = (hosted.store.requests().total() - requests) as f64 / COMMITS as f64;
    let deltas = listed(&hosted, "sizes.db.ltx/main/0000/").await.split_off(before);
    assert_eq!(deltas.len(), COMMITS);
    ours.objects = deltas.iter().map(|delta| kilobytes(delta.size)).collect();
    report.alone("requests for a commit of one row", "requests", requests, Bound::AtMost(1.0));
    report.alone("a commit of one row: its delta, the largest", "KB", percentile(&ours.objects, 100), Bound::AtMost(20.0));
    report.alone(
        "a commit of one row: all that is sent, with headers, the largest",
        "KB",
        percentile(&ours.on_the_wire, 100),
        Bound::AtMost(20.0),
    );

    let Some(litestream) = Litestream::installed() else { return };
    let file = hosted.folder().join("peer.db");
    let theirs = replicated(&hosted, &litestream, &file, &database.pin()).await;
    report.compare("a commit of one row: its delta", "KB", median(&ours.objects), ("Litestream", median(&theirs.objects)), None);
    report.compare(
        "a commit of one row: all that is sent",
        "KB",
        median(&ours.on_the_wire),
        ("Litestream", median(&theirs.on_the_wire)),
        None,
    );
}

fn kilobytes(bytes: u64) -> f64 {
    bytes as f64 / 1000.0
}

async fn listed(hosted: &Hosted, prefix: &str) -> Vec<Listed> {
    hosted.bucket().list(prefix, None, usize::MAX).await.unwrap()
}

/// The same commits into a file that Litestream replicates into the same store.
async fn replicated(hosted: &Hosted, litestream: &Litestream, file: &std::path::Path, database: &engine::Pin) -> Sent {
    std::io::copy(&mut database.image(), &mut std::fs::File::create(file).unwrap()).unwrap();
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
    let wire = Wire::to(hosted.store.address()).await;
    let _running = litestream.replicate(&Replica::of(hosted, file, "peer", &wire.endpoint()));
    let (mut numbers, mut sent) = (Numbers(1), Sent::default());
    let mut insert = connection.prepare("INSERT INTO orders(customer, body) VALUES (?1, ?2)").unwrap();
    let mut seen = arrived(hosted, 0).await;
    for _ in 0..PEER_COMMITS {
        orders::quiet(hosted).await;
        let before = wire.sent();
        insert.execute(rusqlite::params![format!("customer-{:05}", numbers.below(orders::ROWS)), numbers.bytes(900)]).unwrap();
        let now = arrived(hosted, seen.len()).await;
        sent.on_the_wire.push(kilobytes(wire.sent() - before));
        sent.objects.push(kilobytes(now[seen.len()].size));
        seen = now;
    }
    sent
}

/// Its deltas, once there are more than so many.
async fn arrived(hosted: &Hosted, before: usize) -> Vec<Listed> {
    loop {
        let deltas = listed(hosted, "peer/0000/").await;
        if deltas.len() > before {
            return deltas;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
