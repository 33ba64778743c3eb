//! Files of a hosted database in a real store: large ones, ranges, and connections that break.

use futures::TryStreamExt as _;

use super::*;
use crate::config::Mode;
use crate::files::{Description, FileContent, FileKey, FileRecord, Spooled};

const MIB: usize = 1 << 20;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at / 4096 + at) % 251).unwrap()).collect()
}

async fn take_in(database: &Database, content: &[u8]) -> Spooled {
    let mut intake = database.files().intake();
    for chunk in content.chunks(MIB) {
        intake = intake.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    intake.finish().await.unwrap()
}

async fn put(database: &Database, content: &[u8]) -> FileRecord {
    database.files().put(&take_in(database, content).await, Description::default()).await.unwrap().0
}

async fn read(content: FileContent) -> Result<Vec<u8>, bucket::Error> {
    let parts: Vec<Bytes> = content.body.try_collect().await?;
    Ok(parts.concat())
}

fn blobs() -> impl Fn(&str) -> bool + Send + Sync + 'static {
    |key: &str| key.starts_with("files/")
}

#[tokio::test]
async fn a_large_file_comes_back_whole_and_by_ranges() {
    for dialect in [Dialect::Standard, Dialect::R2] {
        let bench = Bench::with(dialect).await;
        let database = bench.open(bench.config("orders")).await;
        let content = pattern(20 * MIB + 17);
        let record = put(&database, &content).await;
        assert!(read(database.files().get(&record, None).await.unwrap()).await.unwrap() == content);
        for range in [0..1, 0..record.size, 8 * MIB as u64 - 1..8 * MIB as u64 + 1, record.size - 1..record.size, 5..5] {
            let part = read(database.files().get(&record, Some(range.clone())).await.unwrap()).await.unwrap();
            let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            assert!(part == content[start..end], "{range:?}");
        }
        let uploads = bench.store.requests().of(Operation::CompleteMultipartUpload);
        assert_eq!(put(&database, &content).await, record);
        assert_eq!(bench.store.requests().of(Operation::CompleteMultipartUpload), uploads);
    }
}

#[tokio::test]
async fn an_upload_that_breaks_leaves_no_row() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    for (operation, effect) in [
        (Operation::UploadPart, FaultEffect::Refuse),
        (Operation::CompleteMultipartUpload, FaultEffect::Refuse),
        (Operation::CompleteMultipartUpload, FaultEffect::Fail),
        (Operation::CreateMultipartUpload, FaultEffect::LoseAnswer),
    ] {
        bench.store.faults().clear();
        bench.store.faults().add(Fault::new(effect).on(operation));
        let content = take_in(&database, &pattern(9 * MIB)).await;
        let failed = database.files().put(&content, Description::default()).await.unwrap_err();
        assert!(matches!(failed, Error::Bucket { .. }), "{failed}");
        assert_eq!(database.files().list(10, None).await.unwrap(), []);
    }
    bench.store.faults().clear();
    put(&database, &pattern(9 * MIB)).await;
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_is_found_to_be_there() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject).key(blobs()).times(1));
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::CompleteMultipartUpload).times(1));
    for content in [pattern(10), pattern(9 * MIB)] {
        let record = put(&database, &content).await;
        assert!(read(database.files().get(&record, None).await.unwrap()).await.unwrap() == content);
    }
}

#[tokio::test]
async fn a_download_that_is_cut_ends_in_an_error_and_never_short() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    let record = put(&database, &pattern(MIB)).await;
    for range in [None, Some(10..record.size)] {
        bench.store.faults().clear();
        bench.store.faults().add(Fault::new(FaultEffect::CutBody(300_000)).on(Operation::GetObject).key(blobs()));
        match database.files().get(&record, range).await {
            Ok(content) => assert!(matches!(read(content).await, Err(bucket::Error::Unavailable { .. }))),
            // The break may overtake the headers.
            Err(error) => assert!(matches!(error, Error::Bucket { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_a_missing_file() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    let record = put(&database, b"hello").await;
    for effect in [FaultEffect::Refuse, FaultEffect::Fail, FaultEffect::LoseAnswer] {
        bench.store.faults().clear();
        bench.store.faults().add(Fault::new(effect).key(blobs()));
        for range in [None, Some(0..2)] {
            let failed = database.files().get(&record, range).await.map(drop).unwrap_err();
            assert!(matches!(failed, Error::Bucket { .. }), "{failed}");
        }
    }
}

#[tokio::test]
async fn files_outlive_their_process_with_the_next_snapshot() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    let record = put(&database, b"hello").await;
    bench.close("orders").await.unwrap();
    bench.restart();
    let announced = bench.bucket().list("files.owners/", None, 10).await.unwrap();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(database.files().head(record.key).await.unwrap(), record);
    assert_eq!(read(database.files().get(&record, None).await.unwrap()).await.unwrap(), b"hello");
    // It is announced to gc at the open; the record stands there already.
    assert_eq!(bench.bucket().list("files.owners/", None, 10).await.unwrap(), announced);
    assert!(matches!(database.files().head(FileKey::of_digest([0; 32])).await, Err(Error::FileNotFound { .. })));
}

#[tokio::test]
async fn files_are_kept_in_every_mode() {
    for mode in [Mode::Snapshot, Mode::Stream, Mode::Sync] {
        let bench = Bench::start().await;
        let mut config = bench.config("orders");
        config.durability.mode = mode;
        let database = bench.open(config).await;
        let record = put(&database, b"hello").await;
        assert_eq!(read(database.files().get(&record, None).await.unwrap()).await.unwrap(), b"hello", "{mode:?}");
        let owner = bench.bucket().list("files.owners/", None, 10).await.unwrap().remove(0);
        let (_, owner) = bench.object(owner.key.as_str()).await.unwrap();
        let owner: serde_json::Value = serde_json::from_slice(&owner).unwrap();
        assert_ne!(owner["branches"]["main"]["flushIntervalSeconds"], 0, "{mode:?}: gc waits for rows on their way");
    }
}
