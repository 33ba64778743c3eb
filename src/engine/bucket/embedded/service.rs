//! S3's operations over the store: from requests to calls, from failures to error codes. No decisions.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use md5::{Digest, Md5};
use s3s::dto::{self, ETag, ETagCondition, StreamingBlob, Timestamp};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tokio_util::task::TaskTracker;

use super::access::Fate;
use super::faults::FaultEffect;
use super::folder::Record;
use super::list::{self, Query};
use super::multipart::Upload;
use super::store::{Body, Bucket, Conditions, Failure, Match, NewObject, Store};

const MOST_ROWS: i32 = 1000;

/// The operations of a store.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) store: Arc<Store>,
    /// What goes on in its folder.
    pub(super) acts: TaskTracker,
}

impl From<Failure> for S3Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchBucket => s3_error!(NoSuchBucket, "The specified bucket does not exist."),
            Failure::BucketExists => s3_error!(BucketAlreadyOwnedByYou, "The bucket exists already."),
            Failure::BucketNotEmpty => s3_error!(BucketNotEmpty, "The bucket still holds objects."),
            Failure::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
            Failure::NoSuchUpload => s3_error!(NoSuchUpload, "The specified upload does not exist; it was completed or aborted."),
            Failure::PreconditionFailed => s3_error!(PreconditionFailed, "At least one of the preconditions did not hold."),
            Failure::InvalidPart(why) => s3_error!(InvalidPart, "{why}"),
            Failure::InvalidPartOrder => s3_error!(InvalidPartOrder, "The parts are not in ascending order."),
            Failure::EntityTooSmall => s3_error!(EntityTooSmall, "A part that is not the last has less than 5 MiB."),
            Failure::Io(error) => disk_error(&error),
        }
    }
}

fn disk_error(error: &io::Error) -> S3Error {
    tracing::error!(%error, "the embedded store cannot use its folder");
    if error.kind() == io::ErrorKind::StorageFull {
        let mut full = S3Error::with_message(S3ErrorCode::Custom("InsufficientStorage".into()), "The disk is full.");
        full.set_status_code(http::StatusCode::INSUFFICIENT_STORAGE);
        return full;
    }
    s3_error!(InternalError, "The store cannot use its folder: {error}")
}

impl Service {
    /// Runs on a thread that may block. What has begun ends, also when the client goes away.
    async fn on_disk<T: Send + 'static>(&self, act: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static) -> S3Result<T> {
        let store = Arc::clone(&self.store);
        let done = self.acts.spawn_blocking(move || act(&store)).await;
        Ok(done.map_err(|error| s3_error!(InternalError, "{error}"))??)
    }

    async fn in_bucket<T: Send + 'static>(
        &self,
        bucket: String,
        act: impl FnOnce(&Store, &Bucket) -> Result<T, Failure> + Send + 'static,
    ) -> S3Result<T> {
        self.on_disk(move |store| act(store, &*store.bucket(&bucket)?)).await
    }

    /// Takes a body in, into a temporary file, before any lock is taken.
    async fn receive(&self, mut stream: impl futures::Stream<Item = Result<bytes::Bytes, s3s::StdError>> + Unpin) -> S3Result<Body> {
        let io = |error: io::Error| S3Error::from(Failure::Io(error));
        let path = self.store.temporary();
        let place = path.clone();
        let mut file = tokio::fs::File::from_std(self.on_disk(move |_| Ok(std::fs::File::create(&place)?)).await?);
        // From here on the file goes with this value, also when the client goes away.
        let mut body = Body { path, size: 0, md5: [0; 16] };
        let mut md5 = Md5::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| s3_error!(IncompleteBody, "The body did not arrive whole: {error}"))?;
            md5.update(&chunk);
            file.write_all(&chunk).await.map_err(io)?;
            body.size += chunk.len() as u64;
        }
        file.flush().await.map_err(io)?;
        file.sync_data().await.map_err(io)?;
        body.md5 = md5.finalize().into();
        Ok(body)
    }

    async fn receive_request(&self, body: Option<StreamingBlob>, length: Option<i64>) -> S3Result<Body> {
        let received = match body {
            Some(body) => self.receive(body).await?,
            None => self.receive(futures::stream::empty()).await?,
        };
        match length.and_then(|length| u64::try_from(length).ok()) {
            Some(length) if length != received.size => Err(s3_error!(IncompleteBody, "{} of {length} bytes arrived.", received.size)),
            _ => Ok(received),
        }
    }

    /// The source of a copy as it is now, or a range of it, if the condition holds.
    async fn receive_copy(&self, source: &dto::CopySource, conditions: Conditions, range: Option<&str>) -> S3Result<(Arc<Record>, Body)> {
        let dto::CopySource::Bucket { bucket, key, .. } = source else {
            return Err(s3_error!(NotImplemented, "Only buckets can be copied from."));
        };
        let (bucket, key) = (bucket.to_string(), key.to_string());
        let (record, file) = self.in_bucket(bucket, move |_, bucket| bucket.open(&key)).await?;
        if !conditions.is_match(&record) || conditions.is_unwanted(&record) {
            return Err(Failure::PreconditionFailed.into());
        }
        let range = match range {
            Some(range) => {
                dto::Range::parse(range).map_err(|_| s3_error!(InvalidArgument, "The range is not valid."))?.check(record.size)?
            }
            None => 0..record.size,
        };
        let body = self.receive(read(file, range).await?).await?;
        Ok((record, body))
    }
}

