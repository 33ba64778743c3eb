//! Files put together by hand, so that each part can be wrong while all others are right.

use crc_fast::{CrcAlgorithm, Digest};

use crate::pages::{Pages, checksum, plain};

/// The parts of a file.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) header: Vec<u8>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) end: [u8; 6],
    /// In place of the one that is right.
    pub(crate) index: Option<Vec<[u64; 3]>>,
    pub(crate) index_size: Option<u64>,
    pub(crate) post_apply: u64,
    /// What the file's checksum is off by.
    pub(crate) error: u64,
    pub(crate) behind: Vec<u8>,
}

/// One page.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) number: u32,
    pub(crate) flags: u16,
    pub(crate) size: u32,
    pub(crate) block: Vec<u8>,
    pub(crate) page: Vec<u8>,
}

impl Frame {
    /// A sound one.
    pub(crate) fn of(number: u32, page: Vec<u8>) -> Self {
        let block = lz4_flex::block::compress(&page);
        Self { number, flags: 1, size: u32::try_from(block.len()).unwrap(), block, page }
    }

    /// With these bytes in place of the right ones.
    pub(crate) fn with_block(self, block: Vec<u8>) -> Self {
        Self { size: u32::try_from(block.len()).unwrap(), block, ..self }
    }
}

impl Raw {
    /// A sound file; pages are of 512 bytes.
    pub(crate) fn new(txids: (u64, u64), commit: u32, pre_apply: u64, pages: &Pages) -> Self {
        let mut header = b"LTX1".to_vec();
        for word in [0, 512, commit] {
            header.extend(word.to_be_bytes());
        }
        for word in [txids.0, txids.1, 0, pre_apply] {
            header.extend(word.to_be_bytes());
        }
        header.resize(100, 0);
        let frames = pages.iter().map(|(&number, page)| Frame::of(number, page.clone())).collect();
        let post_apply = checksum(pages).get();
        Self { header, frames, end: [0; 6], index: None, index_size: None, post_apply, error: 0, behind: Vec::new() }
    }

    /// A whole database of three pages.
    pub(crate) fn whole() -> Self {
        Self::new((1, 5), 3, 0, &(1..=3).map(|number| (number, plain(number))).collect())
    }

    /// Pages 2 and 4 of a database of nine.
    pub(crate) fn delta() -> Self {
        Self::new((7, 7), 9, 1 << 63, &Pages::from([(2, plain(2)), (4, plain(4))]))
    }

    /// Where each frame lies: number, offset, size.
    pub(crate) fn places(&self) -> Vec<[u64; 3]> {
        let mut at = 100;
        let mut places = Vec::new();
        for frame in &self.frames {
            let size = 10 + frame.block.len() as u64;
            places.push([frame.number.into(), at, size]);
            at += size;
        }
        places
    }

    /// Replaces some bytes of the header.
    pub(crate) fn with_header(mut self, at: usize, bytes: &[u8]) -> Self {
        self.header[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut sum = Digest::new(CrcAlgorithm::Crc64GoIso);
        let mut add = |bytes: &[u8], hashed: &[u8]| {
            file.extend(bytes);
            sum.update(hashed);
            sum.finalize() | 1 << 63
        };
        add(&self.header, &self.header);
        for frame in &self.frames {
            let mut head = frame.number.to_be_bytes().to_vec();
            head.extend(frame.flags.to_be_bytes());
            head.extend(frame.size.to_be_bytes());
            add(&head, &head);
            add(&frame.block, &frame.page);
        }
        add(&self.end, &self.end);
        let mut index = Vec::new();
        for number in self.index.clone().unwrap_or_else(|| self.places()).into_iter().flatten().chain([0]) {
            varint(number, &mut index);
        }
        add(&index, &index);
        let size = self.index_size.unwrap_or(index.len() as u64).to_be_bytes();
        add(&size, &size);
        let post_apply = self.post_apply.to_be_bytes();
        let checksum = add(&post_apply, &post_apply);
        add(&(checksum ^ self.error).to_be_bytes(), &[]);
        add(&self.behind, &[]);
        file
    }
}

fn varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}
