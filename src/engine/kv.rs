//! Keys and values, in the table of the Python package.
//!
//! Owns: the statements on `bh_kv`. Does not own: what a key may be (`kv/key.rs`), what a condition means (`kv/condition.rs`).
//! Invariant: a key that is set again keeps its `created_at`.

mod condition;
mod key;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use crate::clock::WallTime;
use crate::database::Database;
use crate::error::Error;
use crate::seed::{altered, rows_counted, seconds, unix_seconds, wall_time};
use crate::sql::{QueryLimits, SqlError};

pub use condition::{Condition, Tags, ValueDigest};
use key::Range;
pub use key::{Key, KeyError};

const TABLE: &str = "bh_kv";

/// The upsert of the package.
const SET: &str = "INSERT INTO bh_kv (key, value, created_at, updated_at) VALUES (?1, ?2, ?3, ?3) \
                   ON CONFLICT(key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
/// SQL may have written a value as another type than the package does: what SQLite makes of it as text is read.
const GET: &str = "SELECT CAST(value AS BLOB), created_at, updated_at FROM bh_kv WHERE key = ?1";
const VALUE: &str = "SELECT CAST(value AS BLOB) FROM bh_kv WHERE key = ?1";
const EXISTS: &str = "SELECT 1 FROM bh_kv WHERE key = ?1";
const DELETE: &str = "DELETE FROM bh_kv WHERE key = ?1";
const KEYS: &str = "SELECT key FROM bh_kv WHERE key >= ?1 AND key < ?2 ORDER BY key";
const COUNT: &str = "SELECT count(*) FROM bh_kv WHERE key >= ?1 AND key < ?2";

/// The keys and values of a database.
pub struct Kv<'a> {
    database: &'a Database,
}

/// A value, and when its key was set first and last.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// When the key was set first; none if the row holds no time that a calendar knows.
    pub created_at: Option<WallTime>,
    /// When it was set last.
    pub updated_at: Option<WallTime>,
}

/// What came of a change that may find nothing to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is done.
    Done,
    /// There was no such key.
    Missing,
    /// Its condition does not hold.
    ConditionFailed,
}

/// Some keys in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// In the order of their bytes.
    pub keys: Vec<String>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvChange {
    /// Sets the key, whatever it held.
    Set {
        /// Which key.
        key: Key,
        /// Its new value.
        value: Bytes,
    },
    /// Deletes the key, if it is there.
    Delete {
        /// Which key.
        key: Key,
    },
}

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchDone {
    /// Keys that were set.
    pub set: u64,
    /// Keys that were there and are deleted.
    pub deleted: u64,
}

impl Database {
    /// Its keys and values.
    pub fn kv(&self) -> Kv<'_> {
        Kv { database: self }
    }
}

impl Kv<'_> {
    /// The value of a key.
    pub async fn get(&self, key: Key) -> Result<Option<Entry>, Error> {
        self.ask_one(GET, move |sql| get(sql, &key)).await
    }

    /// Whether the key has a value.
    pub async fn exists(&self, key: Key) -> Result<bool, Error> {
        self.ask_one(EXISTS, move |sql| exists(sql, &key)).await
    }

    /// Gives the key a value if the condition holds.
    pub async fn set(&self, key: Key, value: Bytes, condition: Condition) -> Result<Changed, Error> {
        let now = self.now();
        if condition.is_empty() {
            return self.change_one(SET, move |sql| upsert(sql, &key, &value, now)).await.map(|()| Changed::Done);
        }
        self.change(move |sql| set(sql, &key, &value, &condition, now)).await
    }

    /// Deletes the key if the condition holds.
    pub async fn delete(&self, key: Key, condition: Condition) -> Result<Changed, Error> {
        if condition.is_empty() {
            let found = self.change_one(DELETE, move |sql| remove(sql, &key)).await?;
            return Ok(if found { Changed::Done } else { Changed::Missing });
        }
        self.change(move |sql| delete(sql, &key, &condition)).await
    }

    /// Up to `limit` of the keys that begin with `prefix` and come after `after`; fewer where the limits of the database are reached.
    pub async fn keys(&self, prefix: &str, after: Option<&str>, limit: u64) -> Result<Keys, Error> {
        let (range, limits) = (Range::of(prefix, after), self.database.limits());
        self.ask(move |sql| keys(sql, &range, limit, &limits)).await
    }

    /// How many keys begin with `prefix`.
    pub async fn count(&self, prefix: &str) -> Result<u64, Error> {
        let range = Range::of(prefix, None);
        self.ask(move |sql| count(sql, &range)).await
    }

    /// All of the changes in their order, or none.
    pub async fn batch(&self, changes: Vec<KvChange>) -> Result<BatchDone, Error> {
        let now = self.now();
        self.change(move |sql| batch(sql, &changes, now)).await
    }

    fn now(&self) -> f64 {
        unix_seconds(self.database.wall())
    }

    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static) -> Result<T, Error> {
        self.database.ask(|sql| ask(sql).map_err(altered(TABLE))).await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.change(|sql| change(sql).map_err(altered(TABLE))).await
    }

    /// With this statement and no other.
    async fn ask_one<T: Send + 'static>(
        &self,
        sql: &'static str,
        ask: impl Fn(&Connection) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.ask_one(sql, move |sql| ask(sql).map_err(altered(TABLE))).await
    }

    /// With this statement and no other.
    async fn change_one<T: Send + 'static>(
        &self,
        sql: &'static str,
        change: impl Fn(&Connection) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.change_one(sql, move |sql| change(sql).map_err(altered(TABLE))).await
    }
}

