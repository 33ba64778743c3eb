//! A state of a chain becomes a database in memory.

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chain::{File, Files, Level, Missing, Plan, Target};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use ltx::{Checksum, Txid, TxidRange, UnixMillis};
use sha2::{Digest as _, Sha256};

use super::around::Plain;
use super::{Chain, SlotMark, wall};
use crate::branches::Source;
use crate::bucket::{self, ObjectMeta};
use crate::clock::WallTime;
use crate::delta::Tip;
use crate::error::Error;
use crate::facts::Damage;
use crate::head::{Epoch, SnapshotRef};
use crate::memory::{Assembly, LoadError, MemoryDatabase, MemoryOptions, Writes};
use crate::names::{BranchName, ObjectKey};
use crate::restore::{epoch_of, txid_of};
use crate::snapshot::{content_of, metadata};
use crate::tasks::spawn_owned;

/// A state that was put together.
pub(crate) struct Recalled {
    pub(crate) memory: MemoryDatabase,
    /// The state as the chain has it.
    pub(crate) tip: Tip,
    /// Page 1 in memory is another one than the chain's.
    pub(crate) differs: bool,
    /// The highest tenure that any of the files bears.
    pub(crate) epoch: Epoch,
    /// Slots among those that were read which must not be emptied.
    pub(crate) kept_slots: BTreeSet<u64>,
    /// Bytes of the files behind the whole database that it began with.
    pub(crate) behind: u64,
    /// Files that others were taken for.
    pub(crate) damage: Vec<Damage>,
    pub(crate) writes: Writes,
}

impl Recalled {
    /// To make a branch of, or to overwrite one with. `noted` is the snapshot that the branch's record names.
    pub(crate) fn into_source(self, branch: &BranchName, noted: Option<&SnapshotRef>) -> Source {
        let mut tip = self.tip;
        tip.same_since_of(noted);
        let Tip { txid, time, same_since, .. } = tip;
        let checksum = (!self.differs).then(|| tip.checksum());
        Source {
            branch: branch.clone(),
            txid: txid.get(),
            time: wall(time),
            same_since: same_since.get(),
            pin: self.memory.pin(),
            checksum,
            base: None,
        }
    }
}

/// What the files of a chain tell where its record is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The oldest whole database.
    pub(crate) oldest: Txid,
    /// The highest number.
    pub(crate) newest: u64,
    /// The highest epoch.
    pub(crate) epoch: Epoch,
    /// Deltas, and what their slots are.
    pub(crate) slots: Vec<(u64, SlotMark, WallTime)>,
}

/// Requests at once.
const AT_ONCE: usize = 8;
/// Files of more bytes are not read before their turn has come.
const READ_AHEAD: u64 = 4 << 20;
/// Of a file of more than two of them so many are read at once, and are in memory.
const STRETCH: u64 = 8 << 20;
const STRETCHES_AT_ONCE: usize = 3;
/// A chain with higher numbers was never written by anybody who counts.
const LAST_NUMBER: u64 = u64::MAX / 2;

const READING: &str = "reading the chain";

/// A file whose bytes are there, or on their way.
pub(super) struct Fetched {
    pub(super) mark: SlotMark,
    pub(super) body: Box<dyn Read + Send>,
}

impl Chain {
    /// The newest state.
    pub(crate) async fn newest(&self, first: Txid, options: &MemoryOptions) -> Result<Recalled, Error> {
        let files = self.newest_files(first).await?;
        match Box::pin(self.recall(&files, Target::Newest, None, options)).await? {
            Ok(recalled) => Ok(recalled),
            // There may be another way, which takes files that were not looked for.
            Err(_) => self.past(first, Target::Newest, options).await,
        }
    }

    /// The highest number that any file leads to; 0 if there is none.
    pub(crate) async fn newest_number(&self, first: Txid) -> Result<u64, Error> {
        let files = self.newest_files(first).await?;
        Ok(files.asked(Target::Newest).map_or(0, Txid::get))
    }

    /// The newest state that was made no later than this. Times never run backwards along a chain, so few files are asked for theirs.
    pub(crate) async fn newest_at(&self, first: Txid, at: WallTime) -> Result<Option<Txid>, Error> {
        let files = self.all_files(first).await?;
        // One for each state.
        let mut ends: Vec<File> = files.iter().copied().collect();
        ends.dedup_by_key(|file| file.txids.max());
        let (mut earlier, mut later) = (0, ends.len());
        while earlier < later {
            let middle = earlier + (later - earlier) / 2;
            if self.time_of(ends[middle]).await? <= at { earlier = middle + 1 } else { later = middle }
        }
        Ok(earlier.checked_sub(1).map(|last| ends[last].txids.max()))
    }

