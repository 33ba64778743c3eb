//! How blobs are named, and where what belongs to them lies.
//!
//! Invariant: owners and marks lie beside the prefix, never under it: the Python package's gc deletes every object under the prefix that has
//! no row.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::names::{DatabaseKey, NameError, ObjectKey, refuse};

/// The name of a file: SHA-256 of its content, written as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FileKey([u8; 32]);

impl FileKey {
    /// Of this digest.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads 64 digits in lower case: in any other form no blob has a name.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        const WHAT: &str = "file key";
        let mut digest = [0; 32];
        let is_lower = value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_lower || hex::decode_to_slice(value, &mut digest).is_err() {
            return refuse(WHAT, value, "is not a SHA-256 in 64 hexadecimal digits, in lower case");
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<FileKey> for String {
    fn from(key: FileKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for FileKey {
    type Error = NameError;

    fn try_from(value: String) -> Result<Self, NameError> {
        Self::parse(&value)
    }
}

/// What the keys of blobs begin with. It ends in a slash. Databases of one bucket may share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilesPrefix(String);

impl FilesPrefix {
    /// The Python package's default.
    pub const DEFAULT: &'static str = "files/";
    const LONGEST: usize = 512;

    /// Takes a prefix, with or without its last slash.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        const WHAT: &str = "files prefix";
        let parts = value.strip_suffix('/').unwrap_or(value);
        if parts.is_empty() || parts.len() >= Self::LONGEST {
            return refuse(WHAT, value, "must have 1 to 511 bytes before its last slash");
        }
        if parts.split('/').any(|part| matches!(part, "" | "." | "..")) || parts.chars().any(char::is_control) {
            return refuse(WHAT, value, "may have no empty part, no part `.` or `..`, and no control characters");
        }
        if [".branch.", ".ltx/", ".head/"].iter().any(|part| format!("{parts}/").contains(part)) {
            return refuse(WHAT, value, "may not contain `.branch.`, `.ltx/` or `.head/`: such names belong to the objects of a key");
        }
        Ok(Self(format!("{parts}/")))
    }

    /// With its slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where a file's content lies.
    pub fn blob(&self, key: &FileKey) -> ObjectKey {
        ObjectKey::new(format!("{}{key}", self.0))
    }

    /// Which file's content an object is; `None` for objects that are none, which nobody here ever touches.
    pub(crate) fn file_of(&self, object: &str) -> Option<FileKey> {
        FileKey::parse(object.strip_prefix(&self.0)?).ok()
    }

    /// Where gc's marks lie.
    pub(crate) fn marks(&self) -> ObjectKey {
        ObjectKey::new(format!("{}.gc.json", self.without_slash()))
    }

    /// What the keys of the owners' records begin with.
    pub(crate) fn owners(&self) -> String {
        format!("{}.owners/", self.without_slash())
    }

    /// Where the record of a database lies that keeps files here.
    pub(crate) fn owner(&self, key: &DatabaseKey) -> ObjectKey {
        ObjectKey::new(format!("{}{}.json", self.owners(), hex::encode(Sha256::digest(key.as_str()))))
    }

    fn without_slash(&self) -> &str {
        &self.0[..self.0.len() - 1]
    }
}

impl fmt::Display for FilesPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn only_64_lower_case_digits_name_a_file() {
        assert_eq!(FileKey::parse(HELLO).unwrap().to_string(), HELLO);
        assert_eq!(FileKey::of_digest(Sha256::digest("hello").into()).to_string(), HELLO);
        for other in ["", &HELLO[1..], &format!("{HELLO}0"), &HELLO.to_uppercase(), &HELLO.replace('2', "g"), "../../../etc/passwd", "ä"] {
            assert!(FileKey::parse(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn nothing_but_blobs_lies_under_the_prefix() {
        let (prefix, key) = (FilesPrefix::parse("files").unwrap(), FileKey::parse(HELLO).unwrap());
        assert_eq!(prefix.as_str(), "files/");
        assert_eq!(prefix.blob(&key).as_str(), format!("files/{HELLO}"));
        assert_eq!(prefix.file_of(&format!("files/{HELLO}")), Some(key));
        for other in
            [HELLO, &format!("files/{HELLO}.tmp"), &format!("files/a/{HELLO}"), &format!("other/{HELLO}"), "files/", "files/README"]
        {
            assert_eq!(prefix.file_of(other), None, "{other}");
        }
        let database = DatabaseKey::parse("apps/orders.db").unwrap();
        for beside in [prefix.marks(), prefix.owner(&database)] {
            assert!(!beside.as_str().starts_with(prefix.as_str()), "{beside}");
        }
        assert!(prefix.owner(&database).as_str().starts_with(&prefix.owners()));
    }

    #[test]
    fn a_prefix_that_could_be_taken_for_something_else_is_refused() {
        for prefix in ["", "/", "/files/", "a//b/", "a/../b/", "./", "a\nb/", "k.branch.b/", "k.ltx/", "k.head/", &"a".repeat(513)] {
            assert!(FilesPrefix::parse(prefix).is_err(), "{prefix:?}");
        }
        for prefix in [FilesPrefix::DEFAULT, "apps/blobs/", "a.b/"] {
            assert_eq!(FilesPrefix::parse(prefix).unwrap().as_str(), prefix);
        }
    }
}
