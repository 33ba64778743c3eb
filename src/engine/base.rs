//! An object in the bucket that has most bytes of a snapshot already, so that the store puts the snapshot together from it.
//!
//! Invariant: a stretch counts as the same only if no delta since the object was made holds a page of it; what was cut off and written
//! again is in such a delta, since deltas hold whatever lies above the smallest size in between.

use std::collections::BTreeSet;

use ltx::PageSize;

use crate::names::{Etag, ObjectKey};
use crate::page_set::PageSet;

/// A plain file that is one of ours, and what has changed since it was made.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) key: ObjectKey,
    pub(crate) etag: Etag,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) changed: PageSet,
}

impl Base {
    /// Which parts of a file of so many bytes are the same in both. The first never is: each snapshot has a stamp there.
    pub(crate) fn same_parts(&self, part: u64, size: u64, page_size: PageSize) -> BTreeSet<u64> {
        let page = u64::from(page_size.get());
        let is_same = |number: &u64| {
            let (begin, end) = (number * part, ((number + 1) * part).min(size));
            end <= self.size && !self.changed.has_any(begin / page, end.div_ceil(page))
        };
        (1..size.div_ceil(part)).filter(is_same).collect()
    }
}

#[cfg(test)]
mod tests {
    use ltx::PageNo;

    use super::*;

    const PAGE: u64 = 512;

    fn same(changed: &[u32], before: u64, size: u64) -> Vec<u64> {
        let mut pages = PageSet::default();
        pages.extend(changed.iter().map(|page| PageNo::new(*page).unwrap()));
        let base = Base { key: ObjectKey::new("a"), etag: Etag::new("e"), size: before * PAGE, changed: pages };
        // Parts of four pages.
        base.same_parts(4 * PAGE, size * PAGE, PageSize::new(512).unwrap()).into_iter().collect()
    }

    #[test]
    fn parts_without_a_changed_page_are_the_same_but_for_the_first() {
        assert_eq!(same(&[], 16, 16), [1, 2, 3]);
        assert_eq!(same(&[4, 5, 12], 16, 16), [3], "the numbers of pages begin with one");
        assert_eq!(same(&[9], 16, 16), [1, 3]);
    }

    #[test]
    fn what_the_object_does_not_reach_is_not_the_same() {
        assert_eq!(same(&[11], 10, 11), [1], "it has grown within its last part");
        assert_eq!(same(&[], 10, 10), [1, 2], "a part that is not full");
        assert_eq!(same(&[], 11, 10), [1, 2], "cut off within it");
        assert_eq!(same(&[9, 10], 16, 10), [1]);
        assert_eq!(same(&[], 16, 4), [0_u64; 0]);
    }
}
