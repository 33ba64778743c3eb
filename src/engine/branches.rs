//! Branches in the bucket: made, listed, deleted.
//!
//! A branch is there once its head record says `ready`. Before that its name is reserved, and whoever wants the branch may finish it;
//! after its deletion a tombstone stays, because a late request of an earlier life could still arrive.
//! Invariants: a name is reserved before its objects are put, and they are put only where none is; of two states that it was to be made of
//! the later one has the higher number; a branch shares no object with the one that it was made from.

mod begin;
mod kept;
mod leaving;

use std::collections::{BTreeMap, BTreeSet};

use ltx::{Checksum, Txid};

use crate::base::Base;
use crate::bucket::{self, Condition, Content, Form, Listed, Put};
use crate::chains::Chain;
use crate::clock::WallTime;
use crate::error::Error;
use crate::head::{Birth, Fate, HeadRecord, HeadState, Holder, Parent, maker, parent};
use crate::heads::{Heads, Stored, Written};
use crate::memory::Pin;
use crate::names::{BranchName, Etag, ObjectKey};
use crate::restore::{epoch_of, txid_of};
use crate::snapshot::{CONTENT_TYPE, Known, Place, metadata};

use begin::{Begun, WRITING, begin};
pub(crate) use kept::keep;
pub(crate) use leaving::{delete_leaving, note_fate};

/// What a branch is made of, or overwritten with: a state that is in the bucket.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) branch: BranchName,
    /// 0 where its writer did not number it.
    pub(crate) txid: u64,
    /// When it was made.
    pub(crate) time: WallTime,
    /// The lowest txid since when the content is this one.
    pub(crate) same_since: u64,
    pub(crate) pin: Pin,
    /// Of the state, where that is known.
    pub(crate) checksum: Option<Checksum>,
    /// The branch's plain file, where that has most of the state.
    pub(crate) base: Option<Base>,
}

/// What is known of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchFacts {
    /// Its name.
    pub name: BranchName,
    /// The number of its newest snapshot; 0 where its writer did not number it.
    pub txid: u64,
    /// Of the snapshot, in bytes.
    pub size: u64,
    /// Of the snapshot.
    pub etag: Etag,
    /// When the snapshot was written, by the store's clock.
    pub last_modified: Option<WallTime>,
    /// Of what it was made: a branch and its txid. Unknown for `main` and for branches of the Python package.
    pub parent: Option<(String, u64)>,
    /// Who holds it, as its record says; nobody if it was released.
    pub holder: Option<Holder>,
    /// The resource that asks made it.
    pub made_here: bool,
    /// What its maker has said of the time when it is declared no more.
    pub fate: Fate,
}

/// The branches of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those that are there, `main` first, the others in the order of their names.
    pub branches: Vec<BranchFacts>,
    /// Those that the resource that asks began to delete because they had been declared no more since this moment.
    pub half_deleted: Vec<(BranchName, WallTime)>,
}

/// How often a step is tried again because somebody else was faster.
const TRIES: u32 = 4;
/// Names that are tried for a state that is kept.
const NAMES: u32 = 100;

/// Makes a branch, or finishes one that somebody began.
pub(crate) async fn create(heads: &Heads, name: &BranchName, source: &Source, birth: &Birth) -> Result<BranchFacts, Error> {
    let reserved = reserve(heads, name, source, birth).await?;
    make(heads, name, reserved, source, birth).await
}

async fn make(heads: &Heads, name: &BranchName, reserved: Reserved, source: &Source, birth: &Birth) -> Result<BranchFacts, Error> {
    let Reserved { stored: reserved, is_fresh } = reserved;
    let place = Place::of(&heads.key, name);
    let txid = first_of(heads, &reserved)?;
    let made = match begin(heads, &place, Known::Absent, txid, source, is_fresh).await? {
        Begun::Ours(made) => made,
        // Somebody who reserved the name before us put it, and came no further, or the seed was faster. It is whole, so it is the branch.
        Begun::Theirs { etag: Some(_) } => return adopt(heads, &place, reserved, source, birth).await,
        Begun::Theirs { etag: None } => {
            let source = bucket::Error::Unavailable { message: "the branch's object came and went".to_owned() };
            return Err(heads.failed(WRITING, source));
        }
    };
    // Somebody else may have reserved the name for another state meanwhile. What stands is ours, and has our number.
    let from = parent(&source.branch, source.txid);
    finish(heads, &place, reserved, |record| made.noted_in(&record.made(from.clone(), txid.get()))).await?;
    Ok(BranchFacts {
        name: name.clone(),
        txid: txid.get(),
        size: source.pin.size(),
        etag: made.etag,
        last_modified: None,
        parent: Some((source.branch.as_str().to_owned(), source.txid)),
        holder: None,
        made_here: true,
        fate: Fate { policy: birth.policy, leaving: None },
    })
}

