//! Files of a chain, made from versions in memory.
//!
//! Owns: which pages a delta holds, and the checksum that it leads to. Does not own: where files lie, nor that they arrive (`chains.rs`).
//! Invariants: a delta holds every page that changed in its range and every page above the smallest size in it, so that it leads to the
//! pinned state from the one before it; what is written twice has the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use ltx::{Checksum, Encoder, Header, PageCount, PageNo, Position, Txid, TxidRange, UnixMillis};
use parking_lot::Mutex;

use crate::bucket::Content;
use crate::head::{Epoch, SnapshotRef};
use crate::memory::{Changes, Commits, Pin};
use crate::sums::Sums;

/// Files of more bytes, before compression, are encoded while they are uploaded.
const WHOLE_IN_MEMORY: u64 = 1 << 20;

/// Where a chain stands, and what it takes to continue it.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    /// The newest durable state.
    pub(crate) txid: Txid,
    /// When it was made.
    pub(crate) time: UnixMillis,
    /// What the memory held then.
    pub(crate) commits: Commits,
    /// The lowest txid since when the state has this checksum, as far as is known.
    pub(crate) same_since: Txid,
    pub(crate) count: PageCount,
    pub(crate) sums: Sums,
}

/// A delta that is on its way, and what the chain stands at once it has arrived.
#[derive(Clone)]
pub(crate) struct Delta {
    pub(crate) draft: Draft,
    sums: Arc<[(PageNo, Checksum)]>,
}

impl Delta {
    /// All that it holds.
    pub(crate) fn pages(&self) -> impl Iterator<Item = PageNo> {
        self.draft.pages.iter().copied()
    }
}

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By {
    pub(crate) epoch: Epoch,
    pub(crate) time: UnixMillis,
}

impl Tip {
    /// Of a version that is the state `txid`. Blocks: it reads all pages.
    pub(crate) fn of(pin: &Pin, txid: Txid, time: UnixMillis) -> Self {
        let (mut sums, zeros) = (Sums::default(), vec![0; pin.page_size().len()]);
        for page in all_pages(pin, PageCount(0)) {
            sums.set(page, pin.page(page).unwrap_or(&zeros));
        }
        Self { txid, time, commits: pin.commits(), same_since: txid, count: pin.count(), sums }
    }

    /// Of the state.
    pub(crate) fn checksum(&self) -> Checksum {
        self.sums.total()
    }

    /// Somebody may know the state by a number from before what was read: by the one of the snapshot that the branch's record names.
    pub(crate) fn same_since_of(&mut self, noted: Option<&SnapshotRef>) {
        let noted = noted.filter(|noted| (self.same_since.get()..=self.txid.get()).contains(&noted.txid));
        if let Some(since) = noted.and_then(|noted| Txid::new(noted.same_since)) {
            self.same_since = self.same_since.min(since);
        }
    }

    /// The number of the next delta.
    pub(crate) fn next_txid(&self) -> Txid {
        self.txid.next().expect("chains whose numbers are nearly used up are not opened")
    }

    /// A time for the next delta: never before the last one's.
    pub(crate) fn next_time(&self, now: UnixMillis) -> UnixMillis {
        now.max(UnixMillis(self.time.0.saturating_add(1)))
    }

    /// How much the pages of the next delta hold at most.
    pub(crate) fn most_bytes(&self, pin: &Pin, changes: Option<&Changes>) -> u64 {
        let Some(changes) = changes else { return pin.size() };
        let above = pin.count().0.saturating_sub(changes.smallest.min(self.count).0);
        (changes.pages.len() as u64).saturating_add(above.into()).saturating_mul(pin.page_size().get().into())
    }

