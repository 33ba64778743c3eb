//! Stores that ignore conditions on writes, or refuse them, and resources that put up with it.

use super::branches::{branch, orders, wish};
use super::*;
use crate::files::{Description, FileKey};
use crate::gc::GcStage;
use crate::head::Epoch;

const EFFECTS: [FaultEffect; 2] = [FaultEffect::IgnoreConditions, FaultEffect::RefuseConditions];

impl Bench {
    /// Over a store that does this with conditions from now on.
    async fn over(effect: FaultEffect) -> Self {
        let bench = Self::start().await;
        bench.store.faults().add(Fault::new(effect));
        bench
    }

    fn permitted(&self) -> DatabaseConfig {
        DatabaseConfig { single_writer: true, ..self.config("orders") }
    }

    fn unconditional(&self) -> Option<Arc<str>> {
        let State::Open(facts) = self.host.state(&orders()) else { panic!("it is open") };
        facts.unconditional
    }

    async fn is_refused(&self, config: DatabaseConfig) -> String {
        let State::Failed { error, .. } = self.settle(config).await else { panic!("it must not open") };
        let Error::ConditionsIgnored { detail, .. } = &*error else { panic!("{error}") };
        detail.clone()
    }
}

async fn put_file(database: &Database, content: &'static [u8]) -> FileKey {
    let spooled = database.files().intake().write(Bytes::from_static(content)).await.unwrap().finish().await.unwrap();
    database.files().put(&spooled, Description::default()).await.unwrap().0.key
}

#[tokio::test]
async fn such_a_store_is_not_used_unless_the_resource_permits_it() {
    for (effect, says) in [(EFFECTS[0], "replaced an object"), (EFFECTS[1], "is refused (NotImplemented")] {
        let bench = Bench::over(effect).await;
        let detail = bench.is_refused(bench.config("orders")).await;
        assert!(detail.starts_with("PUT with If-None-Match: *") && detail.contains(says), "{detail}");
        assert!(bench.object("apps/orders.db").await.is_none());
        bench.open(bench.permitted()).await;
        assert_eq!(bench.unconditional().as_deref(), Some(&*detail));
        // What one resource puts up with no other one has to.
        let mut other = bench.config("other");
        other.location.key = DatabaseKey::parse("apps/other.db").unwrap();
        bench.is_refused(other.clone()).await;
        bench.store.faults().clear();
        bench.open(other).await;
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_only_when_it_puts_parts_together_is_found_out() {
    for (effect, says) in [(EFFECTS[0], "replaced another object"), (EFFECTS[1], "is refused (NotImplemented")] {
        let bench = Bench::start().await;
        bench.store.faults().add(Fault::new(effect).on(Operation::CompleteMultipartUpload));
        let detail = bench.is_refused(bench.config("orders")).await;
        assert!(detail.starts_with("CompleteMultipartUpload with If-Match") && detail.contains(says), "{detail}");
    }
}

#[tokio::test]
async fn other_failures_of_a_store_are_not_taken_for_a_refusal_of_conditions() {
    let bench = Bench::start().await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject));
    let failed = |state| match state {
        State::Failed { error, .. } => error,
        other => panic!("{other:?}"),
    };
    let error = failed(bench.settle(bench.config("orders")).await);
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::Unavailable { .. }, .. }), "{error}");
    bench.store.faults().clear();
    bench.store.faults().add(Fault::new(FaultEffect::Reject).on(Operation::PutObject));
    let error = failed(bench.settle(bench.config("orders")).await);
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::Refused { .. }, .. }), "with a condition and without: {error}");
    bench.store.faults().clear();
    let mut config = bench.config("orders");
    config.store.credentials = Credentials { secret_access_key: "another".to_owned(), ..credentials() }.into();
    let error = failed(bench.settle(config).await);
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::AccessDenied { .. }, .. }), "{error}");
}

#[tokio::test]
async fn a_store_that_honours_conditions_gets_them_whatever_the_resource_permits() {
    let bench = Bench::start().await;
    let database = bench.open(bench.permitted()).await;
    assert_eq!(bench.unconditional(), None);
    bench.host.reconfigure(bench.permitted());
    bench.store.faults().add(Fault::new(FaultEffect::RefuseConditions).on(Operation::PutObject));
    write(&database, "create table t(x)").await;
    let error = database.flush(Flush::Forced).await.unwrap_err();
    assert!(matches!(&*error, Error::Bucket { source: bucket::Error::Refused { .. }, .. }), "the condition was sent: {error}");
}

