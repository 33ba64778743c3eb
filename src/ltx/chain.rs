//! Whether a file continues a chain. Pure.

use crate::checksum::Checksum;
use crate::header::Header;
use crate::number::{PageCount, PageSize};
use crate::txid::Txid;

/// Where a chain stands behind one of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The state that is reached.
    pub txid: Txid,
    /// Of every page; it never changes within a chain.
    pub page_size: PageSize,
    /// The size of the database.
    pub commit: PageCount,
    /// Of the state; unknown behind files without checksums.
    pub checksum: Option<Checksum>,
}

/// Why two files are no neighbours of one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// Something is missing between them, or they overlap.
    #[error("txid {found} does not follow txid {after}")]
    Txid {
        /// Where the chain stood.
        after: Txid,
        /// Where the next file begins.
        found: Txid,
    },
    /// They are of different databases.
    #[error("txid {txid} has pages of {found} bytes, those before it have {expected}")]
    PageSize {
        /// Where the next file begins.
        txid: Txid,
        /// The chain's.
        expected: PageSize,
        /// The next file's.
        found: PageSize,
    },
    /// The next file was made for another state than the one that is there.
    #[error("txid {txid} was made for a database with checksum {found}, but the one before it has {expected}")]
    Checksum {
        /// Where the next file begins.
        txid: Txid,
        /// Of the state that is there.
        expected: Checksum,
        /// Of the state that the next file may be applied to.
        found: Checksum,
    },
}

impl Position {
    /// Where a chain stands behind a file with this header and this checksum at its end.
    pub fn behind(header: &Header, post_apply: Option<Checksum>) -> Self {
        Self { txid: header.txids.max(), page_size: header.page_size, commit: header.commit, checksum: post_apply }
    }

    /// Whether the file with this header may be applied here. Checksums are compared where both are known.
    pub fn admits(&self, next: &Header) -> Result<(), Break> {
        let txid = next.txids.min();
        if self.txid.next() != Some(txid) {
            return Err(Break::Txid { after: self.txid, found: txid });
        }
        if self.page_size != next.page_size {
            return Err(Break::PageSize { txid, expected: self.page_size, found: next.page_size });
        }
        match (self.checksum, next.pre_apply) {
            (Some(expected), Some(found)) if expected != found => Err(Break::Checksum { txid, expected, found }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::UnixMillis;
    use crate::number::PageNo;
    use crate::txid::TxidRange;

    fn txid(number: u64) -> Txid {
        Txid::new(number).unwrap()
    }

    fn state(fill: u8) -> Checksum {
        Checksum::of_page(PageNo::FIRST, &[fill; 512])
    }

    fn position() -> Position {
        Position { txid: txid(4), page_size: PageSize::new(512).unwrap(), commit: PageCount(1), checksum: Some(state(1)) }
    }

    fn next() -> Header {
        Header {
            page_size: PageSize::new(512).unwrap(),
            commit: PageCount(1),
            txids: TxidRange::new(txid(5), txid(7)).unwrap(),
            time: UnixMillis(0),
            pre_apply: Some(state(1)),
            node_id: 0,
        }
    }

    #[test]
    fn the_file_that_was_made_for_this_state_is_admitted() {
        assert_eq!(position().admits(&next()), Ok(()));
        let behind = Position::behind(&next(), Some(state(9)));
        assert_eq!(behind, Position { txid: txid(7), checksum: Some(state(9)), ..position() });
    }

    #[test]
    fn a_gap_and_an_overlap_are_breaks() {
        for number in [1, 4, 6] {
            let found = txid(number);
            let next = Header { txids: TxidRange::only(found), ..next() };
            assert_eq!(position().admits(&next), Err(Break::Txid { after: txid(4), found }));
        }
        let last = Position { txid: txid(u64::MAX), ..position() };
        assert!(last.admits(&next()).is_err());
    }

    #[test]
    fn another_page_size_is_a_break() {
        let found = PageSize::new(1024).unwrap();
        let expected = position().page_size;
        assert_eq!(position().admits(&Header { page_size: found, ..next() }), Err(Break::PageSize { txid: txid(5), expected, found }));
    }

    #[test]
    fn another_state_is_a_break_where_both_are_known() {
        let other = Position { checksum: Some(state(2)), ..position() };
        assert_eq!(other.admits(&next()), Err(Break::Checksum { txid: txid(5), expected: state(2), found: state(1) }));
        assert_eq!(Position { checksum: None, ..position() }.admits(&next()), Ok(()));
        assert_eq!(other.admits(&Header { pre_apply: None, ..next() }), Ok(()));
    }
}
