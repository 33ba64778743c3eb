//! Who serves a branch, and what happens to whoever did before.

use super::*;
use crate::document;
use crate::head::{Epoch, HeadRecord};

impl Bench {
    /// The same bucket, seen by another process that starts while this one runs.
    pub(super) async fn open_elsewhere(&self, config: DatabaseConfig) -> (Arc<Host>, State) {
        self.open_in(new_host(), config).await
    }

    async fn open_in(&self, host: Arc<Host>, config: DatabaseConfig) -> (Arc<Host>, State) {
        let name = config.name.clone();
        let mut changes = host.changes();
        host.open(config, Remembered::default());
        loop {
            match host.state(&name) {
                State::Opening => drop(changes.recv().await),
                state => return (host, state),
            }
        }
    }

    pub(super) async fn record(&self) -> HeadRecord {
        document::parse(&self.object("apps/orders.db.head/main.json").await.unwrap().1).unwrap()
    }

    /// Until the host says that it does not serve the database any more.
    pub(super) async fn lost(&self, name: &str) -> Arc<Error> {
        let name = DatabaseName::new("apps", name);
        let mut changes = self.host.changes();
        loop {
            match self.host.state(&name) {
                State::Failed { error, .. } => return error,
                _ => drop(changes.recv().await),
            }
        }
    }
}

#[tokio::test]
async fn a_new_database_is_in_the_bucket_before_it_is_served() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    let facts = database.facts();
    assert_eq!((facts.txid, facts.epoch, facts.pending), (1, Epoch(1), false));
    assert!(bench.object("apps/orders.db").await.is_some());
    let record = bench.record().await;
    assert!(!record.released && record.holder.is_some_and(|holder| holder.resource == "apps/orders" && holder.pod == "pod"));
}

#[tokio::test]
async fn a_released_branch_is_opened_without_a_write_of_its_snapshot() {
    let mut bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    bench.close("orders").await.unwrap();
    assert!(bench.record().await.released);
    let before = bench.object("apps/orders.db").await;
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!((database.facts().epoch, database.facts().txid), (Epoch(2), 1));
    assert_eq!(bench.object("apps/orders.db").await, before);
}

#[tokio::test]
async fn whoever_comes_after_a_crash_makes_late_writes_harmless() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    write(&database, "insert into t values (2), (3)").await;

    let (other, state) = bench.open_elsewhere(bench.config("orders")).await;
    assert!(matches!(&state, State::Open(facts) if facts.epoch == Epoch(2) && facts.txid == 3), "{state:?}");
    let theirs = other.get(&DatabaseName::new("apps", "orders")).unwrap().database;
    assert_eq!(count(&theirs).await, 1);
    write(&theirs, "insert into t values (4)").await;
    theirs.flush(Flush::Forced).await.unwrap();

    // The first wakes up and wants to go on.
    let error = database.flush(Flush::Forced).await.unwrap_err();
    let Error::Fenced { ours, theirs: epoch, lost, .. } = &*error else { panic!("{error}") };
    assert_eq!((*ours, *epoch, *lost), (Epoch(1), Epoch(2), 1), "{error}");
    assert!(matches!(&*bench.lost("orders").await, Error::Fenced { .. }));
    assert!(matches!(database.read(request("select 1")).await.unwrap_err(), Error::Fenced { .. }));
    assert!(matches!(database.write(request("insert into t values (5)")).await.unwrap_err(), Error::Fenced { .. }));
    assert_eq!(count(&theirs).await, 2);
}

#[tokio::test]
async fn a_pod_does_not_take_back_what_its_successor_has_until_that_lets_go() {
    let mut bench = Bench::start().await;
    bench.host = host_in("before", Duration::ZERO);
    let config = bench.config("orders");
    let database = bench.open(config.clone()).await;
    let (successor, state) = bench.open_in(host_in("after", Duration::ZERO), config.clone()).await;
    assert!(matches!(state, State::Open(_)), "{state:?}");
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap_err();
    bench.lost("orders").await;

    let State::Failed { error, .. } = bench.settle(config.clone()).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::HeldByOther { by, epoch: Epoch(2), .. } if by.pod == "after"), "{error}");
    successor.close(&config.name).await.unwrap();
    assert!(matches!(bench.settle(config).await, State::Open(facts) if facts.epoch == Epoch(3)));
}

