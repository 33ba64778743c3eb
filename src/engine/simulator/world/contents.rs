//! What is in the bucket, looked up without the engine's own way of doing that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use chain::{File, Files, Target};
use ltx::{Checksum, Decoder, PageCount, PageNo, Txid, UnixMillis};
use rusqlite::types::FromSql;

use super::super::store::{Store, etag_of};
use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};

/// The keys of contents that must be there, each with a state that names it.
pub(super) fn named(store: &Store) -> Result<BTreeMap<String, String>, String> {
    let mut named = BTreeMap::new();
    for state in store.keys().into_iter().filter(|key| is_newest_state(key)) {
        let branch = state.strip_prefix("orders.db.branch.").unwrap_or("main");
        let image = match Record::of(store, branch)?.and_then(|record| record.first) {
            Some(first) => put_together(store, branch, first, Target::Newest)?,
            None => store.bytes(&state).ok_or("an object went away while nobody works")?.to_vec(),
        };
        let rows: Vec<String> = all(&image, "select object_key from filestore").map_err(|error| format!("{state}: {error}"))?;
        named.extend(rows.into_iter().map(|key| (key, state.clone())));
    }
    Ok(named)
}

/// A database that gives pages back when it is asked to.
pub(super) static EMPTY_BUT_SHRINKING: LazyLock<Bytes> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a place for files");
    let file = folder.path().join("db");
    let connection = rusqlite::Connection::open(&file).expect("a new database");
    connection.execute_batch("pragma auto_vacuum = incremental; create table theirs(x)").expect("a table");
    drop(connection);
    std::fs::read(file).expect("it was written").into()
});

/// What a branch's head record says, as far as anybody here asks.
pub(super) struct Record {
    pub(super) is_ready: bool,
    pub(super) epoch: u64,
    /// Where its chain begins, if it has one.
    pub(super) first: Option<Txid>,
    pub(super) horizon: u64,
    /// The state that the plain file holds, and the ETag of that file.
    snapshot: Option<(Txid, String)>,
}

impl Record {
    pub(super) fn of(store: &Store, branch: &str) -> Result<Option<Self>, String> {
        let Some(bytes) = store.bytes(&format!("orders.db.head/{branch}.json")) else { return Ok(None) };
        let record: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
        let (snapshot, first) = (&record["snapshot"], Txid::new(number(&record["chain"]["first"])));
        Ok(Some(Self {
            is_ready: record["state"] == "ready",
            epoch: number(&record["epoch"]),
            first,
            horizon: number(&record["horizon"]),
            snapshot: Txid::new(number(&snapshot["txid"])).zip(snapshot["etag"].as_str().map(str::to_owned)),
        }))
    }
}

/// The rows of the newest state of a branch, if it is there and has a chain.
pub(super) fn newest(store: &Store, branch: &str) -> Result<Option<BTreeSet<i64>>, String> {
    let Some(Record { is_ready: true, first: Some(first), .. }) = Record::of(store, branch)? else { return Ok(None) };
    let image = put_together(store, branch, first, Target::Newest)?;
    let rows: Vec<i64> = all(&image, "select n from t").map_err(|error| format!("the chain of {branch}: {error}"))?;
    Ok(Some(rows.into_iter().collect()))
}

/// Whether the plain file that the record knows is the state of the chain that it names.
pub(super) fn plain_file_is_as_noted(store: &Store, branch: &str) -> Result<(), String> {
    let Some(Record { is_ready: true, first: Some(first), snapshot: Some((txid, etag)), horizon, .. }) = Record::of(store, branch)? else {
        return Ok(());
    };
    let key = if branch == "main" { "orders.db".to_owned() } else { format!("orders.db.branch.{branch}") };
    // What is from before the horizon cannot be compared with anything.
    let Some(bytes) = store.bytes(&key).filter(|bytes| txid.get() >= horizon.max(first.get()) && etag_of(bytes).as_str() == etag) else {
        return Ok(());
    };
    let same = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[COUNTER].fill(0);
        bytes[VALID_FOR].fill(0);
        bytes
    };
    let image = put_together(store, branch, first, Target::Txid(txid))?;
    if same(&image) == same(&bytes) { Ok(()) } else { Err(format!("{key} is not the state {txid} of its chain")) }
}

