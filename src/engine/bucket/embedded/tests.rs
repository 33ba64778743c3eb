//! The store by itself: what a start finds, what a kill leaves, and the rules by which R2 differs.

use std::fs;
use std::path::Path;

use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::*;
use crate::bucket::s3::tests::{Fixture, credentials};
use crate::bucket::{Condition, Content, Form, Put};
use crate::names::ObjectKey;

const MIB: usize = 1 << 20;

fn options(root: &Path) -> EmbeddedOptions {
    EmbeddedOptions { root: root.to_owned(), listen: ([127, 0, 0, 1], 0).into(), credentials: credentials(), dialect: Dialect::Standard }
}

/// The SDK as other programs use it: with trailing checksums, if the store takes them.
fn client(store: &EmbeddedStore, region: &'static str, checksums: RequestChecksumCalculation) -> aws_sdk_s3::Client {
    let policy = Arc::new(crate::bucket::s3::EndpointPolicy { allow_loopback: true, ..Default::default() });
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(aws_sdk_s3::config::Credentials::new("test", "a secret of tests", None, None, "tests"))
        .force_path_style(true)
        .endpoint_url(store.endpoint().as_str())
        .http_client(crate::bucket::s3::connect::http_client(policy, None, None).unwrap())
        .request_checksum_calculation(checksums)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

async fn write(f: &Fixture, key: &str, bytes: &'static [u8]) {
    let put = Put {
        condition: Condition::Always,
        form: Form { metadata: [("m".to_owned(), "v".to_owned())].into(), content_type: "text/plain" },
    };
    f.bucket.put(&ObjectKey::new(key), Content::from_bytes(bytes.into()), put).await.unwrap();
}

async fn restart(f: Fixture, dialect: Dialect) -> Fixture {
    f.store.stop().await;
    Fixture::over(f.folder, dialect).await
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_restart_keeps_objects_as_they_were() {
    let f = Fixture::start(Dialect::Standard).await;
    write(&f, "apps/orders.db", b"one").await;
    write(&f, "apps/orders.db", b"two").await;
    let before = f.bucket.head(&ObjectKey::new("apps/orders.db")).await.unwrap();
    let f = restart(f, Dialect::Standard).await;
    assert_eq!(f.bucket.head(&ObjectKey::new("apps/orders.db")).await.unwrap(), before);
    assert_eq!(before.unwrap().metadata["m"], "v");
    let folder = f.folder.path().join("data/apps%2forders.db");
    assert_eq!(names(&folder), ["2.data", "object.json"]);
    assert_eq!(fs::read(folder.join("2.data")).unwrap(), b"two");
}

#[tokio::test]
async fn what_a_kill_leaves_is_swept_and_the_old_object_stands() {
    let f = Fixture::start(Dialect::Standard).await;
    write(&f, "k", b"old").await;
    let root = f.folder.path().to_owned();
    f.store.stop().await;
    // Killed while a body came in; between the two renames of a write; and before the first record of a new key.
    fs::write(root.join(".tmp/7"), b"half").unwrap();
    fs::write(root.join("data/k/2.data"), b"new").unwrap();
    fs::write(root.join("data/k/object.json.next"), b"{").unwrap();
    fs::create_dir(root.join("data/never")).unwrap();
    fs::write(root.join("data/never/1.data"), b"new").unwrap();
    let f = Fixture::over(f.folder, Dialect::Standard).await;
    assert_eq!(names(&root.join(".tmp")), [""; 0]);
    assert_eq!(names(&root.join("data")), ["k"]);
    assert_eq!(names(&root.join("data/k")), ["1.data", "object.json"]);
    assert_eq!(f.bucket.head(&ObjectKey::new("k")).await.unwrap().unwrap().size, 3);
}

#[tokio::test]
async fn an_object_that_somebody_damaged_is_told_at_start() {
    let f = Fixture::start(Dialect::Standard).await;
    write(&f, "k", b"old").await;
    let root = f.folder.path().to_owned();
    f.store.stop().await;
    fs::write(root.join("data/k/1.data"), b"longer").unwrap();
    let error = EmbeddedStore::start(options(&root)).await.unwrap_err();
    assert!(error.to_string().contains("object.json says 3 bytes, but its file has 6"), "{error}");
}

#[tokio::test]
async fn a_folder_serves_one_store_at_a_time() {
    let f = Fixture::start(Dialect::Standard).await;
    let error = EmbeddedStore::start(options(f.folder.path())).await.unwrap_err();
    assert!(error.to_string().contains("another process serves"), "{error}");
    restart(f, Dialect::Standard).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told_at_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let error = EmbeddedStore::start(options(&folder.path().join("file/below"))).await.unwrap_err();
    assert!(error.to_string().contains("cannot make the folder"), "{error}");
}

#[tokio::test]
async fn a_put_that_breaks_off_leaves_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let f = Fixture::start(Dialect::Standard).await;
    let client = client(&f.store, "auto", RequestChecksumCalculation::WhenRequired);
    let valid = PresigningConfig::expires_in(Duration::from_mins(1)).unwrap();
    let url = client.put_object().bucket("data").key("k").presigned(valid).await.unwrap();
    let target = url.uri().strip_prefix(f.store.endpoint().as_str().trim_end_matches('/')).unwrap().to_owned();
    let mut stream = TcpStream::connect(f.store.address()).await.unwrap();
    let head = format!("PUT {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: 100\r\n\r\nhalf", f.store.address());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(f.bucket.head(&ObjectKey::new("k")).await.unwrap().is_none());
    assert_eq!(names(&f.folder.path().join(".tmp")), [""; 0]);
}

#[tokio::test]
async fn a_presigned_url_needs_no_other_signature() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let f = Fixture::start(Dialect::R2).await;
    write(&f, "k", b"hello").await;
    let client = client(&f.store, "auto", RequestChecksumCalculation::WhenRequired);
    let valid = PresigningConfig::expires_in(Duration::from_mins(1)).unwrap();
    let url = client.get_object().bucket("data").key("k").presigned(valid).await.unwrap();
    let target = url.uri().strip_prefix(f.store.endpoint().as_str().trim_end_matches('/')).unwrap().to_owned();
    let (signed, signature) = target.split_once("X-Amz-Signature=").unwrap();
    let forged = format!("{signed}X-Amz-Signature={}", signature.chars().rev().collect::<String>());
    for (target, status) in [(target.as_str(), "200"), (forged.as_str(), "403"), ("/data/k", "403")] {
        let mut stream = TcpStream::connect(f.store.address()).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", f.store.address());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let f = Fixture::start(Dialect::Standard).await;
    let mut stream = TcpStream::connect(f.store.address()).await.unwrap();
    let mut answer = [0; 12];
    for _ in 0..2 {
        let head = format!("PUT /data/k HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000000\r\n\r\n", f.store.address());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"HTTP/1.1 403");
        stream.write_all(&vec![0; 1_000_000]).await.unwrap();
        while !answer.ends_with(b"</Error>") {
            answer.rotate_left(1);
            answer[11] = stream.read_u8().await.unwrap();
        }
    }
}