/// Where the numbers of a reserved branch begin.
fn first_of(heads: &Heads, reserved: &Stored) -> Result<Txid, Error> {
    let detail = || format!("the branch was reserved with the number {}", reserved.record.txid);
    Txid::new(reserved.record.txid).ok_or_else(|| Error::Internal { database: heads.database.clone(), detail: detail() })
}

/// A name that nobody else uses.
struct Reserved {
    stored: Stored,
    /// Nobody had it before, so nobody has put anything there.
    is_fresh: bool,
}

/// Reserves a name that nobody uses.
async fn reserve(heads: &Heads, name: &BranchName, source: &Source, birth: &Birth) -> Result<Reserved, Error> {
    // Only a number tells that two sources are the same state.
    let (parent, is_numbered) = (parent(&source.branch, source.txid), source.txid > 0);
    reserve_for(heads, name, parent, is_numbered, birth).await
}

async fn reserve_for(heads: &Heads, name: &BranchName, parent: Parent, is_numbered: bool, birth: &Birth) -> Result<Reserved, Error> {
    let mut found = heads.read(name).await?;
    let first = parent.txid.max(1);
    for _ in 0..TRIES {
        is_free(heads, name, found.as_ref()).await?;
        let next = match &found {
            // Made of what the source is now, since what it was then may be gone.
            Some(stored) if is_numbered && stored.record.parent.as_ref() == Some(&parent) => {
                return Ok(Reserved { stored: stored.clone(), is_fresh: false });
            }
            Some(stored) => stored.record.made_of(parent.clone(), first),
            None => HeadRecord::reserved(parent.clone(), first, birth),
        };
        let is_fresh = is_numbered && found.is_none();
        match heads.write(name, found.as_ref(), next).await? {
            Written::Ours(stored) => return Ok(Reserved { stored, is_fresh }),
            Written::Theirs(theirs) => found = theirs,
        }
    }
    Err(heads.failed("reserving the branch", bucket::Error::Unavailable { message: "others reserve the same name".to_owned() }))
}

/// Whether a branch of this name can be made: there is none, or one that was begun.
pub(crate) async fn can_be_made(heads: &Heads, name: &BranchName) -> Result<(), Error> {
    let found = heads.read(name).await?;
    is_free(heads, name, found.as_ref()).await
}

async fn is_free(heads: &Heads, name: &BranchName, found: Option<&Stored>) -> Result<(), Error> {
    if name.is_main() {
        return Err(refused(heads, name, "always exists: choose another name"));
    }
    let (database, branch) = (heads.database.clone(), name.clone());
    match found.map(|stored| stored.record.state) {
        Some(HeadState::Creating) => Ok(()),
        Some(HeadState::Ready) => Err(Error::BranchExists { database, branch }),
        Some(HeadState::Tombstone) => Err(Error::BranchDeleted { database, branch }),
        None => {
            let object = heads.bucket.head(&heads.key.snapshot(name)).await;
            match object.map_err(|error| heads.failed("looking for the branch", error))? {
                // The seed made it.
                Some(_) => Err(Error::BranchExists { database, branch }),
                None => Ok(()),
            }
        }
    }
}

/// Says that a reserved branch is there. It may have been finished, or deleted, by somebody else meanwhile.
async fn finish(heads: &Heads, place: &Place, mut stored: Stored, ready: impl Fn(&HeadRecord) -> HeadRecord) -> Result<(), Error> {
    for _ in 0..TRIES {
        match heads.write(&place.branch, Some(&stored), ready(&stored.record)).await? {
            Written::Ours(_) => return Ok(()),
            Written::Theirs(Some(theirs)) => match theirs.record.state {
                HeadState::Ready => return Ok(()),
                HeadState::Creating => stored = theirs,
                HeadState::Tombstone => {
                    // Its deletion may have come before our object.
                    remove(heads, place).await?;
                    return Err(Error::BranchDeleted { database: heads.database.clone(), branch: place.branch.clone() });
                }
            },
            Written::Theirs(None) => {
                let database = heads.database.clone();
                return Err(Error::BranchNotFound { database, branch: place.branch.clone() });
            }
        }
    }
    Err(heads.failed("writing the head record", bucket::Error::Unavailable { message: "the head record keeps changing".to_owned() }))
}

