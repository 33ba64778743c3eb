//! Whole runs, one after the other.

use sha2::{Digest as _, Sha256};

use super::super::run::{Broken, Run};
use super::super::*;
use crate::database::Database;
use crate::files::Description;
use crate::files::tests::bench::{Bench, Effect, GRACE, key};

pub(super) const DATABASE: &str = "orders.db";

pub(super) fn hash(content: &[u8]) -> FileKey {
    FileKey::of_digest(Sha256::digest(content).into())
}

pub(super) fn options(bench: &Bench) -> GcOptions {
    GcOptions {
        prefix: bench.prefix(),
        key: OwnerKey::Default,
        grace: GRACE,
        dry_run: false,
        include_unowned: false,
        single_writer: false,
        largest_database: 64 << 20,
    }
}

pub(super) fn run_over(bench: &Bench, bucket: std::sync::Arc<dyn crate::bucket::Bucket>, options: GcOptions) -> Run {
    Run::new(bucket, options, bench.pool.clone(), std::sync::Arc::clone(&bench.clock) as _)
}

pub(super) async fn gc(bench: &Bench) -> GcReport {
    run_over(bench, bench.bucket.shared(), options(bench)).run().await.unwrap()
}

pub(super) async fn put(bench: &Bench, database: &Database, content: &[u8]) {
    database.files().put(&bench.spooled(content).await, Description::default()).await.unwrap();
}

pub(super) async fn flush(bench: &Bench, database: &Database) {
    bench.flush(&bench.bucket.shared(), database, DATABASE).await;
}

/// A database with the file `kept`, and an old blob `orphan` that no row names any more.
pub(super) async fn with_orphan() -> (Bench, Database) {
    let bench = Bench::new();
    let database = bench.open(DATABASE).await;
    put(&bench, &database, b"kept").await;
    put(&bench, &database, b"orphan").await;
    database.files().delete(hash(b"orphan")).await.unwrap();
    flush(&bench, &database).await;
    bench.clock.advance(Duration::from_hours(1));
    (bench, database)
}

pub(super) fn has(bench: &Bench, content: &[u8]) -> bool {
    bench.bucket.names().contains(&bench.prefix().blob(&hash(content)).as_str().to_owned())
}

#[tokio::test]
async fn an_unused_blob_is_marked_then_deleted_and_all_others_stay() {
    let (bench, database) = with_orphan().await;
    bench.bucket.set("files/README", Some(b"no blob"));
    bench.bucket.set("files.txt", Some(b"none either"));
    let report = gc(&bench).await;
    assert_eq!((report.stage, report.marked.clone()), (GcStage::Marked, [hash(b"orphan")].into()));
    assert_eq!((report.owners, report.branches, report.blobs), (1, 1, 2));
    let told = report.wait_until.expect("what is marked waits");
    bench.clock.advance(GRACE.saturating_sub(Duration::from_secs(1)));
    let early = gc(&bench).await;
    assert_eq!((early.stage, early.wait_until), (GcStage::Waiting, Some(told)), "it said so from the beginning");
    bench.clock.advance(Duration::from_secs(1));
    put(&bench, &database, b"young").await;
    database.files().delete(hash(b"young")).await.unwrap();
    let report = gc(&bench).await;
    assert_eq!((report.stage, report.deleted.clone(), report.freed), (GcStage::Deleted, [hash(b"orphan")].into(), 6));
    assert_eq!((report.marked.clone(), report.skipped.clone()), (BTreeSet::new(), [hash(b"young")].into()));
    assert!(has(&bench, b"kept") && has(&bench, b"young") && !has(&bench, b"orphan"));
    assert!(["files/README", "files.txt"].iter().all(|name| bench.bucket.names().contains(&(*name).to_owned())));
    bench.clock.advance(GRACE);
    assert_eq!(gc(&bench).await.stage, GcStage::Marked);
    bench.clock.advance(GRACE);
    assert_eq!(gc(&bench).await.deleted, [hash(b"young")].into());
    let report = gc(&bench).await;
    assert_eq!((report.stage, report.blobs), (GcStage::Clean, 1));
}

