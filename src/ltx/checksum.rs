//! The checksums of a state and of a file: both CRC-64 by the polynomial of ISO 3309, as Go's `crc64.ISO`.

use std::fmt;
use std::num::{NonZeroI64, NonZeroU64};

use crc_fast::{CrcAlgorithm, Digest};

use crate::number::{PageNo, PageSize};

/// The top bit. It is set in every checksum, so that none is zero and zero can say that there is none.
const FLAG: NonZeroU64 = NonZeroI64::MIN.unsigned_abs();

/// The checksum of a set of pages with their numbers: of a whole database, or of one page of it.
///
/// It is the exclusive or of what each page contributes, so a page is taken out as it was put in, and a commit costs no more than the
/// pages that it changed: [`with`](Self::with) the new page, [`without`](Self::without) the one that stood there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(NonZeroU64);

impl Checksum {
    /// Of a database without pages.
    pub const EMPTY: Self = Self(FLAG);

    /// Of one page. The lock page contributes nothing, whatever a file has in its place.
    pub fn of_page(page: PageNo, bytes: &[u8]) -> Self {
        let size = u32::try_from(bytes.len()).ok().and_then(PageSize::new);
        if size.is_some_and(|size| page.is_lock_page(size)) {
            return Self::EMPTY;
        }
        let mut crc = Crc::new();
        crc.add(&page.get().to_be_bytes());
        crc.add(bytes);
        crc.checksum()
    }

    /// Of this set and those pages, which are not in it.
    #[must_use]
    pub fn with(self, pages: Self) -> Self {
        Self(FLAG | (self.get() ^ pages.get()))
    }

    /// Of this set less those pages, which are in it.
    #[must_use]
    pub fn without(self, pages: Self) -> Self {
        self.with(pages)
    }

    /// As files hold it.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// Read from a file; `None` if no checksum is written like this.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        (bits & FLAG.get() != 0).then_some(Self(FLAG | bits))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

/// The sum over bytes that pass by.
pub(crate) struct Crc(Digest);

impl Crc {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64GoIso))
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn checksum(&self) -> Checksum {
        Checksum(FLAG | self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(number: u32) -> PageNo {
        PageNo::new(number).unwrap()
    }

    #[test]
    fn no_pages_have_the_flag_alone() {
        assert_eq!(Checksum::EMPTY.to_string(), "8000000000000000");
        assert_eq!((Checksum::from_bits(1 << 63), Checksum::from_bits(1)), (Some(Checksum::EMPTY), None));
    }

    #[test]
    fn a_page_counts_with_its_number() {
        let page = [7; 512];
        assert_ne!(Checksum::of_page(no(1), &page), Checksum::of_page(no(2), &page));
    }

    #[test]
    fn pages_are_taken_out_as_they_were_put_in_and_in_any_order() {
        let [a, b, c] = [1, 2, 3].map(|number| Checksum::of_page(no(number), &[u8::try_from(number).unwrap(); 512]));
        assert_eq!(Checksum::EMPTY.with(a).with(b).with(c), Checksum::EMPTY.with(c).with(a).with(b));
        assert_eq!(Checksum::EMPTY.with(a).with(b).without(a), b);
        assert_eq!(a.without(a), Checksum::EMPTY);
    }

    #[test]
    fn the_lock_page_does_not_count() {
        for (size, lock) in [(65_536, 16_385), (4096, 262_145), (512, 2_097_153)] {
            let page = vec![1; size];
            assert_eq!(Checksum::of_page(no(lock), &page), Checksum::EMPTY);
            assert_ne!(Checksum::of_page(no(lock + 1), &page), Checksum::EMPTY);
        }
    }
}
