//! Files that Go's library wrote: `fixtures/make.go` says how, with the same pages.

use std::io::Read;

use ltx::{Checksum, Header, PageCount, PageIndex};

use crate::pages::{Pages, checksum, decode, header, noise, page_size, plain};

const WHOLE: &[u8] = include_bytes!("fixtures/whole.ltx");
const DELTA: &[u8] = include_bytes!("fixtures/delta.ltx");
const EMPTY: &[u8] = include_bytes!("fixtures/empty.ltx");
pub(crate) const UNCHECKED_WHOLE: &[u8] = include_bytes!("fixtures/unchecked-whole.ltx");
pub(crate) const UNCHECKED_DELTA: &[u8] = include_bytes!("fixtures/unchecked-delta.ltx");
const NOISE: &[u8] = include_bytes!("fixtures/noise.ltx");
pub(crate) const FRAMES: &[u8] = include_bytes!("fixtures/frames.ltx");

#[track_caller]
fn says(file: &[u8], header: Header, post_apply: Option<Checksum>, pages: &Pages) {
    let (summary, read) = decode(file).unwrap();
    assert_eq!((summary.header, summary.post_apply, summary.size), (header, post_apply, file.len() as u64));
    assert!(read == *pages, "the pages are others");
    assert_eq!(index_alone(file), summary.index);
}

/// The index, read as somebody reads it who has only the end of the file.
fn index_alone(file: &[u8]) -> PageIndex {
    let tail = file.last_chunk().unwrap();
    let place = PageIndex::locate(tail, file.len() as u64).unwrap();
    let bytes = &file[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()];
    PageIndex::parse(bytes, &place).unwrap()
}

fn before_the_delta() -> Pages {
    Pages::from([(1, plain(1)), (2, plain(2)), (3, plain(3))])
}

fn behind_the_delta() -> Pages {
    Pages::from([(1, noise(1, 512)), (2, plain(2)), (3, noise(3, 512)), (4, plain(4))])
}

fn whole_pages() -> Pages {
    Pages::from([(1, plain(1)), (2, noise(2, 512)), (3, plain(3))])
}

#[test]
fn a_whole_database_is_read() {
    says(WHOLE, header(1, 5, 3), Some(checksum(&whole_pages())), &whole_pages());
}

#[test]
fn a_page_that_cannot_be_compressed_is_read() {
    let pages = Pages::from([(1, noise(1, 4096))]);
    says(NOISE, Header { page_size: page_size(4096), ..header(1, 1, 1) }, Some(checksum(&pages)), &pages);
}

#[test]
fn a_delta_is_read_and_its_checksums_are_ours() {
    let header = Header { pre_apply: Some(checksum(&before_the_delta())), ..header(6, 6, 4) };
    let mut changed = behind_the_delta();
    changed.remove(&2);
    says(DELTA, header, Some(checksum(&behind_the_delta())), &changed);
}

#[test]
fn a_delta_that_leaves_no_page_is_read() {
    let header = Header { pre_apply: Some(checksum(&behind_the_delta())), ..header(7, 7, 0) };
    says(EMPTY, header, Some(Checksum::EMPTY), &Pages::new());
}

#[test]
fn files_without_checksums_of_states_are_read_and_say_so() {
    let unchecked = |header| Header { pre_apply: None, ..header };
    says(UNCHECKED_WHOLE, unchecked(header(1, 1, 2)), None, &Pages::from([(1, plain(1)), (2, plain(2))]));
    // Its header has a place in a write-ahead log, which nobody here asks for.
    says(UNCHECKED_DELTA, unchecked(header(2, 3, 9)), None, &Pages::from([(1, plain(1)), (9, plain(9))]));
}

#[test]
fn pages_as_older_versions_wrote_them_are_read() {
    says(FRAMES, header(1, 5, 3), Some(checksum(&whole_pages())), &whole_pages());
}

/// Hands out as little as a reader may, and is interrupted in between.
struct Trickle<'a>(&'a [u8], bool);

impl Read for Trickle<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let some = bytes.len().min(1);
        self.0.read(&mut bytes[..some])
    }
}

#[test]
fn it_does_not_matter_how_the_bytes_come() {
    for file in [WHOLE, DELTA, EMPTY, UNCHECKED_WHOLE, UNCHECKED_DELTA, NOISE, FRAMES] {
        assert!(decode(Trickle(file, false)).unwrap() == decode(file).unwrap());
    }
}

#[test]
fn the_header_says_how_many_pages_there_are() {
    assert_eq!(decode(EMPTY).unwrap().0.position().commit, PageCount(0));
}