#[tokio::test]
async fn a_clean_run_writes_nothing_and_neither_does_a_dry_one() {
    let (bench, _database) = with_orphan().await;
    let dry = || async {
        let report = run_over(&bench, bench.bucket.shared(), GcOptions { dry_run: true, ..options(&bench) }).run().await.unwrap();
        (report.stage, report.marked.len(), report.deleted.len(), report.freed)
    };
    let puts = bench.bucket.puts("");
    assert_eq!(dry().await, (GcStage::Marked, 1, 0, 0));
    assert_eq!(bench.bucket.puts(""), puts);
    gc(&bench).await;
    bench.clock.advance(GRACE);
    let puts = bench.bucket.puts("");
    assert_eq!(dry().await, (GcStage::Deleted, 0, 1, 6));
    assert_eq!((bench.bucket.puts(""), bench.bucket.count("delete", "")), (puts, 0));
    gc(&bench).await;
    let puts = bench.bucket.puts("");
    assert_eq!(gc(&bench).await.stage, GcStage::Clean);
    assert_eq!(bench.bucket.puts(""), puts);
}

#[tokio::test]
async fn every_branch_of_every_owner_counts() {
    let (bench, database) = with_orphan().await;
    let branch = bench.open_branch(DATABASE, "next").await;
    put(&bench, &branch, b"on a branch").await;
    let bucket = bench.bucket.shared();
    let long = "x".repeat(80);
    bench.flush(&bucket, &branch, &format!("{DATABASE}.branch.{long}")).await;
    let other = bench.open("other.db").await;
    put(&bench, &other, b"of another").await;
    bench.flush(&bucket, &other, "other.db").await;
    // One that is named by nobody but the command, as the package leaves them.
    let seed = bench.open("seed.db").await;
    put(&bench, &seed, b"of the package").await;
    bench.flush(&bucket, &seed, "seed.db").await;
    bench.bucket.set(bench.prefix().owner(&key("seed.db")).as_str(), None);
    // What only a snapshot before the newest names is not counted.
    bench.flush(&bucket, &database, &format!("{DATABASE}.prev")).await;
    let options = GcOptions { key: OwnerKey::Named(key("seed.db")), ..options(&bench) };
    for _ in 0..3 {
        bench.clock.advance(Duration::from_hours(1));
        let report = run_over(&bench, bench.bucket.shared(), options.clone()).run().await.unwrap();
        assert_eq!((report.owners, report.branches), (3, 4));
    }
    for content in [&b"kept"[..], b"on a branch", b"of another", b"of the package"] {
        assert!(has(&bench, content));
    }
    assert!(!has(&bench, b"orphan"));
}