#[tokio::test]
async fn whoever_took_over_is_noticed_by_the_next_write_of_who_was_there() {
    for effect in EFFECTS {
        let bench = Bench::over(effect).await;
        let database = bench.open(bench.permitted()).await;
        write(&database, "create table t(x); insert into t values (1)").await;
        database.flush(Flush::Forced).await.unwrap();
        write(&database, "insert into t values (2), (3)").await;

        let (other, state) = bench.open_elsewhere(bench.permitted()).await;
        assert!(matches!(&state, State::Open(facts) if facts.epoch == Epoch(2)), "{state:?}");
        let theirs = other.get(&orders()).unwrap().database;
        write(&theirs, "insert into t values (4)").await;
        theirs.flush(Flush::Forced).await.unwrap();

        let error = database.flush(Flush::Forced).await.unwrap_err();
        assert!(matches!(&*error, Error::Fenced { ours: Epoch(1), theirs: Epoch(2), lost: 1, .. }), "{error}");
        assert!(matches!(&*bench.lost("orders").await, Error::Fenced { .. }));
        assert_eq!(count(&theirs).await, 2);
        write(&theirs, "insert into t values (5)").await;
        theirs.flush(Flush::Forced).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_of_somebody_else_is_seen_before_it_is_replaced() {
    for effect in EFFECTS {
        let bench = Bench::over(effect).await;
        let database = bench.open(bench.permitted()).await;
        write(&database, "create table t(x); insert into t values (1)").await;
        database.flush(Flush::Forced).await.unwrap();
        bench.overwrite("apps/orders.db", b"somebody else's").await;
        write(&database, "insert into t values (2)").await;
        database.flush(Flush::Forced).await.unwrap();
        let outside = database.facts().outside.expect("it is told");
        let (_, kept) = bench.object(&format!("apps/orders.db.branch.{}", outside.branch)).await.unwrap();
        assert_eq!(kept, Bytes::from_static(b"somebody else's"));
    }
}

/// A store that refuses what bears a condition shows whether anything goes past the look.
#[tokio::test]
async fn branches_promotions_files_and_deletion_need_no_condition() {
    for effect in EFFECTS {
        let mut bench = Bench::over(effect).await;
        let mut config = bench.permitted();
        config.files.grace = Duration::ZERO;
        config.snapshots.interval = Duration::from_millis(1);
        let database = bench.open(config.clone()).await;
        write(&database, "create table t(x); insert into t values (1)").await;
        let then = database.facts().txid;
        bench.create("next", None).await.unwrap();
        bench.switch("next").await.unwrap();
        write(&database, "insert into t values (2), (3)").await;
        bench.switch("main").await.unwrap();
        assert_eq!(count(&database).await, 1);
        bench.host.overwrite_branch(&orders(), &branch("main"), wish("next")).await.unwrap();
        assert_eq!(count(&database).await, 3);
        bench.create("prod", None).await.unwrap();
        bench.host.overwrite_branch(&orders(), &branch("prod"), wish("next")).await.unwrap();
        bench.host.create_branch_of(&orders(), &branch("then"), Some(&branch("main")), Point::Txid(then)).await.unwrap();

        let file = put_file(&database, b"an invoice").await;
        database.files().delete(file).await.unwrap();
        database.flush(Flush::Forced).await.unwrap();
        let marked = bench.host.collect_garbage(&config, false, false).await.unwrap();
        assert_eq!((marked.stage, marked.marked.contains(&file)), (GcStage::Marked, true));
        assert_eq!(put_file(&database, b"an invoice").await, file, "it is struck out of the list");

        bench.close("orders").await.unwrap();
        bench.restart();
        assert_eq!(count(&bench.open(config.clone()).await).await, 3);
        for name in ["next", "prod", "then"] {
            bench.host.delete_branch(&orders(), &branch(name)).await.unwrap();
        }
        bench.close("orders").await.unwrap();
        bench.restart();
        bench.host.delete_own_branch(&config, &branch("main")).await.unwrap();
        bench.host.delete_rest(&config).await.unwrap();
        assert!(bench.object("apps/orders.db").await.is_none());
    }
}

#[tokio::test]
async fn a_run_of_gc_in_another_process_needs_no_condition_either() {
    for effect in EFFECTS {
        let bench = Bench::over(effect).await;
        let mut config = bench.permitted();
        config.files.grace = Duration::ZERO;
        let database = bench.open(config.clone()).await;
        let file = put_file(&database, b"an invoice").await;
        database.files().delete(file).await.unwrap();
        database.flush(Flush::Forced).await.unwrap();
        let options = crate::gc::GcOptions {
            prefix: config.files.prefix.clone(),
            key: crate::gc::OwnerKey::Named(config.location.key.clone()),
            grace: Duration::ZERO,
            dry_run: false,
            include_unowned: false,
            single_writer: true,
            largest_database: 64 << 20,
        };
        let pool = SqlPool::new(1.try_into().unwrap());
        let report = crate::gc::collect_garbage(bench.bucket(), options, pool, Arc::new(SystemClock)).await.unwrap();
        assert_eq!((report.stage, report.marked.contains(&file)), (GcStage::Marked, true));
    }
}

#[tokio::test]
async fn an_open_database_goes_on_as_it_is_by_other_credentials_and_without_the_permission() {
    for effect in EFFECTS {
        let bench = Bench::over(effect).await;
        let database = bench.open(bench.permitted()).await;
        write(&database, "create table t(x)").await;
        for single_writer in [true, false] {
            let mut config = bench.permitted();
            config.store.region = "us-east-1".to_owned();
            bench.host.reconfigure(DatabaseConfig { single_writer, ..config });
            write(&database, "insert into t values (1)").await;
            database.flush(Flush::Forced).await.unwrap();
            put_file(&database, if single_writer { b"one" } else { b"two" }).await;
            assert!(bench.unconditional().is_some());
        }
        bench.close("orders").await.unwrap();
        bench.is_refused(bench.config("orders")).await;
    }
}

#[tokio::test]
async fn a_large_snapshot_goes_by_parts_without_a_condition() {
    for effect in EFFECTS {
        let mut bench = Bench::over(effect).await;
        let database = bench.open(bench.permitted()).await;
        for _ in 0..2 {
            write(&database, "create table if not exists t(x); insert into t values (randomblob(9000000))").await;
            database.flush(Flush::Forced).await.unwrap();
        }
        bench.close("orders").await.unwrap();
        bench.restart();
        assert_eq!(count(&bench.open(bench.permitted()).await).await, 2);
    }
}