#[tokio::test]
async fn r2_refuses_checksums_that_trail_and_foreign_regions() {
    for (dialect, refused) in [(Dialect::Standard, None), (Dialect::R2, Some("NotImplemented"))] {
        let f = Fixture::start(dialect).await;
        let trailing = client(&f.store, "auto", RequestChecksumCalculation::WhenSupported);
        // A body that cannot be read twice makes the SDK send its checksum at the end.
        let file = f.folder.path().join("body");
        fs::write(&file, b"hello").unwrap();
        let sent = trailing.put_object().bucket("data").key("k").body(ByteStream::from_path(file).await.unwrap()).send().await;
        assert_eq!(sent.err().as_ref().and_then(ProvideErrorMetadata::code), refused, "{dialect:?}");
        let refused = refused.map(|_| "InvalidRegion");
        let foreign = client(&f.store, "eu-central-1", RequestChecksumCalculation::WhenRequired);
        let sent = foreign.put_object().bucket("data").key("k").body(ByteStream::from_static(b"hello")).send().await;
        assert_eq!(sent.err().as_ref().and_then(ProvideErrorMetadata::code), refused, "{dialect:?}");
    }
}

/// Uploads parts of these sizes; the code of the refusal to complete them.
async fn upload(store: &EmbeddedStore, sizes: &[usize]) -> Option<String> {
    let client = client(store, "auto", RequestChecksumCalculation::WhenRequired);
    let id = client.create_multipart_upload().bucket("data").key("k").send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for (number, &size) in (1..).zip(sizes) {
        let request = client.upload_part().bucket("data").key("k").upload_id(&id).part_number(number);
        let sent = request.body(ByteStream::from(vec![1; size])).send().await.unwrap();
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
    }
    let listed = client.list_parts().bucket("data").key("k").upload_id(&id).max_parts(1).send().await.unwrap();
    assert_eq!((listed.parts().len(), listed.is_truncated()), (1, Some(sizes.len() > 1)));
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let request = client.complete_multipart_upload().bucket("data").key("k").upload_id(&id).multipart_upload(parts);
    request.send().await.err().and_then(|error| error.code().map(str::to_owned))
}