#[allow(clippy::items_after_statements, reason = "it is about this test alone")]
#[tokio::test]
async fn an_owner_that_cannot_be_read_stops_the_run_before_it_changes_anything() {
    let (bench, _database) = with_orphan().await;
    gc(&bench).await;
    bench.clock.advance(GRACE);
    let sound = bench.bucket.bytes(DATABASE);
    let damaged = [&sound[..200], &[0xff; 4000], &sound[4200..]].concat();
    type Damage<'a> = (&'a str, Vec<(&'a str, Option<&'a [u8]>)>, &'a str);
    let owner = bench.prefix().owner(&key(DATABASE)).as_str().to_owned();
    let record = bench.bucket.bytes(&owner);
    let table: [Damage<'_>; 8] = [
        ("gone", vec![(DATABASE, None)], "no snapshot"),
        ("gone, with one before it", vec![(DATABASE, None), ("orders.db.prev", Some(&sound))], "one before it"),
        ("a branch is gone, with one before it", vec![("orders.db.branch.b.prev", Some(&sound))], "one before it"),
        ("no database", vec![(DATABASE, Some(b"nonsense"))], "cannot be read"),
        ("damaged", vec![(DATABASE, Some(&damaged))], "cannot be read"),
        ("a damaged branch", vec![("orders.db.branch.b", Some(b"nonsense"))], "cannot be read"),
        ("a record of a newer build", vec![(&owner, Some(b"{\"format\": 2}"))], "format 2"),
        ("a record under another name", vec![("files.owners/x.json", Some(&record))], "another key"),
    ];
    for (what, changes, problem) in table {
        let before: Vec<_> =
            changes.iter().map(|(name, _)| bench.bucket.names().contains(&(*name).to_owned()).then(|| bench.bucket.bytes(name))).collect();
        for (name, bytes) in &changes {
            bench.bucket.set(name, *bytes);
        }
        let (puts, deletes) = (bench.bucket.puts(""), bench.bucket.count("delete", ""));
        let error = run_over(&bench, bench.bucket.shared(), options(&bench)).run().await.unwrap_err();
        assert!(error.to_string().contains(problem), "{what}: {error}");
        assert_eq!((bench.bucket.puts(""), bench.bucket.count("delete", "")), (puts, deletes), "{what}");
        for ((name, _), bytes) in changes.iter().zip(&before) {
            bench.bucket.set(name, bytes.as_deref());
        }
    }
    // One of the command's own that is not there.
    let missing = GcOptions { key: OwnerKey::Named(key("missing.db")), ..options(&bench) };
    assert!(run_over(&bench, bench.bucket.shared(), missing).run().await.is_err());
    assert_eq!(gc(&bench).await.deleted, [hash(b"orphan")].into());
}

#[tokio::test]
async fn a_list_of_a_newer_build_stops_the_run_before_it_changes_anything() {
    let (bench, _database) = with_orphan().await;
    gc(&bench).await;
    bench.clock.advance(GRACE);
    let newer = br#"{"format": 2}"#;
    bench.bucket.set("files.gc.json", Some(newer));
    let (puts, deletes) = (bench.bucket.puts(""), bench.bucket.count("delete", ""));
    let error = run_over(&bench, bench.bucket.shared(), options(&bench)).run().await.unwrap_err();
    assert!(error.to_string().contains("format 2"), "{error}");
    assert_eq!((bench.bucket.puts(""), bench.bucket.count("delete", "")), (puts, deletes));
    assert!(has(&bench, b"orphan"));
}

#[tokio::test]
async fn blobs_of_others_are_counted_and_deleted_only_if_asked() {
    let (bench, _database) = with_orphan().await;
    let foreign = bench.prefix().blob(&hash(b"foreign")).as_str().to_owned();
    bench.bucket.set(&foreign, Some(b"foreign"));
    bench.clock.advance(Duration::from_hours(1));
    for _ in 0..3 {
        let report = gc(&bench).await;
        assert_eq!(report.unowned, [hash(b"foreign")].into());
        bench.clock.advance(GRACE);
    }
    assert!(has(&bench, b"foreign") && !has(&bench, b"orphan"));
    let greedy = GcOptions { include_unowned: true, ..options(&bench) };
    run_over(&bench, bench.bucket.shared(), greedy.clone()).run().await.unwrap();
    bench.clock.advance(GRACE);
    // A run that was not asked to leaves even what was marked by one that was.
    assert_eq!(gc(&bench).await.deleted, BTreeSet::new());
    run_over(&bench, bench.bucket.shared(), greedy.clone()).run().await.unwrap();
    bench.clock.advance(GRACE);
    run_over(&bench, bench.bucket.shared(), greedy).run().await.unwrap();
    assert!(!has(&bench, b"foreign") && has(&bench, b"kept"));
}

#[tokio::test]
async fn where_nobody_is_known_to_keep_files_nothing_is_ours() {
    let (bench, _database) = with_orphan().await;
    for name in bench.bucket.names().into_iter().filter(|name| name.starts_with("files.owners/")) {
        bench.bucket.set(&name, None);
    }
    for _ in 0..3 {
        let report = gc(&bench).await;
        assert_eq!((report.stage, report.unowned.len(), report.owners), (GcStage::Clean, 2, 0));
        bench.clock.advance(GRACE);
    }
    assert!(has(&bench, b"kept") && has(&bench, b"orphan"));
}

