//! A version of a database as a plain SQLite file, and back. Pages go through one by one, so the memory used does not depend on the size.
//!
//! Owns: the few header bytes that decide whether bytes can be a database at all. Does not own: whether its content is sound, which
//! `PRAGMA integrity_check` tells.

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::clock::Clock;
use crate::pages::{OutOfMemory, Page, PageCount, PageNo, PageSize, PageStore, Version};

/// Why bytes do not become a database.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes did not all arrive.
    #[error("the image could not be read")]
    Read(#[from] io::Error),
    /// They arrived, and are no SQLite database.
    #[error("the image is no SQLite database: {0}")]
    NotADatabase(String),
    /// They are more than the database may have.
    #[error("the image has more than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// There is no memory for them.
    #[error("out of memory while an image is loaded")]
    OutOfMemory,
}

impl From<OutOfMemory> for LoadError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

const HEADER: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Write version and read version: 1 is rollback mode, 2 is WAL.
const FILE_VERSIONS: std::ops::Range<usize> = 18..20;
const CHANGE_COUNTER: std::ops::Range<usize> = 24..28;
const PAGE_COUNT: std::ops::Range<usize> = 28..32;
/// All that [`with_counter`] changes.
const STAMPED: [std::ops::Range<usize>; 2] = [CHANGE_COUNTER.start..PAGE_COUNT.end, VERSION_VALID_FOR];
const SCHEMA_COOKIE: std::ops::Range<usize> = 40..44;
const TEXT_ENCODING: std::ops::Range<usize> = 56..60;
const VERSION_VALID_FOR: std::ops::Range<usize> = 92..96;

/// The header of a database file, as far as it decides how the file is read.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    page_size: PageSize,
    /// How many pages the database says that it has, where that number is to be believed.
    pages: Option<u32>,
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Result<Self, String> {
        if &bytes[..16] != MAGIC {
            return Err("it does not begin with `SQLite format 3`".to_owned());
        }
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65_536,
            size => u32::from(size),
        };
        let Some(page_size) = PageSize::new(page_size) else {
            return Err(format!("its page size is {page_size}"));
        };
        if !bytes[FILE_VERSIONS].iter().all(|version| (1..=2).contains(version)) {
            return Err(format!("its file format versions are {} and {}", bytes[18], bytes[19]));
        }
        if page_size.get() - u32::from(bytes[20]) < 480 {
            return Err(format!("{} of {} bytes of each page are reserved", bytes[20], page_size.get()));
        }
        if bytes[21..24] != [64, 32, 32] {
            return Err("its payload fractions are not 64, 32 and 32".to_owned());
        }
        let pages = u32::from_be_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]);
        let valid = pages > 0 && bytes[CHANGE_COUNTER] == bytes[VERSION_VALID_FOR];
        Ok(Self { page_size, pages: valid.then_some(pages) })
    }
}

/// Reads a whole database into a new store. A database in WAL mode becomes one in rollback mode, and stays so when it is written out: its
/// WAL, if it had one, is no part of the image.
pub(crate) fn load(mut reader: impl Read, max_size: u64, clock: Arc<dyn Clock>) -> Result<PageStore, LoadError> {
    let mut first = [0; HEADER];
    let got = fill(&mut reader, &mut first)?;
    if got < HEADER {
        return Err(LoadError::NotADatabase(format!("it has {got} bytes")));
    }
    let header = Header::parse(&first).map_err(LoadError::NotADatabase)?;
    first[FILE_VERSIONS].fill(1);
    let store = PageStore::new(header.page_size, max_size, clock);
    let mut stage = store.begin_write(&store.pin()).expect("nobody else has the new store");
    let mut page = vec![0; header.page_size.len()];
    let mut reader = first.as_slice().chain(reader);
    let mut offset = 0;
    loop {
        match fill(&mut reader, &mut page)? {
            0 => break,
            len if len < page.len() => {
                return Err(LoadError::NotADatabase(format!("its size is no multiple of its page size, {}", page.len())));
            }
            _ => {}
        }
        if offset + page.len() as u64 > max_size {
            return Err(LoadError::TooLarge { limit: max_size });
        }
        let number = PageNo::at(offset, header.page_size).ok_or(LoadError::TooLarge { limit: max_size })?;
        if !number.is_lock_page(header.page_size) {
            stage.write(number, &page)?;
        }
        offset += page.len() as u64;
    }
    let pages = stage.count().0;
    if let Some(claimed) = header.pages.filter(|claimed| *claimed > pages) {
        return Err(LoadError::NotADatabase(format!("it should have {claimed} pages and has {pages}")));
    }
    store.publish(&mut stage);
    store.end_write(stage);
    // Nobody asks what changed between nothing and the image.
    store.forget_changes(store.commits());
    Ok(store)
}

/// Page 1 of a database of so many pages, if it is one: `None` if it may stay as it is. One in WAL mode becomes one in rollback mode.
pub(crate) fn in_rollback_mode(page: &[u8], count: PageCount) -> Result<Option<Vec<u8>>, String> {
    let Some(first) = page.first_chunk::<HEADER>() else { return Err(format!("it has {} bytes", page.len())) };
    let header = Header::parse(first)?;
    if header.page_size.len() != page.len() {
        return Err(format!("its header speaks of pages of {} bytes, and they have {}", header.page_size, page.len()));
    }
    if let Some(claimed) = header.pages.filter(|claimed| *claimed > count.0) {
        return Err(format!("it should have {claimed} pages and has {count}"));
    }
    if page[FILE_VERSIONS] == [1, 1] {
        return Ok(None);
    }
    let mut bytes = page.to_vec();
    bytes[FILE_VERSIONS].fill(1);
    Ok(Some(bytes))
}

