//! LTX files: what changed in a SQLite database from one transaction to another, or a whole database.
//!
//! Owns: the bytes of a file in the variant that Litestream 0.5.18 reads and writes (its library `superfly/ltx` 0.5.2), the names of files,
//! the checksum of a state, whether two files are neighbours. Does not own: where files lie, when they are made, what SQLite's pages mean.
//! No I/O but what `Read` and `Write` do.
//! Invariants: what [`Encoder`] finishes, [`Decoder`] finishes with the same header, pages and checksums, and so does Go's library. A file
//! of which a byte was changed is refused, or says the same.
//!
//! ```text
//! [Header] ─┐                              ┌─▶ Summary, and the bytes
//!           ├─▶ Encoder: pages, in order ──┤
//! Position ─┘                              └─▶ Position, for the next file
//!
//! bytes ──▶ Decoder: Header, pages ──▶ Summary        Position::admits(next Header)
//! ```
//!
//! # The format
//! Integers have their most significant byte first.
//!
//! | part | bytes | content |
//! | --- | --- | --- |
//! | header | 100 | `LTX1`; u32 flags (2: no checksums of states); u32 page size; u32 pages of the database afterwards; u64 first and last txid; i64 time in ms; u64 checksum of the state before; i64 offset and size and 2 × u32 salt in a write-ahead log; u64 node id; 20 zeros |
//! | per page | 10 + n | u32 page number; u16 flags (1: a size follows, then one LZ4 block); u32 n; the block |
//! | end of pages | 6 | zeros |
//! | index | varies | per page three varints: page number, where its frame begins, how long it is; a zero; u64 bytes of all that |
//! | trailer | 16 | u64 checksum of the state afterwards; u64 checksum of the file |
//!
//! - A page without flags is an LZ4 frame with no size before it. Older versions of Litestream 0.5 wrote them; they are read here and in
//!   0.5.18, and written by neither.
//! - A checksum is CRC-64 (ISO 3309) with the top bit set. A page's is over its number (u32) and its bytes; a state's is the exclusive or
//!   of those of its pages; the file's is over all bytes before it, where each page counts as it is before compression.
//! - Pages ascend. The lock page is never among them. A file that begins with txid 1 holds a whole database: all its pages, and a zero in
//!   place of the checksum of the state before.
//! - A file without checksums of states has zeros in both their places. Litestream writes all of its files like that.
//! - Nothing in a file tells the version of the format from versions before it.

mod chain;
mod checksum;
mod decode;
mod encode;
mod header;
mod index;
mod number;
mod order;
mod txid;

pub use chain::{Break, Position};
pub use checksum::Checksum;
pub use decode::{Damage, DecodeError, Decoder};
pub use encode::{EncodeError, Encoder};
pub use header::{Header, HeaderRefusal, UnixMillis};
pub use index::PageIndex;
pub use number::{PageCount, PageNo, PageSize};
pub use order::Misplaced;
pub use txid::{InvalidName, InvalidTxid, Txid, TxidRange};

/// A whole file, as it was written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What it says of itself.
    pub header: Header,
    /// The checksum of the state that it leads to; `None` in files that bear no checksums of states.
    pub post_apply: Option<Checksum>,
    /// Where each page lies.
    pub index: PageIndex,
    /// In bytes.
    pub size: u64,
}

impl Summary {
    /// Where a chain stands behind it.
    pub fn position(&self) -> Position {
        Position::behind(&self.header, self.post_apply)
    }
}