#[tokio::test]
async fn rows_without_a_content_are_counted_and_left() {
    let (bench, database) = with_orphan().await;
    bench.bucket.set(bench.prefix().blob(&hash(b"kept")).as_str(), None);
    for _ in 0..3 {
        assert_eq!(gc(&bench).await.dangling, [hash(b"kept")].into());
        bench.clock.advance(GRACE);
    }
    assert!(database.files().head(hash(b"kept")).await.is_ok());
}

#[allow(clippy::items_after_statements, reason = "it is about this test alone")]
#[tokio::test]
async fn a_clock_that_runs_ahead_of_the_stores_deletes_nothing_too_early() {
    let (bench, database) = with_orphan().await;
    gc(&bench).await;
    // This run's machine thinks that an hour has passed; the store does not.
    #[derive(Debug)]
    struct Ahead(std::sync::Arc<crate::files::tests::bench::TestClock>);
    impl crate::clock::Clock for Ahead {
        fn wall(&self) -> WallTime {
            self.0.wall() + Duration::from_hours(1)
        }
        fn now(&self) -> tokio::time::Instant {
            self.0.now()
        }
    }
    let ahead = std::sync::Arc::new(Ahead(std::sync::Arc::clone(&bench.clock)));
    let report = Run::new(bench.bucket.shared(), options(&bench), bench.pool.clone(), ahead).run().await.unwrap();
    assert_eq!((report.stage, report.deleted), (GcStage::Waiting, BTreeSet::new()));
    assert!(has(&bench, b"orphan"));
    put(&bench, &database, b"orphan").await;
    bench.clock.advance(Duration::from_hours(3));
    flush(&bench, &database).await;
    gc(&bench).await;
    assert!(has(&bench, b"orphan"));
}

/// Every request fails once in every way. Whatever the run says, later ones finish the work, and a put in between finds its way.
#[tokio::test(start_paused = true)]
async fn a_run_that_fails_anywhere_is_finished_by_later_ones() {
    for effect in [Effect::Refuse, Effect::LoseAnswer, Effect::FailUnclear] {
        for at in 0.. {
            let (bench, database) = with_orphan().await;
            gc(&bench).await;
            bench.clock.advance(GRACE);
            bench.bucket.fail(at, effect);
            let outcome = run_over(&bench, bench.bucket.shared(), options(&bench)).run().await;
            let is_through = !bench.bucket.failed();
            bench.bucket.clear_fault();
            if let Ok(report) = outcome {
                assert!(!has(&bench, b"orphan") || !report.deleted.contains(&hash(b"orphan")), "{effect:?} at {at}");
            }
            bench.clock.advance(ABANDONED);
            for _ in 0..3 {
                gc(&bench).await;
                bench.clock.advance(GRACE);
            }
            assert!(has(&bench, b"kept") && !has(&bench, b"orphan"), "{effect:?} at {at}");
            put(&bench, &database, b"orphan").await;
            assert!(has(&bench, b"orphan"));
            if is_through {
                assert!(at >= 12, "a run has more requests than {at}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_does_not_wait_or_count_again_is_caught() {
    for (broken, survives) in [(Broken::Nothing, true), (Broken::SecondCount, false), (Broken::Wait, false)] {
        let (bench, database) = with_orphan().await;
        // The row is on its way: committed after the put has looked at a list without marks.
        put(&bench, &database, b"orphan").await;
        let run = || {
            let mut run = run_over(&bench, bench.bucket.shared(), options(&bench));
            run.broken = broken;
            run
        };
        run().run().await.unwrap();
        if broken == Broken::Wait {
            run().run().await.unwrap();
        }
        flush(&bench, &database).await;
        bench.clock.advance(GRACE);
        run().run().await.unwrap();
        assert_eq!(has(&bench, b"orphan"), survives, "{broken:?}");
    }
}
