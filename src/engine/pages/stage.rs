//! What a transaction has written and not yet published.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Account, OutOfMemory, Page, PageCount, PageNo, Version};

pub(super) type Pages = HashMap<PageNo, Page, BuildHasherDefault<Spread>>;

/// Pages written over a version that itself stays as it is.
pub(crate) struct Stage {
    pages: Pages,
    /// The smallest size the database had in this transaction: what lies above it in the version beneath is gone, even if the database
    /// has grown again since.
    floor: PageCount,
    count: PageCount,
}

impl Stage {
    /// Nothing written yet.
    pub(crate) fn over(base: &Version) -> Self {
        Self { pages: HashMap::default(), floor: base.count(), count: base.count() }
    }

    pub(crate) fn count(&self) -> PageCount {
        self.count
    }

    /// How many pages are staged.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// The page as the transaction sees it; `None` where it would read zeros or nothing.
    pub(crate) fn page<'a>(&'a self, base: &'a Version, page: PageNo) -> Option<&'a Page> {
        match self.pages.get(&page) {
            Some(staged) => Some(staged),
            None if self.floor.holds(page) => base.page(page),
            None => None,
        }
    }

    /// Whether the page was written in this transaction.
    pub(crate) fn has(&self, page: PageNo) -> bool {
        self.pages.contains_key(&page)
    }

    /// A page that was handed out keeps its bytes: the new ones go into another buffer.
    pub(crate) fn write(&mut self, page: PageNo, content: &[u8], account: &Account) -> Result<(), OutOfMemory> {
        if self.pages.get_mut(&page).is_some_and(|staged| staged.overwrite(content)) {
            return Ok(());
        }
        self.pages.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.pages.insert(page, Page::copy_of(content, account)?);
        self.count = self.count.max(PageCount::up_to(page));
        Ok(())
    }

    /// Cuts the database off behind `count` pages.
    pub(crate) fn truncate(&mut self, count: PageCount) {
        self.pages.retain(|page, _| count.holds(*page));
        self.floor = self.floor.min(count);
        self.count = count;
    }

    /// The pages, the floor, the count.
    pub(super) fn into_parts(self) -> (Pages, PageCount, PageCount) {
        (self.pages, self.floor, self.count)
    }
}

/// Page numbers are small and no attacker chooses many of them: one multiplication spreads them well enough.
#[derive(Default)]
pub(super) struct Spread(u64);

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
