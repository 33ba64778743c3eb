//! A version of a database that stays as it is.

use std::io::Read;
use std::sync::Arc;

use crate::image::Image;
use crate::pages::{Commits, Page, PageCount, PageNo, PageSize, Version};

/// A version of a database that stays as it is.
#[derive(Clone)]
pub struct Pin(pub(super) Arc<Version>);

impl Pin {
    /// In bytes, as a file.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// Of all its pages.
    pub fn page_size(&self) -> PageSize {
        self.0.page_size()
    }

    /// The commits that it holds.
    pub fn commits(&self) -> Commits {
        self.0.commits()
    }

    /// How many pages it has.
    pub fn count(&self) -> PageCount {
        self.0.count()
    }

    /// The bytes of a page, unless it lies beyond the end or was never written, which reads as zeros.
    pub fn page(&self, page: PageNo) -> Option<&[u8]> {
        self.0.page(page).map(Page::bytes)
    }

    /// The pages, in order, that are not the same here and there. What two versions share costs nothing to compare.
    pub fn differences(&self, other: &Self) -> Vec<PageNo> {
        self.0.differences(&other.0)
    }

    /// The version as a plain SQLite file, exactly `size` bytes.
    pub fn image(&self) -> Box<dyn Read + Send> {
        Box::new(Image::new(Arc::clone(&self.0)))
    }

    /// The same with this change counter in page 1 (bytes 24–27 and 92–95), so that no two files with different counters have equal bytes.
    pub fn stamped_image(&self, counter: u32) -> Box<dyn Read + Send> {
        self.stamped_image_at(counter, 0)
    }

    /// The same from this place on.
    pub(crate) fn stamped_image_at(&self, counter: u32, offset: u64) -> Box<dyn Read + Send> {
        Box::new(Image::stamped(Arc::clone(&self.0), counter).at(offset))
    }
}
