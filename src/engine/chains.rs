//! Reads and writes the chain of a branch.
//!
//! Owns: where its files lie in the bucket, what is asked of the store to put a state together, what an unclear answer to a PUT means.
//! Does not own: which files make a state (`chain`), what is in them (`delta.rs`, `ltx`), when they are made (`flusher.rs`).
//! Invariants: a file is put only where none is, so that a slot is taken once; what was put under an unclear answer is recognised by its
//! put-id; a damaged file is named, and another way around it is looked for.

mod around;
mod copying;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chain::{File, Level};
use ltx::{Txid, TxidRange, UnixMillis};

use crate::bucket::{self, Bucket, Condition, Form, Listed, ObjectMeta, Put, Staged};
use crate::clock::WallTime;
use crate::delta::Encoded;
use crate::heads::Heads;
use crate::names::{BranchName, DatabaseKey, DatabaseName, ObjectKey};
use crate::snapshot::{PutId, metadata};

pub(crate) use reading::{Recalled, Told};

/// The chain of one branch.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) database: DatabaseName,
    pub(crate) branch: BranchName,
    bucket: Arc<dyn Bucket>,
    prefix: String,
    /// Where its plain file lies.
    plain: ObjectKey,
}

/// What a slot is besides its bytes, as its metadata tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum SlotMark {
    /// Commits.
    #[default]
    None,
    /// It was taken so that nobody else can fill it.
    Fence,
    /// It is the overwrite of this id.
    Promotion(String),
}

/// A file on its way. Sent again as it is until its answer is clear.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) level: Level,
    pub(crate) file: Encoded,
    pub(crate) put_id: PutId,
    pub(crate) mark: SlotMark,
}

/// How an upload ended.
#[derive(Debug)]
pub(crate) enum Landing {
    /// It is there.
    Stored,
    /// Somebody else's is there.
    Taken(Box<ObjectMeta>),
    /// Nothing was written.
    NotWritten(bucket::Error),
    /// Nobody knows.
    Unclear(bucket::Error),
}

const CONTENT_TYPE: &str = "application/octet-stream";
/// How often one upload looks again before it leaves the rest to the next.
const TRIES: u32 = 3;

/// As files of a chain count time.
pub(crate) fn millis(time: WallTime) -> UnixMillis {
    UnixMillis(time.as_millisecond())
}

/// And back; what no calendar knows is as early as can be.
pub(crate) fn wall(time: UnixMillis) -> WallTime {
    WallTime::from_millisecond(time.0).unwrap_or(WallTime::MIN)
}

/// The branches of which some file of a chain is there.
pub(crate) async fn branches_with_files(bucket: &Arc<dyn Bucket>, key: &DatabaseKey) -> Result<BTreeSet<BranchName>, bucket::Error> {
    let (begins, mut found, mut after) = (key.chains(), BTreeSet::new(), None);
    loop {
        let Some(next) = bucket.list(&begins, after.as_ref(), 1).await?.pop() else { return Ok(found) };
        found.extend(key.branch_of_chain(&next.key));
        // What follows in the same folder tells nothing new. Behind a slash comes a zero.
        after = Some(match next.key.as_str()[begins.len()..].split_once('/') {
            Some((folder, _)) => ObjectKey::new(format!("{begins}{folder}0")),
            None => next.key,
        });
    }
}

impl Chain {
    /// Of a branch.
    pub(crate) fn of(heads: &Heads, branch: &BranchName) -> Self {
        let (database, bucket) = (heads.database.clone(), Arc::clone(&heads.bucket));
        Self { database, branch: branch.clone(), bucket, prefix: heads.key.chain(branch), plain: heads.key.snapshot(branch) }
    }

    /// By other credentials.
    pub(crate) fn reach_by(&mut self, bucket: Arc<dyn Bucket>) {
        self.bucket = bucket;
    }

    fn key(&self, level: Level, txids: TxidRange) -> ObjectKey {
        ObjectKey::new(format!("{}{}/{txids}", self.prefix, level.folder()))
    }

    /// What the store tells of a slot.
    pub(crate) async fn slot(&self, txid: Txid) -> Result<Option<ObjectMeta>, bucket::Error> {
        self.bucket.head(&self.key(Level::Delta, TxidRange::only(txid))).await
    }

    /// The highest number that any object there bears; 0 if there is none.
    pub(crate) async fn highest(&self) -> Result<u64, bucket::Error> {
        let listed = self.bucket.list(&self.prefix, None, usize::MAX).await?;
        let numbers = listed.iter().filter_map(|object| self.file_of(object)).map(|file| file.txids.max().get());
        Ok(numbers.max().unwrap_or(0))
    }

