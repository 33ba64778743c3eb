//! What a transaction has written and not yet published.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Account, OutOfMemory, Page, PageCount, PageNo, Version};

/// So many pages are found faster by looking at all of them.
const FEW: usize = 16;

/// Tables for so many pages are given back after a transaction.
const MANY: usize = 256;

/// Pages are kept for the next transaction instead of going back to the allocator: as many as a small commit writes.
const SPARE: usize = 8;

/// The one writer's place in a store, and the pages that it has written over a version that itself stays as it is. Whoever holds the
/// stage is the writer; it is used by one transaction after the other.
pub(crate) struct Stage {
    account: Account,
    /// In the order in which they were written first. SQLite writes a commit's pages in the order of their numbers.
    pages: Vec<(PageNo, Page)>,
    /// Where in `pages` each page is; empty while there are [`FEW`].
    places: HashMap<PageNo, usize, BuildHasherDefault<Spread>>,
    /// Pages without use, held by nobody else.
    spare: Vec<Page>,
    /// The size of the version beneath.
    base: PageCount,
    /// The smallest size the database had in this transaction: what lies above it in the version beneath is gone, even if the database
    /// has grown again since.
    floor: PageCount,
    count: PageCount,
}

impl Stage {
    /// Nothing written yet.
    pub(super) fn new(account: Account) -> Self {
        let none = PageCount::default();
        Self { account, pages: Vec::new(), places: HashMap::default(), spare: Vec::new(), base: none, floor: none, count: none }
    }

    /// Begins a transaction over `base`.
    pub(super) fn begin(&mut self, base: &Version) {
        self.base = base.count();
        self.floor = self.base;
        self.count = self.base;
        self.clear();
    }

    /// Drops what is staged.
    pub(super) fn clear(&mut self) {
        while let Some((_, page)) = self.pages.pop() {
            self.keep(page);
        }
        self.places.clear();
        if self.pages.capacity() > MANY {
            self.pages.shrink_to(FEW);
            self.places.shrink_to(FEW);
        }
        self.tell();
    }

    pub(crate) fn count(&self) -> PageCount {
        self.count
    }

    /// See the field.
    pub(super) fn floor(&self) -> PageCount {
        self.floor
    }

    /// Whether a commit would change nothing.
    pub(crate) fn is_untouched(&self) -> bool {
        self.pages.is_empty() && self.count == self.base && self.floor == self.base
    }

    /// The page as the transaction sees it; `None` where it would read zeros or nothing.
    pub(crate) fn page<'a>(&'a self, base: &'a Version, page: PageNo) -> Option<&'a Page> {
        match self.place(page) {
            Some(place) => Some(&self.pages[place].1),
            None if self.floor.holds(page) => base.page(page),
            None => None,
        }
    }

    /// Whether the page was written in this transaction.
    pub(crate) fn has(&self, page: PageNo) -> bool {
        self.place(page).is_some()
    }

    /// A page that was handed out keeps its bytes: the new ones go into another buffer.
    pub(crate) fn write(&mut self, page: PageNo, content: &[u8]) -> Result<(), OutOfMemory> {
        if let Some(place) = self.place(page) {
            if !self.pages[place].1.overwrite(content) {
                self.pages[place].1 = self.fill(content)?;
            }
            return Ok(());
        }
        self.pages.try_reserve(1).map_err(|_| OutOfMemory)?;
        let place = self.pages.len();
        if place >= FEW {
            self.places.try_reserve(if place == FEW { FEW + 1 } else { 1 }).map_err(|_| OutOfMemory)?;
        }
        let filled = self.fill(content)?;
        self.pages.push((page, filled));
        if place == FEW {
            self.find_places();
        } else if place > FEW {
            self.places.insert(page, place);
        }
        self.count = self.count.max(PageCount::up_to(page));
        self.tell();
        Ok(())
    }

    /// Cuts the database off behind `count` pages.
    pub(crate) fn truncate(&mut self, count: PageCount) {
        let spare = &mut self.spare;
        self.pages.retain_mut(|(number, page)| {
            let stays = count.holds(*number);
            if !stays && spare.len() < SPARE && page.is_ours_alone() {
                spare.push(page.clone());
            }
            stays
        });
        self.places.clear();
        if self.pages.len() > FEW {
            self.find_places();
        }
        self.floor = self.floor.min(count);
        self.count = count;
        self.tell();
    }

    /// The staged pages, in order of their numbers; none stays here.
    pub(super) fn drain(&mut self) -> Vec<(PageNo, Page)> {
        self.places.clear();
        let mut pages = std::mem::take(&mut self.pages);
        if !pages.is_sorted_by_key(|(number, _)| *number) {
            pages.sort_unstable_by_key(|(number, _)| *number);
        }
        pages
    }

    /// Gives back what [`Stage::drain`] took, emptied, so that it need not be allocated again.
    pub(super) fn give_back(&mut self, emptied: Vec<(PageNo, Page)>) {
        self.pages = emptied;
    }

    /// Takes a page that is no longer used, for the next transaction, if nobody else holds it.
    pub(super) fn keep(&mut self, mut page: Page) {
        if self.spare.len() < SPARE && page.counts_in(&self.account) && page.is_ours_alone() {
            self.spare.push(page);
        }
    }

    fn fill(&mut self, content: &[u8]) -> Result<Page, OutOfMemory> {
        if let Some(mut page) = self.spare.pop()
            && page.overwrite(content)
        {
            return Ok(page);
        }
        Page::copy_of(content, &self.account)
    }

    fn place(&self, page: PageNo) -> Option<usize> {
        if self.pages.len() <= FEW { self.pages.iter().position(|(number, _)| *number == page) } else { self.places.get(&page).copied() }
    }

    /// Room for all of them was made when they were written.
    fn find_places(&mut self) {
        self.places.extend(self.pages.iter().enumerate().map(|(place, (number, _))| (*number, place)));
    }

    fn tell(&self) {
        self.account.set_in_stage(self.pages.len() + self.spare.len());
    }
}

/// Page numbers are small and no attacker chooses many of them: one multiplication spreads them well enough.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
