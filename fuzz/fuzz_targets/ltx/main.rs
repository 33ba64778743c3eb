//! Hostile LTX files: whatever the bytes are, reading them ends. What is read without an error is written again as a file that says the
//! same.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use ltx::{Checksum, Damage, DecodeError, Decoder, Encoder, Header, PageIndex, PageNo, Position, Summary, Txid};

type Pages = BTreeMap<PageNo, Vec<u8>>;

fuzz_target!(|bytes: &[u8]| {
    again(bytes);
    // The fuzzer hits neither checksums nor the index by itself.
    if let Some(file) = completed(bytes) {
        again(&file);
    }
});

/// Reads, writes, reads.
fn again(file: &[u8]) {
    let Ok((summary, pages)) = decode(file) else { return };
    assert_eq!(index_alone(file), summary.index);
    let written = encode(&summary.header, &pages, summary.post_apply);
    let (second, second_pages) = decode(&written).expect("what was written is sound");
    assert_eq!((second.header, second.post_apply), (summary.header, summary.post_apply));
    assert!(second_pages == pages, "the pages are others");
}

fn decode(file: &[u8]) -> Result<(Summary, Pages), DecodeError> {
    let mut decoder = Decoder::new(file)?;
    let mut pages = Pages::new();
    while let Some((number, page)) = decoder.next_page()? {
        pages.insert(number, page.to_vec());
    }
    Ok((decoder.finish()?, pages))
}

fn encode(header: &Header, pages: &Pages, post_apply: Option<Checksum>) -> Vec<u8> {
    let after = Txid::new(header.txids.min().get() - 1).map(|txid| Position {
        txid,
        page_size: header.page_size,
        commit: header.commit,
        checksum: header.pre_apply,
    });
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, *header, after.as_ref()).expect("a header that was read can be written");
    for (&number, page) in pages {
        encoder.page(number, page).expect("pages that were read can be written");
    }
    encoder.finish(post_apply).expect("a file that was read can be written");
    file
}

fn index_alone(file: &[u8]) -> PageIndex {
    let tail = file.last_chunk().expect("a sound file has a tail");
    let place = PageIndex::locate(tail, file.len() as u64).expect("a sound file has an index");
    let bytes = &file[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()];
    PageIndex::parse(bytes, &place).expect("the index of a sound file is sound")
}

/// The same header and pages, with an index and checksums that are theirs.
fn completed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = 100;
    let mut index = Vec::new();
    while let Some(&[a, b, c, d, _, 1, e, f, g, h]) = bytes.get(at..at + 10) {
        let size = 10 + usize::try_from(u32::from_be_bytes([e, f, g, h])).ok()?;
        if bytes.len() - at < size {
            break;
        }
        for number in [u32::from_be_bytes([a, b, c, d]) as usize, at, size] {
            varint(number, &mut index);
        }
        at += size;
    }
    index.push(0);
    let mut file = bytes.get(..at)?.to_vec();
    file.extend([0; 6]);
    file.extend(&index);
    file.extend((index.len() as u64).to_be_bytes());
    let trailer = file.len();
    let is_checked = file[4..8] == [0; 4];
    file.extend(if is_checked { Checksum::EMPTY.get() } else { 0 }.to_be_bytes());
    file.extend([0; 8]);
    // Each error says what would have been right.
    for _ in 0..3 {
        let (place, found) = match decode(&file) {
            Err(DecodeError::Damaged { damage: Damage::FileChecksum { found, .. }, .. }) => (trailer + 8, found),
            Err(DecodeError::Damaged { damage: Damage::StateChecksum { found, .. }, .. }) => (trailer, found),
            _ => return Some(file),
        };
        file[place..place + 8].copy_from_slice(&found.get().to_be_bytes());
    }
    Some(file)
}

fn varint(mut number: usize, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}
