//! The same statements in memory, and in a file as SQLite has it by default: a rollback journal, and a sync at each commit.

use anyhow::Context as _;
use engine::{Database, Value};
use rusqlite::types::Value::{Blob, Integer};
use rusqlite::{Connection, params_from_iter};

use super::{Figure, Ground, Scale, Steps, Times, bytes, now, statement};

const TABLE: &str = "CREATE TABLE compared(id INTEGER PRIMARY KEY, value BLOB NOT NULL)";
const ROW: usize = 256;

/// What is done with each row, in this order. A value is another one each time: SQLite does not write what is there already.
const STATEMENTS: [(&str, &str, Option<u64>); 4] = [
    ("insert", "INSERT INTO compared VALUES (?1, ?2)", Some(0)),
    ("read", "SELECT value FROM compared WHERE id = ?1", None),
    ("update", "UPDATE compared SET value = ?2 WHERE id = ?1", Some(1 << 32)),
    ("delete", "DELETE FROM compared WHERE id = ?1", None),
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
    for (name, sql, values) in STATEMENTS {
        let mut times = Times::new();
        for row in 0..rows {
            let value = values.map(|first| Value::Blob(bytes(ROW, first + row as u64)));
            let request = statement(sql, [Value::Integer(i64::try_from(row)?)].into_iter().chain(value).collect());
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
    for (name, sql, values) in STATEMENTS {
        let (mut times, mut prepared) = (Times::new(), connection.prepare(sql)?);
        for row in 0..rows {
            let value = values.map(|first| Blob(bytes(ROW, first + row as u64)));
            let parameters = [Integer(i64::try_from(row)?)].into_iter().chain(value);
            let begun = now();
            let mut found = prepared.query(params_from_iter(parameters))?;
            while found.next()?.is_some() {}
            times.record(now().saturating_duration_since(begun));
        }
        figures.push(Figure::of("in a file", name, &times));
    }
    Ok(figures)
}
