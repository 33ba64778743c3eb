//! One run of gc: looks, asks [`super::next`], and does that.
//!
//! A run may end after any request. What it leaves is a list that the next run goes on from: nothing else of it is kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::count::{self, Count, Newest};
use super::{ABANDONED, DELETING, Next, Seen};
use crate::bucket::unconditional::Unconditional;
use crate::bucket::{self, Bucket, Listed, ObjectMeta};
use crate::clock::{Clock, WallTime};
use crate::document::{self, Failure, Found, Swap};
use crate::files::{self, BLOB, FileKey, FilesPrefix, Marks, Phase};
use crate::heads::Heads;
use crate::memory::{MemoryOptions, SqlPool};
use crate::names::{DatabaseKey, DatabaseName, Etag, ObjectKey};
use crate::probe::{self, Verdict};
use crate::snapshot::PutIds;

/// Requests at once.
const AT_ONCE: usize = 8;
/// Blobs of a page of the listing, and blobs that are deleted between two looks at the seal.
const PAGE: usize = 1000;
const BATCH: usize = 64;
/// How often the list may change under a run.
const ROUNDS: u32 = 5;

/// Which database counts as an owner although no record may say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerKey {
    /// This one. It must be there.
    Named(DatabaseKey),
    /// The Python package's default key, if anything lies there.
    Default,
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// Where the blobs lie.
    pub prefix: FilesPrefix,
    /// A database that keeps files there, besides those that have a record.
    pub key: OwnerKey,
    /// Blobs younger than this are skipped. Owners may need more.
    pub grace: Duration,
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Delete blobs that buckethead did not write as well.
    pub include_unowned: bool,
    /// Goes on where the store does not honour conditions on writes: nobody else writes there.
    pub single_writer: bool,
    /// The largest database that is read, in bytes. One at a time is in memory.
    pub largest_database: u64,
}

impl GcOptions {
    /// The largest database that a run reads, unless somebody says otherwise: 8 GiB.
    pub const LARGEST_DATABASE: u64 = 8 << 30;
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GcStage {
    /// Nothing is unused.
    Clean,
    /// What is unused was marked. A run after the wait deletes it.
    Marked,
    /// What is marked must wait.
    Waiting,
    /// Another run is deleting.
    Busy,
    /// What was marked, and is still unused, was deleted.
    Deleted,
}

impl GcStage {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Marked => "marked",
            Self::Waiting => "waiting",
            Self::Busy => "busy",
            Self::Deleted => "deleted",
        }
    }
}

/// What a run found and did. In a dry run, what it would have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcReport {
    /// How far it came.
    pub stage: GcStage,
    /// When the next run can delete what is marked, or go on after one that died. Of a dry run only what earlier runs marked counts.
    pub wait_until: Option<WallTime>,
    /// Databases that keep files here, and their newest states.
    pub owners: usize,
    /// Branches of all of them.
    pub branches: usize,
    /// Blobs under the prefix.
    pub blobs: usize,
    /// Blobs that are marked now.
    pub marked: BTreeSet<FileKey>,
    /// Blobs that were deleted.
    pub deleted: BTreeSet<FileKey>,
    /// Unused blobs that are younger than the grace.
    pub skipped: BTreeSet<FileKey>,
    /// Files whose content is missing. Their rows are left alone.
    pub dangling: BTreeSet<FileKey>,
    /// Unused blobs that buckethead did not write.
    pub unowned: BTreeSet<FileKey>,
    /// Bytes of those that were deleted.
    pub freed: u64,
}

/// Why a run stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GcError {
    /// The store could not be asked, or did not answer clearly.
    #[error("the bucket failed while {doing}")]
    Bucket {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        #[source]
        source: bucket::Error,
    },
    /// Nobody knows which files this database uses, so nothing may be deleted.
    #[error("{key} keeps files here, but its state at {object} cannot be read: {problem}")]
    Owner {
        /// Which database.
        key: String,
        /// Which of its objects.
        object: ObjectKey,
        /// What is wrong with it.
        problem: String,
    },
    /// A record of gc's own is damaged, or of a newer build.
    #[error("{object} {problem}")]
    Unreadable {
        /// Which one.
        object: ObjectKey,
        /// What is wrong with it.
        problem: String,
    },
    /// Puts, or another run, change the list of marks all the time.
    #[error("the list of marks is changed by others all the time")]
    TakenOver,
}

