//! What two states of a database have different: their schemas, and the rows of their tables.
//!
//! Owns: which row is which, and when it counts as changed. Does not own: which states these are, nor where they lie.
//! Invariants: of each table one row of either state is in memory at a time; what is told is bounded, whatever the states hold. A table that
//! cannot be read is named, and the others are compared all the same.

mod order;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Rows, Statement};

use crate::sql::{SqlError, SqlErrorKind, Value};

/// Tables and parts of the schema that are told, at most.
const MOST: usize = 1000;
/// Keys that are told of each kind of rows of a table, at most.
const KEYS: usize = 10;
/// Bytes of a text in the schema, and of a value in a key, that are told.
const SCHEMA_TEXT: usize = 4096;
const KEY_VALUE: usize = 100;

/// What the state after has that the state before has not, and the other way round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// Tables, views, indexes and triggers, in the order of their kinds and names.
    pub schema: Vec<SchemaChange>,
    /// Tables whose rows differ, or that cannot be compared, in the order of their names.
    pub tables: Vec<TableChange>,
    /// Tables that are the same in both.
    pub unchanged_tables: u64,
    /// There is more than is told.
    pub truncated: bool,
}

impl Differences {
    /// Whether both hold the same, as far as could be told.
    pub fn is_empty(&self) -> bool {
        self.schema.is_empty() && self.tables.is_empty()
    }
}

/// A part of the schema that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    /// `table`, `view`, `index` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The SQL that made it before; `None` if it was not there.
    pub before: Option<String>,
    /// The SQL that made it after; `None` if it is gone.
    pub after: Option<String>,
}

/// A table whose rows are not the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableChange {
    /// Its name.
    pub name: String,
    /// How many rows it has before; `None` if it is not there.
    pub rows_before: Option<u64>,
    /// How many rows it has after; `None` if it is gone.
    pub rows_after: Option<u64>,
    /// What tells which row is which: the columns of the primary key, or `rowid`. Of a table that has neither on both sides all columns, so
    /// none of its rows counts as changed; nor does a row with NULL in its primary key, of which there may be several that differ elsewhere.
    pub key: Vec<String>,
    /// Rows that are there only after.
    pub added: RowsOf,
    /// Rows that are there only before.
    pub removed: RowsOf,
    /// Rows that are there in both, with other values in the columns that both have.
    pub changed: RowsOf,
    /// Why its rows were not compared.
    pub not_compared: Option<String>,
}

/// Rows of one kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowsOf {
    /// How many.
    pub count: u64,
    /// The keys of the first of them. Long values are cut.
    pub keys: Vec<Vec<Value>>,
}

impl RowsOf {
    fn add(&mut self, row: &rusqlite::Row<'_>, key: usize) -> Result<(), rusqlite::Error> {
        self.count += 1;
        if self.keys.len() < KEYS {
            let values = (0..key).map(|column| Ok(brief(row.get_ref(column)?)));
            self.keys.push(values.collect::<Result<_, rusqlite::Error>>()?);
        }
        Ok(())
    }
}

/// Compares two states, each of which stays as it is meanwhile.
pub(crate) fn differences(before: &Connection, after: &Connection) -> Result<Differences, SqlError> {
    for side in [before, after] {
        let encoding: String = side.query_row("select encoding from pragma_encoding", [], |row| row.get(0))?;
        if encoding != "UTF-8" {
            let message = format!("states are compared only where texts are kept as UTF-8, and here they are kept as {encoding}");
            return Err(SqlError::ours(SqlErrorKind::Statement, message));
        }
    }
    let mut found = Differences::default();
    schema(before, after, &mut found)?;
    let sides = [tables(before)?, tables(after)?];
    let names: std::collections::BTreeSet<&String> = sides.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let table = match sides.each_ref().map(|side| side.get(name)) {
            [Some(old), Some(new)] => {
                let mut table = TableChange { name: name.clone(), ..TableChange::default() };
                let is_told = compare(before, after, (old, new), &mut table).map_or_else(|error| not_compared(&mut table, error), Ok)?;
                is_told.then_some(table)
            }
            [old, new] => Some(alone(name, (before, old), (after, new))?),
        };
        match table {
            None => found.unchanged_tables += 1,
            Some(_) if found.tables.len() == MOST => found.truncated = true,
            Some(table) => found.tables.push(table),
        }
    }
    Ok(found)
}

