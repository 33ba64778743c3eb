//! Writing a file.
//!
//! Owns: that nothing is written which could not be applied. A writer's mistake is found here, before the bucket has it.

use std::io::{self, Write};

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use crate::Summary;
use crate::chain::{Break, Position};
use crate::checksum::{Checksum, Crc};
use crate::header::{Header, HeaderRefusal};
use crate::index::{END_OF_PAGES, PageIndex};
use crate::number::{PageCount, PageNo, PageSize};
use crate::order::{Misplaced, Order};
use crate::txid::Txid;

/// Bytes before the compressed page: its number, its flags, the size of what follows.
const FRAME_HEAD: usize = 10;
/// The flag of a page that is one LZ4 block with its size before it.
pub(crate) const SIZED_BLOCK: u16 = 1;

/// Why a file cannot be written. Unless the writer failed, it is a mistake of the caller.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// What was written so far is of no use.
    #[error("could not write an LTX file")]
    Write(#[source] io::Error),
    /// The header contradicts itself.
    #[error("the header of an LTX file is wrong: {0}")]
    Header(HeaderRefusal),
    /// The file would not continue the chain.
    #[error(transparent)]
    Break(#[from] Break),
    /// Only the first file of a database follows nothing.
    #[error("txid {txid} follows on nothing, but does not begin a database")]
    NothingBefore {
        /// Where the file begins.
        txid: Txid,
    },
    /// It would hold a page that it may not hold, or lack one.
    #[error("a page of an LTX file is wrong: {0}")]
    Page(#[from] Misplaced),
    /// All pages of a database have one size.
    #[error("page {page} has {found} bytes in place of {expected}")]
    PageLength {
        /// The page.
        page: PageNo,
        /// The header's.
        expected: PageSize,
        /// What was given.
        found: usize,
    },
    /// The state that the caller means to have is not the one that the pages make, or a checksum is given where there is none.
    #[error("the state has {}, but the caller says {}", shown(*.expected), shown(*.found))]
    PostApply {
        /// What follows from header and pages.
        expected: Option<Checksum>,
        /// What was given.
        found: Option<Checksum>,
    },
}

fn shown(checksum: Option<Checksum>) -> String {
    checksum.map_or_else(|| "no checksum".to_owned(), |checksum| format!("checksum {checksum}"))
}

/// Writes one file. Holds one page and the index, and does work for the pages that it is given, however large the database is.
pub struct Encoder<W> {
    out: W,
    written: u64,
    crc: Crc,
    header: Header,
    order: Order,
    /// Of the pages so far.
    pages: Checksum,
    index: PageIndex,
    frame: Vec<u8>,
    table: CompressTable,
}

impl<W: Write> Encoder<W> {
    /// Begins a file that continues a chain `after` this position, or that holds a whole database if there is none.
    ///
    /// All pages above `after.commit` have to come. A database may have been smaller in between: then the caller says that smallest size in
    /// `after.commit`, or a restore would find pages there from before.
    pub fn new(out: W, header: Header, after: Option<&Position>) -> Result<Self, EncodeError> {
        if let Some(refusal) = header.refusal() {
            return Err(EncodeError::Header(refusal));
        }
        let below = match after {
            Some(position) => {
                position.admits(&header)?;
                position.commit
            }
            None if header.txids.is_whole() => PageCount(0),
            None => return Err(EncodeError::NothingBefore { txid: header.txids.min() }),
        };
        let mut encoder = Self {
            out,
            written: 0,
            crc: Crc::new(),
            header,
            order: Order::new(&header, below),
            pages: Checksum::EMPTY,
            index: PageIndex::default(),
            frame: vec![0; FRAME_HEAD + get_maximum_output_size(header.page_size.len())],
            table: CompressTable::default(),
        };
        encoder.write(&header.to_bytes())?;
        Ok(encoder)
    }

    /// Adds a page. Pages come in order.
    pub fn page(&mut self, page: PageNo, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() != self.header.page_size.len() {
            return Err(EncodeError::PageLength { page, expected: self.header.page_size, found: bytes.len() });
        }
        self.order.admit(page)?;
        let block = compress_into_with_table(bytes, &mut self.frame[FRAME_HEAD..], &mut self.table)
            .expect("the frame has the room that the compressor asks for");
        let frame = &mut self.frame[..FRAME_HEAD + block];
        let [size, block] = [frame.len(), block].map(|size| u32::try_from(size).expect("a frame is hardly larger than a page"));
        frame[..4].copy_from_slice(&page.get().to_be_bytes());
        frame[4..6].copy_from_slice(&SIZED_BLOCK.to_be_bytes());
        frame[6..FRAME_HEAD].copy_from_slice(&block.to_be_bytes());
        // The file's checksum is over pages as they are, not as they are compressed.
        self.crc.add(&frame[..FRAME_HEAD]);
        self.crc.add(bytes);
        self.out.write_all(frame).map_err(EncodeError::Write)?;
        self.written += u64::from(size);
        self.index.push(page, size);
        if self.header.pre_apply.is_some() && self.header.txids.is_whole() {
            self.pages = self.pages.with(Checksum::of_page(page, bytes));
        }
        Ok(())
    }

    /// Ends the file. It leads to a state with this checksum; `None` if the header has none either.
    pub fn finish(mut self, post_apply: Option<Checksum>) -> Result<Summary, EncodeError> {
        self.order.end()?;
        let expected = match post_apply {
            _ if self.header.pre_apply.is_none() => None,
            _ if self.header.txids.is_whole() || self.header.commit == PageCount(0) => Some(self.pages),
            // Only who knows the pages below can tell.
            Some(_) => post_apply,
            None => self.header.pre_apply,
        };
        if expected != post_apply {
            return Err(EncodeError::PostApply { expected, found: post_apply });
        }
        self.write(&[0; END_OF_PAGES])?;
        let begin = self.written;
        let index = std::mem::take(&mut self.index);
        for entry in index.entries() {
            self.write(entry.bytes())?;
        }
        self.write(&(self.written - begin).to_be_bytes())?;
        self.write(&post_apply.map_or(0, Checksum::get).to_be_bytes())?;
        let checksum = self.crc.checksum();
        self.write(&checksum.get().to_be_bytes())?;
        self.out.flush().map_err(EncodeError::Write)?;
        Ok(Summary { header: self.header, post_apply, index, size: self.written })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.crc.add(bytes);
        self.out.write_all(bytes).map_err(EncodeError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
