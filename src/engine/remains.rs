//! What lies in a bucket of one database, as whoever deletes it has to know, and how the last of it goes.
//!
//! Owns: reading all of it, and what belongs to a database besides its branches. Does not own: what is deleted (the controller decides), nor
//! how a branch goes (`branches.rs`).
//! Invariants: reading changes nothing; the tombstones stay, so that no name is used again whose DELETE could arrive late.

use std::collections::BTreeMap;

use crate::bucket;
use crate::chains;
use crate::error::Error;
use crate::files::{FilesPrefix, remove_owner};
use crate::head::{HeadState, Holder, PromotionState, maker};
use crate::heads::Heads;
use crate::names::{BranchName, DatabaseName, ObjectKey};

/// Who made a branch, as its head record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeBy {
    /// The resource that asks.
    Us,
    /// Another one, or an earlier one of the same name.
    Other(String),
    /// Nobody that is known: the Python package, an outside state that was kept, or something that was there before.
    Unknown,
}

/// What there is of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRemains {
    /// Its name.
    pub name: BranchName,
    /// It was deleted; only objects may be left.
    pub is_deleted: bool,
    /// A snapshot, the one before it, or a file of its chain.
    pub has_objects: bool,
    /// Whose it is.
    pub made_by: MadeBy,
    /// Who else holds it, as its record says.
    pub held_by: Option<Holder>,
    /// Who else serves it in this process, whatever its record says.
    pub served_by: Option<DatabaseName>,
    /// The branch whose content an overwrite of this one takes that has begun and not ended.
    pub takes_from: Option<String>,
    /// The overwrites of this branch that were carried out, by their ids.
    pub done: Vec<String>,
}

/// All that there is of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// In the order of their names. `main` is there only if something of it is.
    pub branches: Vec<BranchRemains>,
    /// Its record among the owners of files, or left-overs of a probe.
    pub has_rest: bool,
}

const LISTING: &str = "listing what there is of the database";

/// Looks at everything that belongs to a database, except its files.
pub(crate) async fn survey(heads: &Heads, prefix: &FilesPrefix, me: &Holder) -> Result<Remains, Error> {
    let failed = |source| heads.failed(LISTING, source);
    let (bucket, key) = (&heads.bucket, &heads.key);
    let main = BranchName::main();
    // Whether each has objects.
    let mut found: BTreeMap<BranchName, bool> = BTreeMap::new();
    for object in bucket.list(&key.heads(), None, usize::MAX).await.map_err(failed)? {
        found.extend(key.branch_of_head(&object.key).map(|branch| (branch, false)));
    }
    for object in bucket.list(&key.branches(), None, usize::MAX).await.map_err(failed)? {
        let newest = object.key.as_str().strip_suffix(".prev").map_or(object.key.clone(), ObjectKey::new);
        found.extend(key.branch_of_snapshot(&newest).map(|branch| (branch, true)));
    }
    found.extend(chains::branches_with_files(bucket, key).await.map_err(failed)?.into_iter().map(|branch| (branch, true)));
    for object in [key.snapshot(&main), key.previous(&main)] {
        if bucket::listed(bucket, &object).await.map_err(failed)?.is_some() {
            found.insert(main.clone(), true);
        }
    }
    let mut branches = Vec::new();
    for (name, has_objects) in found {
        branches.push(look_at(heads, name, has_objects, me).await?);
    }
    let owner = bucket.head(&prefix.owner(key)).await.map_err(failed)?;
    Ok(Remains { branches, has_rest: owner.is_some() || !probes(heads).await?.is_empty() })
}

async fn look_at(heads: &Heads, name: BranchName, has_objects: bool, me: &Holder) -> Result<BranchRemains, Error> {
    let record = heads.read(&name).await?.map(|stored| stored.record);
    let Some(record) = record else {
        let (held_by, served_by, takes_from) = (None, None, None);
        let made_by = MadeBy::Unknown;
        return Ok(BranchRemains { name, is_deleted: false, has_objects, made_by, held_by, served_by, takes_from, done: Vec::new() });
    };
    let takes_from = record.begun().map(|entry| entry.from.branch.clone());
    let done = record.promotions.iter().filter(|entry| entry.state == PromotionState::Done).map(|entry| entry.id.clone()).collect();
    Ok(BranchRemains {
        name,
        is_deleted: record.state == HeadState::Tombstone,
        has_objects,
        made_by: match record.maker {
            Some(by) if by == maker(me) => MadeBy::Us,
            Some(by) => MadeBy::Other(by),
            None => MadeBy::Unknown,
        },
        held_by: record.holder.filter(|by| !record.released && (&by.resource, &by.cluster) != (&me.resource, &me.cluster)),
        served_by: None,
        takes_from,
        done,
    })
}

async fn probes(heads: &Heads) -> Result<Vec<ObjectKey>, Error> {
    let begins = heads.key.probe("").as_str().to_owned();
    let listed = heads.bucket.list(&begins, None, usize::MAX).await.map_err(|source| heads.failed(LISTING, source))?;
    Ok(listed.into_iter().map(|object| object.key).collect())
}

/// Deletes what belongs to a database of which no branch is left: gc then no longer looks for it, and its files go with gc's next runs.
pub(crate) async fn delete_rest(heads: &Heads, prefix: &FilesPrefix) -> Result<(), Error> {
    let failed = |source| heads.failed("deleting the rest of the database", source);
    for probe in probes(heads).await? {
        heads.bucket.delete(&probe).await.map_err(failed)?;
    }
    remove_owner(&heads.bucket, prefix, &heads.key).await.map_err(failed)
}
