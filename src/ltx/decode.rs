//! Reading a file.
//!
//! Owns: that nothing is taken for a sound file which is none. Memory: one page, its compressed bytes and the index, none of it sized by
//! what a file claims.

use std::io::{self, Read};

use lz4_flex::block::decompress_into;
use lz4_flex::frame::FrameDecoder;

use crate::Summary;
use crate::checksum::{Checksum, Crc};
use crate::encode::SIZED_BLOCK;
use crate::header::{self, Header, HeaderRefusal};
use crate::index::{END_OF_PAGES, PageIndex};
use crate::number::{PageCount, PageNo};
use crate::order::{Misplaced, Order};

/// How an LZ4 frame begins whose blocks have at most 64 KiB, the only ones that Litestream ever wrote: its magic number, and
/// behind a byte of flags the size of blocks.
const LZ4_FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const LZ4_BLOCKS_OF_64_KIB: u8 = 4 << 4;

/// Why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The reader failed. This says nothing about the file.
    #[error("could not read an LTX file behind byte {at}")]
    Read {
        /// How far it came.
        at: u64,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// The file is not sound, and no repetition will help.
    #[error("not a sound LTX file: at byte {at}, {damage}")]
    Damaged {
        /// Where the part begins that is wrong.
        at: u64,
        /// What is wrong.
        damage: Damage,
    },
}

impl DecodeError {
    pub(crate) fn damaged(at: u64, damage: Damage) -> Self {
        Self::Damaged { at, damage }
    }
}

/// What is wrong in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// More should follow.
    #[error("it ends too early")]
    Truncated,
    /// The header says what no header may say.
    #[error("{0}")]
    Header(HeaderRefusal),
    /// The page has flags that this build does not know.
    #[error("a page has the flags {0:#06x}, of which this build does not know all")]
    PageFlags(u16),
    /// A page stands where it does not belong, or is missing.
    #[error("{0}")]
    Page(Misplaced),
    /// No page can take so many bytes.
    #[error("page {page} claims {size} compressed bytes, more than any page takes")]
    BlockSize {
        /// The page.
        page: PageNo,
        /// What it claims.
        size: u32,
    },
    /// The compressed bytes are not those of one page.
    #[error("page {page} cannot be decompressed to the size of a page")]
    Compression {
        /// The page.
        page: PageNo,
    },
    /// The index does not say of this page what is so.
    #[error("entry {entry} of the page index is not that of a page of the file")]
    Index {
        /// Counted from zero; the end of the index counts, too.
        entry: usize,
    },
    /// The index cannot be so long.
    #[error("{0} bytes are not the size of the page index")]
    IndexSize(u64),
    /// A byte of the file was changed.
    #[error("the file's checksum is {found}, it should be {expected:016x}")]
    FileChecksum {
        /// By the file.
        expected: u64,
        /// Of the file.
        found: Checksum,
    },
    /// A file with checksums must say what it leads to, one without must not.
    #[error("{0:016x} cannot be the checksum of the state behind it")]
    PostApply(u64),
    /// The pages are not those of the state that the file says.
    #[error("the database has checksum {found}, it should have {expected}")]
    StateChecksum {
        /// By the file.
        expected: Checksum,
        /// Of its pages.
        found: Checksum,
    },
    /// The file has ended, the bytes have not.
    #[error("something stands behind its end")]
    Behind,
    /// Somebody read on behind an error.
    #[error("it was refused before")]
    Refused,
}