    /// One of the states that files end with, within these; a number of chance says which.
    pub(crate) async fn some_state(&self, first: Txid, within: Range<Txid>, chance: i128) -> Result<Option<Txid>, Error> {
        let files = self.all_files(first).await?;
        let ends: BTreeSet<Txid> = files.iter().map(|file| file.txids.max()).filter(|txid| within.contains(txid)).collect();
        let digest: [u8; 32] = Sha256::digest(chance.to_be_bytes()).into();
        let number = digest.iter().fold(0_usize, |number, byte| number.rotate_left(8) ^ usize::from(*byte));
        Ok(number.checked_rem(ends.len()).and_then(|place| ends.into_iter().nth(place)))
    }

    async fn time_of(&self, file: File) -> Result<WallTime, Error> {
        let meta = self.bucket.head(&self.key(file.level, file.txids)).await.map_err(|source| self.failed(source))?;
        let told = meta.as_ref().and_then(|meta| meta.metadata.get(metadata::LITESTREAM_TIMESTAMP)?.parse().ok());
        Ok(told.or(meta.and_then(|meta| meta.last_modified)).unwrap_or_else(|| wall(file.time)))
    }

    /// What the files tell by themselves; `None` if there is no whole database among them.
    pub(crate) async fn told(&self) -> Result<Option<Told>, Error> {
        let files = self.all_files(Txid::FIRST).await?;
        let Some(oldest) = files.iter().find(|file| file.is_whole()).map(|file| file.txids.max()) else { return Ok(None) };
        let newest = files.iter().next_back().map_or(0, |file| file.txids.max().get());
        let told: Vec<File> = files.iter().filter(|file| matches!(file.level, Level::Delta | Level::Whole)).copied().collect();
        let looks = told.into_iter().map(|file| {
            let key = self.key(file.level, file.txids);
            async move { self.bucket.head(&key).await.map(|meta| (file, meta)) }.boxed()
        });
        let seen: Vec<_> = futures::stream::iter(looks).buffered(AT_ONCE).try_collect().await.map_err(|source| self.failed(source))?;
        let epoch = seen.iter().filter_map(|(_, meta)| meta.as_ref()).map(epoch_of).max().unwrap_or_default();
        let slot = |(file, meta): (File, Option<ObjectMeta>)| {
            let meta = meta.filter(|_| file.level == Level::Delta)?;
            Some((file.txids.max().get(), SlotMark::of(&meta), meta.last_modified.unwrap_or(WallTime::UNIX_EPOCH)))
        };
        Ok(Some(Told { oldest, newest, epoch, slots: seen.into_iter().filter_map(slot).collect() }))
    }