/// One that SQLite cannot read, such as a virtual table of a module that is not there. Whoever ran out of time or left has no use for the rest.
fn not_compared(table: &mut TableChange, error: SqlError) -> Result<bool, SqlError> {
    if error.kind != SqlErrorKind::Statement || error.primary_code() == rusqlite::ffi::SQLITE_INTERRUPT {
        return Err(error);
    }
    *table = TableChange { name: std::mem::take(&mut table.name), not_compared: Some(error.message), ..TableChange::default() };
    Ok(true)
}

fn schema(before: &Connection, after: &Connection, found: &mut Differences) -> Result<(), SqlError> {
    let read = |side: &Connection| -> Result<BTreeMap<(String, String), String>, rusqlite::Error> {
        let sql = "select type, name, coalesce(sql, '') from sqlite_schema where name not like 'sqlite\\_%' escape '\\'";
        side.prepare(sql)?.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?.collect()
    };
    let (old, mut new) = (read(before)?, read(after)?);
    let mut all: BTreeMap<(String, String), [Option<String>; 2]> = BTreeMap::new();
    for (part, sql) in old {
        let other = new.remove(&part);
        if other.as_ref() != Some(&sql) {
            all.insert(part, [Some(sql), other]);
        }
    }
    all.extend(new.into_iter().map(|(part, sql)| (part, [None, Some(sql)])));
    found.truncated |= all.len() > MOST;
    let told = all.into_iter().take(MOST).map(|((kind, name), sides)| {
        let [before, after] = sides.map(|sql| sql.map(|sql| cut(&sql, SCHEMA_TEXT)));
        SchemaChange { kind, name, before, after }
    });
    found.schema = told.collect();
    Ok(())
}

/// A table as one state has it.
struct Table {
    columns: Vec<String>,
    /// The columns of the primary key, in its order.
    primary_key: Vec<String>,
    has_rowid: bool,
}

impl Table {
    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|other| other.eq_ignore_ascii_case(column))
    }
}

/// The tables whose rows are somebody's: neither SQLite's own nor those behind virtual ones.
fn tables(side: &Connection) -> Result<BTreeMap<String, Table>, SqlError> {
    const TABLES: &str = "select name, wr from pragma_table_list where schema = 'main' and type in ('table', 'virtual') \
                          and name not like 'sqlite\\_%' escape '\\'";
    // What is generated follows from the others.
    const COLUMNS: &str = "select name, pk from pragma_table_xinfo(?1) where hidden = 0 order by cid";
    let mut names = side.prepare(TABLES)?;
    let names = names.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<(String, bool)>, _>>()?;
    let mut columns_of = side.prepare(COLUMNS)?;
    let table = |(name, without_rowid): (String, bool)| {
        let read = columns_of.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns = read.collect::<Result<Vec<(String, u32)>, rusqlite::Error>>()?;
        let mut key: Vec<_> = columns.iter().filter(|(_, place)| *place > 0).collect();
        key.sort_by_key(|(_, place)| *place);
        let primary_key = key.into_iter().map(|(column, _)| column.clone()).collect();
        let columns = columns.into_iter().map(|(column, _)| column).collect();
        Ok((name, Table { columns, primary_key, has_rowid: !without_rowid }))
    };
    names.into_iter().map(table).collect()
}

/// One that only one of them has.
fn alone(name: &str, before: (&Connection, Option<&Table>), after: (&Connection, Option<&Table>)) -> Result<TableChange, SqlError> {
    let mut table = TableChange { name: name.to_owned(), ..TableChange::default() };
    let mut counted = |(side, there): (&Connection, Option<&Table>)| {
        if there.is_none() {
            return Ok(None);
        }
        let count = side.query_row(&format!("select count(*) from {}", quoted(name)), [], |row| crate::seed::rows_counted(row, 0));
        match count {
            Ok(count) => Ok(Some(count)),
            Err(error) => not_compared(&mut table, error.into()).map(|_| None),
        }
    };
    let (rows_before, rows_after) = (counted(before)?, counted(after)?);
    let all = |count: Option<u64>| RowsOf { count: count.unwrap_or(0), keys: Vec::new() };
    Ok(TableChange { removed: all(rows_before), added: all(rows_after), rows_before, rows_after, ..table })
}

