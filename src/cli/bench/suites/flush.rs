//! What a flush of the whole database costs those who write meanwhile.

use std::time::Duration;

use anyhow::Context as _;
use engine::{Database, Flush, Flushed, Value};
use tokio::sync::watch;

use super::{Figure, Ground, Scale, Steps, Times, bytes, fill, now, statement};

const ROW: usize = 4096;
const ROUNDS: usize = 3;
/// So large is a write.
const WRITE: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Before,
    During,
    After,
    Ended,
}

pub(super) async fn run(ground: &Ground, scale: &Scale, steps: &Steps) -> anyhow::Result<Vec<Figure>> {
    steps.next("writes beside a flush");
    let database = &ground.database;
    database.write(statement("CREATE TABLE flushed(id INTEGER PRIMARY KEY, value BLOB NOT NULL)", Vec::new())).await?;
    let rows = (0..scale.flushed_bytes / ROW).map(|row| vec![Value::Blob(bytes(ROW, row as u64))]);
    fill(database, "INSERT INTO flushed(value) VALUES (?)", rows).await?;
    database.flush(Flush::Forced).await.context("the first flush")?;

    let (phase, seen) = watch::channel(Phase::Before);
    let client = engine::spawn_owned({
        let database = database.clone();
        async move { write_beside(&database, seen).await }
    });
    let (mut flushes, mut size) = (Times::new(), 0);
    for _ in 0..ROUNDS {
        phase.send_replace(Phase::Before);
        tokio::time::sleep(Duration::from_secs(scale.seconds)).await;
        phase.send_replace(Phase::During);
        let begun = now();
        let done = database.flush(Flush::Forced).await.context("a flush")?;
        flushes.record(now().saturating_duration_since(begun));
        let Flushed::Uploaded(facts) = done else { anyhow::bail!("a flush uploaded nothing") };
        size = facts.size;
        phase.send_replace(Phase::After);
        tokio::time::sleep(Duration::from_secs(scale.seconds)).await;
    }
    phase.send_replace(Phase::Ended);
    let phases = client.await.context("a client failed")??;
    let at = ["before", "during", "after"].into_iter().zip(&phases);
    let size = size >> 20;
    Ok(at.map(|(at, times)| Figure::of("write", at, times)).chain([Figure::of("flush", format!("{size} MiB"), &flushes)]).collect())
}

/// Writes until it is told to end. A write counts to the phase in which it began.
async fn write_beside(database: &Database, phase: watch::Receiver<Phase>) -> anyhow::Result<[Times; 3]> {
    let mut times = [Times::new(), Times::new(), Times::new()];
    for number in 0_u64.. {
        let of = match *phase.borrow() {
            Phase::Before => &mut times[0],
            Phase::During => &mut times[1],
            Phase::After => &mut times[2],
            Phase::Ended => break,
        };
        let value = Value::Blob(bytes(WRITE, number));
        let id = Value::Integer(i64::try_from(number % 1000)? + 1);
        let begun = now();
        database.write(statement("UPDATE flushed SET value = ? WHERE id = ?", vec![value, id])).await?;
        of.record(now().saturating_duration_since(begun));
    }
    Ok(times)
}