/// Reads until `out` is full or the reader ends, and tells how much there was.
fn fill(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < out.len() {
        match reader.read(&mut out[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Page 1 with another change counter, in both its places, so that the header's other fields stay valid.
fn with_counter(page: &[u8], count: PageCount, counter: u32) -> Vec<u8> {
    let mut bytes = page.to_vec();
    // SQLite believes the page count while both counters are equal, which they are from here on.
    if bytes[CHANGE_COUNTER] != bytes[VERSION_VALID_FOR] {
        bytes[PAGE_COUNT].copy_from_slice(&count.0.to_be_bytes());
    }
    bytes[CHANGE_COUNTER].copy_from_slice(&counter.to_be_bytes());
    bytes[VERSION_VALID_FOR].copy_from_slice(&counter.to_be_bytes());
    bytes
}

/// What a stamp changes in page 1, as text.
pub(crate) fn counters(page: &[u8]) -> String {
    STAMPED.iter().map(|range| hex::encode(&page[range.clone()])).collect()
}

/// The bytes of a file as they were before it was stamped, if `counters` can be what it had.
pub(crate) fn unstamped(mut image: impl Read, counters: &str) -> io::Result<Option<impl Read>> {
    let mut header = [0; HEADER];
    let len = fill(&mut image, &mut header)?;
    let Ok(bytes) = hex::decode(counters) else { return Ok(None) };
    let mut left = bytes.as_slice();
    for range in STAMPED {
        let Some((own, rest)) = left.split_at_checked(range.len()) else { return Ok(None) };
        header[range].copy_from_slice(own);
        left = rest;
    }
    Ok((left.is_empty() && len == HEADER).then(|| io::Cursor::new(header).chain(image)))
}

/// Whether the schema is UTF-8 throughout. SQLite does not ask, and what hands us names from it does not expect otherwise.
pub(crate) fn has_names_in_utf8(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let mut schema = connection.prepare("SELECT name, tbl_name, sql FROM sqlite_schema")?;
    let mut rows = schema.raw_query();
    while let Some(row) = rows.next()? {
        for column in 0..3 {
            if matches!(row.get_ref(column)?, ValueRef::Text(text) if std::str::from_utf8(text).is_err()) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What tells a schema from those before it, from page 1.
pub(crate) fn schema_cookie(page: &[u8]) -> u32 {
    page[SCHEMA_COOKIE].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// How the database stores texts, as far as page 1 tells.
pub(crate) fn encoding(page: &[u8]) -> &[u8] {
    &page[TEXT_ENCODING]
}

/// Page 1 for a version that takes the place of another under open connections. They compare bytes 24 to 39 to learn whether what they
/// keep of pages is still true, and the schema's cookie to learn whether their statements are. Counters only go up in the life of a
/// store, so one more than the last is one that no connection has seen.
pub(crate) fn succeeding(page: &[u8], count: PageCount, last: &[u8]) -> Vec<u8> {
    let number = |range: std::ops::Range<usize>| last[range].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let mut bytes = with_counter(page, count, number(CHANGE_COUNTER).wrapping_add(1));
    bytes[SCHEMA_COOKIE].copy_from_slice(&number(SCHEMA_COOKIE).wrapping_add(1).to_be_bytes());
    bytes
}

/// A version as a file, read from its beginning.
pub(crate) struct Image {
    version: Arc<Version>,
    /// Page 1, where it differs from the version's.
    first: Option<Vec<u8>>,
    offset: u64,
}

impl Image {
    /// The same from here on.
    pub(crate) fn at(self, offset: u64) -> Self {
        Self { offset: offset.min(self.version.size()), ..self }
    }

    /// As it is.
    pub(crate) fn new(version: Arc<Version>) -> Self {
        Self { version, first: None, offset: 0 }
    }

    /// With another change counter.
    pub(crate) fn stamped(version: Arc<Version>, counter: u32) -> Self {
        let first = version.page(PageNo::FIRST).map(|page| with_counter(page.bytes(), version.count(), counter));
        Self { version, first, offset: 0 }
    }
}

impl Read for Image {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let page_size = self.version.page_size();
        let left = self.version.size() - self.offset;
        let Some(number) = PageNo::at(self.offset, page_size).filter(|_| left > 0) else { return Ok(0) };
        // Below the page size, which fits.
        let skip = usize::try_from(self.offset % u64::from(page_size.get())).unwrap_or(0);
        let len = out.len().min(page_size.len() - skip);
        let changed = self.first.as_deref().filter(|_| number == PageNo::FIRST);
        match changed.or_else(|| self.version.page(number).map(Page::bytes)) {
            Some(page) => out[..len].copy_from_slice(&page[skip..skip + len]),
            // A page that was never written, such as the one at 1 GiB.
            None => out[..len].fill(0),
        }
        self.offset += len as u64;
        Ok(len)
    }
}