/// Reads one file. What it hands out is proved by [`finish`](Self::finish) alone, so it must not become visible before.
///
/// It reads in small portions: a reader for which that is dear belongs into a [`BufReader`](io::BufReader).
pub struct Decoder<R> {
    source: Source<R>,
    header: Header,
    crc: Crc,
    order: Order,
    /// Of the pages so far.
    pages: Checksum,
    index: PageIndex,
    page: Vec<u8>,
    block: Vec<u8>,
    stage: Stage,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Stage {
    Page,
    Index,
    /// Nothing, since a part was wrong.
    Refused,
}

impl<R: Read> Decoder<R> {
    /// Reads the header.
    pub fn new(reader: R) -> Result<Self, DecodeError> {
        let mut source = Source { reader, at: 0, failure: None };
        let mut bytes = [0; header::SIZE];
        source.fill(&mut bytes)?;
        let header = Header::parse(&bytes).map_err(|refusal| DecodeError::damaged(0, Damage::Header(refusal)))?;
        let mut crc = Crc::new();
        crc.add(&bytes);
        // A delta may leave out whatever it likes, because what lies below is not known here.
        let below = if header.txids.is_whole() { PageCount(0) } else { header.commit };
        let page = vec![0; header.page_size.len()];
        let block = vec![0; largest_block(page.len())];
        let order = Order::new(&header, below);
        Ok(Self { source, header, crc, order, pages: Checksum::EMPTY, index: PageIndex::default(), page, block, stage: Stage::Page })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next page; `None` behind the last.
    pub fn next_page(&mut self) -> Result<Option<(PageNo, &[u8])>, DecodeError> {
        let number = match std::mem::replace(&mut self.stage, Stage::Refused) {
            Stage::Page => self.read_page()?,
            Stage::Index => None,
            Stage::Refused => return Err(DecodeError::damaged(self.source.at, Damage::Refused)),
        };
        self.stage = if number.is_some() { Stage::Page } else { Stage::Index };
        Ok(number.map(|number| (number, self.page.as_slice())))
    }

    /// Reads what is left, and proves that the file is sound: its checksum, its index, that nothing is missing and nothing stands behind it,
    /// and the state if it holds a whole database. Whether a delta leads to the state that it says, only who applies it can tell.
    pub fn finish(mut self) -> Result<Summary, DecodeError> {
        while self.next_page()?.is_some() {}
        self.read_index()?;
        let at = self.source.at;
        let bits = u64::from_be_bytes(self.fill_and_add()?);
        let found = self.crc.checksum();
        let mut expected = [0; 8];
        self.source.fill(&mut expected)?;
        let expected = u64::from_be_bytes(expected);
        if expected != found.get() {
            return Err(DecodeError::damaged(at + 8, Damage::FileChecksum { expected, found }));
        }
        let post_apply = self.judge_state(bits).map_err(|damage| DecodeError::damaged(at, damage))?;
        if !self.source.is_at_end()? {
            return Err(DecodeError::damaged(at + 16, Damage::Behind));
        }
        Ok(Summary { header: self.header, post_apply, index: self.index, size: self.source.at })
    }

    fn read_page(&mut self) -> Result<Option<PageNo>, DecodeError> {
        let at = self.source.at;
        let damaged = |damage| DecodeError::damaged(at, damage);
        let head: [u8; END_OF_PAGES] = self.fill_and_add()?;
        let flags = u16::from_be_bytes([head[4], head[5]]);
        let Some(page) = PageNo::new(u32::from_be_bytes([head[0], head[1], head[2], head[3]])) else {
            self.order.end().map_err(|misplaced| damaged(Damage::Page(misplaced)))?;
            return if flags == 0 { Ok(None) } else { Err(damaged(Damage::PageFlags(flags))) };
        };
        self.order.admit(page).map_err(|misplaced| damaged(Damage::Page(misplaced)))?;
        match flags {
            SIZED_BLOCK => self.read_block(page)?,
            0 => self.read_lz4_frame(page)?,
            _ => return Err(damaged(Damage::PageFlags(flags))),
        }
        self.crc.add(&self.page);
        if self.header.txids.is_whole() {
            self.pages = self.pages.with(Checksum::of_page(page, &self.page));
        }
        let size = u32::try_from(self.source.at - at).map_err(|_| damaged(Damage::Compression { page }))?;
        self.index.push(page, size);
        Ok(Some(page))
    }

    /// A page as it is written now: the size, then one LZ4 block.
    fn read_block(&mut self, page: PageNo) -> Result<(), DecodeError> {
        let at = self.source.at;
        let size = u32::from_be_bytes(self.fill_and_add()?);
        let block = usize::try_from(size).ok().and_then(|size| self.block.get_mut(..size));
        let block = block.ok_or_else(|| DecodeError::damaged(at, Damage::BlockSize { page, size }))?;
        self.source.fill(block)?;
        match decompress_into(block, &mut self.page) {
            Ok(length) if length == self.page.len() => Ok(()),
            // Less than a page would leave the end of the one before it.
            _ => Err(DecodeError::damaged(at, Damage::Compression { page })),
        }
    }

    /// A page as older versions of Litestream 0.5 wrote it: an LZ4 frame, which alone knows where it ends.
    fn read_lz4_frame(&mut self, page: PageNo) -> Result<(), DecodeError> {
        let at = self.source.at;
        let damaged = DecodeError::damaged(at, Damage::Compression { page });
        let mut start = [0; 6];
        self.source.fill(&mut start)?;
        // Larger blocks, and those of a format before this one, would take memory that no page needs.
        if start[..4] != LZ4_FRAME || start[5] != LZ4_BLOCKS_OF_64_KIB {
            return Err(damaged);
        }
        let mut frame = FrameDecoder::new(start.as_slice().chain(&mut self.source));
        let behind = frame.read_exact(&mut self.page).and_then(|()| frame.read(&mut [0]));
        if let Some(source) = self.source.failure.take() {
            return Err(DecodeError::Read { at: self.source.at, source });
        }
        match behind {
            Ok(0) => Ok(()),
            _ => Err(damaged),
        }
    }

    fn read_index(&mut self) -> Result<(), DecodeError> {
        let begin = self.source.at;
        for (entry, expected) in self.index.entries().enumerate() {
            let at = self.source.at;
            let mut bytes = [0; 30];
            let bytes = &mut bytes[..expected.bytes().len()];
            self.source.fill(bytes)?;
            if bytes != expected.bytes() {
                return Err(DecodeError::damaged(at, Damage::Index { entry }));
            }
            self.crc.add(bytes);
        }
        let at = self.source.at;
        let size = u64::from_be_bytes(self.fill_and_add()?);
        if size == at - begin { Ok(()) } else { Err(DecodeError::damaged(at, Damage::IndexSize(size))) }
    }

    /// The checksum of the state that the file leads to, after these bits.
    fn judge_state(&self, bits: u64) -> Result<Option<Checksum>, Damage> {
        if self.header.pre_apply.is_none() {
            return if bits == 0 { Ok(None) } else { Err(Damage::PostApply(bits)) };
        }
        let expected = Checksum::from_bits(bits).ok_or(Damage::PostApply(bits))?;
        // All pages of the state are here, or it has none.
        let is_known = self.header.txids.is_whole() || self.header.commit == PageCount(0);
        if is_known && expected != self.pages {
            return Err(Damage::StateChecksum { expected, found: self.pages });
        }
        Ok(Some(expected))
    }

    fn fill_and_add<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        self.source.fill(&mut bytes)?;
        self.crc.add(&bytes);
        Ok(bytes)
    }
}

/// LZ4 never makes more of so many bytes.
fn largest_block(bytes: usize) -> usize {
    bytes + bytes / 255 + 16
}

/// The reader, and how far it came.
struct Source<R> {
    reader: R,
    at: u64,
    /// What the reader said to somebody who reads through us and hides it.
    failure: Option<io::Error>,
}

impl<R: Read> Source<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_some(&mut bytes[filled..])? {
                0 => return Err(DecodeError::damaged(self.at, Damage::Truncated)),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, DecodeError> {
        let at = self.at;
        let ended = self.read_some(&mut [0])? == 0;
        self.at = at;
        Ok(ended)
    }

    fn read_some(&mut self, bytes: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            match self.reader.read(bytes) {
                Ok(count) => {
                    self.at += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(DecodeError::Read { at: self.at, source }),
            }
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.read_some(bytes).map_err(|error| {
            if let DecodeError::Read { source, .. } = error {
                self.failure = Some(source);
            }
            io::ErrorKind::Other.into()
        })
    }
}
