//! Branches: made, switched to, overwritten, deleted, with the seed's rules.

use super::*;
use crate::branches::BranchFacts;
use crate::host::OverwriteRequest;

pub(super) fn orders() -> DatabaseName {
    DatabaseName::new("apps", "orders")
}

pub(super) fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

pub(super) fn wish(from: &str) -> OverwriteRequest {
    OverwriteRequest { id: None, from: branch(from), txid: None, expected: None, keep_as: None, meant_for: None }
}

impl Bench {
    /// `main` with this many rows.
    pub(super) async fn with_rows(count: u32) -> (Self, Database) {
        let bench = Self::start().await;
        let database = bench.open(bench.config("orders")).await;
        write(&database, "create table t(x)").await;
        for row in 0..count {
            write(&database, &format!("insert into t values ({row})")).await;
        }
        (bench, database)
    }

    pub(super) async fn create(&self, name: &str, from: Option<&str>) -> Result<BranchFacts, Arc<Error>> {
        self.host.create_branch_of(&orders(), &branch(name), from.map(branch).as_ref(), Point::Newest).await
    }

    pub(super) async fn switch(&self, to: &str) -> Result<(), Arc<Error>> {
        self.host.switch_branch(&orders(), &branch(to)).await
    }

    /// Waits until a branch is served, and tells whether somebody switched to it by hand.
    async fn served(&self, name: &str) -> bool {
        let mut changes = self.host.changes();
        loop {
            match self.host.state(&orders()) {
                State::Open(facts) if facts.branch == branch(name) => return facts.by_hand,
                _ => drop(changes.recv().await),
            }
        }
    }

