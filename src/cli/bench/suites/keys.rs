//! Keys and values, as a program in the same process has them.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use engine::Database;
use engine::kv::{Condition, Key};

use super::{Figure, Ground, Scale, Steps, Times, at_once, by_clients, bytes, fill, now};

/// A key by its number.
pub(super) fn key(number: usize) -> anyhow::Result<Key> {
    Key::parse(format!("key/{number:08}")).context("our own key")
}

async fn set(database: &Database, key: Key, value: Bytes) -> anyhow::Result<()> {
    database.kv().set(key, value, Condition::default()).await.map(drop).context("setting a key")
}

async fn get(database: &Database, key: Key) -> anyhow::Result<()> {
    database.kv().get(key).await?.context("a key is missing").map(drop)
}

/// By the size of values.
pub(super) async fn latency(ground: &Ground, scale: &Scale, steps: &Steps) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &size in &scale.payload_bytes {
        steps.next(format!("latency of values of {size} bytes"));
        let (database, operations) = (ground.database.clone(), scale.operations);
        // As clients do it, on a thread of the pool, and not on the one that waits for all of it.
        let measured = engine::spawn_owned(async move { of_size(&database, size, operations).await });
        figures.extend(measured.await.context("a client failed")??);
    }
    Ok(figures)
}

async fn of_size(database: &Database, size: usize, operations: usize) -> anyhow::Result<Vec<Figure>> {
    let (mut sets, mut gets, mut deletes) = (Times::new(), Times::new(), Times::new());
    // The first ones find what those behind them no longer have to look for.
    let first = operations / 10;
    for number in 0..first + operations {
        let value = Bytes::from(bytes(size, number as u64));
        let begun = now();
        set(database, key(number)?, value).await?;
        if number >= first {
            sets.record(now().saturating_duration_since(begun));
        }
    }
    for number in 0..first + operations {
        let begun = now();
        get(database, key(number)?).await?;
        if number >= first {
            gets.record(now().saturating_duration_since(begun));
        }
    }
    for number in 0..first + operations {
        let begun = now();
        database.kv().delete(key(number)?, Condition::default()).await?;
        if number >= first {
            deletes.record(now().saturating_duration_since(begun));
        }
    }
    let at = format!("{size} B");
    Ok([("set", sets), ("get", gets), ("delete", deletes)].map(|(name, times)| Figure::of(name, at.clone(), &times)).into())
}

/// How large values are where their size is not what is measured.
const VALUE: usize = 256;

/// By the number of clients.
pub(super) async fn throughput(ground: &Ground, scale: &Scale, steps: &Steps) -> anyhow::Result<Vec<Figure>> {
    let (keys, time) = (scale.keys, Duration::from_secs(scale.seconds));
    let rows = (0..keys).map(|number| {
        let key = format!("key/{number:08}");
        vec![engine::Value::Text(key), engine::Value::Blob(bytes(VALUE, number as u64))]
    });
    fill(&ground.database, "INSERT OR REPLACE INTO bh_kv VALUES (?, ?, 0, 0)", rows).await?;
    let mut figures = Vec::new();
    for (name, writes_of_ten) in [("read", 0), ("write", 10), ("mixed", 5)] {
        for &clients in &scale.clients {
            steps.next(format!("throughput: {name}, {}", by_clients(clients)));
            let (database, value) = (ground.database.clone(), Bytes::from(bytes(VALUE, 1)));
            let work = move |client: usize, turn: u64| {
                let (database, value) = (database.clone(), value.clone());
                let turn = usize::try_from(turn).unwrap_or(usize::MAX);
                async move {
                    // Each client has its own way through all keys.
                    let key = key((client * 7919 + turn * 104_729) % keys)?;
                    if turn % 10 < writes_of_ten { set(&database, key, value).await } else { get(&database, key).await }
                }
            };
            let (times, seconds) = at_once(clients, time, work).await?;
            figures.push(Figure::rate(name, by_clients(clients), &times, seconds));
        }
    }
    Ok(figures)
}
