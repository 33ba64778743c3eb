//! How objects lie on disk, and in which order files are written.
//!
//! ```text
//! <root>/.lock                          held while a process serves the folder
//! <root>/.tmp/                          bodies on their way; emptied at start
//! <root>/<bucket>/<encoded key>/<n>.data    the object's bytes, as they are: `sqlite3` opens the file
//! <root>/<bucket>/<encoded key>/object.json its key, ETag, metadata, and which <n> counts
//! ```
//!
//! Owns: names and bytes on disk. Does not own: conditions, and what is served (`store`).
//! Invariant: the rename of `object.json` is the commit point. Before it the old object stands whole, after it the new one; files that no
//! `object.json` names are leftovers and go at start.
//!
//! Each file is synced before the rename that makes it count, and the folder after it. An answered PUT survives a power cut, as in a
//! real store, because a database that was acknowledged lies nowhere else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::WallTime;

const LOCK: &str = ".lock";
const TEMPORARY: &str = ".tmp";
const RECORD: &str = "object.json";
/// The longest encoded key that is a folder's name as it is; file systems allow 255 bytes.
const LONGEST_NAME: usize = 200;

/// What is known of an object besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) key: String,
    /// Which file holds the bytes; grows with each write of the object.
    pub(super) version: u64,
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) modified: WallTime,
    pub(super) content_type: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// The folder of a store; no other process has it.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    _lock: File,
}

impl Root {
    /// Takes the folder, makes it if need be, and proves that it can be written.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let explain = |doing: &str, error: io::Error| io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()));
        fs::create_dir_all(path).map_err(|e| explain("cannot make the folder", e))?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(|e| explain("cannot write in", e))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("another process serves {}; stop it or choose another folder", path.display()),
            ),
            fs::TryLockError::Error(error) => explain("cannot lock", error),
        })?;
        let root = Self { path: path.to_owned(), _lock: lock };
        root.clear_temporary().and_then(|()| root.prove_writable()).map_err(|e| explain("cannot write in", e))?;
        Ok(root)
    }

    fn clear_temporary(&self) -> io::Result<()> {
        let folder = self.path.join(TEMPORARY);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(&folder)
    }

    /// A full disk or a read-only folder is told now, not at the first write.
    fn prove_writable(&self) -> io::Result<()> {
        let path = self.temporary("probe");
        write_synced(&path, &[0; 4096])?;
        fs::remove_file(path)
    }

    /// Where a body lies until it counts.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        self.path.join(TEMPORARY).join(name)
    }

    pub(super) fn bucket(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of all buckets.
    pub(super) fn buckets(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Bucket names never begin with a dot; a name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
                && entry.file_type()?.is_dir()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    pub(super) fn make_bucket(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.bucket(name))?;
        sync_folder(&self.path)
    }

    pub(super) fn remove_bucket(&self, name: &str) -> io::Result<()> {
        // It holds no objects, though perhaps leftovers.
        fs::remove_dir_all(self.bucket(name))?;
        sync_folder(&self.path)
    }
}

/// All objects of a bucket. Leftovers of a process that was killed are removed.
pub(super) fn load(bucket: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(bucket)? {
        let folder = entry?.path();
        match read_record(&folder)? {
            Some(record) => {
                sweep(&folder, &data_name(record.version))?;
                records.push(record);
            }
            None => fs::remove_dir_all(&folder)?,
        }
    }
    Ok(records)
}

fn read_record(folder: &Path) -> io::Result<Option<Record>> {
    let path = folder.join(RECORD);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |detail: String| io::Error::new(io::ErrorKind::InvalidData, format!("{} {detail}", path.display()));
    let record: Record = serde_json::from_slice(&text).map_err(|e| damaged(format!("cannot be read: {e}")))?;
    let found = fs::metadata(folder.join(data_name(record.version))).map_err(|e| damaged(format!("names a file that is missing: {e}")))?;
    if found.len() != record.size {
        return Err(damaged(format!("says {} bytes, but its file has {}", record.size, found.len())));
    }
    Ok(Some(record))
}

