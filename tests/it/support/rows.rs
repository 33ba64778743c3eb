//! A client that writes numbered rows one after the other, and keeps what it was told of each: what may be lost and what may not.
//!
//! Owns: what must be found in a database that somebody opened after this client wrote to it. Does not own: when who ends whom.
//! Invariant: row N is written only after row N - 1 was acknowledged, so that what is found must be a prefix of what was written.

use std::time::Duration;

use engine::{Clock as _, StateId, SystemClock};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::database::Database;
use super::wait::until;

/// Each row has a mirror image at the other end of another table, written by the same commit: both are there, or none.
const TABLES: &str = "create table if not exists rows (number integer primary key, round integer not null);
    create table if not exists mirror (number integer primary key);
    create trigger if not exists mirrored after insert on rows begin insert into mirror values (-new.number); end";

/// What somebody has of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) count: u64,
    /// Of number times round over all rows.
    sum: u64,
}

impl Found {
    /// Fails the test unless they are a prefix, each with its mirror image.
    pub(crate) async fn by(database: &Database) -> Self {
        let rows = database
            .sql(
                "select count(*), coalesce(max(number), 0), coalesce(sum(number * round), 0), (select count(*) from mirror), \
                 (select count(*) from rows join mirror on mirror.number = -rows.number) from rows",
            )
            .await;
        let [count, highest, sum, images, pairs] = serde_json::from_value(rows[0].clone()).unwrap();
        assert_eq!((highest, images, pairs), (count, count, count), "{count} rows have holes or lack their mirror images: {rows}");
        Self { count, sum }
    }
}

/// What one client knows of the rows.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// What was there when this round began.
    before: Found,
    /// Tells rows of one number apart: of what was lost, and of what was written in its place.
    round: u64,
    told: Vec<Told>,
    /// Of the last row whose writing was begun.
    sent: u64,
    /// The highest `X-Durable-Txid` of this round.
    pub(crate) durable: u64,
    /// So many rows of this round were told before a flush that succeeded.
    flushed: usize,
}

/// What was told of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// When the row was sent.
    pub(crate) sent: Instant,
    /// When it was acknowledged.
    pub(crate) at: Instant,
    /// The state with it.
    pub(crate) state: StateId,
}

/// Why nothing more was written.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// Nobody answers. Whether the last row was written is not known.
    Unreachable,
    /// The last row was refused.
    Refused(StatusCode, String),
}

impl Rows {
    /// Of a database in which there may be some.
    pub(crate) async fn of(database: &Database) -> Self {
        database.sql(TABLES).await;
        let round = database.sql("select coalesce(max(round), 0) + 1 from rows").await[0][0].as_u64().unwrap();
        Self::after(Found::by(database).await, round)
    }

    fn after(before: Found, round: u64) -> Self {
        Self { before, round, told: Vec::new(), sent: before.count, durable: 0, flushed: 0 }
    }

    /// Writes until that fails.
    pub(crate) async fn write(&mut self, database: &Database) -> End {
        loop {
            if let Err(end) = self.write_one(database).await {
                return end;
            }
        }
    }

    /// Writes so many rows, which must succeed.
    pub(crate) async fn write_some(&mut self, database: &Database, count: usize) {
        for _ in 0..count {
            self.write_one(database).await.unwrap();
        }
    }

    /// Writes the next row.
    pub(crate) async fn write_one(&mut self, database: &Database) -> Result<(), End> {
        let (number, sent) = (self.count() + 1, SystemClock.now());
        self.sent = number;
        let answer = database.try_to_reach(&format!("insert into rows values ({number}, {})", self.round)).await;
        let answer = answer.map_err(|_| End::Unreachable)?;
        let (status, state, durable) = (answer.status(), header::<StateId>(&answer, "x-txid"), header::<u64>(&answer, "x-durable-txid"));
        let text = answer.text().await.map_err(|_| End::Unreachable)?;
        if status != StatusCode::OK {
            self.sent = number - 1;
            return Err(End::Refused(status, text));
        }
        let (state, durable) = (state.expect("a write names its state"), durable.expect("a write tells what is durable"));
        assert!(durable >= self.durable, "what is in the bucket does not leave it: {durable} after {}", self.durable);
        assert!(self.told.first().is_none_or(|first| first.state.epoch == state.epoch), "another tenure without another opening: {state}");
        self.durable = durable;
        self.told.push(Told { sent, at: SystemClock.now(), state });
        Ok(())
    }

    /// Has the database flushed. If that succeeds all rows so far must be found from then on.
    pub(crate) async fn flush(&mut self, database: &Database) -> (StatusCode, String) {
        let answer = database.ask("POST", "flush", "").await;
        if answer.0 == StatusCode::OK {
            self.flushed = self.told.len();
        }
        answer
    }

    /// Waits until all of them are durable by themselves.
    pub(crate) async fn get_durable(&self, database: &Database) {
        let last = self.told.last().expect("rows were written").state.txid;
        until("the last row is durable", async || {
            let answer = database.try_sql("select 1").await;
            (header::<u64>(&answer, "x-durable-txid")? >= last).then_some(())
        })
        .await;
    }

    /// All rows, if none of them is lost.
    pub(crate) fn count(&self) -> u64 {
        self.before.count + self.told.len() as u64
    }

    /// Of this round.
    pub(crate) fn told(&self) -> &[Told] {
        &self.told
    }

    /// How many rows of this round are durable by what was said of them.
    pub(crate) fn durable(&self) -> usize {
        self.told.iter().filter(|told| told.state.txid <= self.durable).count()
    }

    /// How many were told so long before a moment.
    pub(crate) fn older_than(&self, age: Duration, moment: Instant) -> usize {
        self.told.iter().filter(|told| told.at + age <= moment).count()
    }

    /// Compares with what somebody found who opened the database after this round. So many rows of it must be there besides those that
    /// were called durable.
    pub(crate) fn compare(&self, found: Found, due: usize) {
        let due = due.max(self.durable()).max(self.flushed);
        let kept = found.count.checked_sub(self.before.count);
        let kept = kept.unwrap_or_else(|| panic!("of {} rows that were there before only {} are left", self.before.count, found.count));
        assert!(kept >= due as u64, "round {}: {due} of {} rows must be there, and {kept} are", self.round, self.told.len());
        assert!(found.count <= self.sent, "round {}: row {} was never sent", self.round, found.count);
        let numbers: u64 = (self.before.count + 1..=found.count).sum();
        assert_eq!(found.sum, self.before.sum + numbers * self.round, "round {}: rows of another round came back", self.round);
    }

    /// Compares, and goes on in the next round with what was found. Answers with how many rows of this one were lost.
    pub(crate) fn settle(&mut self, found: Found, due: usize) -> u64 {
        self.compare(found, due);
        let lost = self.count().saturating_sub(found.count);
        *self = Self::after(found, self.round + 1);
        lost
    }
}

fn header<T: std::str::FromStr>(answer: &Response, name: &str) -> Option<T> {
    answer.headers().get(name)?.to_str().ok()?.parse().ok()
}
