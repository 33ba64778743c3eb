//! Pages, one bit for each.

use fixedbitset::FixedBitSet;
use ltx::PageNo;

/// Pages, whatever became of them since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageSet(FixedBitSet);

impl PageSet {
    pub(crate) fn extend(&mut self, pages: impl IntoIterator<Item = PageNo>) {
        for page in pages {
            self.0.grow_and_insert(page.index() as usize);
        }
    }

    /// Whether one of these is among them, by their places from 0.
    pub(crate) fn has_any(&self, from: u64, to: u64) -> bool {
        let within = |page: u64| usize::try_from(page).unwrap_or(usize::MAX).min(self.0.len());
        self.0.contains_any_in_range(within(from)..within(to))
    }
}