#[tokio::test]
async fn a_branch_of_another_resource_is_left_to_it_until_somebody_names_its_epoch() {
    let mut bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    bench.restart();
    let other = bench.config("preview");
    let State::Failed { error, .. } = bench.settle(other.clone()).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::HeldByOther { by, epoch: Epoch(1), .. } if by.resource == "apps/orders"), "{error}");
    let wrong = DatabaseConfig { take_over: Some(Epoch(7)), ..other.clone() };
    assert!(matches!(bench.settle(wrong).await, State::Failed { .. }));
    bench.open(DatabaseConfig { take_over: Some(Epoch(1)), ..other }).await;
}

#[tokio::test]
async fn what_somebody_else_writes_while_we_serve_is_kept_as_a_branch_and_ours_put_back() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    bench.overwrite("apps/orders.db", b"somebody else's").await;
    write(&database, "insert into t values (2)").await;
    database.flush(Flush::Forced).await.unwrap();
    let outside = database.facts().outside.expect("it is told");
    let (_, kept) = bench.object(&format!("apps/orders.db.branch.{}", outside.branch)).await.unwrap();
    assert_eq!(kept, Bytes::from_static(b"somebody else's"));
    assert!(bench.object("apps/orders.db").await.unwrap().1.starts_with(b"SQLite format 3\0"));
    assert_ne!(bench.object("apps/orders.db.prev").await.unwrap().1, kept, "theirs is not the one before ours");
    assert_eq!(count(&database).await, 2);
    let names: Vec<_> =
        bench.host.branches(&DatabaseName::new("apps", "orders")).await.unwrap().branches.into_iter().map(|facts| facts.name).collect();
    assert_eq!(names, [BranchName::main(), outside.branch]);
}

/// The snapshot with the same content and other counters.
async fn rewritten_by_another_hand(bench: &Bench) {
    let (_, bytes) = bench.object("apps/orders.db").await.unwrap();
    let mut theirs = bytes.to_vec();
    theirs[24..28].copy_from_slice(&[9; 4]);
    theirs[40..44].copy_from_slice(&[0, 0, 0, 1]);
    theirs[92..96].copy_from_slice(&[9; 4]);
    bench.overwrite("apps/orders.db", theirs.leak()).await;
}

#[tokio::test]
async fn our_own_content_by_another_hand_is_nothing_new() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    rewritten_by_another_hand(&bench).await;
    write(&database, "insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    assert_eq!(database.facts().outside, None);
}

#[tokio::test]
async fn what_cannot_be_compared_because_the_store_fails_is_not_taken_for_somebody_elses() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    rewritten_by_another_hand(&bench).await;
    write(&database, "insert into t values (1)").await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::GetObject).key(|key| key == "apps/orders.db"));
    database.flush(Flush::Forced).await.unwrap_err();
    assert!(matches!(database.facts().uploads, Uploads::Failing { .. }));
    bench.store.faults().clear();
    database.flush(Flush::Forced).await.unwrap();
    assert_eq!((database.facts().outside, count(&database).await), (None, 1));
}

#[tokio::test]
async fn a_snapshot_that_somebody_deleted_while_we_serve_is_put_back() {
    let bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    bench.bucket().delete(&ObjectKey::new("apps/orders.db")).await.unwrap();
    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    assert!(bench.object("apps/orders.db").await.is_some());
}

#[tokio::test]
async fn what_somebody_else_wrote_while_nobody_served_is_adopted() {
    let mut bench = Bench::closed_with_one_row_before_two().await;
    let (_, newest) = bench.object("apps/orders.db").await.unwrap();
    let theirs = bench.overwrite("apps/orders.db", edited(&newest, "insert into t values (7), (8)").await.leak()).await;
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(count(&database).await, 4);
    assert!(matches!(database.facts().origin, Origin::Outside { etag, .. } if etag == theirs));
    assert_eq!(database.facts().txid, 5, "it became the next of ours, after a fence");
    bench.restart();
    assert_eq!(count(&bench.open(bench.config("orders")).await).await, 4);
}

/// They had read the plain file before our last commit, and wrote theirs after our release.
#[tokio::test]
async fn what_somebody_else_made_from_an_earlier_state_takes_no_acknowledged_write_away() {
    let mut bench = Bench::closed_with_one_row_before_two().await;
    let (_, previous) = bench.object("apps/orders.db.prev").await.unwrap();
    let theirs = edited(&previous, "insert into t values (7), (8)").await;
    bench.overwrite("apps/orders.db", theirs.leak()).await;
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(count(&database).await, 2);
    let outside = database.facts().outside.expect("it is told");
    bench.host.switch_branch(&DatabaseName::new("apps", "orders"), &outside.branch).await.unwrap();
    assert_eq!(count(&database).await, 3);
}

