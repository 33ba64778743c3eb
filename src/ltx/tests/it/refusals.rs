//! What is wrong is refused, by name: in a file that is read, and before it is written.

use std::io::{self, Read, Write as _};

use ltx::{
    Break, Checksum, Damage, DecodeError, Decoder, EncodeError, Encoder, Header, HeaderRefusal, Misplaced, PageCount, PageIndex, Position,
};
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};

use crate::pages::{Pages, checksum, decode, encode, header, no, noise, page_size, plain, txid, whole};
use crate::raw::{Frame, Raw};

/// Where the page block of a [`Raw`] begins.
const PAGES: u64 = 100;

#[track_caller]
fn damage(raw: &Raw) -> (u64, Damage) {
    match decode(raw.build().as_slice()) {
        Err(DecodeError::Damaged { at, damage }) => (at, damage),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused_header(raw: Raw, at: usize, bytes: &[u8]) -> HeaderRefusal {
    match damage(&raw.with_header(at, bytes)) {
        (0, Damage::Header(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_put_together_by_hand_are_sound() {
    decode(Raw::whole().build().as_slice()).unwrap();
    decode(Raw::delta().build().as_slice()).unwrap();
}

#[test]
fn a_header_of_something_else_is_refused() {
    assert_eq!(refused_header(Raw::whole(), 0, b"LTX2"), HeaderRefusal::Magic(*b"LTX2"));
    assert_eq!(refused_header(Raw::whole(), 4, &5_u32.to_be_bytes()), HeaderRefusal::Flags(5));
    for size in [0, 1, 256, 513, 131_072, u32::MAX] {
        assert_eq!(refused_header(Raw::whole(), 8, &size.to_be_bytes()), HeaderRefusal::PageSize(size));
    }
    assert_eq!(refused_header(Raw::whole(), 99, &[1]), HeaderRefusal::Reserved);
}

#[test]
fn a_range_of_txids_that_is_none_is_refused() {
    assert_eq!(refused_header(Raw::delta(), 16, &8_u64.to_be_bytes()), HeaderRefusal::Txids { min: 8, max: 7 });
    assert_eq!(refused_header(Raw::delta(), 16, &0_u64.to_be_bytes()), HeaderRefusal::Txids { min: 0, max: 7 });
    assert_eq!(refused_header(Raw::delta(), 24, &0_u64.to_be_bytes()), HeaderRefusal::Txids { min: 7, max: 0 });
}

#[test]
fn a_checksum_before_the_file_stands_just_where_one_is_known() {
    let (flag, other) = (1_u64 << 63, 1_u64);
    assert_eq!(refused_header(Raw::whole(), 40, &flag.to_be_bytes()), HeaderRefusal::PreApply(flag));
    assert_eq!(refused_header(Raw::delta(), 40, &0_u64.to_be_bytes()), HeaderRefusal::PreApply(0));
    assert_eq!(refused_header(Raw::delta(), 40, &other.to_be_bytes()), HeaderRefusal::PreApply(other));
    let unchecked = 2_u32.to_be_bytes();
    assert_eq!(refused_header(Raw::delta(), 4, &unchecked), HeaderRefusal::PreApply(flag));
}

#[test]
fn a_checksum_behind_the_file_stands_just_where_one_is_known() {
    for bits in [0, 5] {
        let raw = Raw { post_apply: bits, ..Raw::delta() };
        assert_eq!(damage(&raw), (raw.build().len() as u64 - 16, Damage::PostApply(bits)));
    }
    let unchecked = Raw::whole().with_header(4, &2_u32.to_be_bytes());
    assert_eq!(damage(&unchecked).1, Damage::PostApply(unchecked.post_apply));
    decode(Raw { post_apply: 0, ..unchecked }.build().as_slice()).unwrap();
}

#[test]
fn a_state_that_the_pages_do_not_make_is_refused() {
    let right = Raw::whole().post_apply;
    let (_, damage) = damage(&Raw { post_apply: right ^ 1, ..Raw::whole() });
    assert!(matches!(damage, Damage::StateChecksum { expected, found } if expected.get() == right ^ 1 && found.get() == right));
    // A delta may lead to any state but that of pages which are not there.
    let mut raw = Raw::new((7, 7), 0, 1 << 63, &Pages::new());
    decode(raw.build().as_slice()).unwrap();
    raw.post_apply = right;
    assert!(matches!(self::damage(&raw).1, Damage::StateChecksum { found: Checksum::EMPTY, .. }));
}

#[test]
fn flags_of_a_page_that_are_not_known_are_refused() {
    for flags in [2, 3, 0x8001] {
        let mut raw = Raw::delta();
        raw.frames[0].flags = flags;
        assert_eq!(damage(&raw), (PAGES, Damage::PageFlags(flags)));
    }
    let end = Raw { end: [0, 0, 0, 0, 0, 1], frames: Vec::new(), ..Raw::delta() };
    assert_eq!(damage(&end), (PAGES, Damage::PageFlags(1)));
}

#[test]
fn pages_that_do_not_ascend_are_refused() {
    let mut raw = Raw::delta();
    let second = raw.places()[1][1];
    raw.frames[1].number = 2;
    assert_eq!(damage(&raw), (second, Damage::Page(Misplaced::Order { page: no(2), last: 2 })));
}

#[test]
fn pages_above_the_end_are_refused() {
    let mut raw = Raw::delta();
    raw.frames[1].number = 10;
    assert_eq!(damage(&raw).1, Damage::Page(Misplaced::Beyond { page: no(10), commit: PageCount(9) }));
}

#[test]
fn the_lock_page_is_refused() {
    const LOCK: u32 = 2_097_153;
    let raw = Raw::new((7, 7), LOCK + 1, 1 << 63, &Pages::from([(LOCK, plain(1))]));
    assert_eq!(damage(&raw), (PAGES, Damage::Page(Misplaced::Lock { page: no(LOCK) })));
}

#[test]
fn a_whole_database_with_a_hole_is_refused() {
    for missing in 1..=3 {
        let mut raw = Raw::whole();
        raw.frames.remove(missing - 1);
        let page = no(u32::try_from(missing).unwrap());
        assert_eq!(damage(&raw).1, Damage::Page(Misplaced::Missing { page }));
    }
}

#[test]
fn a_block_that_no_page_takes_is_refused_before_there_is_memory_for_it() {
    for size in [512 + 512 / 255 + 17, 1 << 20, u32::MAX] {
        let mut raw = Raw::delta();
        raw.frames[0].size = size;
        assert_eq!(damage(&raw), (PAGES + 6, Damage::BlockSize { page: no(2), size }));
    }
}

#[test]
fn a_block_of_less_or_more_than_a_page_or_of_nothing_is_refused() {
    for block in [lz4_flex::block::compress(&[7; 511]), lz4_flex::block::compress(&[7; 513]), vec![0xff; 20], vec![0x10], vec![]] {
        let mut raw = Raw::delta();
        raw.frames[0] = raw.frames[0].clone().with_block(block);
        assert_eq!(damage(&raw), (PAGES + 6, Damage::Compression { page: no(2) }));
    }
}

#[test]
fn a_frame_of_another_kind_is_refused() {
    let refused = |frame: &[u8]| {
        let file = [Raw::delta().header.as_slice(), &[0, 0, 0, 2, 0, 0], frame, &[0; 1000]].concat();
        let refused = decode(file.as_slice());
        assert!(matches!(refused, Err(DecodeError::Damaged { at: 106, damage: Damage::Compression { .. } })), "{refused:?}");
    };
    // A sound one whose blocks could have 4 MiB, though this one has a page.
    let mut larger = FrameEncoder::with_frame_info(FrameInfo::new().block_size(BlockSize::Max4MB), Vec::new());
    larger.write_all(&plain(2)).unwrap();
    refused(&larger.finish().unwrap());
    // Another magic number, and a checksum of the frame's head that is wrong.
    refused(&[0x02, 0x21, 0x4c, 0x18, 0x64, 0x40]);
    refused(&[0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0x00]);
}

#[test]
fn a_frame_of_less_or_more_than_a_page_is_refused() {
    for length in [511, 513] {
        let mut frame = FrameEncoder::with_frame_info(FrameInfo::new().block_size(BlockSize::Max64KB), Vec::new());
        frame.write_all(&vec![7; length]).unwrap();
        let file = [Raw::delta().header.as_slice(), &[0, 0, 0, 2, 0, 0], &frame.finish().unwrap(), &[0; 1000]].concat();
        let refused = decode(file.as_slice());
        assert!(matches!(refused, Err(DecodeError::Damaged { at: 106, damage: Damage::Compression { .. } })), "{refused:?}");
    }
}

#[test]
fn an_index_of_other_pages_is_refused() {
    let raw = Raw::delta();
    let places = raw.places();
    let begin = PAGES + places.iter().map(|place| place[2]).sum::<u64>() + 6;
    for (entry, number) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
        let mut index = places.clone();
        index[entry][number] += 1;
        let (at, damage) = damage(&Raw { index: Some(index), ..raw.clone() });
        assert_eq!(damage, Damage::Index { entry });
        assert!(at >= begin);
    }
    let shorter = Raw { index: Some(places[..1].to_vec()), ..raw.clone() };
    assert_eq!(damage(&shorter).1, Damage::Index { entry: 1 });
    let longer = Raw { index: Some(places.iter().copied().chain([[5, 300, 20]]).collect()), ..raw };
    assert_eq!(damage(&longer).1, Damage::Index { entry: 2 });
}

#[test]
fn an_index_of_another_size_is_refused() {
    for size in [0, 1, u64::MAX] {
        assert_eq!(damage(&Raw { index_size: Some(size), ..Raw::delta() }).1, Damage::IndexSize(size));
    }
}

#[test]
fn another_checksum_of_the_file_is_refused() {
    for error in [1, 1 << 40, 1 << 63] {
        let raw = Raw { error, ..Raw::delta() };
        let (at, damage) = damage(&raw);
        assert!(matches!(damage, Damage::FileChecksum { expected, found } if expected == found.get() ^ error));
        assert_eq!(at, raw.build().len() as u64 - 8);
    }
}

#[test]
fn what_stands_behind_the_end_is_refused() {
    let sound = Raw::delta().build().len() as u64;
    assert_eq!(damage(&Raw { behind: vec![0], ..Raw::delta() }), (sound, Damage::Behind));
}

#[test]
fn nothing_is_read_behind_a_refusal() {
    let mut raw = Raw::delta();
    raw.frames[0].flags = 2;
    let file = raw.build();
    let mut decoder = Decoder::new(file.as_slice()).unwrap();
    decoder.next_page().unwrap_err();
    assert!(matches!(decoder.next_page(), Err(DecodeError::Damaged { damage: Damage::Refused, .. })));
    assert!(matches!(decoder.finish(), Err(DecodeError::Damaged { damage: Damage::Refused, .. })));
}

#[test]
fn the_end_may_be_asked_for_again() {
    let (file, _) = whole();
    let mut decoder = Decoder::new(file.as_slice()).unwrap();
    while decoder.next_page().unwrap().is_some() {}
    assert!(decoder.next_page().unwrap().is_none());
    decoder.finish().unwrap();
}

/// Fails behind some bytes.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { self.0.read(bytes) }
    }
}

#[test]
fn a_reader_that_fails_says_nothing_about_the_file() {
    for file in [whole().0, crate::fixtures::FRAMES.to_vec()] {
        for end in 0..=file.len() {
            match decode(Failing(&file[..end])) {
                Err(DecodeError::Read { at, source }) => assert_eq!((at, source.kind()), (end as u64, io::ErrorKind::UnexpectedEof)),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn located(index: &[u8], index_size: u64, file_size: u64) -> Result<PageIndex, DecodeError> {
    let mut tail = [0; 24];
    tail[..8].copy_from_slice(&index_size.to_be_bytes());
    PageIndex::parse(index, &PageIndex::locate(&tail, file_size)?)
}

#[test]
fn an_index_by_itself_is_checked_as_far_as_it_can_be() {
    // Two frames, of 20 and 30 bytes.
    let sound = [2, 100, 20, 4, 120, 30, 0];
    let file_size = 100 + 50 + 6 + 7 + 24;
    assert_eq!(located(&sound, 7, file_size).unwrap().len(), 2);
    for (at, byte) in [(0, 0), (0, 4), (1, 99), (2, 21), (3, 2), (4, 121), (5, 31), (5, 0x9e), (6, 1)] {
        let mut index = sound;
        index[at] = byte;
        let refused = located(&index, 7, file_size);
        assert!(matches!(refused, Err(DecodeError::Damaged { damage: Damage::Index { .. }, .. })), "{at}: {refused:?}");
    }
    located(&[0, 0, 0, 0, 0, 0, 0], 7, file_size).unwrap_err();
    located(&sound[..6], 7, file_size).unwrap_err();
    located(&[], 7, file_size).unwrap_err();
    // Something behind its end.
    located(&[2, 100, 20, 0, 0], 5, 100 + 20 + 6 + 5 + 24).unwrap_err();
    located(&[2, 100, 20, 0], 4, 100 + 20 + 6 + 4 + 24).unwrap();
    // A page that no database has.
    located(&[0xff, 0xff, 0xff, 0xff, 0x7f, 100, 20, 0], 8, 100 + 20 + 6 + 8 + 24).unwrap_err();
    for (index_size, file_size) in [(0, file_size), (58, file_size), (u64::MAX, file_size), (7, 0), (7, 23), (7, 136)] {
        let refused = located(&sound, index_size, file_size);
        assert!(matches!(refused, Err(DecodeError::Damaged { damage: Damage::IndexSize(_), .. })), "{refused:?}");
    }
}

fn position(commit: u32) -> Position {
    Position { txid: txid(6), page_size: page_size(512), commit: PageCount(commit), checksum: Some(Checksum::EMPTY) }
}

#[track_caller]
fn misplaced(commit: u32, after: Option<&Position>, pages: &[u32]) -> Misplaced {
    let pages: Pages = pages.iter().map(|&number| (number, plain(number))).collect();
    let header = if after.is_some() { header(7, 7, commit) } else { header(1, 7, commit) };
    match encode(header, after, &pages, Some(checksum(&pages))) {
        Err(EncodeError::Page(misplaced)) => misplaced,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_lacks_a_page_is_not_written() {
    assert_eq!(misplaced(3, None, &[1, 2]), Misplaced::Missing { page: no(3) });
    assert_eq!(misplaced(3, None, &[1, 3]), Misplaced::Missing { page: no(2) });
    // A delta lacks what is new.
    assert_eq!(misplaced(6, Some(&position(4)), &[1, 6]), Misplaced::Missing { page: no(5) });
    assert_eq!(misplaced(6, Some(&position(4)), &[1, 5]), Misplaced::Missing { page: no(6) });
    assert_eq!(misplaced(2, Some(&position(4)), &[3]), Misplaced::Beyond { page: no(3), commit: PageCount(2) });
}

#[test]
fn pages_out_of_order_are_not_written() {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, header(7, 7, 4), Some(&position(4))).unwrap();
    encoder.page(no(3), &plain(3)).unwrap();
    for page in [2, 3] {
        assert!(matches!(encoder.page(no(page), &plain(page)), Err(EncodeError::Page(Misplaced::Order { last: 3, .. }))));
    }
}

#[test]
fn the_lock_page_is_not_written() {
    const LOCK: u32 = 2_097_153;
    assert_eq!(misplaced(LOCK + 1, Some(&position(LOCK + 1)), &[LOCK]), Misplaced::Lock { page: no(LOCK) });
}

#[test]
fn a_page_of_another_size_is_not_written() {
    let refused = encode(header(1, 1, 1), None, &Pages::from([(1, noise(1, 1024))]), None);
    assert!(matches!(refused, Err(EncodeError::PageLength { found: 1024, .. })), "{refused:?}");
}

#[test]
fn a_file_that_does_not_continue_the_chain_is_not_written() {
    fn begun(header: Header, after: Option<&Position>) -> Option<EncodeError> {
        Encoder::new(io::sink(), header, after).err()
    }
    assert!(matches!(begun(header(7, 7, 4), None), Some(EncodeError::NothingBefore { .. })));
    assert!(matches!(begun(header(8, 8, 4), Some(&position(4))), Some(EncodeError::Break(Break::Txid { .. }))));
    assert!(matches!(begun(header(1, 7, 4), Some(&position(4))), Some(EncodeError::Break(Break::Txid { .. }))));
    let other = checksum(&Pages::from([(1, plain(1))]));
    let header = |pre_apply| Header { pre_apply, ..header(7, 7, 4) };
    assert!(matches!(begun(header(Some(other)), Some(&position(4))), Some(EncodeError::Break(Break::Checksum { .. }))));
    assert!(matches!(
        begun(Header { txids: self::header(1, 7, 4).txids, ..header(Some(other)) }, None),
        Some(EncodeError::Header(HeaderRefusal::PreApply(_)))
    ));
}

#[test]
fn a_state_that_the_file_does_not_lead_to_is_not_written() {
    fn refused(header: Header, after: Option<&Position>, pages: &Pages, post_apply: Option<Checksum>) -> bool {
        matches!(encode(header, after, pages, post_apply), Err(EncodeError::PostApply { .. }))
    }
    let pages = Pages::from([(1, plain(1))]);
    let right = Some(checksum(&pages));
    let (wrong, unchecked) = (Some(checksum(&Pages::from([(1, plain(2))]))), Header { pre_apply: None, ..header(1, 1, 1) });
    assert!(refused(header(1, 1, 1), None, &pages, wrong));
    assert!(refused(header(1, 1, 1), None, &pages, None));
    assert!(refused(unchecked, None, &pages, right));
    assert!(refused(header(7, 7, 1), Some(&position(1)), &pages, None));
    assert!(refused(header(7, 7, 0), Some(&position(1)), &Pages::new(), right));
    encode(header(1, 1, 1), None, &pages, right).unwrap();
    encode(unchecked, None, &pages, None).unwrap();
}

#[test]
fn a_writer_that_fails_is_named() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (file, pages) = whole();
    for room in 0..file.len() {
        let written = Encoder::new(Full(room), header(1, 5, 3), None).and_then(|mut encoder| {
            pages.iter().try_for_each(|(&number, page)| encoder.page(no(number), page))?;
            encoder.finish(Some(checksum(&pages)))
        });
        assert!(matches!(written, Err(EncodeError::Write(_))), "{room}: {written:?}");
    }
}

#[test]
fn frames_by_hand_are_what_the_encoder_writes() {
    let (file, pages) = whole();
    let mut raw = Raw::new((1, 5), 3, 0, &Pages::new());
    raw.frames = pages.iter().map(|(&number, page)| Frame::of(number, page.clone())).collect();
    raw.post_apply = checksum(&pages).get();
    let raw = raw.with_header(32, &1_700_000_000_123_i64.to_be_bytes()).with_header(72, &0xfeed_u64.to_be_bytes());
    assert!(file == raw.build());
}
