//! The content of a branch before it is overwritten, kept as a branch of its own.
//!
//! An earlier try of the same overwrite may have kept what the branch held then, and writers went on after it failed: what it kept is
//! renewed. Nobody else's branch is touched, nor one that somebody has opened since.

use super::begin::{Begun, begin};
use super::{Source, create, first_of};
use crate::bucket;
use crate::error::Error;
use crate::head::{Birth, Holder, OnLeave, maker, parent};
use crate::heads::{Heads, Stored, Written};
use crate::names::BranchName;
use crate::snapshot::{Known, Place};

/// Keeps a state for the sake of the overwrite `id`. `content` is the state's.
pub(crate) async fn keep(heads: &Heads, name: &BranchName, source: &Source, content: &str, id: &str, me: &Holder) -> Result<(), Error> {
    let birth = Birth { maker: Some(maker(me)), policy: OnLeave::Retain, kept_for: Some(id.to_owned()) };
    let exists = match create(heads, name, source, &birth).await {
        Ok(_) => return Ok(()),
        Err(error @ Error::BranchExists { .. }) => error,
        Err(error) => return Err(error),
    };
    let Some(found) = heads.read(name).await? else { return Err(exists) };
    if found.record.snapshot.as_ref().is_some_and(|snapshot| snapshot.content == content) {
        return Ok(());
    }
    if found.record.kept_for.as_deref() != Some(id) || found.record.holder.is_some() {
        return Err(exists);
    }
    renew(heads, name, &found, source).await
}

/// Puts a newer state in the place of the one that was kept. The record first forgets what it knew: whoever opens the branch in between
/// makes what they find their own before they serve it, and this try fails.
async fn renew(heads: &Heads, name: &BranchName, found: &Stored, source: &Source) -> Result<(), Error> {
    let doing = "keeping the content before the overwrite";
    let changed = || heads.failed(doing, bucket::Error::Unavailable { message: format!("somebody else changed the branch {name}") });
    let place = Place::of(&heads.key, name);
    let object = heads.bucket.head(&place.key).await.map_err(|error| heads.failed(doing, error))?;
    // What was kept first has its number.
    let first = source.txid.max(found.record.txid.saturating_add(1));
    let forgotten = found.record.adopted(first, Some(parent(&source.branch, source.txid)));
    let Written::Ours(stored) = heads.write(name, Some(found), forgotten).await? else { return Err(changed()) };
    let replaces = object.map_or(Known::Absent, |object| Known::NotOurs(object.etag));
    let Begun::Ours(made) = begin(heads, &place, replaces, first_of(heads, &stored)?, source, false).await? else { return Err(changed()) };
    match heads.write(name, Some(&stored), made.noted_in(&stored.record)).await? {
        Written::Ours(_) => Ok(()),
        Written::Theirs(_) => Err(changed()),
    }
}
