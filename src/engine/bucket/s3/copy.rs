//! Copying within the bucket, on the server.
//!
//! Invariant: each request of a copy carries the condition on the source, if there is one, so that such a copy never mixes two states of it.

use aws_sdk_s3::types::{CompletedPart, MetadataDirective};

use super::answer::{self, Effect};
use super::upload::Upload;
use super::{S3Bucket, written_etag};
use crate::bucket::{Bucket, Condition, Error, ObjectMeta};
use crate::names::{Etag, ObjectKey};

const GIB: u64 = 1 << 30;
/// The most that one request copies.
const LARGEST: u64 = 5 * GIB;
const PART: u64 = GIB;

pub(super) async fn copy(bucket: &S3Bucket, from: &ObjectKey, unchanged: Option<&Etag>, to: &ObjectKey) -> Result<Etag, Error> {
    match copy_whole(bucket, from, unchanged, to).await {
        // So do stores answer when the source is too large. Asking for its size first would cost each copy a request.
        Err(Error::Refused { code, message }) if code == "InvalidRequest" || code == "EntityTooLarge" => match bucket.head(from).await? {
            Some(source) if source.size > LARGEST => copy_in_parts(bucket, from, &source, unchanged, to).await,
            _ => Err(Error::Refused { code, message }),
        },
        outcome => outcome,
    }
}

async fn copy_whole(bucket: &S3Bucket, from: &ObjectKey, unchanged: Option<&Etag>, to: &ObjectKey) -> Result<Etag, Error> {
    let request = bucket.once.copy_object().bucket(&bucket.name).key(to.as_str()).copy_source(source(bucket, from));
    let copied = request
        .set_copy_source_if_match(unchanged.map(Etag::quoted))
        .metadata_directive(MetadataDirective::Copy)
        .set_server_side_encryption(bucket.encryption())
        .set_ssekms_key_id(bucket.kms_key_id.clone())
        .send()
        .await
        .map_err(|error| answer::failure(&error, Effect::Visible))?;
    written_etag(copied.copy_object_result().and_then(|result| result.e_tag()))
}

/// By parts the store takes no metadata along, so the source's is set anew.
async fn copy_in_parts(
    bucket: &S3Bucket,
    from: &ObjectKey,
    source: &ObjectMeta,
    unchanged: Option<&Etag>,
    to: &ObjectKey,
) -> Result<Etag, Error> {
    let upload = Upload::begin(bucket, to, "application/octet-stream", source.metadata.iter()).await?;
    let done = async {
        let mut parts = Vec::new();
        for (number, (first, last)) in (1..).zip(ranges(source.size)) {
            parts.push(copy_part(bucket, from, unchanged, &upload, to, number, format!("bytes={first}-{last}")).await?);
        }
        upload.complete(parts, &Condition::Always).await
    };
    upload.or_abort(done.await).await
}

pub(super) async fn copy_part(
    bucket: &S3Bucket,
    from: &ObjectKey,
    unchanged: Option<&Etag>,
    upload: &Upload,
    to: &ObjectKey,
    number: i32,
    range: String,
) -> Result<CompletedPart, Error> {
    let request = bucket.parts.upload_part_copy().bucket(&bucket.name).key(to.as_str()).upload_id(upload.id()).part_number(number);
    let copied = request
        .copy_source(source(bucket, from))
        .copy_source_range(range)
        .set_copy_source_if_match(unchanged.map(Etag::quoted))
        .send()
        .await
        .map_err(|error| answer::failure(&error, Effect::Invisible))?;
    let etag = copied.copy_part_result.and_then(|result| result.e_tag);
    Ok(CompletedPart::builder().part_number(number).set_e_tag(etag).build())
}

/// First and last byte of each part.
fn ranges(size: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size.div_ceil(PART)).map(move |part| (part * PART, ((part + 1) * PART).min(size) - 1))
}

/// The source as the header wants it. The SDK passes it on as it is, so it is encoded here.
fn source(bucket: &S3Bucket, key: &ObjectKey) -> String {
    format!("{}/{}", bucket.name, encode(key.as_str()))
}

fn encode(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_byte_by_byte() {
        assert_eq!(encode("apps/orders.db"), "apps/orders.db");
        assert_eq!(encode("a b+c?d%e#ä"), "a%20b%2Bc%3Fd%25e%23%C3%A4");
    }

    #[test]
    fn ranges_cover_the_source_without_gap_or_overlap() {
        assert_eq!(ranges(2 * PART).collect::<Vec<_>>(), [(0, PART - 1), (PART, 2 * PART - 1)]);
        assert_eq!(ranges(PART + 1).collect::<Vec<_>>(), [(0, PART - 1), (PART, PART)]);
    }
}