    /// The checksum of a state, if it can be had.
    pub(crate) async fn checksum_at(&self, first: Txid, txid: Txid, options: &MemoryOptions) -> Result<Option<Checksum>, Error> {
        let slot = File { level: Level::Delta, txids: TxidRange::only(txid), time: UnixMillis(0), size: 0 };
        if let Some(Fetched { body, mark: _ }) = self.fetch(slot).await? {
            let read = tokio::task::spawn_blocking(move || ltx::Decoder::new(body).and_then(ltx::Decoder::finish));
            if let Ok(Ok(summary)) = read.await {
                return Ok(summary.post_apply);
            }
        }
        match self.past(first, Target::Txid(txid), options).await {
            Ok(recalled) => Ok(Some(recalled.tip.checksum())),
            Err(Error::ChainBroken { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether an object with this content is the state that its metadata names. Copies inherit metadata, so the name alone proves nothing.
    pub(crate) async fn has_state_of(
        &self,
        first: Txid,
        newest: Txid,
        meta: &ObjectMeta,
        content: &str,
        options: &MemoryOptions,
    ) -> Result<bool, Error> {
        let is_of_branch = meta.metadata.get(metadata::BRANCH).map(String::as_str) == Some(self.branch.as_str());
        let Some(txid) = Txid::new(txid_of(meta)).filter(|txid| is_of_branch && (first..=newest).contains(txid)) else {
            return Ok(false);
        };
        match self.past(first, Target::Txid(txid), options).await {
            Ok(recalled) => Ok(content_of(&recalled.memory.pin()).await.is_ok_and(|named| named == content)),
            Err(Error::ChainBroken { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Files enough for the newest state: deltas only from where what covers them ends.
    pub(super) async fn newest_files(&self, first: Txid) -> Result<Files, Error> {
        let higher = [Level::Whole, Level::Hour, Level::Minutes].map(|level| self.listed(level, None));
        let mut all = futures::future::try_join_all(higher).await?.concat();
        let reach = Files::new(all.iter().copied(), first).reach();
        let after = reach.map(|txid| self.key(Level::Delta, TxidRange::only(txid)));
        all.extend(self.listed(Level::Delta, after).await?);
        Ok(Files::new(all, first))
    }

    /// All there are.
    pub(crate) async fn all_files(&self, first: Txid) -> Result<Files, Error> {
        let mut all = Vec::new();
        for level in Level::ALL {
            all.extend(self.listed(level, None).await?);
        }
        Ok(Files::new(all, first))
    }

    async fn listed(&self, level: Level, after: Option<ObjectKey>) -> Result<Vec<File>, Error> {
        let prefix = format!("{}{}/", self.prefix, level.folder());
        let listed = self.bucket.list(&prefix, after.as_ref(), usize::MAX).await.map_err(|source| self.failed(source))?;
        Ok(listed.iter().filter_map(|object| self.file_of(object)).collect())
    }

    /// `plain` is the plain file, where it is one of the files. The outer result is about the store and this machine, the inner one about the files.
    pub(super) async fn recall(
        &self,
        files: &Files,
        target: Target,
        plain: Option<&Plain>,
        options: &MemoryOptions,
    ) -> Result<Result<Recalled, Problem>, Error> {
        let way = match files.plan(target) {
            Ok(way) => way,
            Err(missing) => return Ok(Err(Problem::Missing(missing))),
        };
        if way.reaches().get() > LAST_NUMBER {
            return Err(self.broken(format!("it leads to txid {}, behind which no number is left", way.reaches().get())));
        }
        let Plan { whole, steps } = way;
        let behind = steps.iter().map(|file| file.size).sum();
        let mut assembly = Assembly::new(options.clone());
        let mut states: Vec<(Txid, Checksum)> = Vec::new();
        let (mut kept_slots, mut epoch, mut last) = (BTreeSet::new(), Epoch::default(), (whole, UnixMillis(0)));
        let mut fetches = match plain.filter(|plain| plain.file == whole) {
            Some(plain) => {
                let begun = (whole, Ok(Some(plain.fetched())));
                futures::stream::once(std::future::ready(begun)).chain(self.fetch_all(steps.into_iter())).boxed()
            }
            None => self.fetch_all([whole].into_iter().chain(steps)),
        };
        while let Some((file, fetched)) = fetches.next().await {
            let Some(Fetched { mark, body }) = fetched? else { return Ok(Err(Problem::Gone(file))) };
            let work = move || {
                let applied = assembly.apply(file.txids, body);
                (assembly, applied)
            };
            let (back, applied) = options.pace.run(work).await.map_err(|panic| self.fault(panic.to_string()))?;
            assembly = back;
            let header = match applied {
                Ok(header) => header,
                Err(LoadError::NotADatabase(detail)) => return Ok(Err(Problem::Damaged(file, detail))),
                Err(error) => return Err(self.unloaded(error)),
            };
            if mark != SlotMark::None && file.level == Level::Delta {
                kept_slots.insert(file.txids.max().get());
            }
            states.push((file.txids.max(), assembly.checksum()));
            epoch = epoch.max(Epoch(header.node_id));
            last = (file, header.time);
        }
        let (file, time) = last;
        let finished = options.pace.run(move || assembly.finish()).await.map_err(|panic| self.fault(panic.to_string()))?;
        let made = match finished {
            Ok(made) => made,
            Err(LoadError::NotADatabase(detail)) => return Ok(Err(Problem::Damaged(file, detail))),
            Err(error) => return Err(self.unloaded(error)),
        };
        let checksum = made.sums.total();
        let same = states.iter().rev().take_while(|(_, sum)| *sum == checksum).last();
        let pin = made.memory.pin();
        let tip = Tip {
            txid: file.txids.max(),
            time,
            commits: pin.commits(),
            same_since: same.map_or(file.txids.max(), |(txid, _)| *txid),
            count: pin.count(),
            sums: made.sums,
        };
        Ok(Ok(Recalled {
            memory: made.memory,
            tip,
            differs: made.differs,
            epoch,
            kept_slots,
            behind,
            damage: Vec::new(),
            writes: made.writes,
        }))
    }

    /// Fetches files, several at once, also while what came before is looked at. In their order.
    fn fetch_all(&self, files: impl Iterator<Item = File> + Send + 'static) -> BoxStream<'static, (File, Result<Option<Fetched>, Error>)> {
        let chain = self.clone();
        let fetches = files.map(move |file| {
            let (chain, fetching) = (chain.clone(), chain.clone());
            let fetch = spawn_owned(async move { fetching.fetch(file).await });
            async move { (file, fetch.await.unwrap_or_else(|panic| Err(chain.fault(panic.to_string())))) }
        });
        futures::stream::iter(fetches).buffered(AT_ONCE).boxed()
    }

    async fn fetch(&self, file: File) -> Result<Option<Fetched>, Error> {
        let key = self.key(file.level, file.txids);
        if file.size > 2 * STRETCH {
            return self.fetch_in_stretches(&key).await;
        }
        let object = self.bucket.get(&key, None).await.map_err(|source| self.failed(source))?;
        let Some(object) = object else { return Ok(None) };
        let (mark, size) = (SlotMark::of(&object.meta), object.meta.size);
        let body: Box<dyn Read + Send> = if size <= READ_AHEAD {
            let parts: Vec<Bytes> = object.body.try_collect().await.map_err(|source| self.failed(source))?;
            Box::new(Cursor::new(parts.concat()))
        } else {
            Box::new(bucket::reader(object.body))
        };
        Ok(Some(Fetched { mark, body }))
    }

    /// A large file, of which several stretches are on their way at once: one connection gives less than a store has.
    async fn fetch_in_stretches(&self, key: &ObjectKey) -> Result<Option<Fetched>, Error> {
        let Some(meta) = self.bucket.head(key).await.map_err(|source| self.failed(source))? else { return Ok(None) };
        let (mark, etag, size) = (SlotMark::of(&meta), meta.etag, meta.size);
        let (bucket, key) = (Arc::clone(&self.bucket), key.clone());
        let stretches = (0..size.div_ceil(STRETCH)).map(move |number| {
            let (bucket, key, etag) = (Arc::clone(&bucket), key.clone(), etag.clone());
            let range = number * STRETCH..((number + 1) * STRETCH).min(size);
            // Each goes on while those before it are applied.
            let fetch = spawn_owned(async move {
                let object = bucket.get_range(&key, &etag, range).await?;
                let gone = || bucket::Error::Unavailable { message: format!("{key} went away while it was read") };
                object.ok_or_else(gone)?.body.try_collect::<Vec<Bytes>>().await
            });
            async move { fetch.await.unwrap_or_else(|panic| Err(bucket::Error::Unavailable { message: panic.to_string() })) }
        });
        let pieces = futures::stream::iter(stretches).buffered(STRETCHES_AT_ONCE);
        let bytes = pieces.map_ok(|pieces| futures::stream::iter(pieces.into_iter().map(Ok::<_, bucket::Error>))).try_flatten();
        let body = Box::new(bucket::reader(bytes.boxed()));
        Ok(Some(Fetched { mark, body }))
    }

    pub(super) fn unloaded(&self, error: LoadError) -> Error {
        match error {
            LoadError::Read(error) => self.failed(bucket::Error::Unavailable { message: error.to_string() }),
            LoadError::TooLarge { limit } => Error::StateTooLarge { database: self.database.clone(), branch: self.branch.clone(), limit },
            error @ (LoadError::OutOfMemory | LoadError::NotADatabase(_)) => self.fault(error.to_string()),
        }
    }

    pub(super) fn fault(&self, detail: String) -> Error {
        Error::Internal { database: self.database.clone(), detail }
    }

    pub(crate) fn broken(&self, detail: String) -> Error {
        Error::ChainBroken { database: self.database.clone(), branch: self.branch.clone(), detail, offered: None }
    }

    pub(super) fn failed(&self, source: bucket::Error) -> Error {
        Error::Bucket { database: self.database.clone(), doing: READING, source }
    }
}

/// Why the files do not make the state.
pub(super) enum Problem {
    Damaged(File, String),
    /// It was listed and is not there.
    Gone(File),
    Missing(Missing),
}
