//! The first hundred bytes of a file: which pages it speaks of, and between which states it leads.
//!
//! Owns: what a header may say. Both directions ask [`Header::refusal`], so what is written can be read.

use crate::checksum::Checksum;
use crate::number::{PageCount, PageSize};
use crate::txid::{Txid, TxidRange};

/// Bytes of a header.
pub(crate) const SIZE: usize = 100;
const MAGIC: [u8; 4] = *b"LTX1";
/// The one flag that there is: the file bears no checksums of states.
const WITHOUT_CHECKSUMS: u32 = 1 << 1;

/// Milliseconds since 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub i64);

/// What a file says of itself before its pages.
///
/// The places for a position in a write-ahead log are not here: buckethead has none, writes zeros and does not look at what others wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Of every page.
    pub page_size: PageSize,
    /// The size of the database once this file is applied.
    pub commit: PageCount,
    /// The states that it leads through.
    pub txids: TxidRange,
    /// When the last of them was made.
    pub time: UnixMillis,
    /// The checksum of the state to which this file may be applied; [`Checksum::EMPTY`] for a whole database, which begins with nothing.
    /// `None` in files that bear no checksums of states, such as Litestream's own.
    pub pre_apply: Option<Checksum>,
    /// Whatever the writer tells others by it. buckethead puts its epoch here; Litestream leaves it zero, and drops it at a compaction.
    pub node_id: u64,
}

/// What no header may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefusal {
    /// Another kind of file.
    #[error("it begins with {0:02x?}, not with \"LTX1\"")]
    Magic([u8; 4]),
    /// Of a version that this build does not know.
    #[error("its flags are {0:#010x}, of which this build does not know all")]
    Flags(u32),
    /// Not SQLite's.
    #[error("{0} is no page size")]
    PageSize(u32),
    /// Zero, or the wrong way round.
    #[error("{min:016x} to {max:016x} is no range of txids")]
    Txids {
        /// The first.
        min: u64,
        /// The last.
        max: u64,
    },
    /// A file with checksums must say what it may be applied to, one without must not, a whole database begins with nothing.
    #[error("{0:016x} cannot be the checksum of the state before it")]
    PreApply(u64),
    /// Something stands where nothing is defined.
    #[error("the reserved end of the header is not zero")]
    Reserved,
}

impl Header {
    /// What is wrong in a header that was put together from sound parts.
    pub(crate) fn refusal(&self) -> Option<HeaderRefusal> {
        match self.pre_apply {
            Some(checksum) if self.txids.is_whole() && checksum != Checksum::EMPTY => Some(HeaderRefusal::PreApply(checksum.get())),
            _ => None,
        }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let flags = if self.pre_apply.is_some() { 0 } else { WITHOUT_CHECKSUMS };
        // A whole database says zero: in the file the checksum of nothing is not written.
        let pre_apply = self.pre_apply.filter(|_| !self.txids.is_whole()).map_or(0, Checksum::get);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(self.page_size.get().to_be_bytes());
        bytes.extend(self.commit.0.to_be_bytes());
        bytes.extend(self.txids.min().get().to_be_bytes());
        bytes.extend(self.txids.max().get().to_be_bytes());
        bytes.extend(self.time.0.to_be_bytes());
        bytes.extend(pre_apply.to_be_bytes());
        bytes.extend([0; 24]); // The position in a write-ahead log.
        bytes.extend(self.node_id.to_be_bytes());
        bytes.resize(SIZE, 0);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8; SIZE]) -> Result<Self, HeaderRefusal> {
        let u32_at = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));

        let magic = std::array::from_fn(|i| bytes[i]);
        if magic != MAGIC {
            return Err(HeaderRefusal::Magic(magic));
        }
        let flags = u32_at(4);
        if flags & !WITHOUT_CHECKSUMS != 0 {
            return Err(HeaderRefusal::Flags(flags));
        }
        let page_size = PageSize::new(u32_at(8)).ok_or(HeaderRefusal::PageSize(u32_at(8)))?;
        let (min, max) = (u64_at(16), u64_at(24));
        let range = Txid::new(min).zip(Txid::new(max)).and_then(|(min, max)| TxidRange::new(min, max));
        let txids = range.ok_or(HeaderRefusal::Txids { min, max })?;
        let pre_apply = match (u64_at(40), flags & WITHOUT_CHECKSUMS == 0, txids.is_whole()) {
            (0, true, true) => Some(Checksum::EMPTY),
            (0, false, _) => None,
            (bits, true, false) => Some(Checksum::from_bits(bits).ok_or(HeaderRefusal::PreApply(bits))?),
            (bits, _, _) => return Err(HeaderRefusal::PreApply(bits)),
        };
        if bytes[80..].iter().any(|&byte| byte != 0) {
            return Err(HeaderRefusal::Reserved);
        }
        let time = UnixMillis(u64_at(32).cast_signed());
        Ok(Self { page_size, commit: PageCount(u32_at(12)), txids, time, pre_apply, node_id: u64_at(72) })
    }
}
