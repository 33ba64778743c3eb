//! Which files the newest states of a database's branches name.
//!
//! Invariant: an answer is whole. Whatever could not be read, or stands where it should not, is an error.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use rusqlite::Connection;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::run::GcError;
use crate::bucket::{self, Bucket};
use crate::files::{FileKey, FilesPrefix};
use crate::memory::{LoadError, MemoryDatabase, MemoryOptions};
use crate::names::{BranchName, DatabaseKey, ObjectKey};
use crate::sql::SqlError;

/// The objects that hold the newest states of a database: of `main`, and of every other branch.
pub(super) async fn states(bucket: &Arc<dyn Bucket>, key: &DatabaseKey) -> Result<Vec<ObjectKey>, GcError> {
    let listing = |source| GcError::Bucket { doing: "listing the branches of a database", source };
    let (main, before) = (key.snapshot(&BranchName::main()), key.previous(&BranchName::main()));
    let mut found = Vec::new();
    if bucket::listed(bucket, &main).await.map_err(listing)?.is_some() {
        found.push(main);
    } else if bucket::listed(bucket, &before).await.map_err(listing)?.is_some() {
        return Err(unreadable(key, &main, "there is none, but there is one before it"));
    }
    let begins = key.branches();
    let listed = bucket.list(&begins, None, usize::MAX).await.map_err(listing)?;
    let names: HashSet<&str> = listed.iter().filter_map(|object| object.key.as_str().strip_prefix(&begins)).collect();
    for name in &names {
        match name.strip_suffix(".prev") {
            Some(branch) if is_branch(branch) && !names.contains(branch) => {
                return Err(unreadable(key, &ObjectKey::new(format!("{begins}{branch}")), "there is none, but there is one before it"));
            }
            None if is_branch(name) => found.push(ObjectKey::new(format!("{begins}{name}"))),
            // The snapshot before one that is there, or a name that no branch can have.
            Some(_) | None => {}
        }
    }
    found.sort();
    Ok(found)
}

/// The package's rule, which knows no longest name.
fn is_branch(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}

/// The files that a state names, by their keys or by where their contents lie.
pub(super) async fn files_in(
    bucket: &Arc<dyn Bucket>,
    key: &DatabaseKey,
    object: &ObjectKey,
    prefix: &FilesPrefix,
    options: MemoryOptions,
) -> Result<HashSet<FileKey>, GcError> {
    let reading = |source| GcError::Bucket { doing: "reading an owner's snapshot", source };
    let found = bucket.get(object, None).await.map_err(reading)?;
    let found = found.ok_or_else(|| unreadable(key, object, "it went away while it was read"))?;
    let (size, limit) = (found.meta.size, options.max_size);
    if size > limit {
        return Err(unreadable(key, object, format!("it has {size} bytes, more than the {limit} that this run may hold")));
    }
    let reader = SyncIoBridge::new(StreamReader::new(found.body.map_err(std::io::Error::other)));
    let prefix = prefix.clone();
    let loaded = tokio::task::spawn_blocking(move || {
        let memory = MemoryDatabase::load(reader, options)?;
        memory.check().map_err(LoadError::NotADatabase)?;
        memory.connect().and_then(|connection| names(&connection, &prefix)).map_err(|error| LoadError::NotADatabase(error.to_string()))
    });
    let loaded = loaded.await.map_err(|panic| unreadable(key, object, panic.to_string()))?;
    loaded.map_err(|error| match error {
        LoadError::Read(error) => reading(bucket::Error::Unavailable { message: error.to_string() }),
        other => unreadable(key, object, other.to_string()),
    })
}

fn names(connection: &Connection, prefix: &FilesPrefix) -> Result<HashSet<FileKey>, SqlError> {
    let kinds = "SELECT type = 'table' AND rootpage > 0 FROM sqlite_schema WHERE name = 'filestore' COLLATE NOCASE";
    let mut kinds = connection.prepare(kinds)?;
    let kinds = kinds.query_map([], |row| row.get(0))?.collect::<Result<Vec<bool>, _>>()?;
    if kinds.contains(&false) {
        let message = "`filestore` is no plain table";
        return Err(SqlError::ours(crate::sql::SqlErrorKind::Internal, message));
    }
    let mut found = HashSet::new();
    if kinds.is_empty() {
        return Ok(found);
    }
    let mut rows = connection.prepare("SELECT bh_key, object_key FROM filestore")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let text = |column| -> Result<Option<&str>, rusqlite::Error> { Ok(row.get_ref(column)?.as_str().ok()) };
        found.extend(text(0)?.and_then(|key| FileKey::parse(key).ok()));
        found.extend(text(1)?.and_then(|object| prefix.file_of(object)));
    }
    Ok(found)
}

fn unreadable(key: &DatabaseKey, object: &ObjectKey, problem: impl Into<String>) -> GcError {
    GcError::Owner { key: key.to_string(), object: object.clone(), problem: problem.into() }
}

pub(super) fn no_snapshot(key: &DatabaseKey) -> GcError {
    let problem = "it has no snapshot; if the database is gone for good, delete its record beside the prefix".to_owned();
    GcError::Owner { key: key.to_string(), object: key.snapshot(&BranchName::main()), problem }
}
