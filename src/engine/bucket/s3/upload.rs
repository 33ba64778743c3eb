//! Writing an object: in one request up to 8 MiB, above that by parts.
//!
//! Invariants: at most two parts are in memory at a time; nothing is visible before the last request, which alone carries the condition;
//! an upload that fails is aborted, so that nothing completes it later and its parts cost nothing.

use std::io::{self, Read};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use memmap2::MmapMut;

use super::answer::{self, Effect};
use super::copy::copy_part;
use super::{S3Bucket, written_etag};
use crate::bucket::{Condition, Content, Error, Form, Patched, Put, Staged};
use crate::names::{Etag, ObjectKey};

const MIB: u64 = 1 << 20;
/// Up to here an object goes in one request; above it in parts of this size.
const PART: u64 = 8 * MIB;
/// As many as an upload may have.
const MOST_PARTS: u64 = 10_000;
const IN_FLIGHT: usize = 2;
/// Of an object that is put together from another one. A copied part costs the store more than its bytes, and one that changed is sent.
pub(super) const PATCH: u64 = 16 * MIB;

pub(super) fn is_large(len: u64) -> bool {
    len > PART
}

pub(super) async fn put(bucket: &S3Bucket, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
    if is_large(content.len()) { put_in_parts(bucket, key, content, put).await } else { put_whole(bucket, key, content, &put).await }
}

async fn put_whole(bucket: &S3Bucket, key: &ObjectKey, content: Content, put: &Put) -> Result<Etag, Error> {
    // It is sent as it is, without a copy, and without a wait for a thread that may block.
    if let Some(bytes) = content.whole() {
        return send_whole(bucket, key, bytes.clone(), put).await;
    }
    let Some((bytes, _)) = Source::new(content).next(PART).await? else { return send_whole(bucket, key, Bytes::new(), put).await };
    send_whole(bucket, key, bytes, put).await
}

async fn send_whole(bucket: &S3Bucket, key: &ObjectKey, bytes: Bytes, put: &Put) -> Result<Etag, Error> {
    let (if_match, if_none_match) = headers(&put.condition);
    let mut request = bucket.once.put_object().bucket(&bucket.name).key(key.as_str()).content_type(put.form.content_type);
    for (name, value) in &put.form.metadata {
        request = request.metadata(name, value);
    }
    let sent = request
        .set_if_match(if_match)
        .set_if_none_match(if_none_match)
        .set_server_side_encryption(bucket.encryption())
        .set_ssekms_key_id(bucket.kms_key_id.clone())
        .body(ByteStream::from(bytes))
        .send()
        .await
        .map_err(|error| answer::failure(&error, Effect::Visible))?;
    written_etag(sent.e_tag())
}

pub(super) async fn put_in_parts(bucket: &S3Bucket, key: &ObjectKey, content: Content, put: Put) -> Result<Etag, Error> {
    Box::new(stage(bucket, key, content, &put.form).await?).publish(&put.condition).await
}

/// Sends the parts, and leaves the last request to whoever knows the condition.
pub(super) async fn stage(bucket: &S3Bucket, key: &ObjectKey, content: Content, form: &Form) -> Result<StagedUpload, Error> {
    let upload = Upload::begin(bucket, key, form.content_type, form.metadata.iter()).await?;
    let sent = upload.send_parts(content).await;
    let parts = upload.or_abort(sent).await?;
    Ok(StagedUpload { upload, parts })
}

/// The same of an object that has parts in common with another one, which the store copies by itself.
pub(super) async fn stage_patched(bucket: &S3Bucket, key: &ObjectKey, patched: Patched, form: &Form) -> Result<StagedUpload, Error> {
    let upload = Upload::begin(bucket, key, form.content_type, form.metadata.iter()).await?;
    let sent = upload.send_patched(&patched).await;
    let parts = upload.or_abort(sent).await?;
    Ok(StagedUpload { upload, parts })
}

/// An upload of which all parts are there.
pub(super) struct StagedUpload {
    upload: Upload,
    parts: Vec<CompletedPart>,
}

#[async_trait]
impl Staged for StagedUpload {
    async fn publish(self: Box<Self>, condition: &Condition) -> Result<Etag, Error> {
        let done = self.upload.complete(self.parts, condition).await;
        self.upload.or_abort(done).await
    }

    async fn discard(self: Box<Self>) {
        self.upload.abort().await;
    }
}

/// An upload by parts that has begun.
pub(super) struct Upload {
    bucket: S3Bucket,
    key: ObjectKey,
    id: String,
}