/// The bytes of a file within a range.
async fn read(
    file: std::fs::File,
    range: std::ops::Range<u64>,
) -> S3Result<impl futures::Stream<Item = Result<bytes::Bytes, s3s::StdError>> + Unpin + Send + Sync + 'static> {
    let mut file = tokio::fs::File::from_std(file);
    file.seek(io::SeekFrom::Start(range.start)).await.map_err(Failure::Io)?;
    let stream = ReaderStream::with_capacity(file.take(range.end - range.start), 256 << 10);
    Ok(stream.map(|chunk| chunk.map_err(s3s::StdError::from)))
}

fn conditions<T>(request: &S3Request<T>, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> Conditions {
    if request.extensions.get::<Fate>().is_some_and(|fate| fate.effect() == Some(FaultEffect::IgnoreConditions)) {
        return Conditions::default();
    }
    let condition = |header: Option<&ETagCondition>| {
        header.map(|condition| match condition {
            ETagCondition::Any => Match::Any,
            ETagCondition::ETag(etag) => Match::Etag(etag.value().to_owned()),
        })
    };
    Conditions { if_match: condition(if_match), if_none_match: condition(if_none_match) }
}

fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

fn modified(record: &Record) -> Timestamp {
    Timestamp::from(std::time::SystemTime::from(record.modified))
}

fn length(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

/// Empty metadata is none.
fn metadata_of(record: &Record) -> Option<dto::Metadata> {
    (!record.metadata.is_empty()).then(|| record.metadata.clone().into_iter().collect())
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn list_buckets(&self, _: S3Request<dto::ListBucketsInput>) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let bucket = |name| dto::Bucket { name: Some(name), ..Default::default() };
        let buckets = self.store.bucket_names().into_iter().map(bucket).collect();
        Ok(S3Response::new(dto::ListBucketsOutput { buckets: Some(buckets), ..Default::default() }))
    }

    async fn create_bucket(&self, request: S3Request<dto::CreateBucketInput>) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let name = request.input.bucket;
        let location = format!("/{name}");
        self.on_disk(move |store| store.create_bucket(&name)).await?;
        Ok(S3Response::new(dto::CreateBucketOutput { location: Some(location) }))
    }

    async fn head_bucket(&self, request: S3Request<dto::HeadBucketInput>) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.store.bucket(&request.input.bucket)?;
        Ok(S3Response::new(dto::HeadBucketOutput::default()))
    }

    async fn delete_bucket(&self, request: S3Request<dto::DeleteBucketInput>) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        self.on_disk(move |store| store.delete_bucket(&request.input.bucket)).await?;
        Ok(S3Response::new(dto::DeleteBucketOutput::default()))
    }

    async fn list_objects_v2(&self, request: S3Request<dto::ListObjectsV2Input>) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = request.input;
        let rows = input.max_keys.unwrap_or(MOST_ROWS).clamp(0, MOST_ROWS);
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            after: input.continuation_token.as_deref().or(input.start_after.as_deref()),
            limit: usize::try_from(rows).unwrap_or_default(),
        };
        let page = self.store.bucket(&input.bucket)?.with(|state| Ok(list::page(&state.objects, &query)))?;
        let object = |record: &Arc<Record>| dto::Object {
            key: Some(record.key.clone()),
            e_tag: Some(strong(&record.etag)),
            size: length(record.size),
            last_modified: Some(modified(record)),
            ..Default::default()
        };
        let contents: Vec<_> = page.objects.iter().map(object).collect();
        let prefixes: Vec<_> = page.prefixes.into_iter().map(|prefix| dto::CommonPrefix { prefix: Some(prefix) }).collect();
        Ok(S3Response::new(dto::ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            max_keys: Some(rows),
            key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    async fn head_object(&self, request: S3Request<dto::HeadObjectInput>) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let conditions = conditions(&request, request.input.if_match.as_ref(), request.input.if_none_match.as_ref());
        let record = self.store.bucket(&request.input.bucket)?.record(&request.input.key)?;
        check_read(&record, &conditions)?;
        Ok(S3Response::new(dto::HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(record.size),
            content_type: record.content_type.clone(),
            e_tag: Some(strong(&record.etag)),
            last_modified: Some(modified(&record)),
            metadata: metadata_of(&record),
            ..Default::default()
        }))
    }

    async fn get_object(&self, request: S3Request<dto::GetObjectInput>) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let conditions = conditions(&request, request.input.if_match.as_ref(), request.input.if_none_match.as_ref());
        let dto::GetObjectInput { bucket, key, range, response_content_type, response_content_disposition, .. } = request.input;
        let (record, file) = self.in_bucket(bucket, move |_, bucket| bucket.open(&key)).await?;
        check_read(&record, &conditions)?;
        let bytes = range.map_or(Ok(0..record.size), |range| range.check(record.size))?;
        let content_range = range.map(|_| format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, record.size));
        let output = dto::GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(bytes.end - bytes.start),
            content_type: response_content_type.or_else(|| record.content_type.clone()),
            content_disposition: response_content_disposition,
            e_tag: Some(strong(&record.etag)),
            last_modified: Some(modified(&record)),
            metadata: metadata_of(&record),
            body: Some(StreamingBlob::from(s3s::Body::http_body(http_body_util::StreamBody::new(
                read(file, bytes).await?.map(|chunk| chunk.map(hyper::body::Frame::data)),
            )))),
            content_range: content_range.clone(),
            ..Default::default()
        };
        match content_range {
            Some(_) => Ok(S3Response::with_status(output, http::StatusCode::PARTIAL_CONTENT)),
            None => Ok(S3Response::new(output)),
        }
    }

    async fn put_object(&self, request: S3Request<dto::PutObjectInput>) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let conditions = conditions(&request, request.input.if_match.as_ref(), request.input.if_none_match.as_ref());
        let dto::PutObjectInput { bucket, key, body, content_length, content_md5, content_type, metadata, .. } = request.input;
        self.store.bucket(&bucket)?;
        let body = self.receive_request(body, content_length).await?;
        if content_md5.is_some_and(|expected| expected != s3_md5(&body.md5)) {
            return Err(s3_error!(BadDigest, "The Content-MD5 is not that of the body."));
        }
        let new =
            NewObject { key, etag: hex::encode(body.md5), content_type, metadata: metadata.unwrap_or_default().into_iter().collect() };
        let record = self.in_bucket(bucket, move |_, bucket| bucket.write(new, &body, &conditions)).await?;
        Ok(S3Response::new(dto::PutObjectOutput { e_tag: Some(strong(&record.etag)), ..Default::default() }))
    }

    async fn copy_object(&self, request: S3Request<dto::CopyObjectInput>) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let input = &request.input;
        let conditions = conditions(&request, input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref());
        let (source, body) = self.receive_copy(&input.copy_source, conditions, None).await?;
        let replaced = input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == dto::MetadataDirective::REPLACE);
        let dto::CopyObjectInput { bucket, key, content_type, metadata, .. } = request.input;
        // A copy of an object that was uploaded by parts is one part, so its ETag is that of its bytes.
        let etag = hex::encode(body.md5);
        let new = if replaced {
            NewObject { key, etag, content_type, metadata: metadata.unwrap_or_default().into_iter().collect() }
        } else {
            NewObject { key, etag, content_type: source.content_type.clone(), metadata: source.metadata.clone() }
        };
        let record = self.in_bucket(bucket, move |_, bucket| bucket.write(new, &body, &Conditions::default())).await?;
        let result =
            dto::CopyObjectResult { e_tag: Some(strong(&record.etag)), last_modified: Some(modified(&record)), ..Default::default() };
        Ok(S3Response::new(dto::CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn delete_object(&self, request: S3Request<dto::DeleteObjectInput>) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let conditions = conditions(&request, request.input.if_match.as_ref(), None);
        let dto::DeleteObjectInput { bucket, key, .. } = request.input;
        self.in_bucket(bucket, move |_, bucket| bucket.delete(&key, &conditions)).await?;
        Ok(S3Response::new(dto::DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, request: S3Request<dto::DeleteObjectsInput>) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let dto::DeleteObjectsInput { bucket, delete, .. } = request.input;
        let keys: Vec<_> = delete.objects.into_iter().map(|object| object.key).collect();
        let gone = keys.clone();
        self.in_bucket(bucket, move |_, bucket| keys.iter().try_for_each(|key| bucket.delete(key, &Conditions::default()))).await?;
        let deleted = gone.into_iter().map(|key| dto::DeletedObject { key: Some(key), ..Default::default() }).collect();
        Ok(S3Response::new(dto::DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let dto::CreateMultipartUploadInput { bucket, key, content_type, metadata, .. } = request.input;
        let metadata = metadata.unwrap_or_default().into_iter().collect();
        let id = self.store.upload_id();
        let upload = Upload { key: key.clone(), content_type, metadata, parts: std::collections::BTreeMap::new() };
        self.store.bucket(&bucket)?.begin_upload(id.clone(), upload)?;
        Ok(S3Response::new(dto::CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<dto::UploadPartInput>) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let dto::UploadPartInput { bucket, key, upload_id, part_number, body, content_length, .. } = request.input;
        let bucket = self.store.bucket(&bucket)?;
        bucket.upload(&upload_id, &key)?;
        let body = self.receive_request(body, content_length).await?;
        let etag = bucket.add_part(&upload_id, &key, part_number, body)?;
        Ok(S3Response::new(dto::UploadPartOutput { e_tag: Some(strong(&etag)), ..Default::default() }))
    }

    async fn upload_part_copy(&self, request: S3Request<dto::UploadPartCopyInput>) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        let input = &request.input;
        let conditions = conditions(&request, input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref());
        let bucket = self.store.bucket(&input.bucket)?;
        bucket.upload(&input.upload_id, &input.key)?;
        let (_, body) = self.receive_copy(&input.copy_source, conditions, input.copy_source_range.as_deref()).await?;
        let etag = bucket.add_part(&input.upload_id, &input.key, input.part_number, body)?;
        let result = dto::CopyPartResult { e_tag: Some(strong(&etag)), ..Default::default() };
        Ok(S3Response::new(dto::UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
    }

    async fn list_parts(&self, request: S3Request<dto::ListPartsInput>) -> S3Result<S3Response<dto::ListPartsOutput>> {
        let dto::ListPartsInput { bucket, key, upload_id, part_number_marker, max_parts, .. } = request.input;
        let upload = self.store.bucket(&bucket)?.upload(&upload_id, &key)?;
        let most = max_parts.unwrap_or(MOST_ROWS).clamp(1, MOST_ROWS);
        let mut rest = upload.parts.range(part_number_marker.unwrap_or_default().saturating_add(1)..).peekable();
        let mut parts = Vec::new();
        while parts.len() < usize::try_from(most).unwrap_or_default()
            && let Some((&number, part)) = rest.next()
        {
            let e_tag = Some(strong(&hex::encode(part.md5)));
            parts.push(dto::Part { part_number: Some(number), e_tag, size: length(part.size), ..Default::default() });
        }
        let next = rest.peek().and(parts.last()).and_then(|part| part.part_number);
        Ok(S3Response::new(dto::ListPartsOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload_id),
            max_parts: Some(most),
            part_number_marker,
            is_truncated: Some(next.is_some()),
            next_part_number_marker: next,
            parts: Some(parts),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let conditions = conditions(&request, request.input.if_match.as_ref(), request.input.if_none_match.as_ref());
        let dto::CompleteMultipartUploadInput { bucket, key, upload_id, multipart_upload, .. } = request.input;
        let named = multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let part = |part: dto::CompletedPart| Some((part.part_number?, part.e_tag?.into_value()));
        let named: Option<Vec<_>> = named.into_iter().map(part).collect();
        let named = named.ok_or_else(|| s3_error!(MalformedXML, "Each part needs its number and its ETag."))?;
        let (bucket_name, object_key) = (bucket.clone(), key.clone());
        let complete =
            move |store: &Store, bucket: &Bucket| bucket.complete_upload(&upload_id, &object_key, &named, &conditions, store.temporary());
        let record = self.in_bucket(bucket_name, complete).await?;
        Ok(S3Response::new(dto::CompleteMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(strong(&record.etag)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let dto::AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
        self.in_bucket(bucket, move |_, bucket| bucket.abort_upload(&upload_id, &key)).await?;
        Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
    }
}

fn check_read(record: &Record, conditions: &Conditions) -> S3Result<()> {
    if !conditions.is_match(record) {
        return Err(Failure::PreconditionFailed.into());
    }
    if conditions.is_unwanted(record) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

/// As `Content-MD5` writes it.
fn s3_md5(md5: &[u8; 16]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(md5)
}