/// What tells which row of a table is which, where both sides have it.
fn key_of(old: &Table, new: &Table, common: &[&String]) -> Vec<String> {
    // Each of these is the row id unless a column has its name.
    const ROWID: [&str; 3] = ["rowid", "_rowid_", "oid"];
    if !old.primary_key.is_empty() && old.primary_key == new.primary_key {
        return old.primary_key.clone();
    }
    let is_column = |name: &str| [old, new].iter().any(|table| table.has(name));
    let rowid = ROWID.into_iter().find(|name| !is_column(name)).filter(|_| old.has_rowid && new.has_rowid);
    rowid.map_or_else(|| common.iter().map(|column| (*column).clone()).collect(), |name| vec![name.to_owned()])
}

/// Whether there is something to tell.
fn compare(before: &Connection, after: &Connection, (old, new): (&Table, &Table), table: &mut TableChange) -> Result<bool, SqlError> {
    let common: Vec<&String> = old.columns.iter().filter(|column| new.has(column)).collect();
    let key = key_of(old, new, &common);
    if key.is_empty() {
        let message = "the two have neither row ids nor a column in common";
        return not_compared(table, SqlError::ours(SqlErrorKind::Statement, message));
    }
    let values = common.into_iter().filter(|column| !key.contains(column));
    let columns: Vec<String> = key.iter().chain(values).map(|column| quoted(column)).collect();
    let (key_len, all) = (key.len(), columns.len());
    let is_rowid = matches!(key.as_slice(), [only] if !old.has(only));
    // A key that may hold NULL may be that of several rows, which are told apart by everything then.
    let is_unique = is_rowid || (key_len < all && !(old.has_rowid && new.has_rowid));
    let ordered = if is_unique { &columns[..key_len] } else { &columns };
    // By their bytes, as they are compared here: where that is also the order of an index, only rows that have the key in common are sorted.
    let values = ordered.iter().map(|column| format!("{column} collate binary"));
    let types = ordered.iter().filter(|_| !is_unique).map(|column| format!("typeof({column})"));
    let order = values.chain(types).collect::<Vec<_>>().join(", ");
    let sql = format!("select {} from {} order by {order}", columns.join(", "), quoted(&table.name));
    let (mut left, mut right) = (before.prepare(&sql)?, after.prepare(&sql)?);
    let (mut left, mut right) = (Side::begin(&mut left)?, Side::begin(&mut right)?);
    loop {
        let step = match (left.rows.get(), right.rows.get()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => order::of_rows(old, new, key_len, all)?,
        };
        match (step, left.rows.get(), right.rows.get()) {
            (Ordering::Less, Some(old), _) => table.removed.add(old, key_len)?,
            (Ordering::Greater, _, Some(new)) => table.added.add(new, key_len)?,
            (Ordering::Equal, Some(old), Some(new)) if !order::are_same(old, new, all)? => table.changed.add(new, key_len)?,
            _ => {}
        }
        if step.is_le() {
            left.advance()?;
        }
        if step.is_ge() {
            right.advance()?;
        }
    }
    (table.rows_before, table.rows_after, table.key) = (Some(left.count), Some(right.count), key);
    Ok([&table.added, &table.removed, &table.changed].iter().any(|rows| rows.count > 0))
}

/// The rows of one state.
struct Side<'a> {
    rows: Rows<'a>,
    count: u64,
}

impl<'a> Side<'a> {
    fn begin(statement: &'a mut Statement<'_>) -> Result<Self, rusqlite::Error> {
        let mut side = Self { rows: statement.query([])?, count: 0 };
        side.rows.advance()?;
        side.count = side.rows.get().is_some().into();
        Ok(side)
    }

    fn advance(&mut self) -> Result<(), rusqlite::Error> {
        self.rows.advance()?;
        self.count += u64::from(self.rows.get().is_some());
        Ok(())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn brief(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(cut(&String::from_utf8_lossy(text), KEY_VALUE)),
        ValueRef::Blob(bytes) => Value::Blob(bytes[..bytes.len().min(KEY_VALUE)].to_vec()),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(most)]) }
}
