//! Where a file's content waits until its hash is known.
//!
//! The name of a blob is its hash, so nothing can be uploaded before the last byte is here. Small contents wait in memory, others in a
//! temporary file that has no name: however the process ends, the system frees it.
//!
//! Owns: how much waits at once, in memory and on disk, over all databases. Does not own: what becomes of it.
//! Invariants: memory does not grow with the size of a file; nothing here blocks an async thread; what waits is given back when its last
//! holder drops it.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::names::FileKey;
use crate::bucket::Content;

/// Up to here a content stays in memory.
const SMALL: usize = 8 << 20;
/// What is written to the temporary file at a time.
const BATCH: usize = 1 << 20;
/// What waits in memory over all contents; beyond it, small ones go to the disk as well.
const IN_MEMORY: u64 = 32 << 20;
/// Uploads at once, over all databases: each holds a few parts in memory.
const UPLOADS: usize = 4;

/// Why a content was not taken in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// The content alone is larger than the spool. It will never fit.
    #[error("the file has more than the {limit} bytes that fit into the spool")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// Other contents on their way fill the spool. There is room again when they are uploaded.
    #[error("the files on their way fill the spool of {limit} bytes")]
    Full {
        /// In bytes.
        limit: u64,
    },
    /// The temporary file could not be written or read.
    #[error("the spool in {} failed: {source}", folder.display())]
    Io {
        /// Where the temporary files lie.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// The room for contents on their way. Clones are the same spool.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limit: u64,
    on_disk: AtomicU64,
    in_memory: AtomicU64,
    uploads: Arc<Semaphore>,
}

impl Spool {
    /// With temporary files in `folder`, and at most `limit` bytes of them.
    pub fn new(folder: PathBuf, limit: u64) -> Self {
        let uploads = Arc::new(Semaphore::new(UPLOADS));
        Self(Arc::new(Inner { folder, limit, on_disk: AtomicU64::new(0), in_memory: AtomicU64::new(0), uploads }))
    }

    /// Begins to take a content in.
    pub fn intake(&self) -> Intake {
        Intake {
            held: Held { spool: self.clone(), on_disk: 0, in_memory: 0 },
            hasher: Sha256::new(),
            pending: BytesMut::new(),
            file: None,
            len: 0,
        }
    }

    /// The most that one content may have, in bytes.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// The right to upload; waits its turn.
    pub(crate) async fn upload(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.0.uploads).acquire_owned().await.expect("nobody closes the semaphore")
    }
}

/// What one content takes of the spool.
#[derive(Debug)]
struct Held {
    spool: Spool,
    on_disk: u64,
    in_memory: u64,
}

impl Held {
    /// Takes room on disk, all or nothing.
    fn take_disk(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let inner = &self.spool.0;
        if self.on_disk + bytes > inner.limit {
            return Err(SpoolError::TooLarge { limit: inner.limit });
        }
        if !take(&inner.on_disk, bytes, inner.limit) {
            return Err(SpoolError::Full { limit: inner.limit });
        }
        self.on_disk += bytes;
        Ok(())
    }

    fn take_memory(&mut self, bytes: u64) -> bool {
        let taken = take(&self.spool.0.in_memory, bytes, IN_MEMORY);
        if taken {
            self.in_memory += bytes;
        }
        taken
    }

    fn give_memory_back(&mut self) {
        self.spool.0.in_memory.fetch_sub(std::mem::take(&mut self.in_memory), Ordering::Relaxed);
    }
}

fn take(count: &AtomicU64, bytes: u64, limit: u64) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(bytes).filter(|sum| *sum <= limit)).is_ok()
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_memory_back();
        self.spool.0.on_disk.fetch_sub(self.on_disk, Ordering::Relaxed);
    }
}

/// A content that is coming in.
#[derive(Debug)]
pub struct Intake {
    held: Held,
    hasher: Sha256,
    /// Not hashed yet; of a content that has a file, not written yet either.
    pending: BytesMut,
    file: Option<File>,
    len: u64,
}

impl Intake {
    /// Takes the next bytes. They are taken as fast as the disk takes them, so whoever sends them is held back.
    pub async fn write(self, bytes: Bytes) -> Result<Self, SpoolError> {
        let mut intake = self;
        intake.len += bytes.len() as u64;
        if intake.len > intake.held.spool.limit() {
            return Err(SpoolError::TooLarge { limit: intake.held.spool.limit() });
        }
        if intake.file.is_none() && (intake.len > SMALL as u64 || !intake.held.take_memory(bytes.len() as u64)) {
            intake.pending.extend_from_slice(&bytes);
            return intake.blocking(Self::spill).await;
        }
        intake.pending.extend_from_slice(&bytes);
        if intake.file.is_some() && intake.pending.len() >= BATCH {
            return intake.blocking(Self::write_out).await;
        }
        Ok(intake)
    }

    /// All is here.
    pub async fn finish(self) -> Result<Spooled, SpoolError> {
        let intake = if self.file.is_some() {
            self.blocking(Self::write_out).await?
        } else {
            self.blocking(|intake| {
                intake.hasher.update(&intake.pending);
                Ok(())
            })
            .await?
        };
        let Self { held, hasher, pending, file, len } = intake;
        let bytes = file.map_or_else(|| Kept::InMemory(pending.freeze()), |file| Kept::OnDisk(Arc::new(file)));
        Ok(Spooled { key: FileKey::of_digest(hasher.finalize().into()), len, bytes, held })
    }

