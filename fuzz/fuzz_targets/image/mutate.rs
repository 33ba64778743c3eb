//! Damage that gets past the door: pages are changed inside, exchanged and cut off, and the header stays one of a database. Without this
//! nearly all inputs would be refused for a header that no longer fits.

use libfuzzer_sys::fuzzer_mutate;

const HEADER: usize = 100;
/// As much as is changed at once.
const WINDOW: usize = 48;

/// Changes `data[..size]` and tells the new size.
pub fn image(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed) << 1 | 1);
    let size = match page_size(&data[..size]) {
        Some(page) if size >= page && !random.one_in(30) => pages(data, size, max_size, page, &mut random),
        _ => return fuzzer_mutate(data, size, max_size),
    };
    repair(&mut data[..size], &mut random);
    size
}

fn page_size(data: &[u8]) -> Option<usize> {
    match (data.len() >= HEADER).then(|| u16::from_be_bytes([data[16], data[17]]))? {
        1 => Some(65_536),
        size if size.is_power_of_two() && size >= 512 => Some(usize::from(size)),
        _ => None,
    }
}

fn pages(data: &mut [u8], size: usize, max_size: usize, page: usize, random: &mut Random) -> usize {
    let count = size / page;
    let start = random.below(count) * page;
    // The first page has its tree behind the file's header.
    let tree = start + if start == 0 { HEADER } else { 0 };
    match random.below(16) {
        // The tree's own header and the cells' addresses.
        0..5 => inside(data, tree, tree + 8 + random.below(WINDOW), page - (tree - start) - 8 - WINDOW, random),
        5..11 => inside(data, tree + random.below(page - (tree - start) - WINDOW), start + page, WINDOW, random),
        // The number of a page, of which there are few.
        11 => {
            let at = tree + random.below(page - (tree - start) - 4);
            let number = u32::try_from(random.below(count + 2)).unwrap_or(0);
            data[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        12 => {
            let other = random.below(count) * page;
            if start > 0 && other > 0 {
                data.copy_within(start..start + page, other);
            }
        }
        // The file's header, behind the fields that `repair` looks after.
        13 => inside(data, 32, HEADER - 8, WINDOW, random),
        14 if count > 1 => return (count - 1) * page,
        _ if (count + 1) * page <= max_size => {
            data.copy_within(start..start + page, count * page);
            return (count + 1) * page;
        }
        _ => {}
    }
    count * page
}

/// Lets libFuzzer change some bytes between `from` and `end`.
fn inside(data: &mut [u8], from: usize, end: usize, most: usize, random: &mut Random) {
    let mut window = [0; WINDOW];
    let len = (1 + random.below(WINDOW)).min(end.saturating_sub(from)).min(most);
    if len == 0 {
        return;
    }
    window[..len].copy_from_slice(&data[from..from + len]);
    let new = fuzzer_mutate(&mut window, len, len);
    data[from..from + new].copy_from_slice(&window[..new]);
}

/// Makes the header one that is let in, most of the time.
fn repair(data: &mut [u8], random: &mut Random) {
    data[..16].copy_from_slice(b"SQLite format 3\0");
    for version in &mut data[18..20] {
        *version = (*version).clamp(1, 2);
    }
    data[21..24].copy_from_slice(&[64, 32, 32]);
    if let Some(page) = page_size(data) {
        let reserved = u8::try_from(page - 480).unwrap_or(u8::MAX);
        data[20] = data[20].min(reserved);
        if !random.one_in(8) {
            let count = u32::try_from(data.len() / page).unwrap_or(u32::MAX);
            data[28..32].copy_from_slice(&count.to_be_bytes());
            data.copy_within(24..28, 92);
        }
    }
}

/// So many bits that a mutation needs, from libFuzzer's seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % bound.max(1)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}
