//! What is written is read, and chains lead to the states that they say.

use ltx::{Checksum, Header, PageCount, Position, TxidRange, UnixMillis};
use proptest::prelude::*;

use crate::pages::{Pages, checksum, decode, encode, header, no, noise, page_size, plain, txid};

/// One commit: some pages with their fill, and what the size becomes.
#[derive(Debug, Clone)]
struct Commit {
    changes: Vec<(u32, u8)>,
    size: u32,
}

fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let change = (1..=20_u32, any::<u8>());
    let commit = (prop::collection::vec(change, 0..8), 1..=20_u32);
    prop::collection::vec(commit.prop_map(|(changes, size)| Commit { changes, size }), 1..12)
}

fn content(number: u32, fill: u8, size: usize) -> Vec<u8> {
    match fill % 3 {
        0 => vec![fill; size],
        1 => noise(u32::from(fill) + number, size),
        _ => (0..size).map(|i| fill ^ (i / 9).to_le_bytes()[0]).collect(),
    }
}

proptest! {
    #[test]
    fn a_chain_leads_to_the_states_that_it_says(commits in commits(), size in prop::sample::select(vec![512, 1024, 4096, 65_536])) {
        let bytes = usize::try_from(size).unwrap();
        let mut state = Pages::new();
        let mut restored = Pages::new();
        let mut sum = Checksum::EMPTY;
        let mut after: Option<Position> = None;
        for (number, commit) in (1..).zip(&commits) {
            let mut delta: Pages = commit.changes.iter().filter(|(page, _)| *page <= commit.size).map(|&(page, fill)| (page, content(page, fill, bytes))).collect();
            let old = u32::try_from(state.len()).unwrap();
            for page in old + 1..=commit.size {
                delta.entry(page).or_insert_with(|| vec![0; bytes]);
            }
            let pre_apply = Some(sum);
            for (&page, new) in &delta {
                if let Some(old) = state.insert(page, new.clone()) {
                    sum = sum.without(Checksum::of_page(no(page), &old));
                }
                sum = sum.with(Checksum::of_page(no(page), new));
            }
            for (page, gone) in state.split_off(&(commit.size + 1)) {
                sum = sum.without(Checksum::of_page(no(page), &gone));
            }
            prop_assert_eq!(sum, checksum(&state));

            let header = Header {
                page_size: page_size(size),
                commit: PageCount(commit.size),
                txids: TxidRange::only(txid(number)),
                time: UnixMillis(-5),
                pre_apply,
                node_id: u64::MAX,
            };
            let (file, written) = encode(header, after.as_ref(), &delta, Some(sum)).unwrap();
            let (read, pages) = decode(file.as_slice()).unwrap();
            prop_assert_eq!(&written, &read);
            prop_assert_eq!(read.size, file.len() as u64);
            prop_assert!(pages == delta);
            if let Some(after) = after {
                after.admits(&read.header).unwrap();
            }
            after = Some(read.position());
            restored.extend(pages);
            restored.split_off(&(commit.size + 1));
        }
        prop_assert!(restored == state);

        let txids = TxidRange::new(txid(1), after.unwrap().txid).unwrap();
        let whole = Header { page_size: page_size(size), commit: PageCount(u32::try_from(state.len()).unwrap()), txids, ..header(1, 1, 1) };
        let (file, _) = encode(whole, None, &state, Some(sum)).unwrap();
        prop_assert!(decode(file.as_slice()).unwrap().1 == state);
        let unchecked = Header { pre_apply: None, ..whole };
        let (file, _) = encode(unchecked, None, &state, None).unwrap();
        let (summary, pages) = decode(file.as_slice()).unwrap();
        prop_assert!(pages == state && summary.header == unchecked && summary.post_apply.is_none());
    }

    #[test]
    fn whatever_the_bytes_are_reading_them_ends(bytes in prop::collection::vec(any::<u8>(), 0..400), sound in any::<bool>()) {
        let mut file = if sound { crate::raw::Raw::delta().header } else { Vec::new() };
        file.extend(&bytes);
        let _ = decode(file.as_slice());
    }
}

#[test]
fn noise_of_each_page_size_is_read_again() {
    for bits in 9..=16 {
        let size = 1_u32 << bits;
        let pages = Pages::from([(1, noise(1, size.try_into().unwrap())), (2, vec![0; size.try_into().unwrap()])]);
        let header = Header { page_size: page_size(size), ..header(1, 1, 2) };
        let (file, _) = encode(header, None, &pages, Some(checksum(&pages))).unwrap();
        assert!(decode(file.as_slice()).unwrap().1 == pages);
    }
}

#[test]
fn a_database_without_pages_is_a_file() {
    let (file, _) = encode(header(1, 1, 0), None, &Pages::new(), Some(Checksum::EMPTY)).unwrap();
    assert_eq!(decode(file.as_slice()).unwrap().0.post_apply, Some(Checksum::EMPTY));
}

/// Such as a fence: page 1 again.
#[test]
fn a_delta_that_changes_nothing_leads_to_the_same_state() {
    let state = Pages::from([(1, plain(1)), (2, plain(2))]);
    let sum = Some(checksum(&state));
    let after = Position { txid: txid(6), page_size: page_size(512), commit: PageCount(2), checksum: sum };
    let fence = Header { pre_apply: sum, ..header(7, 7, 2) };
    let (file, written) = encode(fence, Some(&after), &Pages::from([(1, plain(1))]), sum).unwrap();
    assert_eq!(decode(file.as_slice()).unwrap().0.position(), written.position());
    assert_eq!(written.position(), Position { txid: txid(7), ..after });
}

/// What a delta costs does not depend on the database that it belongs to.
#[test]
fn a_delta_of_one_page_is_as_large_as_that_page() {
    let sizes = [1, 1 << 20, u32::MAX].map(|commit| {
        let after = Position { txid: txid(6), page_size: page_size(512), commit: PageCount(commit), checksum: Some(Checksum::EMPTY) };
        encode(header(7, 7, commit), Some(&after), &Pages::from([(1, plain(1))]), Some(Checksum::EMPTY)).unwrap().0.len()
    });
    assert!(sizes[0] == sizes[1] && sizes[1] == sizes[2] && sizes[0] < 512, "{sizes:?}");
}
