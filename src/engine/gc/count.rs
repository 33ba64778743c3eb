//! Which files the newest states of a database's branches name.
//!
//! Invariant: an answer is whole. Whatever could not be read, or stands where it should not, is an error.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ltx::Txid;
use rusqlite::Connection;

use super::run::GcError;
use crate::bucket;
use crate::chains::{self, Chain};
use crate::error::Error;
use crate::files::{FileKey, FilesPrefix};
use crate::head::HeadState;
use crate::heads::Heads;
use crate::memory::{LoadError, MemoryDatabase, MemoryOptions};
use crate::names::{BranchName, DatabaseKey, ObjectKey};
use crate::sql::SqlError;

/// Where the newest state of a branch is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Newest {
    /// In this plain file.
    File(ObjectKey),
    /// In its chain, which begins here.
    Chain { branch: BranchName, first: Txid },
}

/// A database whose files are counted.
pub(super) struct Count<'a> {
    pub(super) heads: &'a Heads,
    pub(super) prefix: &'a FilesPrefix,
}

/// The newest states of a database: of `main`, and of every other branch.
pub(super) async fn newest(heads: &Heads) -> Result<Vec<Newest>, GcError> {
    let (bucket, key) = (&heads.bucket, &heads.key);
    let listing = |source| GcError::Bucket { doing: "listing the branches of a database", source };
    let chains = chained(heads).await?;
    let is_chained = |object: &ObjectKey| chains.keys().any(|branch| key.snapshot(branch) == *object);
    let mut found: Vec<_> = chains.iter().map(|(branch, first)| Newest::Chain { branch: branch.clone(), first: *first }).collect();
    let (main, before) = (key.snapshot(&BranchName::main()), key.previous(&BranchName::main()));
    if is_chained(&main) {
    } else if bucket::listed(bucket, &main).await.map_err(listing)?.is_some() {
        found.push(Newest::File(main));
    } else if bucket::listed(bucket, &before).await.map_err(listing)?.is_some() {
        return Err(unreadable(key, &main, "there is none, but there is one before it"));
    }
    let begins = key.branches();
    let listed = bucket.list(&begins, None, usize::MAX).await.map_err(listing)?;
    let names: HashSet<&str> = listed.iter().filter_map(|object| object.key.as_str().strip_prefix(&begins)).collect();
    for name in &names {
        let (branch, is_before) = name.strip_suffix(".prev").map_or((*name, false), |branch| (branch, true));
        let object = ObjectKey::new(format!("{begins}{branch}"));
        // Names that no branch can have are somebody else's.
        if !is_branch(branch) || is_chained(&object) {
            continue;
        }
        match is_before {
            true if !names.contains(branch) => return Err(unreadable(key, &object, "there is none, but there is one before it")),
            true => {}
            false => found.push(Newest::File(object)),
        }
    }
    found.sort();
    Ok(found)
}

/// The branches whose chain is their newest state, and where it begins.
async fn chained(heads: &Heads) -> Result<BTreeMap<BranchName, Txid>, GcError> {
    let (bucket, key) = (&heads.bucket, &heads.key);
    let listing = |source| GcError::Bucket { doing: "listing the branches of a database", source };
    let listed = bucket.list(&key.heads(), None, usize::MAX).await.map_err(listing)?;
    let (mut recorded, mut found) = (BTreeSet::new(), BTreeMap::new());
    for branch in listed.iter().filter_map(|object| key.branch_of_head(&object.key)) {
        let record = heads.read(&branch).await.map_err(|error| of_engine(key, &key.head(&branch), error))?;
        if let Some(first) = record.filter(|stored| stored.record.state == HeadState::Ready).and_then(|stored| stored.record.first()) {
            found.insert(branch.clone(), first);
        }
        recorded.insert(branch);
    }
    for branch in chains::branches_with_files(bucket, key).await.map_err(listing)? {
        if !recorded.contains(&branch) {
            let problem = "it has deltas and no head record; opening the branch makes one";
            return Err(unreadable(key, &key.head(&branch), problem));
        }
    }
    Ok(found)
}

/// The package's rule, which knows no longest name.
fn is_branch(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}

impl Count<'_> {
    /// The files that a state names, by their keys or by where their contents lie.
    pub(super) async fn files_in(&self, newest: &Newest, options: MemoryOptions) -> Result<HashSet<FileKey>, GcError> {
        let key = &self.heads.key;
        let (memory, object) = match newest {
            Newest::File(object) => (self.load(object, options).await?, object.clone()),
            Newest::Chain { branch, first } => {
                let object = ObjectKey::new(key.chain(branch));
                let recalled = Chain::of(self.heads, branch).newest(*first, &options).await;
                (recalled.map_err(|error| of_engine(key, &object, error))?.memory, object)
            }
        };
        let prefix = self.prefix.clone();
        let named = tokio::task::spawn_blocking(move || memory.connect().and_then(|connection| names(&connection, &prefix)));
        let named = named.await.map_err(|panic| unreadable(key, &object, panic.to_string()))?;
        named.map_err(|error| unreadable(key, &object, error.to_string()))
    }

    async fn load(&self, object: &ObjectKey, options: MemoryOptions) -> Result<MemoryDatabase, GcError> {
        let key = &self.heads.key;
        let reading = |source| GcError::Bucket { doing: "reading an owner's snapshot", source };
        let found = self.heads.bucket.get(object, None).await.map_err(reading)?;
        let found = found.ok_or_else(|| unreadable(key, object, "it went away while it was read"))?;
        let (size, limit) = (found.meta.size, options.max_size);
        if size > limit {
            return Err(unreadable(key, object, format!("it has {size} bytes, more than the {limit} that this run may hold")));
        }
        let reader = bucket::reader(found.body);
        let loaded = tokio::task::spawn_blocking(move || {
            let memory = MemoryDatabase::load(reader, options)?;
            memory.check().map_err(LoadError::NotADatabase)?;
            Ok(memory)
        });
        let loaded = loaded.await.map_err(|panic| unreadable(key, object, panic.to_string()))?;
        loaded.map_err(|error| match error {
            LoadError::Read(error) => reading(bucket::Error::Unavailable { message: error.to_string() }),
            other => unreadable(key, object, other.to_string()),
        })
    }
}

fn of_engine(key: &DatabaseKey, object: &ObjectKey, error: Error) -> GcError {
    match error {
        Error::Bucket { doing, source, .. } => GcError::Bucket { doing, source },
        error => unreadable(key, object, error.to_string()),
    }
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
