//! Databases and files, as the tests make and read them.

use std::collections::BTreeMap;
use std::io::Read;

use ltx::{
    Checksum, DecodeError, Decoder, EncodeError, Encoder, Header, PageCount, PageNo, PageSize, Position, Summary, Txid, TxidRange,
    UnixMillis,
};

/// Pages by their numbers.
pub(crate) type Pages = BTreeMap<u32, Vec<u8>>;

pub(crate) fn no(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

pub(crate) fn txid(number: u64) -> Txid {
    Txid::new(number).unwrap()
}

pub(crate) fn page_size(bytes: u32) -> PageSize {
    PageSize::new(bytes).unwrap()
}

/// A header with pages of 512 bytes; it begins with nothing.
pub(crate) fn header(min: u64, max: u64, commit: u32) -> Header {
    Header {
        page_size: page_size(512),
        commit: PageCount(commit),
        txids: TxidRange::new(txid(min), txid(max)).unwrap(),
        time: UnixMillis(1_700_000_000_123),
        pre_apply: Some(Checksum::EMPTY),
        node_id: 0xfeed,
    }
}

/// A page of 512 bytes that can be compressed, as `fixtures/make.go` makes it.
pub(crate) fn plain(number: u32) -> Vec<u8> {
    (0..512_u32).map(|i| (number * 31 + i / 16).to_le_bytes()[0]).collect()
}

/// A page that cannot be compressed, as `fixtures/make.go` makes it.
pub(crate) fn noise(number: u32, size: usize) -> Vec<u8> {
    let mut x = u64::from(number);
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        x.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

/// Of a database of these pages.
pub(crate) fn checksum(pages: &Pages) -> Checksum {
    pages.iter().fold(Checksum::EMPTY, |state, (&number, page)| state.with(Checksum::of_page(no(number), page)))
}

pub(crate) fn encode(
    header: Header,
    after: Option<&Position>,
    pages: &Pages,
    post_apply: Option<Checksum>,
) -> Result<(Vec<u8>, Summary), EncodeError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, header, after)?;
    for (&number, page) in pages {
        encoder.page(no(number), page)?;
    }
    let summary = encoder.finish(post_apply)?;
    Ok((file, summary))
}

/// All that a file says.
pub(crate) fn decode(file: impl Read) -> Result<(Summary, Pages), DecodeError> {
    let mut decoder = Decoder::new(file)?;
    let mut pages = Pages::new();
    while let Some((number, page)) = decoder.next_page()? {
        pages.insert(number.get(), page.to_vec());
    }
    Ok((decoder.finish()?, pages))
}

/// A sound file of a whole database of three pages.
pub(crate) fn whole() -> (Vec<u8>, Pages) {
    let pages = Pages::from([(1, plain(1)), (2, noise(2, 512)), (3, plain(3))]);
    let (file, _) = encode(header(1, 5, 3), None, &pages, Some(checksum(&pages))).unwrap();
    (file, pages)
}