    /// What an object is of the chain, if it is a file of one.
    fn file_of(&self, object: &Listed) -> Option<File> {
        let time = object.last_modified.map_or(UnixMillis(0), millis);
        File::at(object.key.as_str().strip_prefix(&self.prefix)?, object.size, time).ok()
    }

    /// Sends a file to its place, and finds out what became of it.
    pub(crate) async fn put(&self, upload: &Upload) -> Landing {
        self.put_staged(upload, None).await
    }

    /// Brings a file into the store where nobody sees it yet, if it is so large that this takes long.
    pub(crate) async fn stage(&self, upload: &Upload) -> Result<Option<Box<dyn Staged>>, bucket::Error> {
        if !self.bucket.is_large(upload.file.len) {
            return Ok(None);
        }
        let key = self.key(upload.level, upload.file.draft.header.txids);
        self.bucket.stage(&key, upload.file.content(), self.form(upload)).await.map(Some)
    }

    /// The same as [`Chain::put`], of one that was staged.
    pub(crate) async fn put_staged(&self, upload: &Upload, mut staged: Option<Box<dyn Staged>>) -> Landing {
        let key = self.key(upload.level, upload.file.draft.header.txids);
        let mut unclear = None;
        for _ in 0..TRIES {
            let sent = if let Some(staged) = staged.take() {
                staged.publish(&Condition::IfAbsent).await
            } else {
                let put = Put { condition: Condition::IfAbsent, form: self.form(upload) };
                self.bucket.put(&key, upload.file.content(), put).await
            };
            let error = match sent {
                Ok(_) => return Landing::Stored,
                Err(error @ (bucket::Error::PreconditionFailed | bucket::Error::Unclear { .. })) => error,
                // A clear refusal of this try says nothing about an unclear one before it.
                Err(error) => return unclear.map_or_else(|| Landing::NotWritten(error), Landing::Unclear),
            };
            unclear = Some(match self.bucket.head(&key).await {
                Ok(Some(found)) if found.metadata.get(metadata::PUT_ID) == Some(&upload.put_id.to_string()) => return Landing::Stored,
                Ok(Some(found)) => return Landing::Taken(Box::new(found)),
                Ok(None) => as_unclear(error),
                Err(looking) => bucket::Error::Unclear { message: looking.to_string() },
            });
        }
        Landing::Unclear(unclear.expect("the loop ends here only after an unclear try"))
    }

    fn form(&self, upload: &Upload) -> Form {
        let header = &upload.file.draft.header;
        let mut metadata = BTreeMap::from([
            (metadata::BRANCH.to_owned(), self.branch.to_string()),
            (metadata::EPOCH.to_owned(), header.node_id.to_string()),
            (metadata::TXID.to_owned(), header.txids.max().get().to_string()),
            (metadata::PUT_ID.to_owned(), upload.put_id.to_string()),
            (metadata::LITESTREAM_TIMESTAMP.to_owned(), wall(header.time).to_string()),
        ]);
        match &upload.mark {
            SlotMark::None => {}
            SlotMark::Fence => drop(metadata.insert(metadata::FENCE.to_owned(), "true".to_owned())),
            SlotMark::Promotion(id) => drop(metadata.insert(metadata::PROMOTION.to_owned(), id.clone())),
        }
        Form { metadata, content_type: CONTENT_TYPE }
    }

    /// Deletes a file.
    pub(crate) async fn delete(&self, file: &File) -> Result<(), bucket::Error> {
        self.bucket.delete(&self.key(file.level, file.txids)).await
    }

    /// Deletes all of it.
    pub(crate) async fn remove(&self) -> Result<(), bucket::Error> {
        // Whole databases last: without them nothing can be put together, and what is left would look like an accident.
        for object in self.bucket.list(&self.prefix, None, usize::MAX).await? {
            self.bucket.delete(&object.key).await?;
        }
        Ok(())
    }
}

fn as_unclear(error: bucket::Error) -> bucket::Error {
    match error {
        bucket::Error::Unclear { .. } => error,
        _ => bucket::Error::Unclear { message: "the slot was taken, and is free".to_owned() },
    }
}

impl SlotMark {
    /// As the metadata of a slot tells.
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        match meta.metadata.get(metadata::PROMOTION) {
            Some(id) => Self::Promotion(id.clone()),
            None if meta.metadata.contains_key(metadata::FENCE) => Self::Fence,
            None => Self::None,
        }
    }
}