/// An object that stands where a reserved branch is to be is that branch. Its content is not compared: without it in the record, whoever
/// opens the branch makes it their own first.
async fn adopt(heads: &Heads, place: &Place, reserved: Stored, source: &Source, birth: &Birth) -> Result<BranchFacts, Error> {
    let found = heads.bucket.head(&place.key).await.map_err(|error| heads.failed("looking for the branch", error))?;
    let Some(meta) = found else {
        return Err(heads.failed("looking for the branch", bucket::Error::Unavailable { message: "it came and went".to_owned() }));
    };
    let made_by_us = meta.metadata.get(metadata::BRANCH).map(String::as_str) == Some(place.branch.as_str());
    let txid = txid_of(&meta);
    let from = made_by_us.then(|| parent(&source.branch, txid));
    let (made_here, fate) = (reserved.record.maker == birth.maker, reserved.record.fate());
    finish(heads, place, reserved, |record| record.adopted(txid, from.clone())).await?;
    if !made_by_us {
        return Err(Error::BranchExists { database: heads.database.clone(), branch: place.branch.clone() });
    }
    Ok(BranchFacts {
        name: place.branch.clone(),
        txid,
        size: meta.size,
        etag: meta.etag,
        last_modified: meta.last_modified,
        parent: from.map(|from| (from.branch, from.txid)),
        holder: None,
        made_here,
        fate,
    })
}