fn get(sql: &Connection, key: &Key) -> Result<Option<Entry>, SqlError> {
    let mut get = sql.prepare_cached(GET)?;
    let mut rows = get.query([key.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let time = |column| Ok::<_, SqlError>(wall_time(seconds(row, column)?));
    Ok(Some(Entry { value: bytes(row)?.to_vec(), created_at: time(1)?, updated_at: time(2)? }))
}

fn exists(sql: &Connection, key: &Key) -> Result<bool, SqlError> {
    Ok(sql.prepare_cached(EXISTS)?.exists([key.as_str()])?)
}

fn digest(sql: &Connection, key: &Key) -> Result<Option<ValueDigest>, SqlError> {
    let mut get = sql.prepare_cached(VALUE)?;
    let mut rows = get.query([key.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(ValueDigest::of(bytes(row)?)))
}

fn set(sql: &Connection, key: &Key, value: &[u8], condition: &Condition, now: f64) -> Result<Changed, SqlError> {
    if !condition.holds(digest(sql, key)?) {
        return Ok(Changed::ConditionFailed);
    }
    upsert(sql, key, value, now)?;
    Ok(Changed::Done)
}

fn delete(sql: &Connection, key: &Key, condition: &Condition) -> Result<Changed, SqlError> {
    if !condition.holds(digest(sql, key)?) {
        return Ok(Changed::ConditionFailed);
    }
    Ok(if remove(sql, key)? { Changed::Done } else { Changed::Missing })
}

fn keys(sql: &Connection, range: &Range, limit: u64, limits: &QueryLimits) -> Result<Keys, SqlError> {
    let mut select = sql.prepare_cached(KEYS)?;
    let mut rows = select.query(params![range.from, end(range)])?;
    let (mut found, mut size) = (Keys::default(), 0);
    let limit = limit.min(limits.max_rows);
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        size += key.len() as u64;
        // A page holds one key at least, or whoever turns the pages would never get past it.
        let is_full = found.keys.len() as u64 >= limit || (size > limits.max_result_size && !found.keys.is_empty());
        if is_full {
            found.has_more = true;
            break;
        }
        found.keys.push(key);
    }
    Ok(found)
}

fn count(sql: &Connection, range: &Range) -> Result<u64, SqlError> {
    Ok(sql.prepare_cached(COUNT)?.query_row(params![range.from, end(range)], |row| rows_counted(row, 0))?)
}

fn batch(sql: &Connection, changes: &[KvChange], now: f64) -> Result<BatchDone, SqlError> {
    let mut done = BatchDone::default();
    for change in changes {
        match change {
            KvChange::Set { key, value } => {
                upsert(sql, key, value, now)?;
                done.set += 1;
            }
            KvChange::Delete { key } => done.deleted += u64::from(remove(sql, key)?),
        }
    }
    Ok(done)
}

fn upsert(sql: &Connection, key: &Key, value: &[u8], now: f64) -> Result<(), SqlError> {
    sql.prepare_cached(SET)?.execute(params![key.as_str(), value, now])?;
    Ok(())
}

fn remove(sql: &Connection, key: &Key) -> Result<bool, SqlError> {
    Ok(sql.prepare_cached(DELETE)?.execute([key.as_str()])? > 0)
}

/// Any blob comes after every text.
fn end(range: &Range) -> Value {
    range.before.clone().map_or_else(|| Value::Blob(Vec::new()), Value::Text)
}

fn bytes<'a>(row: &'a Row<'_>) -> Result<&'a [u8], SqlError> {
    Ok(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)
}
