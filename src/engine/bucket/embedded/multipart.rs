//! Uploads by parts: which parts make an object, and what its `ETag` is.
//!
//! Invariant: parts of an upload count only when it is completed, in the write that checks the condition.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use md5::{Digest, Md5};

use super::Dialect;
use super::folder::Record;
use super::store::{Body, Bucket, Conditions, Failure, NewObject};

/// The least that a part other than the last may have.
const SMALLEST_PART: u64 = 5 << 20;

/// An upload that has begun.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) content_type: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) parts: BTreeMap<i32, Arc<Body>>,
}

impl Bucket {
    pub(super) fn begin_upload(&self, id: String, upload: Upload) -> Result<(), Failure> {
        self.with(|state| {
            state.uploads.insert(id, upload);
            Ok(())
        })
    }

    /// The upload as it is now. Its parts live on while somebody reads them.
    pub(super) fn upload(&self, id: &str, key: &str) -> Result<Upload, Failure> {
        self.with(|state| state.uploads.get(id).filter(|upload| upload.key == key).cloned().ok_or(Failure::NoSuchUpload))
    }

    pub(super) fn add_part(&self, id: &str, key: &str, number: i32, body: Body) -> Result<String, Failure> {
        let etag = hex::encode(body.md5);
        self.with(|state| {
            let upload = state.uploads.get_mut(id).filter(|upload| upload.key == key).ok_or(Failure::NoSuchUpload)?;
            upload.parts.insert(number, Arc::new(body));
            Ok(etag)
        })
    }

    pub(super) fn abort_upload(&self, id: &str, key: &str) -> Result<(), Failure> {
        self.upload(id, key)?;
        self.with(|state| state.uploads.remove(id).map(drop).ok_or(Failure::NoSuchUpload))
    }

    /// Makes the named parts an object. The upload stays if that fails, so that it can be completed again or aborted.
    pub(super) fn complete_upload(
        &self,
        id: &str,
        key: &str,
        named: &[(i32, String)],
        conditions: &Conditions,
        assembled: PathBuf,
    ) -> Result<Arc<Record>, Failure> {
        let upload = self.upload(id, key)?;
        let parts = select(&upload.parts, named)?;
        check_sizes(&parts, self.dialect())?;
        let etag = combined_etag(&parts);
        let body = assemble(&parts, assembled)?;
        let new = NewObject { key: upload.key, etag, content_type: upload.content_type, metadata: upload.metadata };
        self.with(|state| {
            // Another request may have completed or aborted it while the parts were put together.
            if !state.uploads.contains_key(id) {
                return Err(Failure::NoSuchUpload);
            }
            let record = self.write_locked(state, new, &body, conditions)?;
            state.uploads.remove(id);
            Ok(record)
        })
    }
}

/// The parts that the request names, which must be there and in order.
fn select(parts: &BTreeMap<i32, Arc<Body>>, named: &[(i32, String)]) -> Result<Vec<Arc<Body>>, Failure> {
    if named.is_empty() {
        return Err(Failure::InvalidPart("the request names no part"));
    }
    if !named.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(Failure::InvalidPartOrder);
    }
    let find = |(number, etag): &(i32, String)| {
        parts.get(number).filter(|part| hex::encode(part.md5) == *etag).cloned().ok_or(Failure::InvalidPart("no such part was uploaded"))
    };
    named.iter().map(find).collect()
}

fn check_sizes(parts: &[Arc<Body>], dialect: Dialect) -> Result<(), Failure> {
    let Some((last, others)) = parts.split_last() else { return Ok(()) };
    if others.iter().any(|part| part.size < SMALLEST_PART) {
        return Err(Failure::EntityTooSmall);
    }
    let unequal = others.first().is_some_and(|first| last.size > first.size || others.iter().any(|part| part.size != first.size));
    if dialect == Dialect::R2 && unequal {
        return Err(Failure::InvalidPart("all parts but the last must have the same length, and the last none above it"));
    }
    Ok(())
}

/// S3's rule: the MD5 of the parts' MD5s, and how many there are.
fn combined_etag(parts: &[Arc<Body>]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part.md5);
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

fn assemble(parts: &[Arc<Body>], path: PathBuf) -> io::Result<Body> {
    let mut whole = File::create(&path)?;
    // From here on the file goes with this value, also when a copy fails.
    let mut body = Body { path, size: 0, md5: [0; 16] };
    for part in parts {
        body.size += io::copy(&mut File::open(&part.path)?, &mut whole)?;
    }
    whole.flush()?;
    whole.sync_data()?;
    Ok(body)
}
