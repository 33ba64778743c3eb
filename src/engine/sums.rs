//! The checksum of each page of a state, so that the state's own costs no more than the pages that changed.

use ltx::{Checksum, PageCount, PageNo};

/// By page. Eight bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    pages: Vec<Option<Checksum>>,
    total: Checksum,
}

impl Default for Sums {
    fn default() -> Self {
        Self { pages: Vec::new(), total: Checksum::EMPTY }
    }
}

impl Sums {
    /// Of the state.
    pub(crate) fn total(&self) -> Checksum {
        self.total
    }

    /// The page has these bytes.
    pub(crate) fn set(&mut self, page: PageNo, bytes: &[u8]) {
        self.put(page, Checksum::of_page(page, bytes));
    }

    /// The page has this checksum.
    pub(crate) fn put(&mut self, page: PageNo, sum: Checksum) {
        let place = page.index() as usize;
        if place >= self.pages.len() {
            self.pages.resize(place + 1, None);
        }
        if let Some(before) = self.pages[place].replace(sum) {
            self.total = self.total.without(before);
        }
        self.total = self.total.with(sum);
    }

    /// Of a page, where it has one.
    pub(crate) fn of(&self, page: PageNo) -> Option<Checksum> {
        self.pages.get(page.index() as usize).copied().flatten()
    }

    /// Pages above `count` are gone.
    pub(crate) fn cut(&mut self, count: PageCount) {
        let kept = self.pages.len().min(count.0 as usize);
        for gone in self.pages.drain(kept..).flatten() {
            self.total = self.total.without(gone);
        }
        if self.pages.capacity() > 2 * self.pages.len() + 1024 {
            self.pages.shrink_to_fit();
        }
    }

    /// The total once pages above `count` are gone.
    pub(crate) fn total_of(&self, count: PageCount) -> Checksum {
        let gone = self.pages.get(count.0 as usize..).unwrap_or_default();
        gone.iter().flatten().fold(self.total, |total, sum| total.without(*sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> PageNo {
        PageNo::new(number).unwrap()
    }

    #[test]
    fn the_total_is_that_of_the_pages_that_are_there() {
        let mut sums = Sums::default();
        sums.set(page(3), &[1; 512]);
        sums.set(page(1), &[2; 512]);
        sums.set(page(3), &[3; 512]);
        let (one, three) = (Checksum::of_page(page(1), &[2; 512]), Checksum::of_page(page(3), &[3; 512]));
        assert_eq!(sums.total(), Checksum::EMPTY.with(one).with(three));
        assert_eq!((sums.of(page(2)), sums.of(page(3)), sums.of(page(9))), (None, Some(three), None));
        assert_eq!(sums.total_of(PageCount(2)), Checksum::EMPTY.with(one));
        sums.cut(PageCount(2));
        assert_eq!((sums.total(), sums.of(page(3))), (Checksum::EMPTY.with(one), None));
    }
}