    /// What has changed since, as the next delta. `changes` are those since [`Tip::commits`], or of more; all pages count as changed if they
    /// are not known. Blocks: it reads what has changed.
    pub(crate) fn delta(&self, pin: &Pin, changes: Option<Changes>, by: By) -> Delta {
        let changes = changes.unwrap_or(Changes { pages: Vec::new(), smallest: PageCount(0) });
        let (count, below) = (pin.count(), changes.smallest.min(self.count));
        let touched = changes.pages.into_iter().filter(|page| below.holds(*page) && count.holds(*page));
        let pages: Vec<PageNo> = touched.chain(all_pages(pin, below)).collect();
        let zeros = vec![0; pin.page_size().len()];
        let sums: Arc<[_]> = pages.iter().map(|page| (*page, Checksum::of_page(*page, pin.page(*page).unwrap_or(&zeros)))).collect();
        let checksum = sums.iter().fold(self.sums.total_of(count), |total, (page, sum)| {
            let before = self.sums.of(*page).unwrap_or(Checksum::EMPTY);
            total.without(before).with(*sum)
        });
        let header = Header {
            page_size: pin.page_size(),
            commit: count,
            txids: TxidRange::only(self.next_txid()),
            time: self.next_time(by.time),
            pre_apply: Some(self.checksum()),
            node_id: by.epoch.0,
        };
        // The smallest size in between, above which all pages come.
        let after = Position { txid: self.txid, page_size: pin.page_size(), commit: below, checksum: Some(self.checksum()) };
        Delta { draft: Draft { header, after: Some(after), pages: pages.into(), pin: pin.clone(), checksum }, sums }
    }

    /// A delta that changes nothing, and that takes the next slot. `pin` is the state.
    pub(crate) fn fence(&self, pin: &Pin, by: By) -> Delta {
        self.delta(pin, Some(Changes { pages: vec![PageNo::FIRST], smallest: self.count }), by)
    }

    /// The delta has arrived.
    pub(crate) fn follow(&mut self, delta: &Delta) {
        let header = &delta.draft.header;
        self.sums.cut(header.commit);
        for (page, sum) in delta.sums.iter() {
            self.sums.put(*page, *sum);
        }
        debug_assert_eq!(self.sums.total(), delta.draft.checksum);
        if header.pre_apply != Some(delta.draft.checksum) {
            self.same_since = header.txids.max();
        }
        self.txid = header.txids.max();
        self.time = header.time;
        self.commits = delta.draft.pin.commits();
        self.count = header.commit;
    }
}

/// A version as the whole database that a chain begins with, and where the chain stands then.
pub(crate) async fn beginning(pin: Pin, first: Txid, time: UnixMillis, epoch: Epoch) -> io::Result<(Tip, Encoded)> {
    let work = move || {
        let tip = Tip::of(&pin, first, time);
        Draft::whole(&pin, &tip, epoch).encoded().map(|file| (tip, file))
    };
    tokio::task::spawn_blocking(work).await?
}

/// The changes of several deltas, for one file in their place.
#[derive(Debug, Clone)]
pub(crate) struct Gathered {
    /// The state before the first of them.
    after: Txid,
    checksum: Checksum,
    /// Of the database, at any moment since.
    smallest: PageCount,
    pages: BTreeSet<PageNo>,
    files: u32,
}

impl Gathered {
    /// None yet.
    pub(crate) fn after(tip: &Tip) -> Self {
        Self { after: tip.txid, checksum: tip.checksum(), smallest: tip.count, pages: BTreeSet::new(), files: 0 }
    }

    /// The next one.
    pub(crate) fn add(&mut self, delta: &Delta) {
        let Draft { header, after, pages, .. } = &delta.draft;
        let below = after.as_ref().map_or(PageCount(0), |after| after.commit);
        self.smallest = self.smallest.min(below).min(header.commit);
        self.pages.extend(pages.iter());
        self.files = self.files.saturating_add(1);
    }

    /// How many there are.
    pub(crate) fn files(&self) -> u32 {
        self.files
    }

    /// All of them as one file. `pin` is the state `tip`, to which they lead.
    pub(crate) fn draft(&self, pin: &Pin, tip: &Tip, epoch: Epoch) -> Draft {
        let (count, below) = (pin.count(), self.smallest.min(pin.count()));
        let changed = self.pages.iter().copied().filter(|page| below.holds(*page));
        let first = self.after.next().expect("there are numbers behind it, since deltas have them");
        let header = Header {
            page_size: pin.page_size(),
            commit: count,
            txids: TxidRange::new(first, tip.txid).expect("the newest is not before the first"),
            time: tip.time,
            pre_apply: Some(self.checksum),
            node_id: epoch.0,
        };
        let after = Position { txid: self.after, page_size: pin.page_size(), commit: below, checksum: Some(self.checksum) };
        let pages = changed.chain(all_pages(pin, below)).collect();
        Draft { header, after: Some(after), pages, pin: pin.clone(), checksum: tip.checksum() }
    }