impl Upload {
    pub(super) async fn begin(
        bucket: &S3Bucket,
        key: &ObjectKey,
        content_type: &str,
        metadata: impl Iterator<Item = (&String, &String)>,
    ) -> Result<Self, Error> {
        let mut request = bucket.parts.create_multipart_upload().bucket(&bucket.name).key(key.as_str()).content_type(content_type);
        for (name, value) in metadata {
            request = request.metadata(name, value);
        }
        let begun = request
            .set_server_side_encryption(bucket.encryption())
            .set_ssekms_key_id(bucket.kms_key_id.clone())
            .send()
            .await
            .map_err(|error| answer::failure(&error, Effect::Invisible))?;
        let id = begun.upload_id.ok_or_else(|| Error::Unavailable { message: "the store named no upload".to_owned() })?;
        Ok(Self { bucket: bucket.clone(), key: key.clone(), id })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    async fn send_parts(&self, content: Content) -> Result<Vec<CompletedPart>, Error> {
        let parts = Source::parts(content);
        // Each part in flight holds its bytes, and the next is read only when one of them is done.
        parts.map_ok(|(number, bytes)| self.send_part(number, bytes)).try_buffered(IN_FLIGHT).try_collect().await
    }

    async fn send_patched(&self, patched: &Patched) -> Result<Vec<CompletedPart>, Error> {
        let Patched { from, unchanged, same, part, len, content } = patched;
        let numbers = (0..len.div_ceil(*part)).zip(1..);
        let parts = stream::iter(numbers).map(|(place, number)| async move {
            let (begin, end) = (place * part, ((place + 1) * part).min(*len));
            if same.contains(&place) {
                let range = format!("bytes={begin}-{}", end - 1);
                return copy_part(&self.bucket, from, Some(unchanged), self, &self.key, number, range).await;
            }
            let content = Arc::clone(content);
            let read = tokio::task::spawn_blocking(move || {
                let len = usize::try_from(end - begin).map_err(io::Error::other)?;
                take(&mut content(begin), len)
            });
            self.send_part(number, read.await.map_err(io::Error::other)??).await
        });
        parts.buffered(IN_FLIGHT).try_collect().await
    }

    async fn send_part(&self, number: i32, bytes: Bytes) -> Result<CompletedPart, Error> {
        let Self { bucket, key, id } = self;
        let request = bucket.parts.upload_part().bucket(&bucket.name).key(key.as_str()).upload_id(id).part_number(number);
        let sent = request.body(ByteStream::from(bytes)).send().await.map_err(|error| answer::failure(&error, Effect::Invisible))?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
    }

    pub(super) async fn complete(&self, parts: Vec<CompletedPart>, condition: &Condition) -> Result<Etag, Error> {
        let Self { bucket, key, id } = self;
        let (if_match, if_none_match) = headers(condition);
        let request = bucket.once.complete_multipart_upload().bucket(&bucket.name).key(key.as_str()).upload_id(id);
        let done = request
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .send()
            .await
            .map_err(|error| answer::failure(&error, Effect::Visible))?;
        written_etag(done.e_tag())
    }

    /// Passes a success on and aborts the upload after a failure. After an unclear one, too: once the abort is through, no late request
    /// can complete the upload any more.
    pub(super) async fn or_abort<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_err() {
            self.abort().await;
        }
        done
    }

    async fn abort(&self) {
        let Self { bucket, key, id } = self;
        let request = bucket.parts.abort_multipart_upload().bucket(&bucket.name).key(key.as_str()).upload_id(id);
        if let Err(error) = request.send().await {
            let error = answer::failure(&error, Effect::Invisible);
            tracing::debug!(%key, %error, "an upload could not be aborted; the bucket's lifecycle rules will");
        }
    }
}

/// Equal parts, as R2 wants them: 8 MiB, and more where the object would have too many.
fn part_size(len: u64) -> u64 {
    PART.max(len.div_ceil(MOST_PARTS).next_multiple_of(MIB))
}

fn headers(condition: &Condition) -> (Option<String>, Option<String>) {
    match condition {
        Condition::Always => (None, None),
        Condition::IfAbsent => (None, Some("*".to_owned())),
        Condition::IfUnchanged(etag) => (Some(etag.quoted()), None),
    }
}

/// From here on the bytes of a part are borrowed from the system and go back to it as soon as the part is sent. The allocator would keep
/// what each thread that ever read a part has given back.
const LARGE: usize = 1 << 20;

/// The next `len` bytes.
fn take(reader: &mut impl Read, len: usize) -> io::Result<Bytes> {
    if len < LARGE {
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes)?;
        return Ok(bytes.into());
    }
    let mut bytes = MmapMut::map_anon(len)?;
    reader.read_exact(&mut bytes)?;
    Ok(Bytes::from_owner(bytes))
}

/// What is still to be read.
struct Source {
    reader: Box<dyn Read + Send>,
    left: u64,
}

impl Source {
    fn new(content: Content) -> Self {
        Self { left: content.len(), reader: content.reader() }
    }

    /// Numbered from one, each read when it is asked for.
    fn parts(content: Content) -> BoxStream<'static, Result<(i32, Bytes), Error>> {
        let size = part_size(content.len());
        let read = stream::try_unfold((Self::new(content), 1), move |(source, number)| async move {
            let part = source.next(size).await?;
            Ok(part.map(|(bytes, source)| ((number, bytes), (source, number + 1))))
        });
        read.boxed()
    }

    /// The next `most` bytes, or as many as are left; `None` at the end. Reading may block, so it happens on a thread that may.
    async fn next(mut self, most: u64) -> Result<Option<(Bytes, Self)>, Error> {
        let read = tokio::task::spawn_blocking(move || {
            let len = self.left.min(most);
            if len == 0 {
                return self.expect_end().map(|()| None);
            }
            let bytes = take(&mut self.reader, usize::try_from(len).map_err(io::Error::other)?)?;
            self.left -= len;
            if self.left == 0 {
                self.expect_end()?;
            }
            Ok(Some((bytes, self)))
        });
        Ok(read.await.map_err(io::Error::other)??)
    }

    /// A reader that has more than it said would lose its end silently.
    fn expect_end(&mut self) -> io::Result<()> {
        match self.reader.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the content is longer than it was said to be")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_8_mib_until_there_would_be_too_many() {
        assert_eq!(part_size(PART + 1), PART);
        assert_eq!(part_size(MOST_PARTS * PART), PART);
        let large = MOST_PARTS * PART + 1;
        assert_eq!(part_size(large), 9 * MIB);
        assert!(large.div_ceil(part_size(large)) <= MOST_PARTS);
    }
}
