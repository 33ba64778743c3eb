//! Files over a store that tests steer: each request of a put can be stopped, answered wrongly, or lost. What gc does at the same time is tested
//! in `gc/tests.rs`, on the same bench.

pub(crate) mod bench;

use std::time::Duration;

use bench::{Bench, Effect};

use super::put::Broken;
use super::*;
use crate::clock::WallTime;

impl FileStore {
    /// Without a part of the order that keeps gc away.
    pub(crate) fn broken(self, broken: Broken) -> Self {
        Self { broken, ..self }
    }
}

pub(crate) use super::put::Broken as BrokenPut;

const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn a_file_is_kept_once_however_often_it_is_put() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    let described = Description { filename: Some("a.txt".to_owned()), ..Description::default() };
    let content = bench.spooled(b"hello").await;
    let (record, is_new) = database.files().put(&content, described.clone()).await.unwrap();
    assert!(is_new);
    assert_eq!((record.key.to_string().as_str(), record.size), (HELLO, 5));
    let (again, is_new) = database.files().put(&content, Description::default()).await.unwrap();
    assert_eq!((again, is_new), (record, false));
    let owner = bench.prefix().owner(&bench::key("orders.db")).as_str().to_owned();
    assert_eq!(bench.bucket.names(), [owner, format!("files/{HELLO}")]);
    assert_eq!(bench.bucket.metadata(&format!("files/{HELLO}"))[BLOB], HELLO);
    assert_eq!(bench.bucket.puts(&format!("files/{HELLO}")), 1);
    // The record is written once for a process, too.
    assert_eq!(bench.bucket.puts("files.owners/"), 1);
}

#[tokio::test]
async fn whichever_side_is_missing_or_wrong_is_healed() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    let (content, blob) = (bench.spooled(b"hello").await, format!("files/{HELLO}"));
    let put = async || database.files().put(&content, Description::default()).await.unwrap().0;
    let record = put().await;
    for damage in [None, Some(&b"hell"[..])] {
        bench.bucket.set(&blob, damage);
        let lost = database.files().get(&record, None).await.map(drop).unwrap_err();
        assert!(matches!(lost, Error::FileLost { .. }), "{lost}");
        assert_eq!(put().await, record);
        assert_eq!(bench.read(&database, &record, None).await, b"hello");
    }
    for damage in ["DELETE FROM filestore", "UPDATE filestore SET size = 4", "UPDATE filestore SET object_key = 'orders.db'"] {
        bench.sql(&database, damage).await;
        assert_eq!(put().await.size, 5);
        assert_eq!(bench.read(&database, &record, None).await, b"hello");
    }
}

#[tokio::test]
async fn a_row_that_names_another_object_reads_nothing() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    bench.bucket.set("tenant/secret.db", Some(b"12345"));
    let sql = format!("INSERT INTO filestore VALUES ('{HELLO}', 'tenant/secret.db', 5, NULL, NULL, 1.0, NULL)");
    bench.sql(&database, &sql).await;
    let record = database.files().head(FileKey::parse(HELLO).unwrap()).await.unwrap();
    let refused = database.files().get(&record, None).await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::FileLost { loss: FileLoss::Elsewhere, .. }), "{refused}");
}

#[tokio::test]
async fn a_database_serves_only_files_that_it_has_a_row_for() {
    let bench = Bench::new();
    let (one, other) = (bench.open("one.db").await, bench.open("other.db").await);
    let (record, _) = one.files().put(&bench.spooled(b"hello").await, Description::default()).await.unwrap();
    assert!(matches!(other.files().head(record.key).await, Err(Error::FileNotFound { .. })));
    assert!(matches!(other.files().delete(record.key).await, Err(Error::FileNotFound { .. })));
    let (_, is_new) = other.files().put(&bench.spooled(b"hello").await, Description::default()).await.unwrap();
    assert!(is_new);
    assert_eq!(bench.bucket.puts(&format!("files/{HELLO}")), 1);
}

#[tokio::test]
async fn deleting_removes_the_row_alone() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    let (record, _) = database.files().put(&bench.spooled(b"hello").await, Description::default()).await.unwrap();
    database.files().delete(record.key).await.unwrap();
    assert!(matches!(database.files().head(record.key).await, Err(Error::FileNotFound { .. })));
    assert!(bench.bucket.names().contains(&format!("files/{HELLO}")));
}

