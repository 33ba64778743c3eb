//! The same statements in memory, and in a file as SQLite has it by default: a rollback journal, and a sync at each commit.

use anyhow::Context as _;
use engine::{Database, Value};
use rusqlite::Connection;

use super::{Figure, Ground, Scale, Steps, Times, bytes, now, statement};

const TABLE: &str = "CREATE TABLE compared(id INTEGER PRIMARY KEY, value BLOB NOT NULL)";
const ROW: usize = 256;

/// What is done with each row, in this order: `?1` is its number, `?2` a value.
const STATEMENTS: [(&str, &str); 4] = [
    ("insert", "INSERT INTO compared VALUES (?1, ?2)"),
    ("read", "SELECT value FROM compared WHERE id = ?1 AND length(?2) > 0"),
    ("update", "UPDATE compared SET value = ?2 WHERE id = ?1"),
    ("delete", "DELETE FROM compared WHERE id = ?1 AND length(?2) > 0"),
];

pub(super) async fn run(ground: &Ground, scale: &Scale, steps: &Steps) -> anyhow::Result<Vec<Figure>> {
    let rows = scale.operations;
    steps.next("the statements in memory");
    let database = ground.database.clone();
    let mut figures = engine::spawn_owned(async move { in_memory(&database, rows).await }).await.context("a client failed")??;
    steps.next("the statements in a file");
    let path = ground.folder().join("compared.db");
    let in_file = tokio::task::spawn_blocking(move || in_file(&Connection::open(path)?, rows));
    figures.extend(in_file.await.context("a client failed")??);
    Ok(figures)
}

async fn in_memory(database: &Database, rows: usize) -> anyhow::Result<Vec<Figure>> {
    database.write(statement("DROP TABLE IF EXISTS compared", Vec::new())).await?;
    database.write(statement(TABLE, Vec::new())).await?;
    let mut figures = Vec::new();
    for (name, sql) in STATEMENTS {
        let mut times = Times::new();
        for row in 0..rows {
            let request = statement(sql, vec![Value::Integer(i64::try_from(row)?), Value::Blob(bytes(ROW, row as u64))]);
            let begun = now();
            if name == "read" {
                database.read(request).await?
            } else {
                database.write(request).await?
            };
            times.record(now().saturating_duration_since(begun));
        }
        figures.push(Figure::of("in memory", name, &times));
    }
    Ok(figures)
}

fn in_file(connection: &Connection, rows: usize) -> anyhow::Result<Vec<Figure>> {
    connection.execute_batch(TABLE)?;
    let mut figures = Vec::new();
    for (name, sql) in STATEMENTS {
        let (mut times, mut prepared) = (Times::new(), connection.prepare(sql)?);
        for row in 0..rows {
            let (row, value) = (i64::try_from(row)?, bytes(ROW, row as u64));
            let begun = now();
            let mut found = prepared.query((row, value))?;
            while found.next()?.is_some() {}
            times.record(now().saturating_duration_since(begun));
        }
        figures.push(Figure::of("in a file", name, &times));
    }
    Ok(figures)
}