/// Runs gc once over a prefix.
pub async fn collect_garbage(
    bucket: Arc<dyn Bucket>,
    options: GcOptions,
    pool: SqlPool,
    clock: Arc<dyn Clock>,
) -> Result<GcReport, GcError> {
    let bucket = if options.single_writer { guarded(bucket, &options).await? } else { bucket };
    Run::new(bucket, options, pool, clock).run().await
}

/// The bucket by which the list of marks is written. A dry run writes nothing, not even what it takes to ask.
async fn guarded(bucket: Arc<dyn Bucket>, options: &GcOptions) -> Result<Arc<dyn Bucket>, GcError> {
    if options.dry_run {
        return Ok(bucket);
    }
    let key = match &options.key {
        OwnerKey::Named(key) => key.clone(),
        OwnerKey::Default => DatabaseKey::parse(DatabaseKey::DEFAULT).expect("it is a valid key"),
    };
    let id = PutIds::new().fresh().to_string();
    match probe::probe(&bucket, &key, &id).await.map_err(of_bucket("asking the store whether it honours conditions"))? {
        Verdict::Honoured => Ok(bucket),
        Verdict::NotHonoured(detail) => Ok(Unconditional::over(bucket, &Arc::default(), detail)),
    }
}

/// A part of the order that tests leave out, to see that they notice.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Broken {
    #[default]
    Nothing,
    /// Deletes without a seal.
    Seal,
    /// Deletes what is marked although a row names it by now.
    SecondCount,
    /// Deletes at once what it finds unused.
    Wait,
}

pub(crate) struct Run {
    bucket: Arc<dyn Bucket>,
    options: GcOptions,
    pool: SqlPool,
    clock: Arc<dyn Clock>,
    put_ids: Arc<PutIds>,
    #[cfg(test)]
    pub(super) broken: Broken,
}

/// The blobs that no row names.
#[derive(Default)]
struct Unused {
    /// With their sizes; those that may be deleted.
    deletable: BTreeMap<FileKey, u64>,
    skipped: BTreeSet<FileKey>,
    unowned: BTreeSet<FileKey>,
    dangling: BTreeSet<FileKey>,
    blobs: usize,
}

impl Run {
    pub(crate) fn new(bucket: Arc<dyn Bucket>, options: GcOptions, pool: SqlPool, clock: Arc<dyn Clock>) -> Self {
        Self {
            bucket,
            options,
            pool,
            clock,
            put_ids: Arc::new(PutIds::new()),
            #[cfg(test)]
            broken: Broken::default(),
        }
    }

    /// A put that strikes out a mark while we count is no reason to give up: the next look finds the list without it.
    pub(crate) async fn run(&self) -> Result<GcReport, GcError> {
        for _ in 1..ROUNDS {
            match self.round().await {
                Err(GcError::TakenOver) => tracing::debug!("the list of marks was changed by somebody else; looking again"),
                done => return done,
            }
        }
        self.round().await
    }

