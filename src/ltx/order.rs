//! Which pages a file may hold, and which it must: one rule for what is written and what is read.

use crate::header::Header;
use crate::number::{PageCount, PageNo, PageSize};

/// A page that is not where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// Each page comes once, and they ascend.
    #[error("page {page} comes behind page {last}")]
    Order {
        /// The page.
        page: PageNo,
        /// The one before it.
        last: u32,
    },
    /// It would lie behind the end of the database.
    #[error("page {page} lies above the {commit} pages of the database")]
    Beyond {
        /// The page.
        page: PageNo,
        /// How many the database has.
        commit: PageCount,
    },
    /// It has no content.
    #[error("page {page} is the lock page, which no file holds")]
    Lock {
        /// The page.
        page: PageNo,
    },
    /// Nobody could know its content: it does not lie in what the file is applied to, either.
    #[error("page {page} is missing")]
    Missing {
        /// The page.
        page: PageNo,
    },
}

/// The pages of one file, one after the other.
pub(crate) struct Order {
    page_size: PageSize,
    commit: PageCount,
    /// The page up to which pages may be left out, because they lie below.
    below: u32,
    last: u32,
}

impl Order {
    pub(crate) fn new(header: &Header, below: PageCount) -> Self {
        Self { page_size: header.page_size, commit: header.commit, below: below.0, last: 0 }
    }

    /// The next page.
    pub(crate) fn admit(&mut self, page: PageNo) -> Result<(), Misplaced> {
        if page.get() <= self.last {
            return Err(Misplaced::Order { page, last: self.last });
        }
        if page.get() > self.commit.0 {
            return Err(Misplaced::Beyond { page, commit: self.commit });
        }
        if page.is_lock_page(self.page_size) {
            return Err(Misplaced::Lock { page });
        }
        if let Some(due) = self.due().filter(|&due| due < page) {
            return Err(Misplaced::Missing { page: due });
        }
        self.last = page.get();
        Ok(())
    }

    /// There are no more.
    pub(crate) fn end(&self) -> Result<(), Misplaced> {
        self.due().map_or(Ok(()), |page| Err(Misplaced::Missing { page }))
    }

    /// The page that cannot be left out.
    fn due(&self) -> Option<PageNo> {
        self.commit.next_after(self.last.max(self.below), self.page_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: u32 = 16_385;

    fn order(below: u32, commit: u32) -> Order {
        Order { page_size: PageSize::new(65_536).unwrap(), commit: PageCount(commit), below, last: 0 }
    }

    fn no(number: u32) -> PageNo {
        PageNo::new(number).unwrap()
    }

    #[test]
    fn pages_that_lie_below_may_be_left_out() {
        let mut order = order(9, 9);
        assert_eq!((order.admit(no(3)), order.admit(no(8)), order.end()), (Ok(()), Ok(()), Ok(())));
    }

    #[test]
    fn pages_ascend_and_end_with_the_database() {
        let mut order = order(9, 9);
        order.admit(no(3)).unwrap();
        assert_eq!(order.admit(no(3)), Err(Misplaced::Order { page: no(3), last: 3 }));
        assert_eq!(order.admit(no(10)), Err(Misplaced::Beyond { page: no(10), commit: PageCount(9) }));
    }

    #[test]
    fn what_does_not_lie_below_must_come() {
        for first in [1, 5] {
            assert_eq!(order(3, 6).admit(no(first)), if first == 1 { Ok(()) } else { Err(Misplaced::Missing { page: no(4) }) });
        }
        let mut order = order(3, 6);
        for page in [2, 4, 5] {
            assert_eq!(order.admit(no(page)), Ok(()));
        }
        assert_eq!(order.end(), Err(Misplaced::Missing { page: no(6) }));
        assert_eq!((order.admit(no(6)), order.end()), (Ok(()), Ok(())));
    }

    #[test]
    fn the_lock_page_neither_may_nor_must_come() {
        let mut order = order(LOCK - 2, LOCK + 1);
        order.admit(no(LOCK - 1)).unwrap();
        assert_eq!(order.admit(no(LOCK)), Err(Misplaced::Lock { page: no(LOCK) }));
        assert_eq!(order.end(), Err(Misplaced::Missing { page: no(LOCK + 1) }));
        assert_eq!((order.admit(no(LOCK + 1)), order.end()), (Ok(()), Ok(())));
        assert_eq!(self::order(LOCK - 1, LOCK).end(), Ok(()));
    }

    #[test]
    fn the_last_page_that_can_be_numbered_is_the_last() {
        let mut order = order(u32::MAX, u32::MAX);
        assert_eq!((order.admit(no(u32::MAX)), order.end()), (Ok(()), Ok(())));
    }
}