/// The parts of page 1 that each upload changes.
const COUNTER: std::ops::Range<usize> = 24..28;
const VALID_FOR: std::ops::Range<usize> = 92..100;

/// A state of a chain as a plain file. Whoever restores it proves its checksum, and so is done here.
fn put_together(store: &Store, branch: &str, first: Txid, target: Target) -> Result<Vec<u8>, String> {
    let begins = format!("orders.db.ltx/{branch}/");
    let wrong = |what: &dyn std::fmt::Display| format!("the chain of {branch}: {what}");
    let keys = store.keys();
    let files = keys.iter().filter_map(|key| File::at(key.strip_prefix(&begins)?, 0, UnixMillis(0)).ok());
    let plan = Files::new(files, first).plan(target).map_err(|missing| wrong(&missing))?;
    let (mut pages, mut size, mut count, mut told) = (BTreeMap::<PageNo, Vec<u8>>::new(), 0, PageCount(0), None);
    for file in [plan.whole].into_iter().chain(plan.steps) {
        let bytes = store.bytes(&format!("{begins}{file}")).ok_or_else(|| wrong(&format!("{file} is not there")))?;
        let mut decoder = Decoder::new(&*bytes).map_err(|error| wrong(&format!("{file}: {error}")))?;
        (size, count) = (decoder.header().page_size.len(), decoder.header().commit);
        while let Some((page, bytes)) = decoder.next_page().map_err(|error| wrong(&format!("{file}: {error}")))? {
            pages.insert(page, bytes.to_vec());
        }
        told = decoder.finish().map_err(|error| wrong(&format!("{file}: {error}")))?.post_apply.map(|sum| (file, sum));
        pages.retain(|page, _| count.holds(*page));
    }
    let zeros = vec![0; size];
    let all = || (0..count.0).filter_map(PageNo::from_index).map(|page| (page, pages.get(&page).unwrap_or(&zeros)));
    let sum = all().fold(Checksum::EMPTY, |sum, (page, bytes)| sum.with(Checksum::of_page(page, bytes)));
    match told {
        Some((file, told)) if told != sum => Err(wrong(&format!("{file} leads to {sum}, and says {told}"))),
        _ => Ok(all().flat_map(|(_, bytes)| bytes.iter().copied()).collect()),
    }
}

/// Whether each of them is.
pub(super) fn are_there(store: &Store, named: &BTreeMap<String, String>) -> Result<(), String> {
    let gone = named.iter().find(|(key, _)| store.bytes(key).is_none());
    gone.map_or(Ok(()), |(key, by)| Err(format!("{by} names {key}, whose content is gone")))
}

fn is_newest_state(key: &str) -> bool {
    key == "orders.db" || key.strip_prefix("orders.db.branch.").is_some_and(|name| !name.contains('.'))
}

/// The first column of what a statement finds in a database that must be sound; nothing in a table that is not there.
fn all<T: FromSql>(image: &[u8], sql: &str) -> Result<Vec<T>, String> {
    let pool = SqlPool::new(1.try_into().expect("one is not zero"));
    let told = |error: &dyn std::error::Error| format!("it is no sound database: {error}");
    let memory = MemoryDatabase::load(image, MemoryOptions::new(pool)).map_err(|error| told(&error))?;
    memory.check()?;
    let connection = memory.connect().map_err(|error| told(&error))?;
    let mut found = match connection.prepare(sql) {
        Ok(found) => found,
        Err(error) if error.to_string().contains("no such table") => return Ok(Vec::new()),
        Err(error) => return Err(told(&error)),
    };
    let rows = found.query_map([], |row| row.get(0)).and_then(Iterator::collect);
    rows.map_err(|error| told(&error))
}