#[tokio::test]
async fn r2_wants_parts_of_equal_size() {
    let (standard, r2) = (Fixture::start(Dialect::Standard).await, Fixture::start(Dialect::R2).await);
    let unequal = [[6 * MIB, 5 * MIB, 1], [5 * MIB, 5 * MIB, 6 * MIB]];
    for sizes in &unequal {
        assert_eq!(upload(&standard.store, sizes).await, None);
        assert_eq!(upload(&r2.store, sizes).await.as_deref(), Some("InvalidPart"));
    }
    assert_eq!(upload(&r2.store, &[5 * MIB, 5 * MIB, 1]).await, None);
    assert_eq!(upload(&r2.store, &[MIB, MIB]).await.as_deref(), Some("EntityTooSmall"));
}

#[tokio::test]
async fn if_match_of_a_missing_key_is_404_and_412_with_r2() {
    for (dialect, code) in [(Dialect::Standard, "NoSuchKey"), (Dialect::R2, "PreconditionFailed")] {
        let f = Fixture::start(dialect).await;
        let client = client(&f.store, "auto", RequestChecksumCalculation::WhenRequired);
        let sent = client.put_object().bucket("data").key("k").if_match("\"0\"").body(ByteStream::from_static(b"x")).send().await;
        assert_eq!(sent.unwrap_err().code(), Some(code));
    }
}

#[tokio::test]
async fn buckets_are_made_listed_and_deleted_when_empty() {
    let f = Fixture::start(Dialect::Standard).await;
    let client = client(&f.store, "auto", RequestChecksumCalculation::WhenRequired);
    client.create_bucket().bucket("other").send().await.unwrap();
    assert_eq!(client.create_bucket().bucket("other").send().await.unwrap_err().code(), Some("BucketAlreadyOwnedByYou"));
    let listed = client.list_buckets().send().await.unwrap();
    assert_eq!(listed.buckets().iter().filter_map(|bucket| bucket.name()).collect::<Vec<_>>(), ["data", "other"]);
    write(&f, "a/1", b"x").await;
    write(&f, "b", b"x").await;
    assert_eq!(client.delete_bucket().bucket("data").send().await.unwrap_err().code(), Some("BucketNotEmpty"));
    let page = client.list_objects_v2().bucket("data").delimiter("/").send().await.unwrap();
    assert_eq!(page.common_prefixes()[0].prefix(), Some("a/"));
    assert_eq!(page.contents()[0].key(), Some("b"));
    let ids = ["a/1", "b"].map(|key| aws_sdk_s3::types::ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = aws_sdk_s3::types::Delete::builder().set_objects(Some(ids.to_vec())).build().unwrap();
    client.delete_objects().bucket("data").delete(delete).send().await.unwrap();
    client.delete_bucket().bucket("data").send().await.unwrap();
    client.head_bucket().bucket("data").send().await.unwrap_err();
}

#[tokio::test]
async fn ranges_and_conditions_of_reads_hold() {
    let f = Fixture::start(Dialect::Standard).await;
    write(&f, "k", b"0123456789").await;
    let client = client(&f.store, "auto", RequestChecksumCalculation::WhenRequired);
    let get = || client.get_object().bucket("data").key("k");
    for (range, expected) in [("bytes=2-4", "234"), ("bytes=7-", "789"), ("bytes=-2", "89"), ("bytes=8-100", "89")] {
        let found = get().range(range).send().await.unwrap();
        assert!(found.content_range().is_some_and(|range| range.ends_with("/10")));
        assert_eq!(found.body.collect().await.unwrap().into_bytes(), expected);
    }
    assert_eq!(get().range("bytes=10-").send().await.unwrap_err().code(), Some("InvalidRange"));
    let etag = get().send().await.unwrap().e_tag.unwrap();
    let unchanged = get().if_none_match(etag).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);
}
