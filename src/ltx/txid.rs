//! Transaction ids, and the names of the files that hold them.
//!
//! Invariant: a name is read only if it is exactly the one that would be written, since two names for one range would be two slots.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// The number of a state of the database, from 1. Shown and read as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Txid(NonZeroU64);

impl Txid {
    /// The first of a database. A file that begins with it holds all pages.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The last that can be written.
    pub const LAST: Self = Self(NonZeroU64::MAX);

    /// Zero is none.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// As a number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The one after it; `None` after the last that can be written.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is no [`Txid`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no txid: sixteen digits of 0-9 and a-f, and not all of them zero")]
pub struct InvalidTxid(String);

impl FromStr for Txid {
    type Err = InvalidTxid;

    fn from_str(text: &str) -> Result<Self, InvalidTxid> {
        let exact = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        // `from_str_radix` alone would take capitals, a sign and any width.
        let number = exact.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.and_then(Self::new).ok_or_else(|| InvalidTxid(text.to_owned()))
    }
}

/// The txids that a file covers, both ends among them. Shown as the name of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TxidRange {
    min: Txid,
    max: Txid,
}

impl TxidRange {
    /// `None` if they are the wrong way round.
    pub fn new(min: Txid, max: Txid) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// Only this one: what a delta covers.
    pub fn only(txid: Txid) -> Self {
        Self { min: txid, max: txid }
    }

    /// The first.
    pub fn min(self) -> Txid {
        self.min
    }

    /// The last: the state that is reached.
    pub fn max(self) -> Txid {
        self.max
    }

    /// Whether a file that covers these holds a whole database, since nothing came before it.
    pub fn is_whole(self) -> bool {
        self.min == Txid::FIRST
    }
}

impl fmt::Display for TxidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.ltx", self.min, self.max)
    }
}

/// A text that is not the name of an LTX file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an LTX file: <first txid>-<last txid>.ltx, both of sixteen hex digits and in order")]
pub struct InvalidName(String);

impl FromStr for TxidRange {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let range = || {
            let (min, max) = name.strip_suffix(".ltx")?.split_once('-')?;
            Self::new(min.parse().ok()?, max.parse().ok()?)
        };
        range().ok_or_else(|| InvalidName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txid(number: u64) -> Txid {
        Txid::new(number).unwrap()
    }

    #[test]
    fn a_txid_is_sixteen_digits_both_ways() {
        for (number, text) in [(1, "0000000000000001"), (0xab_cdef, "0000000000abcdef"), (u64::MAX, "ffffffffffffffff")] {
            assert_eq!(txid(number).to_string(), text);
            assert_eq!(text.parse(), Ok(txid(number)));
        }
        assert_eq!((txid(9).next(), txid(u64::MAX).next()), (Some(txid(10)), None));
    }

    #[test]
    fn a_txid_that_is_written_otherwise_is_refused() {
        for text in [
            "",
            "1",
            "000000000000001",
            "00000000000000001",
            "0000000000000000",
            "000000000000000A",
            "+000000000000001",
            "000000000000000g",
            " 000000000000001",
            "００００００００００００００００",
        ] {
            assert_eq!(text.parse::<Txid>(), Err(InvalidTxid(text.to_owned())));
        }
    }

    #[test]
    fn a_range_is_named_both_ways() {
        let range = TxidRange::new(txid(1), txid(0x1f)).unwrap();
        assert_eq!(range.to_string(), "0000000000000001-000000000000001f.ltx");
        assert_eq!(range.to_string().parse(), Ok(range));
        assert!(range.is_whole() && !TxidRange::only(txid(2)).is_whole());
    }

    #[test]
    fn a_name_that_is_written_otherwise_is_refused() {
        assert_eq!(TxidRange::new(txid(2), txid(1)), None);
        for name in [
            "",
            "0000000000000002-0000000000000001.ltx",
            "0000000000000000-0000000000000001.ltx",
            "0000000000000001-0000000000000001",
            "0000000000000001-0000000000000001.LTX",
            "0000000000000001-0000000000000001.ltx.tmp",
            "0000000000000001-0000000000000001.ltx.ltx",
            "0000000000000001_0000000000000001.ltx",
            "0000000000000001--000000000000001.ltx",
            "000000000000000A-000000000000000B.ltx",
            "1-1.ltx",
            "0000/0000000000000001-0000000000000001.ltx",
        ] {
            assert_eq!(name.parse::<TxidRange>(), Err(InvalidName(name.to_owned())));
        }
    }
}