/// Every request of a put fails once in every way: afterwards a second try succeeds, and at no moment is there a row without its content.
#[tokio::test(start_paused = true)]
async fn a_put_that_fails_anywhere_leaves_no_row_without_its_content() {
    for effect in [Effect::Refuse, Effect::LoseAnswer, Effect::FailUnclear] {
        for at in 0.. {
            let bench = Bench::new();
            let database = bench.open("orders.db").await;
            bench.mark(&[b"hello"], Phase::Marked).await;
            bench.bucket.fail(at, effect);
            let content = bench.spooled(b"hello").await;
            let first = database.files().put(&content, Description::default()).await;
            let is_through = !bench.bucket.failed();
            bench.bucket.clear_fault();
            let has_row = !database.files().list(10, None).await.unwrap().is_empty();
            assert_eq!(has_row, first.is_ok(), "{effect:?} at {at}");
            assert!(!has_row || bench.bucket.names().contains(&format!("files/{HELLO}")), "{effect:?} at {at}");
            database.files().put(&content, Description::default()).await.unwrap();
            assert!(bench.marks().await.is_some_and(|marks| marks.hashes.is_empty()), "{effect:?} at {at}");
            if is_through {
                assert!(at >= 6, "a put has more requests than {at}");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_of_a_sealed_file_waits_and_then_uploads_again() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    let blob = format!("files/{HELLO}");
    bench.bucket.set(&blob, Some(b"hello"));
    bench.mark(&[b"hello"], Phase::Sealed).await;
    let content = bench.spooled(b"hello").await;
    let sweep = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(database.files().list(10, None).await.unwrap(), []);
        bench.bucket.set(&blob, None);
        bench.mark(&[], Phase::Marked).await;
    };
    let (put, ()) = tokio::join!(database.files().put(&content, Description::default()), sweep);
    let (record, is_new) = put.unwrap();
    assert!(is_new);
    assert_eq!(bench.read(&database, &record, None).await, b"hello");
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_lasts_is_told() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    bench.mark(&[b"hello"], Phase::Sealed).await;
    let refused = database.files().put(&bench.spooled(b"hello").await, Description::default()).await.unwrap_err();
    assert!(matches!(refused, Error::FileBusy { .. }), "{refused}");
    assert_eq!(database.files().list(10, None).await.unwrap(), []);
    // Other files do not wait for it.
    database.files().put(&bench.spooled(b"other").await, Description::default()).await.unwrap();
}

#[tokio::test]
async fn a_list_or_a_record_of_a_newer_build_is_left_alone() {
    for record in [false, true] {
        let bench = Bench::new();
        let database = bench.open("orders.db").await;
        let owner = bench.prefix().owner(&bench::key("orders.db"));
        let object = if record { owner.as_str() } else { "files.gc.json" };
        for (document, problem) in
            [(r#"{"format": 2}"#, "format 2"), ("{}", "names no format"), ("no json", "no JSON"), (r#"{"format": 1}"#, "damaged")]
        {
            bench.bucket.set(object, Some(document.as_bytes()));
            let refused = database.files().put(&bench.spooled(b"hello").await, Description::default()).await.unwrap_err();
            assert!(matches!(refused, Error::Unreadable { .. }) && refused.to_string().contains(problem), "{object}: {refused}");
            assert_eq!(bench.bucket.bytes(object), document.as_bytes());
            assert_eq!(database.files().list(10, None).await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn the_record_says_what_each_branch_needs() {
    let bench = Bench::new();
    let owner = || async {
        let key = bench.prefix().owner(&bench::key("orders.db"));
        crate::document::read::<Owner>(&bench.bucket.shared(), &key).await.unwrap().unwrap().document
    };
    let main = bench.open("orders.db").await;
    let content = bench.spooled(b"hello").await;
    main.files().put(&content, Description::default()).await.unwrap();
    bench.open_branch("orders.db", "next").await.files().put(&content, Description::default()).await.unwrap();
    let needs = Needs::new(bench::GRACE, bench::INTERVAL, Duration::ZERO);
    assert_eq!(owner().await.branches, [("main".to_owned(), needs), ("next".to_owned(), needs)].into());
    // A change of the settings is told before the next put goes on.
    let policy = FilesPolicy { prefix: bench.prefix(), grace: Duration::from_secs(9) };
    let settings =
        FileSettings { bucket: bench.bucket.shared(), policy, flush_interval: Duration::from_secs(8), retention: Some(Duration::ZERO) };
    assert!(main.file_store().set(settings.clone()));
    assert!(!main.file_store().set(settings.clone()));
    main.files().put(&content, Description::default()).await.unwrap();
    assert_eq!(owner().await.branches["main"], Needs::new(Duration::from_secs(9), Duration::from_secs(8), Duration::ZERO));
    assert_eq!(owner().await.branches["next"], needs);
    // Whoever leaves to others how long states stay leaves what those said, and says what is usual where nobody did.
    let passing = FileSettings { retention: None, flush_interval: Duration::ZERO, ..settings };
    let before = owner().await.branches["main"];
    let third = bench.open_branch("orders.db", "third").await;
    for database in [&main, &third] {
        assert!(database.file_store().set(passing.clone()));
        database.files().put(&content, Description::default()).await.unwrap();
    }
    assert_eq!(owner().await.branches["main"], before);
    assert_eq!(owner().await.branches["third"].retention_seconds, 24 * 60 * 60);
    remove_owner(&bench.bucket.shared(), &bench.prefix(), &bench::key("orders.db")).await.unwrap();
    assert_eq!(owners(&bench.bucket.shared(), &bench.prefix()).await.unwrap(), []);
}

#[tokio::test]
async fn a_database_with_files_is_announced_without_a_put() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    database.files().announce().await;
    assert_eq!(bench.bucket.names(), [""; 0]);
    bench.sql(&database, &format!("INSERT INTO filestore VALUES ('{HELLO}', 'files/{HELLO}', 5, NULL, NULL, 1.0, NULL)")).await;
    database.files().announce().await;
    assert_eq!(bench.bucket.puts("files.owners/"), 1);
}

#[tokio::test]
async fn a_row_waits_no_longer_than_its_look_at_the_marks_is_fresh() {
    let bench = Bench::new();
    let database = bench.open("orders.db").await;
    let clock = Arc::clone(&bench.clock);
    // While the row waits for its turn, time passes: the marks are looked at again.
    let looks = std::sync::atomic::AtomicU32::new(0);
    bench.bucket.watch(move |operation, key| {
        if operation == "head" && key == "files.gc.json" && looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
            clock.advance_behind(Duration::from_hours(1));
        }
    });
    database.files().put(&bench.spooled(b"hello").await, Description::default()).await.unwrap();
    assert_eq!(bench.bucket.count("head", "files.gc.json"), 3);
}