    async fn round(&self) -> Result<GcReport, GcError> {
        // The list comes before the count: the seal stands under the condition that it is still this one.
        let list: Option<Found<Marks>> = document::read(&self.bucket, &self.list_key()).await.map_err(of_document(READING_LIST))?;
        let (counted, count_begun) = (self.clock.wall(), self.clock.now());
        let records = files::owners(&self.bucket, &self.options.prefix).await.map_err(of_document("reading the records of owners"))?;
        let wait = super::wait(records.iter().flat_map(|owner| owner.branches.values().copied()), self.options.grace);
        #[cfg(test)]
        let wait = if self.broken == Broken::Wait { Duration::ZERO } else { wait };
        let owners = self.owners(&records).await?;
        let used = self.used(&owners).await?;
        let unused = self.unused(&used, counted, !owners.is_empty()).await?;

        let names: BTreeSet<FileKey> = unused.deletable.keys().copied().collect();
        let seen = Seen { list: list.as_ref().map(|list| (&list.document, list.written())), unused: &names, counted, wait };
        let mut report = GcReport {
            stage: GcStage::Clean,
            wait_until: None,
            owners: owners.len(),
            branches: owners.iter().map(|(_, states)| states.len()).sum(),
            blobs: unused.blobs,
            marked: list.as_ref().map(|list| list.document.hashes.clone()).unwrap_or_default(),
            deleted: BTreeSet::new(),
            skipped: unused.skipped,
            dangling: unused.dangling,
            unowned: unused.unowned,
            freed: 0,
        };
        match self.next(&seen) {
            Next::Wait(until) => (report.stage, report.wait_until) = (GcStage::Waiting, Some(until)),
            Next::Busy(until) => (report.stage, report.wait_until) = (GcStage::Busy, Some(until)),
            Next::Mark => self.mark(list, &names, BTreeSet::new(), &mut report).await?,
            Next::Seal(ripe) if self.options.dry_run || ripe.is_empty() => self.mark(list, &names, ripe, &mut report).await?,
            Next::Seal(ripe) => {
                let list = list.expect("only what is in a list is sealed");
                let least = if list.document.phase == Phase::Sealed { ABANDONED } else { wait };
                self.seal_and_delete(list, ripe, (count_begun, least), &names, &mut report).await?;
            }
        }
        report.freed = report.deleted.iter().filter_map(|key| unused.deletable.get(key)).sum();
        if report.wait_until.is_none() && !report.marked.is_empty() && !self.options.dry_run {
            // The list was written just now.
            report.wait_until = super::ripe(self.clock.wall(), wait);
        }
        Ok(report)
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests break it here"))]
    fn next(&self, seen: &Seen<'_>) -> Next {
        #[cfg(test)]
        if let (Broken::SecondCount, Some((list, _))) = (self.broken, seen.list) {
            return super::next(&Seen { unused: &list.hashes, ..*seen });
        }
        super::next(seen)
    }

    /// The newest states of each owner.
    async fn owners(&self, records: &[files::Owner]) -> Result<Vec<(Heads, Vec<Newest>)>, GcError> {
        let of_key = |key: &str| DatabaseKey::parse(key).expect("records with other keys are refused where they are read");
        let mut keys: BTreeSet<String> = records.iter().map(|owner| owner.key.clone()).collect();
        let default = match &self.options.key {
            OwnerKey::Named(key) => {
                keys.insert(key.to_string());
                None
            }
            OwnerKey::Default => Some(DatabaseKey::DEFAULT).filter(|key| !keys.contains(*key)),
        };
        let mut owners = Vec::new();
        for key in keys {
            let heads = self.heads(of_key(&key));
            match count::newest(&heads).await? {
                newest if newest.is_empty() => return Err(count::no_snapshot(&heads.key)),
                newest => owners.push((heads, newest)),
            }
        }
        if let Some(key) = default {
            let heads = self.heads(of_key(key));
            let newest = count::newest(&heads).await?;
            if !newest.is_empty() {
                owners.push((heads, newest));
            }
        }
        Ok(owners)
    }

    fn heads(&self, key: DatabaseKey) -> Heads {
        // Errors name an owner by its key.
        let database = DatabaseName::new("", key.as_str());
        Heads { database, bucket: Arc::clone(&self.bucket), key, put_ids: Arc::clone(&self.put_ids) }
    }

    async fn used(&self, owners: &[(Heads, Vec<Newest>)]) -> Result<HashSet<FileKey>, GcError> {
        let mut used = HashSet::new();
        for (heads, states) in owners {
            let count = Count { heads, prefix: &self.options.prefix };
            for newest in states {
                let options = MemoryOptions {
                    max_size: self.options.largest_database,
                    clock: Arc::clone(&self.clock),
                    ..MemoryOptions::new(self.pool.clone())
                };
                used.extend(count.files_in(newest, options).await?);
            }
        }
        Ok(used)
    }

    /// Goes through all blobs, page by page.
    async fn unused(&self, used: &HashSet<FileKey>, now: WallTime, has_owners: bool) -> Result<Unused, GcError> {
        let (mut unused, mut there, mut after) = (Unused::default(), HashSet::new(), None);
        loop {
            let page = self.bucket.list(self.options.prefix.as_str(), after.as_ref(), PAGE).await.map_err(of_bucket("listing files"))?;
            let mut candidates = Vec::new();
            for (key, blob) in page.iter().filter_map(|blob| Some((self.options.prefix.file_of(blob.key.as_str())?, blob))) {
                unused.blobs += 1;
                if used.contains(&key) {
                    there.insert(key);
                } else if is_young(blob, now, self.options.grace) {
                    unused.skipped.insert(key);
                } else {
                    candidates.push((key, blob.size));
                }
            }
            self.sort_out(candidates, has_owners, &mut unused).await?;
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => break,
            }
        }
        unused.dangling = used.difference(&there).copied().collect();
        Ok(unused)
    }

