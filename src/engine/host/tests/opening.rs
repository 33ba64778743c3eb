//! What a database begins with, and what is never taken for an empty one.

use super::*;

#[tokio::test]
async fn a_damaged_snapshot_is_left_alone_and_the_one_before_it_offered() {
    let mut bench = Bench::closed_with_one_row_before_two().await;
    bench.before_chains(true).await;
    let damaged = bench.overwrite("apps/orders.db", b"no database at all").await;
    bench.restart();
    let State::Failed { error, .. } = bench.settle(bench.config("orders")).await else { panic!("it must not open") };
    let Error::SnapshotCorrupt { etag, previous: Previous::Intact(before), .. } = &*error else { panic!("{error}") };
    assert_eq!(*etag, damaged);

    let accepted = DatabaseConfig { accept_snapshot: Some(before.clone()), ..bench.config("orders") };
    let database = bench.open(accepted).await;
    assert_eq!(count(&database).await, 1);
    let previous = bench.object("apps/orders.db.prev").await.unwrap();
    database.flush(Flush::Forced).await.unwrap();
    assert_eq!(bench.object("apps/orders.db.prev").await.unwrap(), previous, "damage is never copied over it");
    assert_ne!(bench.object("apps/orders.db").await.unwrap().0, damaged);
}

#[tokio::test]
async fn an_annotation_for_another_snapshot_accepts_nothing() {
    let bench = Bench::start().await;
    bench.overwrite("apps/orders.db", b"no database at all").await;
    let config = DatabaseConfig { accept_snapshot: Some(Etag::new("0123")), ..bench.config("orders") };
    let State::Failed { error, .. } = bench.settle(config).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::SnapshotCorrupt { previous: Previous::Absent, .. }), "{error}");
}

#[tokio::test]
async fn a_deleted_snapshot_with_one_before_it_is_not_an_empty_database() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "insert into t values (1)").await;
    bench.close("orders").await.unwrap();
    bench.before_chains(true).await;
    bench.bucket().delete(&ObjectKey::new("apps/orders.db")).await.unwrap();
    bench.restart();
    let State::Failed { error, .. } = bench.settle(bench.config("orders")).await else { panic!("it must not open") };
    let Error::SnapshotMissing { previous: Previous::Intact(etag), .. } = &*error else { panic!("{error}") };
    let database = bench.open(DatabaseConfig { accept_snapshot: Some(etag.clone()), ..bench.config("orders") }).await;
    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn what_is_larger_than_its_limit_is_not_opened() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (zeroblob(1000000))").await;
    bench.close("orders").await.unwrap();
    bench.restart();
    let mut config = bench.config("orders");
    config.limits.max_size = 100_000;
    let State::Failed { error, .. } = bench.settle(config.clone()).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::StateTooLarge { limit: 100_000, .. }), "{error}");
    bench.before_chains(true).await;
    let State::Failed { error, .. } = bench.settle(config).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::SnapshotTooLarge { limit: 100_000, .. }), "{error}");
}

#[tokio::test]
async fn two_names_never_serve_one_place() {
    let bench = Bench::start().await;
    bench.open(bench.config("first")).await;
    let State::Failed { error, .. } = bench.settle(bench.config("second")).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::HeldElsewhere { by, .. } if by.name() == "first"), "{error}");
    bench.close("first").await.unwrap();
    bench.open(bench.config("second")).await;
}

#[tokio::test]
async fn a_missing_bucket_and_wrong_keys_are_told_apart_from_an_empty_bucket() {
    let bench = Bench::start().await;
    let mut elsewhere = bench.config("orders");
    elsewhere.location.bucket = BucketName::parse("no-such-bucket").unwrap();
    let State::Failed { error, .. } = bench.settle(elsewhere).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::NoSuchBucket, .. }), "{error:?}");
    let mut stranger = bench.config("orders");
    stranger.store.credentials = Credentials { secret_access_key: "wrong".to_owned(), ..credentials() }.into();
    let State::Failed { error, attempts, .. } = bench.settle(stranger).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::AccessDenied { .. }, .. }), "{error:?}");
    assert_eq!(attempts, 2);
    bench.open(bench.config("orders")).await;
}

#[tokio::test]
async fn the_snapshot_before_a_deleted_one_is_found_among_other_objects() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "create table t(x)").await;
    bench.close("orders").await.unwrap();
    bench.before_chains(true).await;
    bench.bucket().delete(&ObjectKey::new("apps/orders.db")).await.unwrap();
    bench.overwrite("apps/orders.db-a-backup", b"of somebody").await;
    bench.restart();
    let state = bench.settle(bench.config("orders")).await;
    assert!(matches!(&state, State::Failed { error, .. } if matches!(**error, Error::SnapshotMissing { .. })), "{state:?}");
}

#[tokio::test]
async fn a_snapshot_that_is_damaged_or_gone_is_put_back_from_the_chain() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    bench.close("orders").await.unwrap();
    for is_damaged in [true, false] {
        if is_damaged {
            bench.overwrite("apps/orders.db", b"no database at all").await;
        } else {
            bench.bucket().delete(&ObjectKey::new("apps/orders.db")).await.unwrap();
        }
        bench.restart();
        let database = bench.open(bench.config("orders")).await;
        assert_eq!(count(&database).await, 1);
        bench.close("orders").await.unwrap();
        assert!(bench.object("apps/orders.db").await.unwrap().1.starts_with(b"SQLite format 3\0"));
    }
}

#[tokio::test]
async fn a_damaged_delta_without_a_way_around_it_is_named_and_nothing_is_served() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    bench.close("orders").await.unwrap();
    let delta = "0000/0000000000000002-0000000000000002.ltx";
    let damaged = bench.overwrite(&format!("apps/orders.db.ltx/main/{delta}"), b"no delta at all").await;
    // It has the same state, and would do.
    bench.overwrite("apps/orders.db", b"no database at all").await;
    bench.restart();
    let State::Failed { error, .. } = bench.settle(bench.config("orders")).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::ChainBroken { detail, .. } if detail.contains(delta)), "{error}");
    assert_eq!(bench.object(&format!("apps/orders.db.ltx/main/{delta}")).await.unwrap().0, damaged);
}