    pub(super) async fn names(&self) -> Vec<String> {
        self.host.branches(&orders()).await.unwrap().branches.into_iter().map(|facts| facts.name.as_str().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_branch_begins_with_all_that_was_committed_and_goes_its_own_way() {
    let (bench, database) = Bench::with_rows(2).await;
    let made = bench.create("next", None).await.unwrap();
    assert_eq!((made.parent, made.txid), (Some(("main".to_owned(), 2)), 2));
    bench.switch("next").await.unwrap();
    assert_eq!((count(&database).await, database.facts().branch), (2, branch("next")));
    write(&database, "insert into t values (9)").await;
    bench.switch("main").await.unwrap();
    assert_eq!(count(&database).await, 2);
    bench.switch("next").await.unwrap();
    assert_eq!(count(&database).await, 3, "the switch away saved it");
    assert_eq!(bench.names().await, ["main", "next"]);
}

#[tokio::test]
async fn whoever_switches_does_not_wait_for_what_is_left_to_do_of_the_branch_before() {
    let (bench, database) = Bench::with_rows(2).await;
    bench.create("next", None).await.unwrap();
    write(&database, "insert into t values (9)").await;
    // The plain file of main cannot be renewed, and that is no reason to stay there.
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key == "apps/orders.db"));
    bench.switch("next").await.unwrap();
    let left = database.leaving().expect("something was left to be done");
    assert_eq!(left.branch, BranchName::main());
    left.done.await;
    let heads = bench.host.heads(&bench.config("orders")).await.unwrap();
    assert!(heads.read(&BranchName::main()).await.unwrap().unwrap().record.released, "nobody has to fence it");
    bench.store.faults().clear();
    bench.switch("main").await.unwrap();
    assert_eq!(count(&database).await, 3, "all of it is in the chain");
}

#[tokio::test]
async fn the_branch_that_was_left_gets_its_plain_file_before_anybody_else_opens_it() {
    let (bench, database) = Bench::with_rows(2).await;
    bench.create("next", None).await.unwrap();
    for round in 3..6 {
        write(&database, "insert into t values (9)").await;
        bench.switch("next").await.unwrap();
        bench.switch("main").await.unwrap();
        assert_eq!((count(&database).await, database.facts().txid), (round, database.facts().last_snapshot.map_or(0, |last| last.txid)));
    }
    let heads = bench.host.heads(&bench.config("orders")).await.unwrap();
    assert!(heads.read(&BranchName::main()).await.unwrap().unwrap().record.fences.is_empty(), "each time it was released before");
}

#[tokio::test]
async fn a_switch_that_was_begun_by_hand_goes_on_without_whoever_asked_and_is_not_taken_back() {
    let (bench, _) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    let (name, next) = (orders(), branch("next"));
    let mut asked = Box::pin(bench.host.switch_branch_by_hand(&name, &next));
    assert!(futures::poll!(&mut asked).is_pending());
    bench.switch("main").await.unwrap();
    drop(asked);
    assert!(bench.host.delete_branch(&orders(), &branch("next")).await.is_err(), "it is as good as served");
    assert!(bench.served("next").await, "nobody sees the branch without the reason for it");
    bench.switch("main").await.unwrap();
    assert_eq!(bench.host.branch_of(&name), Some(next), "what the configuration names is the older wish");
}

#[tokio::test]
async fn a_branch_that_the_configuration_names_during_a_switch_by_hand_is_the_newer_wish() {
    let (bench, _) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    bench.create("newest", None).await.unwrap();
    let (name, next) = (orders(), branch("next"));
    let mut asked = Box::pin(bench.host.switch_branch_by_hand(&name, &next));
    assert!(futures::poll!(&mut asked).is_pending());
    let config = bench.config("orders");
    bench.host.reconfigure(DatabaseConfig { location: Location { branch: branch("newest"), ..config.location.clone() }, ..config });
    asked.await.unwrap();
    assert!(!bench.served("next").await);
    bench.switch("newest").await.unwrap();
    assert!(!bench.served("newest").await);
}

#[tokio::test]
async fn one_switch_waits_for_another_and_the_last_one_counts() {
    let (bench, _) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    let (name, main, next) = (orders(), BranchName::main(), branch("next"));
    let mut first = Box::pin(bench.host.switch_branch_by_hand(&name, &next));
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(bench.host.switch_branch_by_hand(&name, &main));
    assert!(futures::poll!(&mut second).is_pending(), "the branch is still served, and not for long");
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(bench.host.branch_of(&name), Some(main));
}

#[tokio::test]
async fn a_close_that_fails_during_a_switch_leaves_the_branch_that_was_switched_to() {
    let (bench, _) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    // Opening it puts no delta, and serving it does.
    bench
        .store
        .faults()
        .add(Fault::new(FaultEffect::Reject).on(Operation::PutObject).key(|key| key.contains("next") && key.contains(".ltx/")));
    let (name, next) = (orders(), branch("next"));
    let mut asked = Box::pin(bench.host.switch_branch(&name, &next));
    assert!(futures::poll!(&mut asked).is_pending());
    bench.served("next").await;
    bench.close("orders").await.unwrap_err();
    asked.await.unwrap();
    assert!(bench.host.delete_branch(&name, &next).await.is_err(), "it is served");
    bench.store.faults().clear();
    bench.switch("main").await.unwrap();
    bench.close("orders").await.unwrap();
}

#[tokio::test]
async fn a_switch_by_hand_that_fails_leaves_what_was_asked_for_before() {
    let (bench, _) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    bench.store.faults().add(Fault::new(FaultEffect::Reject).key(|key| key.contains("next")));
    bench.host.switch_branch_by_hand(&orders(), &branch("next")).await.unwrap_err();
    assert!(!bench.served("main").await);
    bench.store.faults().clear();
    bench.host.switch_branch_by_hand(&orders(), &branch("next")).await.unwrap();
    bench.store.faults().add(Fault::new(FaultEffect::Reject).key(|key| !key.contains("next")));
    bench.host.switch_branch_by_hand(&orders(), &branch("main")).await.unwrap_err();
    assert!(bench.served("next").await);
}

#[tokio::test]
async fn a_branch_is_made_from_any_other_one() {
    let (bench, database) = Bench::with_rows(1).await;
    bench.create("one", None).await.unwrap();
    write(&database, "insert into t values (9)").await;
    bench.create("two", Some("one")).await.unwrap();
    bench.switch("two").await.unwrap();
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_branch_is_made_from_any_earlier_state() {
    let (bench, database) = Bench::with_rows(1).await;
    database.flush(Flush::Forced).await.unwrap();
    let then = database.facts().txid;
    for _ in 0..3 {
        write(&database, "insert into t values (9)").await;
        database.flush(Flush::Forced).await.unwrap();
    }
    let made = bench.host.create_branch_of(&orders(), &branch("then"), None, Point::Txid(then)).await.unwrap();
    assert_eq!((made.parent, made.txid), (Some(("main".to_owned(), then)), then));
    bench.host.create_branch_of(&orders(), &branch("between"), None, Point::Txid(then + 2)).await.unwrap();
    for (name, rows) in [("then", 1), ("between", 3), ("main", 4)] {
        bench.switch(name).await.unwrap();
        assert_eq!(count(&database).await, rows, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_by_its_reason() {
    let (bench, _database) = Bench::with_rows(0).await;
    bench.create("next", None).await.unwrap();
    assert!(matches!(&*bench.create("next", None).await.unwrap_err(), Error::BranchExists { .. }));
    assert!(matches!(&*bench.create("main", None).await.unwrap_err(), Error::BranchRefused { .. }));
    assert!(matches!(&*bench.create("other", Some("nowhere")).await.unwrap_err(), Error::BranchNotFound { .. }));
    assert!(matches!(&*bench.switch("nowhere").await.unwrap_err(), Error::BranchNotFound { .. }));
    let txid = bench.host.create_branch_of(&orders(), &branch("later"), None, Point::Txid(7)).await;
    assert!(matches!(&*txid.unwrap_err(), Error::NoSuchState { asked: 7, newest: 2, .. }));
    // The seed makes branches without head records.
    bench.overwrite("apps/orders.db.branch.seeds", b"theirs").await;
    assert!(matches!(&*bench.create("seeds", None).await.unwrap_err(), Error::BranchExists { .. }));
}

#[tokio::test]
async fn a_deleted_branch_is_gone_with_its_objects_and_its_name() {
    let (bench, database) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    bench.switch("next").await.unwrap();
    write(&database, "insert into t values (9)").await;
    let served = bench.host.delete_branch(&orders(), &branch("next")).await.unwrap_err();
    assert!(matches!(&*served, Error::BranchRefused { .. }), "{served}");
    bench.switch("main").await.unwrap();
    bench.host.delete_branch(&orders(), &branch("next")).await.unwrap();
    for key in ["apps/orders.db.branch.next", "apps/orders.db.branch.next.prev"] {
        assert!(bench.object(key).await.is_none(), "{key}");
    }
    assert_eq!(bench.names().await, ["main"]);
    assert!(matches!(&*bench.switch("next").await.unwrap_err(), Error::BranchDeleted { .. }));
    assert!(matches!(&*bench.create("next", None).await.unwrap_err(), Error::BranchDeleted { .. }));
    bench.host.delete_branch(&orders(), &branch("next")).await.unwrap();
    bench.host.delete_branch(&orders(), &branch("never-was")).await.unwrap();
    assert!(bench.host.delete_branch(&orders(), &BranchName::main()).await.is_err());
}

#[tokio::test]
async fn a_branch_that_was_begun_is_finished_by_whoever_wants_it() {
    let (bench, _database) = Bench::with_rows(1).await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key.contains(".branch.")));
    bench.create("next", None).await.unwrap_err();
    assert_eq!(bench.names().await, ["main"], "a reserved name is no branch");
    assert!(matches!(&*bench.switch("next").await.unwrap_err(), Error::BranchNotFound { .. }));
    bench.store.faults().clear();
    bench.create("next", None).await.unwrap();
    assert_eq!(bench.names().await, ["main", "next"]);
}

#[tokio::test]
async fn the_served_branch_is_overwritten_under_its_readers_and_keeps_what_it_was() {
    let (bench, database) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    write(&database, "insert into t values (8), (9)").await;
    let keep_as = Some(branch("before"));
    let asked = OverwriteRequest { id: Some("release-7".to_owned()), keep_as, ..wish("next") };
    let done = bench.host.overwrite_branch(&orders(), &BranchName::main(), asked.clone()).await.unwrap();
    assert!(!done.was_done());
    assert_eq!((count(&database).await, database.facts().txid), (1, done.txid));
    assert!(!database.facts().pending, "it is in the bucket");
    let again = bench.host.overwrite_branch(&orders(), &BranchName::main(), asked.clone()).await.unwrap();
    assert!(again.was_done());
    let other = OverwriteRequest { from: branch("before"), ..asked };
    let refused = bench.host.overwrite_branch(&orders(), &BranchName::main(), other).await.unwrap_err();
    assert!(matches!(&*refused, Error::PromotionIdUsed { .. }), "{refused}");
    bench.switch("before").await.unwrap();
    assert_eq!(count(&database).await, 3);
}

#[tokio::test]
async fn an_overwrite_holds_only_for_the_content_that_was_named() {
    let (bench, database) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    let expected = Some(database.facts().txid);
    write(&database, "insert into t values (9)").await;
    let asked = OverwriteRequest { expected, ..wish("next") };
    let refused = bench.host.overwrite_branch(&orders(), &BranchName::main(), asked).await.unwrap_err();
    assert!(matches!(&*refused, Error::ContentChanged { expected: 2, found: 3, .. }), "{refused}");
    let asked = OverwriteRequest { expected: Some(3), ..wish("next") };
    bench.host.overwrite_branch(&orders(), &BranchName::main(), asked).await.unwrap();
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_branch_that_nobody_serves_is_overwritten_in_the_bucket() {
    let (bench, database) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    write(&database, "insert into t values (9)").await;
    bench.host.overwrite_branch(&orders(), &branch("next"), wish("main")).await.unwrap();
    assert_eq!(count(&database).await, 2);
    bench.switch("next").await.unwrap();
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn an_overwrite_that_was_cut_off_after_its_commit_is_found_done() {
    let (mut bench, database) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    write(&database, "insert into t values (9)").await;
    database.flush(Flush::Forced).await.unwrap();
    // The head record that says `done` is never written.
    bench
        .store
        .faults()
        .add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key.contains(".head/main")).after(1).times(100));
    let asked = OverwriteRequest { id: Some("release-7".to_owned()), ..wish("next") };
    bench.host.overwrite_branch(&orders(), &BranchName::main(), asked.clone()).await.unwrap_err();
    bench.store.faults().clear();
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(count(&database).await, 1);
    assert!(bench.host.overwrite_branch(&orders(), &BranchName::main(), asked).await.unwrap().was_done());
}

#[tokio::test]
async fn an_overwrite_that_was_cut_off_before_its_commit_never_happened() {
    let (mut bench, database) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    write(&database, "insert into t values (9)").await;
    database.flush(Flush::Forced).await.unwrap();
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key.contains(".ltx/main/0000/")));
    bench
        .store
        .faults()
        .add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).key(|key| key.contains(".head/main")).after(1).times(100));
    let asked = OverwriteRequest { id: Some("release-7".to_owned()), ..wish("next") };
    bench.host.overwrite_branch(&orders(), &BranchName::main(), asked.clone()).await.unwrap_err();
    bench.store.faults().clear();
    bench.restart();
    let database = bench.open(bench.config("orders")).await;
    assert_eq!(count(&database).await, 2);
    assert!(!bench.host.overwrite_branch(&orders(), &BranchName::main(), asked).await.unwrap().was_done());
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn requests_wait_for_a_switch_and_none_fails() {
    let (bench, database) = Bench::with_rows(1).await;
    bench.create("next", None).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        writers.spawn(async move {
            for _ in 0..30 {
                database.write(request("insert into t values (1)")).await.unwrap();
                count(&database).await;
            }
        });
    }
    for to in ["next", "main", "next", "main"] {
        bench.switch(to).await.unwrap();
    }
    writers.join_all().await;
    let main = count(&database).await;
    bench.switch("next").await.unwrap();
    assert_eq!(main + count(&database).await, 2 + 120, "each row is in one of them");
}