/// Removes all but the record and the bytes that it names.
fn sweep(folder: &Path, data: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != RECORD && name != data {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the bytes in `body`, synced already, the object that `record` describes, in place of version `old`. An error before the commit
/// point leaves the old object; [`Committed::Unsynced`] means that the new one stands, though a power cut may still undo it.
pub(super) fn commit(bucket: &Path, record: &Record, old: Option<u64>, body: &Path) -> io::Result<Committed> {
    let folder = bucket.join(encode(&record.key));
    if old.is_none() {
        make_folder(&folder)?;
        sync_folder(bucket)?;
    }
    let next = folder.join(format!("{RECORD}.next"));
    write_synced(&next, &serde_json::to_vec_pretty(record)?)?;
    fs::rename(body, folder.join(data_name(record.version)))?;
    fs::rename(next, folder.join(RECORD))?;
    let synced = sync_folder(&folder);
    if let Some(old) = old {
        // What cannot be removed now is a leftover, and goes at the next start.
        let _ = fs::remove_file(folder.join(data_name(old)));
    }
    Ok(synced.map_or_else(Committed::Unsynced, |()| Committed::Synced))
}

/// How a change that took place ended.
pub(super) enum Committed {
    Synced,
    Unsynced(io::Error),
}

impl Committed {
    /// What to answer once the change is known in memory.
    pub(super) fn synced(self) -> io::Result<()> {
        match self {
            Self::Synced => Ok(()),
            Self::Unsynced(error) => Err(error),
        }
    }
}

/// Deletes an object. The record goes first: without it the bytes are a leftover.
pub(super) fn remove(bucket: &Path, record: &Record) -> io::Result<Committed> {
    let folder = bucket.join(encode(&record.key));
    fs::remove_file(folder.join(RECORD))?;
    let synced = sync_folder(&folder);
    let _ = fs::remove_dir_all(folder);
    Ok(synced.map_or_else(Committed::Unsynced, |()| Committed::Synced))
}

/// The bytes of an object.
pub(super) fn data_path(bucket: &Path, record: &Record) -> PathBuf {
    bucket.join(encode(&record.key)).join(data_name(record.version))
}

fn data_name(version: u64) -> String {
    format!("{version}.data")
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A key as the name of a folder: readable for common keys, distinct for all, also where the file system ignores case.
fn encode(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    let mut name = String::with_capacity(key.len());
    for (at, byte) in key.bytes().enumerate() {
        if plain(byte) && !(at == 0 && byte == b'.') {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.push_str(&hex::encode([byte]));
        }
    }
    if name.len() > LONGEST_NAME {
        // `~` is never plain, so no short key has this name.
        name.truncate(LONGEST_NAME - 65);
        name.push('~');
        name.push_str(&hex::encode(Sha256::digest(key)));
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_keys_stay_readable() {
        assert_eq!(encode("apps/orders.db"), "apps%2forders.db");
        assert_eq!(encode("A"), "%41");
        assert_eq!(encode(".."), "%2e.");
        assert_eq!(encode("ä"), "%c3%a4");
    }

    #[test]
    fn long_keys_differ_though_they_begin_alike() {
        let (a, b) = ("x".repeat(1023) + "a", "x".repeat(1023) + "b");
        assert_ne!(encode(&a), encode(&b));
        assert!(encode(&a).len() <= LONGEST_NAME);
    }

    proptest! {
        #[test]
        fn distinct_keys_have_distinct_safe_names(a in "\\PC{1,80}", b in "\\PC{1,80}") {
            let (one, other) = (encode(&a), encode(&b));
            prop_assert_eq!(a == b, one.to_lowercase() == other.to_lowercase());
            prop_assert!(one.len() <= LONGEST_NAME && !one.starts_with('.') && !one.contains(['/', '\0']));
        }
    }
}
