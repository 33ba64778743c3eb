//! Branches that their maker declares no more: noted first, deleted later.
//!
//! Owns: the note in the head record, and that a branch is deleted only while it says what the deleter saw. Does not own: which branches
//! are meant, and when; that is decided by whoever has the declarations.
//! Invariant: nobody's but the maker's word counts, and a branch that somebody holds stays.

use super::{is_made_by, refused, remove};
use crate::bucket;
use crate::clock::WallTime;
use crate::error::Error;
use crate::head::{Fate, HeadState, Holder};
use crate::heads::{Heads, Stored, Written};
use crate::names::BranchName;
use crate::snapshot::Place;

/// Notes what its maker wants of a branch, or that it is declared no more.
pub(crate) async fn note_fate(heads: &Heads, name: &BranchName, fate: Fate, me: &Holder) -> Result<(), Error> {
    let (database, branch) = (heads.database.clone(), name.clone());
    let Some(stored) = heads.read(name).await? else { return Err(Error::BranchNotFound { database, branch }) };
    if stored.record.state != HeadState::Ready {
        return Err(Error::BranchDeleted { database, branch });
    }
    if !is_made_by(Some(&stored.record), me) {
        return Err(refused(heads, name, "was made by somebody else, who alone can say what becomes of it"));
    }
    if fate.leaving.is_some() {
        nobody_holds(heads, name, &stored)?;
    }
    swap(heads, name, &stored, stored.record.with_fate(fate)).await
}

/// Deletes a branch that is declared no more since this moment. One that was brought back meanwhile stays.
pub(crate) async fn delete_leaving(heads: &Heads, name: &BranchName, since: WallTime, me: &Holder) -> Result<(), Error> {
    let place = Place::of(&heads.key, name);
    let Some(stored) = heads.read(name).await? else { return Ok(()) };
    if stored.record.fate().leaving != Some(since) || !is_made_by(Some(&stored.record), me) {
        return Ok(());
    }
    if stored.record.state != HeadState::Tombstone {
        nobody_holds(heads, name, &stored)?;
        swap(heads, name, &stored, stored.record.tombstone()).await?;
    }
    remove(heads, &place).await
}

fn nobody_holds(heads: &Heads, name: &BranchName, stored: &Stored) -> Result<(), Error> {
    match stored.record.holder.as_ref().filter(|_| !stored.record.released) {
        Some(by) => Err(Error::HeldByOther {
            database: heads.database.clone(),
            branch: name.clone(),
            by: Box::new(by.clone()),
            epoch: stored.record.epoch,
        }),
        None => Ok(()),
    }
}

/// Whoever was faster may have opened the branch: it is looked at afresh by the next try.
async fn swap(heads: &Heads, name: &BranchName, seen: &Stored, next: crate::head::HeadRecord) -> Result<(), Error> {
    match heads.write(name, Some(seen), next).await? {
        Written::Ours(_) => Ok(()),
        Written::Theirs(_) => {
            let source = bucket::Error::Unavailable { message: "somebody else changed the head record".to_owned() };
            Err(heads.failed("writing the head record", source))
        }
    }
}