    fn spill(&mut self) -> Result<(), SpoolError> {
        let folder = &self.held.spool.0.folder;
        self.file = Some(tempfile::tempfile_in(folder).map_err(|error| failed(&self.held.spool, error))?);
        self.write_out()?;
        // The buffer of a small content has grown to its size; from here on it needs only a batch.
        self.pending = BytesMut::new();
        self.held.give_memory_back();
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), SpoolError> {
        self.held.take_disk(self.pending.len() as u64)?;
        self.hasher.update(&self.pending);
        let file = self.file.as_mut().expect("only a content that has a file is written out");
        file.write_all(&self.pending).map_err(|error| failed(&self.held.spool, error))?;
        self.pending.clear();
        Ok(())
    }

    /// Hashing and writing take long enough to disturb others on an async thread.
    async fn blocking(mut self, work: impl FnOnce(&mut Self) -> Result<(), SpoolError> + Send + 'static) -> Result<Self, SpoolError> {
        let spool = self.held.spool.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut self).map(|()| self));
        done.await.unwrap_or_else(|panic| Err(failed(&spool, io::Error::other(panic))))
    }
}

fn failed(spool: &Spool, error: io::Error) -> SpoolError {
    let Inner { folder, limit, .. } = &*spool.0;
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => SpoolError::Full { limit: *limit },
        _ => SpoolError::Io { folder: folder.clone(), source: Arc::new(error) },
    }
}

/// A content that is here, and its name.
#[derive(Debug)]
pub struct Spooled {
    key: FileKey,
    len: u64,
    bytes: Kept,
    /// Gives the room back.
    held: Held,
}

#[derive(Debug, Clone)]
enum Kept {
    InMemory(Bytes),
    OnDisk(Arc<File>),
}

impl Spooled {
    /// The name of the file.
    pub fn key(&self) -> FileKey {
        self.key
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.len
    }

    pub(crate) fn spool(&self) -> &Spool {
        &self.held.spool
    }

    /// From the beginning, as often as it takes.
    pub(crate) fn content(&self) -> Content {
        match &self.bytes {
            Kept::InMemory(bytes) => Content::from_bytes(bytes.clone()),
            Kept::OnDisk(file) => Content::new(self.len, FromStart { file: Arc::clone(file), at: 0 }),
        }
    }
}

/// Reads a file from its beginning, whoever else reads it.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 300_000;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from((at / 4096 + at) % 251).unwrap()).collect()
    }

    async fn take_in(spool: &Spool, content: &[u8]) -> Result<Spooled, SpoolError> {
        let mut intake = spool.intake();
        for chunk in content.chunks(CHUNK) {
            intake = intake.write(Bytes::copy_from_slice(chunk)).await?;
        }
        intake.finish().await
    }

    fn all_of(content: Content) -> Vec<u8> {
        let (len, mut bytes) = (content.len(), Vec::new());
        content.reader().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    fn used(spool: &Spool) -> (u64, u64) {
        (spool.0.in_memory.load(Ordering::Relaxed), spool.0.on_disk.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_content_comes_out_as_it_went_in_as_often_as_it_takes() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().to_owned(), 1 << 30);
        for len in [0, 1, CHUNK, SMALL, SMALL + 1, 3 * SMALL + 7] {
            let content = pattern(len);
            let spooled = take_in(&spool, &content).await.unwrap();
            assert_eq!(spooled.key(), FileKey::of_digest(Sha256::digest(&content).into()));
            let on_disk = len > SMALL;
            assert_eq!(used(&spool), if on_disk { (0, len as u64) } else { (len as u64, 0) }, "{len}");
            for _ in 0..2 {
                assert!(all_of(spooled.content()) == content, "{len}");
            }
            // The file has no name, so nothing of it is left behind by a kill.
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            drop(spooled);
            assert_eq!(used(&spool), (0, 0));
        }
    }

    #[tokio::test]
    async fn many_small_contents_do_not_fill_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().to_owned(), 1 << 30);
        let content = pattern(SMALL);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(take_in(&spool, &content).await.unwrap());
            assert!(used(&spool).0 <= IN_MEMORY);
        }
        assert!(used(&spool).1 > 0);
        assert!(held.iter().all(|spooled| all_of(spooled.content()) == content));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_gives_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let limit = (2 * SMALL) as u64;
        let spool = Spool::new(folder.path().to_owned(), limit);
        assert!(matches!(take_in(&spool, &pattern(2 * SMALL + 1)).await, Err(SpoolError::TooLarge { .. })));
        assert_eq!(used(&spool), (0, 0));
        let first = take_in(&spool, &pattern(2 * SMALL)).await.unwrap();
        assert!(matches!(take_in(&spool, &pattern(SMALL + 1)).await, Err(SpoolError::Full { .. })));
        drop(first);
        take_in(&spool, &pattern(SMALL + 1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("missing"), 1 << 30);
        let error = take_in(&spool, &pattern(SMALL + 1)).await.unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        take_in(&spool, &pattern(SMALL)).await.unwrap();
    }
}
