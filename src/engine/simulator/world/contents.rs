//! Which files the states in the bucket name, looked up without the engine's own way of doing that.

use std::collections::BTreeMap;

use super::super::store::Store;
use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};

/// The keys of contents that must be there, each with a state that names it.
pub(super) fn named(store: &Store) -> Result<BTreeMap<String, String>, String> {
    let mut named = BTreeMap::new();
    for state in store.keys().into_iter().filter(|key| is_newest_state(key)) {
        let bytes = store.bytes(&state).ok_or("an object went away while nobody works")?;
        let rows = rows(&bytes).map_err(|error| format!("{state} is no sound database: {error}"))?;
        named.extend(rows.into_iter().map(|key| (key, state.clone())));
    }
    Ok(named)
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