    /// By their metadata, which a listing does not tell. Where nobody is known to keep files, all are somebody else's.
    async fn sort_out(&self, candidates: Vec<(FileKey, u64)>, has_owners: bool, unused: &mut Unused) -> Result<(), GcError> {
        let heads = stream::iter(candidates).map(|(key, size)| self.look_at(key, size));
        let mut heads = heads.buffer_unordered(AT_ONCE);
        while let Some((key, size, meta)) = heads.try_next().await? {
            // Somebody else has deleted it.
            let Some(meta) = meta else { continue };
            let is_ours = has_owners && meta.metadata.get(BLOB) == Some(&key.to_string());
            if !is_ours {
                unused.unowned.insert(key);
            }
            if is_ours || self.options.include_unowned {
                unused.deletable.insert(key, size);
            }
        }
        Ok(())
    }

    async fn look_at(&self, key: FileKey, size: u64) -> Result<(FileKey, u64, Option<ObjectMeta>), GcError> {
        let meta = self.bucket.head(&self.options.prefix.blob(&key)).await.map_err(of_bucket("looking at a file"))?;
        Ok((key, size, meta))
    }

    /// Writes the next list, where it says something new. In a dry run `deleted` would have been deleted before.
    async fn mark(
        &self,
        list: Option<Found<Marks>>,
        unused: &BTreeSet<FileKey>,
        deleted: BTreeSet<FileKey>,
        report: &mut GcReport,
    ) -> Result<(), GcError> {
        let marked = super::to_mark(unused, &deleted);
        report.stage = match (deleted.is_empty(), marked.is_empty()) {
            (false, _) => GcStage::Deleted,
            (true, false) => GcStage::Marked,
            (true, true) => GcStage::Clean,
        };
        let says_nothing_new = marked.is_empty() && list.as_ref().is_none_or(|list| list.document.hashes.is_empty());
        if !self.options.dry_run && !says_nothing_new {
            let (etag, list) = list.map(|list| (list.etag, list.document)).unzip();
            self.write(list.as_ref(), etag.as_ref(), Phase::Marked, marked.clone()).await?.ok_or(GcError::TakenOver)?;
        }
        (report.marked, report.deleted) = (marked, deleted);
        Ok(())
    }

    async fn seal_and_delete(
        &self,
        list: Found<Marks>,
        ripe: BTreeSet<FileKey>,
        (count_begun, least): (Instant, Duration),
        unused: &BTreeSet<FileKey>,
        report: &mut GcReport,
    ) -> Result<(), GcError> {
        let times = Times { instant: self.clock.now(), wall: self.clock.wall() };
        let counting = times.instant.saturating_duration_since(count_begun);
        let seal = self.seal(&list, &ripe).await?;
        let sealed_at = self.still_ours(&seal.etag).await?;
        #[cfg(test)]
        let least = if self.broken == Broken::Seal { Duration::ZERO } else { least };
        if !super::stood_long_enough(list.last_modified, sealed_at, counting, least) {
            // By the store's clock it is too early. As it was before; from here the wait begins anew.
            let written = self.write(Some(&seal.document), Some(&seal.etag), Phase::Marked, list.document.hashes.clone()).await?;
            written.ok_or(GcError::TakenOver)?;
            (report.stage, report.marked) = (GcStage::Waiting, list.document.hashes);
            return Ok(());
        }
        let deleted = self.delete(ripe, &seal.etag, &times).await?;
        self.mark(Some(seal), unused, deleted, report).await
    }

