//! A SQLite database in memory.

use std::io::Read;

/// A version of a database that stays as it is.
#[derive(Clone)]
pub struct Pin {}

#[allow(missing_docs, unused_variables, clippy::todo, clippy::needless_pass_by_value, reason = "skeleton")]
impl Pin {
    /// In bytes, as a file.
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// The version as a plain SQLite file, exactly `size` bytes.
    pub fn image(&self) -> Box<dyn Read + Send> {
        todo!()
    }
}