/// A database as a file, after a change by another program.
async fn edited(bytes: &Bytes, sql: &'static str) -> Vec<u8> {
    let (bytes, pool) = (bytes.clone(), SqlPool::new(1.try_into().unwrap()));
    let edit = move || {
        let memory = MemoryDatabase::load(&*bytes, MemoryOptions::new(pool)).unwrap();
        memory.connect().unwrap().execute_batch(sql).unwrap();
        let mut image = Vec::new();
        std::io::Read::read_to_end(&mut memory.pin().image(), &mut image).unwrap();
        image
    };
    tokio::task::spawn_blocking(edit).await.unwrap()
}

#[tokio::test]
async fn an_earlier_state_that_somebody_brings_back_is_nothing_new_and_ours_is_put_back() {
    let mut bench = Bench::closed_with_one_row_before_two().await;
    let (_, previous) = bench.object("apps/orders.db.prev").await.unwrap();
    let (_, newest) = bench.object("apps/orders.db").await.unwrap();
    // As the Python package does it: what it replaces becomes the one before.
    bench.overwrite("apps/orders.db.prev", newest.to_vec().leak()).await;
    let theirs = bench.overwrite("apps/orders.db", previous.to_vec().leak()).await;
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!((count(&database).await, database.facts().outside), (2, None));
    database.flush(Flush::Forced).await.unwrap();
    assert_ne!(bench.object("apps/orders.db").await.unwrap().0, theirs);
}

#[tokio::test]
async fn what_somebody_else_wrote_beside_acknowledged_writes_is_kept_as_a_branch() {
    let mut bench = Bench::start().await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x); insert into t values (1)").await;
    database.flush(Flush::Forced).await.unwrap();
    let (_, snapshot) = bench.object("apps/orders.db").await.unwrap();
    // The chain goes on, and the process dies before it renews the snapshot.
    write(&database, "insert into t values (2)").await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key == "apps/orders.db").times(u64::MAX));
    database.flush(Flush::Forced).await.unwrap_err();
    bench.store.faults().clear();
    bench.overwrite("apps/orders.db", edited(&snapshot, "insert into t values (7), (8)").await.leak()).await;
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    let outside = database.facts().outside.expect("it is told");
    assert_eq!(count(&database).await, 2);
    bench.host.switch_branch(&DatabaseName::new("apps", "orders"), &outside.branch).await.unwrap();
    assert_eq!(count(&database).await, 3);
}

#[tokio::test]
async fn a_head_record_of_a_newer_build_is_refused_and_left_alone() {
    let mut bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    bench.close("orders").await.unwrap();
    let newer = bench.overwrite("apps/orders.db.head/main.json", br#"{"format": 3, "chain": {"first": 1}}"#).await;
    bench.restart();
    let State::Failed { error, .. } = bench.settle(bench.config("orders")).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::NewerFormat { format: 3, .. }), "{error}");
    assert_eq!(bench.object("apps/orders.db.head/main.json").await.unwrap().0, newer);
}

#[tokio::test]
async fn a_lost_head_record_is_made_anew_above_every_epoch_that_was() {
    let mut bench = Bench::start().await;
    for _ in 0..3 {
        let database = bench.open(bench.config("orders")).await;
        write(&database, "create table if not exists t(x); insert into t values (1)").await;
        database.flush(Flush::Forced).await.unwrap();
        bench.restart();
    }
    bench.bucket().delete(&ObjectKey::new("apps/orders.db.head/main.json")).await.unwrap();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(count(&database).await, 3);
    assert_eq!(database.facts().epoch, Epoch(4));
}

#[tokio::test]
async fn a_head_record_that_knows_of_a_snapshot_proves_that_there_was_one() {
    let mut bench = Bench::start().await;
    bench.open(bench.config("orders")).await;
    bench.close("orders").await.unwrap();
    bench.before_chains(true).await;
    bench.bucket().delete(&ObjectKey::new("apps/orders.db")).await.unwrap();
    bench.restart();
    let State::Failed { error, .. } = bench.settle(bench.config("orders")).await else { panic!("it must not open") };
    assert!(matches!(&*error, Error::SnapshotMissing { previous: Previous::Absent, .. }), "{error}");
}
