//! Where in a file each page lies.
//!
//! The index stands behind the pages and names them in their order. Since frames touch each other, a frame's place follows from the sizes
//! of those before it, and only sizes are kept here.

use std::ops::Range;

use crate::decode::{Damage, DecodeError};
use crate::header;
use crate::number::PageNo;

/// Bytes of the mark behind the last frame.
pub(crate) const END_OF_PAGES: usize = 6;

/// Where in a file each page lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageIndex {
    frames: Vec<(PageNo, u32)>,
}

impl PageIndex {
    /// How many bytes at the end of a file tell where its index lies.
    pub const TAIL_SIZE: usize = 24;

    /// Where the index lies in a file of `file_size` bytes that ends with these.
    pub fn locate(tail: &[u8; Self::TAIL_SIZE], file_size: u64) -> Result<Range<u64>, DecodeError> {
        let size = u64::from_be_bytes(std::array::from_fn(|i| tail[i]));
        let first = (header::SIZE + END_OF_PAGES) as u64;
        let end = file_size.checked_sub(Self::TAIL_SIZE as u64);
        match end.and_then(|end| Some(end.checked_sub(size)?..end)) {
            // An index has at least its own end.
            Some(place) if place.start >= first && size > 0 => Ok(place),
            _ => Err(DecodeError::damaged(end.unwrap_or(0), Damage::IndexSize(size))),
        }
    }

    /// Reads an index that was found at `place`. What it says is as true as the file, whose own checksum is not looked at here.
    pub fn parse(bytes: &[u8], place: &Range<u64>) -> Result<Self, DecodeError> {
        let mut index = Self::default();
        let mut rest = bytes;
        let mut frame = header::SIZE as u64;
        loop {
            let entry =
                || DecodeError::damaged(place.start + (bytes.len() - rest.len()) as u64, Damage::Index { entry: index.frames.len() });
            let mut behind = rest;
            let page = read_number(&mut behind).ok_or_else(entry)?;
            if page == 0 {
                let ends = behind.is_empty() && frame + END_OF_PAGES as u64 == place.start;
                return if ends { Ok(index) } else { Err(entry()) };
            }
            let page = u32::try_from(page).ok().and_then(PageNo::new);
            let page = page.filter(|page| index.frames.last().is_none_or(|(last, _)| last < page)).ok_or_else(entry)?;
            if read_number(&mut behind) != Some(frame) {
                return Err(entry());
            }
            let size = read_number(&mut behind).and_then(|size| u32::try_from(size).ok()).ok_or_else(entry)?;
            frame += u64::from(size);
            rest = behind;
            index.push(page, size);
        }
    }

    /// Each page, in order, and the bytes of the file that hold it.
    pub fn iter(&self) -> impl Iterator<Item = (PageNo, Range<u64>)> + '_ {
        self.frames.iter().scan(header::SIZE as u64, |at, &(page, size)| {
            let frame = *at..*at + u64::from(size);
            *at = frame.end;
            Some((page, frame))
        })
    }

    /// How many pages the file holds.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether the file holds no page.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn push(&mut self, page: PageNo, size: u32) {
        self.frames.push((page, size));
    }

    /// The index as files hold it, entry by entry; its end is the last.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.iter().map(|(page, frame)| Entry::new(&[page.get().into(), frame.start, frame.end - frame.start])).chain([Entry::new(&[0])])
    }
}

/// A few numbers, each in groups of seven bits, the lowest first, with the top bit set where another group follows.
pub(crate) struct Entry {
    bytes: [u8; 30],
    len: usize,
}

impl Entry {
    fn new(numbers: &[u64]) -> Self {
        let mut entry = Self { bytes: [0; 30], len: 0 };
        for &number in numbers {
            let mut rest = number;
            loop {
                let [low, ..] = rest.to_le_bytes();
                rest >>= 7;
                entry.bytes[entry.len] = (low & 0x7f) | if rest > 0 { 0x80 } else { 0 };
                entry.len += 1;
                if rest == 0 {
                    break;
                }
            }
        }
        entry
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The number that begins here; `None` if none does.
fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        let group = u64::from(first & 0x7f);
        number |= group << shift;
        // The tenth group has one bit of room.
        if (group << shift) >> shift != group {
            return None;
        }
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let entry = Entry::new(&[number, 5]);
            let mut rest = entry.bytes();
            assert_eq!((read_number(&mut rest), read_number(&mut rest), rest), (Some(number), Some(5), &[][..]));
        }
    }

    #[test]
    fn a_number_that_does_not_end_or_is_too_large_is_none() {
        for bytes in [&[][..], &[0x80], &[0xff; 9], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert_eq!(read_number(&mut &*bytes), None, "{bytes:?}");
        }
    }
}
