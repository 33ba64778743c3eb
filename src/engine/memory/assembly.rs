//! A database put together from the files of a chain.
//!
//! Invariant: what becomes visible was proved, each file by its own checksum and each state by the one that the file after it was made for.

use std::io::{BufReader, Read};

use ltx::{Checksum, DecodeError, Decoder, Header, PageNo, PageSize, Txid, TxidRange};

use super::{LoadError, MemoryDatabase, MemoryOptions};
use crate::image;
use crate::page_set::PageSet;
use crate::pages::{PageStore, Stage};
use crate::sums::Sums;

/// Pages gathered file by file. Nobody sees them before [`Assembly::finish`].
pub(crate) struct Assembly {
    options: MemoryOptions,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    store: PageStore,
    stage: Stage,
    sums: Sums,
    txids: TxidRange,
    page_size: PageSize,
    writes: Writes,
}

/// Which of the files wrote each page last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes {
    /// What each of them leads to.
    ends: Vec<Txid>,
    /// By page, the place of a file among them.
    last: Vec<u32>,
}

impl Writes {
    fn wrote(&mut self, page: PageNo) {
        let place = page.index() as usize;
        if place >= self.last.len() {
            self.last.resize(place + 1, 0);
        }
        self.last[place] = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
    }

    /// The pages that may have changed since a state; `None` if the files do not tell.
    pub(crate) fn since(&self, txid: Txid) -> Option<PageSet> {
        let known = self.ends.iter().take_while(|end| **end <= txid).count();
        let mut changed = PageSet::default();
        let pages = (0_u32..).zip(&self.last).filter(|(_, file)| **file as usize >= known);
        changed.extend(pages.filter_map(|(index, _)| PageNo::from_index(index)));
        (known > 0).then_some(changed)
    }
}

/// What the files of a chain make.
pub(crate) struct Assembled {
    pub(crate) memory: MemoryDatabase,
    /// Of the state as the chain has it.
    pub(crate) sums: Sums,
    /// Page 1 differs from the chain's: a database in WAL mode became one in rollback mode.
    pub(crate) differs: bool,
    pub(crate) writes: Writes,
}

impl Assembly {
    pub(crate) fn new(options: MemoryOptions) -> Self {
        Self { options, under_way: None }
    }

    /// Applies the next file, which is named by these txids. The first holds a whole database. Blocks.
    pub(crate) fn apply(&mut self, named: TxidRange, reader: impl Read) -> Result<Header, LoadError> {
        let mut decoder = Decoder::new(BufReader::with_capacity(64 << 10, reader)).map_err(undecoded)?;
        let header = *decoder.header();
        if header.txids != named {
            return Err(damaged(format!("it says of itself that it is {}", header.txids)));
        }
        let limit = self.options.max_size;
        if header.commit.bytes(header.page_size) > limit {
            return Err(LoadError::TooLarge { limit });
        }
        let options = &self.options;
        let work = self.under_way.get_or_insert_with(|| {
            let store = PageStore::new(header.page_size, options.max_size, std::sync::Arc::clone(&options.clock));
            let stage = store.begin_write(&store.pin()).expect("nobody else has the new store");
            UnderWay { store, stage, sums: Sums::default(), txids: named, page_size: header.page_size, writes: Writes::default() }
        });
        if header.page_size != work.page_size {
            return Err(damaged(format!("its pages have {} bytes, those before it {}", header.page_size, work.page_size)));
        }
        // One of a compaction may begin before the state that it is applied to, and then says nothing about it.
        let continues = work.txids.max().next() == Some(header.txids.min());
        if let Some(expected) = header.pre_apply.filter(|expected| continues && *expected != work.sums.total()) {
            return Err(damaged(format!("it was made for a database with checksum {expected}, but that has {}", work.sums.total())));
        }
        while let Some((page, bytes)) = decoder.next_page().map_err(undecoded)? {
            work.sums.set(page, bytes);
            work.stage.write(page, bytes)?;
            work.writes.wrote(page);
        }
        work.writes.ends.push(named.max());
        let summary = decoder.finish().map_err(undecoded)?;
        if header.commit < work.stage.count() {
            work.stage.truncate(header.commit);
            work.sums.cut(header.commit);
        }
        if header.commit != work.stage.count() {
            return Err(damaged(format!("it makes a database of {} pages and has {}", header.commit, work.stage.count())));
        }
        if let Some(expected) = summary.post_apply.filter(|expected| *expected != work.sums.total()) {
            return Err(damaged(format!("it leads to checksum {}, and says {expected}", work.sums.total())));
        }
        work.txids = named;
        Ok(header)
    }

    /// Of the state that was reached.
    pub(crate) fn checksum(&self) -> Checksum {
        self.under_way.as_ref().map_or(Checksum::EMPTY, |work| work.sums.total())
    }

    /// What the files make. Blocks.
    pub(crate) fn finish(self) -> Result<Assembled, LoadError> {
        let Some(UnderWay { store, mut stage, sums, writes, .. }) = self.under_way else {
            return Err(damaged("there are no files".to_owned()));
        };
        let newest = store.publish(&mut stage);
        let first = newest.page(PageNo::FIRST).ok_or_else(|| damaged("it has no pages".to_owned()))?;
        let changed = image::in_rollback_mode(first.bytes(), newest.count()).map_err(LoadError::NotADatabase)?;
        let differs = changed.is_some();
        drop(newest);
        if let Some(bytes) = changed {
            stage.write(PageNo::FIRST, &bytes)?;
            drop(store.publish(&mut stage));
        }
        store.end_write(stage);
        // Nobody asks what changed between nothing and this.
        store.forget_changes(store.commits());
        let memory = MemoryDatabase::over(store, self.options);
        memory.0.announce();
        Ok(Assembled { memory, sums, differs, writes })
    }
}

fn damaged(detail: String) -> LoadError {
    LoadError::NotADatabase(detail)
}

fn undecoded(error: DecodeError) -> LoadError {
    match error {
        DecodeError::Read { source, .. } => LoadError::Read(source),
        error @ DecodeError::Damaged { .. } => damaged(error.to_string()),
    }
}