    /// As somebody makes it who thinks of written pages alone.
    #[cfg(test)]
    pub(crate) fn draft_without_holes(&self, pin: &Pin, tip: &Tip, epoch: Epoch) -> Draft {
        let draft = self.draft(pin, tip, epoch);
        let pages = draft.pages.iter().copied().filter(|page| pin.page(*page).is_some()).collect();
        // Or the encoder would miss those above the smallest size.
        let after = draft.after.map(|after| Position { commit: pin.count(), ..after });
        Draft { after, pages, ..draft }
    }
}

/// A file of a chain that can be written again and again, each time with the same bytes.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) header: Header,
    after: Option<Position>,
    pages: Arc<[PageNo]>,
    pub(crate) pin: Pin,
    /// Of the state that it leads to.
    pub(crate) checksum: Checksum,
}

impl Draft {
    /// A version that is the state `tip` as a whole database.
    pub(crate) fn whole(pin: &Pin, tip: &Tip, epoch: Epoch) -> Self {
        let header = Header {
            page_size: pin.page_size(),
            commit: pin.count(),
            txids: TxidRange::new(Txid::FIRST, tip.txid).expect("the first is the lowest"),
            time: tip.time,
            pre_apply: Some(Checksum::EMPTY),
            node_id: epoch.0,
        };
        let pages = all_pages(pin, PageCount(0)).collect();
        Self { header, after: None, pages, pin: pin.clone(), checksum: tip.checksum() }
    }

    /// Encodes what is small, and finds out how long it becomes. Blocks.
    pub(crate) fn encoded(self) -> io::Result<Encoded> {
        let raw = self.pages.len() as u64 * u64::from(self.header.page_size.get());
        let mut reader = self.reader();
        if raw > WHOLE_IN_MEMORY {
            let len = io::copy(&mut reader, &mut io::sink())?;
            return Ok(Encoded { draft: self, bytes: None, len });
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(Encoded { len: bytes.len() as u64, bytes: Some(bytes.into()), draft: self })
    }

    fn reader(&self) -> Encoding {
        let zeros = vec![0; self.header.page_size.len()];
        Encoding { draft: self.clone(), stage: Stage::Header, out: Buffer::default(), at: 0, zeros }
    }
}

/// The pages above `below` that a version has, in order; the lock page is none.
fn all_pages(pin: &Pin, below: PageCount) -> impl Iterator<Item = PageNo> + use<> {
    let size = pin.page_size();
    (below.0..pin.count().0).filter_map(PageNo::from_index).filter(move |page| !page.is_lock_page(size))
}

/// A file whose length is known.
#[derive(Clone)]
pub(crate) struct Encoded {
    pub(crate) draft: Draft,
    bytes: Option<Bytes>,
    pub(crate) len: u64,
}

impl Encoded {
    /// To upload. Equal for every try.
    pub(crate) fn content(&self) -> Content {
        match &self.bytes {
            Some(bytes) => Content::from_bytes(bytes.clone()),
            None => Content::new(self.len, self.draft.reader()),
        }
    }
}

/// A file as it is read, encoded page by page.
struct Encoding {
    draft: Draft,
    stage: Stage,
    out: Buffer,
    /// How much of `out` was handed on.
    at: usize,
    zeros: Vec<u8>,
}

enum Stage {
    Header,
    Pages(Box<Encoder<Buffer>>, usize),
    Done,
}

/// Where the encoder leaves what the reader takes.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoding {
    fn step(&mut self) -> Result<(), ltx::EncodeError> {
        let draft = &self.draft;
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Header => Stage::Pages(Box::new(Encoder::new(self.out.clone(), draft.header, draft.after.as_ref())?), 0),
            Stage::Pages(mut encoder, next) => {
                if let Some(page) = draft.pages.get(next) {
                    encoder.page(*page, draft.pin.page(*page).unwrap_or(&self.zeros))?;
                    Stage::Pages(encoder, next + 1)
                } else {
                    encoder.finish(Some(draft.checksum))?;
                    Stage::Done
                }
            }
            Stage::Done => Stage::Done,
        };
        Ok(())
    }
}

impl Read for Encoding {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            {
                let mut out = self.out.0.lock();
                let left = &out[self.at..];
                if !left.is_empty() {
                    let len = left.len().min(into.len());
                    into[..len].copy_from_slice(&left[..len]);
                    self.at += len;
                    return Ok(len);
                }
                out.clear();
                self.at = 0;
            }
            if matches!(self.stage, Stage::Done) {
                return Ok(0);
            }
            self.step().map_err(io::Error::other)?;
        }
    }
}

#[cfg(test)]
mod tests;