/// Keeps somebody else's object at a place, as it is now, as a new branch that tells by its name when it was found. Its bytes are not looked at: whatever they are, nobody may lose them.
pub(crate) async fn keep_outside(heads: &Heads, place: &Place, etag: &Etag, found: WallTime) -> Result<BranchName, Error> {
    let name = found.strftime("outside-%Y%m%dT%H%M%SZ").to_string();
    for number in 1..NAMES {
        let name = if number == 1 { name.clone() } else { format!("{name}-{number}") };
        let Ok(branch) = BranchName::parse(&name) else { break };
        match reserve_for(heads, &branch, parent(&place.branch, 0), false, &Birth::default()).await {
            Ok(reserved) => return copy_into(heads, place, etag, reserved.stored, branch).await,
            Err(Error::BranchExists { .. } | Error::BranchDeleted { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Internal { database: heads.database.clone(), detail: format!("no name like {name} is free") })
}

async fn copy_into(heads: &Heads, from: &Place, etag: &Etag, reserved: Stored, branch: BranchName) -> Result<BranchName, Error> {
    let place = Place::of(&heads.key, &branch);
    let put_id = heads.put_ids.fresh().to_string();
    let doing = "keeping a state of somebody else";
    let mut last = None;
    for _ in 0..TRIES {
        let object = heads.bucket.get(&from.key, Some(etag)).await.map_err(|error| heads.failed(doing, error))?;
        let Some(object) = object else {
            return Err(heads.failed(doing, bucket::Error::Unavailable { message: format!("{} went away", from.key) }));
        };
        let len = object.meta.size;
        let reader = bucket::reader(object.body);
        let metadata = BTreeMap::from([(metadata::PUT_ID.to_owned(), put_id.clone())]);
        let put = Put { condition: Condition::IfAbsent, form: Form { metadata, content_type: CONTENT_TYPE } };
        match heads.bucket.put(&place.key, Content::new(len, reader), put).await {
            Ok(_) => {}
            Err(bucket::Error::PreconditionFailed) if is_put(heads, &place.key, &put_id).await => {}
            Err(error) => {
                last = Some(error);
                continue;
            }
        }
        // Without a snapshot in its record, whoever opens it makes it their own first.
        finish(heads, &place, reserved, |record| record.adopted(0, record.parent.clone())).await?;
        return Ok(branch);
    }
    Err(heads.failed(doing, last.expect("the loop ends here only after a failed try")))
}

async fn is_put(heads: &Heads, key: &ObjectKey, put_id: &str) -> bool {
    let found = heads.bucket.head(key).await.ok().flatten();
    found.is_some_and(|meta| meta.metadata.get(metadata::PUT_ID).map(String::as_str) == Some(put_id))
}

/// Deletes a branch that nobody else holds. One that is not there is fine.
pub(crate) async fn delete(heads: &Heads, name: &BranchName, me: &Holder) -> Result<(), Error> {
    if name.is_main() {
        return Err(refused(heads, name, "cannot be deleted"));
    }
    bury(heads, name, me).await
}

/// Deletes a branch that `me` made and nobody else holds, `main` as well: with the resource that made it the database goes, too.
pub(crate) async fn delete_own(heads: &Heads, name: &BranchName, me: &Holder) -> Result<(), Error> {
    match heads.read(name).await?.map(|stored| stored.record.maker) {
        Some(Some(by)) if by == maker(me) => bury(heads, name, me).await,
        Some(Some(by)) => Err(refused(heads, name, &format!("was made by {by}, and only that resource deletes it"))),
        Some(None) | None => Err(refused(heads, name, "does not say who made it, so no resource deletes it")),
    }
}

/// First the tombstone, which nothing survives that is still under way, then the objects. Doing it again does no harm: under a tombstone
/// nobody puts anything.
async fn bury(heads: &Heads, name: &BranchName, me: &Holder) -> Result<(), Error> {
    let place = Place::of(&heads.key, name);
    let mut found = heads.read(name).await?;
    for _ in 0..TRIES {
        let next = if let Some(stored) = &found {
            let HeadRecord { state, holder, released, epoch, .. } = &stored.record;
            let by_other = holder.as_ref().filter(|by| !released && (&by.resource, &by.cluster) != (&me.resource, &me.cluster));
            match (state, by_other) {
                (HeadState::Tombstone, _) => return remove(heads, &place).await,
                (_, Some(by)) => {
                    let (database, branch) = (heads.database.clone(), name.clone());
                    return Err(Error::HeldByOther { database, branch, by: Box::new(by.clone()), epoch: *epoch });
                }
                (HeadState::Ready | HeadState::Creating, None) => stored.record.tombstone(),
            }
        } else {
            let object = heads.bucket.head(&place.key).await.map_err(|error| heads.failed("looking for the branch", error))?;
            let Some(meta) = object else { return Ok(()) };
            HeadRecord::found(epoch_of(&meta), txid_of(&meta)).tombstone()
        };
        match heads.write(name, found.as_ref(), next).await? {
            Written::Ours(_) => return remove(heads, &place).await,
            Written::Theirs(theirs) => found = theirs,
        }
    }
    Err(heads.failed("deleting the branch", bucket::Error::Unavailable { message: "the head record keeps changing".to_owned() }))
}

async fn remove(heads: &Heads, place: &Place) -> Result<(), Error> {
    // A snapshot before a newest one that is missing would look like an accident to whoever finds it.
    for key in [&place.previous, &place.key] {
        heads.bucket.delete(key).await.map_err(|error| heads.failed("deleting the branch", error))?;
    }
    Chain::of(heads, &place.branch).remove().await.map_err(|error| heads.failed("deleting the branch", error))
}

/// All branches that are there, and those of which only objects are left.
pub(crate) async fn list(heads: &Heads, me: &Holder) -> Result<Listing, Error> {
    let (main, bucket) = (BranchName::main(), &heads.bucket);
    let listing = |source| heads.failed("listing the branches", source);
    let newest = bucket::listed(bucket, &heads.key.snapshot(&main)).await.map_err(listing)?;
    let mut objects: BTreeMap<BranchName, Listed> = newest.map(|object| (main, object)).into_iter().collect();
    let others = bucket.list(&heads.key.branches(), None, usize::MAX).await.map_err(listing)?;
    objects.extend(others.into_iter().filter_map(|object| Some((heads.key.branch_of_snapshot(&object.key)?, object))));
    let records = bucket.list(&heads.key.heads(), None, usize::MAX).await.map_err(listing)?;
    let recorded: BTreeSet<BranchName> = records.iter().filter_map(|object| heads.key.branch_of_head(&object.key)).collect();
    let mut found = Listing::default();
    for (name, object) in objects {
        let record = if recorded.contains(&name) { heads.read(&name).await?.map(|stored| stored.record) } else { None };
        match record.as_ref().map(|record| (record.state, record.fate().leaving)) {
            None | Some((HeadState::Ready, _)) => found.branches.push(describe(name, &object, record, me)),
            Some((HeadState::Tombstone, Some(since))) if is_made_by(record.as_ref(), me) => found.half_deleted.push((name, since)),
            Some((HeadState::Tombstone | HeadState::Creating, _)) => {}
        }
    }
    found.branches.sort_by(|one, other| (!one.name.is_main(), &one.name).cmp(&(!other.name.is_main(), &other.name)));
    Ok(found)
}

fn is_made_by(record: Option<&HeadRecord>, me: &Holder) -> bool {
    record.and_then(|record| record.maker.as_ref()).is_some_and(|by| *by == maker(me))
}

fn describe(name: BranchName, object: &Listed, record: Option<HeadRecord>, me: &Holder) -> BranchFacts {
    BranchFacts {
        made_here: is_made_by(record.as_ref(), me),
        fate: record.as_ref().map(HeadRecord::fate).unwrap_or_default(),
        name,
        txid: record.as_ref().map_or(0, |record| record.txid),
        size: object.size,
        etag: object.etag.clone(),
        last_modified: object.last_modified,
        parent: record.as_ref().and_then(|record| record.parent.clone()).map(|parent| (parent.branch, parent.txid)),
        holder: record.filter(|record| !record.released).and_then(|record| record.holder),
    }
}

fn refused(heads: &Heads, branch: &BranchName, why: &str) -> Error {
    Error::BranchRefused { database: heads.database.clone(), branch: branch.clone(), why: why.to_owned() }
}

#[cfg(test)]
mod tests;
