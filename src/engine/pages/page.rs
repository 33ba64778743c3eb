//! The bytes of a page, and the account in which all pages of a store are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that can be read behind each page, all zero: SQLite may look a little past the end of a damaged page.
pub(crate) const OVERRUN: usize = 256;

/// There is no memory for another page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub(crate) struct OutOfMemory;

/// One page. Clones are the same bytes.
#[derive(Clone)]
pub(crate) struct Page(Arc<Buffer>);

struct Buffer {
    /// The page, then [`OVERRUN`] zero bytes.
    bytes: Vec<u8>,
    account: Account,
}

impl Page {
    /// A page with this content.
    pub(crate) fn copy_of(content: &[u8], account: &Account) -> Result<Self, OutOfMemory> {
        account.ask()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(content.len() + OVERRUN).map_err(|_| OutOfMemory)?;
        bytes.extend_from_slice(content);
        bytes.resize(content.len() + OVERRUN, 0);
        account.0.alive.fetch_add(1, Ordering::Relaxed);
        Ok(Self(Arc::new(Buffer { bytes, account: account.clone() })))
    }

    /// The page itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes[..self.0.bytes.len() - OVERRUN]
    }

    /// The page with the zero bytes behind it.
    pub(crate) fn bytes_with_overrun(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether it counts in this account.
    pub(super) fn counts_in(&self, account: &Account) -> bool {
        Arc::ptr_eq(&self.0.account.0, &account.0)
    }

    /// Whether nobody else holds it.
    pub(super) fn is_ours_alone(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some()
    }

    /// Whether both are the same page, not only the same bytes.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Replaces the content if nobody else holds this page, and tells whether it did.
    pub(super) fn overwrite(&mut self, content: &[u8]) -> bool {
        Arc::get_mut(&mut self.0).is_some_and(|buffer| {
            buffer.bytes[..content.len()].copy_from_slice(content);
            true
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.account.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts the pages that a store has made and that are still alive, whoever holds them.
#[derive(Clone, Default)]
pub(crate) struct Account(Arc<Counts>);

#[derive(Default)]
struct Counts {
    alive: AtomicU64,
    /// Of those alive, what the transaction under way holds, and what is kept for the next one.
    in_stage: AtomicU64,
    #[cfg(test)]
    left: tests::Left,
}

impl Account {
    pub(super) fn alive(&self) -> u64 {
        self.0.alive.load(Ordering::Relaxed)
    }

    pub(super) fn in_stage(&self) -> u64 {
        self.0.in_stage.load(Ordering::Relaxed)
    }

    pub(super) fn set_in_stage(&self, pages: usize) {
        self.0.in_stage.store(pages as u64, Ordering::Relaxed);
    }

    /// Tests refuse a page here.
    #[cfg_attr(not(test), allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests refuse"))]
    fn ask(&self) -> Result<(), OutOfMemory> {
        #[cfg(test)]
        self.0.left.ask()?;
        Ok(())
    }

    /// From here on there is memory for so many pages; `None` for any number.
    #[cfg(test)]
    pub(crate) fn set_pages_left(&self, pages: Option<u64>) {
        self.0.left.set(pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pages may still be made.
    pub(super) struct Left(AtomicU64);

    impl Default for Left {
        fn default() -> Self {
            Self(AtomicU64::new(u64::MAX))
        }
    }

    impl Left {
        pub(super) fn set(&self, pages: Option<u64>) {
            self.0.store(pages.unwrap_or(u64::MAX), Ordering::Relaxed);
        }

        pub(super) fn ask(&self) -> Result<(), OutOfMemory> {
            let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| OutOfMemory)
        }
    }

    #[test]
    fn a_page_has_zero_bytes_behind_it() {
        let page = Page::copy_of(&[7; 512], &Account::default()).unwrap();
        assert_eq!(page.bytes(), [7; 512]);
        assert_eq!(page.bytes_with_overrun()[512..], [0; OVERRUN]);
    }

    #[test]
    fn only_a_page_that_nobody_else_holds_is_overwritten() {
        let account = Account::default();
        let mut page = Page::copy_of(&[1; 512], &account).unwrap();
        let other = page.clone();
        assert!(!page.overwrite(&[2; 512]));
        drop(other);
        assert!(page.overwrite(&[2; 512]));
        assert_eq!((page.bytes()[0], account.alive()), (2, 1));
    }
}
