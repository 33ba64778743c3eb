//! Whether somebody's database was made from the newest state of a branch, or from an earlier one.
//!
//! Whoever has no tenure may have read the plain file long before they wrote it back: all that was committed in between would leave the branch
//! if theirs took its place. A file does not say what it was made of, so its rows are asked.
//! Invariant: where the rows do not show it, it was made from an earlier one.

use std::collections::HashSet;

use chain::Target;
use ltx::Txid;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use sha2::{Digest as _, Sha256};

use super::{Opener, fault};
use crate::chains::Chain;
use crate::config::DatabaseConfig;
use crate::delta::Tip;
use crate::error::Error;
use crate::memory::MemoryDatabase;

/// What a branch held before its content changed last.
enum Before {
    /// It begins with this content.
    Nothing,
    State(MemoryDatabase),
    /// That cannot be had any more.
    Unknown,
}

impl Opener {
    /// Whether `found` has what the last change of the branch made: then it was made after that. `memory` is the branch's newest state.
    pub(super) async fn goes_on_from(
        &self,
        config: &DatabaseConfig,
        chain: &Chain,
        first: Txid,
        tip: &Tip,
        memory: &MemoryDatabase,
        found: &MemoryDatabase,
    ) -> Result<bool, Error> {
        let before = self.before_last_change(chain, first, tip).await?;
        let (newest, found) = (memory.clone(), found.clone());
        let compared = tokio::task::spawn_blocking(move || has_last_change(&before, &newest, &found));
        compared.await.map_err(|panic| fault(config, panic))?.map_err(|error| fault(config, error))
    }

    async fn before_last_change(&self, chain: &Chain, first: Txid, tip: &Tip) -> Result<Before, Error> {
        let mut since = tip.same_since;
        loop {
            let Some(before) = Txid::new(since.get() - 1).filter(|before| *before >= first) else { return Ok(Before::Nothing) };
            match chain.past(first, Target::Txid(before), &self.options).await {
                Ok(recalled) if recalled.tip.checksum() == tip.checksum() => since = recalled.tip.same_since,
                Ok(recalled) => return Ok(Before::State(recalled.memory)),
                Err(Error::ChainBroken { .. }) => return Ok(Before::Unknown),
                Err(error) => return Err(error),
            }
        }
    }
}

fn has_last_change(before: &Before, newest: &MemoryDatabase, found: &MemoryDatabase) -> Result<bool, rusqlite::Error> {
    let before = match before {
        Before::Nothing => return Ok(true),
        // With all rows that there are nothing is missing but what was deleted longer ago than anybody can know.
        Before::Unknown => return Ok(rows_of(newest)?.is_subset(&rows_of(found)?)),
        Before::State(before) => rows_of(before)?,
    };
    let (newest, found) = (rows_of(newest)?, rows_of(found)?);
    let mut made = newest.difference(&before).peekable();
    if made.peek().is_some() {
        return Ok(made.any(|row| found.contains(row)));
    }
    let mut gone = before.difference(&newest).peekable();
    Ok(gone.peek().is_some() && gone.all(|row| !found.contains(row)))
}

/// Of each row of each table, and of what is in the schema, a digest.
fn rows_of(memory: &MemoryDatabase) -> Result<HashSet<u128>, rusqlite::Error> {
    let connection = memory.connect().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let mut rows = HashSet::new();
    add(&connection, "SELECT type, name, tbl_name, sql FROM sqlite_schema", "sqlite_schema", &mut rows)?;
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        let quoted = format!("\"{}\"", table.replace('"', "\"\""));
        // A table without rowids has none to ask for.
        if add(&connection, &format!("SELECT rowid, * FROM {quoted}"), &table, &mut rows).is_err() {
            add(&connection, &format!("SELECT * FROM {quoted}"), &table, &mut rows)?;
        }
    }
    Ok(rows)
}

fn add(connection: &Connection, sql: &str, table: &str, rows: &mut HashSet<u128>) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        rows.insert(digest(table, row, columns)?);
    }
    Ok(())
}

fn digest(table: &str, row: &Row<'_>, columns: usize) -> Result<u128, rusqlite::Error> {
    let mut digest = Sha256::new();
    let mut part = |kind: u8, bytes: &[u8]| {
        digest.update([kind]);
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(b'n', table.as_bytes());
    for column in 0..columns {
        match row.get_ref(column)? {
            ValueRef::Null => part(b'0', &[]),
            ValueRef::Integer(value) => part(b'i', &value.to_be_bytes()),
            ValueRef::Real(value) => part(b'r', &value.to_be_bytes()),
            ValueRef::Text(value) => part(b't', value),
            ValueRef::Blob(value) => part(b'b', value),
        }
    }
    let digest: [u8; 32] = digest.finalize().into();
    let (half, _) = digest.split_first_chunk::<16>().expect("32 are more than 16");
    Ok(u128::from_be_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryOptions, SqlPool};

    fn database(sql: &str) -> MemoryDatabase {
        let memory = MemoryDatabase::new(MemoryOptions::new(SqlPool::new(1.try_into().unwrap()))).unwrap();
        memory
            .connect()
            .unwrap()
            .execute_batch(&format!("create table t(x); create table \"w\"\"o\"(k primary key) without rowid; {sql}"))
            .unwrap();
        memory
    }

    fn follows(before: &str, change: &str, theirs: &str) -> bool {
        let newest = format!("{before}; {change}");
        has_last_change(&Before::State(database(before)), &database(&newest), &database(theirs)).unwrap()
    }

    #[test]
    fn what_has_the_last_change_was_made_after_it() {
        let before = "insert into t values (1)";
        for change in [
            "insert into t values (2)",
            "update t set x = 9",
            "insert into \"w\"\"o\" values ('k')",
            "create index i on t(x)",
            "delete from t",
        ] {
            assert!(follows(before, change, &format!("{before}; {change}; insert into t values (7)")), "{change}");
            assert!(!follows(before, change, &format!("{before}; insert into t values (7)")), "{change}");
            assert!(!follows(before, change, before), "{change}");
        }
    }

    #[test]
    fn of_what_nobody_knows_any_more_all_rows_must_be_there() {
        let newest = database("insert into t values (1), (2)");
        let follows = |theirs: &str| has_last_change(&Before::Unknown, &newest, &database(theirs)).unwrap();
        assert!(follows("insert into t values (1), (2), (3)"));
        assert!(!follows("insert into t values (1), (3)"));
        assert!(has_last_change(&Before::Nothing, &newest, &database("")).unwrap());
    }
}
