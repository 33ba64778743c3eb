//! What is uploaded, when, and what an answer means.

use super::*;
use crate::config::Mode;

#[tokio::test]
async fn a_database_that_began_empty_is_in_the_bucket_after_its_close() {
    let bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    let saved = bench.close("orders").await.unwrap().unwrap();
    let (etag, bytes) = bench.object("apps/orders.db").await.unwrap();
    assert_eq!((saved.etag, saved.txid), (etag, 1));
    assert!(bytes.starts_with(b"SQLite format 3\0"));
    assert!(bench.object("apps/orders.db.prev").await.is_none(), "there was nothing before it");
}

#[tokio::test]
async fn what_looks_like_a_read_and_writes_is_run_as_a_write() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    for sql in ["with one(x) as (values (1)) insert into t select x from one", "select 1; insert into t values (2)"] {
        database.run(request(sql)).await.unwrap();
    }
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn nothing_is_uploaded_where_nothing_changed() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    let first = facts_of(database.flush(Flush::Forced).await.unwrap());
    assert_eq!(database.flush(Flush::Forced).await.unwrap(), Flushed::Unchanged(first));
    let before = bench.store.requests().total();
    assert!(matches!(database.flush(Flush::Forced).await.unwrap(), Flushed::Unchanged(_)));
    assert_eq!(bench.store.requests().total(), before);
}

#[tokio::test]
async fn a_restored_database_is_clean_until_its_first_commit() {
    let mut bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    bench.close("orders").await.unwrap();
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert!(!database.facts().pending);
    assert!(matches!(database.flush(Flush::Forced).await.unwrap(), Flushed::Unchanged(_)));
    write(&database, "create table t(x)").await;
    assert!(database.facts().pending);
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 2);
}

#[tokio::test]
async fn the_snapshot_before_the_newest_lies_at_prev() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    let (_, first) = bench.object("apps/orders.db").await.unwrap();
    write(&database, "insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    let (_, previous) = bench.object("apps/orders.db.prev").await.unwrap();
    let (_, newest) = bench.object("apps/orders.db").await.unwrap();
    assert!(previous == first && newest != first);
}

#[tokio::test]
async fn keep_previous_can_be_turned_off_while_open() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    let database = bench.open(config.clone()).await;
    database.flush(Flush::Forced).await.unwrap();
    config.snapshots.keep_previous = false;
    bench.host.reconfigure(config);
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    assert!(bench.object("apps/orders.db.prev").await.is_none());
}

#[tokio::test]
async fn what_is_asked_for_is_told_as_it_is_in_force() {
    let bench = Bench::start().await;
    let config = bench.config("orders");
    bench.open(config.clone()).await;
    let seconds = Duration::from_secs;
    for (mode, interval) in [(Mode::Snapshot, seconds(7)), (Mode::Stream, seconds(2)), (Mode::Sync, seconds(0))] {
        let snapshots = SnapshotPolicy { interval: seconds(7), ..config.snapshots };
        let durability = Durability { mode, stream_interval: seconds(2), verify_interval: 2 * HOUR, ..config.durability };
        bench.host.reconfigure(DatabaseConfig { snapshots, durability, ..config.clone() });
        let State::Open(facts) = bench.host.state(&config.name) else { panic!("it is open") };
        assert_eq!((facts.interval, facts.verify_interval), (interval, 2 * HOUR), "{mode:?}");
    }
}

#[tokio::test]
async fn equal_content_never_gets_an_etag_again() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    let first = facts_of(database.flush(Flush::Forced).await.unwrap());
    let (_, before) = bench.object("apps/orders.db").await.unwrap();
    // A write of what is there already changes no byte but the counters of page 1.
    write(&database, "pragma user_version = 0").await;
    let second = facts_of(database.flush(Flush::Forced).await.unwrap());
    let (_, after) = bench.object("apps/orders.db").await.unwrap();
    assert_ne!(first.etag, second.etag);
    let without_counters = |bytes: &Bytes| [&bytes[..24], &bytes[28..92], &bytes[96..]].concat();
    assert_eq!(without_counters(&before), without_counters(&after));
}

#[tokio::test]
async fn a_commit_is_saved_by_itself_after_an_interval() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    config.snapshots.interval = Duration::from_millis(50);
    let database = bench.open(config).await;
    let mut changes = bench.host.changes();
    write(&database, "create table t(x)").await;
    while database.facts().pending {
        changes.recv().await.unwrap();
    }
    assert!(bench.object("apps/orders.db").await.is_some());
}

#[tokio::test]
async fn a_manual_flush_soon_after_another_is_skipped_and_a_forced_one_is_not() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    config.snapshots.min_interval = HOUR;
    let database = bench.open(config).await;
    write(&database, "create table t(x)").await;
    let first = facts_of(database.flush(Flush::Manual).await.unwrap());
    write(&database, "insert into t values (1)").await;
    assert_eq!(database.flush(Flush::Manual).await.unwrap(), Flushed::Skipped(Some(first)));
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 3);
}

#[tokio::test]
async fn a_lost_answer_is_settled_and_taken_as_ours() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "insert into t values (1)").await;
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject));
    let facts = facts_of(database.flush(Flush::Forced).await.unwrap());
    assert_eq!((facts.txid, facts.etag), (3, bench.object("apps/orders.db").await.unwrap().0));
    write(&database, "insert into t values (2)").await;
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 4);
}

#[tokio::test]
async fn an_upload_that_stays_unclear_is_sent_again_as_it_was() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    // The first answer is lost after the store did its work; nothing can be learned until the store speaks again.
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject).times(1));
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::HeadObject).times(1000));
    database.flush(Flush::Forced).await.unwrap_err();
    let (stored, _) = bench.object("apps/orders.db").await.unwrap();
    bench.store.faults().clear();
    write(&database, "insert into t values (1)").await;
    let facts = facts_of(database.flush(Flush::Forced).await.unwrap());
    assert_eq!(facts.txid, 3, "the first attempt was number 2, whoever learned of it");
    assert_eq!(bench.object("apps/orders.db.prev").await.unwrap().0, stored);
}

#[tokio::test]
async fn an_unclear_upload_stays_unclear_after_a_clear_refusal_of_its_next_try() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    bench.store.faults().add(Fault::new(FaultEffect::LoseAnswer).on(Operation::PutObject).times(1));
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::HeadObject));
    database.flush(Flush::Forced).await.unwrap_err();
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject));
    database.flush(Flush::Forced).await.unwrap_err();
    bench.store.faults().clear();
    write(&database, "insert into t values (1)").await;
    assert_eq!(facts_of(database.flush(Flush::Forced).await.unwrap()).txid, 3, "the first attempt is known again as ours");
}

#[tokio::test]
async fn a_store_that_is_away_is_tried_again_until_it_is_back() {
    let bench = Bench::start().await;
    let mut config = bench.config("orders");
    config.snapshots.interval = Duration::from_millis(50);
    let database = bench.open(config).await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).times(1));
    let mut changes = bench.host.changes();
    write(&database, "create table t(x)").await;
    let mut failed = false;
    while database.facts().pending {
        failed |= matches!(database.facts().uploads, Uploads::Failing { .. });
        changes.recv().await.unwrap();
    }
    assert!(failed && matches!(database.facts().uploads, Uploads::Fine));
}