    async fn seal(&self, list: &Found<Marks>, ripe: &BTreeSet<FileKey>) -> Result<Found<Marks>, GcError> {
        #[cfg(test)]
        if self.broken == Broken::Seal {
            return Ok(list.clone());
        }
        let sealed = self.write(Some(&list.document), Some(&list.etag), Phase::Sealed, ripe.clone()).await?;
        sealed.ok_or(GcError::TakenOver)
    }

    /// Those that are certainly gone. What the store refused to delete stays for a later run.
    async fn delete(&self, ripe: BTreeSet<FileKey>, seal: &Etag, times: &Times) -> Result<BTreeSet<FileKey>, GcError> {
        let (mut deleted, ripe) = (BTreeSet::new(), ripe.into_iter().collect::<Vec<_>>());
        for batch in ripe.chunks(BATCH) {
            if !times.may_delete(&*self.clock) {
                break;
            }
            self.still_ours(seal).await?;
            let mut gone = stream::iter(batch.to_vec()).map(|key| self.delete_one(key, times)).buffer_unordered(AT_ONCE);
            while let Some(key) = gone.try_next().await.map_err(of_bucket("deleting a file"))? {
                deleted.extend(key);
            }
        }
        Ok(deleted)
    }

    /// `None` if the store said clearly that it did not, or it is too late to ask it. Where nobody knows, the seal must stay, and nothing is
    /// asked twice: a second DELETE that is answered says nothing about the first, which may arrive when the blob was put anew.
    async fn delete_one(&self, key: FileKey, times: &Times) -> Result<Option<FileKey>, bucket::Error> {
        // The look at the seal may have taken long.
        if !times.may_delete(&*self.clock) {
            return Ok(None);
        }
        let object = self.options.prefix.blob(&key);
        match self.bucket.delete(&object).await {
            Ok(()) => Ok(Some(key)),
            Err(error @ bucket::Error::Unclear { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%object, %error, "an unused file was not deleted");
                Ok(None)
            }
        }
    }

    /// When the store says that our list was written, as long as it is ours.
    async fn still_ours(&self, list: &Etag) -> Result<Option<WallTime>, GcError> {
        match self.bucket.head(&self.list_key()).await.map_err(of_bucket(READING_LIST))? {
            Some(meta) if meta.etag == *list => Ok(meta.last_modified),
            _ => Err(GcError::TakenOver),
        }
    }

    /// `None` if somebody else changed the list first.
    async fn write(
        &self,
        list: Option<&Marks>,
        etag: Option<&Etag>,
        phase: Phase,
        hashes: BTreeSet<FileKey>,
    ) -> Result<Option<Found<Marks>>, GcError> {
        let next = Marks::next(list, phase, hashes, self.clock.wall(), &self.put_ids.fresh());
        match document::swap(&self.bucket, &self.list_key(), etag, next).await.map_err(of_document("writing the list of marks"))? {
            Swap::Done(found) => Ok(Some(found)),
            Swap::Lost => Ok(None),
        }
    }

    fn list_key(&self) -> ObjectKey {
        self.options.prefix.marks()
    }
}

/// When the seal was sent. Both clocks are asked, because one of them stands still while a machine sleeps.
struct Times {
    instant: Instant,
    wall: WallTime,
}

impl Times {
    fn may_delete(&self, clock: &dyn Clock) -> bool {
        let by_wall = Duration::try_from(clock.wall().duration_since(self.wall)).unwrap_or(Duration::MAX);
        clock.now().saturating_duration_since(self.instant).max(by_wall) < DELETING
    }
}

/// One whose age the store does not tell is young.
fn is_young(blob: &Listed, now: WallTime, grace: Duration) -> bool {
    let age = blob.last_modified.map(|modified| now.duration_since(modified));
    age.and_then(|age| Duration::try_from(age).ok()).is_none_or(|age| age < grace)
}

const READING_LIST: &str = "reading the list of marks";

fn of_bucket(doing: &'static str) -> impl Fn(bucket::Error) -> GcError {
    move |source| GcError::Bucket { doing, source }
}

fn of_document(doing: &'static str) -> impl Fn(Failure) -> GcError {
    move |failure| match failure {
        Failure::Bucket(source) => GcError::Bucket { doing, source },
        Failure::Unreadable { object, problem } => GcError::Unreadable { object, problem: problem.to_string() },
    }
}
