//! Requests and answers break off between a process and its store, and some requests arrive late: what was confirmed is in the bucket all the
//! same, and what was done without an answer is neither forgotten nor done twice.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::StatusCode;

use crate::support::{DATABASE, Folders, Found, Place, Proxy, Resource, Rows, Seed, ServedBy, Weather};

const KEY: &str = "apps/orders.db";
/// Times that a process is written to through foul weather and then killed.
const ROUNDS: usize = 3;
/// Connections that break each time, at least.
const BREAKS: u32 = 15;

fn cluster(place: &Place) -> Folders {
    let folders = Folders::with(&Resource::credentials(&place.account));
    folders.declare("database.yaml", &Resource::streaming(DATABASE, place, KEY, "100ms"));
    folders
}

#[tokio::test]
async fn what_was_confirmed_through_connections_that_break_is_there_after_a_kill() {
    let seed = Seed::of("BUCKETHEAD_PROXY_SEED");
    let mut rng = seed.rng();
    let place = Place::create(ServedBy::Minio, "broken-lines").await;
    let proxy = Proxy::before(&place, StdRng::seed_from_u64(rng.random())).await;
    let straight = cluster(&place);
    let dev = straight.start("standard").await;
    let mut rows = Rows::of(&dev.database(DATABASE)).await;
    rows.flush(&dev.database(DATABASE)).await;
    dev.program.kill().await;

    let (mut confirmed, mut failed) = (0, 0);
    for _ in 0..ROUNDS {
        // A cluster of its own, and the same once more below without the proxy: each takes over from the one before.
        proxy.set(Weather::Fair);
        let through_proxy = cluster(&proxy.place);
        let dev = through_proxy.start("standard").await;
        let database = dev.database(DATABASE);
        rows.settle(Found::by(&database).await, 0);
        proxy.set(Weather::Foul);
        let before = proxy.counts().iter().sum::<u32>();
        let mut flushes = 0;
        while flushes == 0 || proxy.counts().iter().sum::<u32>() < before + BREAKS {
            rows.write_some(&database, rng.random_range(1..20)).await;
            let (status, reply) = rows.flush(&database).await;
            match status {
                StatusCode::OK => flushes += 1,
                StatusCode::SERVICE_UNAVAILABLE => failed += 1,
                _ => panic!("a flush that may be tried again is told otherwise: {status} {reply}"),
            }
        }
        confirmed += flushes;
        rows.write_some(&database, rng.random_range(0..20)).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..100))).await;
        dev.program.kill().await;

        let straight = cluster(&place);
        let dev = straight.start("standard").await;
        rows.settle(Found::by(&dev.database(DATABASE)).await, 0);
        rows.write_some(&dev.database(DATABASE), 20).await;
        assert_eq!(rows.flush(&dev.database(DATABASE)).await.0, StatusCode::OK);
        dev.program.kill().await;
    }
    let counts = proxy.counts();
    assert!(counts.iter().all(|count| *count > 0) && failed > 0, "{confirmed} flushes succeeded, {failed} failed, of faults {counts:?}");
}
