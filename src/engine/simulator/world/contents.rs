//! Which files the states in the bucket name, looked up without the engine's own way of doing that.

use std::collections::BTreeMap;

use chain::{File, Files, Target};
use ltx::{Decoder, PageCount, PageNo, Txid, UnixMillis};

use super::super::store::Store;
use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};

/// The keys of contents that must be there, each with a state that names it.
pub(super) fn named(store: &Store) -> Result<BTreeMap<String, String>, String> {
    let mut named = BTreeMap::new();
    for state in store.keys().into_iter().filter(|key| is_newest_state(key)) {
        let branch = state.strip_prefix("orders.db.branch.").unwrap_or("main");
        let image = match first_of(store, branch)? {
            Some(first) => put_together(store, branch, first).map_err(|error| format!("the chain of {branch}: {error}"))?,
            None => store.bytes(&state).ok_or("an object went away while nobody works")?.to_vec(),
        };
        let rows = rows(&image).map_err(|error| format!("{state} is no sound database: {error}"))?;
        named.extend(rows.into_iter().map(|key| (key, state.clone())));
    }
    Ok(named)
}

/// Where a branch's chain begins, if it has one.
fn first_of(store: &Store, branch: &str) -> Result<Option<Txid>, String> {
    let Some(bytes) = store.bytes(&format!("orders.db.head/{branch}.json")) else { return Ok(None) };
    let record: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok(record["chain"]["first"].as_u64().and_then(Txid::new))
}

/// The newest state of a chain as a plain file.
fn put_together(store: &Store, branch: &str, first: Txid) -> Result<Vec<u8>, String> {
    let begins = format!("orders.db.ltx/{branch}/");
    let keys = store.keys();
    let files = keys.iter().filter_map(|key| File::at(key.strip_prefix(&begins)?, 0, UnixMillis(0)).ok());
    let plan = Files::new(files, first).plan(Target::Newest).map_err(|missing| missing.to_string())?;
    let (mut pages, mut size, mut count) = (BTreeMap::<PageNo, Vec<u8>>::new(), 0, PageCount(0));
    for file in [plan.whole].into_iter().chain(plan.steps) {
        let bytes = store.bytes(&format!("{begins}{file}")).ok_or_else(|| format!("{file} is not there"))?;
        let mut decoder = Decoder::new(&*bytes).map_err(|error| format!("{file}: {error}"))?;
        (size, count) = (decoder.header().page_size.len(), decoder.header().commit);
        while let Some((page, bytes)) = decoder.next_page().map_err(|error| format!("{file}: {error}"))? {
            pages.insert(page, bytes.to_vec());
        }
        pages.retain(|page, _| count.holds(*page));
    }
    let zeros = vec![0; size];
    let all = (0..count.0).filter_map(PageNo::from_index);
    Ok(all.flat_map(|page| pages.get(&page).unwrap_or(&zeros).clone()).collect())
}

/// Whether each of them is.
pub(super) fn are_there(store: &Store, named: &BTreeMap<String, String>) -> Result<(), String> {
    let gone = named.iter().find(|(key, _)| store.bytes(key).is_none());
    gone.map_or(Ok(()), |(key, by)| Err(format!("{by} names {key}, whose content is gone")))
}

fn is_newest_state(key: &str) -> bool {
    key == "orders.db" || key.strip_prefix("orders.db.branch.").is_some_and(|name| !name.contains('.'))
}

fn rows(image: &[u8]) -> Result<Vec<String>, String> {
    let pool = SqlPool::new(1.try_into().expect("one is not zero"));
    let memory = MemoryDatabase::load(image, MemoryOptions::new(pool)).map_err(|error| error.to_string())?;
    memory.check()?;
    let connection = memory.connect().map_err(|error| error.to_string())?;
    let mut found = connection.prepare("select object_key from filestore").map_err(|error| error.to_string())?;
    let rows = found.query_map([], |row| row.get(0)).and_then(Iterator::collect);
    rows.map_err(|error| error.to_string())
}
