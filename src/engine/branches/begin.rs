//! The objects that a branch begins with.
//!
//! Owns: in which order they come, and what its chain begins with. Does not own: whose the name is, nor what the record says then.
//! Invariant: what somebody else's branch may have below its own numbers is not to be seen before the plain file is ours.

use chain::Level;
use ltx::{Checksum, Txid};

use super::Source;
use crate::bucket::Staged;
use crate::chains::{Chain, Landing, SlotMark, Upload, millis};
use crate::delta::{self, Tip};
use crate::error::Error;
use crate::head::{Epoch, HeadRecord};
use crate::heads::Heads;
use crate::names::Etag;
use crate::restore::epoch_of;
use crate::snapshot::{Attempt, Known, Mark, Outcome, Place, content_of, upload};

pub(super) const WRITING: &str = "writing the branch";

/// The first objects of a branch, which its record does not name yet.
pub(super) struct Made {
    pub(super) etag: Etag,
    txid: Txid,
    laid: Laid,
    size: u64,
    content: String,
}

/// The files that a chain begins with.
#[derive(Debug, Clone, Copy)]
struct Laid {
    /// The number of the whole database among them.
    first: Txid,
    /// The tenures that wrote them had none above it.
    epoch: Epoch,
}

impl Made {
    pub(super) fn noted_in(&self, record: &HeadRecord) -> HeadRecord {
        let Laid { first, epoch } = self.laid;
        let noted = record.noted(&self.etag, self.txid.get(), self.size, self.content.clone());
        // What comes before is the past of another branch.
        noted.chained(first).with_horizon(self.txid).after_epoch(epoch)
    }
}

/// Whose objects a branch begins with.
pub(super) enum Begun {
    Ours(Made),
    /// Somebody else's, or none although one stood there.
    Theirs {
        etag: Option<Etag>,
    },
}

/// Puts the objects that a branch begins with: the plain file in the place of what is known, and the files of its chain.
pub(super) async fn begin(
    heads: &Heads,
    place: &Place,
    replaces: Known,
    txid: Txid,
    source: &Source,
    may_copy: bool,
) -> Result<Begun, Error> {
    let checksum = match source.checksum {
        Some(checksum) => checksum,
        None => checksum_of(heads, source, txid).await?,
    };
    let attempt = Attempt {
        pin: source.pin.clone(),
        txid: txid.get(),
        checksum,
        // It belongs to no tenure until somebody opens it.
        epoch: Epoch::default(),
        put_id: heads.put_ids.fresh(),
        replaces,
        keep_previous: false,
        base: source.base.clone(),
        promotion: Mark::None,
    };
    let chain = Chain::of(heads, &place.branch);
    let prepared = prepare_chain(heads, &chain, txid, source, may_copy);
    let sent = async { tokio::join!(upload(&heads.bucket, place, &attempt), prepared, content_of(&source.pin)) };
    let (plain, prepared, content) = Box::pin(sent).await;
    let ours = match plain {
        Outcome::Stored(etag) => Ok(etag),
        Outcome::Conflict { theirs } => Err(Ok(Begun::Theirs { etag: theirs })),
        Outcome::NotWritten(error) | Outcome::Unclear(error) => Err(Err(heads.failed(WRITING, error))),
    };
    let etag = match ours {
        Ok(etag) => etag,
        Err(instead) => {
            if let Ok(Prepared::Whole(_, Some(staged))) = prepared {
                staged.discard().await;
            }
            return instead;
        }
    };
    let laid = match prepared? {
        Prepared::Copied(laid) => laid,
        Prepared::Whole(whole, staged) => match chain.put_staged(&whole, staged).await {
            Landing::Stored => Laid { first: txid, epoch: Epoch::default() },
            // A number stands for one state, whoever brings it. It may be one that was copied.
            Landing::Taken(theirs) => Laid { first: txid, epoch: epoch_of(&theirs) },
            Landing::NotWritten(error) | Landing::Unclear(error) => return Err(heads.failed(WRITING, error)),
        },
    };
    let content = content.map_err(|error| fault(heads, &error))?;
    Ok(Begun::Ours(Made { etag, txid, laid, size: source.pin.size(), content }))
}

/// What a chain begins with, while it is not certain yet whose the branch becomes.
enum Prepared {
    /// Copies of the files that led to the state where the branch was made. Whoever else makes the branch has numbers above theirs.
    Copied(Laid),
    /// One with the whole database, whose number somebody else's branch may have below its own. It is not to be seen before the plain file.
    Whole(Upload, Option<Box<dyn Staged>>),
}

async fn prepare_chain(heads: &Heads, chain: &Chain, txid: Txid, source: &Source, may_copy: bool) -> Result<Prepared, Error> {
    if may_copy && let Some(laid) = copied(heads, chain, txid, source).await {
        return Ok(Prepared::Copied(laid));
    }
    let begun = delta::beginning(source.pin.clone(), txid, millis(source.time), Epoch::default()).await;
    let (_, file) = begun.map_err(|error| fault(heads, &error))?;
    let whole = Upload { level: Level::Whole, file, put_id: heads.put_ids.fresh(), mark: SlotMark::None };
    let staged = chain.stage(&whole).await.map_err(|error| heads.failed(WRITING, error))?;
    Ok(Prepared::Whole(whole, staged))
}

/// `None` if the chain has to be laid in another way.
async fn copied(heads: &Heads, chain: &Chain, txid: Txid, source: &Source) -> Option<Laid> {
    let copy = async {
        let Some(stored) = heads.read(&source.branch).await? else { return Ok(None) };
        let Some(first) = stored.record.first() else { return Ok(None) };
        let Some(first) = Chain::of(heads, &source.branch).copy_to(chain, first, txid, source.pin.size(), &heads.put_ids).await? else {
            return Ok(None);
        };
        // After the files, since whoever wrote one had said so in the record before.
        let after = heads.read(&source.branch).await?;
        Ok(after.map(|after| Laid { first, epoch: after.record.epoch }))
    };
    copy.await.unwrap_or_else(|error: Error| {
        // Such as a file that retention has taken away meanwhile. All of it is in memory, too.
        tracing::debug!(branch = %chain.branch, error = &error as &dyn std::error::Error, "a branch's chain is not made of copies");
        None
    })
}

async fn checksum_of(heads: &Heads, source: &Source, txid: Txid) -> Result<Checksum, Error> {
    let (pin, time) = (source.pin.clone(), millis(source.time));
    let tip = tokio::task::spawn_blocking(move || Tip::of(&pin, txid, time)).await;
    Ok(tip.map_err(|panic| fault(heads, &panic))?.checksum())
}

fn fault(heads: &Heads, error: &dyn std::error::Error) -> Error {
    Error::Internal { database: heads.database.clone(), detail: error.to_string() }
}
